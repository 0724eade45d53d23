//! What is known of a sample before it is decoded: its prediction and its context, in exact integers.

use super::planes::Planes;

/// Samples that a prediction is made of.
pub const TAPS: usize = 10;
/// Bits of fraction of a weight.
pub const FRACTION: u32 = 6;
/// One, as a weight.
pub const ONE: i16 = 1 << FRACTION;
/// Contexts of either parity.
pub const CONTEXTS: usize = 16;
/// Magnitudes are counted up to here.
pub const MOST: u16 = 255;
/// The magnitude that stands above the first row of the first slice.
pub const UNKNOWN: i16 = 8;

/// Weights of the taps; they add up to [`ONE`].
pub type Weights = [i16; TAPS];

/// Where the taps of column 0 of a half row lie.
pub type Places = [usize; TAPS];

/// The set of weights for a half row: even and odd columns of the first slice, then of later ones.
#[inline]
pub fn set_of(slice: usize, parity: usize) -> usize {
    2 * usize::from(slice > 0) + parity
}

/// Weights before anything is known, by set.
pub const DEFAULTS: [Weights; 4] = [
    [34, 18, 18, -8, -6, -6, 4, 4, 3, 3],
    [28, 28, 26, -10, -10, -6, 2, 2, 2, 2],
    [26, 12, 12, -4, 24, 6, 6, -18, 2, -2],
    [26, 26, 18, -6, -6, 14, -4, -4, -4, 4],
];

/// The taps of a half row; `here` and `before` are the places of this slice and the one before in `planes`.
#[inline]
pub fn taps(
    planes: &Planes,
    here: usize,
    before: usize,
    is_first: bool,
    row: usize,
    parity: usize,
) -> Places {
    let row = row.cast_signed();
    let at = |slice, row, parity| planes.place(slice, row, parity);
    let (even, odd) = (at(here, row - 1, 0), at(here, row - 1, 1));
    let (even2, odd2) = (at(here, row - 2, 0), at(here, row - 2, 1));
    let this = at(here, row, 0);
    match (is_first, parity) {
        (true, 0) => [even, odd - 1, odd, even2, odd2 - 1, odd2, even - 1, even + 1, even2 - 1, even2 + 1],
        (true, _) => [this, this + 1, odd, even, even + 1, odd2, odd - 1, odd + 1, even2, even2 + 1],
        (false, parity) => {
            let (e, o) = (at(before, row, 0), at(before, row, 1));
            let (up, down) = (at(before, (row - 1).max(0), parity), at(before, row + 1, parity));
            if parity == 0 {
                [even, odd - 1, odd, even2, e, o - 1, o, up, down, odd2]
            } else {
                [this, this + 1, odd, even, even + 1, o, e, e + 1, up, down]
            }
        }
    }
}

/// Magnitudes and how often each counts, eight in all.
pub type Votes = [(usize, u16); 5];

/// The magnitudes that the context of a half row follows from.
#[inline]
pub fn votes(
    planes: &Planes,
    here: usize,
    before: usize,
    is_first: bool,
    row: usize,
    parity: usize,
) -> Votes {
    let row = row.cast_signed();
    let (even, odd) = (planes.place(here, row - 1, 0), planes.place(here, row - 1, 1));
    let (mut beside, mut below) = (planes.place(here, row - 1, parity), planes.place(here, row - 1, parity));
    if !is_first {
        beside = planes.place(before, row, parity);
        below = planes.place(before, row + 1, parity);
    }
    if parity == 0 {
        [(even, 2), (odd - 1, 1), (odd, 1), (beside, 2), (below, 2)]
    } else {
        let this = planes.place(here, row, 0);
        [(this, 2), (this + 1, 2), (odd, 2), (beside, 1), (below, 1)]
    }
}

/// The context of a sum of eight magnitudes: half octaves of `sum + 4`.
#[inline]
pub fn context_of(sum: u16) -> usize {
    let sum = u32::from(sum) + 4;
    let octave = sum.ilog2();
    (((octave - 2) * 2 + (sum >> (octave - 1) & 1)) as usize).min(CONTEXTS - 1)
}

/// |residual|, at most 255.
#[inline]
pub fn magnitude(residual: i16) -> i16 {
    residual.unsigned_abs().min(MOST).cast_signed()
}

/// The prediction of one sample, `at` columns from column 0 of its half row.
#[inline(always)]
pub fn predicted(samples: &[i16], places: &Places, weights: &Weights, at: usize) -> i16 {
    let mut sum = 1 << (FRACTION - 1);
    for tap in 0..TAPS {
        sum += i32::from(weights[tap]) * i32::from(samples[places[tap] + at]);
    }
    let (least, most) = (i32::from(i16::MIN), i32::from(i16::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "limited to 16 bits")]
    let predicted = (sum >> FRACTION).clamp(least, most) as i16;
    predicted
}

/// The context of one sample, `at` columns from column 0 of its half row.
#[inline(always)]
pub fn context(magnitudes: &[i16], votes: &Votes, at: usize) -> usize {
    let vote = |(place, times): (usize, u16)| magnitudes[place + at].cast_unsigned() * times;
    context_of(votes.iter().map(|&voter| vote(voter)).sum())
}

/// Makes what lies below the last row of a slice, once it is whole: that row.
pub fn close_slice(planes: &mut Planes, slice: usize, rows: usize) {
    planes.copy_row((slice, rows.cast_signed() - 1), (slice, rows.cast_signed()));
}

/// Makes what lies above the first row of a slice: the first row of the slice before.
pub fn open_slice(planes: &mut Planes, slice: usize, before: usize) {
    planes.copy_row((before, 0), (slice, -1));
    planes.copy_row((before, 0), (slice, -2));
}
