// What lies under the pointer, or else at the crosshair: HU, labels, and where that is.

import { byId, make } from "./dom.js";

/** @typedef {import("./app.js").App} App @typedef {import("./pane.js").Pane} Pane */

/** Of the slices that are shown, so that numbers and pictures agree. @param {App} app */
export function tellPlace(app) {
  if (app.record === null) return;
  const pane = app.pointer?.pane ?? app.panes.find((one) => isAtCrosshair(app, one));
  if (!pane?.shown) return;
  const { row, column } = app.pointer?.pixel ?? pane.pixelOf(app.state.at);
  const { shown } = pane;
  const isInside = row >= 0 && column >= 0 && row < shown.height && column < shown.width;
  const value = isInside ? shown.image[row * shown.width + column] : NaN;
  const pairs = Number.isNaN(value) ? [] : pairsOf(app, pane, row, column, value);
  byId("status").replaceChildren(...pairs.map(([name, text]) => make("span", {}, make("b", {}, name), text)));
  const first = pane.shown.masks[0]?.voxels;
  app.panel.mark(isInside && first ? first[row * shown.width + column] : 0);
}

/** @param {App} app @param {Pane} pane */
function isAtCrosshair(app, pane) {
  return pane.side === 0 && pane.shown !== null && pane.shown.index === app.state.at[pane.axis];
}

/** @param {App} app @param {Pane} pane @param {number} row @param {number} column @param {number} value */
function pairsOf(app, pane, row, column, value) {
  const at = pane.positionOf({ row, column });
  const voxel = app.grid.voxelOf(at).map(Math.round);
  const world = app.grid.worldOf(at).map((mm) => mm.toFixed(1));
  const labels = pane.shown.masks.map(({ overlay, voxels }) => {
    const label = voxels[row * pane.shown.width + column];
    return [overlay.name, label ? app.labelName(label) : "–"];
  });
  const rounded = Number.isInteger(value) ? value : value.toFixed(1);
  const where = [
    ["voxel (z, y, x)", voxel.join(", ")],
    ["RAS+ mm", world.join(", ")],
  ];
  return [["HU", String(rounded)], ...labels, ...where];
}
