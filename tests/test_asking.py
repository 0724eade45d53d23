"""What a store is asked: rows of labels, the commands that list them, and what xarray says of a mask."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import xarray as xr
from click.testing import Result
from commands import run
from msgspec.structs import replace
from nibabel.affines import apply_affine
from pyarrow import parquet
from trees import NnunetTree, Tree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, StorageError, UnknownValue
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Finding
from ctspine_zarr.read.labelled import _words

# Before its version 3 pandas reads the last bit as it comes, and later ones warn of being told.
EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}

CASE = "1.3.6.1.4.1.9328.50.4.0001"


def canonical(root: Path, name: str) -> nibabel.Nifti1Image:
    [path] = root.rglob(name)
    found: nibabel.Nifti1Image = nibabel.as_closest_canonical(nibabel.load(path))
    return found


def measured(root: Path, case: str) -> list[dict[str, Any]]:
    """The labels of a case by nibabel, numpy and scipy, from its files."""
    image, mask = canonical(root, f"{case}.nii.gz"), canonical(root, f"{case}_seg.nii.gz")
    values, hu = np.asarray(mask.dataobj).astype(int), image.get_fdata()
    rows = []
    for label in np.unique(values[values > 0]):
        at = np.argwhere(values == label)
        own = hu[values == label]
        rows.append(
            {
                "case": case,
                "label": label,
                "voxels": len(at),
                "cm3": len(at) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000,
                "hu_mean": own.mean(),
                "hu_std": own.std(),
                "hu_p50": np.percentile(own, 50, method="inverted_cdf"),
                "hu_p95": np.percentile(own, 95, method="inverted_cdf"),
                **dict(zip(("start_x", "start_y", "start_z"), at.min(axis=0), strict=True)),
                **dict(zip(("stop_x", "stop_y", "stop_z"), at.max(axis=0) + 1, strict=True)),
                **dict(zip(("centroid_x", "centroid_y", "centroid_z"), at.mean(axis=0), strict=True)),
                "pieces": scipy.ndimage.label(values == label, np.ones((3, 3, 3)))[1],
                "is_cut": bool((at == 0).any() or (at == np.array(values.shape) - 1).any()),
            }
        )
    return rows


def test_rows_of_labels_are_what_nibabel_and_scipy_measure(phantom: Path, phantom_store: cz.Store) -> None:
    found = phantom_store.vertebrae
    rows = [row for case in phantom_store for row in measured(phantom, case)]
    expected = pd.DataFrame(rows)
    assert found["case"].tolist() == expected["case"].tolist()
    assert found["level"].tolist() == [phantom_store.spec.labels[value] for value in expected["label"]]
    for name in expected.columns.drop("case"):
        # The catalog has centroids to a thousandth of a voxel.
        near = 5.001e-4 if name.startswith("centroid") else 0
        seen, own = (one[name].astype(float) for one in (found, expected))
        np.testing.assert_allclose(seen, own, rtol=1e-9, atol=near)
    for case, rows_of_case in found.groupby("case"):
        affine = canonical(phantom, f"{case}.nii.gz").affine
        places = apply_affine(affine, rows_of_case[["centroid_x", "centroid_y", "centroid_z"]].to_numpy())
        world = rows_of_case[["right_mm", "anterior_mm", "superior_mm"]]
        np.testing.assert_allclose(world, places, rtol=0, atol=1e-9)
    assert 0 < found["is_cut"].sum() < len(found)


def test_columns_have_types_in_an_empty_table_too(phantom_store: cz.Store) -> None:
    full, empty = phantom_store.vertebrae, phantom_store.select(min_slices=10_000).vertebrae
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert full["level"].cat.ordered
    assert full.sort_values("level")["label"].is_monotonic_increasing
    regions = full.groupby("region", observed=True)["level"].unique()
    assert {*regions["lumbar"]} <= {"L1", "L2", "L3", "L4", "L5"}


def test_findings_stand_with_the_labels_that_they_name(tree: Tree, tmp_path: Path) -> None:
    mask = labels()
    mask[0:2, 0:2, 13:16] = 24
    mask[15:18, 0:6, 13:16] = 24
    mask[5:12, 5:12, 16:18] = 21
    tree.add(mask=mask)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    table = cz.open_store(tmp_path / "s.zarr").vertebrae
    found = dict(zip(table["level"], table["findings"], strict=True))
    assert "split_vertebra" in found["L5"]
    assert "split_vertebra" not in found["L4"]
    assert dict(zip(table["level"], table["pieces"], strict=True)) == {"L2": 1, "L4": 1, "L5": 3}


def test_labels_that_are_no_vertebrae_have_rows(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "Dataset001_Organs")
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    table = store.vertebrae
    assert len(table) > 0
    assert table["level"].tolist() == [label.name for label in next(iter(store.records.values())).labels]
    assert table["level"].notna().all()


def test_a_selection_by_a_label_set_has_rows_of_its_labels(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    new = np.zeros((18, 24, 20), np.uint8)
    new[3:5, 4:9, 6:8] = 20
    cz.add_labels(tmp_path / "s.zarr", "model", {"liver_1": new})
    table = cz.open_store(tmp_path / "s.zarr").select(labels="model").vertebrae
    assert table[["level", "voxels", "start_z", "stop_x"]].to_numpy().tolist() == [["L1", 20, 3, 8]]


def test_a_table_of_labels_gives_cases_to_select(phantom_store: cz.Store) -> None:
    table = phantom_store.vertebrae
    large = table[(table.level == "L1") & (table.cm3 > table.cm3.median())]
    assert {*phantom_store.select(cases=large["case"])} == {*large["case"]}


# -- the command


def assert_equal_tables(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Whatever their dtypes: text is text, numbers are equal to the last bit, what is missing is missing."""
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        plain = [None if np.ndim(one) == 0 and pd.isna(one) else one for one in expected[name]]
        seen = [None if np.ndim(one) == 0 and pd.isna(one) else one for one in found[name]]
        listed = [list(one) if isinstance(one, tuple | list | np.ndarray) else one for one in plain]
        assert [list(one) if isinstance(one, tuple | list | np.ndarray) else one for one in seen] == listed, (
            name
        )


