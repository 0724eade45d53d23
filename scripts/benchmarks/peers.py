"""The same voxels in every format of the field, each with a function that reads a box of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr
from numpy.typing import NDArray

import ctspine_zarr as cz
from benchmarks.processes import WITHOUT_KERNEL
from ctspine_zarr import nifti
from ctspine_zarr.format import layout
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Shape

type Box = tuple[slice, slice, slice]

THICK: Shape = (16, 64, 64)
"""Chunk of the store that the engine without the kernel is measured on."""

OURS_ONE = "ctspine_zarr, 1 thread"
OURS_TWO = "ctspine_zarr, 2 threads"
OURS_ALL = "ctspine_zarr, all threads"
PLAIN = "ctspine_zarr without kernel, 1 thread"
PLAIN_THICK = "without kernel, chunks 16 x 64 x 64"
ZARR = "zarr-python, default"
ZARR_FUSED = "zarr-python, fused"
ZARRS = "zarrs, 1 thread"
TENSORSTORE = "TensorStore, 1 thread"
BLOSC2 = "blosc2 .b2nd, int16 zstd"
BLOSC2_AS_NNUNET = "blosc2 .b2nd, float32 LZ4HC"
NIBABEL = "nibabel, .nii.gz, canonical"
NIBABEL_PART = "nibabel, .nii.gz, dataobj[...]"

BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
ZARRS_PIPELINE = "zarrs.ZarrsCodecPipeline"

VOXELS = "voxels.npy"
BLOSC2_INT16, BLOSC2_FLOAT32 = "int16.b2nd", "float32.b2nd"
ARROW_2D, ARROW_3D = "arrow-2d", "arrow-3d"

type Read = Callable[[Box], NDArray[Any]]
"""A box of the volume, as a numpy array of its own."""


@dataclass(frozen=True)
class Material:
    """One volume to store and read; it goes to other processes as paths.

    Attributes:
        store, record: where it is in a store of ours.
        thick: another, with the chunk that the engine without the kernel is best known by.
        source: its `.nii.gz`.
        folder: for the files of other formats.
    """

    store: Path
    record: Record
    thick: Path
    source: Path
    folder: Path

    @property
    def voxels(self) -> NDArray[Any]:
        """Canonical (z, y, x)."""
        found: NDArray[Any] = np.load(self.folder / VOXELS, mmap_mode="r")
        return found

    @property
    def array(self) -> Path:
        """Where the image's Zarr array is."""
        return self.store / self.record.path / layout.IMAGE


@dataclass(frozen=True)
class Peer:
    """A way to read the volume.

    Attributes:
        open: in the process that is to read.
        write: what is to be opened, once, in another process.
        environment: of the process that reads.
        is_slow: takes so long that fewer boxes are measured.
    """

    open: Callable[[Material], Read]
    write: Callable[[Material], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    is_slow: bool = False


def ours(material: Material, threads: int | None, *, thick: bool = False) -> Read:
    """This project's engine, checksums on."""
    store = cz.open_store(material.thick if thick else material.store, threads=threads)
    return store[material.record.id].voxels("image").__getitem__


def zarr_python(material: Material, pipeline: str) -> Read:
    """zarr-python on the same store, checksums on."""
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(material.array, mode="r")
    return lambda box: np.asarray(array[box])


def zarrs(material: Material) -> Read:
    """zarrs, in Rust, as zarr-python's pipeline, on the same store, checksums on."""
    import zarrs as _  # noqa: F401, PLC0415 - registers itself

    with zarr.config.set({"threading.max_workers": 1}):
        return zarr_python(material, ZARRS_PIPELINE)


def tensorstore(material: Material) -> Read:
    """TensorStore, in C++, on the same store, checksums on."""
    import tensorstore as ts  # noqa: PLC0415 - not everyone has it

    limits = {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(material.array)}}
    array = ts.open(spec | {"context": limits}).result()
    return lambda box: np.asarray(array[box].read().result())


def write_blosc2_int16(material: Material) -> None:
    """blosc2's own format on our dtype and chunk shape; it checks nothing."""
    import blosc2  # noqa: PLC0415 - not everyone has it

    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]}
    path = material.folder / BLOSC2_INT16
    _write_blosc2(path, material.voxels, (64, 256, 256), layout.DEFAULT_CHUNK, cparams)


def write_blosc2_float32(material: Material) -> None:
    """blosc2 as nnU-Net writes it: float32, LZ4HC 5, blocks of 128 kB in chunks of at most 6 MB."""
    import blosc2  # noqa: PLC0415 - not everyone has it

    cparams = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]}
    voxels = material.voxels.astype(np.float32)
    _write_blosc2(material.folder / BLOSC2_FLOAT32, voxels, (96, 128, 128), (32, 32, 32), cparams)


def _write_blosc2(
    path: Path,
    voxels: NDArray[Any],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    cparams: dict[str, Any],
) -> None:
    import blosc2  # noqa: PLC0415 - not everyone has it

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


def blosc2(material: Material, file: str) -> Read:
    """As nnU-Net opens it."""
    import blosc2  # noqa: PLC0415 - not everyone has it

    blosc2.set_nthreads(1)
    path = str(material.folder / file)
    array = blosc2.open(path, mode="r", dparams={"nthreads": 1}, mmap_mode="r")
    return lambda box: np.asarray(array[box])


def nibabel_whole(material: Material) -> Read:
    """Nibabel on the source as loaders use it: to canonical, which takes the whole volume."""

    def read(box: Box) -> NDArray[Any]:
        image: Any = nibabel.as_closest_canonical(nibabel.load(material.source))
        return np.ascontiguousarray(np.asarray(image.dataobj).transpose()[box])

    return read


