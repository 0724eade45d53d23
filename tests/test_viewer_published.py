"""A published store carries its page: whoever opens its address sees it; a page elsewhere reads it too."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from browsers import NEEDS_CHROMIUM, chromium, watched
from commands import run
from conftest import Bucket, Hub
from msgspec.structs import replace
from servers import served
from sites import CASE, NEEDS_BUNDLE, SHARD, Site, View, checked_planes, on_the_web
from starlette.middleware.cors import CORSMiddleware
from stores import write_state
from test_predict import KINDS, VECTORS, content, decoded

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, UnknownValue
from ctspine_zarr.format.predict.encode import encode
from ctspine_zarr.publishing import page as pages
from ctspine_zarr.publishing.page import page_documents, page_files
from ctspine_zarr.publishing.web import application
from ctspine_zarr.viewer.static import write_page

pytestmark = [
    NEEDS_CHROMIUM,
    NEEDS_BUNDLE,
    # The Hub's client's own upload without Xet.
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),
]

TARGET = "hf://datasets/someone/spine"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def look(browser: Any) -> Iterator[Callable[[Site], View]]:
    """Views of sites, which at the end have asked nobody else, and left no error on the console."""
    with watched(browser, View) as (new, views):
        yield functools.partial(heard, new)
    asked = {
        url for view in views for url in view.requests if not url.startswith((f"{view.site.url}/", "data:"))
    }
    assert asked == set()


def heard(new: Callable[[Site], View], site: Site) -> View:
    view = new(site)
    view.page.on("console", lambda said: view.faults.append(said.text) if said.type == "error" else None)
    return view


@pytest.fixture(scope="module")
def published(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The phantom's store as `publish` brings it to a folder, on a web server."""
    root = tmp_path_factory.mktemp("published") / "spine.zarr"
    assert cz.publish(phantom_store.location, root).lacks == ""
    yield from on_the_web(root)


# -- a store and its page, opened at their address


def test_a_published_store_shows_itself(
    published: Site, phantom_store: cz.Store, look: Callable[[Site], View]
) -> None:
    published.server.requests.clear()
    view = look(published)
    view.open()
    view.settled()
    assert view("viewer.description.cases.map(one => one.id)") == list(phantom_store)
    assert view.page.locator("#cases li").count() == len(phantom_store)
    first = phantom_store[view("viewer.record.id")]
    checked_planes(view, first, (20, 40, 50))
    # Of the store: its root, its catalog, the case's group, and parts of two shards.
    names = [one.path for one in published.server.requests if not one.path.startswith("/viewer/")]
    documents = [name for name in names if not name.endswith(SHARD)]
    assert len(documents) == len(set(documents)) == 4
    assert all(one.status == 206 for one in published.shards)


def test_a_link_to_a_slice_shows_it_to_whoever_opens_it(
    published: Site, look: Callable[[Site], View], browser: Any
) -> None:
    view = look(published)
    view.open(f"#case={CASE}")
    view.settled()
    view.go(11, 33, 44)
    view("viewer.setWindow([-160, 240])")
    view.until("location.hash.includes('window=-160,240')")
    shared = view("location.href")
    assert shared.startswith(f"{published.url}/index.html#")
    with watched(browser, View) as (new, _):
        other = heard(new, published)
        other.page.goto(shared)
        other.until("viewer.record")
        other.settled()
        assert other("[viewer.record.id, viewer.state.at, viewer.state.window]") == [
            CASE,
            [11, 33, 44],
            [-160, 240],
        ]
        assert np.array_equal(other.pane("axial", "pixels.data"), view.pane("axial", "pixels.data"))


def test_serve_shows_a_published_store_at_its_address(published: Site) -> None:
    with (
        served(application(published.root)) as url,
        urllib.request.urlopen(f"{url}/") as answer,  # noqa: S310 - loopback
    ):
        assert answer.read() == page_documents()["index.html"]


