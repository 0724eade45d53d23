// Pictures in the list of cases, where they are asked for: of the rows that are seen alone, a few at a time.

import { make } from "./dom.js";

/** Requests at once: the planes go before them. */
const AT_ONCE = 2;

export class Thumbnails {
  #source;
  /** Rows that are seen and have no picture yet, by case. @type {Map<string, HTMLElement>} */
  #waiting = new Map();
  #underWay = 0;
  /** @type {IntersectionObserver | null} */
  #observer = null;

  /** @param {{thumbnail(id: string): Promise<string>}} source Of the pictures, as addresses. */
  constructor(source) {
    this.#source = source;
  }

  /** Show them, or none any more. @param {Map<string, HTMLElement>} rows By case. @param {boolean} isOn */
  toggle(rows, isOn) {
    this.#observer?.disconnect();
    this.#waiting.clear();
    document.body.classList.toggle("pictured", isOn);
    if (!isOn) return;
    const ids = new Map([...rows].map(([id, row]) => [row, id]));
    this.#observer = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        const row = /** @type {HTMLElement} */ (target);
        if (isIntersecting) this.#waiting.set(ids.get(row), row);
        else this.#waiting.delete(ids.get(row));
      }
      this.#next();
    });
    for (const row of rows.values()) if (row.querySelector("img") === null) this.#observer.observe(row);
  }

  #next() {
    while (this.#underWay < AT_ONCE && this.#waiting.size > 0) {
      const [id, row] = this.#waiting.entries().next().value;
      this.#waiting.delete(id);
      this.#observer.unobserve(row);
      this.#underWay++;
      // A case without a picture, or whose receipt cannot be read, has an empty frame: opening it says why.
      this.#source
        .thumbnail(id)
        .catch(() => "")
        .then((src) => {
          row.prepend(make("img", { className: "thumbnail", alt: "", ...(src && { src }) }));
          this.#underWay--;
          this.#next();
        });
    }
  }
}
