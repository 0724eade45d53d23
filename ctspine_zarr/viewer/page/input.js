// Mouse and keys.

/** @typedef {import("./app.js").App} App @typedef {import("./pane.js").Pane} Pane */

/** Bone, soft tissue and lung, as HU at black and white. */
export const PRESETS = [
  { key: "1", name: "Bone", window: [-450, 1050] },
  { key: "2", name: "Soft tissue", window: [-160, 240] },
  { key: "3", name: "Lung", window: [-1350, 150] },
];

/** What the help shows. */
export const HELP = [
  ["wheel, ↑ ↓ ← →", "next slice of the plane under the pointer"],
  ["Page Up, Page Down", "ten slices"],
  ["Home, End", "first or last slice"],
  ["click, drag", "move the crosshair; the other planes follow"],
  ["right drag, Shift + drag", "window: sideways its width, up and down its level"],
  ["1, 2, 3", "window of bone, soft tissue, lung"],
  ["Ctrl + wheel", "zoom"],
  ["middle drag", "move the picture"],
  ["double click, r", "whole slice again"],
  ["[ , ]", "label above, label below"],
  ["click on a name", "go to its centroid"],
  ["m, o, n", "labels on or off; filled or outlined; names"],
  ["+, −", "opacity of labels"],
  ["c", "crosshair on or off"],
  ["i", "smooth between voxels, or each as it is"],
  ["x", "make this plane the large one"],
  ["l, /", "list of cases; search in it"],
  ["< , >", "case before, next case"],
  ["?", "this help"],
];

const PAGE = 10;
const WHEEL_STEP = 50;
const ZOOM_STEP = 1.2;

/** @param {Pane} pane */
export function listenTo(pane) {
  const { app, element } = pane;
  let rest = 0;
  element.addEventListener("pointerenter", () => (app.active = pane));
  element.addEventListener("pointerleave", () => app.hover(null));
  element.addEventListener("focus", () => (app.active = pane));
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", () => {
    pane.reset();
    app.redraw();
  });
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = placeOf(event, element);
      if (event.ctrlKey) {
        pane.zoomBy(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, x, y);
        app.redraw();
        return;
      }
      // A notch is a slice, and so are many small moves of a touchpad.
      const isNotch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= WHEEL_STEP;
      rest = isNotch ? Math.sign(event.deltaY) : rest + event.deltaY / WHEEL_STEP;
      const steps = Math.trunc(rest);
      rest -= steps;
      if (steps !== 0) app.scroll(pane, -steps);
    },
    { passive: false },
  );
  element.addEventListener("pointerdown", (event) => begin(event, pane));
  element.addEventListener("pointermove", (event) => {
    if (event.target !== pane.enlarge) app.hover({ pane, pixel: pane.pixelAt(...placeOf(event, element)) });
  });
}

/** @param {MouseEvent} event @param {HTMLElement} element @returns {[number, number]} */
function placeOf(event, element) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/** @param {PointerEvent} event @param {Pane} pane */
function begin(event, pane) {
  if (event.target === pane.enlarge || pane.shown === null) return;
  event.preventDefault();
  const { app, element } = pane;
  element.focus();
  element.setPointerCapture(event.pointerId);
  const isWindow = event.button === 2 || event.shiftKey;
  let [x, y] = placeOf(event, element);
  const {
    window: [low, high],
  } = app.state;
  const [startX, startY] = [x, y];
  const move = (/** @type {PointerEvent} */ next) => {
    const [toX, toY] = placeOf(next, element);
    if (isWindow) {
      // The wider a window is, the farther a pixel moves it.
      const [width, level] = [high - low, (low + high) / 2];
      const wide = Math.max(1, width * Math.exp((toX - startX) / 200));
      const moved = level + ((toY - startY) * width) / 300;
      app.setWindow([
        Math.round(moved - wide / 2),
        Math.round(moved - wide / 2) + Math.max(1, Math.round(wide)),
      ]);
    } else if (event.button === 1) {
      pane.panX += toX - x;
      pane.panY += toY - y;
      [x, y] = [toX, toY];
      app.redraw();
    } else {
      const { row, column } = pane.pixelAt(toX, toY);
      const at = pane.positionOf({ row, column });
      at[pane.axis] = app.state.at[pane.axis];
      app.goTo(at);
    }
  };
  const end = () => {
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", end);
    element.removeEventListener("pointercancel", end);
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  if (!isWindow && event.button === 0) move(event);
}

/** Keys of the whole page. @param {App} app */
export function listenToKeys(app) {
  document.addEventListener("keydown", (event) => {
    const isText =
      event.target instanceof HTMLElement &&
      event.target.matches("input[type=search], input[type=number], select, textarea");
    if (event.key === "Escape" && isText) return void event.target.blur();
    if (isText || event.ctrlKey || event.metaKey || event.altKey) return;
    // Elsewhere than in the planes, keys that move mean what they always do.
    const isMove = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"].includes(event.key);
    if (isMove && event.target instanceof HTMLElement && event.target.closest("#list, #panel, dialog"))
      return;
    if (app.key(event.key)) event.preventDefault();
  });
}

/**
 * Slices that a key moves by, along a plane's axis; null for other keys.
 * @param {string} key
 * @param {number} count
 */
export function stepsOf(key, count) {
  const steps = {
    ArrowUp: 1,
    ArrowRight: 1,
    ArrowDown: -1,
    ArrowLeft: -1,
    PageUp: PAGE,
    PageDown: -PAGE,
    Home: -count,
    End: count,
  };
  return steps[key] ?? null;
}
