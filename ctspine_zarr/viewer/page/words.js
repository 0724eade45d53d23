// Words for what the store says in short.

/** Findings in words, by their codes; a code of a later version stands for itself. */
const FINDINGS = {
  missing_level: "a level is missing",
  stray_label: "a stray label",
  split_vertebra: "a vertebra in pieces",
  order: "levels out of order",
  bone_share: "off the bone",
  outside_body: "outside the body",
  asymmetry: "one side alone",
  volume: "odd volume",
  cut_by_edge: "cut by the edge",
  no_label: "an empty mask",
  no_mask: "no mask",
  listed: "on a list of faults",
  leak: "patient in two splits",
  mask_offset: "mask off the image",
  sform_qform: "two affines disagree",
  no_orientation: "left and right uncertain",
  oblique: "oblique grid",
  sheared: "sheared grid",
  unit: "unit of length",
  repaired_header: "repaired header",
  made_up_spacing: "spacing unknown",
  trailing_axis: "axes dropped",
  not_restorable: "file not restorable",
};

/** @param {string} code */
export function findingWords(code) {
  return Object.hasOwn(FINDINGS, code) ? FINDINGS[code] : code.replaceAll("_", " ");
}

/** @param {number[]} shape @param {number[]} spacing (z, y, x) @returns {string} */
export function gridWords(shape, spacing) {
  return `${shape.join(" × ")} at ${spacing.map((mm) => Number(mm.toPrecision(3))).join(" × ")} mm`;
}

/**
 * @param {string} plane @param {string} id @param {number} bytes That a slice of it lies in.
 * @param {number} limit @returns {string}
 */
export function limitWords(plane, id, bytes, limit) {
  const [seen, legal] = [bytes, limit].map((count) => (count / 2 ** 20).toFixed(1));
  return `the ${plane} plane of ${id} lies in ${seen} MiB of voxels; legal: at most ${legal} MiB at once`;
}

/** First and last name of a run of labels, and how many. @param {string[]} names */
export function rangeWords(names) {
  if (names.length === 0) return "no labels";
  return names.length === 1 ? names[0] : `${names[0]}–${names.at(-1)} (${names.length})`;
}
