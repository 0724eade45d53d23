// The tables of the codec `predict`, as docs/codec.md has them under "Tables": each is made once, when a
// chunk first names it. Operations on doubles are those of IEEE 754, in the order that is fixed there. Pure.

export const TABLES = 128;
export const SLOT_BITS = 9;
export const SLOTS = 2 ** SLOT_BITS;
/** The least residual of the escape, which no other symbol has. */
export const ESCAPE = -1024;

const SCALES = 64;
const MOST_K = 7;
/** Runs end before this value of u. */
const MOST_U = 1023;
/** Up to which u, in units of 2^b, runs are how many times wider: as powers of two. */
const PIECES = [
  [16, 0],
  [32, 1],
  [64, 2],
  [128, 4],
];

/**
 * Of each slot, by table * 512 + slot, lowest bits first: slot - start (9 bits), k (3), least residual (11,
 * signed), frequency (9).
 */
export const SLOT_WORDS = new Int32Array(TABLES * SLOTS);
const made = new Set();

/** Make a table in `SLOT_WORDS`, unless it is there. @param {number} number */
export function makeTable(number) {
  if (made.has(number)) return;
  const runs = runsOf(number);
  const symbols = runs.flatMap(({ first, k }) => [
    { k, least: first },
    { k, least: -first - 2 ** k },
  ]);
  symbols.push({ k: 0, least: ESCAPE });
  let slot = number * SLOTS;
  frequenciesOf(runs).forEach((frequency, at) => {
    const { k, least } = symbols[at];
    const word = (k << 9) | ((least & 0x7ff) << 12) | (frequency << 23);
    for (let rank = 0; rank < frequency; rank++) SLOT_WORDS[slot++] = word | rank;
  });
  made.add(number);
}

/**
 * The runs of a table, 2^k values of u from `first`, with the masses of both signs: those at least as likely
 * as half a slot, and all before the last of them.
 * @param {number} number
 */
function runsOf(number) {
  const index = number % SCALES;
  const base = Math.max(0, Math.floor(index / 4) - 10);
  const runs = [];
  let first = 0;
  for (const [end, wider] of PIECES) {
    const k = base + wider;
    while (k <= MOST_K && first < end * 2 ** base && first + 2 ** k <= MOST_U) {
      runs.push({ first, k, masses: [0, 0] });
      first += 2 ** k;
    }
  }
  const scale = ((4 + (index % 4)) * 2 ** Math.floor(index / 4)) / 1024;
  const density = densityOf(scale, first + 1, number >= SCALES);
  for (const run of runs)
    run.masses = [0, 1].map((sign) =>
      summed(density.subarray(run.first + sign, run.first + sign + 2 ** run.k)),
    );
  const total = summed(runs.flatMap(({ masses }) => masses));
  for (const run of runs) run.masses = run.masses.map((mass) => mass / total);
  const last = runs.findLastIndex(({ masses }) => masses[0] * 1024 >= 1);
  return runs.slice(0, Math.max(0, last) + 1);
}

/** From the left. @param {ArrayLike<number>} values */
function summed(values) {
  let sum = values[0];
  for (let at = 1; at < values.length; at++) sum += values[at];
  return sum;
}

/** Slots for each run, positive then negative, and last for the escape; 512 in all. */
function frequenciesOf(runs) {
  const found = runs.flatMap(({ k, masses }) => {
    const unit = 2 ** Math.max(0, k - 6);
    return masses.map((mass) => Math.max(unit, Math.floor(Math.floor(mass * SLOTS + 0.5) / unit) * unit));
  });
  found.push(1);
  found[0] = SLOTS - (found.reduce((sum, one) => sum + one, 0) - found[0]);
  return found;
}

/**
 * The density of |r| from 0: Laplacian or logistic, with a tail of a 32nd that is four times wider.
 * @param {number} scale @param {number} count @param {boolean} isLogistic
 */
function densityOf(scale, count, isLogistic) {
  const found = new Float64Array(count);
  const [ratio, ratioOfTail] = [scale / (scale + 1), (4 * scale) / (4 * scale + 1)];
  let power = 1;
  let tail = 1 / (4 * scale + 1) / 32;
  for (let at = 0; at < count; at++) {
    const main = isLogistic ? (power / ((1 + power) * (1 + power))) * 2 : power;
    found[at] = main / (scale + 1) + tail;
    power *= ratio;
    tail *= ratioOfTail;
  }
  return found;
}
