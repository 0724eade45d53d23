//! Voxels to bytes.

use super::Scratch;
use super::fit::Observed;
use super::header::{CONSTANT, Header, LANES, RAW, fits, states};
use super::kernel::{Kernel, Portable, between};
use super::model::{CONTEXTS, UNKNOWN, Weights, close_slice, open_slice, set_of, taps, votes};
use super::planes::Planes;
use super::stream::BEGIN;
use super::tables::{BITS, CLASSES, Symbol, TABLES, class_of, family};

/// Appends the bytes of a chunk of `shape` to `out`; the same bytes for the same voxels, wherever it runs.
///
/// # Panics
/// Where `voxels` are not as many as the shape says, or none.
pub fn encode(voxels: &[i16], shape: [usize; 3], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let size = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    assert!(size == Some(voxels.len()) && !voxels.is_empty(), "voxels of another number than the shape's");
    let first = voxels[0];
    if voxels.iter().all(|&voxel| voxel == first) {
        out.push(CONSTANT);
        out.extend(first.to_le_bytes());
        return;
    }
    let (begin, chunk) = (out.len(), Chunk { voxels, shape, extent: extent_of(voxels, shape) });
    let is_predicted = fits(chunk.extent);
    if is_predicted {
        chunk.encode(scratch, out);
    }
    if !is_predicted || out.len() - begin > 2 * voxels.len() {
        out.truncate(begin);
        out.push(RAW);
        out.extend(voxels.iter().flat_map(|voxel| voxel.to_le_bytes()));
    }
}

/// The smallest box from the origin beyond which are zeros; 16 columns at least, where there are so many.
fn extent_of(voxels: &[i16], shape: [usize; 3]) -> [usize; 3] {
    let mut extent = [1, 1, shape[2].min(16)];
    for (z, slice) in voxels.chunks_exact(shape[1] * shape[2]).enumerate() {
        for (y, row) in slice.chunks_exact(shape[2]).enumerate() {
            if let Some(x) = row.iter().rposition(|&voxel| voxel != 0) {
                extent = [extent[0].max(z + 1), extent[1].max(y + 1), extent[2].max(x + 1)];
            }
        }
    }
    extent
}

/// A chunk that is being predicted.
struct Chunk<'a> {
    voxels: &'a [i16],
    shape: [usize; 3],
    extent: [usize; 3],
}

