"""Pictures show what is there, the right way round, and read no more than they show."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import commands
import nibabel
import numpy as np
import pytest
from arrays import decoded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from stores import without_masks
from trees import Tree, in_mm

import ctspine_zarr as cz
from ctspine_zarr.errors import StorageError, UnknownCase, UnknownValue
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.layout import grid
from ctspine_zarr.format.spec import colour
from ctspine_zarr.geometry import PlaneName
from ctspine_zarr.look import canvas, overview, panes, sheet
from ctspine_zarr.look.line import centre_line
from ctspine_zarr.look.placing import spread, thinned
from ctspine_zarr.look.planes import PLANES, Plane, cut, letters
from ctspine_zarr.read import shown
from ctspine_zarr.read.planes import read_planes, sagittal

MIDDLE = (60, 50, 40)
"""(i, j, k), voxels of the marked volume."""


def bent(size: int = 48) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A volume, (i, j, k) towards right, anterior and superior, with three vertebrae on a slope, one above
    another, and one block of metal each at its right, its front and its top.
    """
    image = np.full((size, size, size), 40, np.int16)
    mask = np.zeros(image.shape, np.uint8)
    for level, (i, j, k) in enumerate([(28, 14, 38), (24, 16, 24), (20, 18, 10)]):
        mask[i - 3 : i + 4, j - 3 : j + 4, k - 4 : k + 5] = 22 + level
    image[mask > 0] = 600
    image[42:46, 20:26, 20:28] = 3000
    image[20:28, 42:46, 20:28] = 2500
    image[20:32, 24:30, 44:48] = 2000
    return image, mask


@pytest.fixture
def bent_case(tree: Tree) -> cz.Case:
    image, mask = bent()
    # Stored in another orientation, as files are.
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    tree.add(image=in_mm(image[::-1, ::-1], affine), mask=in_mm(mask[::-1, ::-1], affine))
    location = tree.root.parent / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    return cz.open_store(location)["liver_1"]


def planes_of(case: cz.Case) -> dict[PlaneName, Plane]:
    line = centre_line(case.record, case.spec)
    cuts = [cut(view, case.shape, line) for view in PLANES]
    return dict(zip(PLANES, read_planes(case.record, case.fill, cuts), strict=True))


def drawn_mask(plane: Plane) -> NDArray[np.uint8]:
    assert plane.mask is not None
    return plane.mask


def middle_of(where: NDArray[Any]) -> NDArray[np.float64]:
    """Of what is true: its mean row and column as shares of the plane."""
    found: NDArray[np.float64] = (np.argwhere(where).mean(axis=0) + 0.5) / where.shape
    return found


def test_sides_are_where_radiologists_look_for_them(bent_case: cz.Case) -> None:
    planes = planes_of(bent_case)
    # The right on the left, the front above.
    assert middle_of(planes["axial"].image == 3000)[1] < 0.25
    assert middle_of(planes["axial"].image == 2500)[0] < 0.25
    assert planes["axial"].sides == ("R", "L", "A", "P")
    # The face to the left, the head above.
    assert middle_of(planes["sagittal"].image == 2500)[1] < 0.25
    assert middle_of(planes["sagittal"].image == 2000)[0] < 0.25
    assert planes["sagittal"].sides == ("A", "P", "S", "I")
    assert planes["coronal"].sides == ("R", "L", "S", "I")
    assert [plane.spacing for plane in planes.values()] == [(2, 1), (2, 1), (1, 1)]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0, 0), "R"),
        ((-3, 0.1, 0), "L"),
        ((0, 0, -2), "I"),
        ((0.9, 0.43, 0), "RA"),
        ((-0.5, 0.6, 0.62), "SAL"),
        ((0, -0.98, 0.17), "P"),
    ],
)
def test_a_direction_between_sides_has_the_letters_of_both(
    direction: tuple[float, float, float], expected: str
) -> None:
    assert letters(direction) == expected


