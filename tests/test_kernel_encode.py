"""Encoding by the native kernel: the bytes, measures and receipts that Python gives, for any content."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import volume
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from nibabel import Nifti1Image
from numpy.typing import NDArray
from trees import Tree, described, fetched, labels, voxels

from ctspine_zarr import kernel as native
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.profiles import profile
from ctspine_zarr.format.shard import encode_shard, slabs
from ctspine_zarr.geometry import Shape
from ctspine_zarr.write.foreground import foreground_meter
from ctspine_zarr.write.ingest import Recipe, made
from ctspine_zarr.write.intensity import IntensityMeter
from ctspine_zarr.write.measure import measure_labels
from ctspine_zarr.write.values import Survey

pytestmark = pytest.mark.skipif(native.kernel is None, reason="needs the native kernel")

FULL = Survey(-(2**15), 2**15 - 1, integral=True, single=False)
INT16 = np.dtype("<i2")


@contextmanager
def python() -> Iterator[None]:
    """The package without its kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "kernel", None)
        yield


@st.composite
def contents(draw: st.DrawFn, dtype: np.dtype[Any], shape: Shape) -> NDArray[Any]:
    """Voxels from constant to noise, alike nearby or not, in views of any strides."""
    axes = draw(st.permutations(range(3)))
    base = tuple(shape[axes.index(axis)] for axis in range(3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = np.iinfo(dtype)
    spread = draw(st.sampled_from([0, 1, 3, 30, 200, 2000, 2**16]))
    middle = draw(st.sampled_from([0, 0, 5, limits.max, limits.min]))
    values = np.clip(middle + random.integers(-spread, spread + 1, base), limits.min, limits.max)
    if draw(st.booleans()):
        values = np.sort(values, axis=draw(st.integers(0, 2)))
    values[random.random(base) < draw(st.sampled_from([0, 0.5, 0.99]))] = draw(
        st.sampled_from([0, limits.min])
    )
    flips = tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in range(3))
    found: NDArray[Any] = values.astype(dtype).transpose(axes)[flips]
    return found


def shapes(most: int) -> st.SearchStrategy[Shape]:
    return st.tuples(*[st.integers(1, most)] * 3)


def same_shards(array: NDArray[Any], codec: Codec, *, keep_empty: bool) -> None:
    parts: list[memoryview] = []
    with ThreadPoolExecutor(2) as threads:
        found = encode_shard(
            slabs(array, codec.chunk), codec, keep_empty=keep_empty, each=threads.map, see=parts.append
        )
    with python():
        expected = encode_shard(slabs(array, codec.chunk), codec, keep_empty=keep_empty)
    assert found == expected == b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), keep_empty=st.booleans(), is_mask=st.booleans())
def test_shards_are_numcodecs_to_the_byte(data: st.DataObject, keep_empty: bool, is_mask: bool) -> None:
    dtype = MASK_DTYPE if is_mask else INT16
    array = data.draw(shapes(70).flatmap(lambda shape: contents(dtype, shape)))
    chunk = data.draw(st.sampled_from([(8, 64, 64), (16, 64, 64)]) | shapes(40))
    portable = profile("portable")
    codec = portable.segmentation(chunk) if is_mask else portable.image(dtype, chunk)
    same_shards(array, codec, keep_empty=keep_empty)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), keep_empty=st.booleans())
def test_chunks_of_the_codec_predict_are_those_of_python(data: st.DataObject, keep_empty: bool) -> None:
    array = data.draw(shapes(40).flatmap(lambda shape: contents(INT16, shape)))
    chunk = data.draw(st.just((8, 32, 32)) | shapes(24))
    codec = profile("compact").image(INT16, chunk)
    assert codec.kernel_form is not None
    same_shards(array, codec, keep_empty=keep_empty)


@pytest.mark.parametrize("share", [0, 0.5, 0.9, 0.97, 0.98, 0.985, 0.99, 0.995, 1])
def test_chunks_that_hardly_compress_are_stored_as_by_numcodecs(share: float) -> None:
    random = np.random.default_rng(5)
    array = random.integers(-(2**15), 2**15, (16, 256, 256)).astype(INT16)
    array[random.random(array.shape) >= share] = -1024
    same_shards(array, profile("portable").image(INT16), keep_empty=True)
    same_shards(array.view(MASK_DTYPE), profile("portable").segmentation(), keep_empty=False)


@pytest.mark.parametrize(
    "chunk", [(1, 1, 1), (1, 1, 63), (1, 1, 64), (1, 8, 8), (2, 5, 7), (16, 64, 64), (32, 64, 64)]
)
def test_chunks_of_any_size_are_numcodecs_to_the_byte(chunk: Shape) -> None:
    same_shards(volume((33, 40, 70)), profile("portable").image(INT16, chunk), keep_empty=True)


