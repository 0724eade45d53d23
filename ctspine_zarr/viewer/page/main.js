// The page begins here: over the local server, or over the store that the page itself names.

import { App } from "./app.js";
import { byId, make } from "./dom.js";
import { ServerSource } from "./source.js";

/** @param {string} name @returns {string | undefined} What the page says of itself. */
const told = (name) =>
  /** @type {HTMLMetaElement | null} */ (document.querySelector(`meta[name="${name}"]`))?.content;

// Browsers run no modules of a page that was opened from a disk: there, what this removes stays.
byId("needs").remove();
byId("title").textContent = "reading the store …";

async function chosenSource() {
  const store = told("store");
  if (store === undefined) return new ServerSource();
  const { ZarrSource } = await import("./zarr_source.js");
  const source = new ZarrSource(store, JSON.parse(told("severities")));
  byId("grid-note").before(make("span", { id: "source-note" }, source.note));
  return source;
}

const app = new App(await chosenSource());
// For a look from the browser's console, and for tests.
globalThis.viewer = app;
app.start().catch((error) => app.tell(error));
