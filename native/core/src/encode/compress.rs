//! Bytes of a chunk to what is stored of it, as numcodecs does it to the byte.

use zstd_safe::{CCtx, CParameter};

use crate::chunk::{BLOSC_HEADER, SHUFFLED_ZSTD};

/// Bytes of the offset and the size of a blosc buffer's one block, and of the header before them.
const BLOCK: usize = 8;
const HEADER: usize = BLOSC_HEADER - BLOCK;
/// Versions of blosc's format and of its zstd.
const VERSIONS: [u8; 2] = [2, 1];
/// The flag that the bytes are there as they were.
const COPIED: u8 = 0x02;
/// Bytes of a voxel.
const TYPE_SIZE: u8 = 2;
/// Least bytes that blosc tries to compress.
const LEAST: usize = 128;
/// Most bytes of a chunk: more are several blocks of zstd, which its versions part in different ways.
pub const MOST: usize = 1 << 17;

/// Contexts of zstd, which chunks are compressed with one after another.
pub struct Compressor {
    fast: CCtx<'static>,
    thorough: CCtx<'static>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { fast: CCtx::create(), thorough: CCtx::create() }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Bytes that what is stored of a chunk may take at the most.
#[must_use]
pub fn most(size: usize) -> usize {
    zstd_safe::compress_bound(size) + BLOSC_HEADER
}

impl Compressor {
    /// Write a blosc buffer of one block with one zstd frame, of int16 that are `shuffled` as blosc does it,
    /// to the first of `most` bytes; how many they are.
    pub fn blosc(&mut self, shuffled: &[u8], level: i32, to: &mut [u8]) -> Option<usize> {
        let size = shuffled.len();
        let (header, rest) = to.split_first_chunk_mut::<HEADER>()?;
        // Blosc leaves no more room than a copy would take.
        let (block, frame) = rest.split_first_chunk_mut::<BLOCK>()?;
        let frame = frame.get_mut(..size.saturating_sub(BLOCK))?;
        let compressed = self.fast.compress(frame, shuffled, level).ok().filter(|_| size >= LEAST);
        let number = |number: usize| u32::try_from(number).ok().map(u32::to_le_bytes);
        let (flags, stored) = if let Some(length) = compressed {
            block[..4].copy_from_slice(&number(HEADER + 4)?);
            block[4..].copy_from_slice(&number(length)?);
            (SHUFFLED_ZSTD, HEADER + BLOCK + length)
        } else {
            let (low, high) = shuffled.split_at(size / 2);
            for (voxel, (low, high)) in rest.as_chunks_mut::<2>().0.iter_mut().zip(low.iter().zip(high)) {
                *voxel = [*low, *high];
            }
            (SHUFFLED_ZSTD | COPIED, HEADER + size)
        };
        let kind = [VERSIONS[0], VERSIONS[1], flags, TYPE_SIZE];
        header.copy_from_slice([kind, number(size)?, number(size)?, number(stored)?].as_flattened());
        Some(stored)
    }

    /// Write one zstd frame without a checksum to the first of `most` bytes; how many they are.
    pub fn zstd(&mut self, data: &[u8], level: i32, to: &mut [u8]) -> Option<usize> {
        self.thorough.set_parameter(CParameter::CompressionLevel(level)).ok()?;
        self.thorough.compress2(to, data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn what_does_not_compress_is_copied() {
        let mut compressor = Compressor::default();
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_le_bytes()[3]
        });
        let noise: Vec<u8> = noise.take(4096).collect();
        let mut found = vec![0; most(4096)];
        let length = compressor.blosc(&noise, 1, &mut found).unwrap();
        assert_eq!(length, HEADER + noise.len());
        assert_eq!(found[..4], [2, 1, 0x93, 2]);
        assert_eq!(found[HEADER..HEADER + 2], [noise[0], noise[2048]]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn what_compresses_is_one_frame() {
        let mut compressor = Compressor::default();
        let mut found = vec![0; most(4096)];
        let length = compressor.blosc(&[0; 4096], 1, &mut found).unwrap();
        assert_eq!(found[..8], [2, 1, 0x91, 2, 0, 16, 0, 0]);
        assert_eq!(found[12..16], u32::try_from(length).unwrap().to_le_bytes());
        let mut inflated = vec![1; 4096];
        assert_eq!(zstd_safe::decompress(&mut inflated[..], &found[BLOSC_HEADER..length]), Ok(4096));
        assert_eq!(inflated, [0; 4096]);
        let length = compressor.zstd(&[7; 100], 9, &mut found).unwrap();
        assert_eq!(zstd_safe::decompress(&mut inflated[..], &found[..length]), Ok(100));
    }
}