def test_what_the_kernel_does_not_write_is_left_to_python() -> None:
    portable = profile("portable")
    assert portable.image(INT16).kernel_form == ("blosc-zstd", 1)
    assert portable.segmentation().kernel_form == ("zstd", 9)
    # Two blocks of zstd, whose versions differ; and other dtypes.
    assert portable.image(INT16, (32, 64, 64)).kernel_form is None
    assert portable.image(np.dtype("<f4")).kernel_form is None
    assert native.kernel is not None
    with pytest.raises(ValueError, match="legal: what ctspine_zarr asks for"):
        native.kernel.encode_strip(np.zeros((2, 2, 2), INT16), (1, 2, 2), ("blosc-zstd", 1), keep_empty=True)


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    add=st.integers(-(2**15), 2**15 - 1),
    name=st.sampled_from(["u1", "i2", "i4"]),
    dtype=st.sampled_from([INT16, MASK_DTYPE]),
)
def test_shifts_are_numpys(data: st.DataObject, add: int, name: str, dtype: np.dtype[Any]) -> None:
    source = data.draw(shapes(80).flatmap(lambda shape: contents(np.dtype(name), shape)))
    found = np.empty(source.shape, dtype)
    assert native.kernel is not None
    native.kernel.shift(source, found, add)
    np.testing.assert_array_equal(found, source.astype(dtype) + np.int64(add).astype(dtype))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_figures_of_an_image_and_its_labels_are_pythons(data: st.DataObject) -> None:
    shape = data.draw(shapes(70))
    image = np.ascontiguousarray(data.draw(contents(INT16, shape)))
    mask = data.draw(contents(MASK_DTYPE, shape))
    labels = [one.label for one in measure_labels(mask)]

    def figures() -> tuple[Any, Any]:
        intensity = IntensityMeter(INT16, FULL.low, FULL.high)
        foreground = foreground_meter(mask, labels, FULL, INT16)
        for slab in slabs(image, (16, 64, 64)):
            intensity.add(slab)
            foreground.add(slab)
        return intensity.result(), foreground.result()

    found = figures()
    with python():
        assert found == figures()


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    shape=shapes(9) | st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(60, 80)),
    most=st.sampled_from([1, 2, 3, 255]),
)
def test_labels_are_measured_as_in_python(data: st.DataObject, shape: Shape, most: int) -> None:
    mask = data.draw(npst.arrays(MASK_DTYPE, shape, elements=st.integers(0, most)))
    axes = data.draw(st.permutations(range(3)))
    flips = tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in range(3))
    view = mask.transpose(axes)[flips]
    found = measure_labels(view)
    with python():
        assert found == measure_labels(np.ascontiguousarray(view)) == measure_labels(view)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.9])
def test_pieces_of_noise_are_pythons(share: float) -> None:
    random = np.random.default_rng(7)
    mask = (random.random((12, 90, 110)) < share) * random.integers(1, 4, (12, 90, 110))
    found = measure_labels(mask.astype(MASK_DTYPE))
    with python():
        assert found == measure_labels(mask.astype(MASK_DTYPE))


AFFINES = [np.diag([0.8, 0.8, 2.5, 1.0]), np.diag([-0.8, 0.8, -2.5, 1.0])]
AFFINES.append(AFFINES[0][:, [2, 0, 1, 3]])


def both(root: Path) -> Any:
    """The objects and the receipt of the one case of a source, or why it is refused: twice the same."""
    found: list[Any] = []
    for context in (nullcontext(), python()):
        with context:
            try:
                [case] = fetched(root)
                found.append(made(case, Recipe(described(root).spec, profile("portable"), (8, 9, 10)), None))
            except CaseRefused as error:
                found.append(str(error))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", ">i2", "uint16", "int32", "uint32", "float32", "float64"]
)
@pytest.mark.parametrize("mask", ["uint8", "int16", "float32"])
def test_cases_of_any_dtype_are_the_same(tmp_path: Path, affine: NDArray[Any], dtype: str, mask: str) -> None:
    tree = Tree(tmp_path)
    image = (voxels() % 200 if np.dtype(dtype).kind == "u" else voxels()).astype(dtype)
    tree.add(image=Nifti1Image(image, affine), mask=Nifti1Image(labels(dtype=mask), affine))
    objects, receipt = both(tmp_path)
    assert objects
    assert receipt.record.has_mask


@pytest.mark.parametrize("inter", [-1024, 5, 40_000, 0.5])
def test_scaled_cases_are_the_same(tmp_path: Path, inter: float) -> None:
    image = Nifti1Image(voxels(), AFFINES[1])
    image.header.set_slope_inter(1, inter)
    Tree(tmp_path).add(image=image, mask=Nifti1Image(labels(), AFFINES[1]))
    both(tmp_path)


def test_refusals_are_the_same_and_the_masks_comes_first(tmp_path: Path) -> None:
    bad = labels()
    bad[0, 0, 0] = 200
    image = voxels(dtype="float32")
    image[0, 0, 0] = np.nan
    Tree(tmp_path).add(image=image, mask=bad)
    assert "values from 0 to 200" in both(tmp_path)
    Tree(tmp_path).add(image=image)
    assert "NaN" in both(tmp_path)


def test_files_that_end_early_are_refused_for_the_mask(tmp_path: Path) -> None:
    Tree(tmp_path).add()
    for case in fetched(tmp_path):
        for file in case.paths:
            file.write_bytes(file.read_bytes()[:-200])
    assert both(tmp_path).startswith("liver_1_seg.nii.gz: truncated")
