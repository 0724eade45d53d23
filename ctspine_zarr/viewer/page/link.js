// The view in the page's address, so that it can be sent and comes back. Pure.

/**
 * @typedef {{case?: string, at?: number[], window?: [number, number], labels?: string, compare?: string,
 *   how?: "over" | "beside", style?: "fill" | "outline", opacity?: number}} Link
 */

/** @param {string} hash From the # on; what is not legal in it is left out. @returns {Link} */
export function parsed(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  /** @type {Link} */
  const link = {};
  for (const name of ["case", "labels", "compare"]) if (values.has(name)) link[name] = values.get(name);
  const at = numbers(values.get("at"), 3);
  if (at) link.at = at;
  const window = numbers(values.get("window"), 2);
  if (window && window[0] < window[1]) link.window = /** @type {[number, number]} */ (window);
  const [opacity] = numbers(values.get("opacity"), 1) ?? [];
  if (opacity >= 0 && opacity <= 1) link.opacity = opacity;
  if (["over", "beside"].includes(values.get("how"))) link.how = values.get("how");
  if (["fill", "outline"].includes(values.get("style"))) link.style = values.get("style");
  return link;
}

/** @param {Link} link @returns {string} From the # on. */
export function formatted(link) {
  const values = new URLSearchParams();
  for (const [name, value] of Object.entries(link)) {
    if (value === undefined || value === null || value === "") continue;
    values.set(
      name,
      Array.isArray(value) ? value.map(short).join(",") : typeof value === "number" ? short(value) : value,
    );
  }
  // Commas need no escape here, and are easier to read.
  return `#${values.toString().replaceAll("%2C", ",")}`;
}

/** @param {number} value */
function short(value) {
  return String(Math.round(value * 100) / 100);
}

/** @param {string | null} text @param {number} count @returns {number[] | null} */
function numbers(text, count) {
  const values = text?.split(",").map((part) => (part.trim() === "" ? NaN : Number(part))) ?? [];
  return values.length === count && values.every(Number.isFinite) ? values : null;
}
