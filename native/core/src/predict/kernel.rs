//! The three loops over half rows, for any processor; `avx2` has them again.

use super::Malformed;
use super::header::LANES;
use super::model::{CONTEXTS, Taps, Votes, Weights, context, predicted};
use super::planes::HalfRows;
use super::stream::Stream;
use super::tables::BITS;

/// The loops over half rows of one parity, for each of which a buffer has `rows.next` values. All kernels do the same.
pub trait Kernel: Copy {
    /// First slots of the tables of samples, by their contexts.
    fn offsets(
        self,
        magnitudes: &[i16],
        rows: HalfRows,
        votes: &Votes,
        tables: &[u8; CONTEXTS],
        out: &mut [u16],
    );

    /// Draws the residuals of half rows, by the first slots of their tables, and whether some had no symbol:
    /// [`super::tables::ESCAPE`] stands for them.
    fn draw(
        self,
        stream: &mut Stream,
        rows: HalfRows,
        offsets: &[u16],
        residuals: &mut [i16],
    ) -> Result<bool, Malformed>;

    /// Adds predictions to residuals, or takes them from samples; `samples` may end where the half rows begin.
    fn predict<const IS_ADDED: bool>(
        self,
        samples: &[i16],
        rows: HalfRows,
        taps: &Taps,
        weights: &Weights,
        out: &mut [i16],
    );

    /// The sum of products of two rows, a multiple of 16 values each, within 31 * 1023 and 1023.
    fn product(self, one: &[i16], other: &[i16]) -> i64;
}

/// Work that takes a kernel. Its methods are inlined (`#[inline(always)]`) where it is run, so that all of it is compiled
/// for the kernel's processor; a closure would not be.
pub trait Job {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// Runs a job with the best kernel of this processor.
pub fn dispatch<J: Job>(job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::avx2::Avx2::detect() {
        return kernel.run(job);
    }
    job.run(Portable)
}

/// The loops for any processor.
#[derive(Clone, Copy)]
pub struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn offsets(
        self,
        magnitudes: &[i16],
        rows: HalfRows,
        votes: &Votes,
        tables: &[u8; CONTEXTS],
        out: &mut [u16],
    ) {
        for (at, out) in rows.places().zip(out.chunks_exact_mut(rows.next)) {
            for (column, out) in out.iter_mut().enumerate().take(rows.room) {
                *out = u16::from(tables[context(magnitudes, votes, at + column)]) << BITS;
            }
        }
    }

    #[inline(always)]
    fn draw(
        self,
        stream: &mut Stream,
        rows: HalfRows,
        offsets: &[u16],
        residuals: &mut [i16],
    ) -> Result<bool, Malformed> {
        let mut has_escapes = false;
        for (offsets, residuals) in offsets.chunks_exact(rows.next).zip(residuals.chunks_exact_mut(rows.next))
        {
            let groups = residuals[..rows.width].chunks_mut(LANES);
            for (offsets, residuals) in offsets[..rows.width].chunks(LANES).zip(groups) {
                has_escapes |= stream.draw(offsets, residuals)?;
            }
        }
        Ok(has_escapes)
    }

    #[inline(always)]
    fn predict<const IS_ADDED: bool>(
        self,
        samples: &[i16],
        rows: HalfRows,
        taps: &Taps,
        weights: &Weights,
        out: &mut [i16],
    ) {
        for (at, out) in rows.places().zip(out.chunks_exact_mut(rows.next)) {
            for (column, out) in out.iter_mut().enumerate().take(rows.room) {
                let predicted = predicted(samples, taps, weights, at + column);
                *out = if IS_ADDED { out.wrapping_add(predicted) } else { out.wrapping_sub(predicted) };
            }
        }
    }
    #[inline(always)]
    fn product(self, one: &[i16], other: &[i16]) -> i64 {
        one.iter().zip(other).map(|(one, other)| i64::from(i32::from(*one) * i32::from(*other))).sum()
    }
}
