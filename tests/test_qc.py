"""Findings of a store, told by qc and asked for by `select`, whichever version wrote it."""

from __future__ import annotations

import functools
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scans import Scan, phantom_scan
from trees import Tree, edited, in_mm, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets import ctspine1k, verse
from ctspine_zarr.errors import DamagedStore, UnknownCase, UnknownValue
from ctspine_zarr.format.findings import KINDS, Code, Finding
from ctspine_zarr.quality.examined import Examined, agreement
from ctspine_zarr.quality.lists import list_of, listed
from ctspine_zarr.quality.report import page
from ctspine_zarr.read import quality
from ctspine_zarr.write import ingest

COLONOG = "1.3.6.1.4.1.9328.50.4."
AFFINE = np.diag([4.2, 4.2, 5.3, 1.0])


def faults(store: cz.Store, **criteria: Any) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Case -> codes and labels of its warnings and errors."""
    found = cz.qc(store, severity="warning", **criteria)
    rows = zip(found.case, found.code, found.labels, strict=True)
    told: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for case, code, labels in rows:
        told.setdefault(case, []).append((code, labels))
    return told


def on_disk(volume: NDArray[Any]) -> Any:
    return in_mm(np.ascontiguousarray(volume.transpose()), AFFINE)


@pytest.fixture(scope="module")
def scan(phantom_store: cz.Store) -> Scan:
    """T11 to L5."""
    return phantom_scan(phantom_store)


@pytest.fixture
def source(tree: Tree, scan: Scan) -> Tree:
    """A clean case, one that lacks a level, and one of a list that lacks what the list says."""
    tree.add(f"{COLONOG}0900", on_disk(scan.image), on_disk(scan.mask), source="COLONOG")
    image = on_disk(scan.image + 1)
    tree.add(f"{COLONOG}0901", image, on_disk(scan.without(21)), source="COLONOG")
    image = on_disk(scan.image + 2)
    tree.add(f"{COLONOG}0291", image, on_disk(scan.without(22)), source="COLONOG", section="test_public")
    return tree


@pytest.fixture
def store(source: Tree, tmp_path: Path) -> cz.Store:
    cz.build_store(cz.plan_build(source.root, tmp_path / "s.zarr", workers=1))
    return cz.open_store(tmp_path / "s.zarr")


FOUND = {
    f"{COLONOG}0901": [("missing_level", ("L2",))],
    f"{COLONOG}0291": [("missing_level", ("L3",)), ("listed", ("L3",))],
}


def test_what_the_build_records_is_what_qc_finds(store: cz.Store) -> None:
    assert faults(store) == FOUND
    told = cz.qc(store)
    for case in store:
        recorded = [found.code for found in store[case].record.findings]
        assert sorted(told[told.case == case].code) == sorted(recorded)


def test_cases_are_taken_by_quality(store: cz.Store) -> None:
    assert list(store.select(quality="clean")) == [f"{COLONOG}0900"]
    assert set(store.select(quality="usable")) == set(store)
    assert store.cases.severity.to_dict() == {
        f"{COLONOG}0900": "info", f"{COLONOG}0901": "warning", f"{COLONOG}0291": "warning",
    }  # fmt: skip
    with pytest.raises(UnknownValue, match="unknown quality 'good'; legal: clean, usable"):
        store.select(quality="good")  # type: ignore[arg-type]


def test_of_a_store_that_older_rules_judged_qc_says_the_same(
    source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "mask_findings", lambda *_, **__: ())
        cz.build_store(cz.plan_build(source.root, tmp_path / "old.zarr", workers=1))
    store = cz.open_store(tmp_path / "old.zarr")
    assert all(not case.record.findings for case in store.values())
    assert faults(store) == FOUND


def test_a_corrected_label_set_is_clean_and_judged_for_itself(store: cz.Store, scan: Scan) -> None:
    corrected = {f"{COLONOG}0291": scan.mask, f"{COLONOG}0900": scan.without(23)}
    cz.add_labels(store.location, "corrected", corrected)
    store = cz.open_store(store.location)
    assert list(store.select(labels="corrected", quality="clean")) == [f"{COLONOG}0291"]
    assert faults(store, labels="corrected") == {f"{COLONOG}0900": [("missing_level", ("L4",))]}
    assert faults(store.select(labels="corrected")) == faults(store, labels="corrected")
    assert faults(store) == FOUND


def test_a_leak_is_told_of_both_cases_even_where_one_split_is_asked_for(
    source: Tree, scan: Scan, tmp_path: Path
) -> None:
    image, mask = on_disk(scan.image), on_disk(scan.mask)
    source.add(f"{COLONOG}0902", image, mask, source="COLONOG", section="test_private")
    cz.build_store(cz.plan_build(source.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    assert faults(store) == FOUND | {f"{COLONOG}090{n}": [("leak", ())] for n in (0, 2)} | {
        f"{COLONOG}0901": FOUND[f"{COLONOG}0901"]
    }
    [message] = cz.qc(store, split="test", severity="warning").message
    assert message == f"in test, and by its image beside {COLONOG}0900 (train)"
    # Of a case's own it is not.
    assert f"{COLONOG}0902" in store.select(quality="clean")


def test_headers_are_as_the_build_saw_them(tree: Tree, tmp_path: Path) -> None:
    turned = AFFINE.copy()
    turned[:2, :2] = np.array([[0.98, -0.2], [0.2, 0.98]]) @ AFFINE[:2, :2]
    empty = np.zeros((20, 24, 18), np.uint8)
    tree.add("liver_1", in_mm(voxels(), turned), in_mm(empty, turned))
    tree.add("liver_2", packed(edited(voxels(1), xyzt_units=1)), packed(edited(empty, xyzt_units=1)))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    found = cz.qc(cz.open_store(tmp_path / "s.zarr"))
    told = {case: list(rows.code) for case, rows in found.groupby("case")}
    assert told == {"liver_1": ["no_label", "oblique"], "liver_2": ["no_label", "unit", "unit"]}
    figures = found.set_index("code").figures["oblique"]
    assert figures["degrees"] == pytest.approx(np.degrees(np.arctan2(0.2, 0.98)), rel=1e-4)


def test_rules_and_lists_are_compared_where_listed_cases_are(store: cz.Store) -> None:
    cases = quality.quality_report(store).cases
    known = agreement(cases, store.spec)
    assert known is not None
    assert known == (1, 1, 2, 1)
    assert (known.recall, known.precision) == (1.0, 0.5)
    report = cz.quality_report(store)
    assert "of 1 cases here that lists name, rules find what is said of 1: recall 100%" in report.text()
    assert report.json()["known_faults"]["precision_at_least"] == 0.5
    others = [one for one in cases if not one.case.endswith("0291")]
    assert agreement(others, store.spec) is None


def test_a_case_that_two_lines_name_counts_once() -> None:
    assert len(list_of("CTSpine1K")[f"{COLONOG}0482"]) == 2
    missing = Finding(Code.MISSING_LEVEL, "absent between present ones: T8", (15,))
    for found in ((), (missing,)):
        case = Examined(f"{COLONOG}0482", "train", "COLONOG", found, {})
        assert agreement([case], ctspine1k.SPEC) == (1, len(found), len(found), len(found))


def test_lists_are_of_cases_and_labels_that_there_may_be() -> None:
    lines = [line for lines in list_of("CTSpine1K").values() for line in lines]
    assert len(lines) == 11
    for line in lines:
        assert ctspine1k.source_of(line.case) == "COLONOG"
        assert set(line.labels) <= set(ctspine1k.SPEC.labels.values())
        assert line.source
        assert line.fault
    [wrong, shifted] = listed(f"{COLONOG}0482", ctspine1k.SPEC)
    assert (wrong.labels, shifted.labels) == ((15,), (14, 15))
    assert list(listed(f"{COLONOG}0482", verse.SPEC)) == []


class _Page(HTMLParser):
    """The tags of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def test_a_page_asks_for_nothing_and_runs_nothing_that_a_store_says() -> None:
    evil = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"
    cases = [Examined(evil, evil, evil, (Finding(evil[:64], evil, (1, 250), {evil[:60]: 0.5}),), {})]
    text = page(evil, cases, cases, ctspine1k.SPEC)
    seen = _Page(text)
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert seen.links == []
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert "\u202e" not in text


