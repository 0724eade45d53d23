//! The static family of distributions: 128 tables of residuals, made once by a fixed procedure.
//!
//! A table divides 512 slots among symbols. A symbol is a run of 2^k neighbouring residuals, whose `k`
//! low bits are taken from the state as they are; one symbol more, the escape, stands for all other
//! residuals. `docs/codec.md` has the procedure.

use std::sync::OnceLock;

/// Bits of a slot.
pub const BITS: u32 = 9;
/// Slots of a table.
pub const SLOTS: usize = 1 << BITS;
/// Tables of the family.
pub const TABLES: usize = 128;
/// What slots of the escape have for a residual; no other symbol has this one.
pub const ESCAPE: i16 = -1024;
/// Classes of residuals: each lies within one symbol of any table. See [`class_of`].
pub const CLASSES: usize = 208;

/// The last slot of a table.
const LAST: u16 = (1 << BITS) - 1;

const SCALES: usize = 64;
const MAX_K: u32 = 7;
/// Runs end before this value of u.
const MOST: u32 = 1023;

/// One symbol as the encoder needs it.
#[derive(Clone, Copy, Default)]
pub struct Symbol {
    /// Its first slot.
    pub start: u16,
    /// Its number of slots, a multiple of 2^(k - 6).
    pub freq: u16,
    /// Its raw low bits; [`Symbol::IS_ESCAPE`] for the escape, which has none.
    pub k: u16,
}

impl Symbol {
    /// `k` of an escape.
    pub const IS_ESCAPE: u16 = 255;
}

/// A slot in 32 bits, lowest first: slot - start (9 bits), k (3), the least residual of its symbol (11, signed), and
/// freq (9).
#[derive(Clone, Copy)]
pub struct Slot(pub u32);

impl Slot {
    fn new(freq: u16, rank: u16, k: u32, least: i16) -> Self {
        let least = u32::from(least.cast_unsigned()) & 0x7ff;
        Self(u32::from(rank) | k << 9 | least << 12 | u32::from(freq) << 23)
    }

    /// Its symbol's number of slots.
    #[inline]
    pub fn freq(self) -> u32 {
        self.0 >> 23
    }

    /// Its number among its symbol's.
    #[inline]
    pub fn rank(self) -> u32 {
        self.0 & 0x1ff
    }

    /// Low bits of a residual that are taken as they are.
    #[inline]
    pub fn k(self) -> u32 {
        self.0 >> 9 & 7
    }

    /// The least residual of its symbol, or [`ESCAPE`].
    #[inline]
    pub fn least(self) -> i16 {
        ((self.0 << 9).cast_signed() >> 21) as i16
    }
}

/// Every table.
pub struct Family {
    /// For each table and slot, see [`Slot`].
    pub slots: Box<[u32; TABLES * SLOTS]>,
    /// For each table and class its symbol.
    pub symbols: Vec<[Symbol; CLASSES]>,
    /// For each class and table the cost of a residual, in 1/64 bit.
    pub costs: Vec<[u32; TABLES]>,
}

/// The family, made at the first call.
pub fn family() -> &'static Family {
    static FAMILY: OnceLock<Family> = OnceLock::new();
    FAMILY.get_or_init(Family::new)
}

/// The class of a residual: its sign, and of `u = r` or `-1 - r` the 16 lowest values or an eighth of an octave.
#[inline]
#[must_use]
pub fn class_of(residual: i16) -> usize {
    let sign = residual >> 15;
    let u = u32::from((residual ^ sign).cast_unsigned());
    let k = (u >> 3 | 1).ilog2();
    let index = 8 * k + (u >> k);
    (index + if sign < 0 { 104 } else { 0 }) as usize
}

/// A run of `2^k` values of u from `first`.
struct Run {
    first: u32,
    k: u32,
    mass: [f64; 2],
}

impl Family {
    fn new() -> Self {
        let slots = vec![0; TABLES * SLOTS].into_boxed_slice().try_into();
        let slots = slots.unwrap_or_else(|_| unreachable!("a box of that length"));
        let mut family = Self { slots, symbols: Vec::new(), costs: vec![[0; TABLES]; CLASSES] };
        for table in 0..TABLES {
            family.push(table);
        }
        family
    }

    fn push(&mut self, table: usize) {
        let runs = runs_of(table);
        let freqs = frequencies(&runs);
        let mut symbols = [Symbol { start: LAST, freq: 1, k: Symbol::IS_ESCAPE }; CLASSES];
        let mut start = 0_u16;
        for (at, &freq) in freqs.iter().enumerate() {
            let run = runs.get(at / 2);
            let (k, least) = run.map_or((0, ESCAPE), |run| (run.k, run.least(at % 2 == 1)));
            for rank in 0..freq {
                let slot = table * SLOTS + usize::from(start + rank);
                self.slots[slot] = Slot::new(freq, rank, k, least).0;
            }
            for class in run.map_or(0..0, Run::classes) {
                symbols[class + at % 2 * CLASSES / 2] =
                    Symbol { start, freq, k: u16::try_from(k).unwrap_or(0) };
            }
            start += freq;
        }
        for (costs, symbol) in self.costs.iter_mut().zip(&symbols) {
            let extra = if symbol.k == Symbol::IS_ESCAPE { 16 } else { symbol.k };
            costs[table] = 64 * (BITS + u32::from(extra)) - log2(symbol.freq);
        }
        self.symbols.push(symbols);
    }
}

