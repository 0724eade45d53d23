//! One chunk: from its stored bytes to voxels in a target.

use zstd_safe::DCtx;

use crate::checksum::without_checksum;
use crate::element::{Element, Voxel};
use crate::predict::{self, Scratch};

/// Bytes of a blosc header, of the offset of its one block, and of that block's size.
pub const BLOSC_HEADER: usize = 24;
/// Flags of blosc: zstd, bytes shuffled, streams not split.
pub const SHUFFLED_ZSTD: u8 = 0x91;

/// Codecs of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Blosc with one zstd frame of shuffled bytes.
    Blosc,
    /// One zstd frame.
    Zstd,
    /// Our own, of int16: see `predict`.
    Predict,
}

/// How the chunks of an array are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Chunks along z, y and x.
    pub grid: [usize; 3],
    /// Voxels of a chunk along z, y and x.
    pub chunk: [usize; 3],
    /// Of its voxels.
    pub element: Element,
    /// Of its chunks.
    pub codec: Codec,
}

impl Layout {
    /// The layout; None where a chunk has no voxel, its bytes no number, or the codec not such voxels.
    #[must_use]
    pub fn new(grid: [usize; 3], chunk: [usize; 3], element: Element, codec: Codec) -> Option<Self> {
        let product = |sizes: [usize; 3]| sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        product(grid)?.checked_add(1)?;
        let bytes = product(chunk)?.checked_mul(element.size())?;
        let is_able = codec != Codec::Predict || element == Element::I16;
        (bytes > 0 && is_able).then_some(Self { grid, chunk, element, codec })
    }

    /// Voxels of a chunk.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.chunk.iter().product()
    }

    fn bytes(&self) -> usize {
        self.voxels() * self.element.size()
    }
}

/// Memory in which chunks are decoded one after another.
#[derive(Default)]
pub struct Decoder {
    context: Option<DCtx<'static>>,
    bytes: Vec<u8>,
    scratch: Scratch,
    voxels: Vec<i16>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Decoder").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Bytes that are kept for the next chunk.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The working memory of `predict` is about eight times a chunk.
        self.bytes.capacity() + self.voxels.capacity() * 2 * 9
    }

    /// The voxels of a chunk; None where it fails its checksum or is not of the form that is written.
    pub fn decode(&mut self, stored: &[u8], layout: &Layout) -> Option<Decoded<'_>> {
        let data = without_checksum(stored)?;
        let (frame, is_shuffled) = match layout.codec {
            Codec::Zstd => (data, false),
            Codec::Blosc => (blosc_frame(data, layout)?, true),
            Codec::Predict => return self.predicted(data, layout),
        };
        let size = layout.bytes();
        if !matches!(zstd_safe::get_frame_content_size(frame), Ok(Some(content)) if content == size as u64) {
            return None;
        }
        self.bytes.resize(size.max(self.bytes.len()), 0);
        let bytes = &mut self.bytes[..size];
        let inflated = self.context.get_or_insert_with(DCtx::create).decompress(bytes, frame);
        let decoded = if is_shuffled { Decoded::Shuffled } else { Decoded::Plain };
        (inflated == Ok(size)).then_some(decoded(bytes))
    }

    fn predicted(&mut self, data: &[u8], layout: &Layout) -> Option<Decoded<'_>> {
        let count = layout.voxels();
        self.voxels.resize(count.max(self.voxels.len()), 0);
        let voxels = &mut self.voxels[..count];
        predict::decode(data, layout.chunk, voxels, &mut self.scratch).ok()?;
        Some(Decoded::Int16(voxels))
    }
}

/// The zstd frame of a blosc buffer of one block, as C-Blosc 1 writes it where that compresses.
fn blosc_frame<'a>(data: &'a [u8], layout: &Layout) -> Option<&'a [u8]> {
    let (header, frame) = data.split_first_chunk::<BLOSC_HEADER>()?;
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte])) as usize;
    let size = layout.bytes();
    let kind = [header[2], header[3]];
    let is_as_written = kind == [SHUFFLED_ZSTD, u8::try_from(layout.element.size()).ok()?]
        && [number(4), number(8), number(12)] == [size, size, data.len()]
        && [number(16), number(20)] == [20, frame.len()];
    (is_as_written && frame.len() < size && layout.element.size() > 1).then_some(frame)
}

