"""The viewer's page in a browser: what is on its screen is what the store holds."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import scipy.ndimage
from browsers import NEEDS_CHROMIUM, SHOWN, Viewed, chromium, watched
from numpy.typing import NDArray
from sites import greys
from trees import Tree, in_mm
from turned import AXES, added, rotated
from viewers import viewed

import ctspine_zarr as cz
from ctspine_zarr.format.levels import middle_voxel
from ctspine_zarr.format.spec import colour

pytestmark = [NEEDS_CHROMIUM, pytest.mark.slow]

CASE = "1.3.6.1.4.1.9328.50.4.0001"
REAL, SECOND = "volume-covid19-X-9002_ct", "HN_X901"
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
MOST_SLAB = 4 * 2**20
LIMIT = 192 * 2**20


@dataclass
class View(Viewed):
    """A page of the viewer's server.

    Attributes:
        url: of the server.
    """

    url: str

    def open(self, fragment: str = "") -> None:
        # A page that others lie over is drawn rarely; from elsewhere, so that it begins anew.
        self.page.bring_to_front()
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{fragment}")
        self.settled()

    def pane(self, plane: str, side: int = 0) -> str:
        return f"viewer.panes.find(p => p.plane === '{plane}' && p.side === {side})"

    def shape(self, plane: str) -> list[int]:
        shape: list[int] = self(f"(p => [p.shown.height, p.shown.width])({self.pane(plane)})")
        return shape

    def pixels(self, plane: str) -> NDArray[np.uint8]:
        """Red, green, blue and opacity of the slice of a plane, a pixel a voxel."""
        return self.array(f"{self.pane(plane)}.pixels.data").reshape(*self.shape(plane), 4)

    def screen(self, plane: str) -> NDArray[np.uint8]:
        """The same, as it was drawn, where it is drawn at a pixel a voxel."""
        script = f"""(p => {{
            const {{ left, top }} = p.placement;
            return p.base.getContext("2d").getImageData(left, top, p.shown.width, p.shown.height).data;
        }})({self.pane(plane)})"""
        return self.array(script).reshape(*self.shape(plane), 4)

    def at_one_pixel_a_voxel(self, plane: str) -> None:
        self(
            f"""(p => {{
            p.reset();
            p.zoom = 1 / p.placement.perColumn;
            p.panX -= p.placement.left - Math.floor(p.placement.left);
            p.panY -= p.placement.top - Math.floor(p.placement.top);
            viewer.change({{ smooth: false }});
        }})({self.pane(plane)})"""
        )
        self.settled()

    @property
    def state(self) -> Any:
        return self("viewer.state")

    @property
    def boxes(self) -> list[tuple[str, list[int], list[int]]]:
        """Array, start and stop of each box that was asked for."""
        found = []
        for url in self.requests:
            query = parse_qs(urlsplit(url).query)
            if "start" in query:
                start, stop = ([*map(int, query[name][0].split(","))] for name in ("start", "stop"))
                found.append((urlsplit(url).path, start, stop))
        return found


ARROWS = ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight")
NO_LABEL = "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def new_view(browser: Any) -> Iterator[Callable[[str], View]]:
    """Views of servers, which at the end have asked nobody else and made no error."""
    with watched(browser, View) as (new, views):
        yield new
    assert {url for view in views for url in view.requests if not url.startswith(f"{view.url}/")} <= {
        "data:,"
    }


@pytest.fixture(scope="module")
def store(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    """The phantom, one case of which has a label set: its mask, moved up by two slices."""
    location = tmp_path_factory.mktemp("viewer") / "spine.zarr"
    shutil.copytree(phantom_store.location, location)
    mask = phantom_store[CASE].segmentation.compute()
    cz.add_labels(location, "model", {CASE: np.roll(mask, 2, axis=0)})
    return cz.open_store(location)


@pytest.fixture(scope="module")
def opened(store: cz.Store, new_view: Callable[[str], View]) -> Iterator[View]:
    with viewed(store) as url:
        yield new_view(url)


@pytest.fixture
def view(opened: View) -> View:
    opened.open(f"#case={CASE}")
    opened.requests.clear()
    return opened


@pytest.fixture(scope="module")
def real_store(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    location = tmp_path_factory.mktemp("real") / "spine.zarr"
    chosen = cz.Selection(cases=(REAL, SECOND))
    cz.build_store(cz.plan_build(mini, location, selection=chosen, workers=1))
    return cz.open_store(location)


@pytest.fixture(scope="module")
def opened_real(real_store: cz.Store, new_view: Callable[[str], View]) -> Iterator[View]:
    with viewed(real_store) as url:
        yield new_view(url)


@pytest.fixture
def real(opened_real: View) -> View:
    """A view of real CT."""
    opened_real.open(f"#case={REAL}")
    opened_real.requests.clear()
    return opened_real


def clicked(view: View, plane: str, voxel: tuple[int, int, int], **options: Any) -> None:
    """The mouse on the middle of a voxel."""
    x, y = view(
        f"""at => {{
        const p = {view.pane(plane)}, {{ left, top, perColumn, perRow }} = p.placement;
        const box = p.element.getBoundingClientRect(), {{ row, column }} = p.pixelOf(at);
        return [box.left + left + (column + 0.5) * perColumn, box.top + top + (row + 0.5) * perRow];
    }}""",
        list(voxel),
    )
    view.page.mouse.click(x, y, **options)
    view.settled()


def checked_planes(view: View, case: cz.Case, at: tuple[int, int, int]) -> None:
    view.go(*at)
    for key, window in (("1", (-450, 1050)), ("2", (-160, 240)), ("3", (-1350, 150))):
        view.page.keyboard.press(key)
        view.settled()
        for plane, (axis, _, _) in PLANES.items():
            expected = greys(case.slice(at[axis], plane)["image"], window)  # type: ignore[arg-type]
            pixels = view.pixels(plane)
            assert (pixels[..., 3] == 255).all()
            assert np.array_equal(pixels[..., :3], np.repeat(expected[..., None], 3, axis=2))


def checked_overlay(view: View, case: cz.Case, at: tuple[int, int, int]) -> None:
    view.go(*at)
    view.page.set_viewport_size({"width": 1920, "height": 1080})
    view("viewer.setMain('axial')")
    view("viewer.change({ window: [-450, 1050], opacity: 1, style: 'fill', names: false, crosshair: false })")
    view.at_one_pixel_a_voxel("axial")
    mask = case.slice(at[0])["segmentation"][::-1, ::-1]
    palette = np.array([(0, 0, 0), *(colour(label) for label in range(1, 256))])
    screen = view.screen("axial")
    view.page.set_viewport_size({"width": 1280, "height": 800})
    assert mask.any()
    assert np.array_equal(screen[mask > 0][:, :3], palette[mask[mask > 0]])
    expected = greys(case.slice(at[0])["image"], (-450, 1050))
    assert np.array_equal(screen[mask == 0][:, 0], expected[mask == 0])


def middle(case: cz.Case) -> tuple[int, int, int]:
    labels = case.record.labels
    z, y, x = map(round, labels[len(labels) // 2].centroid)
    return z, y, x


# -- what is on the screen


def test_the_pixels_of_three_planes_are_the_slices_in_three_windows(view: View, store: cz.Store) -> None:
    checked_planes(view, store[CASE], (20, 40, 50))


def test_the_pixels_of_real_ct_are_its_slices(real: View, real_store: cz.Store) -> None:
    checked_planes(real, real_store[REAL], (89, 143, 276))


def test_a_store_of_another_codec_is_shown_alike(
    phantom: Path, tmp_path: Path, new_view: Callable[[str], View]
) -> None:
    chosen = cz.Selection(cases=(CASE,))
    plan = cz.plan_build(phantom, tmp_path / "s.zarr", selection=chosen, codec="compact", workers=1)
    cz.build_store(plan)
    store = cz.open_store(tmp_path / "s.zarr")
    assert store[CASE].record.image.codec == "predict"
    with viewed(store) as url:
        view = new_view(url)
        view.open(f"#case={CASE}")
        checked_planes(view, store[CASE], (20, 40, 50))
        checked_overlay(view, store[CASE], middle(store[CASE]))


def test_labels_cover_their_voxels_in_their_colours(view: View, store: cz.Store) -> None:
    checked_overlay(view, store[CASE], middle(store[CASE]))


def test_labels_of_real_ct_cover_their_voxels(real: View, real_store: cz.Store) -> None:
    checked_overlay(real, real_store[REAL], middle(real_store[REAL]))


@dataclass
class Marks:
    """What is drawn over a plane, in CSS pixels from its upper left corner.

    Attributes:
        letters: of the sides of the body, and where they stand.
        names: of labels: text, where it stands, and how opaque it is.
        scale: what the bar says, and its length.
        cross: the crosshair's lines, each from and to.
        size: width and height of the plane.
        placement: as of the page's Pane.
        picture: first and past the last column and row of the screen that the slice covers.
    """

    letters: dict[str, tuple[float, float]]
    names: list[tuple[str, float, float, float]]
    scale: tuple[str, float]
    cross: list[list[float]]
    size: tuple[float, float]
    placement: dict[str, float]
    picture: list[int]


def drawn_marks(view: View, plane: str) -> Marks:
    """What a plane draws over its slice, as its canvas is told."""
    found = view(
        f"""(pane => {{
        const context = pane.marks.getContext("2d"), texts = [], lines = [];
        const plain = CanvasRenderingContext2D.prototype;
        let from = null;
        context.fillText = (text, x, y) => {{
            texts.push([text, x, y, context.font, context.globalAlpha]);
            plain.fillText.call(context, text, x, y);
        }};
        context.moveTo = (x, y) => (from = [x, y], plain.moveTo.call(context, x, y));
        context.lineTo = (x, y) => {{
            lines.push([context.strokeStyle, ...from, x, y]);
            from = [x, y];
            plain.lineTo.call(context, x, y);
        }};
        pane.draw();
        for (const name of ["fillText", "moveTo", "lineTo"]) delete context[name];
        const {{ width, height }} = pane.base;
        const {{ data }} = pane.base.getContext("2d").getImageData(0, 0, width, height);
        const edges = [width, 0, height, 0];
        for (let at = 3, pixel = 0; at < data.length; at += 4, pixel++) {{
            if (data[at] === 0) continue;
            const [x, y] = [pixel % width, Math.floor(pixel / width)];
            edges[0] = Math.min(edges[0], x), edges[1] = Math.max(edges[1], x + 1);
            edges[2] = Math.min(edges[2], y), edges[3] = Math.max(edges[3], y + 1);
        }}
        return {{ texts, lines, size: pane.size, placement: pane.placement, edges }};
    }})({view.pane(plane)})"""
    )
    texts, lines = found["texts"], found["lines"]
    [scale] = [text for text, *_ in texts if re.fullmatch(r"\d+ [cm]m", text)]
    [bar] = [x - left for style, left, up, x, y in lines if style == "#e8edf2" and up == y]
    return Marks(
        {text: (x, y) for text, x, y, font, _ in texts if "15px" in font},
        [(text, x, y, alpha) for text, x, y, font, alpha in texts if "600 12px" in font],
        (scale, bar),
        [line for style, *line in lines if style.startswith("rgba")],
        (found["size"][0], found["size"][1]),
        found["placement"],
        found["edges"],
    )


def test_what_stands_over_a_plane_is_true(view: View, store: cz.Store) -> None:
    at = middle(store[CASE])
    view.go(*at)
    for plane in PLANES:
        checked_marks(drawn_marks(view, plane), store[CASE], plane, at)


def checked_marks(marks: Marks, case: cz.Case, plane: str, at: tuple[int, int, int]) -> None:
    axis, rows, columns = PLANES[plane]
    (width, height), placement = marks.size, marks.placement
    # The picture of the slice is where it is said to be.
    left, top = placement["left"], placement["top"]
    right, bottom = (
        left + case.shape[columns] * placement["perColumn"],
        top + case.shape[rows] * placement["perRow"],
    )
    assert np.abs(np.subtract(marks.picture, [left, right, top, bottom])).max() <= 1
    # Letters, each in the middle of its edge.
    places = ((0, height / 2), (width, height / 2), (width / 2, 0), (width / 2, height))
    letters = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}[plane]
    assert {*marks.letters} == {*letters}
    for letter, place in zip(letters, places, strict=True):
        assert math.dist(marks.letters[letter], place) < 20
    # The bar is as long as it says, along both axes.
    text, length = marks.scale
    mm = int(text.split()[0]) * (10 if text.endswith("cm") else 1)
    for per_voxel, along in (("perColumn", columns), ("perRow", rows)):
        assert length == pytest.approx(mm * placement[per_voxel] / case.spacing[along])
    # The crosshair meets at the middle of the voxel, and covers nothing near it.
    x = left + (case.shape[columns] - 1 - at[columns] + 0.5) * placement["perColumn"]
    y = top + (case.shape[rows] - 1 - at[rows] + 0.5) * placement["perRow"]
    assert len(marks.cross) == 4
    for fro_x, fro_y, to_x, to_y in marks.cross:
        assert min(abs(fro_x - x) + abs(to_x - x), abs(fro_y - y) + abs(to_y - y)) <= 2
        assert 7 < min(math.dist((x, y), end) for end in ((fro_x, fro_y), (to_x, to_y))) < 11
    ends = {round(value) for line in marks.cross for value in line}
    assert {0, round(width), round(height)} <= ends
    # A name stands on its label, or, paler, where the centroid of one is that is near.
    mask = case.slice(at[axis], plane)["segmentation"][::-1, ::-1]  # type: ignore[arg-type]
    spec, labels = case.spec, {label.name: label for label in case.record.labels}
    within = {spec.labels[value] for value in np.unique(mask[mask > 0]).tolist()}
    assert {name for name, *_, alpha in marks.names if alpha == 1} == within
    assert len(marks.names) == len({name for name, *_ in marks.names}) > 0
    for name, x, y, alpha in marks.names:
        row, column = (y - top) / placement["perRow"], (x - left) / placement["perColumn"]
        if alpha == 1:
            assert mask[math.floor(row), math.floor(column)] == labels[name].label
        else:
            centroid = labels[name].centroid
            assert abs(centroid[axis] - at[axis]) * case.spacing[axis] <= 6
            assert row == pytest.approx(case.shape[rows] - 0.5 - centroid[rows], abs=1e-3)
            assert column == pytest.approx(case.shape[columns] - 0.5 - centroid[columns], abs=1e-3)


def test_an_outline_follows_the_edges_of_a_label(view: View, store: cz.Store) -> None:
    at = middle(store[CASE])
    view.go(*at)
    view("viewer.change({ opacity: 1, style: 'outline', names: false })")
    view("(p => { p.reset(); p.zoom = 8; viewer.change({ smooth: false }) })(" + view.pane("axial") + ")")
    view.settled()
    mask = store[CASE].slice(at[0])["segmentation"][::-1, ::-1]
    assert np.array_equal(view.array(f"{view.pane('axial')}.shown.masks[0].voxels").reshape(mask.shape), mask)
    base, placement = f"{view.pane('axial')}.base", view(f"{view.pane('axial')}.placement")
    data = view.array(f"{base}.getContext('2d').getImageData(0, 0, {base}.width, {base}.height).data")
    chroma = np.ptp(data.reshape(-1, view(f"{base}.width"), 4)[..., :3], axis=2)
    left, top, wide, tall = (placement[name] for name in ("left", "top", "perColumn", "perRow"))
    y, x = np.indices(chroma.shape) + 0.5
    # Place of each pixel's middle in the slice, and how many pixels it is from the next edge of its voxel.
    row, column = (y - top) / tall, (x - left) / wide
    inside = (row > 1) & (row < len(mask) - 1) & (column > 1) & (column < mask.shape[1] - 1)
    rows, columns = np.where(inside, row, 1).astype(int), np.where(inside, column, 1).astype(int)
    own = mask[rows, columns]
    away = np.full(chroma.shape, 99.0)
    for other, pixels in (
        (mask[rows - 1, columns], (row - rows) * tall),
        (mask[rows + 1, columns], (rows + 1 - row) * tall),
        (mask[rows, columns - 1], (column - columns) * wide),
        (mask[rows, columns + 1], (columns + 1 - column) * wide),
    ):
        away = np.where(other == own, away, np.minimum(away, pixels))
    least = min(np.ptp(colour(label)) for label in np.unique(mask[mask > 0]).tolist())
    # CT is grey. A line of a pixel and a half covers at least half of the pixel that an edge lies in.
    assert (inside & (away < 0.5)).sum() > 100
    assert chroma[inside & (away < 0.5)].min() >= least * 0.45
    # Away from edges and from their corners nothing is drawn, within labels or without.
    near = scipy.ndimage.binary_dilation(away < 1, iterations=4)
    assert (inside & ~near & (own > 0)).sum() > 100
    assert chroma[inside & ~near].max() == 0


# -- going about


def checked_jump(view: View, case: cz.Case) -> None:
    for label in case.record.labels[::3]:
        view.page.locator("#panel .label", has_text=label.name).first.click()
        view.settled()
        assert view.state["at"] == [math.floor(value + 0.5) for value in label.centroid]
        value = int(case.segmentation[tuple(view.state["at"])].compute())
        shown = re.sub(r"\s", "", view.page.locator("#status").inner_text())
        assert f"vertebrae{case.spec.labels[value] if value else NO_LABEL}" in shown


def test_a_click_on_a_name_leads_to_its_centroid(view: View, store: cz.Store) -> None:
    checked_jump(view, store[CASE])


def test_a_click_on_a_name_leads_to_its_vertebra_in_real_ct(real: View, real_store: cz.Store) -> None:
    checked_jump(real, real_store[REAL])


def test_a_case_begins_at_its_middle_vertebra(view: View, store: cz.Store) -> None:
    assert view.state["at"] == [
        math.floor(value + 0.5) for value in middle_voxel(store[CASE].record, store.spec)
    ]


def test_a_click_moves_the_crosshair_and_tells_the_voxel(view: View, store: cz.Store) -> None:
    case = store[CASE]
    for plane, (axis, _, _) in PLANES.items():
        # Elsewhere along both axes of the plane than before.
        voxel = [22 + axis, 37 - axis, 61 + 2 * axis]
        voxel[axis] = view.state["at"][axis]
        z, y, x = voxel
        clicked(view, plane, (z, y, x))
        assert view.state["at"] == voxel
        shown = re.sub(r"\s+", " ", view.page.locator("#status").inner_text())
        world = (case.affine @ [x, y, z, 1])[:3]
        assert re.search(rf"HU ?{int(case.image[z, y, x].compute())}\b", shown)
        assert f"{z}, {y}, {x}" in shown
        assert ", ".join(f"{mm:.1f}" for mm in world) in shown


def test_wheel_and_keys_go_through_the_slices_of_the_plane_below_the_pointer(view: View) -> None:
    for plane, (axis, _, _) in PLANES.items():
        view.page.locator(f".pane[data-plane={plane}][data-side='0']").hover()
        at = view.state["at"][axis]
        last = view("viewer.grid.shape")[axis] - 1
        for act, expected in (
            (100, at - 1),
            (-100, at),
            ("ArrowUp", at + 1),
            ("PageDown", at - 9),
            ("ArrowDown", at - 10),
            ("End", last),
            ("PageUp", last),
            ("Home", 0),
        ):
            if isinstance(act, str):
                view.page.keyboard.press(act)
            else:
                view.page.mouse.wheel(0, act)
            view.until(f"viewer.state.at[{axis}] === {expected}")
        view.settled()


def test_dragging_with_the_right_button_changes_the_window(view: View) -> None:
    view.page.locator(".pane[data-plane=axial]").first.hover()
    view.page.mouse.down(button="right")
    view.page.mouse.move(900, 200)
    view.page.mouse.move(940, 260)
    view.page.mouse.up(button="right")
    low, high = view.state["window"]
    assert (low, high) != (-450, 1050)
    assert low < high
    assert view("viewer.greys.length") == 65536


def test_zoom_stays_at_the_pointer_and_a_double_click_resets_it(view: View) -> None:
    pane = view.page.locator(".pane[data-plane=axial]").first
    box = pane.bounding_box()
    x, y = box["x"] + 200, box["y"] + 150
    view.page.mouse.move(x, y)
    place = f"{view.pane('axial')}.pixelAt(200, 150)"
    before = view(place)
    view.page.keyboard.down("Control")
    view.page.mouse.wheel(0, -100)
    view.page.keyboard.up("Control")
    view.until(f"{view.pane('axial')}.zoom > 1")
    assert view(place) == before
    at = view.state["at"]
    pane.dblclick(position={"x": 200, "y": 150})
    view.settled()
    assert view(f"{view.pane('axial')}.zoom") == 1
    assert view.state["at"][0] == at[0]


def test_a_second_case_takes_the_place_of_the_first(view: View, store: cz.Store) -> None:
    view.page.locator("#cases .case", has_text="liver_0").click()
    view.until("viewer.record.id === 'liver_0'")
    view.settled()
    assert view.page.locator("#title").inner_text() == "liver_0"
    checked_planes(view, store["liver_0"], (10, 50, 40))


def test_a_second_case_of_real_ct_takes_the_place_of_the_first(real: View, real_store: cz.Store) -> None:
    real.page.locator("#cases .case", has_text=SECOND).click()
    real.until(f"viewer.record.id === '{SECOND}'")
    real.settled()
    assert real.page.locator("#title").inner_text() == SECOND
    checked_planes(real, real_store[SECOND], middle(real_store[SECOND]))


def test_search_and_filters_leave_what_fits(view: View, store: cz.Store) -> None:
    def shown() -> list[str]:
        return [one.inner_text() for one in view.page.locator("#cases .case .id").all() if one.is_visible()]

    assert shown() == list(store)
    view.page.locator("#search").fill("liver_")
    assert shown() == ["liver_0", "liver_12"]
    view.page.get_by_label("Split").select_option("validation")
    assert shown() == ["liver_12"]
    view.page.locator("#search").fill("")
    view.page.get_by_label("Split").select_option("")
    view.page.get_by_label("Label", exact=True).select_option(label="L6")
    assert shown() == list(store.select(has_label="L6"))
    view.page.get_by_label("Label", exact=True).select_option("")
    view.page.get_by_label("Source").select_option("COVID-19")
    assert shown() == list(store.select(source="COVID-19"))


def test_a_filter_by_finding_leaves_the_cases_that_have_it(opened: View, store: cz.Store) -> None:
    first, second, *others = store
    of = {case: ["oblique"] for case in others} | {first: ["oblique", "split_vertebra"], second: []}

    def planted(route: Any) -> None:
        told = route.fetch().json()
        told["cases"] = [one | {"findings": of[one["id"]]} for one in told["cases"]]
        route.fulfill(json=told)

    opened.page.route("**/api/store", planted)
    opened.open(f"#case={CASE}")
    opened.page.unroute("**/api/store")
    for chosen, expected in (
        ({"value": "=oblique"}, [first, *others]),
        ({"label": "a vertebra in pieces"}, [first]),
        ({"label": "no finding"}, [second]),
        ({"label": "any finding"}, [*store]),
    ):
        opened.page.get_by_label("Finding").select_option(**chosen)
        assert opened.page.locator("#cases li:not([hidden]) .id").all_inner_texts() == expected


# -- links


def test_a_link_brings_the_view_back(view: View) -> None:
    fragment = f"#case={CASE}&at=17,33,44&window=-100,300&labels=model&opacity=0.75&style=outline"
    view.open(fragment)
    state = view.state
    assert state["at"] == [17, 33, 44]
    assert (state["window"], state["labels"], state["opacity"], state["style"]) == (
        [-100, 300],
        "model",
        0.75,
        "outline",
    )
    view.go(9, 20, 30)
    view("viewer.change({ window: [-7, 77], labels: 'vertebrae', compare: 'model', how: 'beside' })")
    view.until("location.hash.includes('9,20,30') && location.hash.includes('-7,77')")
    kept, link = view.state, view("location.hash")
    view.open(link)
    assert view.state == kept
    assert view("history.length") < 50


@pytest.mark.parametrize(
    "fragment",
    [
        "#",
        "#case=liver_0&at=1,2",
        "#case=liver_0&at=NaN,Infinity,x&window=9,3&opacity=7&style=x&labels=nobody",
    ],
)
def test_a_link_with_nonsense_shows_the_case_as_usual(opened: View, fragment: str) -> None:
    opened.open(fragment)
    state = opened.state
    assert (state["window"], state["opacity"], state["style"]) == ([-450, 1050], 0.4, "fill")
    assert state["labels"] == "vertebrae"


# -- two sets of labels


def test_a_label_set_is_shown_over_the_mask_or_beside_it(view: View, store: cz.Store) -> None:
    at = middle(store[CASE])
    mask = store[CASE].slice(at[0])["segmentation"][::-1, ::-1]
    model = store.select(labels="model")[CASE].slice(at[0])["segmentation"][::-1, ::-1]
    view.page.get_by_label("Labels to compare with").select_option("model")
    view.go(*at)
    shown = f"{view.pane('axial')}.shown.masks.map(m => [m.overlay.name, m.overlay.style, [...m.voxels]])"
    (name, style, first), (other, line, second) = view(shown)
    assert (name, style, other, line) == ("vertebrae", "fill", "model", "outline")
    assert np.array_equal(np.reshape(first, mask.shape), mask)
    assert np.array_equal(np.reshape(second, mask.shape), model)
    view.page.get_by_label("How two are compared").select_option("beside")
    view.settled()
    assert sum(one.is_visible() for one in view.page.locator(".pane").all()) == 6
    beside = view(f"{view.pane('axial', 1)}.shown.masks.map(m => [m.overlay.name, [...m.voxels]])")
    assert beside[0][0] == "model"
    assert np.array_equal(np.reshape(beside[0][1], mask.shape), model)


# -- oblique


@pytest.fixture(scope="module")
def oblique_store(tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    root = tmp_path_factory.mktemp("oblique")
    tree = Tree(root / "source")
    added(tree, "liver_1", "LPS", rotated(AXES))
    sheared = AXES.copy()
    sheared[0, 2] = 0.4
    added(tree, "liver_22", "RAS", sheared)
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    return cz.open_store(root / "s.zarr")


@pytest.mark.parametrize("case_id", ["liver_1", "liver_22"])
def test_an_oblique_case_is_drawn_along_the_body(
    oblique_store: cz.Store, new_view: Callable[[str], View], case_id: str
) -> None:
    case = oblique_store[case_id]
    hu, mask = case.image.compute().astype(float), case.segmentation.compute()
    with viewed(oblique_store) as url:
        view = new_view(url)
        view.open(f"#case={case_id}")
        assert "nearest voxels" in view.page.locator("#grid-note").inner_text()
        assert not view("viewer.grid.isStraight")
        table = oblique_store.vertebrae
        volumes = table["cm3"][table["case"] == case_id]
        told = view.page.locator("#panel .label .number:nth-of-type(3)").all_inner_texts()
        assert told == [f"{cm3:.1f} cm\N{SUPERSCRIPT THREE}" for cm3 in volumes]
        for plane, (axis, rows, columns) in PLANES.items():
            index = view.state["at"][axis]
            shape = view("viewer.grid.shape")
            at = np.zeros((shape[rows], shape[columns], 3))
            at[..., axis] = index
            at[..., rows] = np.arange(shape[rows])[::-1, None]
            at[..., columns] = np.arange(shape[columns])[::-1]
            first, last = (
                np.asarray(view(f"viewer.grid.worldOf({list(one)})"))
                for one in ([0] * 3, np.subtract(shape, 1).tolist())
            )
            # Along the axes of the body: right, anterior, superior.
            step = (last - first) / np.subtract(shape, 1)[::-1]
            world = first + at[..., ::-1] * step
            voxel = (world - case.affine[:3, 3]) @ np.linalg.inv(case.affine[:3, :3]).T
            nearest = np.rint(voxel).astype(int)
            inside = ((nearest >= 0) & (nearest < case.shape[::-1])).all(axis=2)
            # Where two voxels are as near, either may be shown.
            sure = (np.abs(voxel - np.floor(voxel) - 0.5) > 1e-6).all(axis=2)
            x, y, z = np.moveaxis(np.where(inside[..., None], nearest, 0), 2, 0)
            image = view.array(f"{view.pane(plane)}.shown.image", dtype="f4").reshape(inside.shape)
            labels = view.array(f"{view.pane(plane)}.shown.masks[0].voxels").reshape(inside.shape)
            assert inside.any()
            assert np.array_equal(image[sure], np.where(inside, hu[z, y, x], np.nan)[sure], equal_nan=True)
            assert np.array_equal(labels[sure], np.where(inside, mask[z, y, x], 0)[sure])
        clicked(view, "axial", tuple(view.state["at"]))
        position = view.state["at"]
        world = view(f"viewer.grid.worldOf({position})")
        assert ", ".join(f"{mm:.1f}" for mm in world) in view.page.locator("#status").inner_text()
        view.until("location.hash.includes('at=')")
        link = view("location.hash")
        view.open(link)
        assert view.state["at"] == position


# -- what is read, and how fast


def bytes_of(box: tuple[str, list[int], list[int]]) -> int:
    path, start, stop = box
    size: list[int] = np.subtract(stop, start).tolist()
    return math.prod(size) * (2 if path.endswith("image") else 1)


def test_no_volume_is_read_whole_and_no_slab_twice(opened_real: View, real_store: cz.Store) -> None:
    opened_real.requests.clear()
    opened_real.open(f"#case={REAL}")
    boxes = opened_real.boxes
    # Three planes of image and mask.
    assert len({path for path, _, _ in boxes}) == 2
    assert sum(map(bytes_of, boxes)) < math.prod(real_store[REAL].shape) * 3 / 2
    for index in range(89, 60, -1):
        opened_real("index => viewer.scroll(viewer.panes[0], index - viewer.state.at[0])", index)
        opened_real.settled()
    assert max(map(bytes_of, opened_real.boxes)) <= MOST_SLAB
    assert len({json.dumps(box) for box in opened_real.boxes}) == len(opened_real.boxes)


def test_scrolling_is_smooth(real: View) -> None:
    """Of 100 slices of 512 x 512 with labels, one a frame, most are seen: at thirty a second or more."""
    real.go(120, 143, 276)
    times, drawn, seen = real(
        """new Promise(done => {
        viewer.frames.length = viewer.drawTimes.length = 0;
        let left = 100;
        const pane = viewer.panes[0], seen = new Set();
        const next = () => {
            seen.add(pane.shown.index);
            if (left-- === 0) return done([viewer.frames, viewer.drawTimes, seen.size]);
            viewer.scroll(pane, -1);
            requestAnimationFrame(next);
        };
        next();
    })"""
    )
    frame, draw = statistics.median(np.diff(times)), statistics.median(drawn)
    print(f"{frame:.1f} ms a frame, of them {draw:.1f} ms drawing; {seen} of 101 slices were seen")
    assert len(times) >= 100
    assert seen >= 50
    assert frame <= 1000 / 30


def test_memory_is_bounded_through_all_slabs_of_all_planes(real: View) -> None:
    script = """async ([axis, step]) => {
        for (let at = 0; at < viewer.grid.shape[axis]; at += step) {
            const to = [...viewer.state.at];
            to[axis] = at;
            viewer.goTo(to);
            const pane = viewer.panes[axis];
            while (pane.shown?.index !== at) await new Promise(requestAnimationFrame);
            const held = [...viewer.boxes.held.values()].reduce((sum, one) => sum + one.voxels.byteLength, 0);
            const { bytes, limit } = viewer.boxes;
            if (held > bytes || bytes > limit) throw new Error(`holds ${held}`);
        }
        return [viewer.boxes.peak, viewer.boxes.limit];
    }"""
    assert real("viewer.boxes.limit") == LIMIT
    real("viewer.boxes.clear(), viewer.boxes.peak = 0, viewer.boxes.limit = 2 ** 26, viewer.changed()")
    for axis, step in ((0, 8), (1, 32), (2, 32)):
        peak, limit = real(script, [axis, step])
        assert peak <= limit == 2**26
    # All of them do not fit: some had to go.
    assert sum(map(bytes_of, real.boxes)) > 2 * limit
    assert max(map(bytes_of, real.boxes)) <= MOST_SLAB


def test_every_slice_of_every_plane_comes_where_little_is_held(
    opened_real: View, real_store: cz.Store
) -> None:
    opened_real.open(f"#case={SECOND}")
    script = """async axis => {
        const pane = viewer.panes[axis], sums = [];
        for (let at = 0; at < viewer.grid.shape[axis]; at++) {
            viewer.scroll(pane, at - viewer.state.at[axis]);
            for (pane.draw(); pane.shown?.index !== at; pane.draw())
                await new Promise(done => setTimeout(done));
            sums.push(pane.shown.image.reduce((sum, value) => sum + value, 0));
        }
        return sums;
    }"""
    # Room for what three planes need, and little more.
    opened_real("viewer.boxes.limit = 12 * 2 ** 20")
    image = real_store[SECOND].image.compute().astype(np.int64)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        assert opened_real(script, axis) == image.sum(axis=others).tolist()
    assert opened_real("viewer.boxes.peak") <= 12 * 2**20


def test_the_next_slab_is_read_ahead_of_the_scrolling(view: View) -> None:
    view.go(20, 40, 50)
    view.requests.clear()
    view("viewer.scroll(viewer.panes[0], -1)")
    view.settled()
    view.until("viewer.boxes.underWay.size === 0")
    assert {(tuple(start), tuple(stop)) for _, start, stop in view.boxes} == {((8, 0, 0), (16, 96, 96))}


def test_what_is_no_longer_wanted_is_given_up(view: View) -> None:
    given_up: list[str] = []
    at = view.state["at"]
    view.page.on("requestfailed", lambda request: given_up.append(request.url))
    # Nobody answers these.
    view.page.route("**/image?*", lambda _: None)
    view("viewer.goTo([0, viewer.state.at[1], viewer.state.at[2]])")
    view.until("viewer.boxes.underWay.size === 1")
    assert view(f"{view.pane('axial')}.shown.index") == at[0]
    assert "reading" in view(
        "getComputedStyle(document.querySelector('.late .pane-title'), '::after').content"
    )
    view.go(*at)
    view.until("viewer.boxes.underWay.size === 0")
    view.page.unroute("**/image?*")
    assert [url.partition("?")[2].partition("&state=")[0] for url in given_up] == ["start=0,0,0&stop=8,96,96"]
    assert view.page.locator("#message").is_hidden()


# -- what goes wrong


def test_an_updated_store_is_told_of_and_a_click_shows_it_as_it_is_now(
    store: cz.Store, tmp_path: Path, new_view: Callable[[str], View]
) -> None:
    location = tmp_path / "spine.zarr"
    shutil.copytree(store.location, location)
    message = "document.getElementById('message')"
    with viewed(cz.open_store(location)) as url:
        view = new_view(url)
        view.open(f"#case={CASE}&labels=vertebrae")
        changed = store[CASE].segmentation.compute()[::-1].copy()
        cz.add_labels(location, "model", {CASE: changed}, replace=True)
        view("viewer.change({ labels: 'model' })")
        view.until(f"!{message}.hidden")
        assert "updated" in view.page.locator("#message").inner_text()
        view.until("location.hash.includes('labels=model')")
        with view.page.expect_navigation():
            view.page.locator("#message").click()
        view.until("viewer.record")
        view.settled()
        assert view(f"{message}.hidden")
        assert view.state["labels"] == "model"
        at = view.state["at"]
        shown = view.array(f"{view.pane('axial')}.shown.masks[0].voxels")
        expected = changed[at[0], ::-1, ::-1]
        assert expected.any()
        assert np.array_equal(shown.reshape(expected.shape), expected)


def test_a_store_that_is_still_built_is_called_partial(view: View) -> None:
    note = view.page.locator("#store-note")
    assert note.inner_text() == ""

    def partial(route: Any) -> None:
        route.fulfill(json=route.fetch().json() | {"is_partial": True})

    view.page.route("**/api/store", partial)
    view.open(f"#case={CASE}")
    assert note.inner_text() == "partial: its first build has not ended"
    view.page.unroute("**/api/store")


def test_an_unknown_case_is_told_of_with_the_nearest(opened: View) -> None:
    opened.page.goto("about:blank")
    opened.page.goto(f"{opened.url}/#case=liver_00")
    opened.until("!document.getElementById('message').hidden")
    assert "nearest: liver_0" in opened.page.locator("#message").inner_text()


HOSTILE = '<img src=x onerror="globalThis.harmed=1"><script>harmed=1</script>'


def test_hostile_texts_are_shown_as_texts(store: cz.Store, new_view: Callable[[str], View]) -> None:
    def spoil(value: Any, keys: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {
                key: HOSTILE if key in keys and isinstance(of, str) else spoil(of, keys)
                for key, of in value.items()
            }
        return [spoil(of, keys) for of in value] if isinstance(value, list) else value

    keys = (
        "name",
        "title",
        "licence",
        "licence_note",
        "citation",
        "location",
        "message",
        "code",
        "transitional",
    )

    def answer(route: Any) -> None:
        told = spoil(route.fetch().json(), keys)
        if "masks" in told:
            told |= {
                "findings": [{"code": HOSTILE, "message": HOSTILE, "labels": []}],
                "transitional": HOSTILE,
            }
            # Names of arrays are legal, or nothing could be asked for.
            told["masks"] = [one | {"name": "vertebrae"} for one in told["masks"][:1]]
        route.fulfill(json=told)

    with viewed(store) as url:
        view = new_view(url)
        view.page.route(re.compile(r"/api/(store|cases/[^/?]*)(\?.*)?$"), answer)
        view.open(f"#case={CASE}")
        for place in ("#panel", "#findings", "#dataset", "#filters"):
            assert HOSTILE in view.page.locator(place).text_content(), place
        view.page.locator("#panel .label").first.click()
        view.settled()
        assert view("document.querySelectorAll('img').length") == 0
        assert view("document.scripts.length") == 1
        assert view("typeof harmed") == "undefined"


def test_nothing_overlaps_and_nothing_is_cut(view: View) -> None:
    for width, height in ((1920, 1080), (900, 700), (1280, 800)):
        checked_layout(view, width, height)


def checked_layout(view: View, width: int, height: int) -> None:
    view.page.set_viewport_size({"width": width, "height": height})
    view.settled()
    boxes = view(
        """['#bar', '#list', '#panes', '#panel', '#status'].map(name => document.querySelector(name))
        .filter(one => getComputedStyle(one).display !== 'none')
        .map(one => one.getBoundingClientRect().toJSON())"""
    )
    for one in boxes:
        assert 0 <= one["left"] < one["right"] <= width
        assert 0 <= one["top"] < one["bottom"] <= height
        for other in boxes:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert one is other or apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
    panes = view("viewer.panes.filter(p => p.side === 0).map(p => p.size)")
    assert min(map(min, panes)) > 150
    names = view(
        "[...document.querySelectorAll('#panel .name')].filter(one => one.scrollWidth > one.clientWidth)"
        ".length"
    )
    assert names == 0


NAMED = {
    "\N{UPWARDS ARROW}": "ArrowUp",
    "\N{DOWNWARDS ARROW}": "ArrowDown",
    "\N{LEFTWARDS ARROW}": "ArrowLeft",
    "\N{RIGHTWARDS ARROW}": "ArrowRight",
    "Page Up": "PageUp",
    "Page Down": "PageDown",
    "\N{MINUS SIGN}": "-",
}
MOUSE = {
    *("wheel", "click", "drag", "right drag", "Shift + drag", "Ctrl + wheel", "middle drag", "double click"),
    "click on a name",
}


def documented() -> tuple[set[str], set[str]]:
    """Keys, and moves of the mouse, in the table of the documentation."""
    text = (Path(__file__).parents[1] / "docs" / "viewer.md").read_text()
    table = text.partition("## Keys and mouse")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")][1:]
    keys = {key for cell in cells for key in re.findall(r"`(.)`", cell)}
    others = {word.strip() for cell in cells for word in re.sub(r"`.`", "", cell).split(",")} - {""}
    named = {NAMED.get(word, word) for word in others if word not in {*MOUSE, "arrows"}}
    return keys | named | ({*ARROWS} if "arrows" in others else set()), others & MOUSE


def test_help_and_documentation_list_every_key_that_does_something(view: View) -> None:
    view.page.keyboard.press("?")
    cells = view.page.locator("#help th").all_inner_texts()
    view.page.keyboard.press("Escape")
    assert not view.page.locator("#help").is_visible()
    words = [word for cell in cells for word in re.split(r"\s*,\s+|\s+(?=[^\w\s+]$|[^\w\s+]\s)", cell)]
    helped = {NAMED.get(word, word) for word in words if word not in MOUSE}
    tried = [
        *map(chr, range(33, 127)),
        *ARROWS,
        "PageUp",
        "PageDown",
        "Home",
        "End",
        "Enter",
        "Tab",
        "Delete",
    ]
    accepted = {*view("keys => keys.filter(key => viewer.key(key))", tried)}
    view.until("viewer.boxes.underWay.size === 0")
    assert helped == accepted
    assert documented() == (accepted, MOUSE - {"click on a name"})


# -- a second try


def told(view: View, fragment: str) -> str:
    """The page's message, once there is one."""
    view.page.bring_to_front()
    view.page.goto("about:blank")
    view.page.goto(f"{view.url}/{fragment}")
    view.until("!document.getElementById('message').hidden")
    message: str = view.page.locator("#message").inner_text()
    return message