impl Run {
    /// The least residual of one sign or the other.
    fn least(&self, is_negative: bool) -> i16 {
        let first = self.first.cast_signed();
        let least = if is_negative { -first - (1 << self.k) } else { first };
        i16::try_from(least).unwrap_or(ESCAPE)
    }

    /// The classes, of values that are not negative, that lie in it.
    fn classes(&self) -> std::ops::Range<usize> {
        let class = |u: u32| class_of(i16::try_from(u).unwrap_or(i16::MAX));
        class(self.first)..class(self.first + (1 << self.k) - 1) + 1
    }
}

/// log2 of a number from 1 to 511 in 1/64, rounded down.
fn log2(number: u16) -> u32 {
    let whole = number.ilog2();
    let (mut mantissa, mut bits) = (u64::from(number) << (30 - whole), 0);
    for _ in 0..6 {
        mantissa = (mantissa * mantissa) >> 30;
        let is_two = mantissa >= 1 << 31;
        mantissa >>= u32::from(is_two);
        bits = 2 * bits + u32::from(is_two);
    }
    64 * whole + bits
}

/// The runs of a table: those at least as likely as half a slot, and all before the last of them.
fn runs_of(table: usize) -> Vec<Run> {
    let (index, is_logistic) = (table % SCALES, table >= SCALES);
    let base = u32::try_from((index / 4).saturating_sub(10)).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "small integers")]
    let scale = ((4 + index % 4) << (index / 4)) as f64 / 1024.0;
    // Pieces: up to which u (in units of 2^base), and how much wider their runs are.
    let pieces = [(16, 0), (32, 1), (64, 2), (128, 4)];
    let mut density = Density::new(scale, is_logistic);
    let (mut runs, mut first) = (Vec::new(), 0);
    for (end, wider) in pieces {
        let k = base + wider;
        while k <= MAX_K && first < end << base && first + (1 << k) <= MOST {
            runs.push(Run { first, k, mass: [0.0; 2] });
            first += 1 << k;
        }
    }
    // Density of |r| = 0, 1, ...: r = u for one sign, r = -1 - u for the other.
    let mut here = density.next();
    for run in &mut runs {
        for _ in 0..1_u32 << run.k {
            let after = density.next();
            run.mass[0] += here;
            run.mass[1] += after;
            here = after;
        }
    }
    let total: f64 = runs.iter().fold(0.0, |sum, run| sum + run.mass[0] + run.mass[1]);
    for run in &mut runs {
        run.mass = run.mass.map(|mass| mass / total);
    }
    let kept = runs.iter().rposition(|run| run.mass[0] * 1024.0 >= 1.0).map_or(1, |last| last + 1);
    runs.truncate(kept);
    runs
}

/// Slots for each run, positive then negative, and last for the escape; 512 in all.
fn frequencies(runs: &[Run]) -> Vec<u16> {
    let mut freqs = Vec::new();
    for run in runs {
        for mass in run.mass {
            let least = 1_u16 << run.k.saturating_sub(15 - BITS);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 512")]
            let rounded = (mass * 512.0 + 0.5).floor() as u16;
            freqs.push((rounded / least * least).max(least));
        }
    }
    freqs.push(1);
    let others: u16 = freqs[1..].iter().sum();
    freqs[0] = LAST + 1 - others;
    freqs
}

/// The density of |r| = 0, 1, ... in turn: Laplacian or logistic with a tail of a 32nd that is four times wider.
struct Density {
    is_logistic: bool,
    power: f64,
    ratio: f64,
    scale: f64,
    tail: f64,
    tail_ratio: f64,
}

impl Density {
    fn new(scale: f64, is_logistic: bool) -> Self {
        let tail_scale = scale * 4.0;
        Self {
            is_logistic,
            power: 1.0,
            ratio: scale / (scale + 1.0),
            scale,
            tail: 1.0 / (tail_scale + 1.0) / 32.0,
            tail_ratio: tail_scale / (tail_scale + 1.0),
        }
    }

    fn next(&mut self) -> f64 {
        let main = if self.is_logistic {
            self.power / ((1.0 + self.power) * (1.0 + self.power)) * 2.0
        } else {
            self.power
        };
        let density = main / (self.scale + 1.0) + self.tail;
        self.power *= self.ratio;
        self.tail *= self.tail_ratio;
        density
    }
}
