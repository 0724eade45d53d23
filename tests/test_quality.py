"""Planted faults are found, each as what it is and of the label that it is of; what is clean stays clean."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scans import HU, SPEC, Mask, Scan, phantom_scan
from trees import nibabel_canonical

import ctspine_zarr as cz
from ctspine_zarr.format.findings import KINDS, Code, Finding, Severity, worst
from ctspine_zarr.format.histogram import histogram_of
from ctspine_zarr.format.record import Label
from ctspine_zarr.quality import rules
from ctspine_zarr.quality.figures import (
    AIR_HU,
    BONE_HU,
    LEAST_BONE,
    MOST_AIR,
    MOST_ASYMMETRY,
    MOST_NARROW,
    MOST_RATIO,
    air_share,
    bone_share,
)
from ctspine_zarr.quality.rules import label_findings
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.write import grid_findings


def faults(scan: Scan) -> list[tuple[str, tuple[int, ...]]]:
    """The codes and labels of warnings and errors."""
    found = label_findings(scan.spine)
    return [(one.code, one.labels) for one in found if one.severity != Severity.INFO]


def inner(scan: Scan) -> list[int]:
    """The levels that have a neighbour on either side, none of the three cut by an edge."""
    spine = scan.spine
    place = [level.label for level in spine.levels if not spine.is_cut(level)]
    return [label for label in place if {label - 1, label + 1} <= set(place)]


# Faults: a scan and a level -> the mask with it, and what is to be found.
type Planted = tuple[Mask, Code, tuple[int, ...]]


def a_level_is_dropped(scan: Scan, label: int) -> Planted:
    return scan.without(label), Code.MISSING_LEVEL, (label,)


def a_vertebra_is_split(scan: Scan, label: int) -> Planted:
    mask = scan.mask.copy()
    middle = round(float(np.argwhere(mask == label)[:, 0].mean()))
    mask[middle][mask[middle] == label] = 0
    return mask, Code.SPLIT_VERTEBRA, (label,)


def strays_are_added(scan: Scan, label: int) -> Planted:
    mask = scan.mask.copy()
    far = 1 if label > 14 else 25
    mask[3, 3:5, 3:5] = far
    return mask, Code.STRAY_LABEL, (far,)


def two_are_swapped(scan: Scan, label: int) -> Planted:
    table = np.arange(256, dtype=np.uint8)
    table[[label, label + 1]] = label + 1, label
    return table[scan.mask], Code.ORDER, (label, label + 1)


def moved(scan: Scan, label: int, is_there: Callable[[NDArray[Any]], bool]) -> Mask:
    """The mask with a level shifted in its slices to where the HU below it are as asked."""
    at, rest = np.argwhere(scan.mask == label), scan.without(label)
    _, *ends = (np.array(scan.mask.shape) - 2 - at.max(axis=0)).tolist()
    _, *starts = (1 - at.min(axis=0)).tolist()
    ways = itertools.product(*(range(one, end + 1, 6) for one, end in zip(starts, ends, strict=True)))
    for along_y, along_x in sorted(ways, key=lambda way: -abs(way[0]) - abs(way[1])):
        z, y, x = (at + np.array([0, along_y, along_x])).T
        if is_there(scan.image[z, y, x]) and not rest[z, y, x].any():
            rest[z, y, x] = label
            return rest
    message = f"no such place for {label}"
    raise LookupError(message)


def a_label_lies_in_soft_tissue(scan: Scan, label: int) -> Planted:
    mask = moved(scan, label, lambda hu: bool(np.mean(hu >= BONE_HU) < 0.05 and np.mean(hu < -300) < 0.1))
    return mask, Code.BONE_SHARE, (label,)


def a_label_lies_in_air(scan: Scan, label: int) -> Planted:
    return moved(scan, label, lambda hu: bool(np.mean(hu < -300) > 0.5)), Code.OUTSIDE_BODY, (label,)


def half_is_cut(scan: Scan, label: int, *, left: bool) -> Planted:
    mask = scan.mask.copy()
    middle = round(float(np.argwhere(mask == label)[:, 2].mean()))
    half = mask[:, :, :middle] if left else mask[:, :, middle + 1 :]
    half[half == label] = 0
    return mask, Code.ASYMMETRY, (label,)


def the_left_half_is_cut(scan: Scan, label: int) -> Planted:
    return half_is_cut(scan, label, left=True)


def the_right_half_is_cut(scan: Scan, label: int) -> Planted:
    return half_is_cut(scan, label, left=False)


def a_label_is_dilated(scan: Scan, label: int) -> Planted:
    mask = scan.mask.copy()
    [box] = scipy.ndimage.find_objects((mask == label).astype(np.uint8))
    around = mask[tuple(slice(max(0, one.start - 12), one.stop + 12) for one in box)]
    own = wide = around == label
    while wide.sum() < 2.2 * own.sum():
        wide = scipy.ndimage.binary_dilation(wide) & ((around == 0) | own)
    around[wide] = label
    return mask, Code.VOLUME, (label,)


def a_label_is_eroded(scan: Scan, label: int) -> Planted:
    mask = scan.mask.copy()
    [box] = scipy.ndimage.find_objects((mask == label).astype(np.uint8))
    own = np.pad(mask[box] == label, 1)
    depth = scipy.ndimage.distance_transform_edt(own)[1:-1, 1:-1, 1:-1]
    kept, _ = scipy.ndimage.label(depth > np.quantile(depth[depth > 0], 0.6), np.ones((3, 3, 3)))
    largest = 1 + int(np.argmax(np.bincount(kept.ravel())[1:]))
    mask[box][(mask[box] == label) & (kept != largest)] = 0
    return mask, Code.VOLUME, (label,)


FAULTS = (
    a_level_is_dropped,
    a_vertebra_is_split,
    strays_are_added,
    two_are_swapped,
    a_label_lies_in_soft_tissue,
    a_label_lies_in_air,
    the_left_half_is_cut,
    the_right_half_is_cut,
    a_label_is_dilated,
    a_label_is_eroded,
)


def real_scan(mini: Path, source: str, case: str) -> Scan:
    """A real one, cropped in its slices to some way around the spine."""
    image = nibabel_canonical(mini / f"raw_data/volumes/{source}/{case}.nii.gz")
    mask = nibabel_canonical(mini / f"raw_data/labels/{source}/{case}_seg.nii.gz").astype(np.uint8)
    _, y, x = np.nonzero(mask)
    box = np.s_[:, max(0, y.min() - 110) : y.max() + 110, max(0, x.min() - 40) : x.max() + 40]
    return Scan(np.ascontiguousarray(image[box]), np.ascontiguousarray(mask[box]))


REAL = (("HNSCC-3DCT-RT", "HN_X901"), ("COVID-19", "volume-covid19-X-9002_ct"))


@pytest.fixture(scope="module", params=["phantom", *(case for _, case in REAL)])
def scan(request: pytest.FixtureRequest) -> Scan:
    if request.param == "phantom":
        return phantom_scan(request.getfixturevalue("phantom_store"))
    mini = request.getfixturevalue("mini")
    return next(real_scan(mini, source, case) for source, case in REAL if case == request.param)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_and_nothing_else(scan: Scan, fault: Callable[[Scan, int], Planted]) -> None:
    assert faults(scan) == []
    planted = 0
    for label in inner(scan)[:3]:
        # Not every vertebra has a place in its slices that is free and of soft tissue alone.
        with contextlib.suppress(LookupError):
            mask, code, labels = fault(scan, label)
            assert faults(scan.with_mask(mask)) == [(code, labels)], SPEC.labels[label]
            planted += 1
    assert planted > 0


def test_a_vertebra_that_the_edge_cuts_is_told_and_is_no_fault(scan: Scan) -> None:
    label = inner(scan)[1]
    heights = np.flatnonzero((scan.mask == label).any(axis=(1, 2)))
    # So that hardly a slice of it is left, and so that half of it is.
    for first in (heights[-1], heights[len(heights) // 2]):
        short = Scan(scan.image[first:], scan.mask[first:])
        assert faults(short) == []
        told = [one for one in label_findings(short.spine) if one.code == Code.CUT_BY_EDGE]
        assert [label in one.labels for one in told] == [True]
    for side in (1, 2):
        at = np.flatnonzero((scan.mask == label).any(axis=tuple({0, 1, 2} - {side})))
        short = Scan(*(np.delete(one, range(at[1]), axis=side) for one in (scan.image, scan.mask)))
        [told_of] = [one for one in label_findings(short.spine) if one.code == Code.CUT_BY_EDGE]
        assert label in told_of.labels


def test_phantoms_and_real_masks_of_anatomy_are_clean(phantom_store: cz.Store) -> None:
    assert {worst(case.record.findings) for case in phantom_store.values()} <= {None, Severity.INFO}
    assert len(phantom_store.select(quality="clean")) == len(phantom_store)


@given(data=st.data())
def test_findings_hang_neither_on_the_order_of_labels_nor_on_labels_that_are_no_levels(
    phantom_store: cz.Store, data: st.DataObject
) -> None:
    case = phantom_store[data.draw(st.sampled_from(sorted(phantom_store)))]
    record, counts = case.record, dict(case.receipt.foreground)
    labels = [one for one in record.labels if data.draw(st.booleans())]
    moved_labels = [
        msgspec.structs.replace(one, voxels=data.draw(st.integers(1, 10**6)), largest=1) for one in labels
    ]
    spec = msgspec.structs.replace(SPEC, labels={**SPEC.labels, 100: "liver"})
    organ = msgspec.structs.replace(record.labels[0], label=100, name="liver", largest=1, pieces=9)
    plain = list(label_findings(Spine(moved_labels, record.shape, SPEC, counts)))
    mixed = data.draw(st.permutations([*moved_labels, organ]))
    told = list(label_findings(Spine(mixed, record.shape, spec, counts)))
    assert told == (plain if moved_labels else [])


@given(values=st.lists(st.integers(-1500, 3000), min_size=1, max_size=50))
def test_shares_are_exact(values: list[int]) -> None:
    hu = np.array(values)
    level = Label(
        label=20, name="L1", voxels=len(hu), start=(0, 0, 0), stop=(1, 1, 1), centroid=(0, 0, 0),
        pieces=1, largest=1, hu=HU,
    )  # fmt: skip
    spine = Spine([level], (9, 9, 9), SPEC, {20: histogram_of(hu)})
    assert bone_share(spine, level) == pytest.approx(np.mean(hu >= BONE_HU))
    assert air_share(spine, level) == pytest.approx(np.mean(hu < -300))


@pytest.mark.parametrize("lean", [-12, 12])
def test_a_leaning_and_bent_spine_is_not_lopsided(phantom_store: cz.Store, lean: int) -> None:
    scan = phantom_scan(phantom_store)
    depth = len(scan.mask)
    bent = np.array([round(lean * np.sin(np.pi * z / depth)) for z in range(depth)])
    image, mask = (
        np.array([np.roll(plane, shift, axis=1) for plane, shift in zip(one, bent, strict=True)])
        for one in (scan.image, scan.mask)
    )
    assert faults(Scan(image, mask)) == []


@pytest.mark.parametrize("degrees", [-30, 30])
@pytest.mark.parametrize("plane", [(1, 2), (0, 2), (0, 1)], ids=["axial", "coronal", "sagittal"])
def test_a_real_spine_that_is_turned_or_leans_by_30_degrees_is_clean(
    mini: Path, plane: tuple[int, int], degrees: int
) -> None:
    scan = real_scan(mini, *REAL[0])
    # What is beyond the edge would no longer be known to be cut by it.
    mask = np.where(np.isin(scan.mask, scan.spine.cut), 0, scan.mask)
    mask = scipy.ndimage.rotate(mask, degrees, plane, order=0)
    image = scipy.ndimage.rotate(scan.image.astype(np.float32), degrees, plane, order=1, cval=-1000)
    assert len(np.unique(mask)) == 6
    assert faults(Scan(image, mask.astype(np.uint8))) == []


def test_where_counts_of_hu_are_not_known_nothing_is_said_of_bone() -> None:
    level = Label(
        label=20, name="L1", voxels=1, start=(1, 1, 1), stop=(2, 2, 2), centroid=(1, 1, 1),
        pieces=1, largest=1, hu=HU,
    )  # fmt: skip
    assert list(label_findings(Spine([level], (9, 9, 9), SPEC, {}))) == []


def test_every_code_has_its_place_in_the_table() -> None:
    assert set(KINDS) == set(Code)
    assert all(kind.meaning.endswith(".") for kind in KINDS.values())
    assert Finding("of_later", "").severity == Severity.WARNING


def test_a_finding_without_figures_is_written_as_it_was_before_there_were_any() -> None:
    plain = b'{"code":"order","message":"L1 is not above L2","labels":[]}'
    found = msgspec.json.decode(plain, type=Finding)
    assert found == Finding(Code.ORDER, "L1 is not above L2")
    assert msgspec.json.encode(found) == plain
    figured = msgspec.structs.replace(found, figures={"mm": 2.5})
    assert msgspec.json.decode(msgspec.json.encode(figured), type=Finding) == figured


@pytest.mark.parametrize(
    "figures", [{str(n): 1.0 for n in range(33)}, {"n" * 65: 1.0}, {"n": "much"}, {"n": None}]
)
def test_figures_that_no_document_may_have_are_refused(figures: dict[str, Any]) -> None:
    document = {"code": "order", "message": "", "labels": [], "figures": figures}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(document), type=Finding)


def test_the_words_of_codes_have_the_bounds_of_their_rules() -> None:
    said = {code: kind.meaning for code, kind in KINDS.items()}
    assert f"largest below {rules._LARGEST_SHARE * 100:g} %" in said[Code.SPLIT_VERTEBRA]
    assert f"Below {LEAST_BONE * 100:g} %" in said[Code.BONE_SHARE]
    assert f"have {BONE_HU} HU or more" in said[Code.BONE_SHARE]
    assert f"Over {MOST_AIR * 100:g} %" in said[Code.OUTSIDE_BODY]
    assert f"below {AIR_HU} HU" in said[Code.OUTSIDE_BODY]
    assert "three times as far" in said[Code.ASYMMETRY]
    assert (1 + MOST_ASYMMETRY) / (1 - MOST_ASYMMETRY) == 3
    assert f"over {MOST_RATIO:g} times" in said[Code.VOLUME]
    assert f"below 1/{MOST_RATIO:g}." in said[Code.VOLUME]
    offsets = f"over {grid_findings._NOTED_OFFSET:g} voxel (below {grid_findings.MOST_OFFSET:g},"
    assert offsets in said[Code.MASK_OFFSET]
    assert f"over {grid_findings.MOST_OFFSET:g} voxel" in said[Code.SFORM_QFORM]


def test_the_page_has_the_bounds_of_the_rules() -> None:
    page = " ".join((Path(__file__).parents[1] / "docs" / "quality.md").read_text().split())
    assert f"{BONE_HU} HU is above muscle and organs, {AIR_HU} HU midway" in page
    assert f"above {BONE_HU} HU;" in page
    assert "below three quarters as wide" in page
    assert MOST_NARROW == 0.75
