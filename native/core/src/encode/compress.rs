//! Bytes of a chunk to what is stored of it, as numcodecs does it to the byte.

use zstd_safe::{CCtx, CParameter};

/// Bytes of a blosc header, and of the offset and the size of its one block.
const HEADER: usize = 16;
const OVERHEAD: usize = HEADER + 8;
/// Versions of blosc's format and of its zstd.
const VERSIONS: [u8; 2] = [2, 1];
/// Flags: zstd, bytes shuffled, streams not split; and that the bytes are there as they were.
const SHUFFLED_ZSTD: u8 = 0x91;
const COPIED: u8 = 0x02;
/// Bytes of a voxel.
const TYPE_SIZE: u8 = 2;
/// Least bytes that blosc tries to compress.
const LEAST: usize = 128;
/// Most bytes of a chunk: more are several blocks of zstd, which its versions part in different ways.
pub const MOST: usize = 1 << 17;

/// Memory in which chunks are compressed one after another.
pub struct Compressor {
    fast: CCtx<'static>,
    thorough: CCtx<'static>,
    frame: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { fast: CCtx::create(), thorough: CCtx::create(), frame: Vec::new() }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compressor").field("frame", &self.frame.len()).finish_non_exhaustive()
    }
}

impl Compressor {
    /// Append a blosc buffer of one block with one zstd frame: of int16, `shuffled` as blosc does it.
    pub fn blosc(&mut self, shuffled: &[u8], level: i32, to: &mut Vec<u8>) -> Option<()> {
        let size = shuffled.len();
        let number = |size: usize| u32::try_from(size).ok().map(u32::to_le_bytes);
        let header = |flags: u8, stored: usize| {
            let kind = [VERSIONS[0], VERSIONS[1], flags, TYPE_SIZE];
            Some([kind, number(size)?, number(size)?, number(stored)?].concat())
        };
        // Blosc leaves no more room than a copy would take.
        let room = size.saturating_sub(OVERHEAD - HEADER);
        self.frame.resize(self.frame.len().max(room), 0);
        let frame = &mut self.frame[..room];
        match self.fast.compress(frame, shuffled, level) {
            Ok(length) if size >= LEAST => {
                to.extend(header(SHUFFLED_ZSTD, OVERHEAD + length)?);
                to.extend(number(HEADER + 4)?);
                to.extend(number(length)?);
                to.extend(&frame[..length]);
            }
            _ => {
                to.extend(header(SHUFFLED_ZSTD | COPIED, HEADER + size)?);
                let (low, high) = shuffled.split_at(size / 2);
                to.extend(low.iter().zip(high).flat_map(|(low, high)| [*low, *high]));
            }
        }
        Some(())
    }

    /// Append one zstd frame without a checksum.
    pub fn zstd(&mut self, data: &[u8], level: i32, to: &mut Vec<u8>) -> Option<()> {
        self.thorough.set_parameter(CParameter::CompressionLevel(level)).ok()?;
        self.frame.resize(self.frame.len().max(zstd_safe::compress_bound(data.len())), 0);
        let length = self.thorough.compress2(&mut self.frame[..], data).ok()?;
        to.extend(&self.frame[..length]);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compress_is_copied() {
        let mut compressor = Compressor::default();
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_le_bytes()[3]
        });
        let noise: Vec<u8> = noise.take(4096).collect();
        let mut found = Vec::new();
        compressor.blosc(&noise, 1, &mut found).unwrap();
        assert_eq!(found.len(), HEADER + noise.len());
        assert_eq!(found[..4], [2, 1, 0x93, 2]);
        assert_eq!(found[HEADER..HEADER + 2], [noise[0], noise[2048]]);
    }

    #[test]
    fn what_compresses_is_one_frame() {
        let mut compressor = Compressor::default();
        let mut found = Vec::new();
        compressor.blosc(&[0; 4096], 1, &mut found).unwrap();
        assert_eq!(found[..8], [2, 1, 0x91, 2, 0, 16, 0, 0]);
        assert_eq!(found[12..16], u32::try_from(found.len()).unwrap().to_le_bytes());
        let mut inflated = vec![1; 4096];
        assert_eq!(zstd_safe::decompress(&mut inflated[..], &found[OVERHEAD..]), Ok(4096));
        assert_eq!(inflated, [0; 4096]);
        found.clear();
        compressor.zstd(&[7; 100], 9, &mut found).unwrap();
        assert_eq!(zstd_safe::decompress(&mut inflated[..], &found), Ok(100));
    }
}
