//! Every content comes back as it was, and no chunk is longer than its voxels and a byte.
#![no_main]

use ctspine_zarr_core::predict::{Scratch, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, u8, u8, &[u8])| {
    let (z, y, x, kind, data) = input;
    let shape = [1 + usize::from(z) % 4, 1 + usize::from(y) % 12, 1 + usize::from(x) % 80];
    let (mut voxels, mut last) = (Vec::new(), 0_i16);
    for at in 0..shape.iter().product() {
        let byte = |at: usize| data.get(at % data.len().max(1)).copied().unwrap_or(0);
        let value = match kind % 4 {
            0 => i16::from_le_bytes([byte(2 * at), byte(2 * at + 1)]),
            1 => i16::from(byte(at)),
            2 => last.wrapping_add(i16::from(byte(at).cast_signed())),
            _ => i16::from(byte(at)).wrapping_mul(i16::from(kind)),
        };
        last = value;
        voxels.push(value);
    }
    let (mut scratch, mut encoded, mut out) = (Scratch::default(), Vec::new(), vec![0; voxels.len()]);
    encode(&voxels, shape, &mut scratch, &mut encoded);
    assert!(encoded.len() <= 2 * voxels.len() + 1);
    decode(&encoded, shape, &mut out, &mut scratch).expect("what was encoded is a chunk");
    assert_eq!(voxels, out);
});
