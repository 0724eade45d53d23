//! Any bytes are a chunk, or malformed: no panic, no read or write out of bounds.
#![no_main]

use ctspine_zarr_core::predict::{Scratch, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (z, y, x, data) = input;
    let shape = [usize::from(z) % 9, usize::from(y) % 17, usize::from(x) % 80];
    let mut out = vec![0; shape.iter().product()];
    let _ = decode(data, shape, &mut out, &mut Scratch::default());
});
