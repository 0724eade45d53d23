"""Crops, vertebrae, maps of labels and normalisation give what another reading of the volumes gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr import kernel as native
from ctspine_zarr.arrays.conversion import convert, look_up
from ctspine_zarr.datasets import ctspine1k, verse
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.label_map import LabelMap
from ctspine_zarr.format.spec import Spec

SPINE = ctspine1k.SPEC
VERSE = verse.SPEC


@pytest.fixture(scope="session")
def train(phantom_store: cz.Store) -> cz.Store:
    return phantom_store.select(split="train")


def voxels(case: cz.Case) -> tuple[NDArray[Any], NDArray[Any]]:
    return case.voxels("image")[...], case.voxels("segmentation")[...]


# Maps of labels


@pytest.mark.parametrize(
    ("spec", "asked", "expected"),
    [
        (SPINE, "contiguous", {label: label for label in range(1, 26)}),
        (SPINE, "binary", dict.fromkeys(range(1, 26), 1)),
        (SPINE, "verse", {label: label for label in range(1, 26)}),
        (VERSE, "verse", {label: label for label in range(1, 29)}),
        (SPINE, "regions", {1: 1, 7: 1, 8: 2, 19: 2, 20: 3, 24: 3, 25: 4}),
        (SPINE, {"lumbar": 1, "L6": 1, "thoracic": 2, "cervical": 0}, {20: 1, 25: 1, 8: 2, 1: 0, 7: 0}),
        (VERSE, {"lumbar": 1, "sacrum": 2}, {20: 1, 26: 2}),
    ],
)
def test_a_named_map_is_as_documented(spec: Spec, asked: Any, expected: dict[int, int]) -> None:
    found = LabelMap.of(asked, spec, ignore="rest" if isinstance(asked, dict) else ())
    assert {label: found.values[label] for label in expected} == expected
    assert all(found.table[label] == value for label, value in expected.items())
    assert found.table[0] == 0


def test_totalsegmentators_values_are_its_own() -> None:
    # From its table of classes: 27 vertebrae_L5, 31 vertebrae_L1, 32 vertebrae_T12, 43 T1, 44 C7, 50 C1.
    with pytest.raises(UnknownValue, match='has no value for L6; legal: .*, or ignore="rest"'):
        LabelMap.of("totalsegmentator", SPINE)
    found = LabelMap.of("totalsegmentator", SPINE, ignore=["L6"])
    by_name = {name: found.table[value] for value, name in SPINE.labels.items()}
    for name, value in (("L5", 27), ("L1", 31), ("T12", 32), ("T1", 43), ("C7", 44), ("C1", 50)):
        assert by_name[name] == value
    assert by_name["L6"] == found.ignore == 51
    assert found.names[51] == "ignore"
    assert LabelMap.of("totalsegmentator", VERSE, ignore="rest").values[26] == 25


def test_a_map_without_gaps_has_none_where_labels_are_ignored() -> None:
    found = LabelMap.of("contiguous", VERSE, ignore=["C1", 28])
    assert sorted(found.names) == list(range(1, len(VERSE.labels)))
    assert found.ignore == max(found.names)
    assert (found.table[1], found.table[28]) == (found.ignore, found.ignore)
    back = found.inverse_table
    assert all(back[found.table[label]] == label for label in VERSE.labels if label not in (1, 28))
    assert back[found.ignore] == 0


@given(
    values=st.dictionaries(st.sampled_from(sorted(SPINE.labels)), st.integers(0, 255), max_size=25),
    mask=st.lists(st.integers(0, 25), min_size=8, max_size=8),
)
def test_a_dictionary_maps_as_python_does(values: dict[int, int], mask: list[int]) -> None:
    found = LabelMap.of(values, SPINE, ignore="rest") if max(values.values(), default=0) < 255 else None
    if found is None:
        return
    expected = [label and values.get(label, found.ignore) for label in mask]
    labels = np.array(mask, np.uint8).reshape(2, 2, 2)
    for dtype in ("uint8", "int32"):
        target = np.full((2, 2, 2), 77, dtype)
        look_up(labels, target, found.table)
        assert target.ravel().tolist() == expected


def test_a_map_of_a_file_is_that_of_its_dictionary(train: cz.Store, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"20": 1, "L2": 2, "thoracic": 3}))
    found = train.label_map(path, ignore="rest")
    same: dict[str | int, int] = {20: 1, "L2": 2, "thoracic": 3}
    assert found == train.label_map(same, ignore="rest")
    assert train.label_map(str(path), ignore="rest") == found
    assert (found.names[1], found.names[3], found.names[4]) == ("L1", "thoracic", "ignore")
    assert train.label_map(found) is found


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ("vertebrae", {}, "unknown label map 'vertebrae'; legal: contiguous, regions, binary, verse"),
        ({"sacrum": 1}, {}, "unknown label 'sacrum'; legal: .*; 25 is L6, and the sacrum has no label"),
        ({99: 1}, {}, "unknown label 99; legal"),
        ({"L1": 256}, {}, "value of a label map 256; legal: 0 to 255"),
        ({"L1": "one"}, {}, "value of a label map 'one'; legal"),
        ({"L1": 1}, {}, "has no value for C1, .*; legal: a value for each of"),
        ("binary", {"ignore": ["Q1"]}, "unknown label 'Q1'"),
        (7, {}, "unknown label map '7'"),
        ("absent.json", {}, "label map absent.json: .*No such file.*; legal: a JSON file"),
    ],
)
def test_a_map_that_is_none_is_refused(train: cz.Store, asked: Any, options: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        train.label_map(asked, **options)


def test_a_map_that_leaves_out_a_label_of_the_dataset_is_refused(train: cz.Store) -> None:
    """Made for another dataset, it would make background of what it does not know."""
    with pytest.raises(UnknownValue, match="label map mine has no value for C1, .*; legal: a value for each"):
        cz.Dataset(train, cz.Volumes(label_map=LabelMap("mine", {20: 1}, {1: "L1"})))
    with pytest.raises(UnknownValue, match="value 2 of label map mine without a name"):
        LabelMap("mine", {20: 2}, {1: "L1"})


def test_a_file_that_holds_no_map_is_refused(train: cz.Store, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(UnknownValue, match="holds a list; legal: labels and their values"):
        train.label_map(tmp_path / "list.json")


def test_what_two_labels_become_has_no_way_back() -> None:
    with pytest.raises(UnknownValue, match="several labels are 1; legal: of a map that tells"):
        LabelMap.of("binary", SPINE).inverse  # noqa: B018 - it raises
    assert LabelMap.of("contiguous", SPINE).inverse[25] == 25


KINDS: list[Any] = [
    cz.Volumes,
    lambda **form: cz.Slices(every=9, **form),
    lambda **form: cz.Patches((20, 30, 40), **form),
    lambda **form: cz.Patches(12, spacing=5, **form),
    lambda **form: cz.Windows((40, 80, 80), overlap=0, **form),
    lambda **form: cz.Vertebrae(40, **form),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ["SAR", "LPS"])
@pytest.mark.parametrize("has_kernel", [True, False])
def test_mapped_samples_are_plain_ones_mapped(
    train: cz.Store, kind: Any, orientation: str, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        monkeypatch.setattr(native, "kernel", None)
    label_map = train.label_map({"L2": 7, "lumbar": 1}, ignore="rest")
    for keep_dtype in (False, True):
        form: dict[str, Any] = {"orientation": orientation, "keep_dtype": keep_dtype}
        plain: Any = cz.Dataset(train, kind(**form))
        mapped: Any = cz.Dataset(train, kind(label_map=label_map, **form))
        assert mapped.label_map is label_map
        table = np.frombuffer(label_map.table, np.uint8)
        for number in np.linspace(0, len(plain) - 1, 5).astype(int):
            expected, found = plain[number], mapped[number]
            assert np.array_equal(found["segmentation"], table[expected["segmentation"]])
            assert found["segmentation"].dtype == expected["segmentation"].dtype
            assert np.array_equal(found["image"], expected["image"])
            if "label" in found:
                assert found["label"] == table[expected["label"]]


# Crops


def box_of(case: cz.Case, margin: float) -> tuple[slice, slice, slice]:
    """The box around a case's labels, from its mask; no case here has strays."""
    places = np.argwhere(voxels(case)[1] > 0)
    ends = zip(places.min(0), places.max(0), case.spacing, case.shape, strict=True)
    z, y, x = (
        slice(
            max(0, low - int(np.ceil(margin / mm - 1e-6))),
            min(n, high + 1 + int(np.ceil(margin / mm - 1e-6))),
        )
        for low, high, mm, n in ends
    )
    return z, y, x


