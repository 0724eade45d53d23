//! The order of half rows: all slices go together, each two rows behind the one before.
//!
//! What a sample follows from lies in earlier steps, or in the even half row of its own row: the half rows of one
//! parity of a step do not wait for each other.

/// Rows that a slice is behind the one before it, whose next row it looks at.
pub const BEHIND: usize = 2;

/// The rows of neighbouring slices in a step.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The first slice.
    pub slice: usize,
    /// Its row.
    pub row: usize,
    /// How many slices there are.
    pub count: usize,
}

impl Rows {
    /// Each slice with its row, upwards.
    #[inline]
    pub fn iter(self) -> impl DoubleEndedIterator<Item = (usize, usize)> {
        (0..self.count).map(move |number| (self.slice + number, self.row - BEHIND * number))
    }

    /// The last slice and its row.
    #[inline]
    pub fn last(self) -> (usize, usize) {
        (self.slice + self.count - 1, self.row - BEHIND * (self.count - 1))
    }

    /// The row of slice 0, if it is among them, and the rows of all others, each with the number of rows before.
    #[inline]
    pub fn parts(self) -> impl Iterator<Item = (Self, usize)> {
        let has_first = self.slice == 0;
        let others = match (has_first, self.count) {
            (false, _) => Some((self, 0)),
            (true, 1) => None,
            _ => Some((Self { slice: 1, row: self.row - BEHIND, count: self.count - 1 }, 1)),
        };
        let first = has_first.then_some((Self { count: 1, ..self }, 0));
        first.into_iter().chain(others)
    }
}

/// The steps of a coded box that is not empty.
pub fn steps([depth, rows, _]: [usize; 3]) -> impl DoubleEndedIterator<Item = Rows> {
    (0..rows + BEHIND * (depth - 1)).filter_map(move |step| {
        let slice = (step + 1).saturating_sub(rows).div_ceil(BEHIND);
        let row = step.checked_sub(BEHIND * slice)?;
        let last = (step / BEHIND).min(depth - 1);
        Some(Rows { slice, row, count: last + 1 - slice })
    })
}
