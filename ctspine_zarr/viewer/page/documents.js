// What the page is told of a store and its cases, from its root and its catalog. Pure; the same as the server
// tells, by viewer/documents.py.

/** @typedef {import("./source.js").Description} Description @typedef {import("./source.js").Entry} Entry */
/** @typedef {import("./source.js").CaseRecord} CaseRecord @typedef {import("./source.js").Triple} Triple */
/** @typedef {import("./source.js").Severity} Severity @typedef {Object<string, Severity>} Severities */

/** In ascending order. */
const SEVERITIES = ["info", "warning", "error"];
/** The code of a finding: its labels are no part of the spine. */
const STRAY = "stray_label";
/** Successive hues this far apart (the golden ratio) stay distinct for any number of labels. */
const HUE_STEP = 0.6180339887;

/**
 * @param {string} location Of the store.
 * @param {any} root Our part of its attributes.
 * @param {any[]} lines Of the catalog.
 * @param {Severities} severities Of the codes of findings.
 * @returns {Description}
 */
export function storeDocument(location, root, lines, severities) {
  const spec = root.dataset;
  const values = Object.keys(spec.labels).map(Number);
  values.sort((one, other) => one - other);
  return {
    location,
    name: spec.name,
    title: spec.title,
    licence: spec.licence,
    licence_note: spec.licence_note,
    citation: spec.citation,
    is_partial: false,
    state: `${root.seal}-${root.catalog.sha256}`,
    splits: spec.splits,
    sources: spec.sources,
    labels: values.map((label) => ({ label, name: spec.labels[label], colour: colour(label) })),
    cases: lines.map((line) => entry(line, severities)),
  };
}

/**
 * @param {any} line Of the catalog.
 * @param {any} spec
 * @param {Severities} severities
 * @returns {CaseRecord}
 */
export function caseDocument(line, spec, severities) {
  const found = (/** @type {any} */ one) => finding(one, severities);
  const voxel = voxelVolume(line.affine) / 1000;
  const described = (/** @type {any[]} */ labels) => labels.map((one) => label(one, voxel));
  const own = { name: spec.mask, labels: described(line.labels), findings: [] };
  const sets = setsOf(line).map(([name, one]) => ({
    name,
    labels: described(one.labels),
    findings: one.findings.map(found),
  }));
  return {
    id: line.id,
    split: line.split,
    source: line.source,
    shape: line.shape,
    spacing: spacingOf(line.affine),
    affine: line.affine,
    orientation: line.orientation,
    oblique_degrees: obliqueness(line.affine),
    shear_degrees: shear(line.affine),
    chunk: line.image.chunk,
    dtype: boxDtype(line.image.dtype),
    hu_range: [line.intensity.min, line.intensity.max],
    transitional: line.transitional,
    middle: middleVoxel(line, spec),
    findings: line.findings.map(found),
    masks: line.segmentation === null ? sets : [own, ...sets],
  };
}

/** The dtype in which the page is given an image. @param {string} stored @returns {"int16" | "float32"} */
export function boxDtype(stored) {
  return stored === "int16" ? "int16" : "float32";
}

