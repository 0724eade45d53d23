//! The loops over a half row with AVX2.

#[allow(clippy::wildcard_imports, reason = "all that is taken begins with _mm")]
use std::arch::x86_64::*;

use super::Malformed;
use super::header::LANES;
use super::kernel::Kernel;
use super::model::{CONTEXTS, FRACTION, MOST, Places, TAPS, Votes, Weights};
use super::stream::{Slots, Stream};
use super::tables::{BITS, ESCAPE};

/// The low 11 bits.
const LOW: i32 = 0x7ff;

/// The proof that this processor has AVX2, and what every processor with AVX2 has had.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The kernel, where the processor has what it needs.
    pub fn detect() -> Option<Self> {
        let is_there = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        is_there.then_some(Self(()))
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn run<R>(self, function: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,popcnt,bmi1,bmi2,lzcnt")]
        fn call<R>(function: impl FnOnce() -> R) -> R {
            function()
        }
        // SAFETY: `self` proves that the features are there.
        unsafe { call(function) }
    }

    #[inline(always)]
    fn offsets(self, magnitudes: &[i16], votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u32]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { offsets(magnitudes, votes, tables, out) }
    }

    #[inline(always)]
    fn draw(
        self,
        stream: &mut Stream,
        offsets: &[u32],
        residuals: &mut [i16],
        width: usize,
    ) -> Result<(), Malformed> {
        // SAFETY: `self` proves that the features are there.
        unsafe { draw(stream, offsets, residuals, width) }
    }

    #[inline(always)]
    fn magnitudes(self, residuals: &[i16], out: &mut [i16]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { magnitudes(residuals, out) }
    }

    #[inline(always)]
    fn rebuild(self, samples: &mut [i16], at: usize, places: &Places, weights: &Weights, residuals: &[i16]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { rebuild(samples, at, places, weights, residuals) }
    }

    #[inline(always)]
    fn expect(self, samples: &[i16], places: &Places, weights: &Weights, out: &mut [i16]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { expect(samples, places, weights, out) }
    }

    #[inline(always)]
    fn weave(self, halves: [&[i16]; 2], base: u16, step: u16, out: &mut [i16]) {
        // SAFETY: `self` proves that the features are there.
        unsafe { weave(halves, base, step, out) }
    }
}

/// 16 values from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[i16], at: usize) -> __m256i {
    let values: &[i16] = &values[at..at + 16];
    // SAFETY: the slice has 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Writes 16 values from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn store(values: &mut [i16], at: usize, vector: __m256i) {
    let values = &mut values[at..at + 16];
    // SAFETY: the slice has 32 bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), vector) }
}

/// Eight values from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn load_8(values: &[u32], at: usize) -> __m256i {
    let values: &[u32] = &values[at..at + 8];
    // SAFETY: the slice has 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Writes eight values from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn store_8(values: &mut [u32], at: usize, vector: __m256i) {
    let values = &mut values[at..at + 8];
    // SAFETY: the slice has 32 bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), vector) }
}

/// The first 16 bytes of a longer slice.
#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(bytes: &[u8]) -> __m128i {
    let bytes: &[u8] = &bytes[..16];
    // SAFETY: the slice has 16 bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Entries of eight slots. Eight loads take less time than one gather.
