"""Scores of a prediction: how far its labels are those of a case's mask, vertebra by vertebra."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.label_sums import LabelSums
from ctspine_zarr.read.store import Store

if TYPE_CHECKING:
    import pandas as pd

# A predicted centroid within 20 mm of the true one, and nearer to it than to any other, identifies a
# vertebra (Sekuboyina et al., VerSe, Medical Image Analysis 2021, section 3.3).
_NEAR_MM: Final = 20.0
_LABELS: Final = 256
_SLICES: Final = 16


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The score of one label of one case.

    Attributes:
        case: id.
        label, name: value and name in the dataset.
        truth_voxels, predicted_voxels: that bear it.
        dice: 2 * common / (truth + predicted), 0 to 1; 0 where one of them has none.
        distance_mm: between the two centroids; NaN where one of them has none.
        is_identified: whether the predicted centroid is within 20 mm of the true one, and that is the
            nearest of the true ones to it, as in VerSe; False where one of them has none.
    """

    case: str
    label: int
    name: str
    truth_voxels: int
    predicted_voxels: int
    dice: float
    distance_mm: float
    is_identified: bool


def score(case: Case, prediction: NDArray[Any]) -> list[LabelScore]:
    """The scores of every label that a case's mask or a prediction has, in order of value.

    `pandas.DataFrame(scores)` is their table. The rate of identification of some cases is the mean of
    `is_identified` over labels that have `truth_voxels`; labels that are predicted and not there have a
    Dice of 0.

    Args:
        case: with a mask.
        prediction: (z, y, x) of the case's shape and orientation, integers, in the dataset's own values
            (`LabelMap.inverse_table` brings those of a model back).

    Raises:
        NoMask: the case has none.
        UnknownValue: a prediction of another shape or dtype, or with a value that is no label.
        DamagedStore: the mask cannot be read.
    """
    _require_fitting(case, prediction)
    truth, other, common = LabelSums(), LabelSums(), np.zeros(_LABELS, np.int64)
    voxels = case.voxels("segmentation")
    for first in range(0, case.shape[0], _SLICES):
        mask = voxels[first : first + _SLICES]
        predicted = _labels_of(prediction[first : first + _SLICES], case)
        truth.add(mask, first)
        other.add(predicted, first)
        common += np.bincount(mask[mask == predicted], minlength=_LABELS)
    return list(_scores(case, truth, other, common))


def score_store(store: Store, name: str) -> pd.DataFrame:
    """One row a case and label: the scores of a label set against the masks, of all cases that have both.

    Columns: case, label, name, truth_voxels, predicted_voxels, dice, distance_mm, is_identified, as
    `LabelScore` has them; in the store's order, then by value. Each volume is read whole.

    Args:
        store: whose labels are the truth.
        name: of the label set.

    Raises:
        UnknownValue: no case has the set, or none of them has a mask.
        DamagedStore: a mask cannot be read.
    """
    import pandas as pd

    predicted = store.select(labels=name)
    cases = [case for case in predicted if store.records[case].has_mask]
    if not cases:
        message = f"scores of {name!r}, which no case has that has a mask; legal: a case with both"
        raise UnknownValue(message)
    rows = [row for case in cases for row in score(store[case], predicted[case].voxels("segmentation")[...])]
    return pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(LabelScore)])


def score_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a label, in order of value, and one of all: what scores are on average. Indexed by name.

    Columns: cases, that have the label; dice, its mean over them; identified, the share of them in which it
    is; extra, cases that are predicted to have it and have not, which count for nothing else. The row
    `total` weighs each label of each case alike.

    Args:
        scores: as `score_store` gives them, or a table of `score`.
    """
    import pandas as pd

    groups = [(str(name), rows) for (_, name), rows in scores.groupby(["label", "name"])]
    table = [_averages(name, rows) for name, rows in [*groups, ("total", scores)]]
    return pd.DataFrame(table).set_index("name")


def _averages(name: str, scores: pd.DataFrame) -> dict[str, Any]:
    there = scores[scores.truth_voxels > 0]
    return {
        "name": name,
        "cases": len(there),
        "dice": there.dice.mean(),
        "identified": there.is_identified.mean(),
        "extra": len(scores) - len(there),
    }


def _centroids(sums: LabelSums, case: Case) -> dict[int, NDArray[np.float64]]:
    """Label -> RAS+ mm, of those that occur."""
    return {label: (case.affine @ [*middle[::-1], 1])[:3] for label, middle in sums.middles().items()}


def _scores(
    case: Case, truth: LabelSums, other: LabelSums, common: NDArray[np.int64]
) -> Iterator[LabelScore]:
    centroids, predicted = _centroids(truth, case), _centroids(other, case)
    for label in sorted(centroids.keys() | predicted.keys()):
        voxels = int(truth.voxels[label]), int(other.voxels[label])
        is_in_both = all(voxels)
        distances = {
            one: float(np.linalg.norm(predicted[label] - middle)) if is_in_both else math.nan
            for one, middle in centroids.items()
        }
        distance = distances.get(label, math.nan)
        is_identified = is_in_both and distance < _NEAR_MM and distance == min(distances.values())
        dice = 2 * int(common[label]) / sum(voxels)
        yield LabelScore(case.id, label, case.spec.labels[label], *voxels, dice, distance, is_identified)


def _require_fitting(case: Case, prediction: NDArray[Any]) -> None:
    if prediction.shape != case.shape or prediction.dtype.kind not in "iu":
        seen = f"a prediction of shape {prediction.shape} and dtype {prediction.dtype} for case {case.id}"
        message = f"{seen}; legal: integers of shape {case.shape} (z, y, x)"
        raise UnknownValue(message)


def _labels_of(prediction: NDArray[Any], case: Case) -> NDArray[np.uint8]:
    """The same values as uint8, all of them labels of the dataset."""
    legal = {0, *case.spec.labels}
    unknown = next((value for value in np.unique(prediction).tolist() if value not in legal), None)
    if unknown is not None:
        case.spec.require_label(unknown)
    return prediction.astype(np.uint8)
