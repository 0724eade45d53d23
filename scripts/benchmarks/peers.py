"""The same voxels in every format of the field, each with a function that reads a box of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr import nifti
from ctspine_zarr.format import layout
from ctspine_zarr.format.record import Record

type Box = tuple[slice, slice, slice]

OURS_ONE = "ctspine_zarr, 1 thread"
OURS_ALL = "ctspine_zarr, all threads"
NIBABEL = "nibabel, .nii.gz, canonical"
NIBABEL_PART = "nibabel, .nii.gz, dataobj[...]"
TENSORSTORE = "TensorStore, 1 thread"
ZARRS = "zarrs, 1 thread"
BLOSC2 = "blosc2 .b2nd, int16 zstd"

BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
ZARRS_PIPELINE = "zarrs.ZarrsCodecPipeline"


@dataclass(frozen=True)
class Material:
    """One volume to store and read.

    Attributes:
        store, record: where it is in a store of ours.
        source: its `.nii.gz`.
        voxels: canonical (z, y, x).
        folder: for the files of other formats.
    """

    store: Path
    record: Record
    source: Path
    voxels: NDArray[Any]
    folder: Path

    @property
    def array(self) -> Path:
        """Where the image's Zarr array is."""
        return self.store / self.record.path / layout.IMAGE


@dataclass(frozen=True)
class Peer:
    """A way to read the volume.

    Attributes:
        read: a box of it, as a numpy array of its own.
        stored_bytes: on disk, of the image alone.
        is_slow: takes so long that fewer boxes are measured.
    """

    read: Callable[[Box], NDArray[Any]]
    stored_bytes: int
    is_slow: bool = False


def ours(material: Material, threads: int | None) -> Peer:
    """This project's engine, checksums on."""
    voxels = cz.open_store(material.store, threads=threads)[material.record.id].voxels("image")
    return Peer(voxels.__getitem__, material.record.image.bytes)


def zarr_python(material: Material, pipeline: str) -> Peer:
    """zarr-python on the same store, checksums on."""
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(material.array, mode="r")
    return Peer(lambda box: np.asarray(array[box]), material.record.image.bytes)


def zarrs(material: Material) -> Peer:
    """zarrs, in Rust, as zarr-python's pipeline, on the same store, checksums on."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    import zarrs as _  # noqa: F401, PLC0415 - registers itself

    with zarr.config.set({"codec_pipeline.path": ZARRS_PIPELINE, "threading.max_workers": 1}):
        array = zarr.open_array(material.array, mode="r")
    return Peer(lambda box: np.asarray(array[box]), material.record.image.bytes)


def tensorstore(material: Material) -> Peer:
    """TensorStore, in C++, on the same store, checksums on."""
    import tensorstore as ts  # noqa: PLC0415 - not everyone has it

    limits = {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(material.array)}}
    array = ts.open(spec | {"context": limits}).result()
    return Peer(lambda box: np.asarray(array[box].read().result()), material.record.image.bytes)


def blosc2_int16(material: Material) -> Peer:
    """blosc2's own format on our dtype and chunk shape; it checks nothing."""
    import blosc2  # noqa: PLC0415 - not everyone has it

    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]}
    return _blosc2(material, material.voxels, (64, 256, 256), layout.DEFAULT_CHUNK, cparams)


def blosc2_float32(material: Material) -> Peer:
    """blosc2 as nnU-Net writes it: float32, LZ4HC 5, blocks of 128 kB in chunks of at most 6 MB."""
    import blosc2  # noqa: PLC0415 - not everyone has it

    cparams = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]}
    return _blosc2(material, material.voxels.astype(np.float32), (96, 128, 128), (32, 32, 32), cparams)