@pytest.mark.parametrize("option", [[], ["--vertebrae"]])
def test_what_is_listed_parses_back_to_the_table(
    phantom_store: cz.Store, tmp_path: Path, option: list[str]
) -> None:
    arguments = ["cases", phantom_store.location, "--split", "train", *option]
    chosen = phantom_store.select(split="train")
    expected = chosen.vertebrae if option else chosen.cases.reset_index()
    rows = json.loads(run(*arguments, "--json").stdout)
    assert_equal_tables(pd.DataFrame(rows), expected)
    flat = pd.read_csv(io.StringIO(run(*arguments, "--csv").stdout), **EXACT)
    for name in ("labels", "findings"):
        if name in expected:
            joined = [" ".join(one) or None for one in expected[name]]
            assert [None if pd.isna(one) else one for one in flat[name]] == joined
    others = [name for name in expected.columns if name not in {"labels", "findings", "spreadsheet"}]
    assert_equal_tables(flat[others], expected[others])
    done = run(*arguments, "--parquet", tmp_path / "t.parquet")
    assert done.exit_code == 0, done.output
    kept = parquet.read_table(tmp_path / "t.parquet").to_pandas()
    others = [name for name in expected.columns if name != "spreadsheet"]
    assert_equal_tables(kept[others], expected[others])
    if not option:
        assert [json.loads(one) for one in kept["spreadsheet"]] == [
            list(map(dict, one)) for one in expected["spreadsheet"]
        ]


