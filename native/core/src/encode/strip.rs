//! A strip, which is a line of chunks along x: cut, compressed, each with its checksum.

use crate::checksum::checksum;
use crate::encode::compress::{Compressor, MOST};
use crate::stash::Stash;
use crate::view::{Element, Source, Voxel};

/// Codecs of chunks, each with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Blosc with one zstd frame of shuffled bytes, of int16.
    Blosc(i32),
    /// One zstd frame, of uint8.
    Zstd(i32),
}

/// The chunks of a strip.
#[derive(Debug, Default)]
pub struct Encoded {
    /// One after another.
    pub bytes: Vec<u8>,
    /// Of each; 0 of those that are absent.
    pub sizes: Vec<usize>,
}

/// What no call uses at the moment.
static IDLE: Stash<Tools> = Stash::new();

#[derive(Default)]
struct Tools {
    compressor: Compressor,
    chunk: Vec<u8>,
}

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
    let bytes = chunk.iter().try_fold(strip.element().size(), |all, edge| all.checked_mul(*edge))?;
    let [planes, rows, columns] = strip.shape();
    if bytes == 0 || bytes > MOST || planes > chunk[0] || rows > chunk[1] {
        return None;
    }
    let mut tools = IDLE.take();
    let mut encoded = Encoded::default();
    tools.chunk.resize(bytes, 0);
    for left in (0..columns).step_by(chunk[2]) {
        one(strip, left, chunk, compression, keep_empty, &mut tools, &mut encoded)?;
    }
    IDLE.give_back(tools);
    Some(encoded)
}

/// Append the chunk that begins at a column of a strip.
fn one(
    strip: &Source<'_>,
    left: usize,
    chunk: [usize; 3],
    compression: Compression,
    keep_empty: bool,
    tools: &mut Tools,
    encoded: &mut Encoded,
) -> Option<()> {
    let Tools { compressor, chunk: bytes } = tools;
    let begin = encoded.bytes.len();
    match (compression, strip.element()) {
        (Compression::Blosc(_), Element::I16) => cut::<i16>(strip, left, chunk, bytes),
        (Compression::Zstd(_), Element::U8) => cut::<u8>(strip, left, chunk, bytes),
        _ => return None,
    }
    if keep_empty || bytes.iter().any(|byte| *byte != 0) {
        match compression {
            Compression::Blosc(level) => compressor.blosc(bytes, level, &mut encoded.bytes)?,
            Compression::Zstd(level) => compressor.zstd(bytes, level, &mut encoded.bytes)?,
        }
        encoded.bytes.extend(checksum(&encoded.bytes[begin..]));
    }
    encoded.sizes.push(encoded.bytes.len() - begin);
    Some(())
}

/// Fill `bytes` with the voxels of a chunk: all their lowest bytes, then all next ones.
fn cut<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { cut_avx2::<T>(strip, left, chunk, bytes) };
    }
    cut_rows::<T>(strip, left, chunk, bytes);
}

/// `cut_rows`, compiled for processors with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn cut_avx2<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) {
    cut_rows::<T>(strip, left, chunk, bytes);
}

/// Voxels that are looked at together.
const WIDTH: usize = 64;

#[inline(always)]
fn cut_rows<T: Bytes>(strip: &Source<'_>, left: usize, chunk: [usize; 3], bytes: &mut [u8]) {
    let [planes, rows, columns] = strip.shape();
    let count = chunk[2].min(columns - left);
    if [planes, rows, count] != chunk {
        bytes.fill(0);
    }
    let mut values = [T::default(); WIDTH];
    for plane in 0..planes {
        for row in 0..rows {
            for done in (0..count).step_by(WIDTH) {
                let values = &mut values[..WIDTH.min(count - done)];
                strip.read([plane, row, left + done], values);
                T::part(values, (plane * chunk[1] + row) * chunk[2] + done, bytes);
            }
        }
    }
}

/// A voxel whose bytes are stored apart.
trait Bytes: Voxel {
    /// Write the bytes of voxels to where those of the voxels from index `at` on belong.
    fn part(values: &[Self], at: usize, bytes: &mut [u8]);
}

impl Bytes for u8 {
    #[inline(always)]
    fn part(values: &[Self], at: usize, bytes: &mut [u8]) {
        bytes[at..][..values.len()].copy_from_slice(values);
    }
}

impl Bytes for i16 {
    #[inline(always)]
    fn part(values: &[Self], at: usize, bytes: &mut [u8]) {
        let (low, high) = bytes.split_at_mut(bytes.len() / 2);
        let (low, high) = (&mut low[at..][..values.len()], &mut high[at..][..values.len()]);
        for ((value, low), high) in values.iter().zip(low).zip(high) {
            [*low, *high] = value.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(memory: &[i16], shape: [usize; 3]) -> Source<'_> {
        let [_, rows, columns] = shape.map(usize::cast_signed);
        assert_eq!(shape.iter().product::<usize>(), memory.len());
        let strides = [2 * rows * columns, 2 * columns, 2];
        // SAFETY: C order, of as many voxels as there are.
        unsafe { Source::new(memory.as_ptr().cast(), strides, shape, Element::I16) }.unwrap()
    }

    #[test]
    fn a_ragged_chunk_is_padded_with_zeros() {
        let memory: Vec<i16> = (1..=12).map(|value| value * 257).collect();
        let mut bytes = vec![9; 2 * 2 * 2 * 4];
        cut::<i16>(&view(&memory, [1, 2, 6]), 4, [2, 2, 2], &mut bytes[..16]);
        assert_eq!(bytes[..16], [5, 6, 11, 12, 0, 0, 0, 0, 5, 6, 11, 12, 0, 0, 0, 0]);
    }

    #[test]
    fn chunks_of_zeros_are_absent_where_they_may_be() {
        let memory = vec![0_i16; 24];
        let strip = view(&memory, [2, 2, 6]);
        let encoded = encode(&strip, [2, 2, 4], Compression::Blosc(1), false).unwrap();
        assert_eq!((encoded.bytes.len(), encoded.sizes), (0, vec![0, 0]));
        let encoded = encode(&strip, [2, 2, 4], Compression::Blosc(1), true).unwrap();
        assert_eq!(encoded.sizes.iter().sum::<usize>(), encoded.bytes.len());
        assert!(crate::checksum::without_checksum(&encoded.bytes[..encoded.sizes[0]]).is_some());
    }

    #[test]
    fn what_the_kernel_does_not_encode_is_left() {
        let memory = vec![0_i16; 24];
        let strip = view(&memory, [2, 2, 6]);
        assert!(encode(&strip, [2, 2, 4], Compression::Zstd(9), true).is_none());
        assert!(encode(&strip, [1, 2, 4], Compression::Blosc(1), true).is_none());
        assert!(encode(&strip, [2, 2, 0], Compression::Blosc(1), true).is_none());
        assert!(encode(&strip, [16, 64, 65], Compression::Blosc(1), true).is_none());
    }
}
