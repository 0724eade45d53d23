"""The list of series: read into fields, kept with the cases without a voxel, asked."""

from __future__ import annotations

import itertools
import json
import string
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from commands import run
from conftest import Hub
from hypothesis import given
from hypothesis import strategies as st
from stores import Killed, built, filled, objects, without_time
from test_datasets import ctspine1k
from trees import Names, Tree, listed, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.metadata import read_table
from ctspine_zarr.datasets.series import is_series_list, read_series, said_by
from ctspine_zarr.errors import Malformed, SourceError, StorageError
from ctspine_zarr.format.encoding import parse
from ctspine_zarr.format.series import MOST_SERIES, SERIES_COLUMNS, Series

COLON, NECK, LIVER = "1.3.6.1.4.1.9328.50.4.0001", "HN_P001", "liver_0"
STUDY = "01-01-2000-1-Abdomen24ACRINColoIRB2415-04 Adult-0.4.1"
LINE = f"{COLON}/{STUDY}/4.000000-Coloprone  1.0  B30f-0.4.2"
OTHER = f"{COLON}/{STUDY}/3.000000-Colosupine  1.0  B30f-0.4.3"
NECK_LINE = f"{NECK}/12-22-2009-RTHEADNECK Adult-30310/3.000000-HEADNECK  2.0  B30s-90520"


def fields(one: Series) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(one).items() if value is not None}


def line_of(text: str) -> Series:
    [[one]] = read_series(text, "Path.csv").values()
    return one


# -- lines


def test_a_line_is_read_into_its_fields_and_kept_as_it_stands() -> None:
    assert fields(line_of(LINE)) == {
        "text": LINE,
        "study_date": "2000-01-01",
        "study_id": "1",
        "study": "Abdomen24ACRINColoIRB2415-04 Adult",
        "study_uid_end": "0.4.1",
        "series_number": 4,
        "series": "Coloprone  1.0  B30f",
        "series_uid_end": "0.4.2",
        "position": "prone",
        "thickness_mm": 1.0,
        "kernel": "B30f",
    }


@pytest.mark.parametrize(
    ("study", "series", "expected"),
    [
        ("11-13-2005-1-43619", "6.000000-53602", ("2005-11-13", "1", None, 6, None)),
        ("09-01-2005-69654", "4.000000-53738", ("2005-09-01", None, None, 4, None)),
        ("12-22-2009-RT-NECK-30310", "5932.000000-60458", ("2009-12-22", None, "RT-NECK", 5932, None)),
        ("01-01-2000-2-A - B-.1240", "102.000000-C- D-.1241", ("2000-01-01", "2", "A - B", 102, "C- D")),
        ("2000-01-01-1-A-12345", "4.500000-A-12345", (None, None, None, None, None)),
        ("13-01-2000-1-A-12345", "NA-A-12345", (None, None, None, None, None)),
        ("01-01-2000-1-A-123456", "1.000000-A-none", (None, None, None, None, None)),
        ("study", "series", (None, None, None, None, None)),
    ],
)
def test_what_a_folder_does_not_say_is_none(study: str, series: str, expected: tuple[object, ...]) -> None:
    one = line_of(f"CTC-1/{study}/{series}")
    assert (one.study_date, one.study_id, one.study, one.series_number, one.series) == expected
    assert one.text == f"CTC-1/{study}/{series}"


WORDS = st.text(string.ascii_letters + string.digits + " .-", min_size=1, max_size=40).map(str.strip)
ENDS = st.text(string.digits + ".", min_size=1, max_size=5)