def test_a_wrong_first_case_in_the_address_is_corrected_there(opened: View) -> None:
    assert "nope" in told(opened, "#case=nope")
    opened("location.hash = '#case=neither'")
    opened.until("document.getElementById('message').textContent.includes('neither')")
    opened("location.hash = '#case=liver_0&at=9,20,30'")
    opened.until("viewer.record !== null")
    opened.settled()
    assert opened.page.locator("#title").inner_text() == "liver_0"
    assert opened.state["at"] == [9, 20, 30]
    assert opened.page.locator("#message").is_hidden()


@pytest.mark.parametrize("asked", ["store", "cases/liver_0"])
def test_a_click_tries_again_what_failed(opened: View, asked: str) -> None:
    path = re.compile(rf"/api/{asked}(\?|$)")
    failures = [
        lambda route: route.fulfill(status=500, json={"error": "a fault of the disk", "kind": "store"}),
        lambda route: route.abort(),
    ]
    opened.page.route(path, lambda route: failures.pop(0)(route) if failures else route.continue_())
    try:
        assert told(opened, "#case=liver_0") == "a fault of the disk. Click to try again."
        opened.page.locator("#message").click()
        opened.until("document.getElementById('message').textContent.includes('was it ended?')")
        opened.page.locator("#message").click()
        opened.until("viewer.record !== null")
    finally:
        opened.page.unroute(path)
    opened.settled()
    assert opened.page.locator("#title").inner_text() == "liver_0"
    assert opened.page.locator("#message").is_hidden()
    assert opened.page.locator(".pane").count() == 6


