//! The weights of a chunk: least squares over some of its rows, weighted towards the least absolute error.
//!
//! Sums are exact integers; the solution takes the four operations on doubles in a fixed order: any
//! implementation finds the same weights.

use super::header::with_first;
use super::kernel::Kernel;
use super::model::{DEFAULTS, ONE, TAPS, Weights, taps};
use super::planes::Planes;

/// Weights to be found: all but the first.
const FREE: usize = TAPS - 1;
const ROUNDS: usize = 2;
/// Differences and errors are cut off here.
const MOST: i16 = 1023;
/// The greatest weight of a sample; with it a difference fits 16 bits.
const MOST_TRUST: i64 = 31;
/// How strongly solutions are drawn to the defaults.
const DRAWN: i64 = 1024;
/// Samples whose sums fit 32 bits.
const BATCH: usize = 64;

/// Normal equations: sums of products of differences with each other, and with the sample's.
type Sums = [[i64; FREE + 1]; FREE];

/// The working memory of a fit, kept from chunk to chunk.
#[derive(Default)]
pub struct Work {
    expected: Vec<i16>,
    errors: Vec<u16>,
    trusted: Vec<i16>,
    differences: [Vec<i16>; FREE + 1],
    rows: Vec<(usize, usize)>,
}

/// The rows, by slice, of a set of weights for the half rows of one parity.
pub struct Observed<'a> {
    pub planes: &'a Planes,
    pub is_first: bool,
    pub parity: usize,
    /// Columns of a half row.
    pub width: usize,
}

impl Observed<'_> {
    /// The weights of the first slice or all later ones.
    #[inline(always)]
    pub fn weights<K: Kernel>(&self, kernel: K, depth: usize, rows: usize, work: &mut Work) -> Weights {
        let defaults = &DEFAULTS[2 * usize::from(!self.is_first) + self.parity];
        let slices = if self.is_first { 0..1 } else { 1..depth };
        let is_chosen = |&(z, y): &(usize, usize)| {
            if self.is_first { y % 4 == 1 } else { (y + 2 * z) % 8 == 1 }
        };
        work.rows.clear();
        work.rows.extend(slices.flat_map(|z| (0..rows).map(move |y| (z, y))).filter(is_chosen));
        let mut weights = *defaults;
        if work.rows.is_empty() || self.width == 0 {
            return weights;
        }
        for _ in 0..ROUNDS {
            self.errors(kernel, &weights, work);
            weights = solve(&self.sums(work), defaults);
        }
        weights
    }

    /// |error| of each sample, at most [`MOST`], row by row.
    #[inline(always)]
    fn errors<K: Kernel>(&self, kernel: K, weights: &Weights, work: &mut Work) {
        work.errors.clear();
        work.expected.resize(self.width.next_multiple_of(16), 0);
        for &(z, y) in &work.rows {
            let places = taps(self.planes, z, z.wrapping_sub(1), self.is_first, y, self.parity);
            kernel.expect(self.planes.data(), &places, weights, &mut work.expected);
            let at = self.planes.place(z, y.cast_signed(), self.parity);
            let actual = &self.planes.data()[at..at + self.width];
            let error = |(one, other): (&i16, &i16)| one.wrapping_sub(*other).unsigned_abs();
            let pairs = actual.iter().zip(&work.expected);
            work.errors.extend(pairs.map(|pair| error(pair).min(MOST.cast_unsigned())));
        }
    }

    #[expect(clippy::needless_range_loop, reason = "rows and columns are told apart by their numbers")]
    /// The normal equations, each sample weighted by its error.
    #[inline(always)]
    fn sums(&self, work: &mut Work) -> Sums {
        let trust = trust(&work.errors);
        let data = self.planes.data();
        let mut sums = [[0; FREE + 1]; FREE];
        let width = self.width;
        work.trusted.resize(width, 0);
        for (&(z, y), errors) in work.rows.iter().zip(work.errors.chunks_exact(width)) {
            let places = taps(self.planes, z, z.wrapping_sub(1), self.is_first, y, self.parity);
            let first = &data[places[0]..places[0] + width];
            for (i, differences) in work.differences.iter_mut().enumerate() {
                let place =
                    if i < FREE { places[i + 1] } else { self.planes.place(z, y.cast_signed(), self.parity) };
                let pairs = data[place..place + width].iter().zip(first);
                differences.clear();
                differences.extend(pairs.map(|(one, other)| one.saturating_sub(*other).clamp(-MOST, MOST)));
            }
            for i in 0..FREE {
                let pairs = work.differences[i].iter().zip(errors);
                for (trusted, (difference, error)) in work.trusted.iter_mut().zip(pairs) {
                    *trusted = difference * trust[usize::from(*error)];
                }
                for j in i..=FREE {
                    sums[i][j] += product(&work.trusted, &work.differences[j]);
                }
            }
        }
        sums
    }
}

/// How much a sample counts, by its error: less beyond twice the mean error.
fn trust(errors: &[u16]) -> [i16; MOST as usize + 1] {
    let sum: i64 = errors.iter().map(|&error| i64::from(error)).sum();
    let scale = 2 * (sum / i64::try_from(errors.len()).unwrap_or(i64::MAX)) + 4;
    let mut trust = [0; MOST as usize + 1];
    for (error, trust) in (0..).zip(&mut trust) {
        let fitting = MOST_TRUST * scale * scale / (scale + error) / (scale + error);
        *trust = i16::try_from(fitting.max(1)).unwrap_or(1);
    }
    trust
}

/// The sum of products of two rows, whose values are within 31 * 1023 and 1023.
#[inline(always)]
fn product(one: &[i16], other: &[i16]) -> i64 {
    let mut sum = 0;
    for (one, other) in one.chunks(BATCH).zip(other.chunks(BATCH)) {
        let products = one.iter().zip(other).map(|(one, other)| i32::from(*one) * i32::from(*other));
        sum += i64::from(products.sum::<i32>());
    }
    sum
}

/// The solution of the normal equations, drawn to the defaults, by elimination without pivots.
#[expect(clippy::cast_precision_loss, reason = "sums are below 2^53")]
#[expect(clippy::needless_range_loop, reason = "rows and columns are told apart by their numbers")]
fn solve(sums: &Sums, defaults: &Weights) -> Weights {
    let mut matrix = [[0.0_f64; FREE + 1]; FREE];
    for i in 0..FREE {
        for j in i..FREE {
            matrix[i][j] = sums[i][j] as f64;
            matrix[j][i] = matrix[i][j];
        }
        let ridge = (DRAWN + sums[i][i] / 256) as f64;
        matrix[i][i] += ridge;
        matrix[i][FREE] = sums[i][FREE] as f64 + ridge * (f64::from(defaults[i + 1]) / f64::from(ONE));
    }
    for i in 0..FREE {
        for j in i + 1..FREE {
            let factor = matrix[j][i] / matrix[i][i];
            for k in i..=FREE {
                matrix[j][k] -= factor * matrix[i][k];
            }
        }
    }
    let (mut solution, mut stored) = ([0.0_f64; FREE], [0_i16; FREE]);
    for i in (0..FREE).rev() {
        let mut value = matrix[i][FREE];
        for k in i + 1..FREE {
            value -= matrix[i][k] * solution[k];
        }
        solution[i] = value / matrix[i][i];
        #[expect(clippy::cast_possible_truncation, reason = "limited to 8 bits")]
        let rounded = (solution[i] * f64::from(ONE) + 0.5).floor().clamp(-128.0, 127.0) as i16;
        stored[i] = rounded;
    }
    with_first(stored)
}
