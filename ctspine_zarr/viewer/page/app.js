// The viewer: its state, and what follows when that changes.

import { Boxes } from "./boxes.js";
import { byId, make } from "./dom.js";
import { Grid, PLANES } from "./grid.js";
import { HELP, listenTo, listenToKeys, PRESETS, stepsOf } from "./input.js";
import { formatted, parsed } from "./link.js";
import { CaseList } from "./list.js";
import { colours, table } from "./paint.js";
import { Pane } from "./pane.js";
import { Panel } from "./panel.js";
import { tellPlace } from "./place.js";
import { wantsOf } from "./wants.js";
import { gridWords, limitWords } from "./words.js";

/** @typedef {import("./source.js").CaseRecord} CaseRecord @typedef {import("./source.js").Label} Label */
/** @typedef {import("./pane.js").Overlay} Overlay @typedef {import("./grid.js").PlaneName} PlaneName */

/** Bytes of voxels that the page holds. */
const MOST_BYTES = 192 * 2 ** 20;
const FRAMES = 600;
/** What can be done about an error, by its kind, where it is not to try again. */
const MORE = { updated: " Click to load the page again.", unknown: " Choose one from the list.", limit: "" };

export class App {
  /** @param {object} source See source.js. */
  constructor(source) {
    this.source = source;
    this.boxes = new Boxes(source, MOST_BYTES, (error) => (error ? this.tell(error) : this.redraw()));
    this.state = {
      at: [0, 0, 0],
      window: PRESETS[0].window,
      labels: "",
      compare: "",
      how: "over",
      style: "fill",
      opacity: 0.4,
      visible: true,
      names: true,
      crosshair: true,
      smooth: true,
    };
    this.greys = table(this.state.window);
    /** @type {CaseRecord | null} */
    this.record = null;
    /** Where the planes are going, for what is read ahead: an axis and a direction. */
    this.heading = { axis: 0, direction: 0 };
    /** When frames were drawn, and how long each took: ms. */
    this.frames = [];
    this.drawTimes = [];
    this.isDrawing = false;
    /** @type {Map<Pane, number>} Panes that cannot be shown, for a slice of theirs is too many bytes. */
    this.tooLarge = new Map();
  }

  /** Read the store, make the page, show the case that the address names, or the first. */
  async start() {
    try {
      this.description = await this.source.describe();
    } catch (error) {
      this.tell(error, () => this.start());
      return;
    }
    this.names = new Map(this.description.labels.map(({ label, name }) => [label, name]));
    this.palette = colours(this.description.labels);
    document.title = `${this.description.name} · ctspine_zarr`;
    byId("store-note").textContent = this.description.is_partial
      ? "partial: its first build has not ended"
      : "";
    this.#makePage();
    const link = parsed(location.hash);
    const first = link.case ?? this.description.cases[0]?.id;
    if (first === undefined) byId("title").textContent = "the store has no case";
    else await this.open(first, link);
  }

  #makePage() {
    this.list = new CaseList(this);
    this.panel = new Panel(this);
    /** @type {Pane[]} */
    this.panes = [0, 1].flatMap((side) =>
      Object.keys(PLANES).map((plane) => new Pane(this, /** @type {PlaneName} */ (plane), side)),
    );
    this.panes.forEach(listenTo);
    byId("panes").append(...this.panes.map((pane) => pane.element));
    this.active = this.panes[0];
    this.presets = PRESETS.map(({ key, name, window }) =>
      make(
        "button",
        { title: `${window[0]} to ${window[1]} HU (${key})`, onclick: () => this.setWindow(window) },
        name,
      ),
    );
    byId("presets").append(...this.presets, make("span", { id: "window" }));
    byId("keys").append(
      ...HELP.map(([keys, what]) => make("tr", {}, make("th", {}, keys), make("td", {}, what))),
    );
    byId("help-button").addEventListener("click", () => this.key("?"));
    byId("list-button").addEventListener("click", () => this.key("l"));
    addEventListener("hashchange", () => this.#follow(parsed(location.hash)));
    new ResizeObserver(() => this.redraw()).observe(byId("panes"));
    listenToKeys(this);
  }

  /** @param {string} id Of a case. @param {import("./link.js").Link} link How it is shown. */
  async open(id, link = {}) {
    const opening = (this.opening = {});
    try {
      const record = await this.source.record(id);
      // Another case may have been asked for meanwhile.
      if (opening === this.opening) this.#show(record, link);
    } catch (error) {
      if (opening !== this.opening) return;
      if (this.record === null) byId("title").textContent = "choose a case from the list";
      this.tell(error, () => this.open(id, link));
    }
  }

