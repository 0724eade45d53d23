"""The picture shows what is there, the right way round."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from trees import Tree

import ctspine_zarr as cz
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.spec import colour
from ctspine_zarr.preview import overview


def test_planes_are_drawn_as_radiologists_look(phantom_store: cz.Store) -> None:
    case = phantom_store["volume-covid19-A-0001_ct"]
    picture = np.asarray(overview(case, height=350))
    assert picture.shape[0] == 350
    axial = picture[:, : picture.shape[1] // 3]
    coloured = np.argwhere(np.ptp(axial.astype(int), axis=2) > 60)
    # The spine is behind, so below, and in the middle.
    assert coloured[:, 0].mean() > 350 * 0.5
    assert coloured[:, 1].mean() == pytest.approx(axial.shape[1] / 2, rel=0.1)


def test_the_middle_vertebra_has_its_colour(phantom_store: cz.Store) -> None:
    case = phantom_store["liver_0"]
    middle = case.record.labels[len(case.record.labels) // 2]
    picture = np.asarray(overview(case, height=300)).reshape(-1, 3).astype(float)
    tint = np.array(colour(middle.label)) * 0.45
    # Trabecular bone under it: a grey of known share, so that the colour can be told.
    grey = (220 + 450) / 1500 * 255 * 0.55
    assert np.abs(picture - (tint + grey)).max(axis=1).min() < 12


def test_a_case_without_labels_has_a_picture(tree: Tree) -> None:
    tree.add(mask=np.zeros((20, 24, 18), np.uint8))
    cz.build_store(cz.plan_build(tree.root, tree.root.parent / "s.zarr"))
    picture = overview(cz.open_store(tree.root.parent / "s.zarr")["liver_1"], height=100)
    assert picture.height == 100


def test_a_case_without_a_mask_has_a_picture_without_colours(phantom_store: cz.Store) -> None:
    entry = phantom_store.entries["liver_0"]
    bare = Entry(replace(entry.record, segmentation=None, labels=()), entry.receipt, entry.group)
    store = cz.Store(phantom_store.storage, phantom_store.root, {"liver_0": bare}, phantom_store.reading)
    picture = np.asarray(overview(store["liver_0"], height=200)).astype(int)
    assert np.ptp(picture, axis=2).max() == 0
    assert picture.max() > 200
