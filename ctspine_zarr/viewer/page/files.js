// Files of a store on a web server: whole or in part, never longer than they may be, never from elsewhere.

import { SourceError } from "./source.js";
import { FetchStore } from "./zarrita.js";

/** ms for which a file is asked for where its server sent the page on to: such addresses are signed. */
const MOST_AGE = 10 * 60 * 1000;

export class Files {
  /** Where the page was sent on to, by address. @type {Map<string, {url: string, until: number}>} */
  #moved = new Map();

  /** @param {URL} base Of the store, with a slash at its end. */
  constructor(base) {
    this.base = base;
    /**
     * How all is asked for. The browser keeps nothing, for a store may be updated; and parts of one file,
     * which Chromium's cache would hand out one after another, come at once. The page's own server sends it
     * nowhere else; that of a store elsewhere may, as the Hub does, as far as the page's policy goes.
     * @type {RequestInit}
     */
    this.asked = { cache: "no-store", redirect: base.origin === location.origin ? "error" : "follow" };
    /** Parts of files, as zarrita asks for them. */
    this.parts = new FetchStore(base, { overrides: this.asked, fetch: (request) => this.#part(request) });
  }

  /**
   * @param {string} key Of legal names.
   * @param {number} most Bytes.
   * @returns {Promise<Uint8Array | null>} The file; null where there is none.
   */
  async whole(key, most) {
    const answer = await this.#answer(new Request(new URL(key, this.base), this.asked));
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

  /**
   * What a file's server answers, or where it sent the page on to for the file before: with many parts of one
   * file, each is then one request in place of two.
   * @param {Request} request @returns {Promise<Response>}
   */
  async #answer(request) {
    const { url: first } = request;
    const moved = this.#moved.get(first);
    if (moved !== undefined && moved.until > Date.now()) {
      const answer = await this.#asked(new Request(moved.url, request)).catch((error) => {
        if (error.name === "AbortError") throw error;
      });
      if (answer?.ok) return answer;
      answer?.body?.cancel();
    }
    this.#moved.delete(first);
    const answer = await this.#asked(request);
    if (answer.redirected && answer.ok)
      this.#moved.set(first, { url: answer.url, until: Date.now() + MOST_AGE });
    return answer;
  }

  /** @param {Request} request @returns {Promise<Response>} */
  async #asked(request) {
    try {
      return await fetch(request);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const isElsewhere = this.base.origin !== location.origin;
      const or = isElsewhere ? ", or does not let a page from elsewhere read it (CORS)" : "";
      throw new SourceError(`the web server at ${this.base.host} does not answer${or}`, "gone");
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
