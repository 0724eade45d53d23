// Files of a store on a web server: whole or in part, never longer than they may be, never from elsewhere.

import { SourceError } from "./source.js";
import { FetchStore } from "./zarrita.js";

/**
 * How all is asked for. The browser keeps nothing, for a store may be updated; and parts of one file, which
 * Chromium's cache would hand out one after another, come at once. Nobody sends the page elsewhere.
 * @type {RequestInit}
 */
const ASKED = { cache: "no-store", redirect: "error" };

export class Files {
  /** @param {URL} base Of the store, with a slash at its end. */
  constructor(base) {
    this.base = base;
    /** Parts of files, as zarrita asks for them. */
    this.parts = new FetchStore(base, { overrides: ASKED, fetch: (request) => this.#part(request) });
  }

  /**
   * @param {string} key Of legal names.
   * @param {number} most Bytes.
   * @returns {Promise<Uint8Array | null>} The file; null where there is none.
   */
  async whole(key, most) {
    const answer = await this.#answer(new Request(new URL(key, this.base), ASKED));
    if (answer.status === 404) return null;
    if (answer.status !== 200) throw refused(key, answer.status, "200");
    return bounded(key, answer, most);
  }

  /** @param {Request} request With a range. */
  async #part(request) {
    const key = request.url.slice(this.base.href.length);
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("Range"));
    const length = Number(last) - Number(first) + 1;
    const answer = await this.#answer(request);
    if (answer.status === 404) throw new SourceError(`${key} is not there`, "store");
    // 200 would be the whole file, from its beginning.
    if (answer.status !== 206) {
      answer.body?.cancel();
      throw refused(key, answer.status, "206, a part of a file: the server must give ranges");
    }
    const bytes = await bounded(key, answer, length);
    if (bytes.length !== length) throw new SourceError(`${key} is shorter than the store says`, "store");
    return new Response(bytes, { status: 206 });
  }

  /** @param {Request} request @returns {Promise<Response>} */
  async #answer(request) {
    try {
      return await fetch(request);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new SourceError(`the web server at ${this.base.host} does not answer`, "gone");
    }
  }
}

/** @param {string} key @param {number} status @param {string} legal */
function refused(key, status, legal) {
  return new SourceError(`the web server answered ${status} for ${key}; legal: ${legal}`, "store");
}

/** @param {string} key @param {Response} answer @param {number} most @returns {Promise<Uint8Array>} */
async function bounded(key, answer, most) {
  const reader = answer.body.getReader();
  const pieces = [];
  let length = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    length += piece.value.length;
    if (length > most) {
      reader.cancel();
      throw new SourceError(`${key} has more bytes than the ${most} that it may have`, "store");
    }
    pieces.push(piece.value);
  }
  const found = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    found.set(piece, at);
    at += piece.length;
  }
  return found;
}
