"""One case: its NIfTI files in, the objects of its group and a receipt out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.encoding import validated
from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.format.profiles import Profile, profile_of
from ctspine_zarr.format.receipt import NiftiSource, Receipt
from ctspine_zarr.format.record import Label, Record, rows_of
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Affine, Shape, disk_codes, grid_offset
from ctspine_zarr.manifest.commit import commit_case, placed, too_large
from ctspine_zarr.memory.pages import pages
from ctspine_zarr.nifti import Header, Volume
from ctspine_zarr.quality.masks import mask_findings
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.sources.source import CaseVolumes
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.arrays import Encoding, encode_array
from ctspine_zarr.write.case_objects import EncodedArray, EncodedCase, content_of, objects_of, receipt_of
from ctspine_zarr.write.foreground import Found, foreground_meter, histograms_of
from ctspine_zarr.write.grid_findings import MOST_OFFSET, grid_findings
from ctspine_zarr.write.intensity import IntensityMeter
from ctspine_zarr.write.kept_sets import Objects, with_kept_sets
from ctspine_zarr.write.measure import Measured, measure_labels
from ctspine_zarr.write.resume import is_file
from ctspine_zarr.write.thumbnail import Voxels, thumbnail_of
from ctspine_zarr.write.values import (
    exact_dtype,
    is_of_labels,
    require_known_labels,
    require_label_range,
    survey_image,
)

# Threads beside a worker's own, for work that frees the GIL: compressing, hashing, labelling.
_HELPERS: Final = 2
_NO_CONTENT: Final = "0" * 64


@dataclass(frozen=True)
class Recipe:
    """How the cases of a store are made.

    Attributes:
        spec: the dataset's description.
        profile: how arrays are encoded.
        chunk: (z, y, x) voxels of a chunk.
    """

    spec: Spec
    profile: Profile
    chunk: Shape = DEFAULT_CHUNK


def recipe_of(spec: Spec, record: Record) -> Recipe:
    """How a case of a store was made.

    Raises:
        UnknownValue: by a codec that this version does not write.
    """
    return Recipe(spec, profile_of(record.image.codec), record.image.chunk)


@dataclass(frozen=True)
class _Grid:
    """The voxel grid that image and mask share, canonical.

    Attributes:
        is_beside: whether the mask needs no memory but for its voxels as they are on disk, so that it can
            be encoded while the image is read.
    """

    shape: Shape
    affine: Affine
    orientation: str
    findings: tuple[Finding, ...]
    is_beside: bool


@dataclass(frozen=True)
class EncodedMask:
    """An encoded mask, its voxels, (z, y, x), and its labels."""

    array: EncodedArray
    voxels: NDArray[np.uint8]
    measured: tuple[Measured, ...]


def ingest(fetched: CaseVolumes, recipe: Recipe, storage: Storage, earlier: Record | None) -> Receipt:
    """Read, check, encode and commit one case, with the label sets that an earlier one of its image has.

    Peak memory is what `worker_memory` says of the case.

    Args:
        fetched: the case's files.
        recipe: how it is made.
        storage: of the store.
        earlier: the record that the store has of a case of that id.

    Raises:
        CaseRefused: the files are not what the dataset promises, or others than those that were planned
            for; the store was not touched.
        StorageError: the store could not be written.
    """
    objects, receipt = made(fetched, recipe, earlier)
    _require_planned(fetched.case, receipt)
    if earlier is not None and earlier.sets:
        objects, receipt = with_kept_sets(objects, receipt, earlier, storage, recipe.spec)
    commit_case(objects, receipt, storage.put)
    return receipt


def made(fetched: CaseVolumes, recipe: Recipe, earlier: Record | None) -> tuple[Objects, Receipt]:
    """The objects of one case by key below its group, in the order of writing, and its receipt.

    Args:
        fetched, recipe, earlier: see `ingest`.

    Raises:
        CaseRefused: the files are not what the dataset promises.
    """
    grid = _check_grids(fetched)
    case, voxels = _encode_case(fetched, recipe, is_beside=grid.is_beside)
    record = _record(fetched.case, recipe.spec, grid, case)
    record = placed(structs.replace(record, content=content_of(case, record)), earlier)
    # Joined by the case's name, whatever its voxels have become.
    series = fetched.case.series if earlier is None else earlier.series
    record = structs.replace(record, series=series, metadata={} if earlier is None else earlier.metadata)
    objects = objects_of(case, record, recipe.spec)
    for _, size, most in too_large(objects):
        message = (
            f"{case.image.source.file.name}: what is kept of it and its mask takes {size} bytes; legal: at "
            f"most {most}, most of them of header extensions and of bytes after the voxels"
        )
        raise CaseRefused(message)
    thumbnail = thumbnail_of(record, recipe.spec, voxels)
    return objects, receipt_of(case, record, recipe.spec, objects, thumbnail)


def _require_planned(case: SourceCase, receipt: Receipt) -> None:
    """Do nothing where the files that were read are those that the plan has: others have the same plan."""
    read = (receipt.files.image, receipt.files.segmentation)
    for file, planned in zip(read, (case.image, case.segmentation), strict=True):
        if file is not None and planned is not None and not is_file(file, planned):
            message = f"{file.name}: it has changed since the build was planned; legal: a new plan"
            raise CaseRefused(message)


def _check_grids(case: CaseVolumes) -> _Grid:
    """The canonical grid, after seeing that image and mask cover the same voxels.

    It takes the headers only, so that a case that cannot be is refused before it is read.
    """
    image = case.header("image")
    shape, affine = _canonical(image)
    mask, offset = None, 0.0
    if case.has_mask:
        mask = case.header("segmentation")
        offset = require_one_grid(shape, affine, mask)
    findings = tuple(grid_findings(image, mask, offset))
    is_beside = mask is not None and is_of_labels(mask)
    return _Grid(shape, affine, disk_codes(image.reorientation), findings, is_beside)


def require_one_grid(shape: Shape, affine: Affine, mask: Header) -> float:
    """How far the grid of a mask lies from that of its image, in voxels.

    Args:
        shape: (z, y, x), of the image.
        affine: canonical (x, y, z) -> RAS+ mm, of the image.
        mask: header of the mask, whose axes lie anyhow.

    Raises:
        CaseRefused: it has another shape, or lies half a voxel away or more.
    """
    mask_shape, mask_affine = _canonical(mask)
    if shape != mask_shape:
        message = f"mask of shape {mask_shape} for an image of shape {shape} (z, y, x); legal: the same"
        raise CaseRefused(message)
    z, y, x = shape
    offset = grid_offset(affine, mask_affine, (x, y, z))
    if not offset < MOST_OFFSET:
        message = (
            f"mask lies {offset:.3g} voxels from its image; legal: below {MOST_OFFSET} "
            f"(image affine {affine[:3].round(3).tolist()}, mask {mask_affine[:3].round(3).tolist()})"
        )
        raise CaseRefused(message)
    return offset


def _canonical(header: Header) -> tuple[Shape, Affine]:
    reorientation = header.reorientation
    return reorientation.shape(header.shape), reorientation.affine(header.affine, header.shape)


def _encode_case(fetched: CaseVolumes, recipe: Recipe, *, is_beside: bool) -> tuple[EncodedCase, Voxels]:
    """Both arrays of a case, encoded, and the voxels that they are of.

    Where both files are refused it is for the mask.
    """
    with ThreadPoolExecutor(_HELPERS) as helpers, ThreadPoolExecutor(1) as beside:
        if not fetched.has_mask:
            volume = fetched.read("image")
            return _encode_image(volume, recipe, None, helpers), Voxels(volume, None)
        coming = beside.submit(lambda: encode_mask(fetched.read("segmentation"), recipe, helpers))
        if not is_beside:
            wait([coming])
        try:
            volume = fetched.read("image")
        finally:
            mask = coming.result()
        return _encode_image(volume, recipe, mask, helpers), Voxels(volume, mask.voxels)


def encode_mask(volume: Volume, recipe: Recipe, helpers: Executor) -> EncodedMask:
    """A mask, encoded and measured.

    Args:
        volume: of its file, read whole.
        recipe: how the case is made.
        helpers: threads that compress.

    Raises:
        CaseRefused: a value that is no label.
    """
    header = volume.header
    require_label_range(volume, recipe.spec.labels)
    encoding = Encoding(MASK_DTYPE, recipe.profile.segmentation(recipe.chunk), keep_empty=False)
    if is_of_labels(header):
        voxels = header.reorientation.apply(volume.stored)
        array = encode_array(volume, encoding, _ignore, helpers)
    else:
        voxels = pages(_canonical(header)[0], MASK_DTYPE)
        array = encode_array(volume, encoding, _ignore, helpers, into=voxels)
    measured = measure_labels(voxels)
    require_known_labels(volume.name, [one.label for one in measured], recipe.spec.labels)
    return EncodedMask(array, voxels, measured)


def _ignore(slab: NDArray[Any]) -> None:
    """The `see` of a mask, which does nothing: a mask is measured as a volume."""


def labels_of(measured: Iterable[Measured], found: Found, spec: Spec) -> tuple[Label, ...]:
    """The labels of a mask as a record has them.

    Args:
        measured: of the mask.
        found: of the HU of their voxels.
        spec: which names them.
    """
    return tuple(Label(name=spec.labels[one.label], hu=found[one.label][0], **one.fields) for one in measured)


def _encode_image(volume: Volume, recipe: Recipe, mask: EncodedMask | None, helpers: Executor) -> EncodedCase:
    seen = survey_image(volume)
    dtype = exact_dtype(seen)
    measured = () if mask is None else mask.measured
    intensity = IntensityMeter(dtype, seen.low, seen.high)
    foreground = None
    if mask is not None:
        present = [one.label for one in measured]
        foreground = foreground_meter(mask.voxels, present, seen, dtype)

    def see(slab: NDArray[Any]) -> None:
        intensity.add(slab)
        if foreground is not None:
            foreground.add(slab)

    # Every chunk of an image is stored: were one lost, its absence could not pass for zeros.
    encoding = Encoding(dtype, recipe.profile.image(dtype, recipe.chunk), keep_empty=True)
    array = encode_array(volume, encoding, see, helpers)
    found = {} if foreground is None else foreground.result()
    labels = labels_of(measured, found, recipe.spec)
    mask_array = None if mask is None else mask.array
    return EncodedCase(array, mask_array, intensity.result(), labels, histograms_of(found))


def _restorability(sources: Iterable[NiftiSource | None]) -> Iterator[Finding]:
    for source in sources:
        if source is not None and not source.restorable:
            message = f"{source.file.name}: its values are kept, the bytes of its voxels are not"
            yield Finding(Code.NOT_RESTORABLE, message)


def _record(
    case: SourceCase,
    spec: Spec,
    grid: _Grid,
    encoded: EncodedCase,
) -> Record:
    """The record of a case, but for its content.

    Raises:
        CaseRefused: a value that no record may have.
    """
    sources = (encoded.nifti.image, encoded.nifti.segmentation)
    spine = Spine(encoded.labels, grid.shape, spec, encoded.foreground)
    about_labels = mask_findings(case.id, spine, has_mask=encoded.segmentation is not None)
    try:
        return validated(
            Record(
                id=case.id,
                patient_id=case.patient_id,
                split=case.split,
                source=case.source,
                content=_NO_CONTENT,
                is_replaced=False,
                shape=grid.shape,
                affine=rows_of(grid.affine),
                orientation=grid.orientation,
                image=encoded.image.stored,
                segmentation=None if encoded.segmentation is None else encoded.segmentation.stored,
                source_bytes=sum(source.file.bytes for source in sources if source is not None),
                intensity=encoded.intensity,
                labels=encoded.labels,
                transitional=case.transitional,
                findings=(*grid.findings, *_restorability(sources), *about_labels),
                spreadsheet=case.spreadsheet,
            )
        )
    except (ValueError, msgspec.ValidationError) as error:
        message = f"{encoded.image.source.file.name}: {error}"
        raise CaseRefused(message) from error
