//! Bytes to voxels.

use super::header::{CONSTANT, Header, PREDICTED, RAW, states};
use super::kernel::{Job, Kernel, dispatch};
use super::model::{self, Set, between, parts};
use super::order::{Rows, steps};
use super::stream::Stream;
use super::tables::family;
use super::{Malformed, Scratch};

/// Decodes a chunk of `shape` into `out`, which has as many voxels, in C order.
///
/// # Errors
/// [`Malformed`] where `data` is no chunk of this shape, or `out` is not of its size; `out` may then hold anything.
pub fn decode(
    data: &[u8],
    shape: [usize; 3],
    out: &mut [i16],
    scratch: &mut Scratch,
) -> Result<(), Malformed> {
    let voxels = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if voxels != Some(out.len()) || out.is_empty() {
        return Err(Malformed("its shape is not that of the buffer"));
    }
    if data.len() > 2 * out.len() + 1 {
        return Err(Malformed("more bytes than its voxels have"));
    }
    match data.split_first() {
        Some((&CONSTANT, value)) => constant(value, out),
        Some((&RAW, voxels)) => raw(voxels, out),
        Some((&PREDICTED, rest)) => predicted(rest, shape, out, scratch),
        _ => Err(Malformed("unknown first byte")),
    }
}

fn constant(value: &[u8], out: &mut [i16]) -> Result<(), Malformed> {
    let value = value.try_into().map_err(|_| Malformed("a constant of another size"))?;
    out.fill(i16::from_le_bytes(value));
    Ok(())
}

fn raw(voxels: &[u8], out: &mut [i16]) -> Result<(), Malformed> {
    let (pairs, rest) = voxels.as_chunks();
    if pairs.len() != out.len() || !rest.is_empty() {
        return Err(Malformed("raw voxels of another number"));
    }
    for (voxel, pair) in out.iter_mut().zip(pairs) {
        *voxel = i16::from_le_bytes(*pair);
    }
    Ok(())
}

fn predicted(
    data: &[u8],
    shape: [usize; 3],
    out: &mut [i16],
    scratch: &mut Scratch,
) -> Result<(), Malformed> {
    let (header, rest) = Header::read(data, shape)?;
    let mut stream = Stream::new(rest, states(header.extent[2]), &family().slots)?;
    if header.extent != shape {
        out.fill(0);
    }
    dispatch(Decoding { header: &header, stream: &mut stream, shape, out, scratch })?;
    stream.finish()
}

/// A predicted chunk that is being decoded.
struct Decoding<'a, 'b> {
    header: &'a Header,
    stream: &'a mut Stream<'b>,
    shape: [usize; 3],
    out: &'a mut [i16],
    scratch: &'a mut Scratch,
}

impl Job for Decoding<'_, '_> {
    type Output = Result<(), Malformed>;

    /// Decodes step by step.
    #[inline(always)]
    fn run<K: Kernel>(mut self, kernel: K) -> Result<(), Malformed> {
        self.scratch.shape(self.header.extent);
        let sets = Set::all(&self.scratch.samples);
        for rows in steps(self.header.extent) {
            self.scratch.open(rows);
            for parity in 0..2 {
                self.half_rows(kernel, &sets, rows, parity)?;
            }
            self.scratch.close(rows, self.header.extent);
            self.weave(rows);
        }
        Ok(())
    }
}

impl Decoding<'_, '_> {
    /// Decodes the half rows of a parity: each stage for all slices, so that none waits for the last result.
    #[inline(always)]
    fn half_rows<K: Kernel>(
        &mut self,
        kernel: K,
        sets: &[Set; 4],
        rows: Rows,
        parity: usize,
    ) -> Result<(), Malformed> {
        let all = self.scratch.samples.half_rows(rows, parity);
        if all.width > 0 {
            self.residuals(kernel, sets, rows, parity)?;
            self.add_predictions(kernel, sets, rows, parity);
        }
        self.scratch.samples.repeat_ends(all);
        self.scratch.magnitudes.repeat_ends(all);
        Ok(())
    }

    /// Draws residuals to where the samples will be.
    #[inline(always)]
    fn residuals<K: Kernel>(
        &mut self,
        kernel: K,
        sets: &[Set; 4],
        rows: Rows,
        parity: usize,
    ) -> Result<(), Malformed> {
        let Scratch { samples, magnitudes, offsets, .. } = &mut *self.scratch;
        let all = samples.half_rows(rows, parity);
        let ((_, residuals), (known, sizes)) = (samples.split(all), magnitudes.split(all));
        let offsets = &mut offsets[..residuals.len()];
        for part in parts(all, rows, parity) {
            let (votes, tables) = (&sets[part.set].votes, &self.header.tables[parity]);
            kernel.offsets(known, part.half_rows, votes, tables, &mut offsets[part.at..]);
        }
        if kernel.draw(self.stream, all, offsets, residuals)? {
            for half_row in residuals.chunks_exact_mut(all.next) {
                self.stream.take_escapes(&mut half_row[..all.width])?;
            }
        }
        model::magnitudes(residuals, sizes);
        Ok(())
    }

    /// Adds predictions to residuals.
    #[inline(always)]
    fn add_predictions<K: Kernel>(&mut self, kernel: K, sets: &[Set; 4], rows: Rows, parity: usize) {
        let samples = &mut self.scratch.samples;
        let (all, even) = (samples.half_rows(rows, parity), samples.place(0, 0, 0));
        let (known, residuals) = samples.split(all);
        for part in parts(all, rows, parity) {
            let residuals = &mut residuals[part.at..];
            if part.is_first {
                add_first(known, even, parity, &mut residuals[..all.width]);
            } else {
                let (taps, weights) = (&sets[part.set].taps, &self.header.weights[part.set]);
                kernel.predict::<true>(known, part.half_rows, taps, weights, residuals);
            }
        }
    }

    /// Writes the voxels of rows.
    #[inline(always)]
    fn weave(&mut self, rows: Rows) {
        let Header { extent: [_, _, width], base, step, .. } = *self.header;
        let samples = &self.scratch.samples;
        let of = |sample: i16| base.wrapping_add(step.wrapping_mul(sample.cast_unsigned())).cast_signed();
        let half_rows = |parity| {
            let all = samples.half_rows(rows, parity);
            samples.data()[all.at..].chunks_exact(all.next)
        };
        for ((slice, row), (even, odd)) in rows.iter().zip(half_rows(0).zip(half_rows(1))) {
            let out = &mut self.out[(slice * self.shape[1] + row) * self.shape[2]..][..width];
            let (pairs, last) = out.as_chunks_mut::<2>();
            if let [last] = last {
                *last = of(even[width / 2]);
            }
            for (pair, (&even, &odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                *pair = [of(even), of(odd)];
            }
        }
    }
}

/// Adds the predictions of a half row of the first row: of even samples the one before, of odd ones from the even ones
/// beside them, which begin at `even`.
fn add_first(samples: &[i16], even: usize, parity: usize, residuals: &mut [i16]) {
    let mut last = 0;
    for (column, residual) in residuals.iter_mut().enumerate() {
        let predicted = if parity == 0 { last } else { between(samples, even + column) };
        last = predicted.wrapping_add(*residual);
        *residual = last;
    }
}
