// Which boxes the panes need: of what is to be seen, of what is on the screen, and of what comes next.

import { boxesOf, slabDepth } from "./slices.js";
import { IMAGE } from "./source.js";

/** @typedef {import("./app.js").App} App @typedef {import("./pane.js").Pane} Pane */
/** @typedef {import("./boxes.js").Wanted} Wanted */

/** Positions that an oblique plane is read ahead. */
const AHEAD = 4;

/**
 * A pane has its own copy of the slice that it shows, so that the boxes of that are kept, for the slices
 * beside it, and not asked for. Panes whose slice lies in more bytes than may be held are left out.
 * @param {App} app
 * @returns {{needed: Wanted[], shown: Wanted[], ahead: Wanted[], tooLarge: Map<Pane, number>}} The most
 *   urgent first, those of the active plane; and the bytes of what is left out.
 */
export function wantsOf(app) {
  const { state, heading, active } = app;
  const panes = app.visiblePanes.sort(
    (one, other) => Number(other.plane === active.plane) - Number(one.plane === active.plane),
  );
  const [needed, shown, ahead] = [[], [], []];
  const tooLarge = new Map();
  for (const pane of panes) {
    const boxes = boxesAt(app, pane, state.at[pane.axis]);
    const bytes = boxes.reduce((sum, box) => sum + box.bytes, 0);
    if (pane.isCurrent) shown.push(...boxes);
    else if (bytes > app.boxes.limit) tooLarge.set(pane, bytes);
    else needed.push(...boxes);
    if (pane.axis === heading.axis && heading.direction !== 0) ahead.push(...boxesAhead(app, pane));
  }
  return { needed, shown, ahead, tooLarge };
}

/** @param {App} app @param {Pane} pane @param {number} index @returns {Wanted[]} */
function boxesAt(app, pane, index) {
  const arrays = [IMAGE, ...app.overlaysOf(pane.side).map((one) => `labels/${one.name}`)];
  return arrays.flatMap((array) => boxesOf(app.record, app.grid, array, pane.plane, index));
}

/** @param {App} app @param {Pane} pane @returns {Wanted[]} */
function boxesAhead(app, pane) {
  const { record, grid, heading } = app;
  const steps = grid.isStraight ? slabDepth(record, pane.plane) : AHEAD;
  const next = app.state.at[pane.axis] + heading.direction * steps;
  return next >= 0 && next < grid.shape[pane.axis] ? boxesAt(app, pane, next) : [];
}
