// Whether bytes are those that were written: checksums of chunks, digests of documents.

/** Of each byte, by Castagnoli's polynomial with its bits reversed. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** @param {Uint8Array} bytes @returns {number} Their crc32c. */
export function crc32c(bytes) {
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) value = TABLE[(value ^ bytes[at]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Whether digests can be computed: browsers do so for pages from https and from this machine alone. */
export const CAN_PROVE = globalThis.crypto?.subtle !== undefined;

/** @param {Uint8Array} bytes @returns {Promise<string>} In lower-case hex. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Whether a document is as it was sealed: `seal` is the sha256 of its bytes with the seal written as zeros.
 * @param {Uint8Array} bytes
 * @param {string} seal 64 digits.
 */
export async function isSealed(bytes, seal) {
  const text = new TextDecoder().decode(bytes);
  const at = text.lastIndexOf(`"seal": "${seal}"`);
  if (at < 0) return false;
  const digits = at + '"seal": "'.length;
  const blank = text.slice(0, digits) + "0".repeat(64) + text.slice(digits + 64);
  return (await sha256(new TextEncoder().encode(blank))) === seal;
}