# -- more than the page may hold


@pytest.fixture(scope="module")
def opened_large(tmp_path_factory: pytest.TempPathFactory, new_view: Callable[[str], View]) -> Iterator[View]:
    """An oblique case of many boxes."""
    root = tmp_path_factory.mktemp("large")
    tree = Tree(root / "source")
    affine = rotated(np.diag([0.8, 0.8, 1, 1]), 5)
    hu = np.random.default_rng(0).integers(-1024, 3000, (96, 96, 72)).astype("int16")
    tree.add("liver_1", in_mm(hu, affine), in_mm((hu > 0).astype("uint8") * 22, affine))
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", chunk=(8, 16, 16), workers=1))
    with viewed(cz.open_store(root / "s.zarr")) as url:
        yield new_view(url)


NEEDS = """import("./slices.js").then(({ boxesOf }) => viewer.panes.slice(0, 3).map(({ plane, axis }) =>
    ["image", "labels/vertebrae"]
        .flatMap(array => boxesOf(viewer.record, viewer.grid, array, plane, viewer.state.at[axis]))
        .map(({ key, bytes }) => [key, bytes])))"""
"""Keys and bytes of the boxes of each plane."""
FORGET = """limit => {
    viewer.boxes.clear();
    Object.assign(viewer.boxes, { limit, peak: 0 });
    viewer.panes.forEach(pane => pane.forget());
    viewer.changed();
}"""


