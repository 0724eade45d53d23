//! The codec `predict`: 16-bit samples of a chunk, each predicted from those before it, coded by interleaved rANS.
//!
//! `docs/codec.md` specifies the bytes. Lossless for every content. Bytes that are no chunk give [`Malformed`]
//! or a chunk of other samples, never a panic; working memory is bounded, see `header::fits`.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod decode;
mod encode;
mod fit;
mod header;
mod kernel;
mod model;
mod order;
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
    /// Of the half rows of a step, or of a chunk.
    offsets: Vec<u16>,
    /// Of a chunk that is encoded.
    residuals: Vec<i16>,
    words: Vec<u16>,
    escapes: Vec<i16>,
    work: fit::Work,
    counts: Vec<u32>,
    symbols: Vec<tables::Symbol>,
}

impl Scratch {
    /// Makes room for a coded box, and what lies above its first row.
    fn shape(&mut self, [depth, rows, width]: [usize; 3]) {
        self.samples.shape(depth, rows, width);
        self.magnitudes.shape(depth, rows, width);
        self.magnitudes.fill_row(0, -1, model::UNKNOWN);
        let size = depth * self.samples.stride();
        self.offsets.resize(size.max(self.offsets.len()), 0);
    }

    /// Makes what lies above the first row of a slice that begins with these rows.
    #[inline(always)]
    fn open(&mut self, rows: order::Rows) {
        if let (slice @ 1.., 0) = rows.last() {
            self.samples.open_slice(slice);
            self.magnitudes.open_slice(slice);
        }
    }

    /// Makes what lies around the first row, and below the last one of a slice.
    #[inline(always)]
    fn close(&mut self, rows: order::Rows, extent: [usize; 3]) {
        if (rows.slice, rows.row) == (0, 0) {
            self.samples.copy_row((0, 0), (0, -1));
        }
        if rows.row + 1 == extent[1] {
            self.samples.close_slice(rows.slice, extent[1]);
            self.magnitudes.close_slice(rows.slice, extent[1]);
        }
    }
}
