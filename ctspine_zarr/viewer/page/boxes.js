// Boxes of voxels that the page holds: few enough, each asked for once, and no longer than it is wanted.

/** @typedef {import("./source.js").Voxels} Voxels @typedef {import("./source.js").Triple} Triple */
/** @typedef {{id: string, array: string, start: Triple, stop: Triple, bytes: number, key: string}} Wanted */

/** Requests under way at once. */
const AT_ONCE = 4;

/**
 * @param {string} id
 * @param {string} array
 * @param {number} itemsize
 * @param {Triple} start
 * @param {Triple} stop
 * @returns {Wanted}
 */
export function wanted(id, array, itemsize, start, stop) {
  const voxels = (stop[0] - start[0]) * (stop[1] - start[1]) * (stop[2] - start[2]);
  return { id, array, start, stop, bytes: voxels * itemsize, key: `${id} ${array} ${start} ${stop}` };
}

/** The boxes that were used last. What is held and what is under way together never exceed the limit. */
export class Boxes {
  /**
   * @param {{box: Function}} source See source.js.
   * @param {number} limit Bytes.
   * @param {(error: Error | null) => void} told When a box has come, or an error in place of one.
   */
  constructor(source, limit, told) {
    this.source = source;
    this.limit = limit;
    this.told = told;
    /** Bytes held and under way, and the most there ever were. */
    this.bytes = 0;
    this.peak = 0;
    /** @type {Map<string, {voxels: Voxels, bytes: number}>} In order of use. */
    this.held = new Map();
    /** @type {Map<string, {ending: AbortController, bytes: number}>} */
    this.underWay = new Map();
    /** @type {Set<string>} What could not be had, and is not asked for again before `retry`. */
    this.failed = new Set();
    /** @type {Wanted[]} What is asked for, the most urgent first. */
    this.queue = [];
    /** @type {Map<string, number>} Of what is wanted: its place, the most urgent first. */
    this.places = new Map();
  }

  /** @param {Wanted} one @returns {Voxels | undefined} */
  get(one) {
    const found = this.held.get(one.key);
    if (found === undefined) return undefined;
    this.held.delete(one.key);
    this.held.set(one.key, found);
    return found.voxels;
  }

  /**
   * Ask for what is needed and, where there is room beside that and what is shown, for what comes next;
   * end the requests for anything else. What is needed may be more than fits: the first of it comes first.
   * @param {{needed: Wanted[], shown: Wanted[], ahead: Wanted[]}} wants Each with the most urgent first;
   *   what is shown is kept while there is room, and not asked for.
   */
  want({ needed, shown, ahead }) {
    this.queue = [...needed, ...ahead];
    this.places.clear();
    for (const { key } of [...needed, ...shown, ...ahead])
      if (!this.places.has(key)) this.places.set(key, this.places.size);
    for (const [key, { ending }] of this.underWay) if (!this.places.has(key)) ending.abort();
    this.#ask();
  }

  /** Let all go, as another case is shown. */
  clear() {
    this.want({ needed: [], shown: [], ahead: [] });
    for (const [key, { bytes }] of this.held) this.#drop(key, bytes);
    this.failed.clear();
  }

  /** Ask again for what could not be had. */
  retry() {
    this.failed.clear();
    this.#ask();
  }

  #ask() {
    for (const one of this.queue) {
      if (this.underWay.size >= AT_ONCE) return;
      if (this.held.has(one.key) || this.underWay.has(one.key) || this.failed.has(one.key)) continue;
      // What is more urgent has come, or comes: for this there is no room beside it.
      if (!this.#makeRoom(one)) return;
      this.#start(one);
    }
  }

  /**
   * @param {Wanted} one
   * @returns {boolean} Whether there is room, once what nobody wants has gone, and what is less urgent.
   */
  #makeRoom(one) {
    const isThere = () => this.bytes + one.bytes <= this.limit;
    // Where nothing is short nothing is sorted.
    if (isThere()) return true;
    const least = this.places.get(one.key);
    const placeOf = (/** @type {string} */ key) => this.places.get(key) ?? Infinity;
    const going = [...this.held].filter(([key]) => placeOf(key) > least);
    // Of what nobody wants, what was used longest ago goes first.
    going.sort(([key], [other]) => (placeOf(key) === placeOf(other) ? 0 : placeOf(other) - placeOf(key)));
    for (const [key, { bytes }] of going) {
      if (isThere()) return true;
      this.#drop(key, bytes);
    }
    return isThere();
  }

  /** @param {string} key @param {number} bytes */
  #drop(key, bytes) {
    this.held.delete(key);
    this.bytes -= bytes;
  }

  /** @param {Wanted} one */
  async #start(one) {
    const ending = new AbortController();
    this.underWay.set(one.key, { ending, bytes: one.bytes });
    this.bytes += one.bytes;
    this.peak = Math.max(this.peak, this.bytes);
    let error = null;
    try {
      const voxels = await this.source.box(one.id, one.array, one.start, one.stop, ending.signal);
      this.held.set(one.key, { voxels, bytes: one.bytes });
    } catch (caught) {
      this.bytes -= one.bytes;
      error = caught;
    }
    this.underWay.delete(one.key);
    const isAborted = error !== null && error.name === "AbortError";
    if (error !== null && !isAborted) this.failed.add(one.key);
    if (!isAborted) this.told(error);
    this.#ask();
  }
}
