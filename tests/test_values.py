from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from trees import load, packed, scaled

from ctspine_zarr import nifti
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.write.values import convert, exact_dtype, is_restorable, require_label_range, survey

LADDER = [np.dtype(name) for name in ("int16", "int32", "float32", "float64")]


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values") / "case.nii.gz"


def volume_of(path: Path, stored: NDArray[Any], slope: float = 1, inter: float = 0) -> nifti.Volume:
    path.write_bytes(packed(scaled(stored, slope, inter)))
    return nifti.read(path)


def holds_exactly(dtype: np.dtype[Any], values: NDArray[Any]) -> bool:
    """Whether a dtype holds every value, by trying; the sign of zero counts."""
    with np.errstate(all="ignore"):
        back = values.astype(dtype).astype(np.float64)
    return np.array_equal(back, values) and not (
        dtype.kind == "i" and (np.signbit(values) & (values == 0)).any()
    )


STORED = st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        (2, 3, 4),
        elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
        if dtype[0] == "f"
        else hnp.from_dtype(np.dtype(dtype)),
    )
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    stored=STORED,
    slope=st.sampled_from([1, 1, 1, 2, 0.5, 1 / 3]),
    inter=st.sampled_from([0, 0, -1024, 1000000, 0.25]),
)
def test_the_smallest_exact_dtype_holds_nibabels_values(
    path: Path, stored: NDArray[Any], slope: float, inter: float
) -> None:
    volume = volume_of(path, stored, slope, inter)
    with np.errstate(all="ignore"):
        expected = np.asarray(load(path).dataobj).astype(np.float64)
        if not np.isfinite(expected).all():
            with pytest.raises(CaseRefused, match="NaN or infinite"):
                survey(volume)
            return
    dtype = exact_dtype(survey(volume))
    assert dtype == next(d for d in LADDER if holds_exactly(d, expected))
    converted = convert(volume.header, volume.stored, dtype)
    assert converted.dtype == dtype
    assert np.array_equal(converted, expected)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(stored=STORED)
def test_unscaled_voxels_are_always_restorable(path: Path, stored: NDArray[Any]) -> None:
    volume = volume_of(path, stored)
    dtype = exact_dtype(survey(volume))
    assert is_restorable(volume, dtype)
    restored = volume.header.unscale(convert(volume.header, volume.stored, dtype))
    assert restored.tobytes() == np.ascontiguousarray(volume.stored).tobytes()


def test_a_mask_with_negative_zeros_keeps_its_values_and_says_so(path: Path) -> None:
    stored = np.zeros((4, 4, 4))
    stored[0], stored[1] = -0.0, 3.0
    volume = volume_of(path, stored)
    require_label_range(volume, range(1, 26))
    assert np.array_equal(convert(volume.header, volume.stored, np.dtype("u1")), stored)
    assert not is_restorable(volume, np.dtype("u1"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(path: Path, value: float) -> None:
    stored = np.zeros((4, 4, 40), "f4")
    stored[1, 2, 30] = value
    with pytest.raises(CaseRefused, match="1 or more voxels are NaN or infinite; legal: none"):
        survey(volume_of(path, stored))


def test_integers_that_float64_does_not_hold_are_refused(path: Path) -> None:
    stored = np.full((2, 2, 2), 2**60, "i8")
    with pytest.raises(CaseRefused, match=r"legal: up to 2\*\*53"):
        survey(volume_of(path, stored))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (26, "u1", "values from 0 to 26; legal: integers 0 to 25"),
        (-1, "i2", "values from -1 to 0; legal: integers 0 to 25"),
        (3.5, "f4", r"value 3\.5; legal: integers 0 to 25"),
        (np.nan, "f8", "NaN or infinite"),
    ],
)
def test_a_mask_of_other_values_is_refused(path: Path, value: float, dtype: str, message: str) -> None:
    stored = np.zeros((4, 4, 20), dtype)
    stored[1, 1, 17] = value
    with pytest.raises(CaseRefused, match=message):
        require_label_range(volume_of(path, stored), range(1, 26))


def test_integers_wrap_around_to_the_right_sum() -> None:
    """uint16 voxels beyond int16 with an offset that brings them back."""
    header = nifti.parse_header(scaled(np.full((2, 2, 2), 40000, "u2"), 1, -30000)[:352])
    assert header.shifts_integers
    assert np.all(convert(header, np.full((2, 2, 2), 40000, "u2"), np.dtype("i2")) == 10000)
