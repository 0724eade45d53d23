//! The interleaved states of a chunk: words from the front, escapes from the end.

use super::Malformed;
use super::header::LANES;
use super::tables::{BITS, ESCAPE, SLOTS, Slot, TABLES};

/// Where every state begins when it is encoded, and ends when it is decoded.
pub const BEGIN: u32 = 1 << 15;

/// The bits of a state that choose a slot.
const LAST: u32 = (1 << BITS) - 1;

/// Slots of all tables: as many as 16 bits can tell apart.
pub type Slots = [u32; TABLES * SLOTS];

/// A stream that is being decoded.
pub struct Stream<'a> {
    pub data: &'a [u8],
    /// Next word.
    pub at: usize,
    /// End of the next escape.
    pub end: usize,
    pub states: [u32; LANES],
    pub slots: &'a Slots,
}

impl<'a> Stream<'a> {
    /// A stream of so many states, 1 to 32, which stand first.
    pub fn new(data: &'a [u8], states: usize, slots: &'a Slots) -> Result<Self, Malformed> {
        let mut read = [BEGIN; LANES];
        let stored = data.get(..4 * states).ok_or(Malformed("its states are cut"))?;
        for (state, bytes) in read.iter_mut().zip(stored.as_chunks().0) {
            *state = u32::from_le_bytes(*bytes);
        }
        if read.iter().any(|&state| state < BEGIN) {
            return Err(Malformed("a state too small"));
        }
        Ok(Self { data, at: 4 * states, end: data.len(), states: read, slots })
    }

    /// Draws residuals from the first states, by the first slots of their tables, and whether some had no symbol:
    /// [`ESCAPE`] stands for them.
    #[inline]
    pub fn draw(&mut self, offsets: &[u16], residuals: &mut [i16]) -> Result<bool, Malformed> {
        let mut has_escapes = false;
        for (lane, (&offset, residual)) in offsets.iter().zip(residuals).enumerate() {
            *residual = self.draw_one(lane, offset)?;
            has_escapes |= *residual == ESCAPE;
        }
        Ok(has_escapes)
    }

    #[inline]
    fn draw_one(&mut self, lane: usize, offset: u16) -> Result<i16, Malformed> {
        let mut state = self.states[lane];
        let slot = Slot(self.slots[(u32::from(offset) | state & LAST) as usize]);
        state = slot.freq() * (state >> BITS) + slot.rank();
        let low = state & ((1 << slot.k()) - 1);
        state >>= slot.k();
        if state < BEGIN {
            state = state << 16 | u32::from(self.word()?);
        }
        self.states[lane] = state;
        #[expect(clippy::cast_possible_truncation, reason = "7 bits")]
        let low = low as i16;
        Ok(slot.least() | low)
    }

    /// Puts residuals that had no symbol where [`ESCAPE`] stands for them, the least that is drawn.
    pub fn take_escapes(&mut self, residuals: &mut [i16]) -> Result<(), Malformed> {
        if residuals.iter().copied().fold(0, i16::min) == ESCAPE {
            for residual in residuals.iter_mut().filter(|residual| **residual == ESCAPE) {
                *residual = self.escape()?;
            }
        }
        Ok(())
    }

    /// Bytes from the next word to the end of the data.
    #[inline]
    pub fn left(&self) -> usize {
        self.data.len() - self.at
    }

    #[inline]
    fn word(&mut self) -> Result<u16, Malformed> {
        if self.left() < 2 {
            return Err(Malformed("its words are cut"));
        }
        let bytes = [self.data[self.at], self.data[self.at + 1]];
        self.at += 2;
        Ok(u16::from_le_bytes(bytes))
    }

    fn escape(&mut self) -> Result<i16, Malformed> {
        let bytes = self.data[..self.end].last_chunk().ok_or(Malformed("its escapes are cut"))?;
        self.end -= 2;
        Ok(i16::from_le_bytes(*bytes))
    }

    /// Whether every byte was read once and every state is where it began.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.at == self.end && self.states == [BEGIN; LANES] {
            Ok(())
        } else {
            Err(Malformed("words or states are left over"))
        }
    }
}
