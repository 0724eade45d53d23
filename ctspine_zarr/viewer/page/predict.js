// The codec `predict` of the profile `compact`: bytes to voxels, as docs/codec.md has it. It gives the voxels
// that format/predict/decode.py gives, or refuses a chunk as that does; neither time nor memory goes beyond
// what a chunk of its shape takes. Pure.

import { ESCAPE, makeTable, SLOT_BITS, SLOT_WORDS, SLOTS, TABLES } from "./predict_tables.js";

/** @typedef {import("./source.js").Triple} Triple */
/**
 * @typedef {{extent: Triple, base: number, step: number, weights: Int32Array[],
 *   offsets: Int32Array[]}} Header
 */

/** First bytes. */
const [CONSTANT, RAW, PREDICTED] = [0, 1, 2];
const [CROPPED, STEPPED] = [1, 2];
const TAPS = 10;
const CONTEXTS = 16;
const MOST_MAGNITUDE = 255;
/** Of the row before the first one. */
const UNKNOWN = 8;
/** Rows that are kept above a slice's own; one more is below. */
const ABOVE = 2;
const MOST_STATES = 32;
const LEAST_STATE = 2 ** 15;
const MOST_ROOM = 2 ** 26;
const [EVEN, ODD] = [0, 1];

/** Taps by set: [slice, row, parity, column], each from the sample's own but for the parity. */
const TAPS_OF = [
  [
    [0, -1, EVEN, 0],
    [0, -1, ODD, -1],
    [0, -1, ODD, 0],
    [0, -2, EVEN, 0],
    [0, -2, ODD, -1],
    [0, -2, ODD, 0],
    [0, -1, EVEN, -1],
    [0, -1, EVEN, 1],
    [0, -2, EVEN, -1],
    [0, -2, EVEN, 1],
  ],
  [
    [0, 0, EVEN, 0],
    [0, 0, EVEN, 1],
    [0, -1, ODD, 0],
    [0, -1, EVEN, 0],
    [0, -1, EVEN, 1],
    [0, -2, ODD, 0],
    [0, -1, ODD, -1],
    [0, -1, ODD, 1],
    [0, -2, EVEN, 0],
    [0, -2, EVEN, 1],
  ],
  [
    [0, -1, EVEN, 0],
    [0, -1, ODD, -1],
    [0, -1, ODD, 0],
    [0, -2, EVEN, 0],
    [-1, 0, EVEN, 0],
    [-1, 0, ODD, -1],
    [-1, 0, ODD, 0],
    [-1, -1, EVEN, 0],
    [-1, 1, EVEN, 0],
    [0, -2, ODD, 0],
  ],
  [
    [0, 0, EVEN, 0],
    [0, 0, EVEN, 1],
    [0, -1, ODD, 0],
    [0, -1, EVEN, 0],
    [0, -1, EVEN, 1],
    [-1, 0, ODD, 0],
    [-1, 0, EVEN, 0],
    [-1, 0, EVEN, 1],
    [-1, -1, ODD, 0],
    [-1, 1, ODD, 0],
  ],
];
/** The magnitudes that a context follows from, by parity, as taps are; and how much each of them counts. */
const VOTES_OF = [
  [
    [0, -1, EVEN, 0],
    [0, -1, ODD, -1],
    [0, -1, ODD, 0],
    [-1, 0, EVEN, 0],
    [-1, 1, EVEN, 0],
  ],
  [
    [0, 0, EVEN, 0],
    [0, 0, EVEN, 1],
    [0, -1, ODD, 0],
    [-1, 0, ODD, 0],
    [-1, 1, ODD, 0],
  ],
];
const COUNTS_OF = [
  [2, 1, 1, 2, 2],
  [2, 2, 2, 1, 1],
];
const NO_WEIGHTS = new Int32Array(TAPS);
/** Of a sum, its context. */
const CONTEXT_OF = Uint8Array.from({ length: 8 * MOST_MAGNITUDE + 1 }, (_, sum) => {
  const octave = 31 - Math.clz32(sum + 4);
  return Math.min(CONTEXTS - 1, (octave - 2) * 2 + (((sum + 4) >> (octave - 1)) & 1));
});

/** @param {boolean} holds @param {string} what */
function require_(holds, what) {
  if (!holds) throw new Error(`a chunk is no ${what}`);
}

