//! The codec `predict` over Python's buffers.
#![expect(clippy::needless_pass_by_value, reason = "a function that Python calls owns its arguments")]

use std::cell::RefCell;

use ctspine_zarr_core::predict::{Scratch, decode, encode};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Decodes a chunk of a shape, (z, y, x), to a writable, contiguous int16 buffer of as many values.
///
/// The GIL is released: nobody else may use the buffers meanwhile. Raises `ValueError` where the bytes are no chunk.
#[pyfunction]
pub fn predict_decode(
    py: Python<'_>,
    data: PyBuffer<u8>,
    shape: [usize; 3],
    out: PyBuffer<i16>,
) -> PyResult<()> {
    require(&data)?;
    require(&out)?;
    if out.readonly() {
        return Err(PyValueError::new_err("a buffer that is read-only"));
    }
    // SAFETY: the buffer is C-contiguous and held; while this runs it is ours, as our caller promises.
    let bytes = unsafe { slice(&data) };
    // SAFETY: it is C-contiguous, writable, aligned as its format says, and ours, as our caller promises.
    let voxels = unsafe { std::slice::from_raw_parts_mut(pointer(&out), out.item_count()) };
    py.detach(|| SCRATCH.with_borrow_mut(|scratch| decode(bytes, shape, voxels, scratch)))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The bytes of a chunk of a shape, (z, y, x), from a contiguous int16 buffer of as many values.
///
/// The GIL is released: nobody may write to the buffer meanwhile. Raises `ValueError` where sizes differ.
#[pyfunction]
pub fn predict_encode(
    py: Python<'_>,
    voxels: PyBuffer<i16>,
    shape: [usize; 3],
) -> PyResult<Bound<'_, PyBytes>> {
    require(&voxels)?;
    let size = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if size != Some(voxels.item_count()) || size == Some(0) {
        return Err(PyValueError::new_err("voxels of another number than the shape's"));
    }
    // SAFETY: the buffer is C-contiguous and held; while this runs nobody writes to it, as our caller promises.
    let voxels = unsafe { slice(&voxels) };
    let encoded = py.detach(|| {
        let mut encoded = Vec::new();
        SCRATCH.with_borrow_mut(|scratch| encode(voxels, shape, scratch, &mut encoded));
        encoded
    });
    Ok(PyBytes::new(py, &encoded))
}

fn require<T: Element>(buffer: &PyBuffer<T>) -> PyResult<()> {
    if buffer.is_c_contiguous() {
        Ok(())
    } else {
        Err(PyValueError::new_err("a buffer that is not contiguous"))
    }
}

/// Where a buffer's values are; a pointer that may be made into a slice where it has none.
fn pointer<T: Element>(buffer: &PyBuffer<T>) -> *mut T {
    if buffer.item_count() == 0 { std::ptr::dangling_mut() } else { buffer.buf_ptr().cast() }
}

/// The values of a buffer.
///
/// # Safety
/// It is C-contiguous, and nobody writes to it while the slice lives.
unsafe fn slice<T: Element>(buffer: &PyBuffer<T>) -> &[T] {
    // SAFETY: so many values lie there one after another, for as long as the buffer is held.
    unsafe { std::slice::from_raw_parts(pointer(buffer), buffer.item_count()) }
}
