// Where voxels lie, and how planes look at them. Pure arithmetic; positions and shapes are (z, y, x), as in
// the store, and the world is (x, y, z): RAS+ mm.

/** @typedef {import("./source.js").CaseRecord} CaseRecord @typedef {import("./source.js").Triple} Triple */
/** @typedef {"axial" | "coronal" | "sagittal"} PlaneName */

/**
 * The axis that each plane cuts, and those that run along its rows' numbers and its columns'. On the screen
 * both are reversed: what lies superior or anterior is above, the patient's right is on the left, and in the
 * sagittal plane anterior is on the left.
 * @type {Object<PlaneName, {axis: number, rows: number, columns: number}>}
 */
export const PLANES = {
  axial: { axis: 0, rows: 1, columns: 2 },
  coronal: { axis: 1, rows: 0, columns: 2 },
  sagittal: { axis: 2, rows: 0, columns: 1 },
};

/** Degrees up to which a grid is shown as it is stored. */
const MOST_DEGREES = 1;
/** Positions along an axis of the planes through an oblique volume. */
const MOST_POSITIONS = 1024;
const SIDES = [
  ["L", "R"],
  ["P", "A"],
  ["I", "S"],
];

/**
 * The positions that the planes of a case go through. Of a straight case they are its voxels. Of an oblique
 * or sheared one they lie along the axes of the body, evenly, as far apart as its voxels are where these are
 * closest; each shows the voxel next to it, so that every value that is shown is one that was measured.
 */
export class Grid {
  /** @param {CaseRecord} record */
  constructor(record) {
    this.isStraight = record.oblique_degrees <= MOST_DEGREES && record.shear_degrees <= MOST_DEGREES;
    /** @type {Triple} Of the stored volume. */
    this.stored = record.shape;
    /** Stored (x, y, z) -> world, and back. */
    this.affine = record.affine;
    this.inverse = inverted(record.affine);
    if (this.isStraight) {
      /** @type {Triple} Positions along each axis. */
      this.shape = record.shape;
      /** @type {Triple} mm between them. */
      this.spacing = record.spacing;
    } else {
      this.#spanWorld(record);
    }
  }

  /** @param {CaseRecord} record */
  #spanWorld(record) {
    const [z, y, x] = record.shape;
    const corners = [];
    for (const k of [0, z - 1])
      for (const j of [0, y - 1]) for (const i of [0, x - 1]) corners.push(apply(this.affine, [i, j, k]));
    this.first = [0, 1, 2].map((axis) => Math.min(...corners.map((corner) => corner[axis])));
    const extents = [0, 1, 2].map(
      (axis) => Math.max(...corners.map((corner) => corner[axis])) - this.first[axis],
    );
    const step = Math.max(Math.min(...record.spacing), Math.max(...extents) / (MOST_POSITIONS - 1));
    const [right, front, up] = extents.map((mm) => Math.floor(mm / step) + 1);
    this.shape = [up, front, right];
    this.spacing = [step, step, step];
  }

  /** @param {number[]} at Position. @returns {number[]} World. */
  worldOf(at) {
    const [z, y, x] = at;
    if (this.isStraight) return apply(this.affine, [x, y, z]);
    return [x, y, z].map((index, axis) => this.first[axis] + index * this.spacing[0]);
  }

  /**
   * @param {number[]} at Position.
   * @returns {number[]} Stored voxel, (z, y, x), between voxels where the grid is oblique.
   */
  voxelOf(at) {
    if (this.isStraight) return at;
    return apply(this.inverse, this.worldOf(at)).reverse();
  }

  /** @param {number[]} voxel Stored, (z, y, x). @returns {number[]} Its position. */
  positionOf(voxel) {
    if (this.isStraight) return voxel;
    const world = apply(this.affine, [voxel[2], voxel[1], voxel[0]]);
    return world.map((mm, axis) => (mm - this.first[axis]) / this.spacing[0]).reverse();
  }

  /** @param {number[]} at @returns {Triple} The nearest position there is. */
  clipped(at) {
    return at.map((index, axis) => Math.min(Math.max(Math.round(index), 0), this.shape[axis] - 1));
  }

  /**
   * Letters at the edges of a plane on the screen: the sides of the body that its axes are closest to.
   * @param {PlaneName} plane
   */
  letters(plane) {
    const { rows, columns } = PLANES[plane];
    const [bottom, top] = this.#sides(rows);
    const [right, left] = this.#sides(columns);
    return { left, right, top, bottom };
  }

  /** The sides that an axis leads from and to. @param {number} axis */
  #sides(axis) {
    const column = 2 - axis;
    const direction = this.isStraight
      ? [0, 1, 2].map((row) => this.affine[row][column])
      : [0, 1, 2].map((row) => Number(row === column));
    const lengths = direction.map(Math.abs);
    const closest = lengths.indexOf(Math.max(...lengths));
    const [low, high] = SIDES[closest];
    return direction[closest] > 0 ? [low, high] : [high, low];
  }
}

/** @param {number[][]} affine (4, 4). @param {number[]} at @returns {number[]} */
export function apply(affine, [x, y, z]) {
  return [0, 1, 2].map(
    (row) => affine[row][0] * x + affine[row][1] * y + affine[row][2] * z + affine[row][3],
  );
}

/** @param {number[][]} affine (4, 4), with an inverse. @returns {number[][]} It, (4, 4). */
export function inverted(affine) {
  const [[a, b, c, p], [d, e, f, q], [g, h, i, r]] = affine;
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / determinant));
  return [...rows.map((row) => [...row, -(row[0] * p + row[1] * q + row[2] * r)]), [0, 0, 0, 1]];
}