def test_a_parquet_file_has_a_document(phantom_store: cz.Store, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    done = run("cases", phantom_store.location, "--split", "train", "--parquet", path, "--json")
    assert json.loads(done.stdout) == {"path": str(path), "rows": parquet.read_table(path).num_rows}


def test_a_log_has_the_table_and_csv_is_no_line_of_it(phantom_store: cz.Store, tmp_path: Path) -> None:
    log, store = tmp_path / "log.txt", phantom_store.location
    table = run("cases", store, "--log-file", log).stdout.splitlines()
    assert [line.split(" INFO ", 1)[1] for line in log.read_text().splitlines()] == table
    assert run("cases", store, "--csv", "--log-file", log).stdout == run("cases", store, "--csv", "-q").stdout
    assert len(log.read_text().splitlines()) == len(table)


def with_rows(store: cz.Store, *rows: dict[str, dict[str, Any]]) -> cz.Store:
    """The store, of whose first cases each has metadata: file -> column -> value."""
    entries = dict(store.entries)
    for case, metadata in zip(store, rows, strict=False):
        record = replace(store[case].record, metadata=metadata)
        entries[case] = Entry(record, "0" * 64, "0" * 64)
    return cz.Store(store.storage, store.root, entries, store.reading)


def asked(monkeypatch: pytest.MonkeyPatch, store: cz.Store, *options: object) -> Result:
    """The answer of `cases --metadata` about a store that is open."""
    with monkeypatch.context() as patch:
        patch.setattr(cz, "open_store", lambda *_, **__: store)
        return run("cases", "somewhere", "--metadata", *options)


@pytest.mark.parametrize("number", [20231105, 2**53 + 1, -(2**63) + 1, 2**63, -(10**30)])
def test_an_integer_is_an_integer_wherever_others_are_missing(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = with_rows(phantom_store, {"t.csv": {"n": number, "x": 0.5}}, {"t.csv": {"x": number}})
    assert store.metadata["n"].iloc[0] == number
    assert store.metadata["x"].iloc[:2].tolist() == [0.5, number]
    for row in (json.loads(asked(monkeypatch, store, "--json").stdout)[0],):
        assert (row["n"], type(row["n"])) == (number, int)
    table = pd.read_csv(io.StringIO(asked(monkeypatch, store, "--csv").stdout), dtype=str)
    assert [table["n"].iloc[0], table["x"].iloc[0]] == [str(number), "0.5"]
    assert int(float(table["x"].iloc[1])) == int(float(number))
    lines = asked(monkeypatch, store).stdout.splitlines()
    assert lines[1].split()[-2:] == [str(number), "0.5"]
    assert asked(monkeypatch, store, "--parquet", tmp_path / "t.parquet").exit_code == 0
    kept = parquet.read_table(tmp_path / "t.parquet")["n"].to_pylist()
    assert kept[0] == (number if abs(number) < 2**63 else str(number))
    assert kept[1:] == [None] * 8


def test_a_case_of_which_a_number_is_missing_is_neither_more_nor_less(phantom_store: cz.Store) -> None:
    store = with_rows(phantom_store, {"t.csv": {"age": 63}}, {"t.csv": {"age": 40}})
    first, second, *_ = store
    assert list(store.select(cases=store.metadata.age > 60)) == [first]
    assert list(store.select(cases=store.metadata.age <= 60)) == [second]


def test_every_column_of_every_table_is_there_under_a_name_of_its_own(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "a.csv": {"age": 1, "b.csv:age": 2, "case": 3, "a.csv:b.csv:age": 4},
        "b.csv": {"age": 5},
        "b.csv:x.csv": {"y": 6},
        "c.csv": {"b.csv:x.csv:y": 7, "y": 8},
        "b.csv:b.csv:x.csv": {"y": 9},
    }
    cells = sorted(cell for columns in row.values() for cell in columns.values())
    table = with_rows(phantom_store, row).metadata
    assert sorted(table.iloc[0].tolist()) == cells
    assert table.columns.is_unique
    assert {"a.csv:age", "a.csv:case"} <= {*table.columns}
    backwards = dict(reversed(row.items()))
    pd.testing.assert_frame_equal(with_rows(phantom_store, backwards).metadata, table)
    cz.write_parquet(table, tmp_path / "t.parquet")
    store = with_rows(phantom_store, {"t.csv": {name: cell for cell, name in enumerate(NAMES)}})
    [plain] = [json.loads(run("cases", phantom_store.location, "--case", next(iter(store)), "--json").stdout)]
    first = json.loads(asked(monkeypatch, store, "--json").stdout)[0]
    assert first | plain[0] == first
    assert sorted(cell for name, cell in first.items() if name not in plain[0]) == list(range(len(NAMES)))
    shown = [line.split("  ") for line in asked(monkeypatch, store).stdout.splitlines()[:2]]
    assert [len([cell for cell in line if cell.strip()]) for line in shown] == [8 + len(NAMES)] * 2
    for option in ([], ["--vertebrae"]):
        path = tmp_path / f"{len(option)}.parquet"
        assert asked(monkeypatch, store, "--parquet", path, *option).exit_code == 0
        assert {"metadata:stored", "metadata:case", "t.csv:case"} <= {*parquet.read_schema(path).names}


NAMES = [
    *(
        "metadata:case",
        "case",
        "split",
        "source",
        "stored",
        "spread",
        "cut",
        "HU mean",
        "spacing mm",
        "level",
    ),
    *("labels", "findings", "pieces", "cm3", "size (z, y, x)", "5 % to 95 %", "centroid (z, y, x)"),
]


def test_lists_are_lists_and_columns_of_their_names_are_what_they_are(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_rows(phantom_store, {"t.csv": {"labels": "a b", "findings": 3}}, {"t.csv": {"labels": "c"}})
    cz.write_parquet(store.metadata, tmp_path / "t.parquet")
    found = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert (found["labels"][:3], found["findings"][:2]) == (["a b", "c", None], [3, None])
    done = asked(monkeypatch, store, "--vertebrae", "--csv")
    assert done.exit_code == 0, done.exception
    assert pd.read_csv(io.StringIO(done.stdout))["metadata:labels"].iloc[0] == "a b"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"a": [1]}, pd.Index([2], name="a")), "two columns 'a'; legal: names that differ"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "two columns '1'"),
        (pd.DataFrame({"a": [1 + 2j]}), "column 'a': .*; legal: numbers, texts"),
        (pd.DataFrame({"a": [(1 + 2j,)]}), "column 'a': .*; legal: numbers, texts"),
        (pd.DataFrame({"labels": [(1,)]}), "column 'labels': .*; legal: .* tuples of texts"),
        (pd.DataFrame({"a": [object()]}), "column 'a': .*; legal: numbers, texts"),
    ],
)
def test_what_no_parquet_file_can_have_is_told(table: pd.DataFrame, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownValue, match=message):
        cz.write_parquet(table, tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


def test_a_store_of_endless_cells_is_damaged(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"t.csv": {f"c{case}-{at}": at for at in range(10)}} for case in range(9)]
    store = with_rows(phantom_store, *rows)
    monkeypatch.setattr("ctspine_zarr.tables.records._MOST_CELLS", 90 * 9)
    assert store.select().metadata.shape == (9, 90)
    monkeypatch.setattr("ctspine_zarr.tables.records._MOST_CELLS", 90 * 9 - 1)
    with pytest.raises(DamagedStore, match="1 tables, 90 columns and 9 rows; legal: at most 16384 columns"):
        _ = store.metadata


