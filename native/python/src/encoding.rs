//! Chunks of a strip, and the steps of a build before them.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python are the function's own")]

use ctspine_zarr_core::encode::count::{self as counting, LABELS};
use ctspine_zarr_core::encode::strip::{self, Compression};
use ctspine_zarr_core::encode::{labels, shift as shifting};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{Memory, bytes, illegal, numbers, source, target};

/// The bytes of a strip's chunks with their checksums, one after another, and of how many bytes each is: 0
/// where it is absent, as all that are zero are where `keep_empty` is false.
#[pyfunction]
pub fn encode_strip(
    py: Python<'_>,
    strip: Memory,
    chunk: [usize; 3],
    codec: (String, i32),
    keep_empty: bool,
) -> PyResult<(Bound<'_, PyBytes>, Vec<usize>)> {
    let strip = source(&strip)?;
    let compression = match codec.0.as_str() {
        "blosc-zstd" => Compression::Blosc(codec.1),
        "zstd" => Compression::Zstd(codec.1),
        "predict" => Compression::Predict,
        _ => return Err(illegal("a codec that the kernel does not have")),
    };
    let encoded = py.detach(|| strip::encode(&strip, chunk, compression, keep_empty));
    let encoded = encoded.ok_or_else(|| illegal("a strip of chunks that the kernel does not encode"))?;
    Ok((PyBytes::new(py, encoded.bytes()), encoded.sizes().to_vec()))
}

/// Write to each int16 or uint8 of an array the integer of another plus `add`, modulo 2**16 or 2**8.
#[pyfunction]
pub fn shift(py: Python<'_>, from: Memory, to: Memory, add: i16) -> PyResult<()> {
    let (from, to) = (source(&from)?, target(&to)?);
    let shifted = py.detach(|| shifting::shift(&from, &to, add));
    shifted.ok_or_else(|| illegal("a shift between other shapes or dtypes"))
}

/// Add how often each value of int16 occurs, to the first half of `counts` or to the second.
#[pyfunction]
pub fn count_values(py: Python<'_>, voxels: Memory, mut counts: Memory) -> PyResult<()> {
    let (voxels, counts) = (source(&voxels)?, numbers(&mut counts)?);
    let counted = py.detach(|| counting::count(&voxels, counts));
    counted.ok_or_else(|| illegal("counts of other voxels, or too few"))
}

/// Add how often each value of int16 occurs among the voxels of each label, to the row of `counts` that
/// `places` has for it.
#[pyfunction]
pub fn count_labels(
    py: Python<'_>,
    labels: Memory,
    voxels: Memory,
    places: Memory,
    mut counts: Memory,
) -> PyResult<()> {
    let (labels, voxels) = (source(&labels)?, source(&voxels)?);
    let (places, counts) = (bytes(&places)?, numbers(&mut counts)?);
    let places: &[u8; LABELS] = places.try_into().map_err(|_| illegal("places of other labels"))?;
    let counted = py.detach(|| counting::count_labels(&labels, &voxels, places, counts));
    counted.ok_or_else(|| illegal("counts of labels without a place, or of other voxels"))
}

/// (label, voxels, sums of their indices along z, y and x, (start, stop) along each, pieces, voxels of the
/// largest) of a label.
type AnyLabel = (u8, u64, [u64; 3], [(usize, usize); 3], u64, u64);

/// Size, place and pieces of every label of a mask, in order of label.
#[pyfunction]
pub fn measure_labels(py: Python<'_>, mask: Memory) -> PyResult<Vec<AnyLabel>> {
    let mask = source(&mask)?;
    let found = py.detach(|| labels::measure(&mask)).ok_or_else(|| illegal("a mask of another dtype"))?;
    let one = |label: labels::Measured| {
        (label.label, label.voxels, label.sums, label.bounds, label.pieces, label.largest)
    };
    Ok(found.into_iter().map(one).collect())
}
