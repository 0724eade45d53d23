//! The three loops over a half row, for any processor; `avx2` has them again.

use super::Malformed;
use super::header::LANES;
use super::model::{CONTEXTS, Places, Votes, Weights, context, magnitude, predicted};
use super::planes::Planes;
use super::stream::Stream;
use super::tables::BITS;

/// The loops over a half row. All kernels do the same.
pub trait Kernel: Copy {
    /// Runs a function, compiled for the kernel's processor.
    fn run<R>(self, function: impl FnOnce() -> R) -> R;

    /// First slots of the tables of a half row, by the context of each sample.
    fn offsets(self, magnitudes: &[i16], votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u32]);

    /// The residuals of a half row of `width` samples; `offsets` and `residuals` have at least so many.
    fn draw(
        self,
        stream: &mut Stream,
        offsets: &[u32],
        residuals: &mut [i16],
        width: usize,
    ) -> Result<(), Malformed>;

    /// Writes the magnitudes of residuals to a half row.
    fn magnitudes(self, residuals: &[i16], out: &mut [i16]);

    /// Writes predictions and residuals added to the half row at `at`.
    fn rebuild(self, samples: &mut [i16], at: usize, places: &Places, weights: &Weights, residuals: &[i16]);

    /// Writes the predictions of a half row; `out` has a multiple of 16 samples.
    fn expect(self, samples: &[i16], places: &Places, weights: &Weights, out: &mut [i16]);

    /// Writes a row whose halves are given, each voxel `base + step * sample`.
    fn weave(self, halves: [&[i16]; 2], base: u16, step: u16, out: &mut [i16]);
}

/// The loops for any processor.
#[derive(Clone, Copy)]
pub struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn run<R>(self, function: impl FnOnce() -> R) -> R {
        function()
    }

    #[inline(always)]
    fn offsets(self, magnitudes: &[i16], votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u32]) {
        for (at, out) in out.iter_mut().enumerate() {
            *out = u32::from(tables[context(magnitudes, votes, at)]) << BITS;
        }
    }

    #[inline(always)]
    fn draw(
        self,
        stream: &mut Stream,
        offsets: &[u32],
        residuals: &mut [i16],
        width: usize,
    ) -> Result<(), Malformed> {
        for (at, (offset, residual)) in offsets.iter().zip(residuals).enumerate().take(width) {
            *residual = stream.draw(at % LANES, *offset)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn magnitudes(self, residuals: &[i16], out: &mut [i16]) {
        for (residual, out) in residuals.iter().zip(out) {
            *out = magnitude(*residual);
        }
    }

    #[inline(always)]
    fn rebuild(self, samples: &mut [i16], at: usize, places: &Places, weights: &Weights, residuals: &[i16]) {
        for (column, residual) in residuals.iter().enumerate() {
            let sample = predicted(samples, places, weights, column).wrapping_add(*residual);
            samples[at + column] = sample;
        }
    }

    #[inline(always)]
    fn expect(self, samples: &[i16], places: &Places, weights: &Weights, out: &mut [i16]) {
        for (column, out) in out.iter_mut().enumerate() {
            *out = predicted(samples, places, weights, column);
        }
    }

    #[inline(always)]
    fn weave(self, halves: [&[i16]; 2], base: u16, step: u16, out: &mut [i16]) {
        for (x, out) in out.iter_mut().enumerate() {
            let sample = halves[x % 2][x / 2].cast_unsigned();
            *out = base.wrapping_add(step.wrapping_mul(sample)).cast_signed();
        }
    }
}

/// Rebuilds a half row of the first row of the first slice: even samples from the one before, odd ones from their
/// neighbours.
pub fn rebuild_first(planes: &mut Planes, at: usize, even: usize, parity: usize, residuals: &[i16]) {
    let mut last = 0;
    for (column, residual) in residuals.iter().enumerate() {
        let predicted = if parity == 0 { last } else { between(planes.data(), even + column) };
        last = predicted.wrapping_add(*residual);
        planes.half_mut(at)[column] = last;
    }
}

/// The mean of two neighbours, rounded up at a half.
pub fn between(samples: &[i16], at: usize) -> i16 {
    let sum = i32::from(samples[at]) + i32::from(samples[at + 1]) + 1;
    #[expect(clippy::cast_possible_truncation, reason = "a mean of 16-bit values")]
    let mean = (sum >> 1) as i16;
    mean
}