@pytest.mark.parametrize("margin", [0, 7.5, 20, 1000])
@pytest.mark.parametrize("crop", ["spine", "labels"])
def test_a_cropped_volume_is_the_box_around_its_labels(train: cz.Store, crop: Any, margin: float) -> None:
    dataset = cz.Dataset(train, cz.Volumes(crop=crop, margin_mm=margin, keep_dtype=True))
    for sample in dataset:
        case = train[sample["case"]]
        box = box_of(case, margin)
        image, mask = voxels(case)
        assert np.array_equal(sample["image"], image[box])
        assert np.array_equal(sample["segmentation"], mask[box])
        assert dataset.shape_of(sample["index"]) == sample["image"].shape
        first = case.affine @ [box[2].start, box[1].start, box[0].start, 1]
        assert np.allclose(sample["affine"][:3, 3], first[:3])


def test_patches_of_a_crop_lie_in_it_and_windows_cover_it(train: cz.Store) -> None:
    crop: dict[str, Any] = {"crop": "spine", "margin_mm": 5}
    volumes: Any = list(cz.Dataset(train, cz.Volumes(**crop)))
    patches: Any = cz.Dataset(train, cz.Patches((6, 8, 8), samples_per_volume=20, **crop))
    for patch in patches:
        box = tuple(slice(s, s + n) for s, n in zip(patch["start"], (6, 8, 8), strict=True))
        assert np.array_equal(patch["image"], volumes[patch["index"]]["image"][box])
    windows: Any = cz.Dataset(train, cz.Windows((8, 16, 16), overlap=0.3, **crop))
    for case, volume in enumerate(volumes):
        made = (windows[number] for number in windows.numbers_of(case))
        found = cz.assemble(((w["start"], w["image"]) for w in made), windows.shape_of(case))
        assert np.allclose(found, volume["image"], atol=0.01)


