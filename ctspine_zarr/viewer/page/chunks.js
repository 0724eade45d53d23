// Arrays of a store as zarrita reads them. What it does not check is checked here: that an array is what the
// catalog says, its index the one that was written, every checksum, and the size that a chunk is decoded to.

import { decodePredicted } from "./predict.js";
import { crc32c } from "./proof.js";
import { SourceError } from "./source.js";
import { open, registry, root, withRangeCoalescing, ZSTDDecoder } from "./zarrita.js";

/** @typedef {import("./source.js").Triple} Triple */
/**
 * @typedef {{dtype: string, bytes: number, index_crc32c: number, chunk: Triple, codec: string, tag?: string}}
 *   StoredArray
 */

/** Bytes of a voxel. */
export const ITEMSIZES = { uint8: 1, int16: 2, int32: 4, float32: 4, float64: 8 };
/** Codecs that a browser can decode, and the chain of each; all others are told to be none of them. */
const CHAINS = {
  "blosc-zstd": "bytes,blosc,crc32c",
  zstd: "bytes,zstd,crc32c",
  predict: "ctspine_zarr.predict,crc32c",
};
/** Of a chunk without voxels, twice. */
const ABSENT = 2n ** 64n - 1n;
const ENTRY_BYTES = 16;
const CRC_BYTES = 4;
const BLOSC_HEADER = 16;
/** Of the one frame, behind the offset of its block and its size. */
const FRAME_AT = 24;
/** Flags of blosc: not compressed; and zstd, bytes shuffled, streams not split. */
const BLOSC_COPIED = 0x02;
const BLOSC_SHUFFLED_ZSTD = 0x91;
/** That a frame may have beside what it holds. */
const FRAME_BYTES = 1024;
/** Bytes between two chunks that are read rather than asked for apart. */
const MOST_GAP = 2 ** 15;

/** @param {string} codec */
export const isReadable = (codec) => Object.hasOwn(CHAINS, codec);

/** @param {string} what @returns {SourceError} */
export const damaged = (what) => new SourceError(`damaged: ${what}`, "store");

/** zarrita's own drops the checksum unread. */
class Checksum {
  kind = "bytes_to_bytes";
  static fromConfig() {
    return new Checksum();
  }
  /** @param {Uint8Array} bytes */
  decode(bytes) {
    const end = bytes.length - CRC_BYTES;
    if (end < 0 || crc32c(bytes.subarray(0, end)) !== wordAt(bytes, end)) throw damaged("a checksum fails");
    return bytes.subarray(0, end);
  }
  /** @param {number} size */
  computeEncodedSize(size) {
    return size + CRC_BYTES;
  }
}

/** Little-endian. @param {Uint8Array} bytes @param {number} at */
function wordAt(bytes, at) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

const zstd = new ZSTDDecoder();

/**
 * @param {Uint8Array} frame @param {number} size @returns {Uint8Array} The bytes in a frame of zstd: `size`,
 *   whatever the frame says.
 */
function inflated(frame, size) {
  const isInBounds = frame.length > 0 && frame.length < 2 * size + FRAME_BYTES;
  const found = isInBounds ? zstd.decode(frame, size) : null;
  if (found?.length !== size) throw damaged("a chunk is no zstd of its size");
  return found;
}

/**
 * The bytes in a chunk of C-Blosc 1 (its README_CHUNK_FORMAT.rst), as stores have them: one block, which is
 * one frame of zstd of shuffled bytes; or bytes as they are, where they did not compress.
 * @param {Uint8Array} chunk @param {number} size @param {number} itemsize
 */
function unblosced(chunk, size, itemsize) {
  if (chunk.length < BLOSC_HEADER) throw damaged("a chunk is shorter than a header of blosc");
  const [flags, typesize] = [chunk[2], chunk[3]];
  const isAsSaid = wordAt(chunk, 4) === size && wordAt(chunk, 12) === chunk.length && typesize === itemsize;
  if (isAsSaid && flags & BLOSC_COPIED && chunk.length === BLOSC_HEADER + size)
    return chunk.slice(BLOSC_HEADER);
  const isOneBlock =
    chunk.length > FRAME_AT &&
    wordAt(chunk, 8) === size &&
    wordAt(chunk, BLOSC_HEADER) === FRAME_AT - 4 &&
    wordAt(chunk, FRAME_AT - 4) === chunk.length - FRAME_AT;
  if (!isAsSaid || !isOneBlock || flags !== BLOSC_SHUFFLED_ZSTD)
    throw damaged("a chunk is no blosc as stores have it");
  const block = chunk.subarray(FRAME_AT);
  return unshuffled(block.length === size ? block : inflated(block, size), itemsize);
}

/** @param {Uint8Array} planes All lowest bytes, then all next ones. @param {number} itemsize */
function unshuffled(planes, itemsize) {
  const found = new Uint8Array(planes.length);
  const count = planes.length / itemsize;
  for (let byte = 0; byte < itemsize; byte++) {
    let to = byte;
    for (let from = byte * count; from < (byte + 1) * count; from++, to += itemsize) found[to] = planes[from];
  }
  return found;
}

/**
 * A decoder of chunks of their own size alone.
 * @param {(bytes: Uint8Array, size: number, itemsize: number) => Uint8Array} decoded
 */