/// The voxels of a decoded chunk.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// All of them 0.
    Zeros,
    /// Their bytes, voxel by voxel.
    Plain(&'a [u8]),
    /// All their lowest bytes, then all next ones, to the highest.
    Shuffled(&'a [u8]),
    /// As they are, of int16.
    Int16(&'a [i16]),
}

impl Decoded<'_> {
    /// Fill `to` with what `each` makes of the voxels from index `at` of the chunk on.
    #[inline(always)]
    pub fn copy<S: Voxel, T: Copy>(&self, at: usize, to: &mut [T], each: impl Fn(S) -> T) {
        let (size, count) = (size_of::<S>(), to.len());
        // Loops over slices of one length each, so that they become instructions for many voxels.
        match self {
            Self::Zeros => to.fill(each(S::default())),
            Self::Int16(voxels) => {
                for (to, voxel) in to.iter_mut().zip(&voxels[at..][..count]) {
                    let bytes = voxel.to_le_bytes();
                    *to = each(S::from_bytes(|byte| bytes[byte]));
                }
            }
            Self::Plain(bytes) => {
                for (to, voxel) in to.iter_mut().zip(bytes[at * size..][..count * size].chunks_exact(size)) {
                    *to = each(S::from_bytes(|byte| voxel[byte]));
                }
            }
            Self::Shuffled(bytes) if size == 2 => {
                let (low, high) = bytes.split_at(bytes.len() / 2);
                for ((to, low), high) in to.iter_mut().zip(&low[at..][..count]).zip(&high[at..][..count]) {
                    *to = each(S::from_bytes(|byte| if byte == 0 { *low } else { *high }));
                }
            }
            Self::Shuffled(bytes) => {
                let voxels = bytes.len() / size;
                for (to, index) in to.iter_mut().zip(at..) {
                    *to = each(S::from_bytes(|byte| bytes[byte * voxels + index]));
                }
            }
        }
    }

    /// Fill `values` with voxels from index `at` of the chunk on, each `step` after the one before.
    #[inline(always)]
    pub fn read<S: Voxel>(&self, at: usize, step: usize, values: &mut [S]) {
        if step == 1 {
            return self.copy(at, values, |value| value);
        }
        for (value, index) in values.iter_mut().zip((at..).step_by(step)) {
            self.copy(index, std::slice::from_mut(value), |value| value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn a_chunk_is_decoded_only_as_it_is_written() {
        let layout = Layout::new([1, 1, 1], [2, 3, 5], Element::I16, Codec::Blosc).unwrap();
        let bytes: Vec<u8> = [7; 60].to_vec();
        let mut frame = vec![0; 100];
        let length = zstd_safe::compress(&mut frame[..], &bytes, 1).unwrap();
        frame.truncate(length);
        let mut data = vec![2, 1, SHUFFLED_ZSTD, 2];
        for number in [60, 60, 24 + length, 20, length] {
            data.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        data.extend(&frame);
        let stored = |data: &[u8]| [data, &crc32c::crc32c(data).to_le_bytes()].concat();
        let mut decoder = Decoder::default();
        assert!(
            matches!(decoder.decode(&stored(&data), &layout), Some(Decoded::Shuffled(found)) if found == bytes)
        );
        let zstd = Layout { codec: Codec::Zstd, ..layout };
        assert!(
            matches!(decoder.decode(&stored(&frame), &zstd), Some(Decoded::Plain(found)) if found == bytes)
        );
        for at in 2..data.len() {
            let mut spoilt = data.clone();
            spoilt[at] ^= 1;
            // Other bytes may be legal, other sizes never are.
            let outcome = decoder.decode(&stored(&spoilt), &layout);
            assert!(at >= BLOSC_HEADER || outcome.is_none(), "byte {at}");
        }
        assert!(decoder.decode(&data, &layout).is_none());
        assert!(decoder.decode(&stored(&data[..20]), &layout).is_none());
        assert!(decoder.decode(&[], &layout).is_none());
    }
}
