// What stands over a plane: letters of orientation, a scale bar, the crosshair, names of labels.

import { PLANES } from "./grid.js";

/** @typedef {import("./pane.js").Pane} Pane */

const INK = "#e8edf2";
const CROSS = "rgba(102, 204, 255, 0.75)";
/** Half of the gap in the crosshair, so that it hides nothing of what it points at. */
const GAP = 9;
const LENGTHS_MM = [1, 2, 5, 10, 20, 50, 100, 200, 500];
/** mm from a plane within which the centroid of a label that is not in it is still named, paler. */
const NEAR_MM = 6;
/** Pixels of a name, from top to bottom. */
const NAME_HEIGHT = 12;

/** @param {CanvasRenderingContext2D} context @param {Pane} pane */
export function drawMarks(context, pane) {
  const { state } = pane.app;
  if (pane.shown === null) return;
  context.save();
  // Legible on bone and on air alike.
  context.shadowColor = "#000";
  context.shadowBlur = 3;
  if (state.crosshair) crosshair(context, pane);
  if (state.names) names(context, pane);
  letters(context, pane);
  scaleBar(context, pane);
  context.restore();
}

/** @param {CanvasRenderingContext2D} context @param {Pane} pane */
function crosshair(context, pane) {
  const { left, top, perColumn, perRow } = pane.placement;
  const { row, column } = pane.pixelOf(pane.app.state.at);
  const [width, height] = pane.size;
  // On whole pixels a line is one pixel wide.
  const x = Math.round(left + (column + 0.5) * perColumn) + 0.5;
  const y = Math.round(top + (row + 0.5) * perRow) + 0.5;
  context.strokeStyle = CROSS;
  context.lineWidth = 1;
  context.beginPath();
  for (const [fromX, fromY, toX, toY] of [
    [0, y, x - GAP, y],
    [x + GAP, y, width, y],
    [x, 0, x, y - GAP],
    [x, y + GAP, x, height],
  ]) {
    context.moveTo(fromX, fromY);
    context.lineTo(toX, toY);
  }
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {Pane} pane */
function letters(context, pane) {
  const [width, height] = pane.size;
  const { left, right, top, bottom } = pane.app.grid.letters(pane.plane);
  context.fillStyle = INK;
  context.font = "600 15px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.fillText(left, 14, height / 2);
  context.fillText(right, width - 14, height / 2);
  context.fillText(top, width / 2, 15);
  context.fillText(bottom, width / 2, height - 14);
}

/** @param {CanvasRenderingContext2D} context @param {Pane} pane */
function scaleBar(context, pane) {
  const [width, height] = pane.size;
  const { scale } = pane.placement;
  const fitting = LENGTHS_MM.filter((mm) => mm * scale <= width * 0.28);
  const mm = fitting.at(-1) ?? LENGTHS_MM[0];
  const text = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
  const [x, y, length] = [14, height - 14.5, mm * scale];
  context.strokeStyle = INK;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x, y - 5);
  context.lineTo(x, y);
  context.lineTo(x + length, y);
  context.lineTo(x + length, y - 5);
  context.stroke();
  context.fillStyle = INK;
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "bottom";
  context.fillText(text, x + 4, y - 3);
}

/** @param {CanvasRenderingContext2D} context @param {Pane} pane */
function names(context, pane) {
  const { app, shown, placement } = pane;
  const { axis } = PLANES[pane.plane];
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  const [first] = shown.masks;
  if (first === undefined) return;
  const found = [...first.outlines].sort(([, one], [, other]) => other.depth - one.depth);
  const places = found.map(([label, { row, column }]) => ({ label, row, column, opacity: 1 }));
  for (const { label, centroid } of app.maskNamed(first.overlay.name)?.labels ?? []) {
    const at = app.grid.positionOf(centroid);
    const mm = Math.abs(at[axis] - shown.index) * app.grid.spacing[axis];
    const isNear = mm <= NEAR_MM && !first.outlines.has(label);
    if (isNear) places.push({ label, ...pane.pixelOf(at), opacity: 0.5 });
  }
  /** @type {[number, number][]} */
  const taken = [];
  for (const { label, row, column, opacity } of places) {
    const x = placement.left + (column + 0.5) * placement.perColumn;
    const y = placement.top + (row + 0.5) * placement.perRow;
    const text = app.labelName(label);
    // One over another, neither could be read: the thicker label has its name.
    const width = context.measureText(text).width;
    if (taken.some(([left, top]) => Math.abs(left - x) < width && Math.abs(top - y) < NAME_HEIGHT)) continue;
    taken.push([x, y]);
    name(context, x, y, text, opacity);
  }
}

/** @param {CanvasRenderingContext2D} context */
function name(context, x, y, text, opacity) {
  context.globalAlpha = opacity;
  // A dark seam parts the name from what lies below it, of whatever colour.
  context.lineWidth = 3;
  context.strokeStyle = "rgba(0, 0, 0, 0.8)";
  context.lineJoin = "round";
  context.strokeText(text, x, y);
  context.fillStyle = INK;
  context.fillText(text, x, y);
  context.globalAlpha = 1;
}
