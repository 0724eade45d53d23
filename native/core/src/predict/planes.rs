//! Slices kept as half rows, the even columns of a row and its odd ones, in the order in which they are coded: the even
//! half rows of a step, by slice, then its odd ones. What a sample follows from lies before them all.

use super::order::{BEHIND, Rows};

/// Room between half rows, in which their ends are repeated.
const PAD: usize = 16;

/// Rows above the first of a slice: two that stand for what is not there.
const ABOVE: usize = 2;

/// Half rows of one or more slices.
///
/// Row -2 to `rows` of a slice can be reached; before and behind a half row its ends are repeated.
#[derive(Default)]
pub struct Planes {
    data: Vec<i16>,
    /// From a half row to that of the next slice.
    stride: usize,
    /// From the half rows of one parity in a step to the next ones.
    block: usize,
    widths: [usize; 2],
}

/// Half rows of one parity, of neighbouring slices, as they lie in [`Planes`].
#[derive(Clone, Copy)]
pub struct HalfRows {
    /// Column 0 of the first one.
    pub at: usize,
    /// From one to the next.
    pub next: usize,
    pub count: usize,
    /// Samples of each that are worked on, a multiple of 16: its own, and some behind them that count for nothing.
    pub room: usize,
    /// Samples of its own.
    pub width: usize,
}

impl HalfRows {
    /// Column 0 of each.
    #[inline(always)]
    pub fn places(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |number| self.at + number * self.next)
    }

    /// So many of them, after so many others.
    #[inline(always)]
    pub fn part(self, before: usize, count: usize) -> Self {
        Self { at: self.at + before * self.next, count, ..self }
    }
}

/// Half rows by where they are to another one: so many slices before and rows above, of a parity.
#[derive(Clone, Copy)]
pub struct Place {
    pub before: isize,
    pub above: isize,
    pub parity: usize,
    pub column: isize,
}

impl Planes {
    /// Room for `slices` slices of rows of a width; what was there before is not cleared.
    pub fn shape(&mut self, slices: usize, rows: usize, width: usize) {
        self.widths = [width.div_ceil(2), width / 2];
        self.stride = self.widths[0].next_multiple_of(16) + PAD;
        self.block = slices * self.stride;
        let steps = ABOVE + rows + 1 + BEHIND * (slices - 1);
        self.data.resize((PAD + 2 * steps * self.block).max(self.data.len()), 0);
    }

    /// See [`HalfRows::room`].
    #[inline]
    pub fn room(&self) -> usize {
        self.stride - PAD
    }

    /// See [`HalfRows::next`].
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Where column 0 of a half row lies. `row` is -2 at least.
    #[inline]
    pub fn place(&self, slice: usize, row: isize, parity: usize) -> usize {
        let step = row.wrapping_add_unsigned(ABOVE + BEHIND * slice).cast_unsigned();
        PAD + (2 * step + parity) * self.block + slice * self.stride
    }

    /// The half rows of one parity.
    #[inline]
    pub fn half_rows(&self, rows: Rows, parity: usize) -> HalfRows {
        HalfRows {
            at: self.place(rows.slice, rows.row.cast_signed(), parity),
            next: self.stride,
            count: rows.count,
            room: self.room(),
            width: self.widths[parity],
        }
    }

    /// How far a place is from column 0 of a half row of a parity.
    #[inline]
    pub fn way(&self, parity: usize, to: Place) -> isize {
        let steps = to.above + BEHIND.cast_signed() * to.before;
        let blocks = to.parity.cast_signed() - parity.cast_signed() - 2 * steps;
        blocks * self.block.cast_signed() - to.before * self.stride.cast_signed() + to.column
    }

    /// All half rows.
    #[inline]
    pub fn data(&self) -> &[i16] {
        &self.data
    }

    /// The half rows, `next` values for each, and all that lies before them.
    #[inline(always)]
    pub fn split(&mut self, rows: HalfRows) -> (&[i16], &mut [i16]) {
        let (before, rest) = self.data.split_at_mut(rows.at);
        (before, &mut rest[..rows.count * rows.next])
    }

    /// Repeats the ends of half rows beyond them. Where there are no odd columns, the even one stands for them.
    #[inline(always)]
    pub fn repeat_ends(&mut self, rows: HalfRows) {
        if rows.width == 0 {
            for at in rows.places() {
                let even = self.data[at - self.block];
                self.data[at - 1..=at].fill(even);
            }
            return;
        }
        let half_rows = &mut self.data[rows.at - 1..][..rows.count * rows.next];
        for half_row in half_rows.chunks_exact_mut(rows.next) {
            half_row[0] = half_row[1];
            half_row[rows.width + 1] = half_row[rows.width];
        }
    }

    /// Copies both halves of a row with their ends.
    #[inline]
    pub fn copy_row(&mut self, from: (usize, isize), to: (usize, isize)) {
        let room = self.room();
        for parity in 0..2 {
            let from = self.place(from.0, from.1, parity) - 1;
            let to = self.place(to.0, to.1, parity) - 1;
            self.data.copy_within(from..from + room + 2, to);
        }
    }

    /// Fills both halves of a row and their ends.
    pub fn fill_row(&mut self, slice: usize, row: isize, value: i16) {
        for parity in 0..2 {
            let (at, room) = (self.place(slice, row, parity), self.room());
            self.data[at - 1..=at + room].fill(value);
        }
    }

    /// Makes what lies above the first row of a slice: the first row of the slice before.
    pub fn open_slice(&mut self, slice: usize) {
        self.copy_row((slice - 1, 0), (slice, -1));
        self.copy_row((slice - 1, 0), (slice, -2));
    }

    /// Makes what lies below the last row of a slice: that row.
    pub fn close_slice(&mut self, slice: usize, rows: usize) {
        self.copy_row((slice, rows.cast_signed() - 1), (slice, rows.cast_signed()));
    }
}
