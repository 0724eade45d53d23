// What is known of the case, and how its labels are shown.

import { byId, choice, make, swatch } from "./dom.js";
import { findingWords, gridWords } from "./words.js";

/** @typedef {import("./app.js").App} App */

export class Panel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.element = byId("panel");
  }

  /** Of another case. */
  fill() {
    const { record } = this.app;
    this.element.replaceChildren(this.#labelControls(), this.#labels(), this.#findings(), this.#facts());
    this.update();
    this.element.scrollTop = 0;
    return record;
  }

  #labelControls() {
    const { app } = this;
    const names = app.record.masks.map((mask) => [mask.name, mask.name]);
    this.overlay = choice("Labels that are shown", [...names, ["", "no labels"]], (value) =>
      app.change({ labels: value }),
    );
    this.compare = choice("Labels to compare with", [["", "compare with …"], ...names], (value) =>
      app.change({ compare: value }),
    );
    this.how = choice(
      "How two are compared",
      [
        ["over", "outlined"],
        ["beside", "beside"],
      ],
      (value) => app.change({ how: value }),
    );
    this.style = make("button", { title: "Filled or outlined (o)", onclick: () => app.key("o") });
    this.names = make("button", { title: "Names (n)", onclick: () => app.key("n") }, "Names");
    this.visible = make("button", { title: "Labels on or off (m)", onclick: () => app.key("m") }, "Show");
    this.opacity = make("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.05",
      title: "Opacity (+, −)",
      "aria-label": "Opacity",
    });
    this.opacity.addEventListener("input", () => app.change({ opacity: Number(this.opacity.value) }));
    const controls = make(
      "div",
      { className: "controls" },
      this.overlay,
      make("div", { className: "row" }, this.visible, this.style, this.names),
      this.opacity,
    );
    if (names.length > 1) controls.append(make("div", { className: "row" }, this.compare, this.how));
    return make("section", {}, make("h2", {}, "Labels"), controls);
  }

  #labels() {
    this.rows = make("ol", { className: "labels" });
    return this.rows;
  }

  #fillLabels() {
    const { app } = this;
    const labels = app.maskNamed(app.state.labels)?.labels ?? [];
    this.rows.replaceChildren(
      ...labels.map((label) => {
        const cm3 = label.cm3.toFixed(1);
        const more = label.pieces > 1 ? ` · ${label.pieces} pieces` : "";
        const button = make(
          "button",
          {
            className: "label",
            title: `${label.name}: ${cm3} cm³, HU ${label.hu_mean.toFixed(0)} in the mean${more}`,
            onclick: () => app.jump(label),
          },
          swatch(app.cssColour(label.label)),
          make("span", { className: "name" }, label.name),
          make("span", { className: "number" }, `${cm3} cm³`),
          make("span", { className: "number" }, `${label.hu_mean.toFixed(0)} HU`),
        );
        button.dataset.label = String(label.label);
        return make("li", {}, button);
      }),
    );
    if (labels.length === 0)
      this.rows.append(
        make("li", { className: "none" }, app.record.masks.length ? "no labels" : "This case has no mask."),
      );
  }

  #findings() {
    const { record } = this.app;
    const ofSet = (/** @type {import("./source.js").Mask} */ mask) =>
      mask.findings.map((one) => ({ ...one, message: `${mask.name}: ${one.message}` }));
    const found = [...record.findings, ...record.masks.flatMap(ofSet)];
    const item = (/** @type {string} */ title, /** @type {string} */ text, className = "") =>
      make("li", { className }, make("b", {}, title), make("span", {}, text));
    const items = found.map((one) => item(findingWords(one.code), one.message, one.severity));
    if (record.transitional) items.unshift(item("transitional vertebra", record.transitional));
    const body = items.length
      ? make("ul", { className: "findings" }, ...items)
      : make("p", { className: "none" }, "none");
    return make("section", { id: "findings" }, make("h2", {}, "Findings"), body);
  }

  #facts() {
    const { record } = this.app;
    const [low, high] = record.hu_range;
    const rows = [
      ["Voxels", gridWords(record.shape, record.spacing)],
      ["HU", `${low} to ${high}`],
      ["Source's axes", record.orientation],
      ["Oblique by", `${record.oblique_degrees.toFixed(1)}°`],
      [
        "Planes",
        this.app.grid.isStraight ? "of the stored voxels" : "of the body; each pixel is the voxel next to it",
      ],
    ];
    const cells = rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
    return make("section", {}, make("h2", {}, "Grid (z, y, x)"), make("dl", {}, ...cells));
  }

  /** As the state is. */
  update() {
    const { state, record } = this.app;
    if (!record || !this.rows) return;
    this.overlay.value = state.labels;
    this.compare.value = state.compare;
    this.how.value = state.how;
    this.opacity.value = String(state.opacity);
    this.style.textContent = state.style === "fill" ? "Filled" : "Outlined";
    this.names.setAttribute("aria-pressed", String(state.names));
    this.visible.setAttribute("aria-pressed", String(state.visible));
    const of = `${record.id} ${state.labels}`;
    if (this.of !== of) {
      this.of = of;
      this.#fillLabels();
    }
  }

  /** @param {number} label That the crosshair is in. */
  mark(label) {
    for (const button of this.rows?.querySelectorAll("button") ?? [])
      button.setAttribute("aria-current", String(Number(button.dataset.label) === label));
  }
}