def test_csv_on_a_terminal_is_no_command_and_elsewhere_is_as_it_is(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_rows(phantom_store, {"t.csv": {"note": "\x1b[31mred\u202e"}})
    assert "\x1b[31mred\u202e" in asked(monkeypatch, store, "--csv").stdout
    monkeypatch.setattr("ctspine_zarr.cli.tables._is_terminal", lambda: True)
    lines = asked(monkeypatch, store, "--csv").stdout.splitlines()
    assert all(map(str.isprintable, lines))
    assert "\\x1b[31mred\\u202e" in lines[1]
    assert len(lines) == 10


def test_a_parquet_file_is_not_replaced_unasked(phantom_store: cz.Store, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"mine")
    done = run("cases", phantom_store.location, "--parquet", path)
    assert (done.exit_code, path.read_bytes()) == (1, b"mine")
    assert "exists; give --overwrite" in done.stderr
    assert run("cases", phantom_store.location, "--parquet", path, "--overwrite").exit_code == 0
    assert parquet.read_table(path).num_rows == 9
    assert [one.name for one in tmp_path.iterdir()] == ["t.parquet"]
    with pytest.raises(StorageError, match="exists"):
        cz.write_parquet(phantom_store.cases, path)


def test_an_empty_table_has_the_same_types_in_parquet(phantom_store: cz.Store, tmp_path: Path) -> None:
    cz.write_parquet(phantom_store.vertebrae, tmp_path / "a.parquet")
    cz.write_parquet(phantom_store.select(min_slices=9999).vertebrae, tmp_path / "b.parquet")
    assert (
        parquet.read_schema(tmp_path / "a.parquet").types == parquet.read_schema(tmp_path / "b.parquet").types
    )


@pytest.mark.parametrize(
    ("options", "criteria"),
    [
        ([], {}),
        (["--split", "train", "--split", "test"], {"split": ["train", "test"]}),
        (["--source-dataset", "COLONOG", "--max-slices", "40"], {"source": "COLONOG", "max_slices": 40}),
        (["--min-slices", "40"], {"min_slices": 40}),
        (["--has-label", "L6"], {"has_label": "L6"}),
        (["--has-label", "20", "--has-label", "T12"], {"has_label": [20, "T12"]}),
        (["--transitional"], {"transitional": True}),
        (["--not-transitional"], {"transitional": False}),
        (["--no-mask"], {"has_mask": False}),
        (["--has-mask"], {"has_mask": True}),
        (["--without-finding", "missing_level"], {"without_finding": "missing_level"}),
        (["--case", CASE, "--case", "liver_0", "--case", CASE], {"cases": [CASE, "liver_0"]}),
    ],
)
def test_options_choose_as_select_does(
    phantom_store: cz.Store, options: list[str], criteria: dict[str, Any]
) -> None:
    rows = json.loads(run("cases", phantom_store.location, *options, "--json").stdout)
    assert [row["case"] for row in rows] == list(phantom_store.select(**criteria))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "val"], "unknown split 'val'; legal: train, validation, test"),
        (["--case", "liver_99"], "no case 'liver_99' among 9"),
        (["--has-label", "S1"], "the sacrum has no label"),
        (["--label-set", "model"], "unknown label set 'model'"),
        (["--json", "--csv"], "--csv and --json or --parquet at once; legal: one of them"),
        (["--csv", "--parquet", "t.parquet"], "--csv and --json or --parquet at once; legal: one of them"),
        (["--overwrite"], "--overwrite without a file; legal: with --parquet"),
    ],
)
def test_what_cannot_be_chosen_is_wrong_usage(
    phantom_store: cz.Store, options: list[str], message: str
) -> None:
    done = run("cases", phantom_store.location, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_person_reads_a_line_for_each_case(phantom_store: cz.Store) -> None:
    lines = run("cases", phantom_store.location).stdout.splitlines()
    assert lines[-1] == "9 rows"
    assert len(lines) == 11
    [row] = [line for line in lines if line.startswith(CASE)]
    assert "45 x 96 x 96" in row
    text = run("cases", phantom_store.location, "--vertebrae", "--case", "liver_0").stdout
    assert len(re.findall(r"^liver_0 +[TL]\d", text, re.MULTILINE)) == len(phantom_store["liver_0"].labels)
    assert run("cases", phantom_store.location, "--min-slices", "9999").stdout == "0 rows\n"


def test_a_terminal_shows_the_words_of_the_lines(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lines = run("cases", phantom_store.location).stdout.split()
    monkeypatch.setattr("ctspine_zarr.cli.tables._is_terminal", lambda: True)
    assert run("cases", phantom_store.location).stdout.split() == lines


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_a_store_says_is_no_markup_and_no_escape(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("ctspine_zarr.cli.tables._is_terminal", lambda: is_terminal)
    entry = phantom_store.entries["liver_0"]
    record = replace(entry.record, findings=(Finding("[red]\x1b[31mx", "y"),))
    store = cz.Store(
        phantom_store.storage,
        phantom_store.root,
        {"liver_0": Entry(record, "0" * 64, "0" * 64)},
        phantom_store.reading,
    )
    monkeypatch.setattr(cz, "open_store", lambda *_, **__: store)
    text = run("cases", "somewhere").stdout
    assert "\x1b" not in text
    assert "[red]\\x1b[31mx" in text


def test_info_tells_of_each_case(phantom_store: cz.Store) -> None:
    one = json.loads(run("info", phantom_store.location, CASE, "--json").stdout)
    several = json.loads(run("info", phantom_store.location, CASE, "liver_0", "--json").stdout)
    assert [row["id"] for row in several] == [CASE, "liver_0"]
    assert several[0] == one
    text = run("info", phantom_store.location, CASE, "liver_0").stdout
    assert text == "\n".join(run("info", phantom_store.location, case).stdout for case in (CASE, "liver_0"))


# -- export


def names(folder: Path) -> set[str]:
    return {path.name.removesuffix(".nii.gz").removesuffix("_seg") for path in folder.rglob("*.nii.gz")}


def test_cases_to_export_are_named_chosen_or_all(phantom_store: cz.Store, tmp_path: Path) -> None:
    store = phantom_store.location
    for options, chosen in (
        (["--split", "test"], phantom_store.select(split="test")),
        (
            ["--source-dataset", "MSD-T10", "--split", "train"],
            phantom_store.select(split="train", source="MSD-T10"),
        ),
        (["liver_0"], ["liver_0"]),
    ):
        output = tmp_path / str(len(options) + len(list(chosen)))
        done = run("export", store, *options, "--output", output)
        assert done.exit_code == 0, done.output
        assert names(output) == {*chosen}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["liver_0", "--split", "train"],
            "cases by name, by options and by --all at once; legal: one of these",
        ),
        (["liver_0", "--all"], "legal: one of these"),
        (["--split", "train", "--all"], "legal: one of these"),
        (["--min-slices", "9999"], "is chosen by these options; legal: one or more"),
    ],
)
def test_cases_to_export_are_chosen_in_one_way(
    phantom_store: cz.Store, tmp_path: Path, options: list[str], message: str
) -> None:
    done = run("export", phantom_store.location, *options, "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_is_what_is_written_where_nothing_is_named(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1")
    tree.add("liver_2", voxels(1))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    for output, options in ((tmp_path / "a", []), (tmp_path / "b", ["--all"])):
        assert run("export", tmp_path / "s.zarr", *options, "--output", output).exit_code == 0
        assert names(output) == {"liver_1", "liver_2"}