def test_an_oblique_scan_has_its_letters(tree: Tree) -> None:
    image, mask = bent()
    turn, shape = np.eye(4), np.deg2rad(30)
    turn[:2, :2] = [[np.cos(shape), -np.sin(shape)], [np.sin(shape), np.cos(shape)]]
    tree.add(image=in_mm(image, turn), mask=in_mm(mask, turn))
    cz.build_store(cz.plan_build(tree.root, tree.root.parent / "s.zarr", workers=1))
    axial = planes_of(cz.open_store(tree.root.parent / "s.zarr")["liver_1"])["axial"]
    # nibabel's own axes have one letter; x goes 30 degrees to the front.
    assert nibabel.aff2axcodes(turn) == ("R", "A", "S")
    assert axial.sides == ("RA", "LP", "AL", "PR")


def test_a_curved_plane_has_the_voxels_of_the_line(bent_case: cz.Case) -> None:
    image, mask = (bent_case.image.compute(), bent_case.segmentation.compute())
    line = centre_line(bent_case.record, bent_case.spec)
    along = np.arange(len(image))
    planes = planes_of(bent_case)
    masks = [drawn_mask(planes[view]) for view in ("sagittal", "coronal")]
    for volume, side, front in (
        (image, planes["sagittal"].image, planes["coronal"].image),
        (mask, *masks),
    ):
        assert np.array_equal(side[::-1, ::-1], volume[along, :, line.columns])
        assert np.array_equal(front[::-1, ::-1], volume[along, line.rows, :])
    assert np.array_equal(planes["axial"].image[::-1, ::-1], image[line.middle])
    # No flat plane meets all three vertebrae in their middle.
    centroids = np.array([label.centroid for label in bent_case.record.labels])
    assert np.abs(line.columns[np.rint(centroids[:, 0]).astype(int)] - centroids[:, 2]).max() <= 1.5
    assert np.ptp(centroids[:, 2]) > 7
    assert len(np.unique(masks[0])) == 4
    assert line.middle == 24


def test_the_line_goes_straight_beyond_the_vertebrae(bent_case: cz.Case) -> None:
    line = centre_line(bent_case.record, bent_case.spec)
    assert len(set(line.columns[:6])) == len(set(line.columns[-6:])) == 1
    assert (line.columns[0], line.columns[-1]) == (20, 28)


@pytest.mark.parametrize("is_named", [True, False])
def test_neither_a_stray_nor_a_few_voxels_bend_a_line(bent_case: cz.Case, is_named: bool) -> None:
    record, spec = bent_case.record, bent_case.spec
    far = {"start": (30, 40, 40), "stop": (32, 46, 46), "centroid": (31.0, 44.0, 44.0)}
    voxels = record.labels[0].voxels if is_named else 2
    stray = replace(record.labels[0], label=25, voxels=voxels, largest=voxels, **far)
    findings = (Finding(Code.STRAY_LABEL, "far", (25,)),) if is_named else ()
    one = centre_line(replace(record, labels=(*record.labels, stray), findings=findings), spec)
    assert np.array_equal(one.columns, centre_line(record, spec).columns)


