//! Any bytes are an index whose chunks fill the shard in order, or none.
#![no_main]

use ctspine_zarr_core::index::decode_index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, bool, &[u8])| {
    let (chunks, body_size, is_sealed, data) = input;
    let mut data = data.to_vec();
    if is_sealed {
        data.extend(crc32c::crc32c(&data).to_le_bytes());
    }
    if let Some(bounds) = decode_index(&data, chunks.into(), body_size.into()) {
        assert_eq!(bounds.len(), usize::from(chunks) + 1);
        assert!(bounds.is_sorted());
        assert_eq!((bounds[0], bounds[usize::from(chunks)]), (0, body_size.into()));
    }
});
