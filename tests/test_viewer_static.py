"""The viewer's page on a web server without a server of ours: it tells and shows what the store holds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import NEEDS_CHROMIUM, chromium, watched
from commands import run
from huggingface_hub import SpaceCard
from servers import Message, Receive, Send, folder
from sites import CASE, NEEDS_BUNDLE, SHARD, Site, View, checked_planes, on_the_web
from trees import AFFINE, SHAPE, NnunetTree, in_mm, labels, voxels
from turned import rotated

import ctspine_zarr as cz
from ctspine_zarr.errors import MissingDependency, StoreMismatch, UnknownValue
from ctspine_zarr.format.findings import KINDS
from ctspine_zarr.format.spec import colour
from ctspine_zarr.publishing import page
from ctspine_zarr.viewer.documents import case_document, store_document
from ctspine_zarr.viewer.static import write_page

pytestmark = [NEEDS_CHROMIUM, NEEDS_BUNDLE, pytest.mark.slow]

REAL = "volume-covid19-X-9002_ct"
# Angles go through functions whose last digits are each library's own.
ANGLES = {"oblique_degrees", "shear_degrees"}


def edited(store: cz.Store, root: Path) -> Path:
    """A copy of a store, to be spoilt, with the page beside it."""
    shutil.copytree(store.location, root / "spine.zarr")
    write_page(root)
    return root / "spine.zarr"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    """A store of cases of all kinds: oblique, of floats, of numbers that do not compress, without mask, with
    an empty one, one that took another's place, with label sets, one of which took another's place.
    """
    root = tmp_path_factory.mktemp("kinds")
    tree = NnunetTree(root / "source")
    rng = np.random.default_rng(7)
    tree.add("liver_0")
    tree.add("liver_1", voxels(1).astype("float32") / 3)
    tree.add("liver_2", rng.integers(-(2**30), 2**30, SHAPE, "int32"))
    tree.add("liver_3", mask=False, folder="Ts")
    tree.add("liver_4", mask=np.zeros(SHAPE, "uint8"))
    tree.add("liver_5", *(in_mm(array, rotated(AFFINE)) for array in (voxels(5), labels())))
    build(tree, root)
    tree.add("liver_0", voxels(9))
    build(tree, root)
    mask = cz.open_store(root / "spine.zarr")["liver_0"].segmentation.compute()
    for shift in (1, 2):
        cz.add_labels(
            root / "spine.zarr", "model", {"liver_0": np.roll(mask, shift, axis=0)}, replace=shift > 1
        )
    cz.add_labels(root / "spine.zarr", "10", {"liver_1": mask})
    return cz.open_store(root / "spine.zarr")


def build(tree: NnunetTree, root: Path) -> None:
    cz.build_store(cz.plan_build(tree.root, root / "spine.zarr", workers=1))


@pytest.fixture(scope="module")
def site(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    edited(phantom_store, root)
    yield from on_the_web(root)


@pytest.fixture(scope="module")
def site_of_kinds(kinds: cz.Store) -> Iterator[Site]:
    root = Path(kinds.location).parent
    write_page(root)
    yield from on_the_web(root)


@pytest.fixture
def spoilt(phantom_store: cz.Store, tmp_path: Path) -> Iterator[Site]:
    """A site of a test's own."""
    edited(phantom_store, tmp_path)
    yield from on_the_web(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # A name that is not this machine's leads to it: to Chromium, what comes from there is insecure.
    with chromium("--host-resolver-rules=MAP spine.example 127.0.0.1") as one:
        yield one


@pytest.fixture(scope="module")
def look(browser: Any) -> Iterator[Callable[[Site], View]]:
    """Views of sites, which at the end have asked nobody else and made no error."""
    with watched(browser, View) as (new, views):
        yield new
    asked = {
        url
        for view in views
        for url in view.requests
        if not url.startswith((f"{view.site.url}/", "http://spine.example:", "data:"))
    }
    assert asked == set()


@pytest.fixture(scope="module")
def view(site: Site, look: Callable[[Site], View]) -> View:
    """A view of the phantom."""
    found = look(site)
    found.open(f"#case={CASE}")
    found.settled()
    return found


@pytest.fixture(scope="module")
def view_of_kinds(site_of_kinds: Site, look: Callable[[Site], View]) -> View:
    found = look(site_of_kinds)
    found.open("#case=liver_0")
    found.settled()
    return found


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# -- what it tells


def test_both_sources_tell_the_same(view_of_kinds: View) -> None:
    view = view_of_kinds
    store = cz.open_store(f"{view.site.url}/spine.zarr")
    assert view("viewer.source.describe()") == json.loads(json.dumps(store_document(store)))
    codes = set()
    for case in store.values():
        seen = view("id => viewer.source.record(id)", case.id)
        expected = json.loads(json.dumps(case_document(case.record, store.spec)))
        for angle in ANGLES:
            assert seen.pop(angle) == pytest.approx(expected.pop(angle), rel=1e-9, abs=1e-9)
        assert seen == expected
        codes |= {finding["code"] for finding in seen["findings"]}
    assert {"no_mask", "no_label", "oblique"} <= codes
    assert store["liver_0"].record.is_replaced
    assert store["liver_0"].record.sets["model"].array.tag


def test_labels_have_the_same_colours(view: View) -> None:
    script = """async () => {
        const { colour } = await import("./viewer/documents.js");
        return Array.from({ length: 255 }, (_, at) => colour(at + 1));
    }"""
    assert view(script) == [list(colour(label)) for label in range(1, 256)]


def test_the_page_knows_how_much_each_finding_weighs(view: View) -> None:
    told = json.loads(view("document.querySelector('meta[name=severities]').content"))
    assert told == {str(code): str(kind.severity) for code, kind in KINDS.items()}


# -- what it shows


def test_slices_and_labels_of_three_planes_are_the_stores(view: View, phantom_store: cz.Store) -> None:
    checked_planes(view, phantom_store[CASE], (20, 40, 50))


def test_slices_of_real_ct_are_the_stores(mini: Path, tmp_path: Path, look: Callable[[Site], View]) -> None:
    chosen = cz.Selection(cases=(REAL,))
    cz.build_store(cz.plan_build(mini, tmp_path / "spine.zarr", selection=chosen, workers=1))
    write_page(tmp_path)
    for site in on_the_web(tmp_path):
        view = look(site)
        view.open(f"#case={REAL}")
        view.settled()
        checked_planes(view, cz.open_store(tmp_path / "spine.zarr")[REAL], (89, 143, 276))
        image = next(iter(tmp_path.rglob(f"image{SHARD}"))).stat().st_size
        sent = [one.sent for one in site.shards if "/image/" in one.path]
        assert max(sent) < image / 10


@pytest.mark.parametrize("case_id", [f"liver_{number}" for number in range(6)])
def test_any_box_of_any_kind_of_array_is_the_stores(
    view_of_kinds: View, kinds: cz.Store, case_id: str
) -> None:
    case = kinds[case_id]
    arrays = {"image": case.image.compute()}
    if case.record.has_mask:
        arrays[f"labels/{kinds.spec.mask}"] = case.segmentation.compute()
    for name in case.record.sets:
        arrays[f"labels/{name}"] = kinds.select(labels=name)[case_id].segmentation.compute()
    rng = np.random.default_rng()
    for name, voxels_ in arrays.items():
        dtype = "u1" if name != "image" else "<i2" if voxels_.dtype == "int16" else "<f4"
        ends = [sorted(rng.choice(size + 1, 2, replace=False).tolist()) for size in case.shape]
        start, stop = ([end[at] for end in ends] for at in (0, 1))
        seen = view_of_kinds.box(case_id, name, start, stop, dtype)
        expected = voxels_[tuple(slice(*end) for end in ends)].astype(dtype)
        assert np.array_equal(seen, expected), f"{name} from {start} to {stop}"


# -- what it asks for


def test_a_first_look_asks_for_few_parts_and_for_no_whole_shard(
    site: Site, look: Callable[[Site], View]
) -> None:
    site.server.requests.clear()
    view = look(site)
    view.open(f"#case={CASE}")
    view.settled()
    documents = [one.path for one in site.server.requests if not one.path.endswith(SHARD)]
    of_store = [path for path in documents if path.startswith("/spine.zarr/")]
    assert len(of_store) == len(set(of_store)) == 3, "root, catalog, the case's group"
    sizes = {f"/{path.relative_to(site.root)}": path.stat().st_size for path in site.root.rglob(f"*{SHARD}")}
    indexes = 0
    for one in site.shards:
        first, last = map(int, re.findall(r"\d+", one.range))
        assert one.status == 206
        assert one.sent == last - first + 1 < sizes[one.path]
        indexes += last + 1 == sizes[one.path] and first > 0
    assert indexes == 2, "of image and mask, each once"
    # Three planes of image and mask, each in no more pieces than there are rows of chunks along z.
    assert len(site.shards) <= 2 + 3 * 6 + 3


def test_slices_of_a_slab_that_is_held_are_asked_for_once(view: View) -> None:
    view.go(17, 40, 50)
    view.site.server.requests.clear()
    for z in range(16, 24):
        view.go(z, 40, 50)
    assert view.site.server.requests == []


# -- what it does not take for good


@pytest.mark.parametrize(
    ("place", "at", "told"),
    [
        ("zarr.json", -20, "seal"),
        ("catalog-*.jsonl", 40, "sha256"),
        (f"**/{CASE}/zarr.json", 40, "sha256"),
        (f"**/{CASE}/image{SHARD}", -3, "index"),
        (f"**/{CASE}/image{SHARD}", -40, "index"),
    ],
)
def test_an_altered_byte_is_told(
    spoilt: Site, look: Callable[[Site], View], place: str, at: int, told: str
) -> None:
    [path] = (spoilt.root / "spine.zarr").glob(place)
    flip(path, at)
    view = look(spoilt)
    view.open(f"#case={CASE}")
    assert told in view.told()


def test_an_altered_chunk_is_told(spoilt: Site, look: Callable[[Site], View]) -> None:
    [path] = (spoilt.root / "spine.zarr").glob(f"**/{CASE}/image{SHARD}")
    flip(path, 100)
    view = look(spoilt)
    view.open("#case=liver_0")
    script = f"viewer.source.box('{CASE}', 'image', [0, 0, 0], [1, 1, 1]).catch(error => error.message)"
    assert "checksum" in view(script)


def test_a_lost_shard_is_no_empty_mask(spoilt: Site, look: Callable[[Site], View]) -> None:
    [path] = (spoilt.root / "spine.zarr").glob(f"**/{CASE}/labels/vertebrae/segmentation{SHARD}")
    path.unlink()
    view = look(spoilt)
    view.open(f"#case={CASE}")
    assert "is not there" in view.told()


def test_a_server_without_ranges_is_told_and_no_whole_shard_read(
    phantom_store: cz.Store, tmp_path: Path, look: Callable[[Site], View]
) -> None:
    edited(phantom_store, tmp_path)
    files_ = folder(tmp_path)

    async def whole(scope: Message, receive: Receive, send: Send) -> None:
        headers = [one for one in scope["headers"] if one[0] != b"range"]
        await files_({**scope, "headers": headers}, receive, send)

    for site in on_the_web(tmp_path, whole):
        view = look(site)
        view.open(f"#case={CASE}")
        assert "ranges" in view.told()


def test_an_update_is_told(spoilt: Site, look: Callable[[Site], View]) -> None:
    view = look(spoilt)
    view.open("#case=liver_0")
    view.settled()
    location = spoilt.root / "spine.zarr"
    mask = cz.open_store(location)[CASE].segmentation.compute()
    cz.add_labels(location, "model", {CASE: mask})
    view("id => viewer.open(id)", CASE)
    assert "updated" in view.told()
    assert "load the page again" in view.told()


def test_a_codec_that_no_browser_has_is_told(spoilt: Site, look: Callable[[Site], View]) -> None:
    [catalog] = (spoilt.root / "spine.zarr").glob("catalog-*.jsonl")
    catalog.write_bytes(catalog.read_bytes().replace(b"blosc-zstd", b"of-a-later"))
    view = look(spoilt)
    # Where digests cannot be computed, the catalog is taken as it is.
    view.open(f"#case={CASE}", spoilt.url.replace("127.0.0.1", "spine.example"))
    assert "a browser cannot show it" in view.told()
    assert view("viewer.record.id") == CASE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "../liver_0"),
        ("id", "a/b"),
        ("id", "https:"),
        ("id", "con"),
        ("split", "elsewhere"),
        ("source", ".."),
        ("content", "../../.."),
        ("sets", {"..": {"array": {"chunk": [8, 64, 64], "bytes": 1}}}),
        ("shape", [2**14, 2**14, 2**14]),
        ("image", {"chunk": [1, 1, 1], "bytes": 1, "tag": "../../../../x"}),
    ],
)
def test_a_line_that_leads_elsewhere_is_refused(view: View, key: str, value: Any) -> None:
    [catalog] = (view.site.root / "spine.zarr").glob("catalog-*.jsonl")
    line = json.loads(catalog.read_text().splitlines()[0])
    script = """async ([line, spec]) => {
        const { parsedLines } = await import("./viewer/lines.js");
        try { return parsedLines(JSON.stringify(line), spec, 1).length; }
        catch (error) { return error.message; }
    }"""
    root = json.loads((view.site.root / "spine.zarr" / "zarr.json").read_text())
    spec = root["attributes"]["ctspine_zarr"]["dataset"]
    assert view(script, [line, spec]) == 1
    assert "not legal" in view(script, [line | {key: value}, spec])