def _blosc2(
    material: Material,
    voxels: NDArray[Any],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    cparams: dict[str, Any],
) -> Peer:
    import blosc2  # noqa: PLC0415 - not everyone has it

    path = material.folder / f"{voxels.dtype}.b2nd"
    chunks, blocks = (
        tuple(min(edge, size) for edge, size in zip(edges, voxels.shape, strict=True))
        for edges in (chunks, blocks)
    )
    blosc2.set_nthreads(1)
    blosc2.asarray(
        np.ascontiguousarray(voxels),
        urlpath=str(path),
        mode="w",
        chunks=chunks,
        blocks=blocks,
        cparams=cparams | {"nthreads": 1},
    )
    # As nnU-Net opens it.
    array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
    return Peer(lambda box: np.asarray(array[box]), path.stat().st_size)


def nibabel_whole(material: Material) -> Peer:
    """Nibabel on the source as loaders use it: to canonical, which takes the whole volume."""

    def read(box: Box) -> NDArray[Any]:
        image: Any = nibabel.as_closest_canonical(nibabel.load(material.source))
        return np.ascontiguousarray(np.asarray(image.dataobj).transpose()[box])

    return Peer(read, material.source.stat().st_size, is_slow=True)


def nibabel_part(material: Material) -> Peer:
    """Nibabel's array proxy, sliced: it inflates from the start to the last slice that is needed."""
    reorientation = nifti.read_header(material.source).reorientation
    shape = material.voxels.shape

    def read(box: Box) -> NDArray[Any]:
        on_disk = [slice(None)] * 3
        for span, size, axis, flip in zip(box, shape, reorientation.axes, reorientation.flips, strict=True):
            on_disk[axis] = slice(size - span.stop, size - span.start) if flip else span
        image: Any = nibabel.load(material.source)
        return np.ascontiguousarray(reorientation.apply(np.asarray(image.dataobj[tuple(on_disk)])))

    return Peer(read, material.source.stat().st_size, is_slow=True)


def arrow_2d(material: Material) -> Peer:
    """Hugging Face Arrow as the dataset card's loader makes it: float32, a row an axial slice."""
    import datasets  # noqa: PLC0415 - not everyone has it

    slices = list(material.voxels.astype(np.float32))
    feature = datasets.Array2D(material.voxels.shape[1:], "float32")
    rows, size = _arrow(material.folder / "arrow-2d", slices, feature)

    def read(box: Box) -> NDArray[Any]:
        z, y, x = box
        return np.array(np.asarray(rows[z]["image"])[:, y, x])

    return Peer(read, size, is_slow=True)


def arrow_3d(material: Material) -> Peer:
    """The same with a row a volume."""
    import datasets  # noqa: PLC0415 - not everyone has it

    feature = datasets.Array3D((None, *material.voxels.shape[1:]), "float32")
    rows, size = _arrow(material.folder / "arrow-3d", [material.voxels.astype(np.float32)], feature)
    return Peer(lambda box: np.array(np.asarray(rows[0]["image"])[box]), size, is_slow=True)


def _arrow(folder: Path, images: list[NDArray[Any]], feature: Any) -> tuple[Any, int]:
    import datasets  # noqa: PLC0415 - not everyone has it

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"image": images}, datasets.Features({"image": feature}))
    made.save_to_disk(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.arrow"))
    return datasets.load_from_disk(folder).with_format("numpy"), size


def memory_map(material: Material) -> Peer:
    """Uncompressed: the limit that no compressed format passes."""
    path = material.folder / "voxels.npy"
    np.save(path, material.voxels)
    array = np.load(path, mmap_mode="r")
    return Peer(lambda box: np.array(array[box]), path.stat().st_size)


PEERS: dict[str, Callable[[Material], Peer]] = {
    OURS_ONE: lambda material: ours(material, 1),
    OURS_ALL: lambda material: ours(material, None),
    "zarr-python, default": lambda material: zarr_python(material, BATCHED),
    "zarr-python, fused": lambda material: zarr_python(material, FUSED),
    ZARRS: zarrs,
    TENSORSTORE: tensorstore,
    BLOSC2: blosc2_int16,
    "blosc2 .b2nd, float32 LZ4HC": blosc2_float32,
    NIBABEL: nibabel_whole,
    NIBABEL_PART: nibabel_part,
    "Arrow float32, 2d": arrow_2d,
    "Arrow float32, 3d": arrow_3d,
    "memory map, uncompressed": memory_map,
}
