"""Tables of clinical metadata: read, joined to cases, kept without a voxel, asked."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from stores import Killed, built, filled, objects, without_time
from trees import Tree, VerseTree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.metadata import MOST_BYTES, MOST_COLUMNS, MOST_ROWS, MetadataTable, read_table
from ctspine_zarr.datasets.spreadsheet import read_spreadsheet
from ctspine_zarr.errors import DamagedStore, SourceError, StorageError, StoreMismatch, UnknownValue
from ctspine_zarr.format.catalog import Entry

CONTROLS = ("Cc", "Cs", "Zs", "Zl", "Zp")
LONG = b"," + b"y" * 4000
CLINICAL = "case,age,sex,visit\nliver_1,63,F,2020-01-05\nliver_2,,M,\nliver_9,7,,\n"


def workbook(*rows: list[Any]) -> bytes:
    book, data = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.worksheets[0].append(row)
    book.save(data)
    return data.getvalue()


@pytest.fixture
def source(tree: Tree) -> Tree:
    tree.add("liver_1")
    tree.add("liver_2", voxels(1))
    tree.add("liver_3", voxels(2), section="test_public")
    return tree


@pytest.fixture
def clinical(tmp_path: Path) -> Path:
    path = tmp_path / "clinical.csv"
    path.write_text(CLINICAL)
    return path


# -- tables


def test_columns_of_text_have_types() -> None:
    text = (
        "\ufeffCase ID;n;x;id;ok;day;note\r\n"
        "a.nii.gz;63;1.5;007;true;05.01.2020; two words \r\n"
        "b;;2;8;FALSE;NA;\r\n"
    )
    assert read_table(text.encode(), "some/where/t.csv") == MetadataTable(
        "t.csv",
        "case",
        {
            "a": {"n": 63, "x": 1.5, "id": "007", "ok": True, "day": "05.01.2020", "note": "two words"},
            "b": {"x": 2.0, "id": "8", "ok": False},
        },
    )


def test_a_letter_in_an_id_is_no_exponent() -> None:
    table = read_table(b"case,id,x\na,1e5,1e5\nb,2E7,2.5e-3\nc,30,30\n", "t.csv")
    assert [row["id"] for row in table.rows.values()] == ["1e5", "2E7", "30"]
    assert [row["x"] for row in table.rows.values()] == [100_000.0, 0.0025, 30.0]


def test_a_workbook_has_types_of_its_own_and_dates_are_iso_text() -> None:
    rows: list[list[Any]] = [
        [None],
        ["Patient Id", "age", "day", "at", "mixed", None, "none"],
        [4, 61, dt.date(2020, 1, 5), dt.datetime(2020, 1, 5, 12, 30), 1, "unnamed"],  # noqa: DTZ001 - as Excel has it
        ["p5", 1.5, None, None, "text", None],
    ]
    assert read_table(workbook(*rows), "t.xlsx") == MetadataTable(
        "t.xlsx",
        "patient",
        {
            "4": {"age": 61, "day": "2020-01-05", "at": "2020-01-05T12:30:00", "mixed": 1},
            "p5": {"age": 1.5, "mixed": "text"},
        },
    )


def repacked(book: bytes, said: int = 0, dimension: str = "") -> bytes:
    """The workbook, a file of which says that it has more bytes, and its sheet that it is so large."""
    data = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if dimension and name.startswith("xl/worksheets/"):
                text = re.sub(rb'(<dimension ref=)"[^"]*"', rb'\1"%s"' % dimension.encode(), text)
            new.writestr(name, text)
        new.infolist()[0].file_size += said
    return data.getvalue()


def test_a_workbook_that_inflates_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    small = workbook(["case", "Patient Id", "a"], ["x", "p", 1])
    large = repacked(small, said=1 << 28)
    said = repacked(small, dimension="A1:XFD1048576")
    assert said != small
    assert read_table(said, "t.xlsx").rows == {"x": {"Patient Id": "p", "a": 1}}
    assert read_spreadsheet(said, "t.xlsx") == {"p": ({"case": "x", "a": 1},)}
    deep, wide = openpyxl.Workbook(), openpyxl.Workbook()
    deep.worksheets[0].cell(1000, 1, "x")
    wide.worksheets[0].cell(1, 1000, "x")
    monkeypatch.setattr("ctspine_zarr.datasets.spreadsheet.MOST_CELLS", 1000)
    books = [(large, r"268\d{6} bytes once it is inflated; legal: at most 268435456")]
    for book in (deep, wide):
        data = io.BytesIO()
        book.save(data)
        books.append((data.getvalue(), "more than 1000 cells and rows; legal: as many, blank ones included"))
    for found, message in books:
        for read in (read_table, read_spreadsheet):
            with pytest.raises(SourceError, match=message):
                read(found, "t.xlsx")


@pytest.mark.parametrize(
    ("key", "by", "ids"),
    [
        ("name=case", "case", ["a", "b"]),
        ("name", "case", ["a", "b"]),
        ("who=patient", "patient", ["x", "y"]),
        ("odd=case=case", "case", ["1", "2"]),
        ("odd=case", "case", ["1", "2"]),
    ],
)
def test_a_key_is_a_column_and_what_it_tells(key: str, by: str, ids: list[str]) -> None:
    header = "name\twho\todd=case" if key != "odd=case" else "name\twho\todd"
    table = read_table(f"{header}\na\tx\t1\nb\ty\t2\n".encode(), "t.tsv", key)
    assert (table.by, list(table.rows)) == (by, ids)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"", "0 rows; legal: names of columns, then 1"),
        ("t.csv", b"case,a\n", "0 rows"),
        ("t.csv", b"case,a\nx,\xff\n", "byte 9 is no UTF-8"),
        ("t.csv", b"id,a\nx,1\n", "columns id, a; legal: a column case or patient_id, or a key"),
        ("t.csv", b"case,a\nx,1\nx,2\n", "several rows of x; legal: one of each"),
        ("t.csv", b"case,a\nx,1\n,2\n", "row 3 has no case; legal: one in each row"),
        ("t.csv", b"case,a,a\nx,1,2\n", "two columns 'a'; legal: a name for each"),
        ("t.csv", b"case,a\nx,1,2\n", "row 2 has more cells than the 2 columns"),
        ("t.csv", b'case,a\nx,"1\n', "no table: unexpected end of data"),
        ("t.csv", b"case,a\nx," + b"y" * 10_001 + b"\n", "the row of x is too long; legal: cells of 10000"),
        ("t.csv", b"case,a\nx," + b"y" * 200_000 + b"\n", "no table: field larger than field limit"),
        ("t.csv", b"case," + b"n" * 129 + b"\nx,1\n", "2 columns; legal: at most 256"),
        ("t.csv", b'case,"a\x1bb"\nx,1\n', "of printable names of up to 128"),
        ("t.csv", b"case" + b",a" * MOST_COLUMNS + b"\nx\n", "257 columns; legal: at most 256"),
        ("t.csv", b"case\n" + b"x\n" * (MOST_ROWS + 1), f"{MOST_ROWS + 1} rows; legal"),
        ("t.csv", bytes(MOST_BYTES + 1), f"legal: {MOST_BYTES} at most"),
        ("t.xlsx", b"PK\3\4 nothing", "cannot read spreadsheet t.xlsx"),
        ("t.xls", b"", "ending '.xls'; legal: .csv, .tsv, .xlsx"),
        (
            "t.csv",
            b"case," + b",".join(b"c%d" % i for i in range(20)) + b"\nx" + (b"," + b"y" * 4000) * 20,
            "too long",
        ),
        ("p.csv", b"a/b/c\nno series\n", "p.csv, line 2: no series; legal: <case>/<study>/<series>"),
    ],
)
def test_a_file_that_is_no_table_is_told(name: str, data: bytes, message: str) -> None:
    with pytest.raises(SourceError) as told:
        read_table(data, name)
    assert message in str(told.value)
    assert len(str(told.value)) < 800


def test_a_key_that_is_no_column_is_told() -> None:
    with pytest.raises(UnknownValue, match="t.csv has no column 'who' for a key; legal: case, a"):
        read_table(b"case,a\nx,1\n", "t.csv", "who=patient")


@given(st.binary(max_size=300), st.sampled_from(["t.csv", "t.tsv", "t.xlsx"]))
def test_whatever_a_file_holds_it_is_a_table_or_an_error(data: bytes, name: str) -> None:
    for start in (b"", b"case,a\n", b"case\ta\n"):
        try:
            table = read_table(start + data, name)
        except SourceError:
            continue
        json.dumps({key: dict(row) for key, row in table.rows.items()}, allow_nan=False)


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**40), 2**40).map(str),
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.text(
                st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=20
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_column_says_what_its_cells_say(cells: list[str]) -> None:
    table = pd.DataFrame({"case": [f"c{n}" for n in range(len(cells))], "value": cells})
    found = read_table(table.to_csv(index=False, sep="\t").encode(), "t.tsv")
    for number, text in enumerate(cells):
        value = found.rows[f"c{number}"].get("value")
        if value is None:
            assert text.strip().lower() in {"", "na", "n/a", "nan", "null", "none"}
        elif isinstance(value, str):
            assert value == text.strip()
        elif isinstance(value, bool):
            assert str(value).lower() == text.strip().lower()
        else:
            assert value == float(text)


# -- the authors' list of series


# -- joined


def test_a_build_joins_a_table_and_tells_what_matches_nothing(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    plan = cz.plan_build(source.root, tmp_path / "s.zarr", metadata=clinical, workers=1)
    told = "clinical.csv: a row for 2 cases; 1 rows of no case: liver_9; 1 cases without a row: liver_3"
    assert f"metadata     {told}" in cz.describe(plan)
    [found] = cz.build_store(plan).metadata
    assert str(found) == told
    assert (found.unmatched_rows, found.unmatched_cases) == (("liver_9",), ("liver_3",))
    store = cz.open_store(tmp_path / "s.zarr")
    assert store["liver_1"].record.metadata == {
        "clinical.csv": {"age": 63, "sex": "F", "visit": "2020-01-05"}
    }
    assert store["liver_2"].record.metadata == {"clinical.csv": {"sex": "M"}}
    assert store["liver_3"].record.metadata == {}
    assert list(store.select(cases=store.metadata.age > 60)) == ["liver_1"]
    assert list(store.select(cases=store.metadata.sex == "M")) == ["liver_2"]
    assert cz.verify(tmp_path / "s.zarr").is_whole


def test_rows_of_cases_that_are_not_selected_match(source: Tree, clinical: Path, tmp_path: Path) -> None:
    chosen = cz.Selection(cases=("liver_1",))
    plan = cz.plan_build(source.root, tmp_path / "s.zarr", selection=chosen, metadata=[clinical])
    [joined] = plan.joined
    assert (list(joined.rows), joined.unmatched_rows, joined.unmatched_cases) == (
        ["liver_1"],
        ("liver_9",),
        (),
    )


def test_rows_of_a_patient_are_joined_to_all_of_its_cases(tmp_path: Path) -> None:
    tree = VerseTree(tmp_path / "verse")
    tree.add("sub-verse004_split-a")
    tree.add("sub-verse004_split-b", voxels(1))
    tree.add("sub-verse005", voxels(2))
    location = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    patients = {case: one.patient_id for case, one in cz.open_store(location).records.items()}
    [twice] = [patient for patient, count in Counter(patients.values()).items() if count == 2]
    (tmp_path / "p.tsv").write_text(f"patient_id\tage\n{twice}\t50\n")
    [found] = cz.add_metadata(location, tmp_path / "p.tsv")
    assert set(found.rows) == {case for case, patient in patients.items() if patient == twice}
    ages = cz.open_store(location).metadata.age
    assert ages.groupby(pd.Series(patients)).max().to_dict()[twice] == 50


def test_another_table_rebuilds_no_voxel(source: Tree, clinical: Path) -> None:
    store = filled({})
    built(source, store, metadata=clinical)
    before = store.contents()
    store.puts.clear()
    clinical.write_text(CLINICAL.replace("63", "64"))
    result = built(source, store, metadata=clinical)
    assert (result.built, len(result.whole)) == ((), 3)
    assert result.metadata[0].changed == ("liver_1",)
    documents = ["train/MSD-T10/liver_1/zarr.json", "receipts/liver_1.json", "zarr.json"]
    catalog = [key for key in store.written if key.startswith("catalog-")]
    assert sorted(store.written) == sorted([*documents, *catalog])
    assert len(catalog) == 1
    assert {key for key in before if key not in store.contents()} == {
        key for key in before if key.startswith("catalog-")
    }
    store.puts.clear()
    built(source, store, metadata=clinical)
    assert store.puts == []


def test_a_build_without_the_table_keeps_what_was_joined(source: Tree, clinical: Path) -> None:
    store = filled({})
    built(source, store, metadata=clinical)
    store.puts.clear()
    built(source, store)
    assert store.puts == []


def test_a_case_that_is_built_again_keeps_its_row(source: Tree, clinical: Path, tmp_path: Path) -> None:
    built(source, tmp_path / "s.zarr", metadata=clinical)
    source.add("liver_1", voxels(7))
    assert len(built(source, tmp_path / "s.zarr").built) == 1
    assert cz.open_store(tmp_path / "s.zarr").metadata.age["liver_1"] == 63
    assert cz.verify(tmp_path / "s.zarr").is_whole


def test_joined_at_the_build_or_later_the_store_is_the_same(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    built(source, tmp_path / "a.zarr", metadata=clinical)
    built(source, tmp_path / "b.zarr")
    bare = without_time(objects(tmp_path / "b.zarr"))
    cz.add_metadata(tmp_path / "b.zarr", clinical)
    assert without_time(objects(tmp_path / "a.zarr")) == without_time(objects(tmp_path / "b.zarr"))
    assert cz.remove_metadata(tmp_path / "b.zarr", "clinical.csv").changed == ("liver_1", "liver_2")
    assert without_time(objects(tmp_path / "b.zarr")) == bare


def test_tables_have_their_places_by_the_names_of_their_files(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("case,age,implant\nliver_1,62,true\nliver_3,1.5,false\n")
    built(source, tmp_path / "s.zarr", metadata=[clinical, other])
    table = cz.open_store(tmp_path / "s.zarr").metadata
    assert list(table.columns) == ["clinical.csv:age", "sex", "visit", "other.csv:age", "implant"]
    assert [table[name].iloc[0] for name in ("clinical.csv:age", "other.csv:age")] == [63, 62]
    assert table["implant"].dtype == "boolean"
    assert list(cz.open_store(tmp_path / "s.zarr").select(cases=table["implant"])) == ["liver_1"]
    assert table["other.csv:age"].dtype == np.float64
    assert table.index.tolist() == ["liver_1", "liver_2", "liver_3"]
    clinical.write_text("case,weight\nliver_3,70\n")
    [found] = cz.add_metadata(tmp_path / "s.zarr", clinical)
    assert set(found.changed) == {"liver_1", "liver_2", "liver_3"}
    assert list(cz.open_store(tmp_path / "s.zarr").metadata.columns) == ["weight", "age", "implant"]


def test_a_store_without_tables_has_a_table_without_columns(phantom_store: cz.Store) -> None:
    assert phantom_store.metadata.shape == (9, 0)
    assert phantom_store.metadata.index.name == "case"


def test_killed_at_every_put_the_store_opens_and_the_same_work_completes_it(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    built(source, tmp_path / "s.zarr")
    cz.add_labels(tmp_path / "s.zarr", "model", {"liver_2": np.ascontiguousarray(labels().T)})
    contents = objects(tmp_path / "s.zarr")
    clean = filled(contents)
    cz.add_metadata(clean, clinical)
    expected, least = without_time(clean.contents()), len(clean.written)
    for nth in itertools.count(1):
        dying = filled(contents, nth)
        try:
            cz.add_metadata(dying, clinical)
        except (Killed, StorageError):
            last = dying.puts[-1]
        else:
            break
        left = filled(dying.contents())
        assert len(cz.open_store(left)["liver_1"].slice(3)["image"]) > 0, last
        cz.add_metadata(left, clinical)
        assert cz.verify(left).is_whole, last
        assert without_time(left.contents()) == expected, last
    assert nth > least


def test_a_case_with_a_row_is_mended(source: Tree, clinical: Path, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    built(source, location, metadata=clinical)
    before = objects(location)
    (location / "train/MSD-T10/liver_1/image/c/0/0/0").write_bytes(b"x")
    (location / "train/MSD-T10/liver_2/zarr.json").unlink()
    assert not cz.verify(location).is_whole
    cz.repair(location, source=source.root)
    assert objects(location) == before
    assert cz.verify(location, source=source.root).is_whole


@pytest.mark.parametrize("end", ["build", "repair"])
def test_label_sets_outlive_a_join_that_was_interrupted(
    source: Tree, clinical: Path, tmp_path: Path, end: str
) -> None:
    built(source, tmp_path / "s.zarr")
    cz.add_labels(tmp_path / "s.zarr", "model", {"liver_2": np.ascontiguousarray(labels().T)})
    contents = objects(tmp_path / "s.zarr")
    clean = filled(contents)
    cz.add_metadata(clean, clinical)
    path = "train/MSD-T10/liver_2"
    last = clean.puts.index("receipts/liver_2.json") + 1
    # Killed after each document of the case, before a catalog says so.
    for nth in [at for at, key in enumerate(clean.puts, 1) if key.startswith(path) and at < last] + [last]:
        dying = filled(contents, nth)
        with pytest.raises((Killed, StorageError)):
            cz.add_metadata(dying, clinical)
        left = filled(dying.contents())
        if end == "repair":
            assert cz.repair(left, source=source.root).is_whole, nth
            assert without_time(left.contents()) == without_time(contents), nth
            continue
        source.add("liver_2", voxels(1), labels() * 0)
        assert cz.build_store(cz.plan_build(source.root, left, workers=1)).dropped == {}, nth
        source.add("liver_2", voxels(1))
        assert list(cz.open_store(left)["liver_2"].record.sets) == ["model"], nth
        cz.add_metadata(left, clinical)
        assert cz.verify(left).is_whole, nth
        assert cz.open_store(left)["liver_2"].record.metadata == {"clinical.csv": {"sex": "M"}}


def test_a_store_of_endless_columns_is_damaged(phantom_store: cz.Store) -> None:
    entries = {}
    for number in range(100):
        row = {f"c{number}-{at}": at for at in range(256)}
        record = replace(phantom_store["liver_0"].record, id=f"c{number}", metadata={"t.csv": row})
        entries[record.id] = Entry(record, "0" * 64, "0" * 64)
    store = cz.Store(phantom_store.storage, phantom_store.root, entries, phantom_store.reading)
    with pytest.raises(
        DamagedStore, match="metadata of 1 tables, 25600 columns .*; legal: at most 16384 columns in all"
    ):
        _ = store.metadata


def test_a_damaged_case_gets_no_row(source: Tree, clinical: Path, tmp_path: Path) -> None:
    built(source, tmp_path / "s.zarr")
    (tmp_path / "s.zarr/receipts/liver_1.json").write_bytes(b"x")
    with pytest.raises(DamagedStore, match="case liver_1: its documents are damaged"):
        cz.add_metadata(tmp_path / "s.zarr", clinical)


def test_a_derived_store_has_the_rows_of_its_parent(source: Tree, clinical: Path, tmp_path: Path) -> None:
    built(source, tmp_path / "s.zarr", metadata=clinical)
    cz.build_store(cz.plan_derive(tmp_path / "s.zarr", tmp_path / "d.zarr", spacing=3.0, workers=1))
    one, other = (cz.open_store(tmp_path / name).metadata for name in ("s.zarr", "d.zarr"))
    pd.testing.assert_frame_equal(one, other)


def test_what_cannot_be_joined_is_an_error_before_anything_is_written(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    location = tmp_path / "s.zarr"
    for options, error, message in (
        ({"metadata": tmp_path / "none.csv"}, SourceError, "cannot read metadata"),
        ({"metadata": [clinical, clinical]}, SourceError, "files of different names"),
        ({"metadata": clinical, "part": cz.Part(1, 2)}, UnknownValue, "metadata for a part of a plan"),
        ({"metadata_key": "case"}, UnknownValue, "without metadata; legal: both"),
        ({"metadata": clinical, "metadata_key": "who"}, UnknownValue, "no column 'who'"),
    ):
        with pytest.raises(error, match=message):
            cz.plan_build(source.root, location, **options)
    assert not location.exists()
    built(source, location)
    before = objects(location)
    with pytest.raises(UnknownValue, match="unknown metadata 'x.csv'"):
        cz.remove_metadata(location, "x.csv")
    assert objects(location) == before
    partial = filled(
        {key: data for key, data in before.items() if not key.startswith(("zarr.json", "catalog-"))}
    )
    with pytest.raises((StoreMismatch, FileNotFoundError)):
        cz.add_metadata(partial, clinical)


def test_a_table_of_no_case_takes_no_row_away(source: Tree, clinical: Path, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    built(source, location, metadata=clinical)
    before = objects(location)
    other = tmp_path / "other" / "clinical.csv"
    other.parent.mkdir()
    other.write_text("case,who,age\nliver_1,x,1\n")
    by_case = (
        "clinical.csv: none of its 1 rows is of a case here: x; legal: of cases, such as liver_1, liver_2"
    )
    by_patient = "none of its 1 rows is of a patient here: x; legal: of patients, as of liver_1"
    for key, message in (("who=case", by_case), ("who=patient", by_patient)):
        with pytest.raises(SourceError, match=message):
            cz.add_metadata(location, other, key=key)
        with pytest.raises(SourceError, match=message):
            cz.plan_build(source.root, location, metadata=other, metadata_key=key)
        assert run("metadata", location, other, "--key", key).exit_code == 1
    assert objects(location) == before


def test_a_table_is_taken_out_whenever_that_was_interrupted(
    source: Tree, clinical: Path, tmp_path: Path
) -> None:
    built(source, tmp_path / "s.zarr", metadata=clinical)
    contents = objects(tmp_path / "s.zarr")
    clean = filled(contents)
    cz.remove_metadata(clean, "clinical.csv")
    expected = without_time(clean.contents())
    for nth in itertools.count(1):
        dying = filled(contents, nth)
        try:
            cz.remove_metadata(dying, "clinical.csv")
        except (Killed, StorageError):
            last = dying.puts[-1]
        else:
            break
        left = filled(dying.contents())
        cz.remove_metadata(left, "clinical.csv")
        assert without_time(left.contents()) == expected, last
        with pytest.raises(UnknownValue, match="unknown metadata"):
            cz.remove_metadata(left, "clinical.csv")
    assert nth > len(clean.written)


def test_the_commands_join_tell_and_remove(source: Tree, clinical: Path, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    done = run("build", source.root, location, "--metadata", clinical, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("1 rows of no case: liver_9; 1 cases without a row: liver_3") == 2
    table = tmp_path / "x.xlsx"
    table.write_bytes(workbook(["who", "grade"], ["liver_3", 2]))
    done = run("metadata", location, table, "--key", "who=case")
    assert (
        done.stdout == "x.xlsx: a row for 1 cases; 2 cases without a row: liver_1, liver_2; 1 cases changed\n"
    )
    assert list(cz.open_store(location).metadata.columns) == ["age", "sex", "visit", "grade"]
    assert run("metadata", location, "--remove", "x.xlsx").stdout == "removed x.xlsx of 1 cases\n"
    done = run("metadata", location, "--remove", "clinical.csv", "--key", "who=case")
    assert (done.exit_code, "--key 'who=case' with --remove; legal: with FILEs" in done.stderr) == (2, True)
    for arguments in ([], [table, "--remove", "x.xlsx"], [table, "--key", "none"], ["--remove", "y.csv"]):
        assert run("metadata", location, *arguments).exit_code == 2
    assert run("metadata", location, tmp_path / "none.csv").exit_code == 1
    done = run("cases", location, "--json", "--metadata")
    assert done.exit_code == 0, done.exception
    rows = json.loads(done.stdout)
    assert [row["age"] for row in rows] == [63, None, None]