def shown_images(view: View) -> list[NDArray[Any]]:
    return [view.array(f"{view.pane(plane)}.shown.image", dtype="f4") for plane in PLANES]


def test_planes_that_do_not_fit_together_come_one_after_another(opened_large: View) -> None:
    view = opened_large
    view.open("#case=liver_1")
    for at in ((30, 40, 50), (40, 60, 35)):
        view(f"viewer.boxes.limit = {LIMIT}")
        view.go(*at)
        images, needs = shown_images(view), [dict(one) for one in view(NEEDS)]
        limit = max(sum(one.values()) for one in needs)
        assert sum((needs[0] | needs[1] | needs[2]).values()) > 1.2 * limit
        view(FORGET, limit)
        view.settled()
        for image, expected in zip(shown_images(view), images, strict=True):
            assert np.array_equal(image, expected, equal_nan=True)
        assert view("viewer.boxes.peak") <= limit
        assert view.page.locator("#message").is_hidden()


def test_a_plane_that_does_not_fit_alone_is_told_of_and_the_others_come(opened_large: View) -> None:
    view = opened_large
    view.open("#case=liver_1&at=30,40,50")
    needs = [sum(bytes_ for _, bytes_ in one) for one in view(NEEDS)]
    largest = needs.index(max(needs))
    plane = list(PLANES)[largest]
    view(FORGET, max(needs) - 1)
    others = f"viewer.panes.filter(p => p.side === 0 && p.plane !== '{plane}')"
    view.until(f"{others}.every(p => {SHOWN}) && !viewer.isDrawing")
    assert view(f"{view.pane(plane)}.shown") is None
    assert "too large" in view.page.locator(f".pane[data-plane={plane}][data-side='0']").inner_text()
    seen, legal = (f"{bytes_ / 2**20:.1f} MiB" for bytes_ in (max(needs), max(needs) - 1))
    message = view.page.locator("#message")
    assert message.inner_text() == (
        f"the {plane} plane of liver_1 lies in {seen} of voxels; legal: at most {legal} at once."
    )
    message.click()
    assert message.is_hidden()
    view(f"viewer.boxes.limit = {LIMIT}, viewer.changed()")
    view.settled()