def test_where_digests_cannot_be_computed_the_page_says_so(
    site: Site, view: View, look: Callable[[Site], View]
) -> None:
    assert view.page.locator("#source-note").text_content() == ""
    insecure = look(site)
    insecure.open(f"#case={CASE}", site.url.replace("127.0.0.1", "spine.example"))
    insecure.settled()
    assert "digests unchecked" in insecure.page.locator("#source-note").inner_text()


# -- where it is written


def test_a_page_beside_a_store_leaves_it_as_it_was(phantom_store: cz.Store, tmp_path: Path) -> None:
    location = edited(phantom_store, tmp_path)
    assert write_page(tmp_path) == tmp_path / "index.html"
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "viewer", "spine.zarr"}
    assert (tmp_path / "viewer" / "zarrita.LICENSE.txt").is_file()
    assert cz.verify(location).is_whole


@pytest.mark.parametrize("inside", ["", "receipts", "page/deep"])
def test_no_page_is_written_into_a_store(phantom_store: cz.Store, tmp_path: Path, inside: str) -> None:
    location = edited(phantom_store, tmp_path)
    with pytest.raises(StoreMismatch, match="is a store"):
        write_page(location / inside)


def test_without_zarrita_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_BUNDLE", "absent.js")
    with pytest.raises(MissingDependency, match="make page"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.html", "mine"),
        ("index.html", f"<!-- {page._GENERATOR} --> mine"),
        ("index.html", f"<!doctype html><title>how to know one</title><pre>{page._GENERATOR}</pre>"),
        ("viewer/of_others.js", "mine"),
        ("viewer/main.js", "mine"),
        ("viewer/main.js/of_others", "mine"),
        ("README.md", "mine, not\n# made by ctspine_zarr\n"),
    ],
)
def test_no_file_of_others_is_written_over(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(StoreMismatch, match="none of ours"):
        write_page(tmp_path, space="Spines")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == text


def test_a_page_that_was_interrupted_is_gone_on_with_and_one_of_ours_replaced(tmp_path: Path) -> None:
    index = write_page(tmp_path)
    whole = index.read_bytes()
    index.unlink()
    (tmp_path / "viewer" / "main.js").unlink()
    assert write_page(tmp_path).read_bytes() == whole
    # Of another version.
    (tmp_path / "viewer" / "main.js").write_text("older")
    index.write_bytes(whole.replace(b"</body>", b"older</body>"))
    write_page(tmp_path)
    assert index.read_bytes() == whole
    assert (tmp_path / "viewer" / "main.js").read_bytes() == page.page_files()["main.js"]


@pytest.mark.parametrize(
    "store",
    [
        "",
        "..",
        "../spine.zarr",
        "/spine.zarr",
        "//a/b",
        'a"b',
        "viewer",
        "s3://a/b",
        "javascript:alert(1)",
        "https://a/b?c",
        "https://a/b#c",
        "https://user@a/b",
        "https://a/b c",
        "https://a;script-src *",
        "https:///b",
    ],
)
def test_what_is_no_place_of_a_store_is_refused(tmp_path: Path, store: str) -> None:
    with pytest.raises(UnknownValue, match=r"legal: .* hf://datasets/USER/NAME"):
        write_page(tmp_path, store)
    assert list(tmp_path.iterdir()) == []


def test_the_page_may_do_no_more_than_its_policy_says(view: View) -> None:
    policy = view("document.querySelector('meta[http-equiv]').content")
    assert policy == page._POLICY.format(asked="'self'")
    refused = """new Promise(done => {
        const told = event => done(event.effectiveDirective);
        addEventListener("securitypolicyviolation", told, { once: true });
        fetch("http://127.0.0.1:9/").then(() => done("sent"), () => {});
    })"""
    assert view(refused) == "connect-src"


# -- a page for a store elsewhere


def test_a_page_of_a_store_of_the_hub_is_a_static_space(tmp_path: Path) -> None:
    title = 'Spines: "a" #b\nsdk: docker'
    done = run(
        "page", "hf://datasets/someone/spine@v1/a b", str(tmp_path / "space"), "--space", title, "--json"
    )
    assert json.loads(done.stdout)["page"] == str(tmp_path / "space" / "index.html")
    about = SpaceCard.load(tmp_path / "space" / "README.md").data
    assert (about.title, about.sdk, about.app_file) == (title, "static", "index.html")
    # A page about the store: what the page reads is none.
    shown = (tmp_path / "space" / "README.md").read_text()
    assert "[the store](https://huggingface.co/datasets/someone/spine/tree/v1/a%20b)" in shown
    index = (tmp_path / "space" / "index.html").read_text()
    assert 'content="https://huggingface.co/datasets/someone/spine/resolve/v1/a%20b"' in index
    assert "connect-src https://huggingface.co https://*.hf.co data:;" in index
    assert run("page", "spine.zarr", str(tmp_path / "space"), "--space", "Again").exit_code == 0


def test_the_command_says_where_the_page_looks_for_the_store(tmp_path: Path) -> None:
    done = run("page", "pub", str(tmp_path), "--json")
    assert json.loads(done.stdout)["location"] == str(tmp_path / "pub")
    assert f"shows {tmp_path / 'pub'}, once" in run("page", "pub", str(tmp_path)).output
    assert "shows https://a.example/pub, once" in run("page", "https://a.example/pub", str(tmp_path)).output


def test_a_card_of_others_is_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(StoreMismatch, match=r"README.md is none of ours"):
        write_page(tmp_path, space="Spines")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    write_page(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["https://a.example/s?x=1"], 2),
        (["hf://models/a/b"], 1),
        (["https://a.example/s", "--redirect", "https://b.example/c"], 2),
    ],
)
def test_the_command_says_what_is_legal(tmp_path: Path, arguments: list[str], status: int) -> None:
    done = run("page", arguments[0], str(tmp_path), *arguments[1:])
    assert (done.exit_code, "legal: " in done.output) == (status, True)
    assert list(tmp_path.iterdir()) == []