def test_a_patch_larger_than_its_crop_has_what_lies_around_it(train: cz.Store) -> None:
    size = (40, 60, 60)
    for patch in cz.Dataset(train, cz.Patches(size, crop="spine", margin_mm=0, keep_dtype=True)):
        case = train[patch["case"]]
        box = box_of(case, 0)
        start = [int(s + one.start) for s, one in zip(patch["start"], box, strict=True)]
        assert np.array_equal(patch["image"], case.patch(start=start, size=size)["image"])


def test_strays_and_labels_that_are_no_levels_do_not_widen_a_crop(train: cz.Store) -> None:
    case = next(iter(train.values()))
    first, *others = case.record.labels
    stray = Finding(Code.STRAY_LABEL, "far", (first.label,))
    entry = train.entries[case.id]
    record = replace(entry.record, findings=(*entry.record.findings, stray))
    strayed = Entry(record, entry.receipt, entry.group)
    store = cz.Store(train.storage, train.root, {case.id: strayed}, train.reading)
    (sample,) = cz.Dataset(store, cz.Volumes(crop="spine", margin_mm=0))
    expected = [
        max(one.stop[axis] for one in others) - min(one.start[axis] for one in others) for axis in range(3)
    ]
    assert list(sample["image"].shape) == expected


def test_a_crop_that_cannot_be_is_refused(train: cz.Store) -> None:
    case = next(iter(train))
    entry = train.entries[case]
    bare = Entry(replace(entry.record, labels=()), entry.receipt, entry.group)
    store = cz.Store(train.storage, train.root, {**train.entries, case: bare}, train.reading)
    with pytest.raises(UnknownValue, match=f"crop 'spine' of 1 of 5 cases .* such as {case}; legal: select"):
        cz.Dataset(store, cz.Patches(8, crop="spine"))
    for kind, message in (
        (cz.Volumes(crop="head"), "unknown crop 'head'; legal: spine, labels"),  # type: ignore[arg-type]
        (cz.Volumes(crop="spine", margin_mm=-1), "margin_mm -1; legal: mm from 0"),
        (cz.Volumes(crop="spine", margin_mm=(1, 2)), "margin_mm .1, 2.; legal"),
    ):
        with pytest.raises(UnknownValue, match=message):
            cz.Dataset(train, kind)