@given(
    date=st.dates(),
    study_id=st.none() | st.integers(0, 10**9).map(str),
    # Digits and a hyphen at its beginning are a number of the study.
    study=st.none() | WORDS.filter(lambda text: text[:1].isalpha()),
    number=st.integers(0, 10**9),
    series=st.none() | WORDS.filter(bool),
    ends=st.tuples(ENDS, ENDS),
)
def test_folders_that_are_named_after_fields_give_these_fields(
    date: Any, study_id: str | None, study: str | None, number: int, series: str | None, ends: tuple[str, str]
) -> None:
    first = "-".join(part for part in (f"{date:%m-%d}-{date.year:04}", study_id, study, ends[0]) if part)
    second = "-".join(part for part in (f"{number}.000000", series, ends[1]) if part)
    one = line_of(f"HN_P001/{first}/{second}")
    assert (one.study_date, one.study_id, one.study) == (date.isoformat(), study_id, study)
    assert (one.series_number, one.series) == (number, series)
    assert (one.study_uid_end, one.series_uid_end) == ends


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text(f"{LINE}\n\"',\r", max_size=300))
def test_every_line_of_any_text_is_kept_or_is_an_error(text: str) -> None:
    try:
        found = read_series(text, "Path.csv")
    except SourceError:
        return
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [one.text for lines in found.values() for one in lines]
    assert sorted(kept) == sorted(set(lines))
    assert all(
        msgspec.convert(msgspec.to_builtins(one), Series) == one for of in found.values() for one in of
    )
    assert not lines or is_series_list(text.lstrip()) or not text.partition("\n")[0].strip()