def test_a_plain_server_without_ranges_is_told(published: Site, look: Callable[[Site], View]) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=published.root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        view = look(Site(published.root, published.server, f"http://127.0.0.1:{server.server_port}"))
        # Its folder's address is enough: it gives what is called index.html.
        view.page.goto(f"{view.site.url}/#case={CASE}")
        assert "206, a part of a file: the server must give ranges" in view.told()
        assert view("viewer.record.id") == CASE
        view.page.close()
        server.shutdown()


def test_a_list_of_a_thousand_cases_takes_the_root_and_the_catalog(
    phantom_store: cz.Store, tmp_path: Path, look: Callable[[Site], View]
) -> None:
    one = phantom_store.records[CASE]
    records = [replace(one, id=f"case_{number}") for number in range(1005)]
    write_state(tmp_path, phantom_store.spec, records)
    for key, data in page_documents().items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(data)
    for site in on_the_web(tmp_path):
        view = look(site)
        view.page.goto(f"{site.url}/index.html#case=nobody")
        view.until("!document.querySelector('#message').hidden")
        assert view.page.locator("#count").inner_text() == "1005 cases"
        asked = [one.path for one in site.server.requests if not one.path.startswith("/viewer/")]
        assert len(asked) == 3, "the page, the root, the catalog"


def test_a_case_that_is_not_there_leaves_the_list_to_choose_from(
    published: Site, phantom_store: cz.Store, look: Callable[[Site], View]
) -> None:
    view = look(published)
    view.open("#case=nope")
    assert view.told() == "no case nope in the store. Choose one from the list."
    assert view.page.locator("#title").inner_text() == "choose a case from the list"
    view.page.locator("#cases button").last.click()
    view.settled()
    assert view.page.locator("#title").inner_text() == list(phantom_store)[-1]
    assert not view.page.locator("#message").is_visible()


def test_a_page_that_is_opened_from_a_disk_says_that_it_needs_a_web_server(
    published: Site, browser: Any, look: Callable[[Site], View]
) -> None:
    with watched(browser, View) as (new, _):
        view = new(published)
        view.page.goto((published.root / "index.html").as_uri())
        view.until("getComputedStyle(document.querySelector('#needs')).opacity === '1'")
        assert "needs a web server" in view.page.locator("#needs").inner_text()
        assert "reading" not in view.page.locator("body").inner_text()
    view = look(published)
    view.open()
    assert view.page.locator("#needs").count() == 0


def test_pictures_of_cases_are_read_where_they_are_asked_for_and_seen(
    published: Site, phantom_store: cz.Store, look: Callable[[Site], View]
) -> None:
    def receipts() -> list[str]:
        return [one.path for one in published.server.requests if one.path.startswith("/receipts/")]

    published.server.requests.clear()
    view = look(published)
    view.open()
    view.settled()
    assert receipts() == []
    view.page.locator("#pictured").check()
    view.until("document.querySelector('.thumbnail')?.naturalWidth > 0")
    view("document.querySelector('#cases').lastElementChild.scrollIntoView()")
    view.until("document.querySelector('#cases').lastElementChild.querySelector('.thumbnail') !== null")
    case = list(phantom_store)[-1]
    receipt = json.loads((published.root / "receipts" / f"{case}.json").read_text())
    shown = view("id => viewer.list.buttons.get(id).querySelector('img').src", case)
    assert shown == f"data:image/jpeg;base64,{receipt['thumbnail']}"
    assert len(receipts()) == len(set(receipts()))
    cut = "[...document.querySelectorAll('.case .id')].filter(id => id.scrollWidth > id.clientWidth)"
    assert view(f"{cut}.map(id => id.innerText)") == []
    view.page.locator("#pictured").uncheck()
    assert not view.page.locator(".thumbnail").first.is_visible()


def test_a_case_without_a_picture_has_an_empty_frame(published: Site, look: Callable[[Site], View]) -> None:
    view = look(published)
    view.open()
    view("() => { viewer.source.thumbnail = async () => ''; }")
    view.page.locator("#pictured").check()
    view.until("document.querySelector('.thumbnail') !== null")
    assert not view("document.querySelector('.thumbnail').hasAttribute('src')"), "no sign of a broken image"


