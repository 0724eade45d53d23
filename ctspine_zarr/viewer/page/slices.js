// Slices of a case, of boxes that are held: which boxes one lies in, and its voxels as they stand on the
// screen.

import { IMAGE } from "./source.js";
import { PLANES } from "./grid.js";
import { wanted } from "./boxes.js";

/** @typedef {import("./source.js").CaseRecord} CaseRecord @typedef {import("./source.js").Voxels} Voxels */
/** @typedef {import("./grid.js").Grid} Grid @typedef {import("./grid.js").PlaneName} PlaneName */
/** @typedef {import("./boxes.js").Boxes} Boxes @typedef {import("./boxes.js").Wanted} Wanted */

/** Of a slab, where one slice has fewer. */
const MOST_SLAB_BYTES = 4 * 2 ** 20;
/** Slices along z of the boxes that an oblique plane is taken from. */
const BRICK_SLICES = 32;

/** @param {CaseRecord} record @param {string} array @returns {number} Bytes of a voxel. */
function itemsize(record, array) {
  if (array !== IMAGE) return 1;
  return record.dtype === "int16" ? 2 : 4;
}

/**
 * Slices of a slab: those of one row of chunks, or a half, a quarter ... where these are too many bytes.
 * @param {CaseRecord} record @param {PlaneName} plane
 */
export function slabDepth(record, plane) {
  const { axis, rows, columns } = PLANES[plane];
  // Of image and mask alike, so that both come of the same chunks.
  const slice = record.shape[rows] * record.shape[columns] * itemsize(record, IMAGE);
  let depth = record.chunk[axis];
  while (depth > 1 && depth * slice > MOST_SLAB_BYTES) depth = Math.ceil(depth / 2);
  return depth;
}

/**
 * The boxes that a slice of an array lies in: one slab, or of an oblique plane every brick that it goes
 * through.
 * @param {CaseRecord} record
 * @param {Grid} grid
 * @param {string} array
 * @param {PlaneName} plane
 * @param {number} index
 * @returns {Wanted[]}
 */
export function boxesOf(record, grid, array, plane, index) {
  const size = itemsize(record, array);
  if (!grid.isStraight)
    return bricksOf(record, grid, plane, index).map(([start, stop]) =>
      wanted(record.id, array, size, start, stop),
    );
  const { axis } = PLANES[plane];
  const depth = slabDepth(record, plane);
  const start = [0, 0, 0];
  const stop = [...record.shape];
  start[axis] = Math.floor(index / depth) * depth;
  stop[axis] = Math.min(start[axis] + depth, record.shape[axis]);
  return [wanted(record.id, array, size, start, stop)];
}

/** Along z, y and x. @param {CaseRecord} record */
function brickSize(record) {
  const [z, y, x] = record.chunk;
  return [z * Math.max(1, Math.round(BRICK_SLICES / z)), y, x];
}

/** @param {CaseRecord} record @param {Grid} grid @param {PlaneName} plane @param {number} index */
function bricksOf(record, grid, plane, index) {
  const { axis } = PLANES[plane];
  const size = brickSize(record);
  // A position is linear in the voxel: over a brick it spans the middle's, give or take half of each edge's.
  const zero = grid.positionOf([0, 0, 0])[axis];
  const slopes = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ].map((unit) => grid.positionOf(unit)[axis] - zero);
  const found = [];
  for (let z = 0; z < record.shape[0]; z += size[0]) {
    for (let y = 0; y < record.shape[1]; y += size[1]) {
      for (let x = 0; x < record.shape[2]; x += size[2]) {
        const start = [z, y, x];
        const stop = start.map((first, along) => Math.min(first + size[along], record.shape[along]));
        // Voxels reach half an edge beyond their middles.
        const middle = start.reduce(
          (sum, first, along) => sum + slopes[along] * ((first + stop[along] - 1) / 2),
          zero,
        );
        const reach = start.reduce(
          (sum, first, along) => sum + Math.abs(slopes[along]) * ((stop[along] - first) / 2),
          0,
        );
        if (Math.abs(index - middle) <= reach + 1e-6) found.push([start, stop]);
      }
    }
  }
  return found;
}

