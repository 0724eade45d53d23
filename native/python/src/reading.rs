//! Reads of a shard, and conversions of what was read.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python are the function's own")]

use std::mem::ManuallyDrop;

use ctspine_zarr_core::boxes::Positions;
use ctspine_zarr_core::chunk::{Codec, Layout};
use ctspine_zarr_core::convert::Scaling;
use ctspine_zarr_core::index;
use ctspine_zarr_core::read::{self, Request, Source};
use ctspine_zarr_core::runs::{Extent, Merging};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{Memory, bytes, element_named, illegal, source, target};

/// Bounds of the chunks, as `decode_index` gives them; grid, chunk, dtype and codec of the array.
type AnyShard = (Memory, [usize; 3], [usize; 3], String, String);
/// What is subtracted, what that is divided by, and the bounds of the result.
type AnyScaling = (f32, f32, f32, f32);
/// A target, and (start, step, count) along z, y and x.
type AnyRequest = (Memory, [(usize, usize, usize); 3]);
/// What is read, and in which form.
type AnyWanted = (Vec<AnyRequest>, Option<AnyScaling>);

/// Where each chunk of a shard lies, as int64; None where the index is not of the form that is written.
#[pyfunction]
pub fn decode_index(
    py: Python<'_>,
    data: Memory,
    chunks: usize,
    body_size: u64,
) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let bounds = index::decode_index(bytes(&data)?, chunks, body_size);
    let encoded =
        bounds.map(|bounds| bounds.iter().flat_map(|bound| bound.to_ne_bytes()).collect::<Vec<_>>());
    Ok(encoded.map(|encoded| PyBytes::new(py, &encoded)))
}

/// Fill the targets of requests from a shard in a file; the numbers of the chunks that could not be
/// decoded, ascending.
#[cfg(unix)]
#[pyfunction]
pub fn read_file(
    py: Python<'_>,
    file: (std::os::fd::RawFd, u64),
    shard: AnyShard,
    wanted: AnyWanted,
    merging: (u64, u64),
    threads: usize,
) -> PyResult<Vec<usize>> {
    use std::os::fd::FromRawFd;
    let (descriptor, size) = file;
    // SAFETY: the caller keeps the descriptor open for the call; it is not closed here.
    let file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(descriptor) });
    let layout = layout_of(&shard)?;
    let requests = requests_of(&wanted, &layout)?;
    let extents = extents(&shard.0, &read::touched(&requests))?;
    let merging = Merging { gap: merging.0, longest: merging.1 };
    let source = Source::File(&file, size);
    Ok(py.detach(|| read::read(&layout, &requests, &extents, source, merging, threads)))
}

/// Fill the targets of requests from parts of a shard, each with the place where it begins, and only from
/// the chunks of these numbers, ascending; those that could not be decoded.
#[pyfunction]
pub fn read_parts(
    py: Python<'_>,
    parts: Vec<(u64, Memory)>,
    numbers: Vec<usize>,
    shard: AnyShard,
    wanted: AnyWanted,
    threads: usize,
) -> PyResult<Vec<usize>> {
    let layout = layout_of(&shard)?;
    let requests = requests_of(&wanted, &layout)?;
    let extents = extents(&shard.0, &numbers)?;
    let parts = parts.iter().map(|(start, data)| Ok((*start, bytes(data)?))).collect::<PyResult<Vec<_>>>()?;
    // Memory needs no merging: each chunk is a run of its own.
    let merging = Merging { gap: 0, longest: 0 };
    let source = Source::Parts(&parts);
    Ok(py.detach(|| read::read(&layout, &requests, &extents, source, merging, threads)))
}

/// End the threads that wait for a read.
#[pyfunction]
pub fn end_idle_threads(py: Python<'_>) {
    py.detach(ctspine_zarr_core::helpers::end_idle);
}

/// Chunks that this process has decoded here, and bytes that it has read from files.
#[pyfunction]
pub fn counts() -> (u64, u64) {
    read::counts()
}

/// Write the voxels of a (z, y, x) array to another of its shape, in the form of that.
#[pyfunction]
pub fn convert(py: Python<'_>, from: Memory, to: Memory, scaling: Option<AnyScaling>) -> PyResult<()> {
    let (from, to) = (source(&from)?, target(&to)?);
    let scaling = scaling_of(scaling)?;
    let converted = py.detach(|| ctspine_zarr_core::convert::convert(&from, &to, scaling));
    converted.ok_or_else(|| illegal("a conversion between other shapes or dtypes"))
}

/// Write for each label of a (z, y, x) array what a table of 256 bytes has, to an array of its shape.
#[pyfunction]
pub fn look_up(py: Python<'_>, from: Memory, to: Memory, table: &[u8]) -> PyResult<()> {
    let (from, to) = (source(&from)?, target(&to)?);
    let table = table.try_into().map_err(|_| illegal("a table of other than 256 labels"))?;
    let found = py.detach(|| ctspine_zarr_core::convert::look_up(&from, &to, table));
    found.ok_or_else(|| illegal("labels and a target of other shapes or dtypes"))
}

fn layout_of((_, grid, chunk, dtype, codec): &AnyShard) -> PyResult<Layout> {
    let codec = match codec.as_str() {
        "blosc-zstd" => Codec::Blosc,
        "zstd" => Codec::Zstd,
        "predict" => Codec::Predict,
        _ => return Err(illegal("a codec that the kernel does not have")),
    };
    let layout = Layout::new(*grid, *chunk, element_named(dtype)?, codec);
    layout.ok_or_else(|| illegal("chunks without voxels, or too many"))
}

fn requests_of<'a>((requests, scaling): &'a AnyWanted, layout: &Layout) -> PyResult<Vec<Request<'a>>> {
    let scaling = scaling_of(*scaling)?;
    let one = |(buffer, axes): &'a AnyRequest| {
        let positions = axes.map(|(start, step, count)| Positions { start, step, count });
        let request = Request::new(positions, target(buffer)?, layout, scaling);
        request.ok_or_else(|| illegal("a request beyond the chunks, or for another target"))
    };
    requests.iter().map(one).collect()
}

fn scaling_of(asked: Option<AnyScaling>) -> PyResult<Option<Scaling>> {
    let one = |(subtract, divide, low, high)| Scaling::new(subtract, divide, (low, high));
    asked
        .map(|asked| one(asked).ok_or_else(|| illegal("bounds of which the lower is above the other")))
        .transpose()
}

/// Where chunks lie, by bounds as `decode_index` gives them.
fn extents(bounds: &Memory, numbers: &[usize]) -> PyResult<Vec<Extent>> {
    let (bounds, _) = bytes(bounds)?.as_chunks();
    let bound = |at: usize| u64::try_from(i64::from_ne_bytes(*bounds.get(at)?)).ok();
    let one = |number: &usize| {
        let (start, stop) = (bound(*number)?, bound(number.checked_add(1)?)?);
        (start <= stop).then_some(Extent { number: *number, start, stop })
    };
    let found: Option<Vec<Extent>> = numbers.iter().map(one).collect();
    found.ok_or_else(|| illegal("chunks without bounds"))
}