impl Chunk<'_> {
    fn encode(&self, scratch: &mut Scratch, out: &mut Vec<u8>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = super::avx2::Avx2::detect() {
            return kernel.run(|| self.encode_by(kernel, scratch, out));
        }
        Portable.run(|| self.encode_by(Portable, scratch, out));
    }

    #[inline(always)]
    fn encode_by<K: Kernel>(&self, kernel: K, scratch: &mut Scratch, out: &mut Vec<u8>) {
        let (base, step) = self.step();
        self.fill(base, step, &mut scratch.samples);
        let weights = self.weights(kernel, scratch);
        self.residuals(kernel, &weights, scratch);
        let (mut tables, mut used) = ([[0; CONTEXTS]; 2], [[0; 2]; 2]);
        for parity in 0..2 {
            (tables[parity], used[parity]) = choose(&scratch.counts[parity * CONTEXTS..][..CONTEXTS]);
        }
        Header { extent: self.extent, base, step, weights, tables, used }.write(self.shape, out);
        self.stream(&tables, scratch, out);
    }

    /// The rows of the coded box, with slice and row.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, &[i16])> {
        let [depth, rows, width] = self.extent;
        let row = move |z, y| &self.voxels[(z * self.shape[1] + y) * self.shape[2]..][..width];
        (0..depth).flat_map(move |z| (0..rows).map(move |y| (z, y, row(z, y))))
    }

    fn halves(&self) -> [usize; 2] {
        [self.extent[2].div_ceil(2), self.extent[2] / 2]
    }

    /// The least voxel and the greatest step between voxels, or 0 and 1 where it is 1.
    fn step(&self) -> (u16, u16) {
        let mut step = 0_u16;
        for &voxel in self.rows().flat_map(|(_, _, row)| row) {
            let mut rest = voxel.abs_diff(self.voxels[0]);
            while rest != 0 {
                (step, rest) = (rest, step % rest);
            }
            if step == 1 {
                return (0, 1);
            }
        }
        let least = self.rows().flat_map(|(_, _, row)| row).copied().min().unwrap_or(0);
        (least.cast_unsigned(), step.max(1))
    }

    /// Writes all samples to half rows, with what is around them.
    #[inline(always)]
    fn fill(&self, base: u16, step: u16, samples: &mut Planes) {
        let [depth, rows, width] = self.extent;
        samples.shape(depth, rows, width);
        for (z, y, row) in self.rows() {
            for (parity, half) in self.halves().into_iter().enumerate() {
                let at = samples.place(z, y.cast_signed(), parity);
                let pairs = samples.half_mut(at)[..half].iter_mut().zip(row.iter().skip(parity).step_by(2));
                if (base, step) == (0, 1) {
                    pairs.for_each(|(sample, voxel)| *sample = *voxel);
                } else {
                    let of = |voxel: i16| voxel.cast_unsigned().wrapping_sub(base) / step;
                    pairs.for_each(|(sample, voxel)| *sample = of(*voxel).cast_signed());
                }
                samples.close(at, parity);
            }
        }
        samples.copy_row((0, 0), (0, -1));
        for z in 0..depth {
            close_slice(samples, z, rows);
            if z > 0 {
                open_slice(samples, z, z - 1);
            }
        }
    }

    #[inline(always)]
    fn weights<K: Kernel>(&self, kernel: K, scratch: &mut Scratch) -> [Weights; 4] {
        let [depth, rows, _] = self.extent;
        let mut weights = [Weights::default(); 4];
        for (set, weights) in weights.iter_mut().enumerate() {
            let (is_first, parity) = (set < 2, set % 2);
            let observed =
                Observed { planes: &scratch.samples, is_first, parity, width: self.halves()[parity] };
            *weights = observed.weights(kernel, depth, rows, &mut scratch.work);
        }
        weights
    }

    /// Writes residuals and contexts in the order of coding, and counts them.
    #[inline(always)]
    fn residuals<K: Kernel>(&self, kernel: K, weights: &[Weights; 4], scratch: &mut Scratch) {
        let [depth, rows, width] = self.extent;
        let Scratch { samples, magnitudes, residuals, offsets, values, contexts, counts, .. } = scratch;
        counts.clear();
        counts.resize(2 * CONTEXTS, [0; CLASSES]);
        let identity = std::array::from_fn(|context| u8::try_from(context).unwrap_or(0));
        let padded = width.div_ceil(2).next_multiple_of(16);
        residuals.resize(padded, 0);
        offsets.resize(padded, 0);
        values.clear();
        contexts.clear();
        magnitudes.shape(depth, rows, width);
        magnitudes.fill_row(0, -1, UNKNOWN);
        for z in 0..depth {
            let before = z.wrapping_sub(1);
            if z > 0 {
                open_slice(magnitudes, z, before);
            }
            for (y, parity) in (0..rows).flat_map(|y| [(y, 0), (y, 1)]) {
                let (at, half) = (samples.place(z, y.cast_signed(), parity), self.halves()[parity]);
                if half > 0 {
                    if z + y == 0 {
                        expect_first(samples, at, parity, &mut residuals[..half]);
                    } else {
                        let places = taps(samples, z, before, z == 0, y, parity);
                        kernel.expect(samples.data(), &places, &weights[set_of(z, parity)], residuals);
                    }
                    for (residual, sample) in residuals.iter_mut().zip(&samples.data()[at..]) {
                        *residual = sample.wrapping_sub(*residual);
                    }
                    let votes = votes(magnitudes, z, before, z == 0, y, parity);
                    kernel.offsets(magnitudes.data(), &votes, &identity, offsets);
                    kernel.magnitudes(residuals, magnitudes.half_mut(at));
                    for (residual, offset) in residuals.iter().zip(offsets.iter()).take(half) {
                        let context = (offset >> BITS) as usize % CONTEXTS;
                        counts[parity * CONTEXTS + context][class_of(*residual)] += 1;
                        values.push(*residual);
                        contexts.push(u8::try_from(context).unwrap_or(0));
                    }
                }
                magnitudes.close(at, parity);
            }
            close_slice(magnitudes, z, rows);
        }
    }

    /// Appends states, words and escapes; samples are taken from the last to the first.
    #[inline(always)]
    fn stream(&self, tables: &[[u8; CONTEXTS]; 2], scratch: &mut Scratch, out: &mut Vec<u8>) {
        let Scratch { values, contexts, words, escapes, .. } = scratch;
        let (mut states_now, symbols) = ([BEGIN; LANES], &family().symbols);
        words.clear();
        escapes.clear();
        let mut end = values.len();
        for parity in (0..self.extent[0] * self.extent[1]).flat_map(|_| [1, 0]) {
            let begin = end - self.halves()[parity];
            let samples = values[begin..end].iter().zip(&contexts[begin..end]);
            for (column, (&residual, &context)) in samples.enumerate().rev() {
                let table = usize::from(tables[parity][usize::from(context)]);
                let symbol = symbols[table][class_of(residual)];
                push(&mut states_now[column % LANES], symbol, residual, words, escapes);
            }
            end = begin;
        }
        out.extend(states_now[..states(self.extent[2])].iter().flat_map(|state| state.to_le_bytes()));
        out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
        out.extend(escapes.iter().flat_map(|escape| escape.to_le_bytes()));
    }
}