/**
 * The voxels of a chunk, in C order.
 * @param {Uint8Array} bytes @param {Triple} shape (z, y, x) @returns {Int16Array}
 * @throws {Error} The bytes are no chunk of this shape.
 */
export function decodePredicted(bytes, shape) {
  const voxels = new Int16Array(shape[0] * shape[1] * shape[2]);
  require_(bytes.length >= 1 && bytes.length <= 2 * voxels.length + 1, "chunk of its size");
  const values = new DataView(bytes.buffer, bytes.byteOffset + 1, bytes.length - 1);
  if (bytes[0] === PREDICTED) {
    const reader = new Reader(values);
    const header = readHeader(reader, shape);
    new Chunk(header, reader).decodeInto(voxels, shape);
    return voxels;
  }
  const lengths = { [CONSTANT]: 2, [RAW]: 2 * voxels.length };
  require_(lengths[bytes[0]] === values.byteLength, "chunk of a kind that there is");
  if (bytes[0] === CONSTANT) return voxels.fill(values.getInt16(0, true));
  for (let at = 0; at < voxels.length; at++) voxels[at] = values.getInt16(2 * at, true);
  return voxels;
}

/** Bytes not yet read, little-endian. */
class Reader {
  /** @param {DataView} view */
  constructor(view) {
    this.view = view;
    this.at = 0;
  }

  /** @param {"Uint8" | "Int8" | "Uint16" | "Uint32"} kind @param {number} count @returns {number[]} */
  take(kind, count) {
    const size = { Uint8: 1, Int8: 1, Uint16: 2, Uint32: 4 }[kind];
    require_(this.at + size * count <= this.view.byteLength, "whole one: its header is cut");
    const from = this.at;
    this.at += size * count;
    return Array.from({ length: count }, (_, at) => this.view[`get${kind}`](from + size * at, true));
  }

  /** All that is left, in the machine's order of bytes: little-endian wherever browsers run. */
  words() {
    const { buffer, byteOffset, byteLength } = this.view;
    require_((byteLength - this.at) % 2 === 0, "chunk of whole words");
    return new Uint16Array(buffer.slice(byteOffset + this.at, byteOffset + byteLength));
  }
}

/** @param {Reader} reader @param {Triple} shape @returns {Header} */
function readHeader(reader, shape) {
  const [flags] = reader.take("Uint8", 1);
  require_((flags & ~(CROPPED | STEPPED)) === 0, "chunk of flags that there are");
  const extent = /** @type {Triple} */ (flags & CROPPED ? reader.take("Uint32", 3) : [...shape]);
  require_(
    extent.every((size, axis) => size >= 1 && size <= shape[axis]),
    "chunk whose box lies in it",
  );
  const [base, step] = flags & STEPPED ? reader.take("Uint16", 2) : [0, 1];
  const [z, y, x] = extent;
  require_(step > 0 && z * (y + 2 * z + 3) * (x + 64) <= MOST_ROOM, "chunk that can be predicted");
  const weights = Array.from({ length: z > 1 ? 4 : 2 }, () => {
    const stored = reader.take("Int8", TAPS - 1);
    return Int32Array.of(64 - stored.reduce((sum, one) => sum + one, 0), ...stored);
  });
  return { extent, base, step, weights, offsets: [EVEN, ODD].map(() => readTables(reader)) };
}

/** Where the table of each context of a parity begins. @param {Reader} reader */
function readTables(reader) {
  const [span] = reader.take("Uint8", 1);
  const [first, last] = [span & 15, span >> 4];
  require_(first <= last, "chunk of contexts that there are");
  const tables = new Int32Array(CONTEXTS);
  tables.set(reader.take("Uint8", last - first + 1), first);
  require_(
    tables.every((one) => one < TABLES),
    "chunk of tables that there are",
  );
  tables.forEach(makeTable);
  return tables.map((one) => one * SLOTS);
}

/**
 * A predicted chunk. Samples and magnitudes are half rows, [slice][row][parity][column], with two rows above
 * each slice and one below, and a column at either end: see "Order" in docs/codec.md.
 */