# -- xarray


def test_a_mask_says_by_the_cf_conventions_what_its_values_mean(case: cz.Case) -> None:
    dataset = case.to_xarray()
    about = dataset.segmentation.attrs
    words = about["flag_meanings"].split(" ")
    assert about["flag_values"].dtype == dataset.segmentation.dtype == np.uint8
    assert dict(zip(about["flag_values"].tolist(), words, strict=True)) == {
        0: "background",
        **case.spec.labels,
    }
    assert dataset.image.attrs["units"] == "HU"
    assert [dataset[name].attrs["axis"] for name in "zyx"] == ["Z", "Y", "X"]
    assert all(dataset[name].attrs["long_name"] for name in "zyx")
    assert case.to_xarray(window=(-200, 800)).image.attrs["units"] == "1"


def test_meanings_are_words_whatever_labels_are_called() -> None:
    assert list(_words(["left kidney", "left_kidney", "läsion", "a"])) == [
        "left_kidney",
        "left_kidney_",
        "l_sion",
        "a",
    ]


@pytest.mark.filterwarnings("ignore:.*onsolidated metadata.*")
def test_a_dataset_comes_back_from_netcdf_and_zarr(case: cz.Case, tmp_path: Path) -> None:
    whole = case.to_xarray().isel(z=slice(0, 6))
    whole.to_netcdf(tmp_path / "c.nc", engine="scipy")
    whole.to_zarr(tmp_path / "c.zarr", zarr_format=3)
    with (
        xr.open_dataset(tmp_path / "c.nc", engine="scipy") as netcdf,
        xr.open_zarr(tmp_path / "c.zarr") as zarr,
    ):
        for found in (netcdf, zarr):
            xr.testing.assert_equal(found, whole)
            assert np.array_equal(np.reshape(found.attrs["affine"], (4, 4)), case.affine)
            assert found.segmentation.attrs["flag_meanings"] == whole.segmentation.attrs["flag_meanings"]
            assert np.array_equal(
                found.segmentation.attrs["flag_values"], whole.segmentation.attrs["flag_values"]
            )
            assert found.image.attrs == whole.image.attrs
            assert found.z.attrs == whole.z.attrs
