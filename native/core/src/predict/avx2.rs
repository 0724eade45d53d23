//! The loops over half rows with AVX2.

mod draw;

#[allow(clippy::wildcard_imports, reason = "all that is taken begins with _mm")]
use std::arch::x86_64::*;

use super::Malformed;
use super::kernel::{Job, Kernel};
use super::model::{CONTEXTS, FRACTION, TAPS, Taps, Votes, Ways, Weights};
use super::planes::HalfRows;
use super::stream::Stream;
use super::tables::BITS;

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

    /// Runs a job, all of it compiled for these processors.
    pub fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "avx2,popcnt,bmi1,bmi2,lzcnt")]
        fn call<J: Job>(kernel: Avx2, job: J) -> J::Output {
            job.run(kernel)
        }
        // SAFETY: `self` proves that the features are there.
        unsafe { call(self, job) }
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn offsets(
        self,
        magnitudes: &[i16],
        rows: HalfRows,
        votes: &Votes,
        tables: &[u8; CONTEXTS],
        out: &mut [u32],
    ) {
        // SAFETY: `self` proves that the features are there.
        unsafe { offsets(magnitudes, rows, votes, tables, out) }
    }

    #[inline(always)]
    fn draw(
        self,
        stream: &mut Stream,
        rows: HalfRows,
        offsets: &[u32],
        residuals: &mut [i16],
    ) -> Result<(), Malformed> {
        // SAFETY: `self` proves that the features are there.
        unsafe { draw::draw(stream, rows, offsets, residuals) }
    }

    #[inline(always)]
    fn predict<const IS_ADDED: bool>(
        self,
        samples: &[i16],
        rows: HalfRows,
        taps: &Taps,
        weights: &Weights,
        out: &mut [i16],
    ) {
        // SAFETY: `self` proves that the features are there.
        unsafe { predict::<IS_ADDED>(samples, rows, taps, weights, out) }
    }

    #[inline(always)]
    fn product(self, one: &[i16], other: &[i16]) -> i64 {
        // SAFETY: `self` proves that the features are there.
        unsafe { product(one, other) }
    }
}

/// Half rows with what lies around them.
struct Around<'a, const N: usize> {
    data: &'a [i16],
    rows: HalfRows,
    ways: &'a Ways<N>,
}

impl<'a, const N: usize> Around<'a, N> {
    /// Checks once what all loads rely on.
    #[inline]
    fn new(data: &'a [i16], rows: HalfRows, ways: &'a Ways<N>) -> Self {
        let last = rows.at + rows.count.saturating_sub(1) * rows.next;
        let begins = rows.at.checked_add_signed(ways.least).is_some();
        let end = last.checked_add_signed(ways.most).and_then(|last| last.checked_add(rows.room));
        assert!(begins && end.is_some_and(|end| end <= data.len()), "half rows that are not there");
        Self { data, rows, ways }
    }

    /// Groups of 16 samples of a half row.
    fn groups(&self) -> usize {
        self.rows.room / 16
    }

    /// 16 samples on the way from those of a group.
    ///
    /// # Safety
    /// `row` is below `rows.count`, `group` below [`Self::groups`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(&self, row: usize, group: usize, way: usize) -> __m256i {
        let at = (self.rows.at + row * self.rows.next + 16 * group).wrapping_add_signed(self.ways.all[way]);
        // SAFETY: `new` has seen that the first half row begins within the data on the least way, and the last one
        // ends within it on the greatest; this group lies between. The load needs no alignment.
        unsafe { _mm256_loadu_si256(self.data.as_ptr().add(at).cast()) }
    }
}

/// 16 values.
#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[i16; 16]) -> __m256i {
    // SAFETY: the array has 32 bytes; the load needs no alignment.
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