def test_a_picture_that_is_none_is_not_shown(
    published: Site, tmp_path: Path, look: Callable[[Site], View]
) -> None:
    root = tmp_path / "spine.zarr"
    shutil.copytree(published.root, root)
    receipt = root / "receipts" / f"{CASE}.json"
    # A catalog of the forger's own names what was forged.
    script = """async ([id, digest]) => {
        const { ZarrSource } = await import("./viewer/zarr_source.js");
        const real = JSON.parse;
        const source = new ZarrSource(".", {});
        JSON.parse = text => {
            const found = real(text);
            if (found?.id === id) found.receipt = digest;
            return found;
        };
        try { await source.describe(); return await source.thumbnail(id); }
        finally { JSON.parse = real; }
    }"""
    for site in on_the_web(root):
        view = look(site)
        view.open("#case=liver_0")
        for thumbnail in ("x onerror=", 'AA"', "A" * 70_000, 7, None):
            forged = json.dumps({"thumbnail": thumbnail}).encode()
            receipt.write_bytes(forged)
            told = view("id => viewer.source.thumbnail(id).catch(error => error.message)", CASE)
            assert told == f"damaged: receipts/{CASE}.json has another sha256"
            assert view(script, [CASE, sha256(forged)]) == ""


# -- the codec predict


@pytest.fixture(scope="module")
def decode(published: Site, look: Callable[[Site], View]) -> Callable[[list[Any]], list[Any]]:
    """What the page's decoder makes of chunks, each hex and a shape: voxels, or null where it refuses one."""
    view = look(published)
    view.open("#case=liver_0")
    script = """async chunks => {
        const { decodePredicted } = await import("./viewer/predict.js");
        return chunks.map(([hex, shape]) => {
            const bytes = Uint8Array.from({ length: hex.length / 2 }, (_, at) =>
                parseInt(hex.slice(2 * at, 2 * at + 2), 16));
            try { return [...decodePredicted(bytes, shape)]; } catch { return null; }
        });
    }"""
    return functools.partial(view, script)


def test_the_vectors_are_decoded(decode: Callable[[list[Any]], list[Any]]) -> None:
    vectors = json.loads((VECTORS / "predict.json").read_text())
    found = decode([[one["bytes"], one["shape"]] for one in vectors])
    assert found == [one["voxels"] for one in vectors]


def test_every_content_of_every_shape_is_decoded(decode: Callable[[list[Any]], list[Any]]) -> None:
    rng = np.random.default_rng()
    shapes = [tuple(rng.integers(1, (6, 10, 71)).tolist()) for _ in range(4)] + [(1, 1, 1), (2, 3, 1)]
    chunks = [content(kind, shape, int(rng.integers(2**32))) for kind in KINDS for shape in shapes]
    found = decode([[encode(chunk).hex(), chunk.shape] for chunk in chunks])
    for chunk, voxels in zip(chunks, found, strict=True):
        assert voxels == chunk.reshape(-1).tolist(), chunk.shape


def test_other_bytes_are_what_they_are_to_the_package(decode: Callable[[list[Any]], list[Any]]) -> None:
    """Chunks with an altered byte, and shortened ones: the same voxels, or refused, in both."""
    rng = np.random.default_rng()
    chunks: list[Any] = []
    expected: list[list[int] | None] = []
    for kind in KINDS:
        data = encode(content(kind, (2, 4, 40), int(rng.integers(2**32))))
        for _ in range(20):
            spoilt = bytearray(data)
            spoilt[int(rng.integers(min(len(data), 400)))] ^= int(rng.integers(1, 256))
            del spoilt[len(data) - int(rng.choice([0, 0, 0, 1, 2])) :]
            chunks.append([spoilt.hex(), [2, 4, 40]])
            try:
                expected.append(decoded(bytes(spoilt), (2, 4, 40)).reshape(-1).tolist())
            except Malformed:
                expected.append(None)
    assert None in expected
    assert decode(chunks) == expected


