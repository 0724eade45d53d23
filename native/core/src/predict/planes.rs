//! Slices kept as half rows: the even columns of a row, then its odd ones, each with room at both ends.

use super::order::{BEHIND, Rows};

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

/// Half rows of one parity, of neighbouring slices, as they lie in [`Planes`].
#[derive(Clone, Copy)]
pub struct HalfRows {
    /// Column 0 of the first one.
    pub at: usize,
    /// From one to the next.
    pub next: usize,
    pub count: usize,
    /// Samples that are worked on, a multiple of 16: its own, and some behind them that count for nothing.
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
        self.stride = PAD + self.widths[0].next_multiple_of(PAD) + PAD;
        self.slice = (rows + ABOVE + 1) * 2 * self.stride;
        self.data.resize((slices * self.slice).max(self.data.len()), 0);
    }

    /// See [`HalfRows::room`].
    #[inline]
    pub fn room(&self) -> usize {
        self.stride - 2 * PAD
    }

    /// Where column 0 of a half row lies. `row` is -2 at least.
    #[inline]
    pub fn place(&self, slice: usize, row: isize, parity: usize) -> usize {
        let row = row.wrapping_add_unsigned(ABOVE).cast_unsigned();
        slice * self.slice + (row * 2 + parity) * self.stride + PAD
    }

    /// The half rows of one parity.
    #[inline]
    pub fn half_rows(&self, rows: Rows, parity: usize) -> HalfRows {
        HalfRows {
            at: self.place(rows.slice, rows.row.cast_signed(), parity),
            next: self.slice - 2 * BEHIND * self.stride,
            count: rows.count,
            room: self.room(),
            width: self.widths[parity],
        }
    }

    /// How far a place is from column 0 of a half row of a parity.
    #[inline]
    pub fn way(&self, parity: usize, to: Place) -> isize {
        let halves = to.parity.cast_signed() - parity.cast_signed() - 2 * to.above;
        halves * self.stride.cast_signed() - to.before * self.slice.cast_signed() + to.column
    }

    /// All half rows.
    #[inline]
    pub fn data(&self) -> &[i16] {
        &self.data
    }

    /// Writes half rows, of which `values` has `room` each, and repeats their ends beyond them. Where there are no odd
    /// columns, the even one stands for them.
    #[inline(always)]
    pub fn write(&mut self, rows: HalfRows, values: &[i16]) {
        for (at, values) in rows.places().zip(values.chunks_exact(rows.room)) {
            if rows.width == 0 {
                let even = self.data[at - self.stride];
                self.data[at - 1..=at].fill(even);
            } else {
                copy(values, &mut self.data[at..at + rows.room]);
                self.data[at - 1] = values[0];
                self.data[at + rows.width] = values[rows.width - 1];
            }
        }
    }

    /// Reads half rows to `values`, which has `room` for each.
    #[inline(always)]
    pub fn read(&self, rows: HalfRows, values: &mut [i16]) {
        for (at, values) in rows.places().zip(values.chunks_exact_mut(rows.room)) {
            copy(&self.data[at..at + rows.room], values);
        }
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

/// Copies groups of 16; there are few, so that a call would cost more.
#[inline(always)]
fn copy(from: &[i16], to: &mut [i16]) {
    for (from, to) in from.as_chunks::<PAD>().0.iter().zip(to.as_chunks_mut::<PAD>().0) {
        *to = *from;
    }
}