#[inline]
#[target_feature(enable = "avx2")]
fn offsets(magnitudes: &[i16], rows: HalfRows, votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u32]) {
    let tables = _mm256_broadcastsi128_si256(load_bytes(tables));
    let around = Around::new(magnitudes, rows, votes);
    for (row, out) in out.chunks_exact_mut(rows.room).enumerate().take(rows.count) {
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate().take(around.groups()) {
            // SAFETY: rows and groups are those that there are.
            let votes = [0, 1, 2, 3, 4].map(|way| unsafe { around.load(row, group, way) });
            let twice = _mm256_add_epi16(_mm256_add_epi16(votes[0], votes[1]), votes[2]);
            let once = _mm256_add_epi16(_mm256_add_epi16(votes[3], votes[4]), _mm256_set1_epi16(4));
            let sum = _mm256_add_epi16(_mm256_add_epi16(twice, twice), once);
            let low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum));
            let high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(sum));
            for (at, sum) in [(0, low), (8, high)] {
                // Exponent and first bit of the mantissa are twice the octave and its half.
                let float = _mm256_castps_si256(_mm256_cvtepi32_ps(sum));
                let octaves =
                    _mm256_sub_epi32(_mm256_srli_epi32::<22>(float), _mm256_set1_epi32(2 * (127 + 2)));
                let context = _mm256_min_epi32(octaves, _mm256_set1_epi32(15));
                let chosen = _mm256_or_si256(context, _mm256_set1_epi32(0x8080_8000_u32.cast_signed()));
                let table = _mm256_shuffle_epi8(tables, chosen);
                store_8(out, at, _mm256_slli_epi32::<{ BITS.cast_signed() }>(table));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn predict<const IS_ADDED: bool>(
    samples: &[i16],
    rows: HalfRows,
    taps: &Taps,
    weights: &Weights,
    out: &mut [i16],
) {
    let weights = paired(weights);
    let around = Around::new(samples, rows, taps);
    for (row, out) in out.chunks_exact_mut(rows.room).enumerate().take(rows.count) {
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate().take(around.groups()) {
            let half = _mm256_set1_epi32(1 << (FRACTION - 1));
            let (mut low, mut high) = (half, half);
            for (pair, &weights) in weights.iter().enumerate() {
                // SAFETY: rows and groups are those that there are.
                let [one, other] =
                    [2 * pair, 2 * pair + 1].map(|way| unsafe { around.load(row, group, way) });
                let (below, above) = (_mm256_unpacklo_epi16(one, other), _mm256_unpackhi_epi16(one, other));
                low = _mm256_add_epi32(low, _mm256_madd_epi16(below, weights));
                high = _mm256_add_epi32(high, _mm256_madd_epi16(above, weights));
            }
            let low = _mm256_srai_epi32::<{ FRACTION.cast_signed() }>(low);
            let predicted = _mm256_packs_epi32(low, _mm256_srai_epi32::<{ FRACTION.cast_signed() }>(high));
            let given = load(out);
            let changed = if IS_ADDED {
                _mm256_add_epi16(given, predicted)
            } else {
                _mm256_sub_epi16(given, predicted)
            };
            store(out, 0, changed);
        }
    }
}

/// Weights of two taps at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn paired(weights: &Weights) -> [__m256i; TAPS / 2] {
    let pair = |pair: &[i16; 2]| _mm256_set1_epi32(i32::from(pair[0]) & 0xffff | i32::from(pair[1]) << 16);
    let (pairs, _) = weights.as_chunks::<2>();
    [pair(&pairs[0]), pair(&pairs[1]), pair(&pairs[2]), pair(&pairs[3]), pair(&pairs[4])]
}

/// Values whose products, summed in eight lanes, fit 32 bits.
const BATCH: usize = 8 * 64;

#[inline]
#[target_feature(enable = "avx2")]
fn product(one: &[i16], other: &[i16]) -> i64 {
    let mut sum = 0;
    for (one, other) in one.chunks(BATCH).zip(other.chunks(BATCH)) {
        let mut lanes = _mm256_setzero_si256();
        for (one, other) in one.as_chunks().0.iter().zip(other.as_chunks().0) {
            lanes = _mm256_add_epi32(lanes, _mm256_madd_epi16(load(one), load(other)));
        }
        let mut sums = [0; 8];
        store_8(&mut sums, 0, lanes);
        sum += sums.iter().map(|sum| i64::from(sum.cast_signed())).sum::<i64>();
    }
    sum
}