def test_a_store_of_the_profile_compact_shows_itself(
    phantom: Path, tmp_path: Path, look: Callable[[Site], View]
) -> None:
    chosen = cz.Selection(cases=(CASE,))
    plan = cz.plan_build(phantom, tmp_path / "own", selection=chosen, codec="compact", workers=1)
    cz.build_store(plan)
    cz.publish(tmp_path / "own", tmp_path / "published")
    store = cz.open_store(tmp_path / "published")
    assert store[CASE].record.image.codec == "predict"
    for site in on_the_web(tmp_path / "published"):
        view = look(site)
        view.open()
        view.settled()
        checked_planes(view, store[CASE], (20, 40, 50))
        whole = view.box(CASE, "image", [0, 0, 0], list(store[CASE].shape), "<i2")
        assert np.array_equal(whole, store[CASE].image.compute())


# -- a page elsewhere


def test_a_page_elsewhere_reads_a_store_of_the_hub(
    phantom_store: cz.Store, hub: Hub, tmp_path: Path, browser: Any
) -> None:
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    allowing = CORSMiddleware(hub.server, allow_origins=["*"])
    with served(allowing) as url, watched(browser, View) as (new, views):
        there = url.replace("127.0.0.1", "localhost")
        write_page(tmp_path, f"{url}/datasets/someone/spine/resolve/main", redirects=[there])
        for site in on_the_web(tmp_path):
            hub.server.requests.clear()
            view = heard(new, site)
            view.open(f"#case={CASE}")
            view.settled()
            checked_planes(view, phantom_store[CASE], (20, 40, 50))
            origins = {asked.partition("://")[2].partition("/")[0] for asked in views[0].requests}
            own = {site.url, url, there}
            assert {f"http://{one}" for one in origins if one} == own
            # Whoever was sent on for a file asks there for its other parts.
            parts = [one.path for one in hub.server.requests if one.range]
            sent_on = [path for path in parts if path.startswith("/datasets/")]
            assert len(sent_on) < len(parts) / 2


def test_a_page_elsewhere_that_may_not_read_a_store_says_so(
    published: Site, tmp_path: Path, browser: Any
) -> None:
    write_page(tmp_path, published.url)
    with watched(browser, View) as (new, _):
        for site in on_the_web(tmp_path):
            view = new(site)
            view.open(f"#case={CASE}")
            assert "does not let a page from elsewhere read it (CORS)" in view.told()


def test_no_server_sends_a_page_on_to_an_origin_that_its_policy_does_not_name(
    phantom_store: cz.Store, hub: Hub, tmp_path: Path, browser: Any
) -> None:
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    with served(CORSMiddleware(hub.server, allow_origins=["*"])) as url, watched(browser, View) as (new, _):
        write_page(tmp_path, f"{url}/datasets/someone/spine/resolve/main")
        for site in on_the_web(tmp_path):
            hub.server.requests.clear()
            view = new(site)
            view.open(f"#case={CASE}")
            assert "does not answer" in view.told()
            assert not [one for one in hub.server.requests if one.path.startswith("/cdn/")]


# -- what is written


