//! What stands before the states of a predicted chunk.

use super::Malformed;
use super::model::{CONTEXTS, ONE, TAPS, Weights};
use super::tables::TABLES;

/// First byte of a chunk whose voxels are all equal.
pub const CONSTANT: u8 = 0;
/// First byte of a chunk whose voxels stand as they are.
pub const RAW: u8 = 1;
/// First byte of a predicted chunk.
pub const PREDICTED: u8 = 2;

const CROPPED: u8 = 1;
const STEPPED: u8 = 2;

/// Bound of the working memory of a predicted chunk, in units of [`room`].
const MOST_ROOM: usize = 1 << 26;

/// Samples and states of a half row at most, and states of a chunk.
pub const LANES: usize = 32;

/// The header of a predicted chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Extent of the coded box; beyond it are zeros.
    pub extent: [usize; 3],
    /// Voxel = base + step * sample, modulo 2^16.
    pub base: u16,
    /// See `base`; 1 or more.
    pub step: u16,
    /// Weights by set; the last two are not stored where there is one slice.
    pub weights: [Weights; 4],
    /// The table of each context, by parity.
    pub tables: [[u8; CONTEXTS]; 2],
    /// The contexts of a parity that have a table of their own, first and last.
    pub used: [[u8; 2]; 2],
}

/// Whether a box of this extent may be predicted: what is kept around half rows is bounded.
pub fn fits(extent: [usize; 3]) -> bool {
    let [z, y, x] = extent;
    let rows = y.saturating_add(z.saturating_mul(2)).saturating_add(3);
    let room = z.checked_mul(rows).and_then(|rows| rows.checked_mul(x.saturating_add(64)));
    room.is_some_and(|room| room <= MOST_ROOM)
}

/// How many even and odd columns a row of a coded box has.
#[inline]
pub fn halves(extent: [usize; 3]) -> [usize; 2] {
    [extent[2].div_ceil(2), extent[2] / 2]
}

/// How many states a chunk has.
pub fn states(width: usize) -> usize {
    width.div_ceil(2).min(LANES)
}

impl Header {
    /// Appends the bytes of a header.
    pub fn write(&self, shape: [usize; 3], out: &mut Vec<u8>) {
        let (is_cropped, is_stepped) = (self.extent != shape, (self.base, self.step) != (0, 1));
        out.extend([PREDICTED, (u8::from(is_cropped) * CROPPED) | (u8::from(is_stepped) * STEPPED)]);
        if is_cropped {
            for extent in self.extent {
                out.extend(u32::try_from(extent).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        if is_stepped {
            out.extend(self.base.to_le_bytes());
            out.extend(self.step.to_le_bytes());
        }
        for weights in &self.weights[..sets(self.extent)] {
            out.extend(weights[1..].iter().map(|weight| weight.to_le_bytes()[0]));
        }
        for ([first, last], tables) in self.used.into_iter().zip(&self.tables) {
            out.push(first | (last << 4));
            out.extend(&tables[usize::from(first)..=usize::from(last)]);
        }
    }

    /// The header after the first byte, and the rest of the bytes.
    pub fn read(data: &[u8], shape: [usize; 3]) -> Result<(Self, &[u8]), Malformed> {
        let mut rest = Rest(data);
        let [flags] = rest.take()?;
        if flags & !(CROPPED | STEPPED) != 0 {
            return Err(Malformed("unknown flags"));
        }
        let extent = if flags & CROPPED == 0 { shape } else { rest.extent(shape)? };
        let (mut base, mut step) = (0, 1);
        if flags & STEPPED != 0 {
            (base, step) = (u16::from_le_bytes(rest.take()?), u16::from_le_bytes(rest.take()?));
        }
        if step == 0 || !fits(extent) {
            return Err(Malformed("a step of 0, or a chunk too large to be predicted"));
        }
        let mut weights = [[0; TAPS]; 4];
        for set in &mut weights[..sets(extent)] {
            let stored: [u8; TAPS - 1] = rest.take()?;
            *set = with_first(stored.map(|weight| i16::from(weight.cast_signed())));
        }
        let (mut tables, mut used) = ([[0; CONTEXTS]; 2], [[0; 2]; 2]);
        for (tables, used) in tables.iter_mut().zip(&mut used) {
            let [range] = rest.take()?;
            *used = [range & 15, range >> 4];
            for context in used[0]..=used[1] {
                [tables[usize::from(context)]] = rest.take()?;
            }
        }
        let header = Self { extent, base, step, weights, tables, used };
        let is_legal = header.used.iter().all(|[first, last]| first <= last)
            && header.tables.iter().flatten().all(|&table| usize::from(table) < TABLES);
        if is_legal { Ok((header, rest.0)) } else { Err(Malformed("contexts or tables that there are not")) }
    }
}

/// Stored weights with the first one, which they leave over.
pub fn with_first(stored: [i16; TAPS - 1]) -> Weights {
    let mut weights = [ONE - stored.iter().sum::<i16>(); TAPS];
    weights[1..].copy_from_slice(&stored);
    weights
}

/// How many sets of weights a header has.
fn sets(extent: [usize; 3]) -> usize {
    if extent[0] > 1 { 4 } else { 2 }
}

/// Bytes not yet read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("its header is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn extent(&mut self, shape: [usize; 3]) -> Result<[usize; 3], Malformed> {
        let mut extent = [0; 3];
        for (extent, size) in extent.iter_mut().zip(shape) {
            *extent = u32::from_le_bytes(self.take()?) as usize;
            if !(1..=size).contains(extent) {
                return Err(Malformed("a coded box beyond the chunk"));
            }
        }
        Ok(extent)
    }
}
