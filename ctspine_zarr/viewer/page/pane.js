// One plane of the case on the screen: what it shows, how large, and where things lie on it.

import { IMAGE } from "./source.js";
import { PLANES } from "./grid.js";
import { sliceOf } from "./slices.js";
import { outlines, paintImage, paintMask } from "./paint.js";
import { drawMarks } from "./marks.js";

/** @typedef {import("./app.js").App} App @typedef {import("./grid.js").PlaneName} PlaneName */
/** @typedef {import("./source.js").Voxels} Voxels */
/** @typedef {{name: string, style: "fill" | "outline"}} Overlay */
/**
 * @typedef {{key: string, index: number, height: number, width: number, image: Voxels,
 *   masks: {overlay: Overlay, voxels: Uint8Array, outlines: ReturnType<typeof outlines>}[]}} Shown
 */

const MOST_ZOOM = 40;
const LEAST_ZOOM = 0.25;

export class Pane {
  /**
   * @param {App} app
   * @param {PlaneName} plane
   * @param {number} side 0, or 1 in the row of what is compared with.
   */
  constructor(app, plane, side) {
    this.app = app;
    this.plane = plane;
    this.side = side;
    this.element = document.createElement("section");
    this.element.className = "pane";
    this.element.dataset.plane = plane;
    this.element.dataset.side = String(side);
    this.element.tabIndex = 0;
    this.base = this.element.appendChild(document.createElement("canvas"));
    this.marks = this.element.appendChild(document.createElement("canvas"));
    this.title = this.element.appendChild(document.createElement("span"));
    this.title.className = "pane-title";
    this.enlarge = this.element.appendChild(document.createElement("button"));
    this.enlarge.className = "enlarge";
    this.enlarge.textContent = "⤢";
    this.enlarge.title = `Make the ${plane} plane the large one (x)`;
    this.enlarge.addEventListener("click", () => app.setMain(plane));
    // Pictures of one pixel a voxel, which are scaled as they are drawn.
    this.picture = document.createElement("canvas");
    this.cover = document.createElement("canvas");
    /** @type {ImageData | null} The slice in its window, a pixel a voxel. */
    this.pixels = null;
    /** @type {Shown | null} */
    this.shown = null;
    this.reset();
  }

  /** The whole slice in the middle. */
  reset() {
    this.zoom = 1;
    this.panX = 0;
    this.panY = 0;
    this.painted = "";
  }

  /** Of another case. */
  forget() {
    this.shown = null;
    this.pixels = null;
    this.reset();
  }

  get axis() {
    return PLANES[this.plane].axis;
  }

  /** CSS pixels. */
  get size() {
    return [this.element.clientWidth, this.element.clientHeight];
  }

  /** Where the slice lies: its upper left corner, and the pixels of a column and a row. */
  get placement() {
    const { grid } = this.app;
    const { rows, columns } = PLANES[this.plane];
    const [width, height] = this.size;
    const [tall, wide] = [grid.shape[rows] * grid.spacing[rows], grid.shape[columns] * grid.spacing[columns]];
    const scale = Math.min(width / wide, height / tall) * this.zoom;
    const [perColumn, perRow] = [scale * grid.spacing[columns], scale * grid.spacing[rows]];
    const left = (width - grid.shape[columns] * perColumn) / 2 + this.panX;
    const top = (height - grid.shape[rows] * perRow) / 2 + this.panY;
    return { left, top, perColumn, perRow, scale };
  }

  /**
   * Row and column of the slice at a place in the pane, which may be beside it.
   * @param {number} x
   * @param {number} y
   */
  pixelAt(x, y) {
    const { left, top, perColumn, perRow } = this.placement;
    return { row: Math.floor((y - top) / perRow), column: Math.floor((x - left) / perColumn) };
  }

  /** The position in the case of a row and column. @param {{row: number, column: number}} pixel */
  positionOf({ row, column }) {
    const { axis, rows, columns } = PLANES[this.plane];
    const { grid, state } = this.app;
    const at = [0, 0, 0];
    at[axis] = this.shown?.index ?? state.at[axis];
    at[rows] = grid.shape[rows] - 1 - row;
    at[columns] = grid.shape[columns] - 1 - column;
    return at;
  }

  /** Row and column of a position, its middle. @param {number[]} at */
  pixelOf(at) {
    const { rows, columns } = PLANES[this.plane];
    const { shape } = this.app.grid;
    return { row: shape[rows] - 1 - at[rows], column: shape[columns] - 1 - at[columns] };
  }

  /** @param {number} factor @param {number} x Of the place that stays where it is. @param {number} y */
  zoomBy(factor, x, y) {
    const zoom = Math.min(Math.max(this.zoom * factor, LEAST_ZOOM), MOST_ZOOM);
    const [width, height] = this.size;
    const ratio = zoom / this.zoom;
    this.panX = (x - width / 2) * (1 - ratio) + this.panX * ratio;
    this.panY = (y - height / 2) * (1 - ratio) + this.panY * ratio;
    this.zoom = zoom;
  }