#[expect(clippy::many_single_char_names, reason = "eight lanes")]
#[expect(clippy::cast_possible_truncation, reason = "18 bits")]
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(slots: &Slots, numbers: __m256i) -> __m256i {
    let low = _mm256_castsi256_si128(numbers);
    let high = _mm256_extracti128_si256::<1>(numbers);
    let entry = |number: i64| slots[(number & 0x3_ffff).cast_unsigned() as usize % slots.len()].cast_signed();
    let pair = |pair: i64| [entry(pair), entry(pair >> 32)];
    let [a, b] = pair(_mm_cvtsi128_si64(low));
    let [c, d] = pair(_mm_extract_epi64::<1>(low));
    let [e, f] = pair(_mm_cvtsi128_si64(high));
    let [g, h] = pair(_mm_extract_epi64::<1>(high));
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

#[inline]
#[target_feature(enable = "avx2")]
fn offsets(magnitudes: &[i16], votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u32]) {
    let tables = _mm256_broadcastsi128_si256(load_bytes(tables));
    let mut groups = out.chunks_exact_mut(16);
    for (group, out) in groups.by_ref().enumerate() {
        let mut sum = _mm256_set1_epi16(4);
        for &(place, times) in votes {
            let vote = load(magnitudes, place + 16 * group);
            sum = _mm256_add_epi16(sum, vote);
            if times == 2 {
                sum = _mm256_add_epi16(sum, vote);
            }
        }
        let low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum));
        let high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(sum));
        for (at, sum) in [(0, low), (8, high)] {
            // Exponent and first bit of the mantissa are twice the octave and its half.
            let float = _mm256_castps_si256(_mm256_cvtepi32_ps(sum));
            let octaves = _mm256_sub_epi32(_mm256_srli_epi32::<22>(float), _mm256_set1_epi32(2 * (127 + 2)));
            let context = _mm256_min_epi32(octaves, _mm256_set1_epi32(15));
            let chosen = _mm256_or_si256(context, _mm256_set1_epi32(0x8080_8000_u32.cast_signed()));
            let table = _mm256_shuffle_epi8(tables, chosen);
            store_8(out, at, _mm256_slli_epi32::<{ BITS.cast_signed() }>(table));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn draw(stream: &mut Stream, offsets: &[u32], residuals: &mut [i16], width: usize) -> Result<(), Malformed> {
    let mut at = 0;
    while at + 16 <= width && stream.left() >= 32 {
        draw_16(stream, offsets, residuals, at)?;
        at += 16;
    }
    for at in at..width {
        residuals[at] = stream.draw(at % LANES, offsets[at])?;
    }
    Ok(())
}

/// Draws from 16 neighbouring states. At least 32 bytes must be left.
///
/// Both halves go each step together: no state waits for another but for its words.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn draw_16(stream: &mut Stream, offsets: &[u32], residuals: &mut [i16], at: usize) -> Result<(), Malformed> {
    let (lane, zero) = (at % LANES, _mm256_setzero_si256());
    let (mut states, mut values, mut escaped) = ([zero; 2], [zero; 2], zero);
    for half in 0..2 {
        let state = load_8(&stream.states, lane + 8 * half);
        let slot = _mm256_and_si256(state, _mm256_set1_epi32(LOW));
        let numbers = _mm256_or_si256(load_8(offsets, at + 8 * half), slot);
        let entry = look_up(stream.slots, numbers);
        let freq = _mm256_and_si256(entry, _mm256_set1_epi32(LOW));
        let rank = _mm256_and_si256(_mm256_srli_epi32::<11>(entry), _mm256_set1_epi32(LOW));
        let k = _mm256_and_si256(_mm256_srli_epi32::<22>(entry), _mm256_set1_epi32(7));
        let m = _mm256_srai_epi32::<25>(entry);
        let product = _mm256_mullo_epi32(freq, _mm256_srli_epi32::<11>(state));
        let state = _mm256_add_epi32(product, rank);
        let high = _mm256_sllv_epi32(_mm256_set1_epi32(-1), k);
        let low = _mm256_andnot_si256(high, state);
        let value = _mm256_or_si256(_mm256_sllv_epi32(m, k), low);
        let is_escape = _mm256_cmpeq_epi32(m, _mm256_set1_epi32(ESCAPE));
        let sign = _mm256_set1_epi32(i32::from(i16::MIN));
        values[half] = _mm256_blendv_epi8(value, sign, is_escape);
        states[half] = _mm256_srlv_epi32(state, k);
        escaped = _mm256_or_si256(escaped, is_escape);
    }
    for (half, state) in states.into_iter().enumerate() {
        let is_short = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(state), zero);
        let short = _mm256_movemask_ps(_mm256_castsi256_ps(is_short)).cast_unsigned();
        let words = _mm256_cvtepu16_epi32(load_bytes(&stream.data[stream.at..]));
        let words = _mm256_permutevar8x32_epi32(words, spread(short));
        let longer = _mm256_or_si256(_mm256_slli_epi32::<16>(state), words);
        let state = _mm256_blendv_epi8(state, longer, is_short);
        store_8(&mut stream.states, lane + 8 * half, state);
        stream.at += 2 * short.count_ones() as usize;
    }
    let packed = _mm256_packs_epi32(values[0], values[1]);
    store(residuals, at, _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
    if _mm256_testz_si256(escaped, escaped) == 0 {
        // No symbol but the escape is given this value: theirs have 14 bits.
        for residual in &mut residuals[at..at + 16] {
            if *residual == i16::MIN {
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

#[inline]
#[target_feature(enable = "avx2")]
fn magnitudes(residuals: &[i16], out: &mut [i16]) {
    let most = _mm256_set1_epi16(MOST.cast_signed());
    for at in (0..residuals.len()).step_by(16) {
        let magnitude = _mm256_min_epu16(_mm256_abs_epi16(load(residuals, at)), most);
        store(out, at, magnitude);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn rebuild(samples: &mut [i16], at: usize, places: &Places, weights: &Weights, residuals: &[i16]) {
    let weights = paired(weights);
    for column in (0..residuals.len()).step_by(16) {
        let predicted = predict(samples, places, &weights, column);
        store(samples, at + column, _mm256_add_epi16(predicted, load(residuals, column)));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn expect(samples: &[i16], places: &Places, weights: &Weights, out: &mut [i16]) {
    let weights = paired(weights);
    for column in (0..out.len()).step_by(16) {
        store(out, column, predict(samples, places, &weights, column));
    }
}

/// Weights of two taps at a time, as `predict` takes them.
#[inline]
#[target_feature(enable = "avx2")]
fn paired(weights: &Weights) -> [__m256i; TAPS / 2] {
    let pair = |pair: &[i16; 2]| _mm256_set1_epi32(i32::from(pair[0]) & 0xffff | i32::from(pair[1]) << 16);
    let (pairs, _) = weights.as_chunks::<2>();
    [pair(&pairs[0]), pair(&pairs[1]), pair(&pairs[2]), pair(&pairs[3]), pair(&pairs[4])]
}

/// Predictions of 16 samples.
#[inline]
#[target_feature(enable = "avx2")]
fn predict(samples: &[i16], places: &Places, weights: &[__m256i; TAPS / 2], column: usize) -> __m256i {
    let half = _mm256_set1_epi32(1 << (FRACTION - 1));
    let (mut low, mut high) = (half, half);
    for (pair, &weights) in weights.iter().enumerate() {
        let one = load(samples, places[2 * pair] + column);
        let other = load(samples, places[2 * pair + 1] + column);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(one, other), weights));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(one, other), weights));
    }
    let low = _mm256_srai_epi32::<{ FRACTION.cast_signed() }>(low);
    _mm256_packs_epi32(low, _mm256_srai_epi32::<{ FRACTION.cast_signed() }>(high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn weave(halves: [&[i16]; 2], base: u16, step: u16, out: &mut [i16]) {
    let base_16 = _mm256_set1_epi16(base.cast_signed());
    let step_16 = _mm256_set1_epi16(step.cast_signed());
    let of = |half: &[i16], at| _mm256_add_epi16(base_16, _mm256_mullo_epi16(step_16, load(half, at)));
    let mut groups = out.chunks_exact_mut(32);
    for (group, out) in groups.by_ref().enumerate() {
        let (even, odd) = (of(halves[0], 16 * group), of(halves[1], 16 * group));
        let (low, high) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
        store(out, 0, _mm256_permute2x128_si256::<0x20>(low, high));
        store(out, 16, _mm256_permute2x128_si256::<0x31>(low, high));
    }
    let done = out.len() / 32 * 32;
    for x in done..out.len() {
        let sample = halves[x % 2][x / 2].cast_unsigned();
        out[x] = base.wrapping_add(step.wrapping_mul(sample)).cast_signed();
    }
}
