//! Voxels to bytes.

use std::ops::{AddAssign, Mul};

use super::Scratch;
use super::fit::Observed;
use super::header::{CONSTANT, Header, LANES, RAW, fits, halves, states};
use super::kernel::{Job, Kernel, dispatch};
use super::model::{self, CONTEXTS, Set, Weights, between, parts};
use super::order::{Rows, steps};
use super::planes::Planes;
use super::stream::BEGIN;
use super::tables::{BITS, CLASSES, SLOTS, Symbol, TABLES, class_of, family};

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
        dispatch(Encoding { chunk, scratch, out });
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
#[derive(Clone, Copy)]
struct Chunk<'a> {
    voxels: &'a [i16],
    shape: [usize; 3],
    extent: [usize; 3],
}

/// A chunk that is being encoded.
struct Encoding<'a> {
    chunk: Chunk<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut Vec<u8>,
}

impl Job for Encoding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let Self { chunk, scratch, out } = self;
        let (base, step) = chunk.step();
        scratch.shape(chunk.extent);
        chunk.fill(base, step, scratch);
        let sets = Set::all(&scratch.samples);
        let weights = chunk.weights(kernel, &sets, scratch);
        chunk.residuals(kernel, (&sets, &weights), scratch);
        let (mut tables, mut used) = ([[0; CONTEXTS]; 2], [[0; 2]; 2]);
        for parity in 0..2 {
            (tables[parity], used[parity]) = choose(&scratch.counts[parity * CELLS..][..CELLS]);
        }
        Header { extent: chunk.extent, base, step, weights, tables, used }.write(chunk.shape, out);
        chunk.stream(&tables, scratch, out);
    }
}

impl Chunk<'_> {
    /// The rows of the coded box, with slice and row.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, &[i16])> {
        let [depth, rows, width] = self.extent;
        let row = move |z, y| &self.voxels[(z * self.shape[1] + y) * self.shape[2]..][..width];
        (0..depth).flat_map(move |z| (0..rows).map(move |y| (z, y, row(z, y))))
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
    fn fill(&self, base: u16, step: u16, scratch: &mut Scratch) {
        let samples = &mut scratch.samples;
        for (z, y, row) in self.rows() {
            for parity in 0..2 {
                let half_row = samples.half_rows(Rows { slice: z, row: y, count: 1 }, parity);
                let (_, line) = samples.split(half_row);
                let pairs = line.iter_mut().zip(row.iter().skip(parity).step_by(2));
                if (base, step) == (0, 1) {
                    pairs.for_each(|(sample, voxel)| *sample = *voxel);
                } else {
                    let of = |voxel: i16| voxel.cast_unsigned().wrapping_sub(base) / step;
                    pairs.for_each(|(sample, voxel)| *sample = of(*voxel).cast_signed());
                }
                samples.repeat_ends(half_row);
            }
        }
        for rows in steps(self.extent) {
            scratch.open(rows);
            scratch.close(rows, self.extent);
        }
    }

    #[inline(always)]
    fn weights<K: Kernel>(&self, kernel: K, sets: &[Set; 4], scratch: &mut Scratch) -> [Weights; 4] {
        let [depth, rows, _] = self.extent;
        let mut weights = [Weights::default(); 4];
        for (set, weights) in weights.iter_mut().enumerate() {
            let (planes, width) = (&scratch.samples, halves(self.extent)[set % 2]);
            let observed = Observed { planes, set, taps: &sets[set].taps, width };
            *weights = observed.weights(kernel, depth, rows, &mut scratch.work);
        }
        weights
    }

    /// Writes residuals and contexts, in the order of coding, and counts them.
    #[inline(always)]
    fn residuals<K: Kernel>(&self, kernel: K, model: (&[Set; 4], &[Weights; 4]), scratch: &mut Scratch) {
        scratch.counts.clear();
        scratch.counts.resize(2 * CELLS, 0);
        let size = 2 * self.extent[0] * self.extent[1] * scratch.samples.stride();
        scratch.residuals.resize(size.max(scratch.residuals.len()), 0);
        scratch.offsets.resize(size.max(scratch.offsets.len()), 0);
        let mut begin = 0;
        for rows in steps(self.extent) {
            scratch.open(rows);
            for parity in 0..2 {
                begin = half_rows(kernel, model, rows, parity, begin, scratch);
            }
            scratch.close(rows, self.extent);
        }
    }

    /// Appends states, words and escapes; samples are taken from the last to the first.
    #[inline(always)]
    fn stream(&self, tables: &[[u8; CONTEXTS]; 2], scratch: &mut Scratch, out: &mut Vec<u8>) {
        let Scratch { samples, residuals, offsets: cells, words, escapes, symbols, .. } = scratch;
        let mut now = [BEGIN; LANES];
        words.clear();
        escapes.clear();
        symbols.clear();
        symbols.extend(tables.as_flattened().iter().flat_map(|&table| family().symbols[usize::from(table)]));
        let stride = samples.stride();
        let widths = halves(self.extent);
        let coded = widths.iter().filter(|&&width| width > 0).count();
        let mut begin = self.extent[0] * self.extent[1] * coded * stride;
        let order = steps(self.extent).rev().flat_map(|rows| [(rows, 1), (rows, 0)]);
        for (rows, parity) in order.filter(|&(_, parity)| widths[parity] > 0) {
            for _ in 0..rows.count {
                begin -= stride;
                let half = begin..begin + widths[parity];
                let samples = residuals[half.clone()].iter().zip(&cells[half]);
                let symbols = &symbols[parity * CELLS..][..CELLS];
                for (column, (&residual, &cell)) in samples.enumerate().rev() {
                    let symbol = symbols[usize::from(cell)];
                    push(&mut now[column % LANES], symbol, residual, words, escapes);
                }
            }
        }
        out.extend(now[..states(self.extent[2])].iter().flat_map(|state| state.to_le_bytes()));
        out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
        out.extend(escapes.iter().flat_map(|escape| escape.to_le_bytes()));
    }
}