def test_what_is_published_verifies_and_an_older_page_is_replaced(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "spine.zarr"
    files = page_files()
    with monkeypatch.context() as patch:
        patch.setattr(pages, "page_files", lambda: {**files, "main.js": b"old", "older.js": b"old"})
        cz.publish(phantom_store.location, target)
    assert cz.verify(target).is_whole
    assert (
        (target / "viewer" / "main.js").read_bytes()
        == (target / "viewer" / "older.js").read_bytes()
        == b"old"
    )
    assert cz.publish(phantom_store.location, target).lacks == ""
    page = page_documents()
    assert {key: (target / key).read_bytes() for key in page} == page
    assert not (target / "viewer" / "older.js").exists()


def test_a_bucket_tells_browsers_what_they_are_given(
    phantom_store: cz.Store, bucket: Bucket, tmp_path: Path
) -> None:
    target = bucket.new()
    chosen = tmp_path / "small.zarr"
    shutil.copytree(phantom_store.location, chosen)
    cz.publish(chosen, target, target_options=bucket.options)
    session = boto3.Session("key", "secret", region_name="us-east-1")
    client = session.client("s3", endpoint_url=bucket.options["endpoint"])
    name, _, path = target.removeprefix("s3://").partition("/")
    kinds = {"index.html": "text/html", "viewer/main.js": "text/javascript", "viewer/style.css": "text/css"}
    for key, kind in kinds.items():
        found = client.head_object(Bucket=name, Key=f"{path}/{key}")
        assert found["ContentType"] == f"{kind}; charset=utf-8"
        assert found["ContentLength"] == len(page_documents()[key])


def test_the_page_is_in_the_one_commit_of_a_store_on_the_hub(phantom_store: cz.Store, hub: Hub) -> None:
    assert cz.publish(phantom_store.location, TARGET, target_options=hub.options).lacks == ""
    repository = hub.hub.repos["someone/spine"]
    assert repository.files.items() >= page_documents().items()
    commits = len(repository.commits)
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    assert len(repository.commits) == commits


def test_without_zarrita_no_half_of_a_page_is_published(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_BUNDLE", "absent.js")
    result = cz.publish(phantom_store.location, tmp_path / "copy")
    assert "run make page" in result.lacks
    assert not (tmp_path / "copy" / "viewer").exists()
    assert not (tmp_path / "copy" / "index.html").exists()
    done = run("publish", phantom_store.location, str(tmp_path / "copy"))
    assert (done.exit_code, "no page: " in done.output) == (0, True)


def test_an_index_of_others_is_kept_and_told(phantom_store: cz.Store, tmp_path: Path) -> None:
    cz.publish(phantom_store.location, tmp_path)
    shutil.rmtree(tmp_path / "viewer")
    (tmp_path / "index.html").write_text("mine")
    assert cz.publish(phantom_store.location, tmp_path).kept == ("index.html",)
    assert (tmp_path / "index.html").read_text() == "mine"
    assert not (tmp_path / "viewer").exists()


@pytest.mark.parametrize("split", ["viewer", "Viewer", "index.html", "LICENSE", "Cases.parquet"])
def test_no_split_has_the_name_of_what_may_lie_beside_a_store(phantom_store: cz.Store, split: str) -> None:
    with pytest.raises(ValueError, match=re.escape(split)):
        replace(phantom_store.spec, splits=("train", split))


@pytest.mark.parametrize(
    ("store", "redirects", "asked"),
    [
        (".", (), "'self'"),
        ("spine.zarr", (), "'self'"),
        ("https://a.example:8443/spine.zarr", (), "https://a.example:8443"),
        ("https://a.example/s", ("https://*.b.example",), "https://a.example https://*.b.example"),
        (
            "https://huggingface.co/datasets/a/b/resolve/main",
            (),
            "https://huggingface.co https://*.hf.co",
        ),
    ],
)
def test_a_page_may_ask_for_its_store_alone(store: str, redirects: tuple[str, ...], asked: str) -> None:
    index = page_documents(store, redirects=redirects)["index.html"].decode()
    assert f"; connect-src {asked} data:; " in index
    assert f'<meta name="store" content="{store}">' in index


@pytest.mark.parametrize(
    ("store", "redirect"),
    [
        (".", "https://a.example"),
        ("https://a.example/s", "https://b.example/path"),
        ("https://a.example/s", "*"),
        ("https://a.example/s", "https://b; script-src *"),
        ("https://a.example/s", "'unsafe-inline'"),
    ],
)
def test_a_redirect_that_is_no_origin_is_refused(store: str, redirect: str) -> None:
    with pytest.raises(UnknownValue, match="legal"):
        page_documents(store, redirects=[redirect])