class Chunk {
  /** @param {Header} header @param {Reader} reader At its states. */
  constructor(header, reader) {
    this.header = header;
    const [depth, rows, width] = header.extent;
    this.halves = [Math.ceil(width / 2), width >> 1];
    this.halfStride = this.halves[EVEN] + 2;
    this.rowStride = 2 * this.halfStride;
    this.sliceStride = (rows + ABOVE + 1) * this.rowStride;
    this.samples = new Int16Array(depth * this.sliceStride);
    this.magnitudes = new Uint8Array(depth * this.sliceStride);
    this.magnitudes.fill(UNKNOWN, 0, ABOVE * this.rowStride);
    this.states = Int32Array.from(reader.take("Uint32", Math.min(MOST_STATES, this.halves[EVEN])));
    require_(
      this.states.every((state) => state >>> 0 >= LEAST_STATE),
      "chunk of states that there are",
    );
    this.words = reader.words();
    /** The next word, and past the next escape. */
    this.at = 0;
    this.end = this.words.length;
    this.taps = TAPS_OF.map((taps, set) => taps.map((tap) => this.#offset(tap, set & 1)));
    this.votes = [0, 1, 2, 3].map((set) =>
      VOTES_OF[set & 1].map((vote) =>
        // In the first slice the row before stands for both of the slice before.
        this.#offset(set < 2 && vote[0] ? [0, -1, set & 1, 0] : vote, set & 1),
      ),
    );
  }

  /** How far a tap lies from a sample. @param {number[]} tap @param {number} parity Of the sample. */
  #offset([slice, row, half, column], parity) {
    return slice * this.sliceStride + row * this.rowStride + (half - parity) * this.halfStride + column;
  }

  /** Where a half row begins, its end before it included. */
  #place(z, y, parity) {
    return z * this.sliceStride + (y + ABOVE) * this.rowStride + parity * this.halfStride;
  }

  /** @param {Int16Array} voxels @param {Triple} shape Of the chunk. */
  decodeInto(voxels, shape) {
    const [depth, rows] = this.header.extent;
    for (let step = 0; step < rows + 2 * (depth - 1); step++) {
      const first = Math.max(0, Math.ceil((step + 1 - rows) / 2));
      const last = Math.min(step >> 1, depth - 1);
      if (step === 2 * last && last > 0) this.#copyRows(last - 1, 0, last, [-2, -1]);
      for (const parity of [EVEN, ODD])
        for (let z = first; z <= last; z++) this.#halfRow(z, step - 2 * z, parity);
      if (step === 0) this.#copyRow(this.samples, this.#place(0, 0, 0), this.#place(0, -1, 0));
      if (first <= last && step - 2 * first === rows - 1) this.#copyRows(first, rows - 1, first, [rows]);
    }
    require_(
      this.at === this.end && this.states.every((state) => state === LEAST_STATE),
      "whole one: words or states are left over",
    );
    this.#weave(voxels, shape);
  }

