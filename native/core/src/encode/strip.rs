//! A strip, which is a line of chunks along x: cut, compressed, each with its checksum.

use crate::checksum::checksum;
use crate::element::{Element, Voxel};
use crate::encode::compress::{Compressor, MOST, most};
use crate::predict::{self, Scratch};
use crate::stash::Stash;
use crate::vectorized::vectorized;
use crate::view::Source;

/// Codecs of chunks, each with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Blosc with one zstd frame of shuffled bytes, of int16.
    Blosc(i32),
    /// One zstd frame, of uint8.
    Zstd(i32),
    /// See `predict`, of int16.
    Predict,
}

/// What no call uses at the moment.
static IDLE: Stash<Tools> = Stash::new();

#[derive(Default)]
struct Tools {
    compressor: Compressor,
    scratch: Scratch,
    chunk: Vec<u8>,
    voxels: Vec<i16>,
    encoded: Vec<u8>,
}

/// The chunks of a strip.
pub struct Encoded {
    tools: Tools,
    sizes: Vec<usize>,
}

impl Encoded {
    /// The chunks one after another.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.tools.encoded
    }

    /// Bytes of each; 0 of those that are absent.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Append the chunk that begins at a column of a strip.
    fn add(
        &mut self,
        strip: &Source<'_>,
        left: usize,
        chunk: [usize; 3],
        compression: Compression,
        keep_empty: bool,
    ) -> Option<()> {
        let Tools { compressor, scratch, chunk: bytes, voxels, encoded } = &mut self.tools;
        let is_empty = match (compression, strip.strided().element) {
            (Compression::Blosc(_), Element::I16) => cut::<i16>(strip, left, chunk, bytes),
            (Compression::Zstd(_), Element::U8) => cut::<u8>(strip, left, chunk, bytes),
            (Compression::Predict, Element::I16) => copy(strip, left, chunk, voxels),
            _ => return None,
        };
        if is_empty && !keep_empty {
            self.sizes.push(0);
            return Some(());
        }
        let begin = encoded.len();
        match compression {
            Compression::Predict => predict::encode(voxels, chunk, scratch, encoded),
            Compression::Blosc(level) => {
                append(encoded, bytes.len(), |room| compressor.blosc(bytes, level, room))?;
            }
            Compression::Zstd(level) => {
                append(encoded, bytes.len(), |room| compressor.zstd(bytes, level, room))?;
            }
        }
        encoded.extend(checksum(&encoded[begin..]));
        self.sizes.push(encoded.len() - begin);
        Some(())
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        let mut tools = std::mem::take(&mut self.tools);
        tools.encoded.clear();
        if tools.encoded.capacity() <= MOST_KEPT {
            IDLE.give_back(tools);
        }
    }
}

/// Append what a compressor writes of so many bytes.
fn append(
    encoded: &mut Vec<u8>,
    bytes: usize,
    compress: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<()> {
    let begin = encoded.len();
    encoded.resize(begin + most(bytes), 0);
    let size = compress(&mut encoded[begin..])?;
    encoded.truncate(begin + size);
    Some(())
}

/// Bytes of chunks that are kept.
const MOST_KEPT: usize = 1 << 22;

/// Chunks of a strip, ragged ones padded with zeros; None where the kernel does not encode such.
///
/// Chunks that are all zero are absent where `keep_empty` is false.
#[must_use]
pub fn encode(
    strip: &Source<'_>,
    chunk: [usize; 3],
    compression: Compression,
    keep_empty: bool,
) -> Option<Encoded> {
    let bytes = chunk.iter().try_fold(strip.strided().element.size(), |all, edge| all.checked_mul(*edge))?;
    let [planes, rows, columns] = strip.strided().shape;
    if bytes == 0 || bytes > MOST || planes > chunk[0] || rows > chunk[1] {
        return None;
    }
    let mut encoded = Encoded { tools: IDLE.take(), sizes: Vec::new() };
    encoded.tools.chunk.resize(bytes, 0);
    for left in (0..columns).step_by(chunk[2]) {
        encoded.add(strip, left, chunk, compression, keep_empty)?;
    }
    Some(encoded)
}

/// Fill `voxels` with those of a chunk; whether all are 0.
fn copy(strip: &Source<'_>, left: usize, chunk: [usize; 3], voxels: &mut Vec<i16>) -> bool {
    let [planes, rows, columns] = strip.strided().shape;
    let count = chunk[2].min(columns - left);
    voxels.clear();
    voxels.resize(chunk.iter().product(), 0);
    for (plane, row) in (0..planes).flat_map(|plane| (0..rows).map(move |row| (plane, row))) {
        let at = (plane * chunk[1] + row) * chunk[2];
        strip.read([plane, row, left], &mut voxels[at..][..count]);
    }
    voxels.iter().all(|voxel| *voxel == 0)
}

/// Fill `bytes` with the voxels of a chunk: all their lowest bytes, then all next ones; whether all are 0.
fn cut<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) -> bool {
    vectorized!(cut_rows::<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) -> bool)
}