# Vertebrae


def test_a_vertebra_is_in_the_middle_of_its_box_with_its_neighbours(train: cz.Store) -> None:
    dataset = cz.Dataset(train, cz.Vertebrae(60, spacing=None, keep_dtype=True))
    neighbours = 0
    assert len(dataset) == sum(len(case.record.labels) for case in train.values())
    for number, sample in enumerate(dataset):
        case = train[sample["case"]]
        label = next(one for one in case.record.labels if one.label == sample["label"])
        shape = sample["image"].shape
        assert shape == tuple(round(60 / mm) for mm in case.spacing)
        start = [round(middle - (n - 1) / 2) for middle, n in zip(label.centroid, shape, strict=True)]
        expected = case.patch(start=start, size=shape)
        assert np.array_equal(sample["image"], expected["image"])
        assert np.array_equal(sample["segmentation"], expected["segmentation"])
        assert number in dataset.numbers_of(sample["index"])
        neighbours += len(np.unique(sample["segmentation"])) > 2
    assert neighbours > len(dataset) / 2


def test_vertebrae_at_one_spacing_have_one_shape_and_stack(phantom_store: cz.Store) -> None:
    masked = phantom_store.select(has_mask=True)
    dataset: Any = cz.Dataset(masked, cz.Vertebrae((40, 50, 60), spacing=2.5, labels=["L2", 23]))
    shapes = {sample["image"].shape for sample in dataset}
    assert shapes == {(16, 20, 24)}
    assert {sample["label"] for sample in dataset} == {21, 23}
    for sample in dataset:
        # Its centroid lies between the middle voxels: of eight, some bear it.
        assert (sample["segmentation"][6:10, 8:12, 10:14] == sample["label"]).any()
        assert np.allclose(sample["spacing"], 2.5)


def test_vertebrae_that_no_case_has_are_refused(train: cz.Store) -> None:
    lumbar = train[["liver_0"]]
    assert "C1" not in lumbar["liver_0"].labels
    for kind, message in (
        (cz.Vertebrae(40, labels=["C1"]), "no case of the selection has such a label"),
        (cz.Vertebrae(40, labels=["sacrum"]), "25 is L6"),
        (cz.Vertebrae(0), "size_mm 0; legal: mm above 0"),
    ):
        with pytest.raises(UnknownValue, match=message):
            cz.Dataset(lumbar, kind)


# Normalisation


def test_ct_is_normalised_by_the_labelled_voxels_of_all_cases_alike(train: cz.Store) -> None:
    foreground = [image[mask > 0].astype(float) for image, mask in map(voxels, train.values())]
    # Each case weighs the same: as many draws of each, as nnU-Net does it.
    drawn = np.concatenate([np.random.default_rng(0).choice(hu, 200_000) for hu in foreground])
    found = cz.ct_normalization(train)
    assert found.mean == pytest.approx(np.mean([hu.mean() for hu in foreground]), rel=1e-9)
    squares = np.mean([(hu**2).mean() for hu in foreground])
    assert found.std == pytest.approx(np.sqrt(squares - found.mean**2), rel=1e-6)
    assert found.mean == pytest.approx(drawn.mean(), abs=3)
    assert found.std == pytest.approx(drawn.std(), rel=0.02)
    for bound, percent in ((found.low, 0.5), (found.high, 99.5)):
        assert bound == pytest.approx(np.percentile(drawn, percent), abs=2 + 3)


