//! The codec `predict`: 16-bit samples of a chunk, each predicted from those before it, coded by interleaved rANS.
//!
//! `docs/codec.md` specifies the bytes. Lossless for every content. Bytes that are no chunk give [`Malformed`]
//! or a chunk of other samples, never a panic; memory is a small multiple of the chunk's.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod decode;
mod encode;
mod fit;
mod header;
mod kernel;
mod model;
mod planes;
mod stream;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;

pub use decode::decode;
pub use encode::encode;

use planes::Planes;

/// Bytes that are no chunk of the shape, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// The working memory of one thread, kept from chunk to chunk: a new chunk of the same shape allocates nothing.
#[derive(Default)]
pub struct Scratch {
    samples: Planes,
    magnitudes: Planes,
    residuals: Vec<i16>,
    offsets: Vec<u32>,
    values: Vec<i16>,
    contexts: Vec<u8>,
    words: Vec<u16>,
    escapes: Vec<i16>,
    work: fit::Work,
    counts: Vec<[u32; tables::CLASSES]>,
}
