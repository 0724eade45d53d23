"""One case: two NIfTI files in, the objects of its group and a receipt out.

The order of writing is the commit protocol, and needs no rename: shards, then the metadata of
arrays and groups, then the receipt. A case exists when its receipt does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.commit import forget
from ctspine_zarr.dataset import TRANSITIONAL
from ctspine_zarr.digest import VoxelDigest, sha256
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.encoding import Document, encode
from ctspine_zarr.format.profiles import Profile
from ctspine_zarr.format.receipt import (
    Arrays,
    Facts,
    NiftiSource,
    Receipt,
    SourceFile,
    StoredObject,
    encode_receipt,
)
from ctspine_zarr.format.record import Code, Finding, Intensity, Record, Vertebra
from ctspine_zarr.format.shard import encode_shard, slabs
from ctspine_zarr.geometry import Affine, Shape, disk_codes, grid_offset
from ctspine_zarr.nifti import Header, Volume
from ctspine_zarr.source.cases import Fetched, SourceCase
from ctspine_zarr.storage import Storage
from ctspine_zarr.write import quality
from ctspine_zarr.write.measure import IntensityMeter, measure_vertebrae
from ctspine_zarr.write.values import convert, exact_dtype, is_restorable, require_labels, survey

WRITER: Final = f"ctspine-zarr {version('ctspine-zarr')}"

# Threads beside a worker's own, for work that frees the GIL: compressing, hashing, labelling.
_HELPERS: Final = 2


@dataclass(frozen=True)
class _Grid:
    """The voxel grid that image and mask share, canonical."""

    shape: Shape
    affine: Affine
    orientation: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Array:
    """One array, ready to be written, and what a reader must know to undo it."""

    metadata: bytes
    shard: bytearray
    dtype: np.dtype[Any]
    voxels_digest: str
    source: NiftiSource


@dataclass(frozen=True)
class _Recipe:
    """How one array is encoded; see `encode_shard`."""

    dtype: np.dtype[Any]
    codec: Codec
    keep_empty: bool


@dataclass(frozen=True)
class _Content:
    """A case's two arrays and what was measured of them."""

    image: _Array
    segmentation: _Array
    intensity: Intensity
    vertebrae: tuple[Vertebra, ...]


def ingest(fetched: Fetched, profile: Profile, storage: Storage) -> Receipt:
    """Read, check, encode and commit one case.

    Peak memory is at most twice the larger inflated file and 300 MB.

    Raises:
        CaseRefused: the files are not what the dataset promises; the store was not touched.
        StorageError: the store could not be written.
    """
    grid = _check_grids(fetched)
    with ThreadPoolExecutor(_HELPERS) as helpers:
        segmentation, vertebrae = _encode_mask(fetched.segmentation, profile, helpers)
        image, intensity = _encode_image(fetched.image, profile, helpers)
        content = _Content(image, segmentation, intensity, vertebrae.result())
    return _commit(storage, _record(fetched.case, profile, grid, content), content)


def _check_grids(case: Fetched) -> _Grid:
    """The canonical grid, after seeing that image and mask cover the same voxels.

    It takes the two headers only, so that a case that cannot be is refused before it is read.
    """
    image, mask = nifti.read_header(case.image), nifti.read_header(case.segmentation)
    shape, affine = _canonical(image)
    mask_shape, mask_affine = _canonical(mask)
    if shape != mask_shape:
        message = f"mask of shape {mask_shape} for an image of shape {shape} (z, y, x); legal: the same"
        raise CaseRefused(message)
    z, y, x = shape
    offset = grid_offset(affine, mask_affine, (x, y, z))
    if not offset < quality.MOST_OFFSET:
        message = (
            f"mask lies {offset:.3g} voxels from its image; legal: below {quality.MOST_OFFSET} "
            f"(image affine {affine[:3].round(3).tolist()}, mask {mask_affine[:3].round(3).tolist()})"
        )
        raise CaseRefused(message)
    findings = tuple(quality.geometry_findings(image, mask, offset))
    return _Grid(shape, affine, disk_codes(image.reorientation), findings)


def _canonical(header: Header) -> tuple[Shape, Affine]:
    reorientation = header.reorientation
    z, y, x = (header.shape[axis] for axis in reorientation.axes)
    return (z, y, x), reorientation.affine(header.affine, header.shape)


def _encode_mask(
    path: Path, profile: Profile, helpers: Executor
) -> tuple[_Array, Future[tuple[Vertebra, ...]]]:
    volume = nifti.read(path)
    require_labels(volume)
    rows: list[NDArray[Any]] = []
    recipe = _Recipe(MASK_DTYPE, profile.segmentation, keep_empty=False)
    array = _encode(volume, recipe, rows.append, helpers)
    return array, helpers.submit(measure_vertebrae, np.concatenate(rows))


def _encode_image(path: Path, profile: Profile, helpers: Executor) -> tuple[_Array, Intensity]:
    volume = nifti.read(path)
    dtype = exact_dtype(survey(volume))
    meter = IntensityMeter()
    # Every chunk of an image is stored: were one lost, its absence could not pass for zeros.
    recipe = _Recipe(dtype, profile.image(dtype), keep_empty=True)
    return _encode(volume, recipe, meter.add, helpers), meter.result()