/// Writes residuals and contexts of the half rows of a parity, from `begin` on; what it gives is where they end.
#[inline(always)]
fn half_rows<K: Kernel>(
    kernel: K,
    (sets, weights): (&[Set; 4], &[Weights; 4]),
    rows: Rows,
    parity: usize,
    begin: usize,
    scratch: &mut Scratch,
) -> usize {
    let Scratch { samples, magnitudes, residuals, offsets, counts, .. } = scratch;
    let all = samples.half_rows(rows, parity);
    if all.width == 0 {
        magnitudes.repeat_ends(all);
        return begin;
    }
    let identity = std::array::from_fn(|context| context.to_le_bytes()[0]);
    let end = begin + all.count * all.next;
    let (residuals, offsets) = (&mut residuals[begin..end], &mut offsets[begin..end]);
    residuals.copy_from_slice(&samples.data()[all.at..][..end - begin]);
    let (known, sizes) = magnitudes.split(all);
    for part in parts(all, rows, parity) {
        let (set, half_rows) = (part.set, part.half_rows);
        kernel.offsets(known, half_rows, &sets[set].votes, &identity, &mut offsets[part.at..]);
        if part.is_first {
            take_first(samples, parity, &mut residuals[..all.width]);
        } else {
            let residuals = &mut residuals[part.at..];
            kernel.predict::<false>(samples.data(), half_rows, &sets[set].taps, &weights[set], residuals);
        }
    }
    model::magnitudes(residuals, sizes);
    magnitudes.repeat_ends(all);
    let counts = &mut counts[parity * CELLS..][..CELLS];
    for (residuals, offsets) in residuals.chunks_exact(all.next).zip(offsets.chunks_exact_mut(all.next)) {
        count(&residuals[..all.width], offsets, counts);
    }
    end
}

/// Contexts and classes of residuals.
const CELLS: usize = CONTEXTS * CLASSES;

