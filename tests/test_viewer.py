"""The viewer's server: who may ask, what is answered, and that it is what the store holds."""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from servers import served
from trees import NnunetTree, Tree, in_mm, labels, voxels
from turned import AXES, added
from viewers import answers_of, viewed

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.errors import StorageError, UnknownValue
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.findings import Code, Finding, worst
from ctspine_zarr.format.levels import middle_voxel
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.line import centre_line
from ctspine_zarr.publishing.serve import serve
from ctspine_zarr.publishing.web import Answer, Asked, application
from ctspine_zarr.viewer.answers import Answers
from ctspine_zarr.viewer.boxes import MOST_BYTES, parse_box
from ctspine_zarr.viewer.documents import case_document
from ctspine_zarr.viewer.neuroglancer import label_names, neuroglancer_link, neuroglancer_state
from ctspine_zarr.viewer.tokens import below_token, new_token
from ctspine_zarr.viewer.view import names_of, view

PORT = 4321
CASE = "1.3.6.1.4.1.9328.50.4.0001"
HOST = f"127.0.0.1:{PORT}"
PAGE = Path(cz.__file__).parent / "viewer" / "page"
# Of others, and there only where it was built.
BUNDLE = "zarrita.js"


def asked(answers: Answers, path: str, method: str = "GET", hosts: tuple[str, ...] = (HOST,)) -> Answer:
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    return answers(Asked(method, path, pairs, hosts))


@pytest.fixture(scope="module")
def answers(phantom_store: cz.Store) -> Answers:
    return answers_of(phantom_store, PORT)


def document(answer: Answer) -> Any:
    return json.loads(answer.body)


def box_of(answer: Answer) -> NDArray[Any]:
    assert answer.status == 200, answer.body
    shape = tuple(map(int, answer.headers["X-Shape"].split(",")))
    return np.frombuffer(answer.body, np.dtype(answer.headers["X-Dtype"]).newbyteorder("<")).reshape(shape)