def test_several_lines_of_a_case_are_all_kept_and_equal_ones_once() -> None:
    found = read_series(f"{LINE}\r\n{OTHER}\r\n\r\n{NECK_LINE}\r\n{LINE}\r\n", "Path.csv")
    assert {case: [one.text for one in lines] for case, lines in found.items()} == {
        COLON: [LINE, OTHER],
        NECK: [NECK_LINE],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LINE}\n{COLON}/only", "Path.csv, line 2: 1.3.6.1.4.1.9328.50.4.0001/only; legal: <case>/<study>"),
        (f"{LINE}/more", "line 1"),
        ('"a/b/c"', "line 1"),
        ("a/b/\x1b[31mc", r"line 1: a/b/\\x1b"),
        ("a/" + "b" * 1025 + "/c", "line 1"),
        (
            "\n".join(f"a/b/{n}.0-1" for n in range(MOST_SERIES + 1)),
            f"line 257: more than {MOST_SERIES} of a;",
        ),
    ],
)
def test_a_line_of_another_form_is_told_with_its_number(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_series(text, "Path.csv")


@pytest.mark.parametrize(
    ("series", "position", "thickness", "kernel"),
    [
        ("Coloprone  1.0  B30f", "prone", 1.0, "B30f"),
        ("Colosupine  1.0  B30f  RUN2", "supine", 1.0, "B30f"),
        ("Supine Colon  ST 1.0  B20f", "supine", 1.0, "B20f"),
        ("HEADNECK  2.0  B30s", None, 2.0, "B30s"),
        ("SUPINE 2MM AXIALS", "supine", 2.0, None),
        ("SUPINEC PLUSVol.FC13Q06", "supine", None, "FC13"),
        ("Recon 2 ABD PEL WITHOUT - PRON", "prone", None, None),
        ("COLON SUP  1.0  B30f", "supine", 1.0, "B30f"),
        ("AXIAL 3D", None, None, None),
        ("prone and supine", None, None, None),
        ("0 mm 0.0", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_series_says_how_its_patient_lay(
    series: str, position: str | None, thickness: float | None, kernel: str | None
) -> None:
    assert said_by(series) == (position, thickness, kernel)


def test_every_line_of_the_authors_list_is_read_into_fields(facts: Path) -> None:
    text = (facts / "Path.csv").read_text()
    found = read_series(text, "Path.csv")
    lines = [one for of in found.values() for one in of]
    assert [one.text for one in lines] == text.split("\n")[:-1]
    assert (len(found), len(lines)) == (815, 815)
    assert all(
        None not in {one.study_date, one.study_uid_end, one.series_number, one.series_uid_end}
        for one in lines
    )
    sources = Counter("HN" if case.startswith("HN_") else "COLONOG" for case in found)
    assert sources == {"COLONOG": 784, "HN": 31}
    counts = {
        name: sum(getattr(one, name) is None for one in lines) for name in ("study_id", "study", "series")
    }
    assert counts == {"study_id": 64, "study": 35, "series": 43}
    assert sum(one.study_date == "2000-01-01" for one in lines) == 750
    positions = Counter(one.position for one in lines)
    assert positions == {"prone": 291, "supine": 320, None: 204}
    listed = {name.removesuffix(".nii.gz") for name in (facts / "data_split.txt").read_text().split()}
    assert set(found) <= listed
    assert {one.thickness_mm for one in lines} == {1.0, 2.0, 5.0, None}


def test_a_user_s_list_is_known_by_its_form() -> None:
    table = read_table(f"{LINE}\r\n{NECK_LINE}\r\n{OTHER}\r\n".encode(), "any.csv")
    assert (table.by, set(table.series)) == ("case", {COLON, NECK})
    assert table.rows[NECK]["series"] == "HEADNECK  2.0  B30s"
    assert table.rows[COLON] == {}


# -- of a dataset


@pytest.mark.parametrize("place", ["metadata/Path.csv", "Path.csv"])
def test_the_datasets_own_list_is_found_where_it_is_kept(place: str) -> None:
    names = ctspine1k(LIVER)
    line = LINE.replace(COLON, LIVER)
    [case] = listed(Names(names.paths, {**names.documents, place: f"\ufeff{line}\r\n".encode()})).cases
    assert [one.text for one in case.series] == [line]
    [without] = listed(names).cases
    assert without.series == ()


@pytest.mark.parametrize("data", [b"case,age\n1,2\n", b"\xff\xfe"])
def test_a_list_that_is_none_is_an_error(data: bytes) -> None:
    names = ctspine1k(LIVER)
    with pytest.raises(SourceError, match="a place/metadata/Path.csv"):
        listed(Names(names.paths, {**names.documents, "metadata/Path.csv": data}))


# -- in a store


@pytest.fixture
def source(tree: Tree) -> Tree:
    """Three cases, of which the one of the liver is in no list, and the list of the two others."""
    tree.add(COLON, voxels(0), source="COLONOG")
    tree.add(NECK, voxels(1), source="HNSCC-3DCT-RT", section="test_public")
    tree.add(LIVER, voxels(2))
    return tree


def listing(source: Tree, *lines: str) -> Path:
    path = source.root / "metadata/Path.csv"
    path.write_text("".join(f"{line}\r\n" for line in lines), newline="")
    return path


def said(location: Any) -> dict[str, list[str]]:
    store = cz.open_store(location)
    return {case: [one.text for one in record.series] for case, record in store.records.items()}


def test_a_build_has_the_series_of_its_source_in_its_tables(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    plan = cz.plan_build(source.root, tmp_path / "s.zarr", workers=1)
    assert "series       2 lines of 2 of 3 cases" in cz.describe(plan)
    cz.build_store(plan)
    store = cz.open_store(tmp_path / "s.zarr")
    cases = store.cases
    assert [cases.loc[COLON, name] for name in SERIES_COLUMNS] == [
        *("2000-01-01", "Abdomen24ACRINColoIRB2415-04 Adult", 4, "Coloprone  1.0  B30f", "prone", 1.0, "B30f")
    ]
    assert cases.loc[LIVER, list(SERIES_COLUMNS)].isna().all()
    assert [str(cases[name].dtype) for name in ("series_number", "thickness_mm")] == ["Int64", "float64"]
    assert list(store.select(cases=cases.position == "prone")) == [COLON]
    assert list(store.select(cases=cases["series_number"] == 3)) == [NECK]
    assert cz.verify(tmp_path / "s.zarr", source=source.root).is_whole


def test_the_stored_table_of_cases_has_them_as_well(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    built(source, tmp_path / "s.zarr")
    stored = pd.read_parquet(tmp_path / "s.zarr/cases.parquet", dtype_backend="pyarrow").set_index("case")
    types = {name: str(stored[name].dtype) for name in SERIES_COLUMNS}
    assert types == dict.fromkeys(SERIES_COLUMNS, "string[pyarrow]") | {
        "series_number": "int64[pyarrow]",
        "thickness_mm": "double[pyarrow]",
    }
    cases = cz.open_store(tmp_path / "s.zarr").cases
    for name in SERIES_COLUMNS:
        assert stored[name].dropna().to_dict() == cases[name].dropna().to_dict()
        assert stored[name].isna().to_dict() == cases[name].isna().to_dict()


def test_the_table_of_series_says_which_collection_each_case_is_of(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, OTHER)
    built(source, tmp_path / "s.zarr")
    store = cz.open_store(tmp_path / "s.zarr")
    table = store.series
    assert Counter(table.case) == {COLON: 2, NECK: 1, LIVER: 1}
    colon = table[table.case == COLON]
    assert colon.text.to_list() == [LINE, OTHER]
    assert colon.series_uid_end.to_list() == ["0.4.2", "0.4.3"]
    assert set(colon.collection) == {"CT COLONOGRAPHY, The Cancer Imaging Archive"}
    assert set(colon.doi) == {"10.7937/K9/TCIA.2015.NWTESAY1"}
    assert set(colon.licence) == {"CC-BY-3.0"}
    [liver] = table[table.case == LIVER].to_dict("records")
    assert (liver["collection"], liver["licence"]) == (
        "Task03_Liver, Medical Segmentation Decathlon",
        "CC-BY-SA-4.0",
    )
    assert pd.isna(liver["series_number"])
    assert pd.isna(liver["text"])
    # Nothing says which of the two the case was made from.
    assert store.cases.loc[COLON, list(SERIES_COLUMNS)].isna().all()
    assert store.select(cases=[NECK]).series.case.to_list() == [NECK]
    pd.testing.assert_frame_equal(store.select(cases=[]).series, table[:0])


def test_a_dataset_without_collections_has_a_table_of_series_that_says_so(
    phantom_store: cz.Store,
) -> None:
    bare = msgspec.structs.replace(phantom_store.spec, collections={})
    root = msgspec.structs.replace(phantom_store.root, dataset=bare)
    table = cz.Store(phantom_store.storage, root, phantom_store.entries, phantom_store.reading).series
    assert len(table) == len(phantom_store)
    assert set(table.licence) == {"unknown"}
    assert table.collection.isna().all()


def test_a_record_without_series_says_nothing_of_them(phantom_store: cz.Store) -> None:
    assert all("series" not in json.loads(msgspec.json.encode(one)) for one in phantom_store.records.values())


def test_series_are_no_part_of_a_cases_content(source: Tree, tmp_path: Path) -> None:
    built(source, tmp_path / "bare.zarr")
    bare = {case: one.content for case, one in cz.open_store(tmp_path / "bare.zarr").records.items()}
    listing(source, LINE, NECK_LINE)
    built(source, tmp_path / "s.zarr")
    assert {case: one.content for case, one in cz.open_store(tmp_path / "s.zarr").records.items()} == bare


def test_found_by_the_build_or_joined_later_the_store_is_the_same(source: Tree, tmp_path: Path) -> None:
    built(source, tmp_path / "later.zarr")
    path = listing(source, LINE, NECK_LINE)
    built(source, tmp_path / "source.zarr")
    [found] = cz.add_metadata(tmp_path / "later.zarr", path)
    assert str(found) == "Path.csv: a row for 2 cases; 1 cases without a row: liver_0"
    assert set(found.changed) == {COLON, NECK}
    expected = without_time(objects(tmp_path / "source.zarr"))
    assert without_time(objects(tmp_path / "later.zarr")) == expected
    path.unlink()
    outside = tmp_path / "Path.csv"
    outside.write_text(f"{LINE}\n{NECK_LINE}\n")
    built(source, tmp_path / "user.zarr", metadata=outside)
    assert without_time(objects(tmp_path / "user.zarr")) == expected


def test_another_list_rebuilds_no_voxel_and_the_same_one_writes_nothing(source: Tree) -> None:
    store = filled({})
    listing(source, LINE, NECK_LINE)
    built(source, store)
    store.puts.clear()
    built(source, store)
    assert store.puts == []
    listing(source, OTHER, NECK_LINE)
    result = built(source, store)
    assert (result.built, len(result.whole), result.metadata) == ((), 3, ())
    cases = [key for key in store.written if COLON in key or NECK in key or LIVER in key]
    assert sorted(cases) == [f"receipts/{COLON}.json", f"train/COLONOG/{COLON}/zarr.json"]
    assert said(store)[COLON] == [OTHER]
    store.puts.clear()
    (source.root / "metadata/Path.csv").unlink()
    built(source, store)
    assert (store.puts, said(store)[COLON]) == ([], [OTHER])


def test_what_a_user_says_stands_above_what_the_source_says(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    mine = tmp_path / "mine.csv"
    mine.write_text(f"{OTHER}\n")
    store = filled({})
    [found] = built(source, store, metadata=mine).metadata
    assert found.changed == (COLON,)
    assert said(store) == {COLON: [OTHER], NECK: [NECK_LINE], LIVER: []}
    store.puts.clear()
    built(source, store, metadata=mine)
    assert store.puts == []


def test_a_list_takes_the_lines_of_other_cases_not_away(source: Tree, tmp_path: Path) -> None:
    built(source, tmp_path / "s.zarr")
    for line in (LINE, NECK_LINE):
        (tmp_path / "Path.csv").write_text(f"{line}\n")
        cz.add_metadata(tmp_path / "s.zarr", tmp_path / "Path.csv")
    assert said(tmp_path / "s.zarr") == {COLON: [LINE], NECK: [NECK_LINE], LIVER: []}
    assert cz.open_store(tmp_path / "s.zarr").metadata.shape == (3, 0)


def test_a_list_of_no_case_is_an_error_and_writes_nothing(source: Tree, tmp_path: Path) -> None:
    store = filled({})
    built(source, store)
    store.puts.clear()
    (tmp_path / "Path.csv").write_text("CTC-1/study/series\n")
    with pytest.raises(SourceError, match="none of its 1 rows is of a case here: CTC-1"):
        cz.add_metadata(store, tmp_path / "Path.csv")
    assert store.puts == []


def test_a_case_that_is_built_again_or_mended_keeps_its_lines(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    path = listing(source, LINE, NECK_LINE)
    built(source, location)
    before = objects(location)
    path.unlink()
    (location / f"train/COLONOG/{COLON}/image/c/0/0/0").write_bytes(b"x")
    (location / f"validation/HNSCC-3DCT-RT/{NECK}/zarr.json").unlink()
    cz.repair(location, source=source.root)
    assert objects(location) == before
    source.add(COLON, voxels(7), source="COLONOG", section=None)
    assert len(built(source, location).built) == 1
    assert said(location) == {COLON: [LINE], NECK: [NECK_LINE], LIVER: []}
    assert cz.verify(location).is_whole


def test_a_case_that_is_built_again_has_the_newest_lines_of_its_source(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    built(source, tmp_path / "s.zarr")
    listing(source, OTHER, NECK_LINE)
    source.add(COLON, voxels(7), source="COLONOG", section=None)
    assert len(built(source, tmp_path / "s.zarr").built) == 1
    assert said(tmp_path / "s.zarr")[COLON] == [OTHER]
    assert cz.verify(tmp_path / "s.zarr").is_whole


def test_killed_at_every_put_the_store_opens_and_the_same_build_completes_it(source: Tree) -> None:
    empty = filled({})
    built(source, empty)
    contents = empty.contents()
    listing(source, LINE, NECK_LINE)
    clean = filled(contents)
    built(source, clean)
    expected, least = without_time(clean.contents()), len(clean.written)
    for nth in itertools.count(1):
        dying = filled(contents, nth)
        try:
            built(source, dying)
        except (Killed, StorageError):
            last = dying.puts[-1]
        else:
            break
        left = filled(dying.contents())
        assert len(cz.open_store(left)) == 3, last
        built(source, left)
        assert cz.verify(left).is_whole, last
        assert without_time(left.contents()) == expected, last
    assert nth > least


def test_a_derived_store_has_the_lines_of_its_parent(source: Tree, tmp_path: Path) -> None:
    parent, derived = tmp_path / "s.zarr", tmp_path / "d.zarr"
    listing(source, LINE)
    built(source, parent)
    cz.build_store(cz.plan_derive(parent, derived, window=(-1000, 1000), workers=1))
    assert said(derived)[COLON] == [LINE]
    assert cz.open_store(derived).series.licence.to_list().count("CC-BY-3.0") == 1


def test_parts_have_the_lines_that_their_plan_has(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    for number in (1, 2):
        part = cz.Part(number, 2)
        built(source, tmp_path / "s.zarr", plan_file=tmp_path / "plan.json", part=part)
    cz.finalize(tmp_path / "s.zarr")
    assert said(tmp_path / "s.zarr") == {COLON: [LINE], NECK: [NECK_LINE], LIVER: []}


def test_a_build_from_the_hub_finds_the_list_there(source: Tree, hub: Hub, tmp_path: Path) -> None:
    listing(source, LINE)
    hub.hub.add("someone/spines", source.root)
    plan = cz.plan_build(
        "hf://datasets/someone/spines", tmp_path / "s.zarr", source_options=hub.options, workers=1
    )
    assert {one.case.id: len(one.case.series) for one in plan.pending} == {COLON: 1, NECK: 0, LIVER: 0}


# -- hostile records


@pytest.mark.parametrize(
    "changes",
    [
        {"study_date": "2000-1-1"},
        {"study_date": "2000-01-01\n"},
        {"study_uid_end": "1.2.3.4"},
        {"series_uid_end": "<b>"},
        {"series_number": -1},
        {"series_number": 2**60},
        {"position": "standing"},
        {"thickness_mm": 0},
        {"study": "x" * 1025},
        {"text": "x" * 3000},
    ],
)
def test_a_line_that_no_list_has_is_refused_in_a_record(changes: dict[str, object]) -> None:
    document = fields(line_of(LINE)) | changes
    with pytest.raises(Malformed):
        parse(msgspec.json.encode(document), Series)


# -- commands


def test_the_command_lists_series_and_filters(source: Tree, tmp_path: Path) -> None:
    listing(source, LINE, NECK_LINE)
    location = str(tmp_path / "s.zarr")
    built(source, location)
    found = run("cases", location, "--series", "--json", "--source-dataset", "COLONOG")
    [row] = json.loads(found.stdout)
    assert (row["case"], row["series_number"], row["licence"], row["text"]) == (COLON, 4, "CC-BY-3.0", LINE)
    shown = run("cases", location, "--series").stdout
    assert "Coloprone" in shown
    assert shown.splitlines()[-1] == "3 rows"
    assert run("cases", location, "--csv").stdout.splitlines()[0].count("series_number") == 1
    assert f"series   {LINE}" in run("info", location, COLON).stdout.splitlines()
    both = run("cases", location, "--series", "--vertebrae")
    assert both.exit_code == 2
    assert "--vertebrae and --series at once" in both.stderr