  /** What the state asks for: a case, a position, and the names of what covers it. */
  get #key() {
    const { app } = this;
    return `${app.record.id} ${app.state.at[this.axis]} ${app.overlaysOf(this.side).map((one) => one.name)}`;
  }

  /** Whether the slice that the state asks for is the one that is shown. */
  get isCurrent() {
    return this.shown?.key === this.#key;
  }

  /**
   * The slice that the state asks for becomes the one that is shown, if all of it is there.
   * @returns {boolean} Whether it is another than before.
   */
  #take() {
    const { app } = this;
    const index = app.state.at[this.axis];
    const overlays = app.overlaysOf(this.side);
    if (this.isCurrent) {
      this.shown.masks.forEach((mask, at) => (mask.overlay = overlays[at]));
      return false;
    }
    const image = sliceOf(app.boxes, app.record, app.grid, IMAGE, this.plane, index);
    if (image === null) return false;
    const { rows, columns } = PLANES[this.plane];
    const [height, width] = [app.grid.shape[rows], app.grid.shape[columns]];
    const [tall, wide] = [app.grid.spacing[rows], app.grid.spacing[columns]];
    const masks = [];
    for (const overlay of overlays) {
      const voxels = sliceOf(app.boxes, app.record, app.grid, `labels/${overlay.name}`, this.plane, index);
      if (voxels === null) return false;
      masks.push({ overlay, voxels, outlines: outlines(voxels, height, width, tall, wide) });
    }
    this.shown = { key: this.#key, index, height, width, image, masks };
    return true;
  }

  /** Bring the screen up to date. @returns {boolean} Whether another slice is shown than before. */
  draw() {
    const isAnother = this.#take();
    const ratio = devicePixelRatio;
    const [width, height] = this.size;
    for (const canvas of [this.base, this.marks]) {
      const [wide, tall] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== wide || canvas.height !== tall) {
        canvas.width = wide;
        canvas.height = tall;
        this.painted = "";
      }
    }
    this.#drawBase(ratio);
    const context = this.marks.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    drawMarks(context, this);
    this.#tell();
    return isAnother;
  }

  #tell() {
    const { app, shown } = this;
    const count = app.grid.shape[this.axis];
    const name = this.plane[0].toUpperCase() + this.plane.slice(1);
    const overlay = app.isBeside ? `\n${app.overlaysOf(this.side)[0]?.name ?? "no labels"}` : "";
    const isLate = shown !== null && shown.index !== app.state.at[this.axis];
    const isTooLarge = app.tooLarge.has(this);
    const waits = isTooLarge ? " · too large" : shown === null ? " · reading …" : "";
    const place = shown === null ? "" : ` ${shown.index} of ${count - 1}${overlay}`;
    const text = `${name}${place}${waits}`;
    if (this.title.textContent !== text) this.title.textContent = text;
    this.element.classList.toggle("late", isLate && !isTooLarge);
  }

  /** The image and what covers it, where either is another than was drawn last. @param {number} ratio */
  #drawBase(ratio) {
    const { app, shown } = this;
    const { state } = app;
    const of =
      shown === null
        ? ""
        : [
            shown.key,
            state.window,
            state.opacity,
            state.smooth,
            ...shown.masks.map((one) => one.overlay.style),
          ].join(" ");
    const painted = `${of} ${this.zoom} ${this.panX} ${this.panY} ${this.size}`;
    if (painted === this.painted) return;
    this.painted = painted;
    const context = this.base.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.base.width, this.base.height);
    if (shown === null) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#paint(of);
    const { left, top, perColumn, perRow } = this.placement;
    const place = [left, top, shown.width * perColumn, shown.height * perRow];
    context.imageSmoothingEnabled = state.smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, ...place);
    context.imageSmoothingEnabled = false;
    for (const mask of shown.masks) {
      if (mask.overlay.style === "fill") {
        this.#fillCover(mask.voxels);
        context.globalAlpha = state.opacity;
        context.drawImage(this.cover, ...place);
      } else {
        context.globalAlpha = Math.sqrt(state.opacity);
        this.#stroke(context, mask.outlines);
      }
      context.globalAlpha = 1;
    }
  }

  /** @param {string} of What the picture is made of. */
  #paint(of) {
    const { app, shown } = this;
    if (this.pictured === of && this.pixels !== null) return;
    this.pictured = of;
    if (this.pixels === null || this.pixels.width !== shown.width || this.pixels.height !== shown.height) {
      this.pixels = new ImageData(shown.width, shown.height);
      for (const canvas of [this.picture, this.cover]) {
        canvas.width = shown.width;
        canvas.height = shown.height;
      }
    }
    paintImage(shown.image, app.state.window, app.greys, new Uint32Array(this.pixels.data.buffer));
    this.picture.getContext("2d").putImageData(this.pixels, 0, 0);
  }

  /** @param {Uint8Array} voxels */
  #fillCover(voxels) {
    const pixels = new ImageData(this.shown.width, this.shown.height);
    paintMask(voxels, this.app.palette, new Uint32Array(pixels.data.buffer));
    this.cover.getContext("2d").putImageData(pixels, 0, 0);
  }

  /** @param {CanvasRenderingContext2D} context @param {ReturnType<typeof outlines>} found */
  #stroke(context, found) {
    const { left, top, perColumn, perRow } = this.placement;
    const onScreen = new DOMMatrix([perColumn, 0, 0, perRow, left, top]);
    context.lineWidth = 1.5;
    context.lineCap = "square";
    for (const [label, { path }] of found) {
      const moved = new Path2D();
      moved.addPath(path, onScreen);
      context.strokeStyle = this.app.cssColour(label);
      context.stroke(moved);
    }
  }
}
