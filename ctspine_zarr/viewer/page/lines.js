// Lines of a catalog: which are legal, and where the arrays of a case lie. Paths come of checked names alone,
// so that none leads out of the store. The rules are those of docs/format.md.

import { damaged } from "./chunks.js";
import { IMAGE } from "./source.js";

/** @typedef {import("./chunks.js").StoredArray} StoredArray @typedef {import("./source.js").Triple} Triple */

export const FORMAT = 2;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$/;
const RESERVED = /^(?:zarr|zarr\.json|receipts|builds|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?)$/i;
const DIGEST = /^[0-9a-f]{64}$/;
const TAG = /^[0-9a-f]{12}$/;
const TAG_DIGITS = 12;
const MOST_EDGE = 2 ** 14;
const MOST_VOXELS = 2 ** 33;
const MOST_CHUNK_VOXELS = 2 ** 24;
const MOST_CHUNKS = 2 ** 22;

/**
 * The lines of a catalog, each of which is legal.
 * @param {string} text
 * @param {any} spec As the root has it.
 * @param {number} count Of lines, by the root.
 * @returns {any[]}
 */
export function parsedLines(text, spec, count) {
  const lines = text.split("\n").filter(Boolean).map(parsed);
  const ids = new Set(lines.map(({ id }) => `${id}`.toLowerCase()));
  if (lines.length !== count || ids.size !== count) throw damaged("the catalog has a case twice, or not all");
  lines.forEach((line) => requireLine(line, spec));
  return lines;
}

/** @param {string} line @returns {any} */
function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw damaged("a line of the catalog is no JSON");
  }
}

/** Do nothing where names and sizes of a line are legal. @param {any} line @param {any} spec */
function requireLine(line, spec) {
  const sets = Object.entries(line.sets ?? {});
  const names = [line.id, line.split, line.source, spec.mask, ...sets.map(([name]) => name)];
  const arrays = [line.image, line.segmentation ?? line.image, ...sets.map(([, one]) => one.array)];
  const isLegal =
    line.format === FORMAT &&
    names.every((name) => typeof name === "string" && NAME.test(name) && !RESERVED.test(name)) &&
    spec.splits.includes(line.split) &&
    spec.sources.includes(line.source) &&
    !sets.some(([name]) => name.toLowerCase() === spec.mask.toLowerCase()) &&
    DIGEST.test(line.content) &&
    DIGEST.test(line.group) &&
    isShape(line.shape, MOST_VOXELS) &&
    arrays.every((array) => isArray(array, line.shape));
  if (!isLegal) throw damaged(`the catalog's line of ${line.id} is not legal`);
}

/** @param {any} shape @param {number} most Voxels. */
function isShape(shape, most) {
  const isEdge = (/** @type {any} */ edge) => Number.isInteger(edge) && edge >= 1 && edge <= MOST_EDGE;
  return Array.isArray(shape) && shape.length === 3 && shape.every(isEdge) && product(shape) <= most;
}

/** @param {any} array @param {Triple} shape */
function isArray(array, shape) {
  return (
    isShape(array.chunk, MOST_CHUNK_VOXELS) &&
    product(shape.map((size, axis) => Math.ceil(size / array.chunk[axis]))) <= MOST_CHUNKS &&
    Number.isSafeInteger(array.bytes) &&
    array.bytes >= 0 &&
    (array.tag === undefined || TAG.test(array.tag))
  );
}

/** @param {number[]} numbers */
const product = (numbers) => numbers.reduce((all, one) => all * one, 1);

/** Path of a case's group below the store. @param {any} line */
export function pathOf(line) {
  return `${line.split}/${line.source}/${groupOf(line)}`;
}

/** Key of a case's receipt. @param {any} line */
export function receiptOf(line) {
  return `receipts/${groupOf(line)}.json`;
}

/** Name of a case's group. @param {any} line */
function groupOf({ id, content, is_replaced: isReplaced }) {
  return `${id}${isReplaced ? `~${content.slice(0, TAG_DIGITS)}` : ""}`;
}

/**
 * An array of a case: its path below the case, and what the catalog says of it; null where there is none.
 * @param {any} line
 * @param {string} mask Name of the group of the case's own mask.
 * @param {string} array `image`, or `labels/NAME`.
 * @returns {{path: string, stored: StoredArray} | null}
 */
export function arrayOf(line, mask, array) {
  if (array === IMAGE) return { path: IMAGE, stored: line.image };
  const name = array.slice("labels/".length);
  const set = Object.hasOwn(line.sets ?? {}, name) ? line.sets[name].array : null;
  const stored = name === mask ? line.segmentation : set;
  if (stored === null) return null;
  return { path: `labels/${name}/segmentation${stored.tag ? `~${stored.tag}` : ""}`, stored };
}