/// Counts residuals by context and class, and puts the number of that cell where the context was.
#[inline(always)]
fn count(residuals: &[i16], offsets: &mut [u16], counts: &mut [u32]) {
    for (&residual, offset) in residuals.iter().zip(offsets) {
        let cell = usize::from(*offset >> BITS) * CLASSES + class_of(residual);
        counts[cell] += 1;
        #[expect(clippy::cast_possible_truncation, reason = "below CELLS")]
        let cell = cell as u16;
        *offset = cell;
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
    if *state >= (freq << (31 - BITS)) >> k {
        #[expect(clippy::cast_possible_truncation, reason = "the low word")]
        words.push(*state as u16);
        *state >>= 16;
    }
    let low = u32::from(residual.cast_unsigned()) & ((1 << k) - 1);
    let pushed = *state << k | low;
    let quotient = divided(pushed, freq);
    *state = (quotient << BITS) | (pushed - quotient * freq + u32::from(start));
}

/// `number / freq`, where `number` is below `freq << 22`.
///
/// With `r = 2^40 / freq + e`, `0 < e <= 1`, `number * r / 2^40` is above the quotient by less than `number / 2^40`, which
/// is less than `1 / freq`: both are the same rounded down.
#[inline(always)]
fn divided(number: u32, freq: u32) -> u32 {
    static RECIPROCALS: [u64; SLOTS] = {
        let (mut reciprocals, mut freq) = ([0; SLOTS], 1);
        while freq < SLOTS {
            reciprocals[freq] = (1 << 40) / freq as u64 + 1;
            freq += 1;
        }
        reciprocals
    };
    let product = u64::from(number) * RECIPROCALS[freq as usize % SLOTS];
    (product >> 40) as u32
}

/// Takes the predictions of the first row: of even samples the one before, of odd ones from their neighbours.
fn take_first(samples: &Planes, parity: usize, residuals: &mut [i16]) {
    let (data, even) = (samples.data(), samples.place(0, 0, 0));
    for (column, residual) in residuals.iter_mut().enumerate() {
        *residual = residual.wrapping_sub(match (parity, column) {
            (1, _) => between(data, even + column),
            (_, 0) => 0,
            _ => data[even + column - 1],
        });
    }
}

/// The cheapest table of each context of a parity, and the first and last context that occur.
fn choose(counts: &[u32]) -> ([u8; CONTEXTS], [u8; 2]) {
    let mut tables = [0; CONTEXTS];
    let contexts = counts.as_chunks::<CLASSES>().0;
    for (table, counts) in tables.iter_mut().zip(contexts) {
        *table = cheapest(counts);
    }
    let occurs = |counts: &[u32; CLASSES]| counts.iter().any(|&count| count > 0);
    let context = |at: Option<usize>| u8::try_from(at.unwrap_or(0)).unwrap_or(0);
    (tables, [context(contexts.iter().position(occurs)), context(contexts.iter().rposition(occurs))])
}

/// The table that costs least, the first of several; 0 where nothing is counted.
#[inline(always)]
fn cheapest(counts: &[u32; CLASSES]) -> u8 {
    // A residual costs less than 2^11: the costs of so many fit 32 bits.
    let is_small = counts.iter().map(|&count| u64::from(count)).sum::<u64>() < 1 << 21;
    let least = if is_small { least_by::<u32>(counts) } else { least_by::<u64>(counts) };
    u8::try_from(least).unwrap_or(0)
}

/// The first table of least cost, in a type that fits the costs.
#[inline(always)]
fn least_by<N>(counts: &[u32; CLASSES]) -> usize
where
    N: Copy + Default + Ord + From<u32> + Mul<Output = N> + AddAssign,
{
    let mut costs = [N::default(); TABLES];
    for (&count, of) in counts.iter().zip(&family().costs).filter(|(count, _)| **count > 0) {
        for (cost, of) in costs.iter_mut().zip(of) {
            *cost += N::from(count) * N::from(*of);
        }
    }
    (0..TABLES).min_by_key(|&table| costs[table]).unwrap_or(0)
}