@pytest.mark.parametrize("views", [["axial"], ["sagittal"], ["coronal"], ["sagittal", "coronal", "axial"]])
def test_only_the_chunks_on_the_planes_are_decoded(
    views: list[PlaneName], phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cz.open_store(phantom_store.location)["1.3.6.1.4.1.9328.50.4.0001"]
    line = centre_line(case.record, case.spec)
    chunk = case.record.image.chunk
    touched = set()
    for view in views:
        where = np.zeros(case.shape, bool)
        along = np.arange(case.shape[0])
        if view == "axial":
            where[line.middle] = True
        elif view == "sagittal":
            where[along, :, line.columns] = True
        else:
            where[along, line.rows, :] = True
        touched |= {tuple(at // np.array(chunk)) for at in np.argwhere(where)}
    with decoded(monkeypatch) as count:
        read_planes(case.record, case.fill, [cut(view, case.shape, line) for view in views])
    # Chunks of the mask without a label are not stored.
    assert len(touched) <= count[0] <= 2 * len(touched)
    assert len(touched) < np.prod(grid(case.shape, chunk)) or len(views) == 3


def test_a_narrow_plane_is_the_part_around_the_spine(bent_case: cz.Case) -> None:
    case = bent_case
    line = centre_line(case.record, case.spec)
    [plane] = read_planes(case.record, case.fill, [cut("sagittal", case.shape, line, 9)])
    narrow = plane.image[::-1, ::-1]
    wide = sagittal(case.record, case.spec, case.fill).image[::-1, ::-1]
    middle = round(float(line.rows.mean()))
    assert np.array_equal(narrow, wide[:, middle - 9 : middle + 10])


@pytest.mark.parametrize("height", [160, 500, 1001])
def test_a_picture_is_as_high_as_asked_for(height: int, bent_case: cz.Case) -> None:
    assert bent_case.preview(height=height).height == height


def test_a_picture_has_the_proportions_of_the_body(
    bent_case: cz.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sizes_drawn(bent_case, monkeypatch)
    # 96 mm high, 48 mm deep and wide.
    for view, share in (("sagittal", 2), ("coronal", 2), ("axial", 1)):
        width, height = drawn[view]
        assert height / width == pytest.approx(share, rel=0.02)
    assert drawn["axial"][0] == drawn["coronal"][0]


def sizes_drawn(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    drawn: dict[str, tuple[int, int]] = {}
    draw = panes.pane

    def noted(plane: Plane, size: tuple[int, int], *others: Any) -> canvas.Picture:
        drawn[plane.view] = size
        return draw(plane, size, *others)

    with monkeypatch.context() as patch:
        patch.setattr(overview, "pane", noted)
        case.preview()
    return drawn


def test_the_scale_bar_is_as_long_as_it_says(bent_case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    width, _ = sizes_drawn(bent_case, monkeypatch)["axial"]
    texts: list[str] = []
    write = canvas.write

    def noted(picture: canvas.Picture, at: Any, text: str, *more: Any, **how: Any) -> None:
        texts.append(text)
        write(picture, at, text, *more, **how)

    with monkeypatch.context() as patch:
        patch.setattr(canvas, "write", noted)
        picture = bent_case.preview()
    length = next(float(text.split()[0]) * 10 for text in texts if text.endswith(" cm"))
    # Below the planes there is no white but the bar's and its text's.
    band = np.asarray(picture.convert("L"))[-20:]
    runs = [longest(row) for row in band > 200]
    # 48 mm are as wide as the axial plane.
    assert max(runs) == pytest.approx(length * width / 48, abs=1)


def longest(row: NDArray[np.bool_]) -> int:
    return max((len(run) for run in "".join("x" if on else " " for on in row).split()), default=0)


def test_an_outline_lies_on_its_labels_edge() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    picture = canvas.blank((240, 160))
    canvas.outline(picture, mask, (255, 0, 0), 1, 0.0)
    red = np.asarray(picture)[..., 0].astype(float) / 255
    # A scale of 4: the label covers columns 80 to 199 and rows 40 to 119.
    for line, edges in ((red[80], (80, 199)), (red[:, 140], (40, 119))):
        inside = np.flatnonzero(line > 0.3)
        # All that is drawn lies on an edge, and there is something on either edge.
        assert np.abs(inside[:, None] - edges).min(axis=1).max() <= 1
        assert np.abs(inside[:, None] - edges).min(axis=0).max() <= 1
        assert line[edges[0] + 4 : edges[1] - 4].max() == 0
        assert line[: edges[0] - 1].max() == line[edges[1] + 2 :].max() == 0


@pytest.mark.parametrize("width", [0, 1, 4])
def test_an_outline_is_as_wide_as_pillow_draws_it(width: int) -> None:
    y, x = np.mgrid[:40, :60]
    mask = ((y - 18) ** 2 / 300 + (x - 25) ** 2 / 500 < 1) & ~((y > 20) & (x > 30))
    mask[:, :3] = True
    drawn = canvas.blank((240, 160))
    canvas.outline(drawn, mask, (255, 255, 255), width, 0.25)
    fine = canvas.resized(mask.astype(np.uint8), (720, 480)) >= 0.5
    core = np.asarray(Image.fromarray(fine).convert("L").filter(ImageFilter.MinFilter(6 * width + 1))) > 0
    edge, inside = ((of.reshape(160, 3, 240, 3).mean(axis=(1, 3))) for of in (fine & ~core, fine))
    expected = (np.maximum(edge, inside * 0.25) * 255).round()
    assert np.abs(np.asarray(drawn)[..., 0] - expected).max() <= 1


def test_the_middle_vertebra_has_its_colour(bent_case: cz.Case) -> None:
    picture = np.asarray(bent_case.preview(height=600)).reshape(-1, 3).astype(float)
    tint = np.array(colour(23)) * 0.12
    inside = (600 + 450) / 1500 * 255 * 0.88
    assert (np.abs(picture - (tint + inside)).max(axis=1) < 3).sum() > 500
    assert (np.abs(picture - np.array(colour(23))).max(axis=1) < 30).sum() > 50


@given(
    wanted=st.lists(st.floats(-50, 450), max_size=20).map(sorted),
    height=st.floats(1, 20),
)
def test_names_neither_overlap_nor_leave_the_picture(wanted: list[float], height: float) -> None:
    tops = spread(wanted, height, 400)
    assert all(below - above >= height - 1e-6 for above, below in itertools.pairwise(tops))
    assert all(-1e-6 <= top <= 400 - height + 1e-6 for top in tops)
    are_apart = all(b - a >= height for a, b in itertools.pairwise(wanted))
    if are_apart and all(0 <= top <= 400 - height for top in wanted):
        assert tops == pytest.approx(wanted)


@given(items=st.lists(st.integers()), most=st.integers(0, 30))
def test_of_too_many_names_some_are_left(items: list[int], most: int) -> None:
    kept = thinned(items, most)
    assert len(kept) <= most
    assert kept == items or len(items) > most


def test_every_text_is_inside_the_picture(bent_case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[tuple[Any, float, float, float, float, str]] = []
    write = canvas.write

    def noted(
        picture: canvas.Picture, at: tuple[float, float], text: str, size: int, *o: Any, **k: Any
    ) -> None:
        wide, tall = canvas.extent(text, size)
        boxes.append((picture, *at, at[0] + wide, at[1] + tall, text))
        write(picture, at, text, size, *o, **k)

    monkeypatch.setattr(canvas, "write", noted)
    for height in (160, 300, 720):
        boxes.clear()
        bent_case.preview(height=height)
        assert {"L3", "L4", "L5", "liver_1"} <= {text for *_, text in boxes}
        for picture, left, top, right, bottom, text in boxes:
            assert left >= 0, text
            assert top >= 0, text
            assert right <= picture.width + 1, text
            assert bottom <= picture.height + 1, text


def test_a_long_or_strange_name_stays_within_its_plane(bent_case: cz.Case) -> None:
    plane = planes_of(bent_case)["sagittal"]
    names = {22: "A" * 128, 23: "<script>" * 16, 24: "\u4e2d"}
    picture = panes.pane(plane, (120, 200), (-450, 1050), names, panes.Style())
    assert picture.size == (120, 200)


def test_a_case_without_labels_has_a_picture(tree: Tree) -> None:
    tree.add(mask=np.zeros((20, 24, 18), np.uint8))
    cz.build_store(cz.plan_build(tree.root, tree.root.parent / "s.zarr", workers=1))
    case = cz.open_store(tree.root.parent / "s.zarr")["liver_1"]
    assert case.preview(height=200).height == 200
    # Of what is not known nothing is guessed: the planes of the middle.
    line = centre_line(case.record, case.spec)
    assert (line.middle, set(line.rows), set(line.columns)) == (9, {12}, {10})


def test_a_case_without_a_mask_has_a_picture_without_colours(phantom_store: cz.Store) -> None:
    case = without_masks(phantom_store, "liver_0")["liver_0"]
    picture = np.asarray(panes.pane(planes_of(case)["axial"], (100, 100), (-450, 1050), {}, panes.Style()))
    assert np.ptp(picture.astype(int), axis=2).max() == 0
    assert picture.max() > 200
    assert case.preview(height=200).height == 200


@pytest.mark.parametrize("shape", [(1, 24, 18), (20, 1, 1), (3, 400, 300), (300, 3, 200)])
def test_volumes_of_any_shape_have_pictures(shape: tuple[int, int, int], tree: Tree) -> None:
    tree.add(image=np.zeros(shape[::-1], np.int16), mask=np.zeros(shape[::-1], np.uint8))
    cz.build_store(cz.plan_build(tree.root, tree.root.parent / "s.zarr", workers=1))
    picture = cz.open_store(tree.root.parent / "s.zarr")["liver_1"].preview(height=240)
    assert picture.height == 240
    assert picture.width <= 4 * 240 + 300


@pytest.mark.parametrize("spacing", [(1e-5, 1, 1), (1, 1, 1e5), (900, 1e-3, 900)])
def test_no_spacing_makes_a_picture_without_bound(spacing: tuple[float, ...], bent_case: cz.Case) -> None:
    affine = tuple(map(tuple, np.diag([*spacing[::-1], 1.0]).tolist()))
    entry = bent_case.entry
    changed = Entry(replace(entry.record, affine=affine), entry.receipt, entry.group)
    case = type(bent_case)(bent_case._storage, changed, bent_case.spec, bent_case._reading)
    picture = case.preview(height=240)
    assert picture.width <= 4 * 240 + 300


@pytest.mark.parametrize(
    "options",
    [
        {"height": 159},
        {"height": 9000},
        {"height": 200.5},
        {"window": (5, 5)},
        {"window": (1, 0)},
        {"window": 3},
    ],
)
def test_what_no_picture_can_be_is_refused(options: Any, case: cz.Case) -> None:
    with pytest.raises(UnknownValue, match="legal: "):
        case.preview(**options)


def test_a_window_decides_what_is_white(case: cz.Case) -> None:
    windows = [(-1000, 0), (0, 3000)]
    low, high = (np.asarray(case.preview(height=200, window=one).convert("L")) for one in windows)
    assert (low > 250).sum() > 20 * (high > 250).sum()


def test_a_sheet_has_a_tile_for_each_case(phantom_store: cz.Store) -> None:
    picture = np.asarray(phantom_store.preview(columns=4).convert("L"))
    wide, tall = sheet.TILE
    assert picture.shape[1] == 8 + 4 * (wide + 8)
    top = picture.shape[0] - 3 * (tall + 8)
    rows = [picture[top + at * (tall + 8) :][:tall] for at in range(3)]
    tiles = [row[:, 8 + at * (wide + 8) :][:, :wide] for row in rows for at in range(4)]
    assert [bool(one.max() > 100) for one in tiles] == [True] * 9 + [False] * 3
    # Each with the picture of its own case.
    for one, case in zip(tiles, phantom_store.values(), strict=False):
        alone = np.asarray(cz.Store(*parts_of(phantom_store, case.id)).preview(columns=1).convert("L"))
        assert np.array_equal(alone[-tall - 8 : -8, 8 : 8 + wide], one)


def parts_of(store: cz.Store, case: str) -> Any:
    return store.storage, store.root, {case: store.entries[case]}, store.reading


def test_many_cases_take_several_sheets(phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "PAGE", 4)
    assert phantom_store.pages == 3
    heights = [phantom_store.preview(page, columns=2).height for page in (1, 2, 3)]
    assert heights[0] == heights[1] > heights[2]
    for page in (0, 4):
        with pytest.raises(UnknownValue, match="legal: an integer from 1 to 3"):
            phantom_store.preview(page)


def run(*arguments: object) -> tuple[int, str]:
    done = commands.run("preview", *arguments)
    return done.exit_code, done.output


def test_the_command_writes_what_python_draws(phantom_store: cz.Store, tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.png"
    asked = (phantom_store.location, "liver_0", "-o", path)
    assert run(*asked, "--height", 200, "--window", "0,400") == (0, f"{path}\n")
    expected = phantom_store["liver_0"].preview(height=200, window=(0, 400))
    assert np.array_equal(pixels(path), np.asarray(expected))
    assert [one.name for one in path.parent.iterdir()] == ["one.png"]
    status, output = run(*asked)
    assert (status, "give --overwrite" in output) == (1, True)
    assert run(*asked, "--overwrite")[0] == 0
    assert np.array_equal(pixels(path), np.asarray(phantom_store["liver_0"].preview()))
    assert len(pixels(path)) == 720


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_command_numbers_its_sheets(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "PAGE", 2)
    cases = len(phantom_store.select(split="train"))
    status, output = run(phantom_store.location, "--split", "train", "-o", tmp_path / "all.png")
    assert status == 0
    assert output.split() == [str(tmp_path / f"all-{n}.png") for n in range(1, -(-cases // 2) + 1)]
    assert all(Path(line).is_file() for line in output.split())


def test_the_command_draws_a_label_set(bent_case: cz.Case, tmp_path: Path) -> None:
    location = bent_case._storage.location
    guess = np.zeros(bent_case.shape, np.uint8)
    guess[20:30, 10:30, 10:30] = 5
    cz.open_store(location).add_labels("guess", {"liver_1": guess})
    assert run(location, "liver_1", "-o", tmp_path / "p.png", "--label-set", "guess")[0] == 0
    seen = pixels(tmp_path / "p.png").reshape(-1, 3).astype(float)
    assert (np.abs(seen - np.array(colour(5))).max(axis=1) < 30).sum() > 50
    assert (np.abs(seen - np.array(colour(22))).max(axis=1) < 30).sum() == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("nobody", "-o", "p.png"), 2),
        (("-o", "p.png"), 2),
        (("liver_0", "--all", "-o", "p.png"), 2),
        (("liver_0", "-o", "p.jpg"), 2),
        (("liver_0", "-o", "p.png", "--window", "3"), 2),
        (("liver_0", "-o", "p.png", "--window", "3,1"), 2),
        (("liver_0", "-o", "p.png", "--label-set", "none"), 2),
        (("--all", "-o", "p.png", "--split", "nowhere"), 2),
    ],
)
def test_wrong_usage_writes_nothing(
    arguments: tuple[str, ...],
    status: int,
    phantom_store: cz.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(phantom_store.location, *arguments)[0] == status
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_case_is_told_and_the_sheet_goes_on(phantom_store: cz.Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(phantom_store.location, copy)
    shard = copy / phantom_store["liver_0"].record.path / "image" / "c" / "0" / "0" / "0"
    shard.write_bytes(bytes(shard.stat().st_size))
    status, output = run(copy, "--all", "-o", tmp_path / "all.png")
    assert status == 4
    assert "damaged liver_0: " in output
    status, output = run(copy, "--all", "-o", tmp_path / "all.png", "--overwrite", "--json")
    document = json.loads(output)
    assert (status, document["paths"]) == (4, [str(tmp_path / "all.png")])
    assert [one["case"] for one in document["damaged"]] == ["liver_0"]
    assert (tmp_path / "all.png").is_file()
    status, output = run(copy, "liver_0", "-o", tmp_path / "one.png")
    assert (status, output.count("\n")) == (4, 1)
    assert not (tmp_path / "one.png").exists()


def test_pictures_of_no_case_are_refused(phantom_store: cz.Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownCase):
        cz.preview(phantom_store.location, tmp_path / "p.png", "nobody")
    (tmp_path / "p.png").touch()
    with pytest.raises(StorageError, match="overwrite"):
        cz.preview(phantom_store.location, tmp_path / "p.png")


def test_a_picture_is_a_png(case: cz.Case) -> None:
    data = canvas.png(case.preview(height=160))
    assert Image.open(io.BytesIO(data)).format == "PNG"


def test_what_is_no_number_is_drawn_without_a_warning() -> None:
    values = np.full((8, 8), 40.0)
    values[0, :4] = (np.nan, np.inf, -np.inf, 1e300)
    drawn = canvas.resized(values, (24, 24))
    assert np.isfinite(drawn).all()
    assert drawn[-6:, -6:] == pytest.approx(40)


def test_a_sheet_of_no_case_is_empty(phantom_store: cz.Store) -> None:
    none = phantom_store.select(has_label="L6", min_slices=999)
    assert (none.pages, none.preview().width) == (1, phantom_store.preview(columns=1).width)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        # The slices go forward by 0.4 of what they rise: a gantry that is tilted by its arc tangent.
        ((0, 0.8, 2, 0), ["oblique by 21.8 degrees", "sheared by 21.8 degrees"]),
        ((0, 0.01, 2, 0), []),
    ],
)
def test_what_is_drawn_of_a_sheared_scan_says_so(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, column: tuple[float, ...], expected: list[str]
) -> None:
    affine = np.eye(4)
    affine[:, 2] = column
    image, mask = bent()
    tree.add(image=in_mm(image, affine), mask=in_mm(mask, affine))
    cz.build_store(cz.plan_build(tree.root, tree.root.parent / "s.zarr", workers=1))
    written: list[str] = []
    write = canvas.write

    def noting(picture: Any, place: Any, text: str, *more: Any, **options: Any) -> None:
        written.append(text)
        write(picture, place, text, *more, **options)

    monkeypatch.setattr(canvas, "write", noting)
    cz.open_store(tree.root.parent / "s.zarr")["liver_1"].preview()
    assert re.findall(r"\w+ by [\d.]+ degrees", "   ".join(written)) == expected
