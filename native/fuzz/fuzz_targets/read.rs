//! A read of any bytes, with any extents and positions, writes to its target alone, and never panics.
#![no_main]

use ctspine_zarr_core::boxes::Positions;
use ctspine_zarr_core::chunk::{Codec, Layout};
use ctspine_zarr_core::convert::Scaling;
use ctspine_zarr_core::read::{Request, Source, read};
use ctspine_zarr_core::runs::{Extent, Merging};
use ctspine_zarr_core::element::Element;
use ctspine_zarr_core::view::{Strided, Target};
use libfuzzer_sys::fuzz_target;

const GUARD: f32 = -77.0;
const MARGIN: usize = 8;

fuzz_target!(|input: (u8, [u8; 9], [(u8, u8); 8], bool, bool, &[u8])| {
    let (kind, positions, bounds, is_sealed, is_scaled, data) = input;
    let codec = [Codec::Blosc, Codec::Zstd, Codec::Predict][usize::from(kind) % 3];
    let element = [Element::U8, Element::I16, Element::I32, Element::F64][usize::from(kind / 3) % 4];
    let Some(layout) = Layout::new([2, 2, 2], [2, 3, 4], element, codec) else { return };
    let mut data = data.to_vec();
    if is_sealed {
        data.extend(crc32c::crc32c(&data).to_le_bytes());
    }
    let axis = |at: usize| Positions {
        start: usize::from(positions[at] % 10),
        step: usize::from(positions[at + 1] % 4),
        count: usize::from(positions[at + 2] % 9),
    };
    let axes = [axis(0), axis(3), axis(6)];
    let shape = axes.map(|axis| axis.count);
    let count = shape.iter().product::<usize>();
    let mut memory = vec![GUARD; count + 2 * MARGIN];
    let strides = [shape[1] * shape[2] * 4, shape[2] * 4, 4].map(usize::cast_signed);
    let origin = memory[MARGIN..].as_mut_ptr().cast();
    // SAFETY: the target is `memory` without its margins.
    let target = unsafe { Target::new(origin, Strided { strides, shape, element: Element::F32 }) }.expect("it is dense");
    let scaling = is_scaled.then_some(Scaling { subtract: 1.0, divide: 2.0, clip: true });
    let Some(request) = Request::new(axes, target, &layout, scaling) else { return };
    let extents: Vec<Extent> = bounds
        .iter()
        .enumerate()
        .map(|(number, (start, stop))| Extent { number, start: (*start).into(), stop: (*stop).into() })
        .collect();
    let merging = Merging { gap: 0, longest: 0 };
    let left = read(&layout, &[request], &extents, Source::Parts(&[(0, &data)]), merging, 2);
    assert!(left.is_sorted());
    assert!(
        memory[..MARGIN]
            .iter()
            .chain(&memory[MARGIN + count..])
            .all(|voxel| voxel.to_bits() == GUARD.to_bits())
    );
});
