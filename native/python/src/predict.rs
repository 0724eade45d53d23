//! The codec `predict` over Python's buffers.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python are the function's own")]

use std::cell::RefCell;

use ctspine_zarr_core::predict::{Scratch, decode, encode};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{Memory, bytes, int16s, int16s_mut};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Decode a chunk of a shape, (z, y, x), to a writable int16 array of as many values; a `ValueError` says
/// what is wrong with the bytes.
#[pyfunction]
pub fn predict_decode(py: Python<'_>, data: Memory, shape: [usize; 3], out: Memory) -> PyResult<()> {
    let (data, voxels) = (bytes(&data)?, int16s_mut(&out)?);
    py.detach(|| SCRATCH.with_borrow_mut(|scratch| decode(data, shape, voxels, scratch)))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The bytes of a chunk of a shape, (z, y, x), from an int16 array of as many values, one or more.
#[pyfunction]
pub fn predict_encode(py: Python<'_>, voxels: Memory, shape: [usize; 3]) -> PyResult<Bound<'_, PyBytes>> {
    let voxels = int16s(&voxels)?;
    let size = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    if size != Some(voxels.len()) || size == Some(0) {
        return Err(PyValueError::new_err("voxels of another number than the shape's"));
    }
    let encoded = py.detach(|| {
        let mut encoded = Vec::new();
        SCRATCH.with_borrow_mut(|scratch| encode(voxels, shape, scratch, &mut encoded));
        encoded
    });
    Ok(PyBytes::new(py, &encoded))
}
