"""Choosing cases by id, and dealing them: each once, and none that belong together on two sides."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from stores import CountingStore, catalog_of
from trees import VerseTree, voxels

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.errors import DamagedStore, UnknownCase, UnknownValue
from ctspine_zarr.format.record import Intensity, Record, StoredArray
from ctspine_zarr.read.folds import (
    Group,
    Ties,
    alike,
    by_shares,
    by_split,
    groups_of,
    leaking,
    leaks_of,
    validations,
)

ARRAY = StoredArray(dtype="int16", bytes=10**9, index_crc32c=0, chunk=(8, 64, 64), codec="none")
FEW = settings(max_examples=40)
HU = Intensity(min=0, max=0, mean=0, std=0, p00_5=0, p05=0, p50=0, p95=0, p99_5=0, padding=None)
RECORD = Record(
    id="a",
    patient_id="a",
    split="train",
    source="one",
    content="0" * 64,
    is_replaced=False,
    shape=(8, 8, 8),
    affine=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    orientation="RAS",
    image=ARRAY,
    segmentation=None,
    source_bytes=0,
    intensity=HU,
    labels=(),
    transitional=None,
    findings=(),
    spreadsheet=(),
)


def record(number: int, patient: int, source: str, split: str, image: int) -> Record:
    case, hu = f"case-{number}", replace(HU, max=float(image))
    return replace(RECORD, id=case, patient_id=f"patient-{patient}", source=source, split=split, intensity=hu)


@st.composite
def datasets(draw: st.DrawFn, most: int = 40) -> dict[str, Record]:
    """Records of cases of which few or many are of one patient, or have one image."""
    count = draw(st.integers(1, most))
    patients, images = draw(st.integers(1, 2 * count)), draw(st.integers(1, 4 * count))
    facts = st.tuples(
        st.integers(1, patients),
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(["train", "validation", "test"]),
        st.integers(1, images),
    )
    records = [record(number, *draw(facts)) for number in range(count)]
    return {one.id: one for one in records}


def digests_of(records: Mapping[str, Record]) -> dict[str, str]:
    """As if images that look alike were equal."""
    return {case: str(records[case].intensity.max) for case in alike(records)}


def grouped(records: Mapping[str, Record]) -> list[Group]:
    return groups_of(records, Ties.of(records, digests_of(records)))


def spread(sizes: Sequence[int]) -> int:
    return max(sizes) - min(sizes)


def largest(groups: Sequence[Group]) -> int:
    return max(map(len, groups))


@FEW
@given(datasets(most=20))
def test_a_group_is_all_that_patients_and_images_connect(records: dict[str, Record]) -> None:
    groups = grouped(records)
    assert sorted(case for group in groups for case in group) == sorted(records)
    number = {case: place for place, group in enumerate(groups) for case in group}
    # An independent reading: spread the least number over equal ones until nothing changes.
    least = dict(zip(records, range(len(records)), strict=True))
    for _ in records:
        for one in records.values():
            for other in records.values():
                if one.patient_id == other.patient_id or one.intensity == other.intensity:
                    least[one.id] = min(least[one.id], least[other.id])
    pairs = [(one, other) for one in records for other in records]
    assert all((number[a] == number[b]) == (least[a] == least[b]) for a, b in pairs)
    order = list(records)
    assert [order.index(group[0]) for group in groups] == sorted(order.index(group[0]) for group in groups)


@given(records=datasets(), count=st.integers(2, 7), seed=st.integers(0, 2**40))
def test_folds_hold_each_case_out_once_and_divide_no_group(
    records: dict[str, Record], count: int, seed: int
) -> None:
    groups = grouped(records)
    if len(groups) < count:
        with pytest.raises(UnknownValue, match=rf"{count} folds of {len(groups)} groups of cases; legal: no"):
            validations(records, groups, count, seed)
        return
    held_out = validations(records, groups, count, seed)
    assert Counter(case for cases in held_out for case in cases) == Counter(records.keys())
    assert all(set(group) <= cases or not cases & set(group) for group in groups for cases in held_out)
    assert all(held_out)
    assert spread([len(cases) for cases in held_out]) <= largest(groups)


@FEW
@given(records=datasets(), count=st.integers(2, 7), seed=st.integers(0, 9))
def test_sources_are_spread_over_folds(records: dict[str, Record], count: int, seed: int) -> None:
    groups: list[Group] = [(case,) for case in records]
    if len(groups) >= count:
        held_out = validations(records, groups, count, seed)
        assert spread([len(cases) for cases in held_out]) <= 1
        for source in {one.source for one in records.values()}:
            assert spread([sum(records[case].source == source for case in cases) for cases in held_out]) <= 1


SHARES = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(
    lambda parts: {f"name-{at}": part / sum(parts) for at, part in enumerate(parts)}
)


@FEW
@given(records=datasets(), shares=SHARES, seed=st.integers(0, 9))
def test_shares_are_met_as_nearly_as_the_largest_group_allows(
    records: dict[str, Record], shares: dict[str, float], seed: int
) -> None:
    groups = grouped(records)
    dealt = by_shares(records, groups, shares, seed)
    assert list(dealt) == list(shares)
    assert Counter(case for cases in dealt.values() for case in cases) == Counter(records.keys())
    for name, cases in dealt.items():
        assert all(set(group) <= cases or not cases & set(group) for group in groups)
        assert abs(len(cases) - shares[name] * len(records)) <= largest(groups) + 1e-6


@FEW
@given(records=datasets(), seed=st.integers(0, 9), order=st.randoms(use_true_random=False))
def test_what_is_dealt_follows_from_cases_and_seed_alone(
    records: dict[str, Record], seed: int, order: random.Random
) -> None:
    mixed = dict(order.sample(list(records.items()), len(records)))
    shares = {"train": 0.5, "test": 0.2, "validation": 0.3}
    backwards = dict(reversed(shares.items()))
    groups, others = grouped(records), grouped(mixed)
    assert by_shares(records, groups, shares, seed) == by_shares(mixed, others, backwards, seed)
    if len(groups) > 1:
        assert validations(records, groups, 2, seed) == validations(mixed, others, 2, seed)


def test_another_seed_deals_otherwise() -> None:
    records = {f"case-{n}": record(n, n, "one", "train", n) for n in range(30)}
    drawn = [validations(records, grouped(records), 3, seed) for seed in range(5)]
    assert all(one != other for one, other in itertools.pairwise(drawn))


def test_groups_are_moved_where_that_brings_sizes_nearer() -> None:
    """By sources alone, the three groups of each would leave one name without a case."""
    records = {f"case-{n}": record(n, n, f"s{n // 3}", "train", n) for n in range(30)}
    dealt = by_shares(records, grouped(records), {"train": 0.8, "test": 0.2}, 0)
    assert {name: len(cases) for name, cases in dealt.items()} == {"train": 24, "test": 6}


@FEW
@given(datasets())
def test_a_leak_is_a_group_in_several_splits(records: dict[str, Record]) -> None:
    ties = Ties.of(records, digests_of(records))
    groups = groups_of(records, ties)
    found = leaks_of(records, groups, ties)
    cases = [case for group in groups if len({records[one].split for one in group}) > 1 for case in group]
    assert [one.case for one in found] == cases
    assert {one.group for one in found} == set(range(len(leaking(records, groups))))
    for one in found:
        others = [other for case, other in records.items() if case != one.case]
        mine = records[one.case]
        assert ("patient" in one.why) == any(other.patient_id == mine.patient_id for other in others)
        assert ("image" in one.why) == any(other.intensity == mine.intensity for other in others)
        assert (one.split, one.source, one.patient_id) == (mine.split, mine.source, mine.patient_id)


@FEW
@given(datasets())
def test_by_split_nothing_held_out_is_trained_on(records: dict[str, Record]) -> None:
    groups = grouped(records)
    of_split = {
        name: {case for case, one in records.items() if one.split == name} for name in ("train", "validation")
    }
    kept = {case for group in groups if {records[one].split for one in group} == {"train"} for case in group}
    if kept and of_split["validation"]:
        assert by_split(records, groups) == (kept, of_split["validation"])
    else:
        with pytest.raises(UnknownValue, match="legal: one case of each, or more"):
            by_split(records, groups)


def test_images_that_differ_in_dtype_are_not_alike() -> None:
    one = record(1, 1, "one", "train", 1)
    other = replace(one, id="case-2", image=replace(ARRAY, dtype="float32"))
    flat = replace(one, id="case-3", shape=(8, 8, 9))
    assert alike({case.id: case for case in (one, other, flat)}) == []
    assert alike({"case-1": one, "case-4": one}) == ["case-1", "case-4"]


# Through a store: one patient in two splits, one image in two splits, and one seen twice in train.
SAME, TWIN = "sub-verse004_split-verse2", "sub-verse009"
PLACES = {
    "sub-verse004_split-verse1": ("dataset-01training", 1),
    SAME: ("dataset-02validation", 2),
    "sub-verse005": ("dataset-01training", 3),
    "sub-verse006": ("dataset-01training", 4),
    "sub-verse007": ("dataset-01training", 5),
    "sub-verse008": ("dataset-02validation", 6),
    TWIN: ("dataset-03test", 4),
    "sub-gl010": ("dataset-03test", 7),
}
TRAIN = ("sub-verse004_split-verse1", "sub-verse005", "sub-verse006", "sub-verse007")


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verse")
    tree = VerseTree(folder / "source")
    for case, (place, seed) in PLACES.items():
        tree.add(case, image=voxels(seed), folder=place)
    cz.build_store(cz.plan_build(tree.root, folder / "s.zarr", workers=1))
    return folder / "s.zarr"


@pytest.fixture
def store(location: Path) -> cz.Store:
    return cz.open_store(location)


def test_cases_are_chosen_by_ids_in_any_iterable(store: cz.Store) -> None:
    ids = [TWIN, "sub-verse005"]
    table = store.cases
    for asked in (
        ids,
        iter(ids),
        set(ids),
        dict.fromkeys(ids),
        np.array(ids),
        pd.Series(ids),
        pd.Index(ids),
        table.loc[ids],
        table.index.isin(ids) & pd.Series(data=True, index=table.index),
        pd.Series({case: case in ids for case in reversed(list(store))}),
        pd.Series({case: case in ids for case in store}, dtype="boolean"),
        pd.Series({case: case in ids for case in store}, dtype=object),
    ):
        chosen = store.select(cases=asked)
        assert isinstance(chosen, cz.Store)
        assert list(chosen) == ["sub-verse005", TWIN]
    assert list(store[ids]) == list(store[table.loc[ids]]) == ["sub-verse005", TWIN]
    assert list(store[table.split == "test"]) == list(store.select(split="test"))
    assert list(store.select(cases="sub-verse005")) == ["sub-verse005"]
    assert list(store.select(cases=[])) == list(store[[]]) == []
    assert list(store.select(cases=ids, split="train")) == ["sub-verse005"]
    assert list(store.select(cases=store.select(split="train"))) == list(TRAIN)
    assert store[table.index[:2]].select(cases=None).entries == {
        case: store.entries[case] for case in TRAIN[:2]
    }
    assert isinstance(store["sub-verse005"], cz.Case)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (["sub-verse05"], UnknownCase, "no case 'sub-verse05' among 8 in .*; nearest: sub-verse005"),
        (pd.Index(["x"]), UnknownCase, "no case 'x' among 8 in "),
        ([TWIN, TWIN], UnknownValue, "cases with sub-verse009 more than once; legal: each id once"),
        ([5], UnknownValue, "cases with 5 among them; legal: ids, as texts, or a table or boolean Series"),
        ([[TWIN]], UnknownValue, r"cases with \['sub-verse009'\] among them; legal: ids"),
        (pd.DataFrame({"case": [TWIN]}), UnknownValue, "cases with 0 among them; legal: ids"),
        (np.ones(8, bool), UnknownValue, "cases with .*True.* among them; legal: ids, .*boolean Series"),
    ],
)
def test_ids_that_are_none_say_what_is_legal(
    store: cz.Store, asked: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.select(cases=asked)
    with pytest.raises(error, match=message):
        store[asked]


def test_a_number_is_no_cases_and_no_case(store: cz.Store) -> None:
    with pytest.raises(UnknownValue, match="cases 5; legal: ids"):
        store.select(cases=5)  # type: ignore[arg-type]
    with pytest.raises(UnknownCase, match="no case 5"):
        store[5]  # type: ignore[call-overload]
    assert [TWIN] not in store  # type: ignore[comparison-overlap]
    assert TWIN in store


def test_a_boolean_series_says_something_of_each_case_once(store: cz.Store) -> None:
    whole = pd.Series(data=True, index=store.cases.index)
    legal = "; legal: True or False, once, for each of the 8 cases in .*s.zarr"
    spoiled: dict[str, pd.Series[Any]] = {
        f"without {TWIN}": whole.drop(TWIN),
        "with unknown x": pd.concat([whole, pd.Series({"x": False})]),
        f"that repeats {TWIN}": pd.concat([whole, whole[[TWIN]]]),
        f"that says neither True nor False of {TWIN}": whole.drop(TWIN).reindex(whole.index),
        f"without {TWIN}, and with unknown x": whole.rename({TWIN: "x"}),
    }
    for words, series in spoiled.items():
        with pytest.raises(UnknownValue, match=f"a boolean Series {words}{legal}"):
            store.select(cases=series)
    with pytest.raises(UnknownValue, match="a boolean Series without sub-verse004_split-verse1, .*8 cases"):
        store.select(cases=pd.Series([], dtype=bool))
    # Of the selection, not of the store it is from.
    with pytest.raises(UnknownValue, match="with unknown .*; legal: .* each of the 4 cases"):
        store.select(split="train").select(cases=whole)
    # As pandas takes a gap in its own flags.
    gap = whole.astype("boolean").where(whole.index != SAME)
    assert set(store.select(cases=gap)) == set(store) - {SAME}


def test_choosing_by_ids_needs_no_tables(location: Path) -> None:
    code = (
        "import sys, ctspine_zarr as cz; store = cz.open_store(sys.argv[1]);"
        "store[list(store)[:2]].folds(2), store.resplit({'a': 1}), store.select(cases=store);"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, location], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_folds_of_a_store_are_stores(store: cz.Store) -> None:
    folds = store.folds(3, seed=4)
    assert [type(fold) for fold in folds] == [cz.Fold] * 3
    for fold in folds:
        assert sorted([*fold.train, *fold.validation]) == sorted(store)
        assert list(fold.train) == [case for case in store if case in fold.train]
        for one, other in ((TRAIN[0], SAME), ("sub-verse006", TWIN)):
            assert (one in fold.train) == (other in fold.train)
        for side in (fold.train, fold.validation):
            assert all(side[case].patch(size=4, start=(0, 0, 0))["image"].shape == (4, 4, 4) for case in side)
    assert sorted(case for fold in folds for case in fold.validation) == sorted(store)
    again = store.folds(3, seed=4)
    assert [list(one.validation) for one in folds] == [list(one.validation) for one in again]


def test_only_receipts_that_may_tell_are_read(location: Path) -> None:
    counting = CountingStore(location)
    store = cz.open_store(counting)
    opened = ["zarr.json", catalog_of(location).name]
    store.select(split="train").folds(2)
    store.select(split="train").resplit({"a": 0.5, "b": 0.5})
    assert store.select(split="train").leaks().empty
    assert [key for key, _ in counting.reads] == opened
    store.folds(2), store.resplit({"a": 0.5, "b": 0.5}), store.leaks(), store.folds(by="split")
    alike = sorted(store[case].record.receipt_key for case in ("sub-verse006", TWIN))
    assert sorted(key for key, _ in counting.reads[2:]) == alike


def test_a_damaged_receipt_is_no_proof(location: Path, tmp_path: Path) -> None:
    for path in location.glob("*.json*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DamagedStore, match="run verify"):
        cz.open_store(tmp_path).folds(2)
    done = CliRunner().invoke(cli, ["info", str(tmp_path)])
    assert done.exit_code == 0
    assert "\nleaks: not known, for a receipt cannot be read; run verify\n" in done.output


def test_by_split_what_belongs_to_held_out_cases_is_left_out(store: cz.Store) -> None:
    [fold] = store.folds(by="split")
    assert list(fold.validation) == [SAME, "sub-verse008"]
    assert list(fold.train) == ["sub-verse005", "sub-verse007"]
    assert len(store.folds(1, by="split")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "folds None; legal: an integer from 2"),
        ({"count": 1}, "folds 1; legal: an integer from 2"),
        ({"count": 7}, "7 folds of 6 groups of cases; legal: no more folds than groups"),
        ({"count": 2, "seed": -1}, "seed -1; legal: an integer from 0"),
        ({"count": 2, "by": "case"}, "unknown by 'case'; legal: patient, split"),
        ({"count": 2, "by": "split"}, "2 folds by split; legal: 1, as the dataset has one"),
    ],
)
def test_impossible_folds_say_what_is_legal(store: cz.Store, arguments: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        store.folds(**arguments)


def test_by_split_needs_both(store: cz.Store) -> None:
    seen = "a fold by split of 4 cases of train that none held out belongs to, 0 of validation; legal: one"
    with pytest.raises(UnknownValue, match=seen):
        store.select(split="train").folds(by="split")


def test_a_resplit_store_has_each_case_once(store: cz.Store) -> None:
    parts = store.resplit({"train": 0.5, "validation": 0.25, "test": 0.25}, seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "validation": 2, "test": 2}
    assert sorted(case for part in parts.values() for case in part) == sorted(store)
    assert any({TWIN, "sub-verse006"} <= part.keys() for part in parts.values())


def test_nothing_is_dealt_of_nothing(store: cz.Store) -> None:
    none = store[[]]
    assert [len(part) for part in none.resplit({"a": 1 / 3, "b": 2 / 3}).values()] == [0, 0]
    assert none.groups == ()
    assert none.leaks().empty
    with pytest.raises(UnknownValue, match="2 folds of 0 groups"):
        none.folds(2)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.7, "test": 0.2}, r"shares {'train': 0.7, 'test': 0.2} that sum to 0.9; legal: a share"),
        ({"train": 1.0, "test": 0}, "share test 0; legal: above 0, at most 1"),
        ({"train": "most", "test": 0.5}, "share train 'most'; legal: above 0"),
        ({}, "shares {} that sum to 0; legal: "),
        ([0.5, 0.5], r"shares \[0.5, 0.5\]; legal: a share above 0 for each name, that sum to 1"),
        ({1: 1.0}, "shares {1: 1.0}; legal: a share"),
    ],
)
def test_impossible_shares_say_what_is_legal(store: cz.Store, shares: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        store.resplit(shares)


def test_leaks_are_told_by_case(store: cz.Store) -> None:
    table = store.leaks()
    assert table.index.name == "case"
    assert list(table.columns) == ["split", "source", "patient_id", "group", "why"]
    assert table.to_dict("index") == {
        case: dict(zip(table.columns, row, strict=True))
        for case, row in {
            TRAIN[0]: ("train", "verse", "sub-verse004", 0, "patient"),
            SAME: ("validation", "verse", "sub-verse004", 0, "patient"),
            "sub-verse006": ("train", "verse", "sub-verse006", 1, "image"),
            TWIN: ("test", "verse", "sub-verse009", 1, "image"),
        }.items()
    }


def test_a_store_without_leaks_has_an_empty_table(phantom_store: cz.Store) -> None:
    table = phantom_store.leaks()
    assert (len(table), table.index.name) == (0, "case")
    assert list(table.columns) == ["split", "source", "patient_id", "group", "why"]


def test_info_tells_of_leaks_where_there_are_any(location: Path, phantom_store: cz.Store) -> None:
    told = CliRunner().invoke(cli, ["info", str(location)]).output
    assert "\nleaks: 2 groups of cases lie in several splits (store.leaks())\n" in told
    assert "leaks" not in CliRunner().invoke(cli, ["info", phantom_store.location]).output