/// Voxels that are looked at together.
const WIDTH: usize = 64;

#[inline(always)]
fn cut_rows<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) -> bool {
    let [planes, rows, columns] = strip.strided().shape;
    let count = chunk[2].min(columns - left);
    if [planes, rows, count] != chunk {
        bytes.fill(0);
    }
    let mut values = [T::default(); WIDTH];
    let mut is_empty = true;
    for plane in 0..planes {
        for row in 0..rows {
            for done in (0..count).step_by(WIDTH) {
                let (place, width) = ([plane, row, left + done], WIDTH.min(count - done));
                let values = strip.dense(place, width).unwrap_or_else(|| {
                    strip.read(place, &mut values[..width]);
                    &values[..width]
                });
                let at = (plane * chunk[1] + row) * chunk[2] + done;
                // Of a length that is known it takes a few instructions.
                is_empty &= match <&[T; WIDTH]>::try_from(values) {
                    Ok(values) => T::part(values, at, bytes),
                    Err(_) => T::part(values, at, bytes),
                };
            }
        }
    }
    is_empty
}

/// A voxel whose bytes are stored apart.
trait Bytes: Voxel {
    /// Write the bytes of voxels to where those of the voxels from index `at` on belong; whether all are 0.
    fn part(values: &[Self], at: usize, bytes: &mut [u8]) -> bool;
}

impl Bytes for u8 {
    #[inline(always)]
    fn part(values: &[Self], at: usize, bytes: &mut [u8]) -> bool {
        bytes[at..][..values.len()].copy_from_slice(values);
        values.iter().fold(0, |all, value| all | value) == 0
    }
}

impl Bytes for i16 {
    #[inline(always)]
    fn part(values: &[Self], at: usize, bytes: &mut [u8]) -> bool {
        let (low, high) = bytes.split_at_mut(bytes.len() / 2);
        let (low, high) = (&mut low[at..][..values.len()], &mut high[at..][..values.len()]);
        for ((value, low), high) in values.iter().zip(low).zip(high) {
            [*low, *high] = value.to_le_bytes();
        }
        values.iter().fold(0, |all, value| all | value) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Strided;

    fn view(memory: &[i16], shape: [usize; 3]) -> Source<'_> {
        let [_, rows, columns] = shape.map(usize::cast_signed);
        assert_eq!(shape.iter().product::<usize>(), memory.len());
        let strided = Strided { strides: [2 * rows * columns, 2 * columns, 2], shape, element: Element::I16 };
        // SAFETY: C order, of as many voxels as there are.
        unsafe { Source::new(memory.as_ptr().cast(), strided) }.unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn a_ragged_chunk_is_padded_with_zeros() {
        let memory: Vec<i16> = (1..=12).map(|value| value * 257).collect();
        let mut bytes = [9; 16];
        cut::<i16>(&view(&memory, [1, 2, 6]), 4, [2, 2, 2], &mut bytes);
        assert_eq!(bytes, [5, 6, 11, 12, 0, 0, 0, 0, 5, 6, 11, 12, 0, 0, 0, 0]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn chunks_of_zeros_are_absent_where_they_may_be() {
        let memory = vec![0_i16; 24];
        let strip = view(&memory, [2, 2, 6]);
        let encoded = encode(&strip, [2, 2, 4], Compression::Blosc(1), false).unwrap();
        assert_eq!((encoded.bytes().len(), encoded.sizes()), (0, &[0, 0][..]));
        let encoded = encode(&strip, [2, 2, 4], Compression::Blosc(1), true).unwrap();
        assert_eq!(encoded.sizes().iter().sum::<usize>(), encoded.bytes().len());
        assert!(crate::checksum::without_checksum(&encoded.bytes()[..encoded.sizes()[0]]).is_some());
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn chunks_of_the_codec_predict_are_padded_with_zeros() {
        let memory: Vec<i16> = (1..=12).collect();
        let encoded = encode(&view(&memory, [1, 2, 6]), [2, 2, 4], Compression::Predict, true).unwrap();
        let mut expected = Vec::new();
        let last = [5, 6, 0, 0, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        predict::encode(&last, [2, 2, 4], &mut Scratch::default(), &mut expected);
        expected.extend(checksum(&expected));
        assert_eq!(encoded.sizes().len(), 2);
        assert_eq!(encoded.bytes()[encoded.sizes()[0]..], expected);
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn what_the_kernel_does_not_encode_is_left() {
        let memory = vec![0_i16; 24];
        let strip = view(&memory, [2, 2, 6]);
        assert!(encode(&strip, [2, 2, 4], Compression::Zstd(9), true).is_none());
        assert!(encode(&strip, [1, 2, 4], Compression::Blosc(1), true).is_none());
        assert!(encode(&strip, [2, 2, 0], Compression::Blosc(1), true).is_none());
        assert!(encode(&strip, [16, 64, 65], Compression::Blosc(1), true).is_none());
    }
}