def _encode(
    volume: Volume, recipe: _Recipe, see: Callable[[NDArray[Any]], None], helpers: Executor
) -> _Array:
    """Convert, hash, measure (`see`) and compress slab by slab, each while it is in the cache."""
    header = volume.header
    shape, _ = _canonical(header)
    digest = VoxelDigest()

    def rows() -> Iterator[NDArray[Any]]:
        for slab in slabs(header.reorientation.apply(volume.stored)):
            row = convert(header, slab, recipe.dtype)
            digest.update(row)
            see(row)
            yield row

    shard = encode_shard(rows(), recipe.codec, keep_empty=recipe.keep_empty, each=helpers.map)
    return _Array(
        metadata=encode(documents.array(shape, recipe.dtype, recipe.codec)),
        shard=shard,
        dtype=recipe.dtype,
        voxels_digest=digest.hexdigest(),
        source=_nifti_source(volume, recipe.dtype),
    )


def _nifti_source(volume: Volume, dtype: np.dtype[Any]) -> NiftiSource:
    header = volume.header
    return NiftiSource(
        file=SourceFile(volume.name, volume.file_bytes, volume.file_sha256, volume.file_ending),
        inflated_sha256=volume.inflated_sha256,
        dtype=header.dtype.str,
        shape=header.disk_shape,
        affine=tuple(tuple(row) for row in header.affine.tolist()),
        sform_code=header.sform_code,
        qform_code=header.qform_code,
        slope=header.slope,
        inter=header.inter,
        axes=header.reorientation.axes,
        flips=header.reorientation.flips,
        prefix=header.prefix,
        trailer=volume.trailer,
        restorable=is_restorable(volume, dtype),
    )


def _restorability(sources: Iterable[NiftiSource]) -> Iterator[Finding]:
    for source in sources:
        if not source.restorable:
            message = f"{source.file.name}: its values are kept, the bytes of its voxels are not"
            yield Finding(Code.NOT_RESTORABLE, message)


def _record(case: SourceCase, profile: Profile, grid: _Grid, content: _Content) -> Record:
    image, segmentation = content.image, content.segmentation
    return Record(
        id=case.id,
        split=case.split,
        source=case.source,
        path=layout.case_path(case.split, case.source, case.id),
        shape=grid.shape,
        affine=tuple(tuple(row) for row in grid.affine.tolist()),
        orientation=grid.orientation,
        dtype=image.dtype.name,
        codec=profile.name,
        image_bytes=len(image.shard),
        segmentation_bytes=len(segmentation.shard),
        source_bytes=image.source.file.bytes + segmentation.source.file.bytes,
        intensity=content.intensity,
        vertebrae=content.vertebrae,
        transitional=TRANSITIONAL.get(case.id),
        findings=(
            *grid.findings,
            *_restorability((image.source, segmentation.source)),
            *quality.label_findings(content.vertebrae),
        ),
        spreadsheet=case.spreadsheet,
    )


def _commit(storage: Storage, record: Record, content: _Content) -> Receipt:
    objects = dict(_objects(record, content))
    forget(storage, record.id, record.path, objects)
    for key, data in objects.items():
        storage.put(f"{record.path}/{key}", data)
    receipt = Receipt(
        record=record,
        writer=WRITER,
        files=Arrays(content.image.source.file, content.segmentation.source.file),
        voxels=_voxels(content),
        objects={key: StoredObject(len(data), sha256(data)) for key, data in objects.items()},
    )
    storage.put(layout.receipt_key(record.id), encode_receipt(receipt))
    return receipt


def _voxels(content: _Content) -> Arrays[str]:
    return Arrays(content.image.voxels_digest, content.segmentation.voxels_digest)


def _objects(record: Record, content: _Content) -> Iterator[tuple[str, bytes | bytearray]]:
    """Every object of a case but its receipt, in the order of writing."""
    image, segmentation = content.image, content.segmentation
    for name, array in ((layout.IMAGE, image), (layout.SEGMENTATION, segmentation)):
        if array.shard:
            yield f"{name}/{layout.SHARD}", array.shard
    yield f"{layout.IMAGE}/{layout.METADATA}", image.metadata
    yield f"{layout.SEGMENTATION}/{layout.METADATA}", segmentation.metadata
    affine = record.affine_matrix
    labels = (vertebra.label for vertebra in record.vertebrae)
    yield _group(layout.VERTEBRAE_GROUP, documents.vertebrae_attributes(affine, labels))
    yield _group(layout.LABEL_GROUP, documents.labels_attributes())
    facts = Facts(record, WRITER, _voxels(content), Arrays(image.source, segmentation.source))
    hu_range = record.intensity.min, record.intensity.max
    yield _group("", documents.image_attributes(affine, hu_range) | {layout.OWN_KEY: facts.to_json()})


def _group(path: str, attributes: Document) -> tuple[str, bytes]:
    key = f"{path}/{layout.METADATA}" if path else layout.METADATA
    return key, encode(documents.group(attributes))