def test_a_page_has_every_finding_and_every_level(store: cz.Store) -> None:
    report = cz.quality_report(store, severity="warning")
    text = report.html()
    assert text.count('<td class="case">') == len(report.findings) == 3
    assert all(case in text for case in FOUND)
    assert f"{sum(len(case.record.labels) for case in store.values())} levels" in text
    heights = re.findall(r'style="height:([0-9.]+)%"', text)
    assert len(heights) == 4 * 40


run = functools.partial(commands.run, "qc")


def test_the_command_tells_people_programs_and_makefiles(store: cz.Store, tmp_path: Path) -> None:
    done = run(store.location, "--severity", "warning", "--html", tmp_path / "report.html")
    assert done.exit_code == 0
    assert f"{COLONOG}0901  train, COLONOG\n  warning  missing_level     absent between" in done.output
    assert "3 cases: 0 with errors, 2 more with warnings" in done.output
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    told = json.loads(run(store.location, "--json", "--split", "train", "--source-dataset", "COLONOG").output)
    assert told["cases"] == 2
    assert {one["case"] for one in told["findings"]} == {f"{COLONOG}0900", f"{COLONOG}0901"}
    assert run(store.location, "--fail-on", "warning").exit_code == 4
    assert run(store.location, "--fail-on", "warning", "--severity", "error").exit_code == 4
    assert run(store.location, "--fail-on", "error").exit_code == 0
    assert run(store.location, "--fail-on", "warning", "--case", f"{COLONOG}0900").exit_code == 0


