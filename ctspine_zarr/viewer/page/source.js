// Where the page has its data from: this module knows of the local server, zarr_source.js of a web server.
// Each source has the same three methods, and the other one pictures of cases; nothing else in the page asks
// anybody anything.

/**
 * @typedef {[number, number, number]} Triple  Along z, y and x.
 * @typedef {{label: number, name: string, colour: Triple}} LabelName
 * @typedef {{id: string, split: string, source: string, shape: Triple, spacing: Triple, findings: string[],
 *   severity: Severity | null, labels: number[]}} Entry
 * @typedef {{location: string, name: string, title: string, licence: string, licence_note: string,
 *   citation: string, is_partial: boolean, state: string, splits: string[], sources: string[],
 *   labels: LabelName[], cases: Entry[]}} Description
 * @typedef {{label: number, name: string, cm3: number, centroid: Triple, pieces: number,
 *   hu_mean: number}} Label
 * @typedef {"info" | "warning" | "error"} Severity
 * @typedef {{code: string, severity: Severity, message: string}} Finding
 * @typedef {{name: string, labels: Label[], findings: Finding[]}} Mask
 * @typedef {{id: string, split: string, source: string, shape: Triple, spacing: Triple, affine: number[][],
 *   orientation: string, oblique_degrees: number, shear_degrees: number, chunk: Triple,
 *   dtype: "int16" | "float32", hu_range: [number, number], transitional: string | null,
 *   middle: Triple, findings: Finding[], masks: Mask[]}} CaseRecord
 * @typedef {Int16Array | Float32Array | Uint8Array} Voxels
 */

/** An answer that is none: `kind` is `updated`, `unknown`, `asked`, `store` or `gone` (nobody answers). */
export class SourceError extends Error {
  /** @param {string} message @param {string} kind */
  constructor(message, kind) {
    super(message);
    this.kind = kind;
  }
}

const KINDS = { int16: Int16Array, float32: Float32Array, uint8: Uint8Array };

/** The image's name as an array; a mask's is `labels/` and the name of its label group. */
export const IMAGE = "image";

/** A store behind `ctspine-zarr view`. */
export class ServerSource {
  /** Of the store, as it was told of: what is asked afterwards is asked of that. */
  state = "";

  /** @returns {Promise<Description>} The dataset and its cases. */
  async describe() {
    const description = await (await this.#answer("api/store")).json();
    this.state = encodeURIComponent(description.state);
    return description;
  }

  /** @param {string} id @returns {Promise<CaseRecord>} What is known of a case. */
  async record(id) {
    return (await this.#answer(`api/cases/${encodeURIComponent(id)}?state=${this.state}`)).json();
  }

  /**
   * @param {string} id Of the case.
   * @param {string} array `image`, or `labels/NAME`.
   * @param {Triple} start The first voxel.
   * @param {Triple} stop Past the last voxel.
   * @param {AbortSignal} signal That ends the request.
   * @returns {Promise<Voxels>} In the order z, y, x.
   */
  async box(id, array, start, stop, signal) {
    const path = array.split("/").map(encodeURIComponent).join("/");
    const url = `api/cases/${encodeURIComponent(id)}/${path}?start=${start}&stop=${stop}&state=${this.state}`;
    const answer = await this.#answer(url, signal);
    const kind = KINDS[answer.headers.get("X-Dtype")];
    // Typed arrays have the machine's order of bytes: little-endian wherever browsers run.
    return new kind(await answer.arrayBuffer());
  }

  /** @param {string} url @param {AbortSignal} [signal] @returns {Promise<Response>} */
  async #answer(url, signal) {
    let answer;
    try {
      answer = await fetch(url, { signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new SourceError("the viewer's server does not answer: was it ended?", "gone");
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw new SourceError(said.error ?? `the server answered ${answer.status}`, said.kind ?? "store");
  }
}
