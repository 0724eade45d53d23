// The list of cases, with search and filters.

import { byId, choice, make } from "./dom.js";
import { Thumbnails } from "./thumbnails.js";
import { findingWords, gridWords, rangeWords } from "./words.js";

/** @typedef {import("./app.js").App} App @typedef {import("./source.js").Entry} Entry */

export class CaseList {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.search = /** @type {HTMLInputElement} */ (byId("search"));
    this.cases = byId("cases");
    this.count = byId("count");
    /** @type {Map<string, HTMLButtonElement>} */
    this.buttons = new Map();
    this.search.addEventListener("input", () => this.filter());
    this.#makeFilters();
    for (const entry of app.description.cases) {
      const button = this.#button(entry);
      this.buttons.set(entry.id, button);
      this.cases.append(make("li", {}, button));
    }
    this.#describeDataset();
    this.filter();
    if (app.source.thumbnail) this.#offerPictures(new Thumbnails(app.source));
  }

  /** @param {Thumbnails} thumbnails That are read when they are asked for. */
  #offerPictures(thumbnails) {
    const box = make("input", {
      type: "checkbox",
      id: "pictured",
      onchange: () => thumbnails.toggle(this.buttons, box.checked),
    });
    this.count.after(make("label", { id: "pictures" }, box, "Pictures"));
  }

  #makeFilters() {
    const { splits, sources, labels, cases } = this.app.description;
    const present = new Set(cases.flatMap((entry) => entry.labels));
    const codes = [...new Set(cases.flatMap((entry) => entry.findings))].sort();
    const plain = (/** @type {string[]} */ names) => names.map((name) => [name, name]);
    const make_ = (title, all, options) => choice(title, [["", all], ...options], () => this.filter());
    this.split = make_("Split", "every split", plain(splits));
    this.source = make_("Source", "every source", plain(sources));
    const named = labels
      .filter(({ label }) => present.has(label))
      .map(({ label, name }) => [String(label), name]);
    this.label = make_("Label", "any label", named);
    this.finding = make_("Finding", "any finding", [
      ["none", "no finding"],
      ...codes.map((code) => [`=${code}`, findingWords(code)]),
    ]);
    byId("filters").append(this.split, this.source, this.label, this.finding);
  }

  /** @param {Entry} entry */
  #button(entry) {
    const names = entry.labels.map((label) => this.app.labelName(label));
    const found = entry.findings.map(findingWords).join(", ");
    return make(
      "button",
      {
        className: "case",
        title: `${entry.id}\n${gridWords(entry.shape, entry.spacing)}`,
        onclick: () => this.app.open(entry.id),
      },
      make("span", { className: "id" }, entry.id),
      make("span", { className: "about" }, `${entry.split} · ${entry.source}`),
      make(
        "span",
        { className: "about" },
        rangeWords(names),
        found ? make("span", { className: `flag ${entry.severity}` }, found) : "",
      ),
    );
  }

  #describeDataset() {
    const { title, licence, licence_note: note, citation, location } = this.app.description;
    const rows = [
      ["Store", location],
      ["Licence", licence],
      ["", note],
      ["Citation", citation],
    ].filter(([, text]) => text);
    byId("dataset").append(
      make("summary", {}, title || "Dataset"),
      ...rows.map(([name, text]) => make("p", {}, name ? make("b", {}, `${name}: `) : "", text)),
    );
  }

  /** @param {Entry} entry */
  #fits(entry) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const names = entry.labels.map((label) => this.app.labelName(label));
    const text = [entry.id, entry.split, entry.source, ...names].join(" ").toLowerCase();
    const code = this.finding.value;
    return (
      words.every((word) => text.includes(word)) &&
      (this.split.value === "" || entry.split === this.split.value) &&
      (this.source.value === "" || entry.source === this.source.value) &&
      (this.label.value === "" || entry.labels.includes(Number(this.label.value))) &&
      (code === "" ||
        (code === "none" ? entry.findings.length === 0 : entry.findings.includes(code.slice(1))))
    );
  }

  /** Show what fits alone. */
  filter() {
    const { cases } = this.app.description;
    this.fitting = cases.filter((entry) => this.#fits(entry)).map((entry) => entry.id);
    const fitting = new Set(this.fitting);
    for (const [id, button] of this.buttons) button.parentElement.hidden = !fitting.has(id);
    this.count.textContent =
      fitting.size === cases.length ? `${cases.length} cases` : `${fitting.size} of ${cases.length} cases`;
  }

  /** @param {string} id The case that is shown. */
  mark(id) {
    for (const [other, button] of this.buttons) button.setAttribute("aria-current", String(other === id));
    this.buttons.get(id)?.scrollIntoView({ block: "nearest" });
  }

  /** The case some places on, of those that fit. @param {string} id @param {number} steps */
  neighbour(id, steps) {
    const at = this.fitting.indexOf(id);
    return this.fitting[at < 0 ? 0 : at + steps];
  }
}
