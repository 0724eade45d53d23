// The page's other source: a store's own files, straight from any web server that gives ranges, by zarrita.

import { damaged, isReadable, ITEMSIZES, openArray } from "./chunks.js";
import { boxDtype, caseDocument, storeDocument } from "./documents.js";
import { Files } from "./files.js";
import { arrayOf, FORMAT, parsedLines, pathOf, receiptOf } from "./lines.js";
import { CAN_PROVE, isSealed, sha256 } from "./proof.js";
import { IMAGE, SourceError } from "./source.js";
import { get, slice } from "./zarrita.js";

/** @typedef {import("./source.js").Description} Description @typedef {import("./source.js").Voxels} Voxels */
/** @typedef {import("./source.js").CaseRecord} CaseRecord @typedef {import("./source.js").Triple} Triple */

const ROOT = "zarr.json";
const MOST_DOCUMENT = 2 ** 26;
const MOST_CATALOG = 2 ** 30;
/** Of a receipt, and of the picture in it, as base64. */
const MOST_RECEIPT = 2 ** 23;
const MOST_PICTURE = 2 ** 16;
/** Of a box, as the server has it. */
const MOST_BOX = 2 ** 24;

/** A published store. */
export class ZarrSource {
  #files;
  #severities;
  #root;
  /** @type {Map<string, any>} Id -> line of the catalog. */
  #lines = new Map();
  /** Of the case that was read last: its id; what its group says, and its arrays, each by its path. */
  #case = { id: "", held: new Map() };

