//! Arrays of Python as views of the kernel.

use ctspine_zarr_core::element::Element;
use ctspine_zarr_core::view::{Source, Strided, Target};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The memory of an array or of bytes, held for as long as a call takes.
pub struct Memory(PyUntypedBuffer);

impl<'py> FromPyObject<'_, 'py> for Memory {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        PyUntypedBuffer::get(&object).map(Self)
    }
}

/// An error for what only this project's own code could have asked wrongly.
pub fn illegal(what: &str) -> PyErr {
    PyValueError::new_err(format!("{what}; legal: what ctspine_zarr asks for"))
}

/// The type of voxels that a buffer's format names, in the machine's byte order.
fn element(format: &[u8]) -> Option<Element> {
    let prefix = if cfg!(target_endian = "little") { b'<' } else { b'>' };
    match format.strip_prefix(&[prefix]).unwrap_or(format) {
        b"B" => Some(Element::U8),
        b"h" => Some(Element::I16),
        b"i" => Some(Element::I32),
        b"l" if size_of::<std::ffi::c_long>() == 4 => Some(Element::I32),
        b"f" => Some(Element::F32),
        b"d" => Some(Element::F64),
        _ => None,
    }
}

/// A type of voxels by numpy's name of it, such as `int16`.
pub fn element_named(name: &str) -> PyResult<Element> {
    match name {
        "uint8" => Ok(Element::U8),
        "int16" => Ok(Element::I16),
        "int32" => Ok(Element::I32),
        "float32" => Ok(Element::F32),
        "float64" => Ok(Element::F64),
        _ => Err(illegal("a dtype of no voxels")),
    }
}

/// How the voxels of a (z, y, x) array lie.
fn strided(buffer: &PyUntypedBuffer) -> PyResult<Strided> {
    let element = element(buffer.format().to_bytes());
    let shape = buffer.shape().try_into().ok();
    let strides = buffer.strides().try_into().ok();
    match (element, shape, strides) {
        (Some(element), Some(shape), Some(strides)) if buffer.suboffsets().is_none() => {
            Ok(Strided { strides, shape, element })
        }
        _ => Err(illegal("an array of other axes or dtype")),
    }
}

/// A writable (z, y, x) array; the caller keeps others from it as long as it is in use.
pub fn target(Memory(buffer): &Memory) -> PyResult<Target<'_>> {
    let strided = strided(buffer)?;
    if buffer.readonly() {
        return Err(illegal("a target that is read-only"));
    }
    // SAFETY: the buffer describes writable memory that Python keeps for as long as it is borrowed; that
    // nobody else uses it meanwhile is for `ctspine_zarr` to see to, as with any array of numpy.
    let target = unsafe { Target::new(buffer.buf_ptr().cast(), strided) };
    target.ok_or_else(|| illegal("a target that is not aligned, or overlaps itself"))
}

/// A (z, y, x) array that is only read.
pub fn source(Memory(buffer): &Memory) -> PyResult<Source<'_>> {
    // SAFETY: as for `target`, but that it is read.
    let source = unsafe { Source::new(buffer.buf_ptr().cast_const().cast(), strided(buffer)?) };
    source.ok_or_else(|| illegal("an array that is not aligned"))
}

/// The bytes of an object that nobody can write to.
pub fn bytes(Memory(buffer): &Memory) -> PyResult<&[u8]> {
    if !buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(illegal("bytes that can be written to, or do not lie side by side"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    // SAFETY: Python keeps this memory, all of it initialized, for as long as the buffer is borrowed, and
    // it is read-only.
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast_const().cast(), buffer.len_bytes()) })
}

/// The int16 values of an array that lie side by side, whatever its axes.
fn int16s_at(buffer: &PyUntypedBuffer) -> PyResult<(*mut i16, usize)> {
    let is_legal = element(buffer.format().to_bytes()) == Some(Element::I16)
        && buffer.is_c_contiguous()
        && buffer.buf_ptr().addr().is_multiple_of(Element::I16.size());
    match (is_legal, buffer.item_count()) {
        (false, _) => Err(illegal("an array of another dtype, or whose values do not lie side by side")),
        (true, 0) => Ok((std::ptr::dangling_mut(), 0)),
        (true, count) => Ok((buffer.buf_ptr().cast(), count)),
    }
}

/// The values of an int16 array that nobody writes to as long as they are in use.
pub fn int16s(Memory(buffer): &Memory) -> PyResult<&[i16]> {
    let (first, count) = int16s_at(buffer)?;
    // SAFETY: so many aligned values lie there, kept by Python for as long as the buffer is borrowed; that
    // nobody writes to them meanwhile is for `ctspine_zarr` to see to.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// The values of a writable int16 array that nobody else uses as long as they are in use.
#[expect(clippy::mut_from_ref, reason = "the memory is Python's, not the buffer's own")]
pub fn int16s_mut(Memory(buffer): &Memory) -> PyResult<&mut [i16]> {
    let (first, count) = int16s_at(buffer)?;
    if buffer.readonly() {
        return Err(illegal("a target that is read-only"));
    }
    // SAFETY: as for `int16s`, and they are writable.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, count) })
}

/// The numbers of an array of int64 that may be written to, in C order; the caller keeps others from it.
pub fn numbers(Memory(buffer): &mut Memory) -> PyResult<&mut [i64]> {
    let is_int64 =
        matches!(buffer.format().to_bytes(), b"l" | b"q") && buffer.item_size() == size_of::<i64>();
    if !is_int64 || buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(illegal("numbers that are no int64, or cannot be written to"));
    }
    let first = buffer.buf_ptr().cast::<i64>();
    if buffer.len_bytes() == 0 {
        return Ok(&mut []);
    }
    if !first.is_aligned() {
        return Err(illegal("numbers that are not aligned"));
    }
    // SAFETY: Python keeps this memory, aligned and all of it initialized, for as long as the buffer is
    // borrowed, and only here; that nobody else uses it meanwhile is for `ctspine_zarr` to see to.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, buffer.len_bytes() / size_of::<i64>()) })
}
