// What the page takes of zarrita, and a decoder of zstd. Those of numcodecs are left out: their glue evaluates
// texts as code, which no page of ours may.
export { FetchStore, get, open, registry, root, slice, withRangeCoalescing } from "zarrita";
export { ZSTDDecoder } from "zstddec";
