//! The loops over half rows with AVX2.

mod draw;

#[allow(clippy::wildcard_imports, reason = "all that is taken begins with _mm")]
use std::arch::x86_64::*;

use super::Malformed;
use super::kernel::{Job, Kernel};
use super::model::{CONTEXTS, FRACTION, TAPS, Taps, Votes, Ways, Weights, context_of};
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
        out: &mut [u16],
    ) {
        // SAFETY: `self` proves that the features are there.
        unsafe { offsets(magnitudes, rows, votes, tables, out) }
    }

    #[inline(always)]
    fn draw(
        self,
        stream: &mut Stream,
        rows: HalfRows,
        offsets: &[u16],
        residuals: &mut [i16],
    ) -> Result<bool, Malformed> {
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

/// Numbers that fill vectors.
trait Lane: Copy {}
impl Lane for u8 {}
impl Lane for i16 {}
impl Lane for u16 {}
impl Lane for u32 {}

/// The values of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn load<T: Lane, const N: usize>(values: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: the array has 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// The values of 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn load_half<T: Lane, const N: usize>(values: &[T; N]) -> __m128i {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: the array has 16 bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// Writes the values of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn store<T: Lane, const N: usize>(values: &mut [T; N], vector: __m256i) {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: the array has 32 bytes, which may have any content; the store needs no alignment.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), vector) }
}

/// Contexts of sums without their lowest 1, 3 or 6 bits, 15 at most. Of a sum's three contexts the greatest is right: the
/// first table tells all sums below 32 apart, the second all contexts up to 128, the third those above, and none has a
/// greater one.
static CONTEXTS_BY: [[u8; 16]; 3] = [contexts_by(1), contexts_by(3), contexts_by(6)];

/// The context of the least sum that has these bits from `shift` on, and 0 for sums below all contexts.
const fn contexts_by(shift: u32) -> [u8; 16] {
    let (mut contexts, mut bits) = ([0; 16], 0);
    while bits < 16 {
        let sum = bits << shift;
        contexts[bits as usize] = if sum < 4 { 0 } else { context_of(sum) };
        bits += 1;
    }
    contexts
}

#[inline]
#[target_feature(enable = "avx2")]
fn offsets(magnitudes: &[i16], rows: HalfRows, votes: &Votes, tables: &[u8; CONTEXTS], out: &mut [u16]) {
    let look_up = |table: &[u8; 16]| _mm256_broadcastsi128_si256(load_half(table));
    let (parts, tables) = (CONTEXTS_BY.each_ref().map(look_up), look_up(tables));
    let around = Around::new(magnitudes, rows, votes);
    for (row, out) in out.chunks_exact_mut(rows.next).enumerate().take(rows.count) {
        for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate().take(around.groups()) {
            // SAFETY: rows and groups are those that there are.
            let votes = [0, 1, 2, 3, 4].map(|way| unsafe { around.load(row, group, way) });
            let twice = _mm256_add_epi16(_mm256_add_epi16(votes[0], votes[1]), votes[2]);
            let once = _mm256_add_epi16(_mm256_add_epi16(votes[3], votes[4]), _mm256_set1_epi16(4));
            let sum = _mm256_add_epi16(_mm256_add_epi16(twice, twice), once);
            let part = |part: usize, sum| {
                _mm256_shuffle_epi8(parts[part], _mm256_min_epi16(sum, _mm256_set1_epi16(15)))
            };
            let low = part(0, _mm256_srli_epi16::<1>(sum));
            let middle = part(1, _mm256_srli_epi16::<3>(sum));
            let high = part(2, _mm256_srli_epi16::<6>(sum));
            let context = _mm256_max_epi16(_mm256_max_epi16(low, middle), high);
            let chosen = _mm256_or_si256(context, _mm256_set1_epi16(0x8000_u16.cast_signed()));
            let table = _mm256_shuffle_epi8(tables, chosen);
            store(out, _mm256_slli_epi16::<{ BITS.cast_signed() }>(table));
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
    for (row, out) in out.chunks_exact_mut(rows.next).enumerate().take(rows.count) {
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
            store(out, changed);
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
        for (one, other) in one.as_chunks::<16>().0.iter().zip(other.as_chunks::<16>().0) {
            lanes = _mm256_add_epi32(lanes, _mm256_madd_epi16(load(one), load(other)));
        }
        let mut sums = [0_u32; 8];
        store(&mut sums, lanes);
        sum += sums.iter().map(|sum| i64::from(sum.cast_signed())).sum::<i64>();
    }
    sum
}