  #copyRows(fromSlice, fromRow, toSlice, toRows) {
    for (const row of toRows)
      for (const planes of [this.samples, this.magnitudes])
        this.#copyRow(planes, this.#place(fromSlice, fromRow, 0), this.#place(toSlice, row, 0));
  }

  #copyRow(planes, from, to) {
    planes.copyWithin(to, from, from + this.rowStride);
  }

  #halfRow(z, y, parity) {
    const width = this.halves[parity];
    const place = this.#place(z, y, parity);
    const set = (z > 0 ? 2 : 0) + parity;
    const isFirstRow = z + y === 0;
    if (width) this.#draw(place + 1, width, set, isFirstRow ? NO_WEIGHTS : this.header.weights[set]);
    if (isFirstRow) this.#addUp(place + 1, width, parity);
    this.#close(this.samples, place, width);
    this.#close(this.magnitudes, place, width);
  }

  /** Repeat the ends of a half row; where there are no odd columns, the even one stands for them. */
  #close(planes, place, width) {
    planes[place] = width ? planes[place + 1] : planes[place - this.halfStride + 1];
    planes[place + width + 1] = width ? planes[place + width] : planes[place];
  }

  /** The first row, of residuals: even samples follow the one before, odd ones their neighbours. */
  #addUp(place, width, parity) {
    const { samples, halfStride } = this;
    for (let at = place; at < place + width; at++) {
      const even = at - halfStride;
      const before = at > place ? samples[at - 1] : 0;
      const prediction = parity === EVEN ? before : (samples[even] + samples[even + 1] + 1) >> 1;
      samples[at] += prediction;
    }
  }

  /** Decode a half row: where it is, its columns, and the set that its samples are predicted by. */
  #draw(place, width, set, weights) {
    const { samples, magnitudes, states, words } = this;
    const lanes = states.length - 1;
    const isPower = (states.length & lanes) === 0;
    const taps = this.taps[set];
    const votes = this.votes[set];
    const counts = COUNTS_OF[set & 1];
    const w0 = weights[0];
    const w1 = weights[1];
    const w2 = weights[2];
    const w3 = weights[3];
    const w4 = weights[4];
    const w5 = weights[5];
    const w6 = weights[6];
    const w7 = weights[7];
    const w8 = weights[8];
    const w9 = weights[9];
    const t0 = taps[0];
    const t1 = taps[1];
    const t2 = taps[2];
    const t3 = taps[3];
    const t4 = taps[4];
    const t5 = taps[5];
    const t6 = taps[6];
    const t7 = taps[7];
    const t8 = taps[8];
    const t9 = taps[9];
    const v0 = votes[0];
    const v1 = votes[1];
    const v2 = votes[2];
    const v3 = votes[3];
    const v4 = votes[4];
    const c0 = counts[0];
    const c1 = counts[1];
    const c2 = counts[2];
    const c3 = counts[3];
    const c4 = counts[4];
    const offsets = this.header.offsets[set & 1];
    let { at, end } = this;
    for (let column = 0; column < width; column++) {
      const p = place + column;
      const lane = isPower ? column & lanes : column % states.length;
      const sum =
        c0 * magnitudes[p + v0] +
        c1 * magnitudes[p + v1] +
        c2 * magnitudes[p + v2] +
        c3 * magnitudes[p + v3] +
        c4 * magnitudes[p + v4];
      const state = states[lane];
      const word = SLOT_WORDS[offsets[CONTEXT_OF[sum]] | (state & (SLOTS - 1))];
      const k = (word >> 9) & 7;
      const least = (word << 9) >> 21;
      // Of 32 bits without a sign, which stay whole numbers to the machine as long as nobody looks at them.
      const drawn = (Math.imul(word >>> 23, state >>> SLOT_BITS) + (word & (SLOTS - 1))) | 0;
      let residual = least + (drawn & ((1 << k) - 1));
      const next = drawn >>> k;
      // What is read beyond the words fails at the end.
      states[lane] = next < LEAST_STATE ? (next << 16) | words[at++] : next;
      if (least === ESCAPE) residual = (words[--end] << 16) >> 16;
      magnitudes[p] = Math.min(residual < 0 ? -residual : residual, MOST_MAGNITUDE);
      // Whole numbers of 32 bits, as sums are: other products may be -0, which are none.
      const weighted =
        Math.imul(w0, samples[p + t0]) +
        Math.imul(w1, samples[p + t1]) +
        Math.imul(w2, samples[p + t2]) +
        Math.imul(w3, samples[p + t3]) +
        Math.imul(w4, samples[p + t4]) +
        Math.imul(w5, samples[p + t5]) +
        Math.imul(w6, samples[p + t6]) +
        Math.imul(w7, samples[p + t7]) +
        Math.imul(w8, samples[p + t8]) +
        Math.imul(w9, samples[p + t9]);
      const prediction = Math.max(-32768, Math.min(32767, (weighted + 32) >> 6));
      samples[p] = prediction + residual;
    }
    this.at = at;
    this.end = end;
  }

  /** @param {Int16Array} voxels @param {Triple} shape */
  #weave(voxels, shape) {
    const { samples } = this;
    const { extent, base, step } = this.header;
    const [depth, rows, width] = extent;
    for (let z = 0; z < depth; z++)
      for (let y = 0; y < rows; y++) {
        const to = (z * shape[1] + y) * shape[2];
        const even = this.#place(z, y, EVEN) + 1;
        const odd = this.#place(z, y, ODD) + 1;
        for (let x = 0; x < width; x++)
          voxels[to + x] = base + step * samples[(x & 1 ? odd : even) + (x >> 1)];
      }
  }
}