def nibabel_part(material: Material) -> Read:
    """Nibabel's array proxy, sliced: it inflates from the start to the last slice that is needed."""
    reorientation = nifti.read_header(material.source).reorientation
    shape = material.record.shape

    def read(box: Box) -> NDArray[Any]:
        on_disk = [slice(None)] * 3
        for span, size, axis, flip in zip(box, shape, reorientation.axes, reorientation.flips, strict=True):
            on_disk[axis] = slice(size - span.stop, size - span.start) if flip else span
        image: Any = nibabel.load(material.source)
        return np.ascontiguousarray(reorientation.apply(np.asarray(image.dataobj[tuple(on_disk)])))

    return read


def write_arrow_2d(material: Material) -> None:
    """Hugging Face Arrow as the dataset card's loader makes it: float32, a row an axial slice."""
    import datasets  # noqa: PLC0415 - not everyone has it

    slices = list(material.voxels.astype(np.float32))
    feature = datasets.Array2D(material.record.shape[1:], "float32")
    _write_arrow(material.folder / ARROW_2D, slices, feature)


def write_arrow_3d(material: Material) -> None:
    """The same with a row a volume."""
    import datasets  # noqa: PLC0415 - not everyone has it

    feature = datasets.Array3D((None, *material.record.shape[1:]), "float32")
    _write_arrow(material.folder / ARROW_3D, [material.voxels.astype(np.float32)], feature)


def _write_arrow(folder: Path, images: list[NDArray[Any]], feature: Any) -> None:
    import datasets  # noqa: PLC0415 - not everyone has it

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"image": images}, datasets.Features({"image": feature}))
    made.save_to_disk(folder)


def arrow_2d(material: Material) -> Read:
    """Rows and parts of them."""
    import datasets  # noqa: PLC0415 - not everyone has it

    rows = datasets.load_from_disk(material.folder / ARROW_2D).with_format("numpy")

    def read(box: Box) -> NDArray[Any]:
        z, y, x = box
        return np.array(np.asarray(rows[z]["image"])[:, y, x])

    return read


def arrow_3d(material: Material) -> Read:
    """A part of the row."""
    import datasets  # noqa: PLC0415 - not everyone has it

    rows = datasets.load_from_disk(material.folder / ARROW_3D).with_format("numpy")
    return lambda box: np.array(np.asarray(rows[0]["image"])[box])


def memory_map(material: Material) -> Read:
    """Uncompressed: the limit that no compressed format passes."""
    array = material.voxels
    return lambda box: np.array(array[box])


PEERS: dict[str, Peer] = {
    OURS_ONE: Peer(partial(ours, threads=1)),
    OURS_TWO: Peer(partial(ours, threads=2)),
    OURS_ALL: Peer(partial(ours, threads=None)),
    PLAIN: Peer(partial(ours, threads=1), environment=WITHOUT_KERNEL),
    PLAIN_THICK: Peer(partial(ours, threads=1, thick=True), environment=WITHOUT_KERNEL),
    ZARR: Peer(partial(zarr_python, pipeline=BATCHED)),
    ZARR_FUSED: Peer(partial(zarr_python, pipeline=FUSED)),
    ZARRS: Peer(zarrs, environment={"RAYON_NUM_THREADS": "1"}),
    TENSORSTORE: Peer(tensorstore),
    BLOSC2: Peer(partial(blosc2, file=BLOSC2_INT16), write_blosc2_int16),
    BLOSC2_AS_NNUNET: Peer(partial(blosc2, file=BLOSC2_FLOAT32), write_blosc2_float32),
    NIBABEL: Peer(nibabel_whole, is_slow=True),
    NIBABEL_PART: Peer(nibabel_part, is_slow=True),
    "Arrow float32, 2d": Peer(arrow_2d, write_arrow_2d, is_slow=True),
    "Arrow float32, 3d": Peer(arrow_3d, write_arrow_3d, is_slow=True),
    "memory map, uncompressed": Peer(memory_map),
}


def stored_bytes(name: str, material: Material) -> int:
    """What a peer reads from, on disk, of the image alone."""
    files = {
        PLAIN_THICK: material.thick / material.record.path / layout.IMAGE,
        NIBABEL: material.source,
        NIBABEL_PART: material.source,
        BLOSC2: material.folder / BLOSC2_INT16,
        BLOSC2_AS_NNUNET: material.folder / BLOSC2_FLOAT32,
        "Arrow float32, 2d": material.folder / ARROW_2D,
        "Arrow float32, 3d": material.folder / ARROW_3D,
        "memory map, uncompressed": material.folder / VOXELS,
    }
    place = files.get(name, material.array)
    inside = [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in inside or [place])


class Reader:
    """In a process of its own: a peer, opened.

    Args:
        name: of the peer.
        material: what it reads.
    """

    def __init__(self, name: str, material: Material) -> None:
        self._name = name
        self._read = PEERS[name].open(material)
        self._voxels = material.voxels

    def check(self, box: Box) -> None:
        """Whether it reads what was stored.

        Raises:
            ValueError: it does not.
        """
        if not np.array_equal(self._read(box), self._voxels[box]):
            message = f"{self._name} reads other voxels than were stored"
            raise ValueError(message)

    def times(self, box: Box, before: Box | None = None) -> tuple[float, float]:
        """Seconds of wall and CPU time of reading a box, right after another."""
        if before is not None:
            self._read(before)
        wall, cpu = time.perf_counter(), time.process_time()
        # Kept until the clocks are read: giving the memory back is not part of reading.
        voxels = self._read(box)
        found = time.perf_counter() - wall, time.process_time() - cpu
        del voxels
        return found
