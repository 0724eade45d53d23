"""What notebooks show: HTML of stores, cases, plans and results, and plots of what the table says."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections import Counter
from dataclasses import replace as changed
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import decoded
from matplotlib.container import BarContainer
from msgspec.structs import replace
from PIL import Image
from stores import without_masks

import ctspine_zarr as cz
from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.format.catalog import Entry, Refused
from ctspine_zarr.format.findings import Finding
from ctspine_zarr.look import markup, small

HOSTILE = "<script>alert(1)</script>&\"'\u202e\n"
VOID = {"img", "hr", "br"}


class Seen(HTMLParser):
    """The text of a page that is well formed: each tag is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.images: list[bytes] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert {name for name, _ in attrs} <= {"style", "src", "alt"}
        source = dict(attrs).get("src")
        if source is not None:
            assert source.startswith("data:image/png;base64,")
            self.images.append(base64.b64decode(source.partition(",")[2]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def shown(what: Any) -> Seen:
    return Seen(what._repr_html_())


def test_a_store_shows_its_cases(phantom_store: cz.Store) -> None:
    seen = shown(phantom_store)
    assert "9 cases" in seen.text
    assert all(case in seen.text for case in phantom_store)
    assert phantom_store.spec.licence in seen.text
    # Two tables with their heads: by split, and nine cases.
    splits = {record.split for record in phantom_store.records.values()}
    assert seen.tags["tr"] == 1 + len(splits) + 1 + 9


def test_a_selection_says_that_it_is_one(phantom_store: cz.Store) -> None:
    chosen = phantom_store.select(split="train")
    assert f"a selection of {len(chosen)} of 9 cases" in shown(chosen).text
    assert "a selection of 0 of 9 cases" in shown(phantom_store.select(has_label="L6", min_slices=999)).text


def test_of_many_cases_ten_are_shown(phantom_store: cz.Store) -> None:
    entry = phantom_store.entries["liver_0"]
    records = [replace(entry.record, id=f"c{n}") for n in range(1005)]
    entries = {one.id: Entry(one, entry.receipt, entry.group) for one in records}
    seen = shown(cz.Store(phantom_store.storage, phantom_store.root, entries, phantom_store.reading))
    assert "and 995 more" in seen.text
    assert [f"\nc{n}\n" in seen.text for n in (0, 9, 10, 1004)] == [True, True, False, False]
    assert "1,005 cases" in seen.text


def test_a_case_shows_its_spine(case: cz.Case) -> None:
    seen = shown(case)
    assert all(name in seen.text for name in (case.id, *case.labels))
    [data] = seen.images
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert max(picture.size) <= 260
        assert np.ptp(np.asarray(picture).astype(int), axis=2).max() > 60


def test_a_thumbnail_reads_the_spine_alone(phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    case = phantom_store["1.3.6.1.4.1.9328.50.4.0001"]
    counts = []
    for reach in (5, 70, 1000):
        monkeypatch.setattr(small, "_REACH_MM", reach)
        with decoded(monkeypatch) as count:
            case._repr_html_()
        counts.append(count[0])
    # Six slabs of eight slices: of each one chunk of image and mask, or two where the plane is wide.
    assert 0 < counts[0] <= 6 * 2
    assert counts[0] < counts[2] <= 6 * 4
    assert counts[1] <= counts[2]


def test_a_case_that_takes_long_to_read_is_not_read_to_be_shown(
    case: cz.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "_MOST_VOXELS", 1000)
    with decoded(monkeypatch) as count:
        assert shown(case).images == []
    assert count[0] == 0


def test_a_case_elsewhere_is_not_read_to_be_shown(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(case._storage), "path", None)
    assert shown(case).images == []


def test_names_of_others_are_text(phantom_store: cz.Store) -> None:
    entry = phantom_store.entries["liver_0"]
    labels = tuple(replace(label, name=HOSTILE) for label in entry.record.labels)
    findings = (Finding(HOSTILE[:64], HOSTILE * 100),) * 20
    spec = replace(phantom_store.spec, licence=HOSTILE)
    record = replace(entry.record, labels=labels, findings=findings, transitional=HOSTILE)
    reports = (cz.CaseReport(HOSTILE, (HOSTILE,)),)
    verification = cz.Verification(reports, (HOSTILE,), (Refused(HOSTILE, HOSTILE),), HOSTILE)
    for text in (
        markup.of_case(record, spec, None),
        markup.of_store(HOSTILE, spec, {"liver_0": record}, 1, [HOSTILE]),
        verification._repr_html_(),
        cz.BuildResult((), (), (Refusal(HOSTILE, HOSTILE),), 1.0, {HOSTILE: (HOSTILE,)})._repr_html_(),
    ):
        seen = Seen(text)
        assert seen.tags["script"] == 0
        assert "<script>alert(1)</script>&\"'\\u202e\\n" in seen.text
        assert len(text) < 60_000


def test_a_plan_and_its_result_are_shown(phantom: Path, tmp_path: Path) -> None:
    plan = cz.plan_build(phantom, tmp_path / "s.zarr", selection=cz.Selection(("validation",)), workers=1)
    seen = shown(plan)
    assert all(line in seen.text for line in cz.describe(plan) if not line.startswith("free disk"))
    assert all(one.case.id in seen.text for one in plan.pending)
    result = cz.build_store(plan)
    assert "2 built" in shown(result).text
    assert all(entry.record.id in shown(result).text for entry in result.built)
    found = cz.verify(tmp_path / "s.zarr")
    assert "Verification: whole" in shown(found).text
    problems = tuple(f"problem {n}" for n in range(25))
    damaged = shown(changed(found, problems=problems))
    assert "Verification: damaged" in damaged.text
    assert "and 15 more" in damaged.text


def bars(axes: Any) -> list[list[float]]:
    """Of each container of bars their lengths."""
    found = [one for one in axes.containers if isinstance(one, BarContainer)]
    return [[bar.get_height() if is_upright(one) else bar.get_width() for bar in one] for one in found]


def is_upright(container: BarContainer) -> bool:
    return bool(container.orientation == "vertical")


def test_a_stores_plot_has_its_figures(phantom_store: cz.Store) -> None:
    table = phantom_store.cases
    cases, slices, spacing, levels, storage, _ = phantom_store.plot().axes
    sources = [name for name in phantom_store.spec.sources if (table.source == name).any()]
    for source, drawn in zip(sources, bars(cases), strict=True):
        of_source = table[table.source == source]
        assert drawn == [(of_source.split == split).sum() for split in phantom_store.spec.splits]
    for axes, columns in ((slices, ["slices"]), (spacing, ["spacing_z", "spacing_x"])):
        ends = (table[columns].to_numpy().min(), table[columns].to_numpy().max())
        for drawn, column in zip(bars(axes), columns, strict=True):
            assert drawn == np.histogram(table[column], 20, ends)[0].tolist()
            assert sum(drawn) == 9
    present = Counter(name for names in table.labels for name in names)
    names = [tick.get_text() for tick in levels.get_xticklabels()]
    assert dict(zip(names, bars(levels)[0], strict=True)) == present
    voxels = int((table["slices"] * table["rows"] * table["columns"]).sum())
    assert bars(storage)[0] == pytest.approx(
        [voxels * 8 / 1e9, table.source_bytes.sum() / 1e9, table.stored_bytes.sum() / 1e9]
    )


def test_spacings_that_are_equal_but_for_rounding_have_a_plot(phantom_store: cz.Store) -> None:
    entries = {}
    for number, (case, entry) in enumerate(phantom_store.entries.items()):
        mm = 1.0 + number * np.finfo(float).eps
        affine = ((mm, 0.0, 0.0, 0.0), (0.0, mm, 0.0, 0.0), (0.0, 0.0, mm, 0.0), (0.0, 0.0, 0.0, 1.0))
        entries[case] = Entry(replace(entry.record, affine=affine), entry.receipt, entry.group)
    store = cz.Store(phantom_store.storage, phantom_store.root, entries, phantom_store.reading)
    _, _, spacing, *_ = store.plot().axes
    assert [sum(drawn) for drawn in bars(spacing)] == [9, 9]


def test_a_cases_plot_has_its_figures(case: cz.Case) -> None:
    *planes, hu, heights, volumes = case.plot().axes
    assert [axes.get_title().split()[0] for axes in planes] == ["sagittal", "coronal", "axial"]
    labels = sorted(case.record.labels, key=lambda label: label.centroid[0])
    mask, image = case.segmentation.compute(), case.image.compute()
    expected = [image[mask == label.label].mean() for label in labels]
    assert [tick.get_text() for tick in hu.get_yticklabels()] == [label.name for label in labels]
    assert bars(hu)[0] == pytest.approx(expected, abs=0.01)
    tall = [np.ptp(np.nonzero(mask == label.label)[0]) + 1 for label in labels]
    assert bars(heights)[0] == pytest.approx(np.array(tall) * case.spacing[0])
    voxel = float(np.prod(case.spacing))
    assert bars(volumes)[0] == pytest.approx([(mask == one.label).sum() * voxel / 1000 for one in labels])
    sagittal = np.asarray(planes[0].images[0].get_array())
    assert sagittal.shape == (case.shape[0], case.shape[1])


def test_a_case_without_a_mask_has_a_plot(phantom_store: cz.Store) -> None:
    store = without_masks(phantom_store, "liver_0").select(cases="liver_0")
    assert len(store["liver_0"].plot().axes) == 6
    assert len(store.plot().axes) == 6
    assert shown(store["liver_0"]).text.count("no mask") == 1


def test_no_case_has_a_plot(phantom_store: cz.Store) -> None:
    assert len(phantom_store.select(has_label="L6", min_slices=999).plot()._repr_png_()) > 1000


FIGURE = """
import sys
import ctspine_zarr as cz
store = cz.open_store(sys.argv[1])
for figure in (store.plot(), store["liver_0"].plot()):
    data = figure._repr_png_()
    assert data.startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
"""


def test_a_figure_needs_no_display_and_no_pyplot(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a display is named that is not there, a figure that looked for it would fail.
    monkeypatch.setenv("DISPLAY", ":99")
    subprocess.run([sys.executable, "-c", FIGURE, phantom_store.location], check=True)


def test_hostile_names_are_drawn_as_they_are(phantom_store: cz.Store) -> None:
    spec = phantom_store.spec
    names = {value: f"$\\frac{{{name}$ <b>" for value, name in spec.labels.items()}
    entries = {
        case: Entry(
            replace(
                entry.record,
                labels=tuple(replace(one, name=names[one.label]) for one in entry.record.labels),
                findings=(Finding("$\\bad{$", ""),),
            ),
            entry.receipt,
            entry.group,
        )
        for case, entry in phantom_store.entries.items()
    }
    root = replace(phantom_store.root, dataset=replace(spec, labels=names, name="$\\bad{$"))
    store = cz.Store(phantom_store.storage, root, entries, phantom_store.reading)
    assert store.plot()._repr_png_()
    assert store["liver_0"].plot()._repr_png_()