  /** @param {CaseRecord} record @param {import("./link.js").Link} link */
  #show(record, link) {
    byId("message").hidden = true;
    document.body.classList.remove("list-open");
    this.boxes.clear();
    this.record = record;
    this.grid = new Grid(record);
    this.heading = { axis: 0, direction: 0 };
    this.panes.forEach((pane) => pane.forget());
    this.tooLarge = new Map();
    const names = record.masks.map((mask) => mask.name);
    const known = (/** @type {string | undefined} */ name) =>
      name !== undefined && names.includes(name) ? name : undefined;
    const wantsNone = link.labels === "none";
    const { labels, compare } = this.state;
    const own = names.includes(labels) ? labels : (names[0] ?? "");
    Object.assign(this.state, {
      labels: wantsNone ? "" : (known(link.labels) ?? own),
      compare: known(link.compare) ?? (names.includes(compare) ? compare : ""),
      at: this.grid.clipped(this.grid.positionOf(link.at ?? record.middle)),
    });
    for (const name of ["window", "how", "style", "opacity"])
      if (link[name] !== undefined) this.state[name] = link[name];
    this.greys = table(this.state.window);
    byId("title").textContent = record.id;
    byId("facts").textContent =
      `${record.split} · ${record.source} · ${gridWords(record.shape, record.spacing)}`;
    const oblique = `oblique by ${record.oblique_degrees.toFixed(1)}°: planes of the body, nearest voxels`;
    byId("grid-note").textContent = this.grid.isStraight ? "" : oblique;
    // A spine stands: where the volume does too, the plane along it is the large one.
    const [z, y] = [0, 1].map((axis) => this.grid.shape[axis] * this.grid.spacing[axis]);
    if (!this.chosenMain) byId("panes").dataset.main = z > y * 0.8 ? "sagittal" : "axial";
    this.list.mark(record.id);
    this.panel.fill();
    this.changed();
  }

  /** @param {import("./link.js").Link} link That was put into the address by hand. */
  #follow(link) {
    // None is shown where the first one could not be.
    const isShown = this.record !== null && formatted(link) === formatted(this.link);
    if (link.case === undefined || isShown) return;
    this.open(link.case, link);
  }

  /** The view as an address. */
  get link() {
    const { state } = this;
    return {
      case: this.record.id,
      at: this.grid.voxelOf(state.at),
      window: state.window,
      labels: state.labels || "none",
      compare: state.compare,
      how: state.compare ? state.how : "",
      style: state.style,
      opacity: state.opacity,
    };
  }

  /** @param {Partial<App["state"]>} changes */
  change(changes) {
    Object.assign(this.state, changes);
    if (changes.window) this.greys = table(this.state.window);
    this.changed();
  }

  /** What follows from another state: what is read, what is drawn, and the address. */
  changed() {
    const { state } = this;
    byId("panes").classList.toggle("beside", this.isBeside);
    this.presets.forEach((button, at) =>
      button.setAttribute("aria-pressed", String(`${PRESETS[at].window}` === `${state.window}`)),
    );
    const [low, high] = state.window;
    byId("window").textContent = `${low} to ${high} HU`;
    this.panel.update();
    this.#want();
    clearTimeout(this.addressing);
    // Browsers bound how often a page may change its address.
    this.addressing = setTimeout(() => history.replaceState(null, "", formatted(this.link)), 150);
    this.redraw();
  }

  /** Ask for what is to be seen; say once where that is more than the page may hold. */
  #want() {
    const before = this.tooLarge;
    const { tooLarge, ...wants } = wantsOf(this);
    this.tooLarge = tooLarge;
    this.boxes.want(wants);
    for (const [{ plane }, bytes] of [...tooLarge].filter(([pane]) => !before.has(pane)))
      this.tell({ kind: "limit", message: limitWords(plane, this.record.id, bytes, this.boxes.limit) });
    const message = byId("message");
    if (tooLarge.size === 0 && message.dataset.kind === "limit") message.hidden = true;
  }

  /** Whether two sets of labels are shown in a row of planes each. */
  get isBeside() {
    return this.state.compare !== "" && this.state.how === "beside";
  }

  get visiblePanes() {
    return this.panes.filter((pane) => pane.side === 0 || this.isBeside);
  }

  /** What covers a plane, the lowest first. @param {number} side @returns {Overlay[]} */
  overlaysOf(side) {
    const { labels, compare, style, visible } = this.state;
    if (!visible) return [];
    if (this.isBeside)
      return [side === 0 ? labels : compare].filter(Boolean).map((name) => ({ name, style }));
    const first = labels ? [{ name: labels, style: compare ? "fill" : style }] : [];
    return compare && compare !== labels ? [...first, { name: compare, style: "outline" }] : first;
  }

  /** @param {string} name */
  maskNamed(name) {
    return this.record.masks.find((mask) => mask.name === name);
  }

  /** @param {number} label */
  labelName(label) {
    return this.names.get(label) ?? String(label);
  }

  /** @param {number} label */
  cssColour(label) {
    const pixel = this.palette[label];
    return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
  }

  /** @param {number[]} at Position; the nearest one that there is. */
  goTo(at) {
    this.change({ at: this.grid.clipped(at) });
  }

  /** @param {Label} label Whose centroid is shown. */
  jump(label) {
    this.goTo(this.grid.positionOf(label.centroid));
  }

  /** @param {Pane} pane @param {number} steps */
  scroll(pane, steps) {
    const at = [...this.state.at];
    at[pane.axis] += steps;
    this.heading = { axis: pane.axis, direction: Math.sign(steps) };
    this.goTo(at);
    this.pointer = null;
  }

  /** @param {[number, number]} window */
  setWindow(window) {
    this.change({ window });
  }

  /** @param {PlaneName} plane */
  setMain(plane) {
    this.chosenMain = true;
    byId("panes").dataset.main = plane;
    this.redraw();
  }

  /** @param {string} key @returns {boolean} Whether it means something. */
  key(key) {
    const help = /** @type {HTMLDialogElement} */ (byId("help"));
    if (key === "?") return (help.open ? help.close() : help.showModal(), true);
    if (key === "l")
      return (
        document.body.classList.toggle("list-open"),
        document.body.classList.toggle("list-closed"),
        true
      );
    if (key === "/") return (document.body.classList.add("list-open"), this.list.search.focus(), true);
    if (this.record === null) return false;
    const { state, active } = this;
    const preset = PRESETS.find((one) => one.key === key);
    if (preset) return (this.setWindow(preset.window), true);
    const steps = stepsOf(key, this.grid.shape[active.axis]);
    if (steps !== null) return (this.scroll(active, steps), true);
    const flags = { m: "visible", n: "names", c: "crosshair", i: "smooth" };
    if (Object.hasOwn(flags, key)) return (this.change({ [flags[key]]: !state[flags[key]] }), true);
    const actions = {
      o: () => this.change({ style: state.style === "fill" ? "outline" : "fill" }),
      "+": () => this.change({ opacity: Math.min(1, state.opacity + 0.1) }),
      "-": () => this.change({ opacity: Math.max(0, state.opacity - 0.1) }),
      r: () => (this.panes.forEach((pane) => pane.reset()), this.redraw()),
      x: () => this.setMain(active.plane),
      "[": () => this.#jumpBy(1),
      "]": () => this.#jumpBy(-1),
      "<": () => this.#openNeighbour(-1),
      ">": () => this.#openNeighbour(1),
    };
    actions[key]?.();
    return key in actions;
  }

  /** To the next centroid above (1) or below (-1). @param {number} direction */
  #jumpBy(direction) {
    const here = this.grid.voxelOf(this.state.at)[0];
    const labels = this.maskNamed(this.state.labels)?.labels ?? [];
    // The crosshair's own lies within half a voxel.
    const beyond = labels.filter(({ centroid }) => (centroid[0] - here) * direction > 0.5);
    beyond.sort((one, other) => (one.centroid[0] - other.centroid[0]) * direction);
    if (beyond.length) this.jump(beyond[0]);
  }

  /** @param {number} steps */
  #openNeighbour(steps) {
    const next = this.list.neighbour(this.record.id, steps);
    if (next !== undefined) this.open(next);
  }

  /** @param {{pane: Pane, pixel: {row: number, column: number}} | null} pointer */
  hover(pointer) {
    this.pointer = pointer;
    tellPlace(this);
  }

  /** Draw in the next frame, once. */
  redraw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame((now) => {
      this.isDrawing = false;
      if (this.record === null) return;
      const begun = performance.now();
      const taken = this.visiblePanes.filter((pane) => pane.draw());
      // What they are made of may go, and others get its room.
      if (taken.length) this.#want();
      if (!this.pointer) tellPlace(this);
      this.#count(now, performance.now() - begun);
    });
  }

  /** @param {number} now @param {number} took */
  #count(now, took) {
    this.frames.push(now);
    this.drawTimes.push(took);
    if (this.frames.length > FRAMES) {
      this.frames.shift();
      this.drawTimes.shift();
    }
  }

  /**
   * @param {{message: string, kind?: string}} error
   * @param {() => void} again What a click tries.
   */
  tell(error, again = () => this.boxes.retry()) {
    const element = byId("message");
    const more = MORE[error.kind] ?? " Click to try again.";
    element.textContent = `${error.message}.${more}`;
    element.dataset.kind = error.kind ?? "";
    element.onclick = () => {
      element.hidden = true;
      if (error.kind === "updated") location.reload();
      else if (error.kind !== "unknown") again();
    };
    element.hidden = false;
  }
}