def test_a_wrong_use_of_the_command_is_one_line(store: cz.Store, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    for arguments, status in (
        (["--case", "nobody"], 2),
        (["--label-set", "nothing"], 2),
        (["--split", "tuesday"], 2),
        (["--html", tmp_path / "a-file" / "report.html"], 1),
    ):
        done = run(store.location, *arguments)
        assert (done.exit_code, len(done.output.splitlines())) == (status, 1), done.output
    with pytest.raises(UnknownValue, match="unknown severity 'grave'; legal: info, warning, error"):
        cz.qc(store, severity="grave")
    with pytest.raises(UnknownCase):
        cz.quality_report(store, cases=["nobody"])


def test_a_case_without_its_receipt_is_damaged_and_the_others_are_looked_at(
    source: Tree, scan: Scan, tmp_path: Path
) -> None:
    image, mask = on_disk(scan.image), on_disk(scan.mask)
    source.add(f"{COLONOG}0902", image, mask, source="COLONOG", section="test_private")
    cz.build_store(cz.plan_build(source.root, tmp_path / "s.zarr", workers=1))
    before = cz.qc(cz.open_store(tmp_path / "s.zarr"))
    gone = f"{COLONOG}0901"
    (tmp_path / "s.zarr" / cz.open_store(tmp_path / "s.zarr")[gone].record.receipt_key).unlink()
    store = cz.open_store(tmp_path / "s.zarr")
    with pytest.raises(DamagedStore, match="receipt"):
        cz.qc(store)
    report = cz.quality_report(store)
    assert list(report.damaged) == [gone]
    pd.testing.assert_frame_equal(report.findings, before[before.case != gone].reset_index(drop=True))
    assert "leak" in set(report.findings.code)
    assert f"<li>{gone}: " in report.html()
    done = run(store.location)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert f"damaged {gone}: " in done.stderr
    assert "3 cases: 0 with errors, 3 more with warnings; 1 more are damaged" in done.stdout
    [told] = json.loads(run(store.location, "--json").stdout)["damaged"]
    assert told == {"case": gone, "problem": report.damaged[gone]}
    assert run(store.location, "--case", f"{COLONOG}0900").exit_code == 0


def test_a_store_without_any_receipt_is_damaged_throughout(store: cz.Store) -> None:
    for path in Path(store.location).glob("receipts/*"):
        path.unlink()
    report = cz.quality_report(cz.open_store(store.location))
    assert (report.cases, sorted(report.damaged)) == ((), sorted(store))
    assert "0 cases: 0 with errors, 0 more with warnings; 3 more are damaged" in report.text()


def test_a_page_takes_the_place_of_a_file_that_was_named_for_that_alone(
    store: cz.Store, tmp_path: Path
) -> None:
    page_file, link, pipe = (tmp_path / name for name in ("report.html", "link.html", "pipe.html"))
    page_file.write_text("mine")
    link.symlink_to(page_file)
    os.mkfifo(pipe)
    done = run(store.location, "--html", page_file)
    assert (done.exit_code, page_file.read_text()) == (1, "mine")
    assert "exists; give --overwrite to replace it" in done.output
    for path, kind in ((link, "link"), (pipe, "pipe")):
        done = run(store.location, "--html", path, "--overwrite")
        assert (done.exit_code, f"{path}: it is a {kind}; legal: a file" in done.output) == (1, True)
    assert link.is_symlink()
    assert pipe.is_fifo()
    assert page_file.read_text() == "mine"
    assert run(store.location, "--html", page_file, "--overwrite").exit_code == 0
    assert page_file.read_text().startswith("<!doctype html>")
    done = run(store.location, "--overwrite")
    assert (done.exit_code, "--overwrite without a file; legal: with --html" in done.output) == (2, True)


PAGE = (Path(__file__).parents[1] / "docs" / "quality.md").read_text()


def test_the_page_has_the_table_of_codes() -> None:
    rows = [f"| `{code}` | {kind.severity} | {kind.meaning} |" for code, kind in KINDS.items()]
    assert "\n".join(rows) in PAGE
    assert len(rows) == len(Code)
