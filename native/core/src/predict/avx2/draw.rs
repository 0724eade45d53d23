//! Drawing residuals from 32 states.

#[allow(clippy::wildcard_imports, reason = "all that is taken begins with _mm")]
use std::arch::x86_64::*;

use super::super::Malformed;
use super::super::header::LANES;
use super::super::planes::HalfRows;
use super::super::stream::{BEGIN, Slots, Stream};
use super::super::tables::{BITS, ESCAPE, SLOTS, TABLES};
use super::{load, load_half, store};

/// The bits of a state that choose a slot, and of a slot that are its rank.
const LAST: i32 = (1 << BITS) - 1;

#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub fn draw(
    stream: &mut Stream,
    HalfRows { next, width, .. }: HalfRows,
    offsets: &[u16],
    residuals: &mut [i16],
) -> Result<bool, Malformed> {
    let mut states = load_states(stream);
    let (mut least, mut has_escapes) = (_mm256_setzero_si256(), false);
    for (offsets, residuals) in offsets.chunks_exact(next).zip(residuals.chunks_exact_mut(next)) {
        let (groups, rest) = offsets[..width].as_chunks();
        let (drawn, others) = residuals[..width].as_chunks_mut();
        for (offsets, residuals) in groups.iter().zip(drawn) {
            let Some(words) = stream.data[stream.at..].first_chunk() else {
                has_escapes |= draw_each(stream, &mut states, offsets, residuals)?;
                continue;
            };
            let drawn = draw_32(stream.slots, words, &mut states, offsets, residuals);
            stream.at += drawn.bytes;
            least = _mm256_min_epi16(least, drawn.least);
        }
        has_escapes |= draw_each(stream, &mut states, rest, others)?;
    }
    store_states(stream, &states);
    // No symbol's residuals are below an escape's.
    let escaped = _mm256_cmpeq_epi16(least, _mm256_set1_epi16(ESCAPE));
    Ok(has_escapes | (_mm256_testz_si256(escaped, escaped) == 0))
}

/// Draws from states one by one.
#[inline]
#[target_feature(enable = "avx2")]
fn draw_each(
    stream: &mut Stream,
    states: &mut States,
    offsets: &[u16],
    residuals: &mut [i16],
) -> Result<bool, Malformed> {
    if offsets.is_empty() {
        return Ok(false);
    }
    store_states(stream, states);
    let has_escapes = stream.draw(offsets, residuals)?;
    *states = load_states(stream);
    Ok(has_escapes)
}

/// All states, in registers.
type States = [__m256i; LANES / 8];

