// Voxels to colours. Pure; a pixel is one number of four bytes: red, green, blue and opacity, the least byte
// first.

/**
 * @typedef {import("./source.js").Voxels} Voxels
 * @typedef {[number, number]} Window  Two HU: black and white.
 */

const OPAQUE = 0xff000000;
const LEAST = -32768;

/** Of a value in a window: 0 to 255, rounded half up. @param {number} value @param {Window} window */
export function grey(value, [low, high]) {
  return Math.floor(Math.min(Math.max((value - low) / (high - low), 0), 1) * 255 + 0.5);
}

/** A pixel of each value of int16, from the least on. @param {Window} window @returns {Uint32Array} */
export function table(window) {
  const found = new Uint32Array(65536);
  for (let at = 0; at < found.length; at++) found[at] = OPAQUE | (grey(at + LEAST, window) * 0x010101);
  return found;
}

/**
 * @param {Voxels} slice
 * @param {Window} window
 * @param {Uint32Array} greys Its `table`.
 * @param {Uint32Array} pixels Filled.
 */
export function paintImage(slice, window, greys, pixels) {
  if (slice instanceof Int16Array) {
    for (let at = 0; at < pixels.length; at++) pixels[at] = greys[slice[at] - LEAST];
    return;
  }
  for (let at = 0; at < pixels.length; at++) {
    const value = slice[at];
    // Where the volume does not reach there is nothing to see, not even air.
    pixels[at] = Number.isNaN(value) ? 0 : OPAQUE | (grey(value, window) * 0x010101);
  }
}

/**
 * @param {import("./source.js").LabelName[]} labels
 * @returns {Uint32Array} A pixel of each label; grey of one without a name.
 */
export function colours(labels) {
  const found = new Uint32Array(256).fill(OPAQUE | 0xa0a0a0);
  found[0] = 0;
  for (const {
    label,
    colour: [red, green, blue],
  } of labels)
    found[label] = (OPAQUE | (blue << 16) | (green << 8) | red) >>> 0;
  return found;
}

/**
 * @param {Uint8Array} mask
 * @param {Uint32Array} palette As of `colours`.
 * @param {Uint32Array} pixels Filled.
 */
export function paintMask(mask, palette, pixels) {
  for (let at = 0; at < pixels.length; at++) pixels[at] = palette[mask[at]];
}

/**
 * The edges of each label of a slice, along the edges of its voxels, and the voxel that lies deepest in it,
 * which is where its name stands.
 * @param {Uint8Array} mask @param {number} height @param {number} width
 * @param {number} tall mm of a row. @param {number} wide mm of a column.
 * @returns {Map<number, {path: Path2D, row: number, column: number, depth: number}>}
 */
export function outlines(mask, height, width, tall, wide) {
  const found = new Map();
  const depths = depthsOf(mask, height, width, tall, wide);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const label = mask[at];
      if (label === 0) continue;
      let one = found.get(label);
      if (one === undefined) found.set(label, (one = { path: new Path2D(), row, column, depth: 0 }));
      if (depths[at] > one.depth) Object.assign(one, { row, column, depth: depths[at] });
      if (row === 0 || mask[at - width] !== label) line(one.path, column, row, column + 1, row);
      if (row === height - 1 || mask[at + width] !== label)
        line(one.path, column, row + 1, column + 1, row + 1);
      if (column === 0 || mask[at - 1] !== label) line(one.path, column, row, column, row + 1);
      if (column === width - 1 || mask[at + 1] !== label)
        line(one.path, column + 1, row, column + 1, row + 1);
    }
  }
  return found;
}

/** How far each voxel of a label is from its edge, by steps along rows and columns, in mm: two sweeps. */
function depthsOf(mask, height, width, tall, wide) {
  const depths = new Float32Array(mask.length);
  const from = (label, at, isThere, step) => (isThere && mask[at] === label ? depths[at] + step : step);
  for (let at = 0; at < mask.length; at++) {
    const label = mask[at];
    if (label === 0) continue;
    const column = at % width;
    depths[at] = Math.min(from(label, at - width, at >= width, tall), from(label, at - 1, column > 0, wide));
  }
  for (let at = mask.length - 1; at >= 0; at--) {
    const label = mask[at];
    if (label === 0) continue;
    const [down, right] = [at + width, at + 1];
    const back = Math.min(
      from(label, down, down < mask.length, tall),
      from(label, right, right % width > 0, wide),
    );
    depths[at] = Math.min(depths[at], back);
  }
  return depths;
}

/** @param {Path2D} path */
function line(path, x, y, toX, toY) {
  path.moveTo(x, y);
  path.lineTo(toX, toY);
}
