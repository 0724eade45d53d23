"""Scores are those of the plain formulas, over the whole volume at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr.errors import UnknownValue


@pytest.fixture(scope="module")
def case(phantom_store: cz.Store) -> cz.Case:
    return phantom_store["liver_0"]


def mask_of(case: cz.Case) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = case.voxels("segmentation")[...]
    return mask


def centroid(case: cz.Case, mask: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (case.affine @ [*np.argwhere(mask).mean(0)[::-1], 1])[:3]
    return found


def test_a_mask_scores_full_against_itself(phantom_store: cz.Store) -> None:
    for case in phantom_store.select(has_mask=True).values():
        scores = cz.score(case, mask_of(case).astype("int64"))
        assert [one.name for one in scores] == list(case.labels)
        assert all((one.dice, one.distance_mm, one.is_identified) == (1, 0, True) for one in scores)
        assert [one.truth_voxels for one in scores] == [label.voxels for label in case.record.labels]


@pytest.mark.parametrize("shift", [1, 3, 8])
def test_a_moved_prediction_scores_as_the_formulas_say(case: cz.Case, shift: int) -> None:
    truth = mask_of(case)
    prediction = np.roll(truth, shift, 0)
    prediction[:shift] = 0
    for one in cz.score(case, prediction):
        here, there = truth == one.label, prediction == one.label
        assert (one.truth_voxels, one.predicted_voxels) == (here.sum(), there.sum())
        assert one.dice == pytest.approx(2 * (here & there).sum() / (here.sum() + there.sum()))
        if not there.any():
            assert np.isnan(one.distance_mm)
            assert not one.is_identified
            continue
        middle = centroid(case, there)
        distances = {
            label.label: np.linalg.norm(middle - centroid(case, truth == label.label))
            for label in case.record.labels
        }
        assert one.distance_mm == pytest.approx(distances[one.label])
        nearest = min(distances, key=lambda label: distances[label])
        assert one.is_identified == (nearest == one.label and distances[one.label] < 20)


def test_labels_that_are_swapped_are_not_identified(case: cz.Case) -> None:
    first, second = (label.label for label in case.record.labels[:2])
    truth = mask_of(case)
    swapped = truth.copy()
    swapped[truth == first], swapped[truth == second] = second, first
    table = pd.DataFrame(cz.score(case, swapped)).set_index("label")
    assert not table.loc[[first, second], "is_identified"].any()
    assert (table.loc[[first, second], "dice"] == 0).all()
    assert table.drop([first, second])["is_identified"].all()
    assert list(table.columns) == [f.name for f in dataclasses.fields(cz.LabelScore) if f.name != "label"]


def test_what_is_missing_or_made_up_scores_nothing(case: cz.Case) -> None:
    (first, *_), truth = case.record.labels, mask_of(case)
    prediction = np.where(truth == first.label, 25, truth)
    scores = {one.name: one for one in cz.score(case, prediction)}
    missing, made_up = scores[first.name], scores["L6"]
    assert (missing.predicted_voxels, made_up.truth_voxels) == (0, 0)
    for one in (missing, made_up):
        assert (one.dice, one.is_identified) == (0, False)
        assert np.isnan(one.distance_mm)
    assert {one.dice for one in cz.score(case, np.zeros(case.shape, "uint8"))} == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[1:], r"of shape .* for case liver_0; legal: integers of shape"),
        (lambda mask: mask.astype(float), "dtype float64"),
        (lambda mask: mask.astype(int) + 1000, "unknown label 1000"),
        (lambda mask: mask.astype(int) - 1, "unknown label -1"),
    ],
)
def test_a_prediction_that_does_not_fit_is_refused(case: cz.Case, change: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        cz.score(case, change(mask_of(case)))
