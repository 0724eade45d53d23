//! Drawing residuals from 32 states.

#[allow(clippy::wildcard_imports, reason = "all that is taken begins with _mm")]
use std::arch::x86_64::*;

use super::super::Malformed;
use super::super::header::LANES;
use super::super::planes::HalfRows;
use super::super::stream::{BEGIN, Slots, Stream};
use super::super::tables::{BITS, ESCAPE, SLOTS, TABLES};
use super::{load_8, load_bytes, store, store_8};

/// The bits of a state that choose a slot, and of a slot that are its rank.
const LAST: i32 = (1 << BITS) - 1;

#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub fn draw(
    stream: &mut Stream,
    HalfRows { room, width, .. }: HalfRows,
    offsets: &[u32],
    residuals: &mut [i16],
) -> Result<(), Malformed> {
    let mut states = load_states(stream);
    for (offsets, residuals) in offsets.chunks_exact(room).zip(residuals.chunks_exact_mut(room)) {
        let mut at = 0;
        while at + LANES <= width && stream.left() >= 2 * LANES {
            draw_32(stream, &mut states, offsets, residuals, at)?;
            at += LANES;
        }
        if at < width {
            store_states(stream, &states);
            for at in at..width {
                residuals[at] = stream.draw(at % LANES, offsets[at])?;
            }
            states = load_states(stream);
        }
    }
    store_states(stream, &states);
    Ok(())
}

/// All states, in registers.
type States = [__m256i; LANES / 8];

#[inline]
#[target_feature(enable = "avx2")]
fn load_states(stream: &Stream) -> States {
    [0, 8, 16, 24].map(|lane| load_8(&stream.states, lane))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_states(stream: &mut Stream, states: &States) {
    for (octet, &state) in states.iter().enumerate() {
        store_8(&mut stream.states, 8 * octet, state);
    }
}

/// Eight states without the words that they lack, and what was drawn from them.
struct Drawn {
    states: __m256i,
    residuals: __m256i,
}

/// Draws from eight states, without refilling them.
#[inline]
#[target_feature(enable = "avx2")]
fn draw_8(slots: &Slots, offsets: &[u32], at: usize, states: __m256i) -> Drawn {
    let slot = _mm256_and_si256(states, _mm256_set1_epi32(LAST));
    let entry = look_up(slots, _mm256_or_si256(load_8(offsets, at), slot));
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

/// Refills eight states. At least 16 bytes must be left.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn refill_8(stream: &mut Stream, states: __m256i) -> __m256i {
    let is_short = _mm256_cmpgt_epi32(_mm256_set1_epi32(BEGIN.cast_signed()), states);
    let short = _mm256_movemask_ps(_mm256_castsi256_ps(is_short)).cast_unsigned();
    let words = _mm256_cvtepu16_epi32(load_bytes(&stream.data[stream.at..]));
    let words = _mm256_permutevar8x32_epi32(words, spread(short));
    stream.at += 2 * short.count_ones() as usize;
    let longer = _mm256_or_si256(_mm256_slli_epi32::<16>(states), words);
    _mm256_blendv_epi8(states, longer, is_short)
}

/// Draws from all states. At least 64 bytes must be left.
///
/// The steps of different octets alternate, so that none waits for the last one's result.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn draw_32(
    stream: &mut Stream,
    states: &mut States,
    offsets: &[u32],
    residuals: &mut [i16],
    at: usize,
) -> Result<(), Malformed> {
    let a = draw_8(stream.slots, offsets, at, states[0]);
    let b = draw_8(stream.slots, offsets, at + 8, states[1]);
    let c = draw_8(stream.slots, offsets, at + 16, states[2]);
    states[0] = refill_8(stream, a.states);
    states[1] = refill_8(stream, b.states);
    let d = draw_8(stream.slots, offsets, at + 24, states[3]);
    states[2] = refill_8(stream, c.states);
    states[3] = refill_8(stream, d.states);
    let values = [a, b, c, d].map(|drawn| drawn.residuals);
    let mut escaped = _mm256_setzero_si256();
    for (pair, at) in values.as_chunks::<2>().0.iter().zip([at, at + 16]) {
        let packed = _mm256_packs_epi32(pair[0], pair[1]);
        store(residuals, at, _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        escaped = _mm256_or_si256(escaped, _mm256_cmpeq_epi16(packed, _mm256_set1_epi16(ESCAPE)));
    }
    if _mm256_testz_si256(escaped, escaped) == 0 {
        for residual in &mut residuals[at..at + LANES] {
            if *residual == ESCAPE {
                *residual = stream.escape()?;
            }
        }
    }
    Ok(())
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

/// Entries of eight slots. Eight loads take less time than one gather.
#[expect(clippy::many_single_char_names, reason = "eight lanes")]
#[expect(clippy::cast_possible_truncation, reason = "16 bits")]
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(slots: &Slots, numbers: __m256i) -> __m256i {
    const ALL: i32 = 0xffff;
    const { assert!(ALL as usize == TABLES * SLOTS - 1) }
    let numbers = _mm256_and_si256(numbers, _mm256_set1_epi32(ALL));
    let low = _mm256_castsi256_si128(numbers);
    let high = _mm256_extracti128_si256::<1>(numbers);
    let entry = |number: i64| {
        // SAFETY: no lane is beyond `ALL`, the last of the slots.
        unsafe { slots.get_unchecked(number.cast_unsigned() as usize).cast_signed() }
    };
    let pair = |pair: i64| [entry(pair & i64::from(ALL)), entry(pair >> 32)];
    let [a, b] = pair(_mm_cvtsi128_si64(low));
    let [c, d] = pair(_mm_extract_epi64::<1>(low));
    let [e, f] = pair(_mm_cvtsi128_si64(high));
    let [g, h] = pair(_mm_extract_epi64::<1>(high));
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}
