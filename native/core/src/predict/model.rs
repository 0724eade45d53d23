//! What is known of a sample before it is decoded: its prediction and its context, in exact integers.

use super::order::Rows;
use super::planes::{HalfRows, Place, Planes};

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

/// The set of weights for a half row: even and odd columns of the first slice, then of later ones.
#[inline]
fn set_of(slice: usize, parity: usize) -> usize {
    2 * usize::from(slice > 0) + parity
}

/// Half rows of one parity and step that follow from one set of weights.
pub struct Part {
    pub half_rows: HalfRows,
    pub set: usize,
    /// Where their values begin, in buffers for all half rows.
    pub at: usize,
    /// Whether it is of the very first row, which has predictions of its own.
    pub is_first: bool,
}

/// The parts of all half rows of a parity and step.
#[inline(always)]
pub fn parts(all: HalfRows, rows: Rows, parity: usize) -> impl Iterator<Item = Part> {
    rows.parts().map(move |(part, before)| Part {
        half_rows: all.part(before, part.count),
        set: set_of(part.slice, parity),
        at: before * all.next,
        is_first: (part.slice, part.row) == (0, 0),
    })
}

/// Weights before anything is known, by set.
pub const DEFAULTS: [Weights; 4] = [
    [34, 18, 18, -8, -6, -6, 4, 4, 3, 3],
    [28, 28, 26, -10, -10, -6, 2, 2, 2, 2],
    [26, 12, 12, -4, 24, 6, 6, -18, 2, -2],
    [26, 26, 18, -6, -6, 14, -4, -4, -4, 4],
];

/// A half row `above` rows above this one.
const fn above(above: isize, parity: usize, column: isize) -> Place {
    Place { before: 0, above, parity, column }
}

/// A half row of the slice before, `above` rows above this one.
const fn before(above: isize, parity: usize, column: isize) -> Place {
    Place { before: 1, above, parity, column }
}

const EVEN: usize = 0;
const ODD: usize = 1;

/// The taps by set.
#[rustfmt::skip]
const TAPS_OF: [[Place; TAPS]; 4] = [
    [
        above(1, EVEN, 0), above(1, ODD, -1), above(1, ODD, 0), above(2, EVEN, 0), above(2, ODD, -1),
        above(2, ODD, 0), above(1, EVEN, -1), above(1, EVEN, 1), above(2, EVEN, -1), above(2, EVEN, 1),
    ],
    [
        above(0, EVEN, 0), above(0, EVEN, 1), above(1, ODD, 0), above(1, EVEN, 0), above(1, EVEN, 1),
        above(2, ODD, 0), above(1, ODD, -1), above(1, ODD, 1), above(2, EVEN, 0), above(2, EVEN, 1),
    ],
    [
        above(1, EVEN, 0), above(1, ODD, -1), above(1, ODD, 0), above(2, EVEN, 0), before(0, EVEN, 0),
        before(0, ODD, -1), before(0, ODD, 0), before(1, EVEN, 0), before(-1, EVEN, 0), above(2, ODD, 0),
    ],
    [
        above(0, EVEN, 0), above(0, EVEN, 1), above(1, ODD, 0), above(1, EVEN, 0), above(1, EVEN, 1),
        before(0, ODD, 0), before(0, EVEN, 0), before(0, EVEN, 1), before(1, ODD, 0), before(-1, ODD, 0),
    ],
];

/// The ways to the taps of a set.
fn taps(planes: &Planes, set: usize) -> [isize; TAPS] {
    TAPS_OF[set].map(|place| planes.way(set % 2, place))
}

/// Where the magnitudes lie that the context of a sample follows from; sets as those of weights. Three count twice,
/// then two once.
fn votes(planes: &Planes, set: usize) -> [isize; VOTES] {
    let parity = set % 2;
    let (beside, below) = match set {
        0 | 1 => (above(1, parity, 0), above(1, parity, 0)),
        _ => (before(0, parity, 0), before(-1, parity, 0)),
    };
    let votes = if parity == EVEN {
        [above(1, EVEN, 0), beside, below, above(1, ODD, -1), above(1, ODD, 0)]
    } else {
        [above(0, EVEN, 0), above(0, EVEN, 1), above(1, ODD, 0), beside, below]
    };
    votes.map(|place| planes.way(parity, place))
}

/// Magnitudes that a context follows from.
pub const VOTES: usize = 5;

/// Ways from a sample to others, and the least and the greatest of them.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "portable loops check each way themselves")
)]
pub struct Ways<const N: usize> {
    pub all: [isize; N],
    pub least: isize,
    pub most: isize,
}

impl<const N: usize> Ways<N> {
    fn new(all: [isize; N]) -> Self {
        let (least, most) = (all.iter().min(), all.iter().max());
        Self { all, least: least.copied().unwrap_or(0), most: most.copied().unwrap_or(0) }
    }
}

/// Ways to the taps of a sample.
pub type Taps = Ways<TAPS>;
/// Ways to the magnitudes that the context of a sample follows from.
pub type Votes = Ways<VOTES>;

/// What is known of the half rows of one parity, in the first slice or in later ones.
pub struct Set {
    pub taps: Taps,
    pub votes: Votes,
}

impl Set {
    /// All sets, for half rows that lie as those of these planes.
    pub fn all(planes: &Planes) -> [Self; 4] {
        [0, 1, 2, 3]
            .map(|set| Self { taps: Ways::new(taps(planes, set)), votes: Ways::new(votes(planes, set)) })
    }
}

/// The context of a sum of eight magnitudes and four: its half octave, from that of four on, 15 at most.
#[inline]
pub const fn context_of(sum: u16) -> u8 {
    let octave = sum.ilog2();
    let half_octave = 2 * (octave - 2) + (sum >> (octave - 1) & 1) as u32;
    if half_octave < 15 { half_octave.to_le_bytes()[0] } else { 15 }
}

/// Of residuals the absolute value, at most 255.
#[inline(always)]
pub fn magnitudes(residuals: &[i16], out: &mut [i16]) {
    for (out, residual) in out.iter_mut().zip(residuals) {
        *out = residual.unsigned_abs().min(MOST).cast_signed();
    }
}

/// The prediction of the sample at `at`.
#[inline(always)]
pub fn predicted(samples: &[i16], taps: &Taps, weights: &Weights, at: usize) -> i16 {
    let mut sum = 1 << (FRACTION - 1);
    for (way, weight) in taps.all.iter().zip(weights) {
        sum += i32::from(*weight) * i32::from(samples[at.wrapping_add_signed(*way)]);
    }
    let (least, most) = (i32::from(i16::MIN), i32::from(i16::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "limited to 16 bits")]
    let predicted = (sum >> FRACTION).clamp(least, most) as i16;
    predicted
}

/// The context of the sample at `at`.
#[inline(always)]
pub fn context(magnitudes: &[i16], votes: &Votes, at: usize) -> usize {
    let [twice @ .., next_to_last, last] =
        votes.all.map(|way| magnitudes[at.wrapping_add_signed(way)].cast_unsigned());
    usize::from(context_of(2 * twice.iter().sum::<u16>() + next_to_last + last + 4))
}

/// The mean of two neighbours, rounded up at a half: the prediction of an odd sample of the first row.
#[inline(always)]
pub fn between(samples: &[i16], at: usize) -> i16 {
    let sum = i32::from(samples[at]) + i32::from(samples[at + 1]) + 1;
    #[expect(clippy::cast_possible_truncation, reason = "a mean of 16-bit values")]
    let mean = (sum >> 1) as i16;
    mean
}