#[inline]
#[target_feature(enable = "avx2")]
fn load_states(stream: &Stream) -> States {
    let (octets, _) = stream.states.as_chunks();
    [0, 1, 2, 3].map(|octet| load::<u32, 8>(&octets[octet]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_states(stream: &mut Stream, states: &States) {
    for (octet, &vector) in stream.states.as_chunks_mut::<8>().0.iter_mut().zip(states) {
        store(octet, vector);
    }
}

/// Eight states without the words that they lack, and what was drawn from them.
struct Drawn {
    states: __m256i,
    residuals: __m256i,
}

/// Draws from eight states by the entries of their slots, without refilling them.
#[inline]
#[target_feature(enable = "avx2")]
fn draw_8(entry: __m256i, states: __m256i) -> Drawn {
    let rank = _mm256_and_si256(entry, _mm256_set1_epi32(LAST));
    let k = _mm256_and_si256(_mm256_srli_epi32::<9>(entry), _mm256_set1_epi32(7));
    let least = _mm256_srai_epi32::<21>(_mm256_slli_epi32::<9>(entry));
    let freq = _mm256_srli_epi32::<23>(entry);
    let product = _mm256_mullo_epi32(freq, _mm256_srli_epi32::<{ BITS.cast_signed() }>(states));
    let drawn = _mm256_add_epi32(product, rank);
    let high = _mm256_sllv_epi32(_mm256_set1_epi32(-1), k);
    let residuals = _mm256_or_si256(least, _mm256_andnot_si256(high, drawn));
    Drawn { states: _mm256_srlv_epi32(drawn, k), residuals }
}

/// As many bytes as all states may take, 16 for each eight of them.
type Words = [u8; 2 * LANES];

/// Refills eight states from the words at `at`, which goes on by as many as they took: 16 bytes at most.
///
/// # Safety
/// `at` is not above 48.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn refill_8(words: &Words, at: &mut usize, states: __m256i) -> __m256i {
    let is_short = _mm256_cmpgt_epi32(_mm256_set1_epi32(BEGIN.cast_signed()), states);
    let short = _mm256_movemask_ps(_mm256_castsi256_ps(is_short)).cast_unsigned();
    // SAFETY: there are 16 bytes from 48 on. The load needs no alignment.
    let words = unsafe { _mm_loadu_si128(words.as_ptr().add(*at).cast()) };
    let words = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(words), spread(short));
    *at += 2 * short.count_ones() as usize;
    let longer = _mm256_or_si256(_mm256_slli_epi32::<16>(states), words);
    _mm256_blendv_epi8(states, longer, is_short)
}

/// What was drawn from all states.
struct DrawnAll {
    /// How many bytes of the words were taken.
    bytes: usize,
    /// The least residuals of 16 lanes.
    least: __m256i,
}

/// Draws from all states.
///
/// Each stage goes over all octets, so that none waits for the last one's result.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn draw_32(
    slots: &Slots,
    words: &Words,
    states: &mut States,
    offsets: &[u16; LANES],
    residuals: &mut [i16; LANES],
) -> DrawnAll {
    let (mut at, (offsets, _)) = (0, offsets.as_chunks());
    let octets = [0, 1, 2, 3];
    let entries = octets.map(|octet| look_up(slots, &offsets[octet], states[octet]));
    let drawn = octets.map(|octet| draw_8(entries[octet], states[octet]));
    // SAFETY: before each the others took at most 16 bytes: 0, 16, 32 and 48.
    *states = octets.map(|octet| unsafe { refill_8(words, &mut at, drawn[octet].states) });
    let first = _mm256_packs_epi32(drawn[0].residuals, drawn[1].residuals);
    let last = _mm256_packs_epi32(drawn[2].residuals, drawn[3].residuals);
    for (residuals, packed) in residuals.as_chunks_mut::<16>().0.iter_mut().zip([first, last]) {
        store(residuals, _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
    }
    DrawnAll { bytes: at, least: _mm256_min_epi16(first, last) }
}

/// For each lane the number of the word that it takes, if its bit is set.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(lanes: u32) -> __m256i {
    static RANKS: [u64; 256] = ranks();
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(RANKS[lanes as usize & 255].cast_signed()))
}

const fn ranks() -> [u64; 256] {
    let mut ranks = [0; 256];
    let mut lanes = 0;
    while lanes < 256 {
        let (mut lane, mut rank) = (0, 0);
        while lane < 8 {
            if lanes >> lane & 1 == 1 {
                ranks[lanes] |= rank << (8 * lane);
                rank += 1;
            }
            lane += 1;
        }
        lanes += 1;
    }
    ranks
}

/// The entries of eight states' slots. Eight loads take less time than one gather.
#[expect(clippy::cast_possible_truncation, reason = "16 bits")]
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(slots: &Slots, offsets: &[u16; 8], states: __m256i) -> __m256i {
    const { assert!(TABLES * SLOTS == 1 << 16) }
    let slot = _mm256_and_si256(states, _mm256_set1_epi32(LAST));
    let numbers = _mm256_or_si256(_mm256_cvtepu16_epi32(load_half(offsets)), slot);
    let entry = |number: i64| {
        // SAFETY: an offset and `LAST` have 16 bits, as the numbers of all slots.
        let entry = unsafe { slots.get_unchecked(number.cast_unsigned() as usize) };
        _mm_cvtsi32_si128(entry.cast_signed())
    };
    let pair = |pair: i64| _mm_unpacklo_epi32(entry(pair & 0xffff_ffff), entry(pair >> 32));
    let four =
        |four: __m128i| _mm_unpacklo_epi64(pair(_mm_cvtsi128_si64(four)), pair(_mm_extract_epi64::<1>(four)));
    let (low, high) = (_mm256_castsi256_si128(numbers), _mm256_extracti128_si256::<1>(numbers));
    _mm256_set_m128i(four(high), four(low))
}