/** Names and label sets of a case, in order of name. @param {any} line @returns {[string, any][]} */
function setsOf(line) {
  return Object.entries(line.sets ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
}

/** @param {any} line @param {Severities} severities @returns {Entry} */
function entry(line, severities) {
  const weights = line.findings.map((/** @type {any} */ one) =>
    SEVERITIES.indexOf(severityOf(one, severities)),
  );
  return {
    id: line.id,
    split: line.split,
    source: line.source,
    shape: line.shape,
    spacing: spacingOf(line.affine),
    findings: [...new Set(line.findings.map((/** @type {any} */ one) => one.code))].sort(),
    severity: weights.length ? SEVERITIES[Math.max(...weights)] : null,
    labels: line.labels.map((/** @type {any} */ one) => one.label),
  };
}

/**
 * The place in a case that is looked at first: see middle_voxel in format/levels.py.
 * @param {any} line @param {any} spec @returns {Triple}
 */
function middleVoxel(line, spec) {
  const mask = [line, ...setsOf(line).map(([, one]) => one)].find((one) => one.labels.length);
  if (mask === undefined) return line.shape.map((/** @type {number} */ size) => Math.floor(size / 2));
  const strays = new Set(
    mask.findings.flatMap((/** @type {any} */ one) => (one.code === STRAY ? one.labels : [])),
  );
  const isLevel = (/** @type {any} */ one) => spec.levels.includes(one.label);
  const sound = mask.labels.filter((/** @type {any} */ one) => !strays.has(one.label));
  const choices = [sound.filter(isLevel), mask.labels.filter(isLevel), sound, mask.labels];
  const centroids = choices.find((one) => one.length).map((/** @type {any} */ one) => one.centroid);
  centroids.sort((one, other) => one[0] - other[0] || one[1] - other[1] || one[2] - other[2]);
  return centroids[Math.floor(centroids.length / 2)];
}

/**
 * @param {any} one As the catalog has it. @param {number} voxel cm3.
 * @returns {import("./source.js").Label}
 */
function label(one, voxel) {
  const { label, name, voxels, centroid, pieces, hu } = one;
  return { label, name, cm3: voxels * voxel, centroid, pieces, hu_mean: hu.mean };
}

/**
 * @param {any} one As the catalog has it. @param {Severities} severities
 * @returns {import("./source.js").Finding}
 */
function finding(one, severities) {
  const { code, message } = one;
  return { code, severity: severityOf(one, severities), message };
}

/** A code of a later version is a warning, for nobody here can say less. */
function severityOf({ code }, severities) {
  return Object.hasOwn(severities, code) ? severities[code] : "warning";
}

/** Red, green and blue that stand for a label everywhere. @param {number} label @returns {Triple} */
export function colour(label) {
  const sixth = ((label * HUE_STEP) % 1) * 6;
  const at = Math.floor(sixth);
  const [saturation, rest] = [0.75, sixth - at];
  const low = 1 - saturation;
  const down = 1 - saturation * rest;
  const up = 1 - saturation * (1 - rest);
  const rgb = [
    [1, up, low],
    [down, 1, low],
    [low, 1, up],
    [low, down, 1],
    [up, low, 1],
    [1, low, down],
  ][at];
  return /** @type {Triple} */ (rgb.map((part) => Math.round(part * 255)));
}

/** The lengths of voxel axes: x, y and z, as columns of the matrix. @param {number[][]} affine */
function lengths(affine) {
  return [0, 1, 2].map((column) => {
    const [a, b, c] = affine.map((row) => row[column]);
    return Math.sqrt(a * a + b * b + c * c);
  });
}

/** mm3: the determinant of the axes, which do not need to be at right angles. @param {number[][]} affine */
function voxelVolume(affine) {
  const [[a, b, c], [d, e, f], [g, h, i]] = affine;
  return Math.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g));
}

/** mm, along z, y and x. @param {number[][]} affine @returns {Triple} */
function spacingOf(affine) {
  const [x, y, z] = lengths(affine);
  return [z, y, x];
}

/** Directions of voxel axes. @param {number[][]} affine */
function axes(affine) {
  return lengths(affine).map((length, column) => [0, 1, 2].map((row) => affine[row][column] / length));
}

/** Degrees from a voxel axis to the world axis closest to it, at most. @param {number[][]} affine */
function obliqueness(affine) {
  const angles = axes(affine).map((axis) => {
    const [least, middle, most] = axis.map(Math.abs).sort((one, other) => one - other);
    return Math.atan2(Math.hypot(least, middle), most);
  });
  return (Math.max(...angles) * 180) / Math.PI;
}

/** The largest deviation from 90 degrees of the angle between two voxel axes. @param {number[][]} affine */
function shear(affine) {
  const [x, y, z] = axes(affine);
  const cosines = [
    [x, y],
    [x, z],
    [y, z],
  ].map(([one, other]) => Math.abs(one[0] * other[0] + one[1] * other[1] + one[2] * other[2]));
  return (Math.asin(Math.min(1, Math.max(...cosines))) * 180) / Math.PI;
}
