"""Cases of a store compared with the NIfTI files of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ctspine_zarr import nifti
from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.datasets.dataset import Described
from ctspine_zarr.digest import VoxelDigest, file_sha256
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.format.receipt import Receipt, SourceFile
from ctspine_zarr.format.shard import slabs
from ctspine_zarr.manifest.state import State
from ctspine_zarr.nifti.opening import refusing
from ctspine_zarr.sources.source import Fetched, Source
from ctspine_zarr.write.values import convert, exact_dtype, require_label_range, survey_image


@dataclass(frozen=True)
class Comparison:
    """A source that a store is compared with.

    Attributes:
        source: of the files.
        described: the dataset that lies there.
    """

    source: Source
    described: Described

    @cached_property
    def cases(self) -> Mapping[str, SourceCase]:
        """Case id -> its files."""
        return self.described.listing.by_id

    @cached_property
    def _reasons(self) -> Mapping[str, str]:
        return {refusal.case: refusal.reason for refusal in self.described.listing.refused}

    def unbuilt(self, state: State) -> tuple[str, ...]:
        """Ids of cases that the source has and the store neither has nor refused."""
        known = state.records.keys() | {entry.case for entry in state.root.refused}
        return tuple(sorted(self.described.listing.ids - known))

    def absence(self, case: str) -> str:
        """The line on a case of the store that the source has not."""
        reason = self._reasons.get(case)
        return f"{self.source} has no such case" if reason is None else f"{self.source} refuses it: {reason}"

    def by_names(self, entry: Entry, case: SourceCase) -> Iterator[str]:
        """Lines on how a case differs before its files are looked at."""
        record = entry.record
        if (record.split, record.source) != (case.split, case.source):
            here = f"{record.split}/{record.source}"
            yield f"{self.source} has it in {case.split}/{case.source}, the store in {here}"
        if record.has_mask != (case.segmentation is not None):
            has = ("no mask", "a mask")
            yield f"{self.source} has {has[not record.has_mask]} of it, the store {has[record.has_mask]}"

    def is_settled(self, receipt: Receipt, case: SourceCase) -> bool:
        """Whether the source's own record of the files says that they are those of the receipt."""
        pairs = (
            (receipt.files.image, case.image),
            *([(receipt.files.segmentation, case.segmentation)] if case.segmentation else []),
        )
        return all(kept is None or _is_recorded(kept, file) for kept, file in pairs)


def _is_recorded(kept: SourceFile, file: CaseFile | None) -> bool:
    return file is not None and (kept.bytes, kept.sha256) == (file.bytes, file.sha256)


def file_problems(files: Fetched, receipt: Receipt, where: str) -> Iterator[str]:
    """Lines on files of a case that are not those of its receipt.

    Args:
        files: of the case, on this machine.
        receipt: of the case.
        where: name of the source.
    """
    case, kept = files.case, receipt.files
    place = f"{where}/{case.image.path}"
    yield from _difference("image", files.image, kept.image, receipt.voxels.image, place)
    if files.segmentation and case.segmentation and kept.segmentation:
        place = f"{where}/{case.segmentation.path}"
        digest = receipt.voxels.segmentation or ""
        yield from _difference("mask", files.segmentation, kept.segmentation, digest, place)


def _difference(which: str, path: Path, kept: SourceFile, voxels: str, place: str) -> Iterator[str]:
    try:
        with refusing(path):
            seen = path.stat().st_size, file_sha256(path)
        if seen == (kept.bytes, kept.sha256):
            return
        is_same = _voxels_digest(path, which) == voxels
    except CaseRefused as error:
        yield f"the {which} differs from {place}: the file cannot be read any more: {error}"
        return
    yield (
        f"the {which} differs from {place}: the file changed since the build: it has {seen[0]} bytes and "
        f"sha256 {seen[1]}, it had {kept.bytes} and {kept.sha256}; its voxels are "
        + ("the same" if is_same else "others")
    )


def _voxels_digest(path: Path, which: str) -> str:
    """The digest of a file's voxels, as a build would store them.

    Raises:
        CaseRefused: the file cannot be built.
    """
    volume, digest = nifti.read(path), VoxelDigest()
    if which == "mask":
        # No label is above it; which ones the dataset names is of no matter here.
        require_label_range(volume, range(1 << 8))
        dtype = MASK_DTYPE
    else:
        dtype = exact_dtype(survey_image(volume))
    stored = volume.header.reorientation.apply(volume.stored)
    for slab in slabs(stored, DEFAULT_CHUNK):
        digest.update(convert(volume.header, slab, dtype))
    return digest.hexdigest()