  /**
   * @param {string} location Of the store, from the page.
   * @param {import("./documents.js").Severities} severities Of the codes of findings.
   */
  constructor(location, severities) {
    const base = new URL(location, document.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    this.#files = new Files(base);
    this.#severities = severities;
  }

  /** What the page says beside its title; empty where nothing is odd. */
  get note() {
    return CAN_PROVE ? "" : "digests unchecked: this page came neither by https nor from this machine";
  }

  /** @returns {Promise<Description>} The dataset and its cases. */
  async describe() {
    this.#root = await this.#readRoot();
    let catalog = await this.#readCatalog();
    if (catalog === null) {
      // Another state may have come between root and catalog.
      this.#root = await this.#readRoot();
      catalog = await this.#readCatalog();
    }
    if (catalog === null) throw damaged("there is no catalog");
    const { dataset, catalog: file } = this.#root;
    const lines = parsedLines(catalog, dataset, file.cases);
    this.#lines = new Map(lines.map((line) => [line.id, line]));
    const location = this.#files.base.href.replace(/\/$/, "");
    return storeDocument(location, this.#root, lines, this.#severities);
  }

  /** @param {string} id @returns {Promise<CaseRecord>} What is known of a case. */
  async record(id) {
    return caseDocument(this.#line(id), this.#root.dataset, this.#severities);
  }

  /** @param {string} id @returns {Promise<string>} A picture of the case; empty where it has none. */
  async thumbnail(id) {
    const line = this.#line(id);
    const key = receiptOf(line);
    const bytes = await this.#files.whole(key, MOST_RECEIPT);
    if (bytes === null) throw damaged(`${key} is not there`);
    await requireDigest(key, bytes, line.receipt);
    const { thumbnail = "" } = json(bytes) ?? {};
    const isBase64 = typeof thumbnail === "string" && /^[A-Za-z0-9+/]+=*$/.test(thumbnail);
    return isBase64 && thumbnail.length <= MOST_PICTURE ? `data:image/jpeg;base64,${thumbnail}` : "";
  }

  /**
   * @param {string} id Of the case.
   * @param {string} array `image`, or `labels/NAME`.
   * @param {Triple} start The first voxel.
   * @param {Triple} stop Past the last voxel.
   * @param {AbortSignal} signal That ends the requests.
   * @returns {Promise<Voxels>} In the order z, y, x.
   */
  async box(id, array, start, stop, signal) {
    const line = this.#line(id);
    const found = arrayOf(line, this.#root.dataset.mask, array);
    if (found === null) throw new SourceError(`${id} has no ${array}`, "unknown");
    const { path, stored } = found;
    if (!isReadable(stored.codec)) {
      const how = "a browser cannot show it; ctspine-zarr view can";
      throw new SourceError(`${array} of ${id} is stored by the codec ${stored.codec}: ${how}`, "store");
    }
    const dtype = array === IMAGE ? boxDtype(stored.dtype) : "uint8";
    requireBox(start, stop, line.shape, ITEMSIZES[dtype]);
    try {
      const opened = await this.#opened(line, path, stored);
      const box = start.map((first, axis) => slice(first, stop[axis]));
      const { data } = await get(opened, box, { signal });
      return dtype === stored.dtype ? data : Float32Array.from(data);
    } catch (error) {
      throw await this.#told(error, `${array} of ${id}`);
    }
  }

  /** @param {string} id */
  #line(id) {
    const line = this.#lines.get(id);
    if (line === undefined) throw new SourceError(`no case ${id} in the store`, "unknown");
    return line;
  }

  async #readRoot() {
    const bytes = await this.#files.whole(ROOT, MOST_DOCUMENT);
    if (bytes === null) throw new SourceError(`no store at ${this.#files.base.href}`, "store");
    const root = json(bytes)?.attributes?.ctspine_zarr;
    if (root === undefined) throw damaged(`${ROOT} is no root of a store`);
    if (root.format !== FORMAT) {
      throw new SourceError(`the store is of format ${root.format}; legal: ${FORMAT}`, "store");
    }
    if (CAN_PROVE && !(await isSealed(bytes, `${root.seal}`))) throw damaged(`the seal of ${ROOT} fails`);
    if (root.catalog === null) {
      throw new SourceError("the store's first build has not ended: it has no list of cases yet", "store");
    }
    return root;
  }

  /** @returns {Promise<string | null>} null where there is none. */
  async #readCatalog() {
    const { sha256: digest, bytes: size } = this.#root.catalog;
    const key = `catalog-${encodeURIComponent(`${digest}`.slice(0, 16))}.jsonl`;
    const bytes = await this.#files.whole(key, Math.min(size, MOST_CATALOG));
    if (bytes === null) return null;
    await requireDigest(key, bytes, digest);
    return new TextDecoder().decode(bytes);
  }

  /** @param {any} line @param {string} path @param {import("./chunks.js").StoredArray} stored */
  async #opened(line, path, stored) {
    if (this.#case.id !== line.id) this.#case = { id: line.id, held: new Map() };
    const { held } = this.#case;
    const metadata = await once(held, ROOT, () => this.#readMetadata(line));
    const whole = `${pathOf(line)}/${path}`;
    return once(held, path, () => openArray(this.#files, whole, line.shape, stored, metadata[path]));
  }

  /** What the group of a case says of its arrays, by path. @param {any} line */
  async #readMetadata(line) {
    const key = `${pathOf(line)}/zarr.json`;
    const bytes = await this.#files.whole(key, MOST_DOCUMENT);
    if (bytes === null) throw damaged(`${key} is not there`);
    await requireDigest(key, bytes, line.group);
    return json(bytes)?.consolidated_metadata?.metadata ?? {};
  }

  /** What the page is told of an error: that the store was updated, where it was. */
  async #told(error, what) {
    if (error.name === "AbortError") return error;
    // zarrita wraps those of decoders.
    const own = [error, error.cause].find((one) => one instanceof SourceError);
    const found = own ?? damaged(`${what}: ${error.message} ${error.cause ?? ""}`);
    if (found.kind !== "store") return found;
    const root = await this.#readRoot().catch(() => this.#root);
    if (root.seal === this.#root.seal) return found;
    return new SourceError("the store was updated since this page was loaded", "updated");
  }
}

/**
 * What was begun under a key, which is begun again once it has failed.
 * @template T
 * @param {Map<string, Promise<any>>} held @param {string} key @param {() => Promise<T>} begin
 * @returns {Promise<T>}
 */
function once(held, key, begin) {
  if (!held.has(key)) {
    const begun = begin();
    begun.catch(() => held.delete(key));
    held.set(key, begun);
  }
  return held.get(key);
}

/** @param {Uint8Array} bytes @returns {any} undefined where it is no JSON. */
function json(bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** @param {string} key @param {Uint8Array} bytes @param {string} digest */
async function requireDigest(key, bytes, digest) {
  if (CAN_PROVE && (await sha256(bytes)) !== digest) throw damaged(`${key} has another sha256`);
}

/** @param {Triple} start @param {Triple} stop @param {Triple} shape @param {number} itemsize */
function requireBox(start, stop, shape, itemsize) {
  const isInside = start.every((first, at) => first >= 0 && first < stop[at] && stop[at] <= shape[at]);
  const bytes = start.reduce((all, first, axis) => all * (stop[axis] - first), itemsize);
  if (!isInside || bytes > MOST_BOX) {
    const legal = `a box of one voxel or more of ${shape}, of at most ${MOST_BOX} bytes`;
    throw new SourceError(`box ${start} to ${stop}; legal: ${legal}`, "asked");
  }
}