const compressor = (decoded) => async () => {
  await zstd.init();
  return {
    fromConfig(/** @type {any} */ configuration, /** @type {any} */ { shape, dataType }) {
      const itemsize = ITEMSIZES[dataType];
      const size = shape.reduce((product, edge) => product * edge, itemsize);
      return { kind: "bytes_to_bytes", decode: (bytes) => decoded(bytes, size, itemsize) };
    },
  };
};

/** Of the profile `compact`: voxels at once, without bytes between. */
class Predicted {
  kind = "array_to_bytes";
  #shape;
  /** @param {any} configuration @param {{shape: Triple, dataType: string}} array */
  static fromConfig(configuration, { shape, dataType }) {
    if (dataType !== "int16" || shape.length !== 3) throw damaged("an array that the codec predict has not");
    return new Predicted(shape);
  }
  /** @param {Triple} shape */
  constructor(shape) {
    this.#shape = shape;
  }
  /** @param {Uint8Array} bytes */
  decode(bytes) {
    const shape = this.#shape;
    try {
      return { data: decodePredicted(bytes, shape), shape, stride: [shape[1] * shape[2], shape[2], 1] };
    } catch (error) {
      throw damaged(error.message);
    }
  }
}

registry.set("crc32c", () => Checksum);
registry.set("ctspine_zarr.predict", () => Predicted);
registry.set("zstd", compressor(inflated));
registry.set("blosc", compressor(unblosced));

/**
 * An array, whose index is read once and kept with it.
 * @param {import("./files.js").Files} files
 * @param {string} path Of the array below the store, of legal names.
 * @param {Triple} shape
 * @param {StoredArray} stored
 * @param {any} metadata Its `zarr.json`.
 */
export async function openArray(files, path, shape, stored, metadata) {
  requireMetadata(path, shape, stored, metadata);
  const objects = withRangeCoalescing(new ArrayObjects(files, stored, metadata), { coalesceSize: MOST_GAP });
  return open.v3(root(objects).resolve(path), { kind: "array" });
}

/** The objects of one array. */
class ArrayObjects {
  #files;
  #stored;
  #metadata;

  /** @param {import("./files.js").Files} files @param {StoredArray} stored @param {any} metadata */
  constructor(files, stored, metadata) {
    this.#files = files;
    this.#stored = stored;
    this.#metadata = metadata;
  }

  /** The one whole object that is asked for. @returns {Promise<Uint8Array>} */
  async get() {
    return new TextEncoder().encode(JSON.stringify(this.#metadata));
  }

  /**
   * @param {string} key Of the shard.
   * @param {{suffixLength: number} | {offset: number, length: number}} range
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Uint8Array | undefined>} undefined where there is no shard, as that of an empty mask.
   */
  async getRange(key, range, options) {
    const { bytes } = this.#stored;
    if (bytes === 0) return undefined;
    if (!("suffixLength" in range)) return this.#files.parts.getRange(key, range, options);
    const length = range.suffixLength;
    if (length > bytes) throw damaged(`${key.slice(1)} is shorter than its index`);
    // Whoever asks first may have done with it before it comes; others wait for it as well.
    const index = await this.#files.parts.getRange(key, { offset: bytes - length, length });
    requireIndex(key.slice(1), index, this.#stored, this.#metadata);
    return index;
  }
}

/** Do nothing where an array's `zarr.json` says what the catalog says. */
function requireMetadata(path, shape, stored, metadata) {
  const shard = metadata?.codecs?.[0];
  const {
    chunk_shape: chunk,
    codecs,
    index_codecs: ofIndex,
    index_location: at,
  } = shard?.configuration ?? {};
  const whole = shape.map((size, axis) => Math.ceil(size / stored.chunk[axis]) * stored.chunk[axis]);
  const names = (/** @type {any[]} */ list) => `${list?.map((one) => one.name)}`;
  const isAsSaid =
    metadata?.node_type === "array" &&
    `${metadata.shape}` === `${shape}` &&
    metadata.data_type === stored.dtype &&
    metadata.fill_value === 0 &&
    metadata.codecs.length === 1 &&
    shard.name === "sharding_indexed" &&
    at === "end" &&
    `${metadata.chunk_grid?.configuration?.chunk_shape}` === `${whole}` &&
    `${chunk}` === `${stored.chunk}` &&
    names(codecs) === CHAINS[stored.codec] &&
    names(ofIndex) === "bytes,crc32c";
  if (!isAsSaid) throw damaged(`the zarr.json of ${path} says other than the catalog`);
}

/** Do nothing where an index is as written: of the catalog's checksum, its chunks without gaps. */
function requireIndex(key, index, stored, metadata) {
  const end = index.length - CRC_BYTES;
  if (wordAt(index, end) !== stored.index_crc32c) throw damaged(`the index of ${key} is of another state`);
  const entries = new BigUint64Array(index.slice(0, end).buffer);
  let next = 0n;
  for (let at = 0; at < entries.length; at += 2) {
    const [offset, size] = [entries[at], entries[at + 1]];
    const isMask = metadata.data_type === "uint8";
    if (isMask && offset === ABSENT && size === ABSENT) continue;
    if (offset !== next) throw damaged(`the index of ${key} has a gap`);
    next += size;
  }
  if (next !== BigInt(stored.bytes - index.length)) throw damaged(`the index of ${key} has another size`);
}
