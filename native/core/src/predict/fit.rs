//! The weights of a chunk: least squares over some of its rows, weighted towards the least absolute error.
//!
//! Sums are exact integers; the solution takes the four operations on doubles in a fixed order: any
//! implementation finds the same weights.

use super::header::with_first;
use super::kernel::Kernel;
use super::model::{DEFAULTS, ONE, TAPS, Taps, Weights};
use super::planes::{HalfRows, Planes};

/// Weights to be found: all but the first.
const FREE: usize = TAPS - 1;
const ROUNDS: usize = 2;
/// Differences and errors are cut off here.
const MOST: i16 = 1023;
/// The greatest weight of a sample; with it a difference fits 16 bits.
const MOST_TRUST: i64 = 31;
/// How strongly solutions are drawn to the defaults.
const DRAWN: i64 = 1024;

/// Normal equations: sums of products of differences with each other, and with the sample's.
type Sums = [[i64; FREE + 1]; FREE];

/// The working memory of a fit, kept from chunk to chunk. All but `places` and `row` have as many values: zeros
/// stand behind those of the samples, up to a multiple of 16.
#[derive(Default)]
pub struct Work {
    /// Column 0 of the half rows that are looked at.
    places: Vec<usize>,
    row: Vec<i16>,
    /// Of each tap, and last of the sample, to the first tap.
    differences: [Vec<i16>; FREE + 1],
    errors: Vec<u16>,
    trust: Vec<i16>,
    trusted: Vec<i16>,
}

/// Half rows of one parity, from which the weights of a set are found.
pub struct Observed<'a> {
    pub planes: &'a Planes,
    pub set: usize,
    pub taps: &'a Taps,
    /// Columns of a half row.
    pub width: usize,
}

impl Observed<'_> {
    /// The weights of the set.
    #[inline(always)]
    pub fn weights<K: Kernel>(&self, kernel: K, depth: usize, rows: usize, work: &mut Work) -> Weights {
        let defaults = &DEFAULTS[self.set];
        let mut weights = *defaults;
        self.choose(depth, rows, work);
        if work.places.is_empty() || self.width == 0 {
            return weights;
        }
        self.differences(work);
        for _ in 0..ROUNDS {
            self.errors(kernel, &weights, work);
            trust(work, self.width * work.places.len());
            weights = solve(&sums(kernel, work), defaults);
        }
        weights
    }

    /// The rows that are looked at, of the first slice or of all later ones.
    fn choose(&self, depth: usize, rows: usize, work: &mut Work) {
        let is_first = self.set < 2;
        let slices = if is_first { 0..1 } else { 1..depth };
        let is_chosen = |&(z, y): &(usize, usize)| if is_first { y % 4 == 1 } else { (y + 2 * z) % 8 == 1 };
        let chosen = slices.flat_map(|z| (0..rows).map(move |y| (z, y))).filter(is_chosen);
        work.places.clear();
        work.places.extend(chosen.map(|(z, y)| self.planes.place(z, y.cast_signed(), self.set % 2)));
    }

    #[inline(always)]
    fn differences(&self, work: &mut Work) {
        let (data, ways) = (self.planes.data(), self.taps.all[1..].iter().copied().chain([0]));
        for (way, differences) in ways.zip(&mut work.differences) {
            differences.clear();
            for &at in &work.places {
                let row = |way| &data[at.wrapping_add_signed(way)..][..self.width];
                let pairs = row(way).iter().zip(row(self.taps.all[0]));
                differences.extend(pairs.map(|(one, other)| one.saturating_sub(*other).clamp(-MOST, MOST)));
            }
            differences.resize(differences.len().next_multiple_of(16), 0);
        }
    }

    /// |error| of each sample, at most [`MOST`], row by row.
    #[inline(always)]
    fn errors<K: Kernel>(&self, kernel: K, weights: &Weights, work: &mut Work) {
        let room = self.planes.room();
        work.errors.clear();
        work.row.resize(room.max(work.row.len()), 0);
        for &at in &work.places {
            let half_row = HalfRows { at, next: room, count: 1, room, width: self.width };
            work.row[..room].copy_from_slice(&self.planes.data()[at..at + room]);
            kernel.predict::<false>(self.planes.data(), half_row, self.taps, weights, &mut work.row);
            let errors = work.row.iter().map(|error| error.unsigned_abs().min(MOST.cast_unsigned()));
            work.errors.extend(errors.take(self.width));
        }
    }
}

/// The normal equations, each sample weighted by its trust.
#[inline(always)]
fn sums<K: Kernel>(kernel: K, work: &mut Work) -> Sums {
    let Work { differences, trust, trusted, .. } = work;
    let mut sums = [[0; FREE + 1]; FREE];
    trusted.resize(trust.len(), 0);
    for (i, sums) in sums.iter_mut().enumerate() {
        for (trusted, (difference, trust)) in trusted.iter_mut().zip(differences[i].iter().zip(&*trust)) {
            *trusted = difference * trust;
        }
        for (sum, differences) in sums.iter_mut().zip(&*differences).skip(i) {
            *sum = kernel.product(trusted, differences);
        }
    }
    sums
}

/// How much each sample counts, by its error: less beyond twice the mean error.
#[inline(always)]
fn trust(work: &mut Work, samples: usize) {
    let sum: i64 = work.errors.iter().map(|&error| i64::from(error)).sum();
    let scale = 2 * (sum / i64::try_from(samples).unwrap_or(i64::MAX)) + 4;
    let mut by_error = [0; MOST as usize + 1];
    for (error, trust) in (0..).zip(&mut by_error) {
        let fitting = MOST_TRUST * scale * scale / (scale + error) / (scale + error);
        *trust = i16::try_from(fitting.max(1)).unwrap_or(1);
    }
    work.trust.clear();
    work.trust.extend(work.errors.iter().map(|error| by_error[usize::from(*error) % by_error.len()]));
    work.trust.resize(work.trust.len().next_multiple_of(16), 0);
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