# -- who may ask, and how


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.example",),
        (f"evil.example:{PORT}",),
        ("127.0.0.1",),
        (f"127.0.0.1:{PORT + 1}",),
        (f"127.0.0.1.evil.example:{PORT}",),
        (HOST, "evil.example"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/store", "/main.js", "/nothing"])
def test_nobody_asks_by_another_name(answers: Answers, hosts: tuple[str, ...], path: str) -> None:
    answer = asked(answers, path, hosts=hosts)
    assert answer.status == 403
    assert "legal: 127.0.0.1:4321 or localhost:4321" in document(answer)["error"]


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_this_machine_asks_by_its_own(answers: Answers, host: str) -> None:
    assert asked(answers, "/api/store", hosts=(host,)).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"])
def test_at_the_port_of_http_browsers_name_no_port(phantom_store: cz.Store, host: str) -> None:
    assert asked(answers_of(phantom_store, 80), "/api/store", hosts=(host,)).status == 200
    assert asked(answers_of(phantom_store, 80), "/api/store", hosts=("evil.example",)).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_get_and_head_is_answered(answers: Answers, method: str) -> None:
    answer = asked(answers, "/api/store", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/api/store", "/api/cases/nobody", "/nothing"])
def test_every_answer_forbids_foreign_scripts_and_kept_copies(answers: Answers, path: str) -> None:
    headers = asked(answers, path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    "path",
    [
        "/../answers.py",
        "/page/index.html",
        "//etc/passwd",
        "/..%2fanswers.py",
        "/zarr.json",
        "/receipts/liver_0.json",
        "/api/cases/../store",
        "/api/cases/liver_0/../../store",
        "/api/cases/liver_0/labels/../image",
        "/api/cases/liver_0/labels/vertebrae/segmentation",
        "/api/cases/liver_0/zarr.json",
        "/api",
        "/index.html/",
    ],
)
def test_no_path_leads_out_of_what_is_answered(answers: Answers, path: str) -> None:
    answer = asked(answers, path)
    assert answer.status in {400, 404}
    assert document(answer)["error"]


def test_the_page_is_whole(answers: Answers) -> None:
    page = asked(answers, "/").body.decode()
    assert "<script>" not in page
    assert "style=" not in page
    unseen, seen = re.findall(r'(?:src|href)="([^":]+)"', page), set()
    while unseen:
        name = unseen.pop()
        answer = asked(answers, f"/{name}")
        assert answer.status == 200, name
        seen.add(name)
        pattern = r'(?:^(?:import|export) .* from |\bimport\()"\./([^"]+)"'
        found = re.findall(pattern, answer.body.decode(), re.MULTILINE)
        unseen += [one for one in found if one not in {*seen, BUNDLE}]
    assert {path.name for path in PAGE.iterdir() if not path.name.startswith("zarrita")} == seen | {
        "index.html"
    }


def test_no_script_of_the_page_makes_markup_of_texts_or_asks_another_server() -> None:
    for path in {*PAGE.glob("*.js")} - {PAGE / BUNDLE}:
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", text)
        assert ("fetch(" in text) == (path.name in {"source.js", "files.js"})
        assert "://" not in text
        assert len(text.splitlines()) <= 400
        assert max(map(len, text.splitlines())) <= 110, path.name


def keys_of(document: Any) -> set[str]:
    """Names of all fields of a document."""
    if isinstance(document, dict):
        return {*document, *(key for value in document.values() for key in keys_of(value))}
    return {key for one in document for key in keys_of(one)} if isinstance(document, list) else set()


def test_every_field_that_the_page_is_told_is_read_by_a_script(with_set: Path) -> None:
    answers = answers_of(cz.open_store(with_set), PORT)
    told = [document(asked(answers, path)) for path in ("/api/store", "/api/cases/liver_1")]
    scripts = "".join(path.read_text() for path in PAGE.glob("*.js"))
    # Types in comments name all of them.
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", scripts, flags=re.DOTALL)
    read = {*re.findall(r"\.(\w+)", code)}
    for names in re.findall(r"\{([\w\s,:\[\]]*)\} (?:=|of)|\(\{([\w\s,]*)\}\)", code):
        read |= set(re.findall(r"\w+", "".join(names)))
    assert len(keys_of(told)) > 25
    assert keys_of(told) - read == set()


def test_the_first_preset_is_the_window_of_the_stores() -> None:
    [found] = re.findall(r"PRESETS = \[\s*\{.*?window: \[(-?\d+), (-?\d+)\]", (PAGE / "input.js").read_text())
    assert tuple(map(float, found)) == WINDOW


# -- what is answered


def test_the_store_is_told_case_by_case(answers: Answers, phantom_store: cz.Store) -> None:
    told = document(asked(answers, "/api/store"))
    assert [one["id"] for one in told["cases"]] == list(phantom_store)
    for one in told["cases"]:
        record = phantom_store[one["id"]].record
        assert (one["split"], one["source"]) == (record.split, record.source)
        assert one["labels"] == [label.label for label in record.labels]
        assert one["severity"] == worst(record.findings)
        assert one["findings"] == sorted({finding.code for finding in record.findings})
    assert {one["label"]: one["name"] for one in told["labels"]} == phantom_store.spec.labels
    assert told["licence"] == phantom_store.spec.licence
    assert told["is_partial"] is False


def test_the_page_has_words_for_every_kind_of_finding() -> None:
    words = (PAGE / "words.js").read_text()
    assert set(re.findall(r"^  (\w+): \"", words, re.MULTILINE)) == set(Code)


def test_a_case_is_told_as_its_record_has_it(answers: Answers, case: cz.Case) -> None:
    told = document(asked(answers, f"/api/cases/{case.id}"))
    assert np.array_equal(told["affine"], case.affine)
    assert tuple(told["shape"]) == case.shape
    assert tuple(told["chunk"]) == case.record.image.chunk
    [mask] = told["masks"]
    assert mask["name"] == case.spec.mask
    assert [(one["name"], tuple(one["centroid"])) for one in mask["labels"]] == [
        (one.name, one.centroid) for one in case.record.labels
    ]
    assert [(one["code"], one["severity"]) for one in told["findings"]] == [
        (one.code, one.severity) for one in case.record.findings
    ]


def test_volumes_of_labels_are_those_of_the_table_where_axes_lean(tree: Tree, tmp_path: Path) -> None:
    sheared = AXES.copy()
    sheared[0, 2] = 2.5
    added(tree, "liver_22", "LPS", sheared)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    [mask] = document(asked(answers_of(store, PORT), "/api/cases/liver_22"))["masks"]
    told = [one["cm3"] for one in mask["labels"]]
    voxels = [label.voxels for label in store["liver_22"].record.labels]
    assert told == store.vertebrae["cm3"].tolist()
    # A lean changes no volume, but every length along it.
    assert told == pytest.approx(np.multiply(voxels, 0.8 * 0.9 * 2.5 / 1000))
    assert math.prod(store["liver_22"].spacing) > 1.4 * 0.8 * 0.9 * 2.5


def middles(record: Record, spec: Spec) -> list[Any]:
    """The place that the viewer, a picture and neuroglancer begin at."""
    state = neuroglancer_state(record, spec, "http://127.0.0.1:1")
    told, z = case_document(record, spec)["middle"], centre_line(record, spec).middle
    right, anterior, superior = np.negative(state["position"])
    voxel = np.linalg.solve(record.affine_matrix, [right, anterior, superior, 1])[2::-1]
    return [told, z, voxel]


@pytest.mark.parametrize("strays", [0, 2, 4])
def test_all_begin_at_the_middle_one_of_the_levels_that_are_no_strays(case: cz.Case, strays: int) -> None:
    labels = sorted(case.record.labels, key=lambda label: label.centroid)
    found = Finding(Code.STRAY_LABEL, "far", tuple(label.label for label in labels[:strays]))
    left = labels[strays:]
    assert len(left) > 2
    expected = left[len(left) // 2].centroid
    told, z, voxel = middles(replace(case.record, findings=(found,)), case.spec)
    assert tuple(told) == expected
    assert z == round(expected[0])
    assert voxel == pytest.approx(expected)


def test_where_no_label_is_a_sound_level_others_are_begun_at(case: cz.Case) -> None:
    record, spec = case.record, case.spec
    expected = middle_voxel(record, spec)
    strays = Finding(Code.STRAY_LABEL, "far", tuple(label.label for label in record.labels))
    assert middle_voxel(replace(record, findings=(strays,)), spec) == expected
    # An organ far below moves the middle only where there is no level.
    organ = replace(record.labels[0], label=200, start=(0, 0, 0), stop=(1, 1, 1), centroid=(0.0, 0.0, 0.0))
    with_organ = replace(record, labels=(*record.labels, organ))
    assert middle_voxel(with_organ, spec) == expected
    assert middle_voxel(replace(record, labels=(organ,)), spec) == (0, 0, 0)
    assert middle_voxel(replace(record, labels=()), spec) == tuple(size // 2 for size in record.shape)


def test_a_case_that_has_a_label_set_alone_begins_at_its_middle(with_set: Path) -> None:
    store = cz.open_store(with_set)
    record = store["liver_1"].record
    bare = replace(record, segmentation=None, labels=())
    assert middle_voxel(bare, store.spec) == middle_voxel(
        store.select(labels="model")["liver_1"].record, store.spec
    )
    assert middle_voxel(bare, store.spec) != middle_voxel(record, store.spec)


@given(data=st.data())
def test_a_box_is_the_patch_of_the_case(
    answers: Answers, phantom_store: cz.Store, data: st.DataObject
) -> None:
    case = phantom_store[CASE]
    start = [data.draw(st.integers(0, size - 1)) for size in case.shape]
    size = [data.draw(st.integers(1, most - first)) for first, most in zip(start, case.shape, strict=True)]
    stop = [first + n for first, n in zip(start, size, strict=True)]
    patch = case.patch(start=start, size=size)
    query = f"?start={','.join(map(str, start))}&stop={','.join(map(str, stop))}"
    image = box_of(asked(answers, f"/api/cases/{CASE}/image{query}"))
    mask = box_of(asked(answers, f"/api/cases/{CASE}/labels/vertebrae{query}"))
    assert image.dtype == patch["image"].dtype == np.int16
    assert mask.dtype == np.uint8
    assert np.array_equal(image, patch["image"])
    assert np.array_equal(mask, patch["segmentation"])


def test_an_image_of_other_numbers_comes_as_float32(tree: Tree, tmp_path: Path) -> None:
    values = voxels().astype("float32") + np.float32(0.25)
    tree.add("liver_1", in_mm(values), labels())
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    answers = answers_of(cz.open_store(tmp_path / "s.zarr"), PORT)
    stop = ",".join(map(str, case.shape))
    image = box_of(asked(answers, f"/api/cases/liver_1/image?start=0,0,0&stop={stop}"))
    assert image.dtype == np.float32
    assert np.array_equal(image, case.image.compute().astype("float32"))
    assert document(asked(answers, "/api/cases/liver_1"))["dtype"] == "float32"


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", "start None; legal: three indices z,y,x"),
        ("?start=0,0,0", "stop None; legal"),
        ("?start=0,0&stop=1,1,1", "start '0,0'; legal"),
        ("?start=-1,0,0&stop=1,1,1", "start '-1,0,0'; legal"),
        ("?start=0,0,٣&stop=1,1,1", "start '0,0,٣'; legal"),
        ("?start=0,0,0&stop=46,96,96", "legal: one voxel or more of a volume of (45, 96, 96)"),
        ("?start=4,0,0&stop=4,96,96", "legal: one voxel or more"),
        ("?start=0,0,0&stop=1,1,9999999", "stop '1,1,9999999'; legal"),
    ],
)
@pytest.mark.parametrize("array", ["image", "labels/vertebrae"])
def test_a_box_that_is_not_there_is_refused(answers: Answers, array: str, query: str, seen: str) -> None:
    answer = asked(answers, f"/api/cases/{CASE}/{array}{query}")
    assert answer.status == 400
    assert seen in document(answer)["error"]
    assert document(answer)["kind"] == "asked"


def test_a_box_of_too_many_bytes_is_refused_and_one_of_as_many_is_not() -> None:
    shape = (1000, 512, 512)
    most = MOST_BYTES // (512 * 512 * 2)
    start, stop = parse_box({"start": "0,0,0", "stop": f"{most},512,512"}, shape, 2)
    assert math.prod(np.subtract(stop, start)) * 2 == MOST_BYTES
    with pytest.raises(
        cz.CtspineError, match=rf"of {MOST_BYTES + 2**19} bytes; legal: at most {MOST_BYTES} bytes"
    ):
        parse_box({"start": "0,0,0", "stop": f"{most + 1},512,512"}, shape, 2)


def test_an_unknown_case_is_answered_with_the_nearest(answers: Answers) -> None:
    answer = asked(answers, "/api/cases/liver_00")
    assert answer.status == 404
    assert "nearest: liver_0" in document(answer)["error"]


def test_the_mask_of_a_case_that_has_none_is_an_error(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "source")
    tree.add("a", voxels())
    tree.add("t", voxels(), False, folder="Ts")
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    answers = answers_of(cz.open_store(tmp_path / "s.zarr"), PORT)
    assert document(asked(answers, "/api/cases/t"))["masks"] == []
    name = cz.open_store(tmp_path / "s.zarr").spec.mask
    answer = asked(answers, f"/api/cases/t/labels/{name}?start=0,0,0&stop=1,1,1")
    assert answer.status == 404
    assert document(answer)["kind"] == "unknown"


@pytest.fixture
def with_set(tree: Tree, tmp_path: Path) -> Path:
    """A store whose case has a label set, in which nothing is where the mask has it."""
    tree.add("liver_1", voxels(), labels())
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    mask = cz.open_store(tmp_path / "s.zarr")["liver_1"].segmentation.compute()
    cz.add_labels(tmp_path / "s.zarr", "model", {"liver_1": mask[::-1].copy()})
    return tmp_path / "s.zarr"


def test_a_label_set_is_read_by_its_name(with_set: Path) -> None:
    store = cz.open_store(with_set)
    answers = answers_of(store, PORT)
    told = document(asked(answers, "/api/cases/liver_1"))
    assert [one["name"] for one in told["masks"]] == ["vertebrae", "model"]
    query = f"?start=0,0,0&stop={','.join(map(str, store['liver_1'].shape))}"
    mask, model = (
        box_of(asked(answers, f"/api/cases/liver_1/labels/{name}{query}")) for name in ("vertebrae", "model")
    )
    assert np.array_equal(mask, store["liver_1"].segmentation.compute())
    assert np.array_equal(model, mask[::-1])
    other = asked(answers, f"/api/cases/liver_1/labels/nobody{query}")
    assert other.status == 400
    assert "legal: vertebrae, model" in document(other)["error"]


WHOLE = "?start=0,0,0&stop=18,24,20"
MODEL = f"/api/cases/liver_1/labels/model{WHOLE}"


def names_told(answers: Answers) -> list[str]:
    return [one["name"] for one in document(asked(answers, "/api/cases/liver_1"))["masks"]]


def test_a_store_that_was_updated_says_so_and_is_shown_as_it_is_now(with_set: Path) -> None:
    answers = answers_of(cz.open_store(with_set), PORT)
    state = document(asked(answers, "/api/store"))["state"]
    kept = box_of(asked(answers, MODEL))
    other = np.zeros_like(kept)
    other[3:9, 2:8, 1:5] = 24
    cz.add_labels(with_set, "model", {"liver_1": other}, replace=True)
    answer = asked(answers, MODEL)
    assert answer.status == 409
    assert document(answer)["kind"] == "updated"
    # The page that was loaded before hears the same until it is loaded again.
    for path in (MODEL, f"/api/cases/liver_1/image{WHOLE}", "/api/cases/liver_1?"):
        late = asked(answers, f"{path}&state={state}")
        assert (late.status, document(late)["kind"]) == (409, "updated")
    now = document(asked(answers, "/api/store"))["state"]
    assert now != state
    assert np.array_equal(box_of(asked(answers, f"{MODEL}&state={now}")), other)


def test_a_page_that_is_loaded_shows_what_was_added(with_set: Path) -> None:
    answers = answers_of(cz.open_store(with_set), PORT)
    mask = box_of(asked(answers, MODEL))
    cz.add_labels(with_set, "second", {"liver_1": mask})
    # Whoever knows the store as it was is shown it.
    assert names_told(answers) == ["vertebrae", "model"]
    asked(answers, "/api/store")
    assert names_told(answers) == ["vertebrae", "model", "second"]


def test_a_store_that_cannot_be_opened_again_stays_as_it_was(with_set: Path) -> None:
    store = cz.open_store(with_set)

    def again() -> cz.Store:
        message = "no way there"
        raise StorageError(message)

    answers = Answers(store, PORT, again)
    cz.remove_labels(with_set, "model")
    for _ in range(2):
        assert asked(answers, MODEL).status == 409
        assert asked(answers, "/api/store").status == 200
        assert names_told(answers) == ["vertebrae", "model"]
        image = box_of(asked(answers, f"/api/cases/liver_1/image{WHOLE}"))
        assert np.array_equal(image, store["liver_1"].image.compute())


def test_requests_at_once_open_an_updated_store_again_once(with_set: Path) -> None:
    openings: list[cz.Store] = []

    def again() -> cz.Store:
        openings.append(cz.open_store(with_set))
        return openings[-1]

    answers = Answers(cz.open_store(with_set), PORT, again)
    cz.remove_labels(with_set, "model")
    together = threading.Barrier(8)

    def ask() -> int:
        together.wait()
        return asked(answers, MODEL).status

    with ThreadPoolExecutor(8) as pool:
        statuses = [one.result() for one in [pool.submit(ask) for _ in range(8)]]
    assert 409 in statuses
    assert set(statuses) <= {409, 400}
    assert len(openings) == 1


def test_a_partial_store_is_shown_as_far_as_it_is_built(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1", voxels(), labels())
    location = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    whole = cz.open_store(location)
    begun = cz.Store(whole.storage, replace(whole.root, catalog=None), {}, whole.reading)
    answers = Answers(begun, PORT, lambda: begun)
    told = document(asked(answers, "/api/store"))
    assert (told["is_partial"], told["cases"]) == (True, [])
    # Cases come without another root.
    answers = Answers(begun, PORT, lambda: whole)
    assert len(document(asked(answers, "/api/store"))["cases"]) == 1


def test_a_damaged_chunk_is_an_error_and_no_voxels(with_set: Path) -> None:
    case = cz.open_store(with_set)["liver_1"]
    shard = next((with_set / case.record.path / "image" / "c").rglob("0"))
    while shard.is_dir():
        shard /= "0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 255
    shard.write_bytes(data)
    answers = answers_of(cz.open_store(with_set), PORT)
    query = f"?start=0,0,0&stop={','.join(map(str, case.shape))}"
    answer = asked(answers, f"/api/cases/liver_1/image{query}")
    assert answer.status == 500
    assert document(answer)["kind"] == "store"


def test_a_store_elsewhere_is_shown_alike(phantom_store: cz.Store, answers: Answers) -> None:
    cz.publish(phantom_store.location, "memory://shown")
    elsewhere = answers_of(cz.open_store("memory://shown"), PORT)
    for path in ("image?start=3,4,5&stop=9,60,70", "labels/vertebrae?start=3,4,5&stop=9,60,70"):
        there, here = (asked(one, f"/api/cases/{CASE}/{path}") for one in (elsewhere, answers))
        assert there.body == here.body


# -- by the socket


def test_a_server_answers_over_http_and_head_without_a_body(phantom_store: cz.Store) -> None:
    with viewed(phantom_store) as url:
        authority, _, token = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(authority)
        for method, path, host, status in (
            ("GET", "/api/store", None, 200),
            ("HEAD", "/api/store", None, 200),
            ("POST", "/api/store", None, 405),
            ("GET", "/..%2f..%2fanswers.py", None, 404),
            ("GET", "/%2e%2e/answers.py", None, 404),
            ("GET", "/api/store", "evil.example", 403),
        ):
            connection.request(method, f"/{token}{path}", headers={} if host is None else {"Host": host})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == status, (method, path)
            assert bool(body) == (method != "HEAD")
            assert answer.headers["Access-Control-Allow-Origin"] is None
        connection.close()


# -- neuroglancer


def in_mm_of(transform: Any, voxel: Any) -> NDArray[Any]:
    """Where neuroglancer puts a voxel's middle: its coordinates are whole at a voxel's lower corner, the
    steps are metres, the first corner is in mm, as its own panel of dimensions shows.
    """
    steps, first = np.hsplit(np.asarray(transform["matrix"]), [3])
    return np.asarray(1000 * steps @ np.add(voxel, 0.5) + first[:, 0])


@given(fraction=st.tuples(*[st.floats(0, 1)] * 3))
def test_neuroglancer_is_told_where_every_voxel_lies(phantom_store: cz.Store, fraction: Any) -> None:
    case = phantom_store[CASE]
    told = neuroglancer_state(case.record, case.spec, "http://127.0.0.1:1")
    voxel = np.multiply(fraction, np.subtract(case.shape, 1))
    right, anterior, superior, _ = case.affine @ [*voxel[::-1], 1]
    for layer in told["layers"]:
        source = layer["source"] if layer["type"] == "image" else layer["source"][0]
        assert list(source["transform"]["inputDimensions"]) == ["z", "y", "x"]
        found = in_mm_of(source["transform"], voxel)
        assert np.allclose(found, [-right, -anterior, -superior])
    assert told["dimensions"] == {name: [0.001, "m"] for name in "lpi"}


def test_neuroglancer_gets_layers_colours_and_names(with_set: Path) -> None:
    case = cz.open_store(with_set)["liver_1"]
    told = json.loads(json.dumps(neuroglancer_state(case.record, case.spec, "http://127.0.0.1:1")))
    image, mask, model = told["layers"]
    assert (image["type"], mask["type"], mask["name"], model["name"]) == (
        "image",
        "segmentation",
        "vertebrae",
        "model",
    )
    assert image["source"]["url"] == f"zarr3://http://127.0.0.1:1/{case.record.path}/image"
    assert (mask["visible"], model["visible"]) == (True, False)
    own = json.loads((with_set / case.record.path / "labels" / "vertebrae" / "zarr.json").read_text())
    colours = {
        str(one["label-value"]): "#" + bytes(one["rgba"][:3]).hex()
        for one in own["attributes"]["ome"]["image-label"]["colors"]
    }
    assert mask["segmentColors"] == colours
    names = label_names(case.record, case.spec, "vertebrae")["inline"]
    assert dict(zip(names["ids"], names["properties"][0]["values"], strict=True)) == {"23": "L4", "24": "L5"}


def test_what_neuroglancer_is_told_of_is_served_to_it(with_set: Path) -> None:
    case = cz.open_store(with_set)["liver_1"]
    with served(application(with_set, names_of(case))) as url:
        told = neuroglancer_state(case.record, case.spec, url)
        for layer in told["layers"]:
            sources = layer["source"] if isinstance(layer["source"], list) else [layer["source"]]
            for source in sources:
                kind, _, place = source["url"].partition("://")
                name = {"zarr3": "zarr.json", "precomputed": "info"}[kind]
                host, _, path = place.removeprefix("http://").partition("/")
                connection = http.client.HTTPConnection(host, timeout=60)
                connection.request("GET", f"/{path}/{name}", headers={"Origin": "https://x.example"})
                answer = connection.getresponse()
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
                assert json.load(answer)
                connection.close()


def test_the_address_of_neuroglancer_holds_its_state(case: cz.Case) -> None:
    told = neuroglancer_state(case.record, case.spec, "http://127.0.0.1:1")
    base, _, state = neuroglancer_link(told, "https://n.example").partition("/#!")
    assert base == "https://n.example"
    assert json.loads(urllib.parse.unquote(state)) == told


def test_neuroglancer_is_not_told_of_what_it_cannot_read(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1", voxels(), labels())
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", codec="compact", workers=1))
    done = CliRunner().invoke(cli, ["view", str(tmp_path / "s.zarr"), "liver_1", "--neuroglancer"])
    assert done.exit_code == 2
    assert "legal for neuroglancer: blosc-zstd, zstd" in done.output


# -- the command


def test_the_command_says_where_it_is_and_ends_well(phantom_store: cz.Store) -> None:
    command = [
        sys.executable,
        "-m",
        "ctspine_zarr",
        "view",
        phantom_store.location,
        "liver_0",
        "--no-browser",
    ]
    # A shell gives what it starts in the background no SIGINT: put it back.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            found = re.fullmatch(
                r".* is at (http://127\.0\.0\.1:\d+/[\w-]{22}/)#case=liver_0; Ctrl-C ends\n", line
            )
            assert found, line
            with urllib.request.urlopen(found[1], timeout=60) as answer:  # noqa: S310 - loopback
                assert b"main.js" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def test_an_unknown_case_ends_the_command(phantom_store: cz.Store) -> None:
    done = CliRunner().invoke(cli, ["view", phantom_store.location, "liver_00", "--no-browser"])
    assert done.exit_code == 2
    assert "nearest: liver_0" in done.output


def test_neuroglancer_needs_a_case(phantom_store: cz.Store) -> None:
    done = CliRunner().invoke(cli, ["view", phantom_store.location, "--neuroglancer"])
    assert done.exit_code == 2
    assert "--neuroglancer needs a CASE" in done.output


def test_a_browser_that_waits_for_its_page_gets_it(phantom_store: cz.Store, tmp_path: Path) -> None:
    script = tmp_path / "browser.py"
    script.write_text(
        "import sys, urllib.request\n"
        "try:\n"
        "    page = urllib.request.urlopen(sys.argv[1].partition('#')[0], timeout=20).read()\n"
        "except OSError:\n"
        "    page = b''\n"
        "print(b'main.js' in page, flush=True)\n"
    )
    command = [sys.executable, "-m", "ctspine_zarr", "view", phantom_store.location, "liver_0"]
    # As webbrowser has it, one that is named with %s is waited for.
    environment = os.environ | {"BROWSER": f"{sys.executable} {script} %s"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().endswith("Ctrl-C ends\n")
            assert process.stdout.readline() == "True\n"
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("command", "module"), [("view", "viewer.view"), ("serve", "publishing.serve")], ids=["view", "serve"]
)
def test_ctrl_c_before_the_address_is_told_is_an_interruption(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> cz.Store:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ctspine_zarr.{module}.open_store", interrupted)
    done = CliRunner().invoke(cli, [command, phantom_store.location])
    assert done.exit_code == 130
    assert done.output == "ctspine-zarr: interrupted\n"


@pytest.mark.parametrize("port", [-1, 65536, 70000, "80", 8000.0])
def test_a_port_that_there_is_not_is_refused(phantom_store: cz.Store, port: Any) -> None:
    def told(url: str) -> NoReturn:
        raise AssertionError(url)

    for serving in (serve, view):
        with pytest.raises(UnknownValue, match=f"port {port!r}; legal: an integer from 0 to 65535"):
            serving(phantom_store.location, port=port, on_ready=told)


@pytest.mark.parametrize("options", [[], ["--no-browser"]])
def test_no_browser_is_opened_for_neuroglancer(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    # What runs a server that was begun, until Ctrl-C.
    monkeypatch.setattr("ctspine_zarr.publishing.serve.run", lambda *_: None)
    done = CliRunner().invoke(cli, ["view", phantom_store.location, "liver_0", "--neuroglancer", *options])
    assert done.exit_code == 0
    assert "is at https://" in done.output
    assert opened == []
    told = CliRunner().invoke(cli, ["view", "--help"]).output
    assert "a public page; no browser is opened" in " ".join(told.split())


# -- the token


# Of their form, and the same in each process that runs tests.
TOKEN = "aB3-_Zq9Kx0TfV7mW2yLpQ"  # noqa: S105 - it guards nothing


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/store",
        "/main.js",
        f"/{TOKEN}",
        f"/{TOKEN[:-1]}/",
        f"/{TOKEN}x/api/store",
        f"//{TOKEN}/",
        f"/x/{TOKEN}/",
        "/\N{GREEK SMALL LETTER ALPHA}/api/store",
        f"/{TOKEN[::-1]}/api/store",
        f"/{TOKEN.swapcase()}/api/store",
    ],
)
def test_nobody_is_answered_without_the_token(answers: Answers, path: str) -> None:
    given = below_token(TOKEN, answers)(Asked("GET", path, {}, (HOST,)))
    assert given.status == 403
    assert b"legal: the whole address" in given.body
    expected = {**asked(answers, "/nothing").headers, "Content-Type": "text/plain; charset=utf-8"}
    assert given.headers == expected


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/store", f"/api/cases/{CASE}", "/nothing", "//x"])
def test_below_the_token_all_is_answered_as_it_is_without(answers: Answers, path: str) -> None:
    guarded = below_token(TOKEN, answers)
    assert guarded(Asked("GET", f"/{TOKEN}{path}", {}, (HOST,))) == asked(answers, path)
    assert guarded(Asked("GET", f"/{TOKEN}{path}", {}, ("evil.example",))).status == 403


def test_every_token_is_another() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_the_address_that_is_told_answers_and_the_same_without_its_token_does_not(
    phantom_store: cz.Store,
) -> None:
    command = [sys.executable, "-m", "ctspine_zarr", "view", phantom_store.location, "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            with urllib.request.urlopen(f"{url}api/store", timeout=60) as answer:  # noqa: S310 - loopback
                assert len(json.load(answer)["cases"]) == len(phantom_store)
            bare = f"http://{urllib.parse.urlsplit(url).netloc}/"
            for path in ("", "api/store"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(f"{bare}{path}", timeout=60)  # noqa: S310 - loopback
        finally:
            process.terminate()
