"""The labels of a case that make its spine, and the one in their middle. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.record import Label, LabelSet, Record, Triple
from ctspine_zarr.format.spec import Spec


def sound_labels(record: Record) -> list[Label]:
    """A case's labels, without those that its findings call strays; none where it has no mask."""
    return _sound(record.labels, record.findings)


def middle_voxel(record: Record, spec: Spec) -> Triple:
    """The place in a case that is looked at first, (z, y, x): the centroid of the middle level by height.

    Of an even number of levels it is the upper one in the middle. Strays count where there is no other level,
    labels that are no level where there is none. A case without labels of its own has those of the first of
    its label sets that has some; without any, it is the voxel in the volume's middle.
    """
    masks: tuple[Record | LabelSet, ...] = (record, *record.sets.values())
    mask = next((one for one in masks if one.labels), None)
    if mask is None:
        z, y, x = (size // 2 for size in record.shape)
        return z, y, x
    sound = _sound(mask.labels, mask.findings)
    found = _levels(sound, spec) or _levels(mask.labels, spec) or sound or mask.labels
    centroids = sorted(label.centroid for label in found)
    return centroids[len(centroids) // 2]


def _levels(labels: Sequence[Label], spec: Spec) -> list[Label]:
    return [label for label in labels if label.label in spec.levels]


def _sound(labels: Iterable[Label], findings: Iterable[Finding]) -> list[Label]:
    strays = {label for found in findings if found.code == Code.STRAY_LABEL for label in found.labels}
    return [label for label in labels if label.label not in strays]