/**
 * A slice as it stands on the screen, row by row from the upper left, or null where boxes of it are not held.
 * Where an oblique volume does not reach, an image has NaN and a mask 0.
 * @param {Boxes} boxes @param {CaseRecord} record @param {Grid} grid @param {string} array
 * @param {PlaneName} plane @param {number} index
 * @returns {Voxels | null}
 */
export function sliceOf(boxes, record, grid, array, plane, index) {
  const list = boxesOf(record, grid, array, plane, index);
  const held = list.map((one) => boxes.get(one));
  if (held.some((voxels) => voxels === undefined)) return null;
  return grid.isStraight
    ? ofSlab(held[0], list[0], plane, index)
    : ofBricks(held, list, record, grid, array, plane, index);
}

/**
 * @param {Voxels} slab
 * @param {Wanted} box
 * @param {PlaneName} plane
 * @param {number} index
 * @returns {Voxels}
 */
function ofSlab(slab, box, plane, index) {
  const { axis, rows, columns } = PLANES[plane];
  const shape = box.stop.map((last, along) => last - box.start[along]);
  const strides = [shape[1] * shape[2], shape[2], 1];
  const [height, width] = [shape[rows], shape[columns]];
  const found = new slab.constructor(height * width);
  let to = 0;
  // The last row and column come first: see PLANES.
  for (let row = height - 1; row >= 0; row--) {
    let from =
      (index - box.start[axis]) * strides[axis] + row * strides[rows] + (width - 1) * strides[columns];
    for (let column = 0; column < width; column++, from -= strides[columns]) found[to++] = slab[from];
  }
  return found;
}

/**
 * @param {Voxels[]} held
 * @param {Wanted[]} list
 * @param {CaseRecord} record
 * @param {Grid} grid
 * @param {string} array
 * @param {PlaneName} plane @param {number} index @returns {Voxels}
 */
function ofBricks(held, list, record, grid, array, plane, index) {
  const { axis, rows, columns } = PLANES[plane];
  const [height, width] = [grid.shape[rows], grid.shape[columns]];
  const found = array === IMAGE ? new Float32Array(height * width).fill(NaN) : new Uint8Array(height * width);
  const size = brickSize(record);
  const counts = record.shape.map((n, along) => Math.ceil(n / size[along]));
  /** @type {(Voxels | undefined)[]} By the brick's place. */
  const places = new Array(counts[0] * counts[1] * counts[2]);
  list.forEach(({ start }, at) => {
    places[((start[0] / size[0]) * counts[1] + start[1] / size[1]) * counts[2] + start[2] / size[2]] =
      held[at];
  });
  // The voxel of each pixel is linear in row and column: a first one, and two steps.
  const corner = [0, 0, 0];
  corner[axis] = index;
  corner[rows] = height - 1;
  corner[columns] = width - 1;
  const first = grid.voxelOf(corner);
  const down = stepOf(grid, corner, rows, first);
  const across = stepOf(grid, corner, columns, first);
  const [depthAll, heightAll, widthAll] = record.shape;
  let to = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++, to++) {
      const z = Math.round(first[0] + row * down[0] + column * across[0]);
      const y = Math.round(first[1] + row * down[1] + column * across[1]);
      const x = Math.round(first[2] + row * down[2] + column * across[2]);
      if (z < 0 || y < 0 || x < 0 || z >= depthAll || y >= heightAll || x >= widthAll) continue;
      const [bz, by, bx] = [(z / size[0]) | 0, (y / size[1]) | 0, (x / size[2]) | 0];
      const brick = places[(bz * counts[1] + by) * counts[2] + bx];
      if (brick === undefined) continue;
      const tall = Math.min(size[1], heightAll - by * size[1]);
      const wide = Math.min(size[2], widthAll - bx * size[2]);
      found[to] = brick[((z - bz * size[0]) * tall + (y - by * size[1])) * wide + (x - bx * size[2])];
    }
  }
  return found;
}

/** How far the voxel moves as a position moves one back along an axis. */
function stepOf(grid, at, along, voxel) {
  const moved = [...at];
  moved[along] -= 1;
  return grid.voxelOf(moved).map((value, axis) => value - voxel[axis]);
}
