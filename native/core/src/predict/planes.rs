//! Slices kept as half rows: the even columns of a row, then its odd ones, each with room at both ends.

/// Room before a half row, and at least as much behind it.
pub const PAD: usize = 16;

/// Rows above the first of a slice: two that stand for what is not there.
const ABOVE: usize = 2;

/// Half rows of one or more slices.
///
/// Row -2 to `rows` of a slice can be reached; before and behind a half row its ends are repeated.
#[derive(Default)]
pub struct Planes {
    data: Vec<i16>,
    stride: usize,
    slice: usize,
    widths: [usize; 2],
}

impl Planes {
    /// Room for `slices` slices of rows of a width; what was there before is not cleared.
    pub fn shape(&mut self, slices: usize, rows: usize, width: usize) {
        self.widths = [width.div_ceil(2), width / 2];
        self.stride = PAD + self.widths[0].next_multiple_of(PAD) + PAD;
        self.slice = (rows + ABOVE + 1) * 2 * self.stride;
        self.data.resize((slices * self.slice).max(self.data.len()), 0);
    }

    /// Where column 0 of a half row lies; row -2 is 0 here.
    #[inline]
    fn at(&self, slice: usize, row_from_2: usize, parity: usize) -> usize {
        slice * self.slice + (row_from_2 * 2 + parity) * self.stride + PAD
    }

    /// Where column 0 of a half row lies. `row` is -2 at least.
    #[inline]
    pub fn place(&self, slice: usize, row: isize, parity: usize) -> usize {
        self.at(slice, row.wrapping_add_unsigned(ABOVE).cast_unsigned(), parity)
    }

    /// All half rows, to be read around a [`Planes::place`].
    #[inline]
    pub fn data(&self) -> &[i16] {
        &self.data
    }

    /// All half rows, to be written around a [`Planes::place`].
    #[inline]
    pub fn data_mut(&mut self) -> &mut [i16] {
        &mut self.data
    }

    /// A half row with what is behind it, to be written.
    #[inline]
    pub fn half_mut(&mut self, at: usize) -> &mut [i16] {
        let room = self.stride - PAD;
        &mut self.data[at..at + room]
    }

    /// Repeats the ends of a half row beyond it. Where there are no odd columns, the even one stands for them.
    #[inline]
    pub fn close(&mut self, at: usize, parity: usize) {
        let width = self.widths[parity];
        if width == 0 {
            let even = self.data[at - self.stride];
            self.data[at - 1..=at].fill(even);
            return;
        }
        self.data[at - 1] = self.data[at];
        self.data[at + width] = self.data[at + width - 1];
    }

    /// Copies both halves of a row with their ends.
    #[inline]
    pub fn copy_row(&mut self, from: (usize, isize), to: (usize, isize)) {
        let from = self.place(from.0, from.1, 0) - PAD;
        let to = self.place(to.0, to.1, 0) - PAD;
        self.data.copy_within(from..from + 2 * self.stride, to);
    }

    /// Fills both halves of a row and their ends.
    pub fn fill_row(&mut self, slice: usize, row: isize, value: i16) {
        let at = self.place(slice, row, 0) - PAD;
        self.data[at..at + 2 * self.stride].fill(value);
    }
}
