//! Bytes to voxels.

use super::header::{CONSTANT, Header, PREDICTED, RAW, states};
use super::kernel::{Kernel, Portable, rebuild_first};
use super::model::{UNKNOWN, close_slice, open_slice, set_of, taps, votes};
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
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::avx2::Avx2::detect() {
        kernel.run(|| slices(kernel, &header, &mut stream, shape, out, scratch))?;
        return stream.finish();
    }
    Portable.run(|| slices(Portable, &header, &mut stream, shape, out, scratch))?;
    stream.finish()
}

/// Decodes every slice, each half row in turn.
#[inline(always)]
pub fn slices<K: Kernel>(
    kernel: K,
    header: &Header,
    stream: &mut Stream,
    shape: [usize; 3],
    out: &mut [i16],
    scratch: &mut Scratch,
) -> Result<(), Malformed> {
    let [depth, rows, width] = header.extent;
    let halves = [width.div_ceil(2), width / 2];
    let Scratch { samples, magnitudes, residuals, offsets, .. } = scratch;
    samples.shape(depth.min(2), rows, width);
    magnitudes.shape(depth.min(2), rows, width);
    let padded = halves[0].next_multiple_of(16);
    residuals.resize(padded, 0);
    offsets.resize(padded, 0);
    magnitudes.fill_row(0, -1, UNKNOWN);
    for z in 0..depth {
        let (here, before) = (z % 2, (z + 1) % 2);
        if z > 0 {
            open_slice(samples, here, before);
            open_slice(magnitudes, here, before);
        }
        for y in 0..rows {
            let even = samples.place(here, y.cast_signed(), 0);
            for (parity, half) in halves.into_iter().enumerate() {
                let at = samples.place(here, y.cast_signed(), parity);
                if half > 0 {
                    let votes = votes(magnitudes, here, before, z == 0, y, parity);
                    kernel.offsets(magnitudes.data(), &votes, &header.tables[parity], offsets);
                    kernel.draw(stream, offsets, residuals, half)?;
                    kernel.magnitudes(residuals, magnitudes.half_mut(at));
                    if z + y == 0 {
                        rebuild_first(samples, at, even, parity, &residuals[..half]);
                    } else {
                        let places = taps(samples, here, before, z == 0, y, parity);
                        kernel.rebuild(
                            samples.data_mut(),
                            at,
                            &places,
                            &header.weights[set_of(z, parity)],
                            residuals,
                        );
                    }
                }
                samples.close(at, parity);
                magnitudes.close(at, parity);
            }
            if z + y == 0 {
                samples.copy_row((0, 0), (0, -1));
            }
            let odd = samples.place(here, y.cast_signed(), 1);
            let woven = &mut out[(z * shape[1] + y) * shape[2]..][..width];
            let halves = [&samples.data()[even..], &samples.data()[odd..]];
            kernel.weave(halves, header.base, header.step, woven);
        }
        close_slice(samples, here, rows);
        close_slice(magnitudes, here, rows);
    }
    Ok(())
}