/// Encodes one residual.
#[inline(always)]
fn push(state: &mut u32, symbol: Symbol, residual: i16, words: &mut Vec<u16>, escapes: &mut Vec<i16>) {
    let Symbol { start, freq, mut k } = symbol;
    if k == Symbol::IS_ESCAPE {
        escapes.push(residual);
        k = 0;
    }
    let freq = u32::from(freq);
    if *state >= (freq << (32 - BITS)) >> k {
        #[expect(clippy::cast_possible_truncation, reason = "the low word")]
        words.push(*state as u16);
        *state >>= 16;
    }
    let low = u32::from(residual.cast_unsigned()) & ((1 << k) - 1);
    let pushed = *state << k | low;
    *state = (pushed / freq) << BITS | (pushed % freq + u32::from(start));
}

/// Predictions of the first row of the first slice: see [`super::kernel::rebuild_first`].
fn expect_first(samples: &Planes, at: usize, parity: usize, out: &mut [i16]) {
    let (data, even) = (samples.data(), samples.place(0, 0, 0));
    for (column, out) in out.iter_mut().enumerate() {
        *out = match (parity, column) {
            (1, _) => between(data, even + column),
            (_, 0) => 0,
            _ => data[at + column - 1],
        };
    }
}

/// The cheapest table of each context of a parity, and the first and last context that occur.
fn choose(counts: &[[u32; CLASSES]]) -> ([u8; CONTEXTS], [u8; 2]) {
    let mut tables = [0; CONTEXTS];
    for (table, counts) in tables.iter_mut().zip(counts) {
        *table = cheapest(counts);
    }
    let occurs = |counts: &[u32; CLASSES]| counts.iter().any(|&count| count > 0);
    let context = |at: Option<usize>| u8::try_from(at.unwrap_or(0)).unwrap_or(0);
    (tables, [context(counts.iter().position(occurs)), context(counts.iter().rposition(occurs))])
}

/// The table that costs least, the first of several; 0 where nothing is counted.
#[inline(always)]
fn cheapest(counts: &[u32; CLASSES]) -> u8 {
    let mut costs = [0_u64; TABLES];
    for (&count, of) in counts.iter().zip(&family().costs).filter(|(count, _)| **count > 0) {
        for (cost, of) in costs.iter_mut().zip(of) {
            *cost += u64::from(count) * u64::from(*of);
        }
    }
    let least = (0..TABLES).min_by_key(|&table| costs[table]).unwrap_or(0);
    u8::try_from(least).unwrap_or(0)
}