@pytest.mark.parametrize("has_kernel", [True, False])
def test_a_normalised_image_is_bit_for_bit_what_clipping_it_first_gives(
    train: cz.Store, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        monkeypatch.setattr(native, "kernel", None)
    ct = cz.ct_normalization(train)
    for asked in ("ct", ct, cz.Normalization(100, 250)):
        dataset = cz.Dataset(train, cz.Volumes(normalize=asked))
        used = dataset.normalization
        assert used is not None
        assert asked != "ct" or used == ct
        for sample in dataset:
            expected = train[sample["case"]].voxels("image")[...].astype(np.float32)
            np.clip(expected, used.low, used.high, out=expected)
            expected -= used.mean
            expected /= used.std
            assert np.array_equal(sample["image"], expected)


@given(
    hu=st.lists(st.integers(-3024, 3071), min_size=1, max_size=50),
    low=st.floats(-1000, 500),
    width=st.floats(1, 3000),
    mean=st.floats(-500, 800),
    std=st.floats(1, 900),
)
def test_clipping_when_scaled_is_clipping_first(
    hu: list[int], low: float, width: float, mean: float, std: float
) -> None:
    normalization = cz.Normalization(mean, std, low, low + width)
    expected = np.clip(np.array(hu, np.float32), np.float32(low), np.float32(low + width))
    expected = (expected - np.float32(mean)) / np.float32(std)
    found = np.empty((1, 1, len(hu)), np.float32)
    convert(np.array(hu, np.int16)[None, None], found, normalization.scaling)
    assert np.array_equal(found.ravel(), expected)


def test_normalisation_that_cannot_be_is_refused(train: cz.Store) -> None:
    case = next(iter(train))
    entry = train.entries[case]
    bare = Entry(replace(entry.record, labels=()), entry.receipt, entry.group)
    store = cz.Store(train.storage, train.root, {case: bare}, train.reading)
    with pytest.raises(UnknownValue, match="a selection without a labelled voxel; legal: select"):
        cz.ct_normalization(store)
    for arguments in ((0, 0), (np.nan, 1), (0, 1, 5, 5), (0, np.inf)):
        with pytest.raises(UnknownValue, match="; legal: HU"):
            cz.Normalization(*arguments)


def test_a_window_of_numbers_of_any_type_is_one_of_floats(train: cz.Store) -> None:
    plain = cz.Dataset(train, cz.Volumes(window=(-450, 1050)))[0]["image"]
    for window in (("-450", "1050"), np.array([-450, 1050], np.int16), iter((-450, 1050))):
        kind = cz.Volumes(window=window)  # type: ignore[arg-type]
        assert kind.window == (-450.0, 1050.0)
        assert np.array_equal(cz.Dataset(train, kind)[0]["image"], plain)


# Streams of every kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_any_kind_has_what_the_dataset_has(train: cz.Store, kind: Any) -> None:
    def key(sample: Any) -> tuple[Any, ...]:
        where = [
            np.ravel(sample[name]).tolist() for name in ("slice_index", "start", "label") if name in sample
        ]
        return sample["case"], str(where), float(sample["image"].sum()), int(sample["segmentation"].sum())

    kind = kind(seed=4)
    stream: Any = cz.Stream(train, kind, buffer=3)
    found = [key(sample) for sample in stream]
    assert len(found) == len(stream)
    if not isinstance(kind, cz.Patches):
        assert sorted(found) == sorted(map(key, cz.Dataset(train, kind)))
    begun = iter(stream)
    for _ in range(3):
        next(begun)
    stream.load_state_dict(stream.state_dict())
    assert [key(sample) for sample in stream] == found[3:]


@pytest.mark.parametrize("kind", [cz.Slices(), cz.Volumes(), cz.Windows(40), cz.Vertebrae(40)])
def test_the_samples_of_a_case_are_those_with_its_numbers(train: cz.Store, kind: Any) -> None:
    dataset: Any = cz.Dataset(train, kind)
    numbers = [number for case in range(len(train)) for number in dataset.numbers_of(case)]
    assert numbers == list(range(len(dataset)))
    own = [sample["image"] for sample in dataset.of_case(2)]
    alone = [dataset[number]["image"] for number in dataset.numbers_of(2)]
    assert all(np.array_equal(one, other) for one, other in zip(own, alone, strict=True))


def test_what_a_kind_does_not_have_is_refused(train: cz.Store) -> None:
    patches = cz.Dataset(train, cz.Patches(8))
    for call in (patches.of_case, patches.numbers_of):
        with pytest.raises(UnknownValue, match="of patches that are drawn; legal: a selection of that case"):
            call(0)
    with pytest.raises(UnknownValue, match="what Slices cover of a volume; legal: of Volumes"):
        cz.Dataset(train, cz.Slices()).shape_of(0)
