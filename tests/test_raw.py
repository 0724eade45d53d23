"""A dataset's own files from the Hub: at one commit, each as the Hub records it, whole or not there."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from click.testing import Result
from commands import run
from conftest import Hub
from fakehub import FakeHub
from hypothesis import given
from hypothesis import strategies as st
from servers import App, Message, Receive, Send, Watched, served
from stores import builds, objects
from trees import Tree, VerseTree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.ctspine1k import HUB
from ctspine_zarr.datasets.raw import DOCUMENT, WORKPLACE, TreeDocument, require_paths
from ctspine_zarr.errors import HubError, NoSpace, SourceError, StorageError, UnknownValue
from ctspine_zarr.raw import tree as trees_module
from ctspine_zarr.raw.tree import open_tree
from ctspine_zarr.sources.folder import read_tree

REPOSITORY = HUB.removeprefix("hf://datasets/")
COMMIT = "9b454add169b94f2c322ad6f08b66823975e8dbd"
IMAGE = "raw_data/volumes/MSD-T10/liver_1.nii.gz"
MASK = "raw_data/labels/MSD-T10/liver_1_seg.nii.gz"
SPLITS = "metadata/data_split.txt"

# Of the Hub's client, about how it uploads.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def source(tree: Tree, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Four cases, on the Hub too; nobody waits before asking again."""
    monkeypatch.setattr("ctspine_zarr.raw.download._WAITS", (0,) * 2)
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,) * 8)
    # As the client has them where HF_ENDPOINT is set.
    url = hub.options["endpoint"]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    for number in range(3):
        mask = labels()
        mask[5:7, 5, number + 2] = 0
        tree.add(f"liver_{number}", voxels(number), mask)
    tree.add("HN_P001", voxels(3), source="HNSCC-3DCT-RT", section="test_public")
    hub.hub.add(REPOSITORY, objects(tree.root), commit=COMMIT)
    return tree


def listing(**selection: Any) -> cz.RawListing:
    return cz.list_raw("hub", cz.Selection(**selection))


def inside(root: Path) -> dict[str, bytes]:
    """What a folder has below it but for what says so."""
    return {path: data for path, data in objects(root).items() if path != DOCUMENT}


def document(root: Path) -> TreeDocument:
    found = read_tree(root)
    assert found is not None
    return found


def asked(hub: Hub) -> list[str]:
    """Names of the files that the CDN, or git, was asked for since."""
    return [r.path.rpartition("/")[2] for r in hub.server.requests if "/resolve/" in r.path]


def requests(hub: Hub) -> int:
    """How often the repository was asked; the client asks for more, of its own."""
    return sum(REPOSITORY in request.path or "/cdn/" in request.path for request in hub.server.requests)


def how(found: cz.Downloaded) -> dict[str, str]:
    return {one.file.path: one.how for one in found.files}


# -- the listing


def test_a_listing_says_of_each_file_what_it_is_where_and_how_large(source: Tree, hub: Hub) -> None:
    found = listing()
    assert (found.repository, found.commit, found.refused) == (HUB, COMMIT, ())
    files = {file.path: file for file in found.files}
    assert {path: file.size for path, file in files.items()} == {
        path: len(data) for path, data in objects(source.root).items()
    }
    one = files[MASK]
    assert (one.case, one.split, one.source, one.kind) == ("liver_1", "train", "MSD-T10", "mask")
    assert one.sha256 == hashlib.sha256((source.root / MASK).read_bytes()).hexdigest()
    assert (files[SPLITS].kind, files[SPLITS].case, files[SPLITS].sha256) == ("metadata", None, None)
    # The commit, a page of the tree, the split list.
    assert requests(hub) == 3


def test_each_url_gives_the_file_at_the_commit(source: Tree, hub: Hub) -> None:
    found = listing(cases=["liver_1"])
    (source.root / IMAGE).write_bytes(b"another")
    before = {file.path: data for file in found.files if (data := hub.hub.repos[REPOSITORY].files[file.path])}
    hub.hub.add(REPOSITORY, {"README.md": b"all is gone"})
    for file in found.files:
        assert f"/resolve/{COMMIT}/" in file.url
        with urllib.request.urlopen(file.url) as answer:  # noqa: S310 - of the fake Hub
            assert answer.read() == before[file.path]


@pytest.mark.parametrize(
    ("selection", "cases"),
    [
        ({"cases": "liver_2"}, {"liver_2"}),
        ({"splits": "validation"}, {"HN_P001"}),
        ({"sources": "MSD-T10"}, {"liver_0", "liver_1", "liver_2"}),
    ],
)
@pytest.mark.usefixtures("source")
def test_a_selection_lists_its_cases_and_what_is_of_none(selection: Any, cases: set[str]) -> None:
    found = listing(**selection)
    assert set(found.cases) == cases
    assert len(found.files) == 2 * len(cases) + 1


def test_kinds_choose_among_the_files(source: Tree, hub: Hub) -> None:
    extra = {"README.md": b"# card", "metadata/more.csv": b"a,b\n", "loader.py": b"pass"}
    hub.hub.add(REPOSITORY, objects(source.root) | extra)
    of = {kind: {f.path for f in cz.list_raw(kinds=[kind]).files} for kind in ("image", "metadata", "other")}
    assert len(of["image"]) == 4
    assert of["metadata"] == {SPLITS, "metadata/more.csv"}
    assert of["other"] == {"README.md", "loader.py"}
    assert "README.md" not in {file.path for file in listing().files}


def test_a_listing_of_many_pages_has_them_all(source: Tree, hub: Hub) -> None:
    hub.hub.page = 3
    assert {file.path for file in listing().files} == set(objects(source.root))
    assert len([r for r in hub.server.requests if "/tree/" in r.path]) > 3


def test_other_layouts_and_folders_of_a_repository_are_listed(hub: Hub, tmp_path: Path) -> None:
    tree = VerseTree(tmp_path / "verse")
    tree.add("sub-verse004", voxels(1))
    hub.hub.add("someone/spines", {f"data/{path}": data for path, data in objects(tree.root).items()})
    found = cz.list_raw("hf://datasets/someone/spines/data", options=hub.options)
    assert [(file.kind, file.case) for file in found.files] == [
        ("image", "sub-verse004"),
        ("mask", "sub-verse004"),
    ]
    assert "/data/dataset-01training/" in found.files[0].url
    result = cz.download_raw(found, tmp_path / "D")
    assert inside(tmp_path / "D").items() <= objects(tree.root).items()
    assert result.is_whole


def test_a_mirror_without_a_split_list_is_listed_by_the_authors(source: Tree, hub: Hub) -> None:
    hub.hub.add(REPOSITORY, {path: data for path, data in objects(source.root).items() if path != SPLITS})
    done = run("raw", "hub", "--list")
    assert done.exit_code == 1
    assert "give one with --split-file FILE" in done.stderr
    assert run("raw", "hub", "--list", "--split-file", source.root / SPLITS).exit_code == 0
    assert len(cz.list_raw(split_file=source.root / SPLITS).cases) == 4


# -- the download


def test_a_download_is_the_repositorys_tree_and_says_so(source: Tree, tmp_path: Path) -> None:
    result = cz.download_raw(listing(), tmp_path / "D")
    assert inside(tmp_path / "D") == objects(source.root)
    assert result.is_whole
    said = json.loads((tmp_path / "D" / DOCUMENT).read_text())
    assert (said["repository"], said["commit"], said["is_whole"]) == (HUB, COMMIT, True)
    assert {one["path"]: one["sha256"] for one in said["files"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in objects(source.root).items()
    }


@pytest.mark.usefixtures("source")
def test_a_second_run_asks_for_the_listing_alone(hub: Hub, tmp_path: Path) -> None:
    cz.download_raw(listing(), tmp_path / "D")
    hub.server.requests.clear()
    result = cz.download_raw(listing(), tmp_path / "D")
    assert set(how(result).values()) == {"whole"}
    assert (requests(hub), asked(hub)) == (3, ["data_split.txt"])


def test_what_is_missing_or_wrong_alone_is_fetched_again(source: Tree, hub: Hub, tmp_path: Path) -> None:
    cz.download_raw(listing(), tmp_path / "D")
    (tmp_path / "D" / MASK).unlink()
    altered = bytearray((tmp_path / "D" / IMAGE).read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "D" / IMAGE).write_bytes(altered)
    (tmp_path / "D" / SPLITS).write_bytes(
        (tmp_path / "D" / SPLITS).read_bytes().replace(b"liver_0", b"liver_9")
    )
    hub.server.requests.clear()
    result = cz.download_raw(listing(), tmp_path / "D")
    assert {path: what for path, what in how(result).items() if what != "whole"} == {
        MASK: "fetched",
        IMAGE: "replaced",
        SPLITS: "replaced",
    }
    assert inside(tmp_path / "D") == objects(source.root)
    # The split list for the listing too.
    assert sorted(asked(hub)) == ["data_split.txt", "data_split.txt", "liver_1.nii.gz", "liver_1_seg.nii.gz"]


def test_files_that_another_program_brought_are_compared_and_kept(
    source: Tree, hub: Hub, tmp_path: Path
) -> None:
    shutil.copytree(source.root, tmp_path / "D")
    hub.server.requests.clear()
    result = cz.download_raw(listing(), tmp_path / "D")
    assert (result.is_whole, result.fetched_bytes, requests(hub)) == (True, 0, 3)


def test_a_file_that_breaks_off_is_gone_on_with_by_the_next_run(
    source: Tree, hub: Hub, tmp_path: Path
) -> None:
    found = listing(cases="liver_1")
    size = (source.root / IMAGE).stat().st_size
    seen: list[int] = []

    def fault(_: int, __: str, path: str) -> int | str | None:
        if "/cdn/" not in path:
            return None
        seen.append(1)
        return "cut" if len(seen) == 1 else 503

    hub.server.fault = fault
    with pytest.raises(HubError, match=r"cannot download raw_data/.*503"):
        cz.download_raw(found, tmp_path / "D", workers=1)
    assert {path for path in inside(tmp_path / "D") if not path.startswith(WORKPLACE)} == {SPLITS}
    assert not document(tmp_path / "D").is_whole
    hub.server.heal()
    hub.server.requests.clear()
    assert cz.download_raw(found, tmp_path / "D", workers=1).is_whole
    ranges = {r.range: r.sent for r in hub.server.requests if "/cdn/" in r.path}
    assert ranges[f"bytes={size // 2}-"] == size - size // 2
    assert inside(tmp_path / "D").items() <= objects(source.root).items()


def test_a_partial_of_other_bytes_is_begun_anew(source: Tree, tmp_path: Path) -> None:
    found = listing(cases="liver_1")
    held = open_tree(tmp_path / "D")
    for file in found.files:
        held.partial_path(file).write_bytes(b"\0" * (file.size - 3))
    held.partial_path(found.files[1]).write_bytes(b"\0" * (found.files[1].size + 3))
    held.close()
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D").items() <= objects(source.root).items()


@pytest.mark.parametrize("fault", [408, 429, 500, 503, "cut"])
def test_a_request_that_fails_is_made_again(source: Tree, hub: Hub, tmp_path: Path, fault: int | str) -> None:
    found = listing()
    hub.server.fault = lambda number, *_: fault if number % 3 == 0 else None
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D") == objects(source.root)


@pytest.mark.usefixtures("source")
def test_a_limit_of_requests_is_waited_out_as_the_hub_says(hub: Hub, tmp_path: Path) -> None:
    found = listing(cases="liver_1")
    hub.server.requests.clear()
    hub.server.retry_after = 17
    hub.server.fault = lambda number, *_: 429 if number in {2, 4} else None
    assert cz.download_raw(found, tmp_path / "D", workers=1).is_whole
    assert hub.waits == [18, 18]


def _short(app: App, left: dict[str, int]) -> App:
    """The application, which ends files before their end, in order and without a word, so many times."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(k, v) for k, v in message["headers"] if k.lower() != b"content-length"]
                message = {**message, "headers": headers}
            elif left["times"] > 0:
                left["times"] -= 1
                message = {**message, "body": message["body"][: (len(message["body"]) + 1) // 2]}
            await send(message)

        await app(scope, receive, cut if scope["path"].startswith("/cdn/") else send)

    return answer


@pytest.mark.parametrize("times", [2, 99])
def test_a_body_that_ends_early_without_a_word_is_noticed(
    source: Tree, hub: Hub, tmp_path: Path, times: int
) -> None:
    with served(_short(hub.hub.app, {"times": times})) as url:
        found = cz.list_raw("hub", cz.Selection(cases="liver_1"), options={"endpoint": url})
        # Each try brings something: it need not end.
        assert cz.download_raw(found, tmp_path / "D", workers=1).is_whole
    assert inside(tmp_path / "D").items() <= objects(source.root).items()


def _long(app: App) -> App:
    """The application, which sends more than each file has."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(k, v) for k, v in message["headers"] if k.lower() != b"content-length"]
                message = {**message, "headers": headers}
            else:
                message = {**message, "body": message["body"] + bytes(1 << 16)}
            await send(message)

        await app(scope, receive, add if scope["path"].startswith("/cdn/") else send)

    return answer


@pytest.mark.usefixtures("source")
def test_more_bytes_than_a_file_has_are_no_file(hub: Hub, tmp_path: Path) -> None:
    with served(_long(hub.hub.app)) as url:
        found = cz.list_raw("hub", cz.Selection(cases="liver_1"), options={"endpoint": url})
        result = cz.download_raw(found, tmp_path / "D")
    assert [one.file.path for one in result.failed] == [IMAGE, MASK]
    assert set(inside(tmp_path / "D")) == {SPLITS}


@pytest.mark.parametrize("path", [IMAGE, SPLITS])
@pytest.mark.usefixtures("source")
def test_a_file_that_is_shorter_than_its_record_fails_and_the_others_come(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    found = listing()
    files = tuple(replace(file, size=file.size + 10 * (file.path == path)) for file in found.files)
    longer = replace(found, files=files)
    result = cz.download_raw(longer, tmp_path / "D", workers=1)
    [failed] = result.failed
    assert failed.file.path == path
    assert "with other bytes than the Hub's record" in (failed.reason or "")
    assert sorted(how(result).values()) == ["failed"] + ["fetched"] * 8
    assert not result.is_whole
    assert not (tmp_path / "D" / path).exists()
    assert hub.waits == []
    with monkeypatch.context() as patch:
        patch.setattr("ctspine_zarr.list_raw", lambda *_, **__: longer)
        assert run("raw", "hub", "--output", tmp_path / "D").exit_code == 1
    again = cz.download_raw(found, tmp_path / "D", workers=1)
    assert how(again) == dict.fromkeys(how(again), "whole") | {path: "fetched"}


@pytest.mark.parametrize("path", [IMAGE, SPLITS])
def test_bytes_that_come_altered_are_asked_for_again(
    source: Tree, hub: Hub, tmp_path: Path, path: str
) -> None:
    found = listing()
    hub.hub.repos[REPOSITORY].corrupt[path] = 2
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D") == objects(source.root)


@pytest.mark.usefixtures("source")
def test_bytes_that_stay_altered_never_have_the_name_of_the_file(hub: Hub, tmp_path: Path) -> None:
    hub.hub.repos[REPOSITORY].corrupt[IMAGE] = 99
    done = run("raw", "hub", "--output", tmp_path / "D", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["is_whole"] is False
    result = cz.download_raw(listing(), tmp_path / "D")
    [failed] = result.failed
    assert failed.reason is not None
    assert f"{IMAGE}: came 3 times with other bytes than the Hub's record" in failed.reason
    assert not (tmp_path / "D" / IMAGE).exists()
    said = document(tmp_path / "D")
    assert not said.is_whole
    assert [file.path for file in said.files if file.sha256 is None] == [IMAGE]
    hub.hub.repos[REPOSITORY].corrupt[IMAGE] = 0
    assert how(cz.download_raw(listing(), tmp_path / "D"))[IMAGE] == "fetched"


def test_a_listing_and_its_download_are_of_one_commit_though_the_branch_moves(
    source: Tree, hub: Hub, tmp_path: Path
) -> None:
    found, before = listing(), objects(source.root)
    source.add("liver_1", voxels(77))
    source.sections["trainset"].remove("liver_1")
    source.write_splits()
    hub.hub.add(REPOSITORY, objects(source.root))
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D") == before
    with pytest.raises(StorageError, match=rf"at commit {COMMIT}; asked for .* or --revision {COMMIT}"):
        cz.download_raw(listing(), tmp_path / "D")
    assert inside(tmp_path / "D") == before
    hub.server.requests.clear()
    again = cz.download_raw(cz.list_raw(revision=COMMIT), tmp_path / "D")
    assert (again.is_whole, set(how(again).values())) == (True, {"whole"})
    cz.download_raw(listing(), tmp_path / "E")
    assert inside(tmp_path / "E") == objects(source.root)


def test_a_folder_of_another_repository_is_refused(source: Tree, hub: Hub, tmp_path: Path) -> None:
    hub.hub.add("someone/mirror", source.root, commit=COMMIT)
    cz.download_raw(listing(cases="liver_1"), tmp_path / "D")
    with pytest.raises(StorageError, match="has files of hf://datasets/alexanderdann/CTSpine1K at commit"):
        cz.download_raw(cz.list_raw("someone/mirror"), tmp_path / "D")


@pytest.mark.usefixtures("source")
def test_selections_are_brought_to_one_folder_one_after_another(tmp_path: Path) -> None:
    cz.download_raw(listing(cases="liver_1"), tmp_path / "D")
    assert cz.download_raw(listing(splits="validation"), tmp_path / "D").is_whole
    said = document(tmp_path / "D")
    assert (said.cases, len(said.files), said.is_whole) == (("HN_P001", "liver_1"), 5, True)
    (tmp_path / "D" / IMAGE).unlink()
    found = cz.download_raw(listing(splits="validation"), tmp_path / "D")
    assert (found.missing, found.is_whole, document(tmp_path / "D").is_whole) == ((IMAGE,), False, False)


@pytest.mark.usefixtures("source")
def test_a_download_that_never_ended_is_not_made_whole_by_another(hub: Hub, tmp_path: Path) -> None:
    found = listing(cases="liver_1")
    hub.server.fault = lambda _, __, path: 404 if "/cdn/" in path else None
    with pytest.raises(HubError):
        cz.download_raw(found, tmp_path / "D")
    hub.server.heal()
    other = cz.download_raw(listing(cases="liver_2"), tmp_path / "D")
    assert (sorted(other.missing), other.is_whole) == ([MASK, IMAGE], False)
    assert cz.download_raw(found, tmp_path / "D").is_whole


def test_what_the_repository_has_not_as_a_whole_is_refused_and_the_others_come(
    source: Tree, hub: Hub, tmp_path: Path
) -> None:
    """A case of the split list without files, a mask without image, names that differ by case alone."""
    source.sections["trainset"].append("liver_404")
    source.add("LIVER_0", voxels(8))
    (source.root / IMAGE).unlink()
    hub.hub.add(REPOSITORY, objects(source.root))
    done = run("raw", "hub", "--output", tmp_path / "D")
    assert done.exit_code == 3
    told = [line for line in done.stderr.splitlines() if line.startswith("refused")]
    assert [line.partition(":")[0] for line in told] == [
        f"refused {case}" for case in ("LIVER_0", "liver_0", "liver_1", "liver_404")
    ]
    assert {path.rpartition("/")[2] for path in inside(tmp_path / "D")} == {
        "data_split.txt",
        "liver_2.nii.gz",
        "liver_2_seg.nii.gz",
        "HN_P001.nii.gz",
        "HN_P001_seg.nii.gz",
    }
    said = document(tmp_path / "D")
    assert (said.is_whole, [one.case for one in said.refused]) == (
        False,
        ["LIVER_0", "liver_0", "liver_1", "liver_404"],
    )
    # Of the same folder it is said again, of another it is not asked.
    assert run("raw", "hub", "--case", "liver_2", "--output", tmp_path / "D").exit_code == 3
    assert run("raw", "hub", "--case", "liver_2", "--output", tmp_path / "E").exit_code == 0


def test_a_case_that_a_listing_in_part_left_out_is_refused_no_more_once_it_is_listed(
    source: Tree, hub: Hub, tmp_path: Path
) -> None:
    hub.hub.repos[REPOSITORY].hidden = {MASK}
    assert [one.case for one in cz.download_raw(listing(), tmp_path / "D").refused] == ["liver_1"]
    hub.hub.repos[REPOSITORY].hidden = set()
    result = cz.download_raw(listing(), tmp_path / "D")
    assert (result.is_whole, document(tmp_path / "D").refused) == (True, ())
    assert inside(tmp_path / "D") == objects(source.root)


# -- whoever else is there


@pytest.mark.usefixtures("source")
def test_two_downloads_to_one_folder_at_once_are_one_too_many(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ctspine_zarr.raw.tree import open_tree;"
        "tree = open_tree(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "D")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        found = listing()
        hub.server.requests.clear()
        with pytest.raises(StorageError, match=rf"D: process {other.pid} on .* downloads to it; legal: one"):
            cz.download_raw(found, tmp_path / "D")
        assert hub.server.requests == []
        other.kill()
    # Killed, it keeps nobody out.
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert not (tmp_path / "D" / WORKPLACE).exists()


def test_an_interrupted_download_leaves_whole_files_alone_and_goes_on(source: Tree, tmp_path: Path) -> None:
    def stop(one: cz.FileDownloaded) -> None:
        if one.file.path.startswith("raw_data"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cz.download_raw(listing(), tmp_path / "D", workers=1, on_file=stop)
    names = {path: data for path, data in inside(tmp_path / "D").items() if not path.startswith(WORKPLACE)}
    assert names.items() < objects(source.root).items()
    assert not document(tmp_path / "D").is_whole
    result = cz.download_raw(listing(), tmp_path / "D")
    assert {path for path, what in how(result).items() if what == "whole"} == set(names)
    assert inside(tmp_path / "D") == objects(source.root)


@pytest.mark.usefixtures("source")
def test_workers_are_a_number_of_threads(tmp_path: Path) -> None:
    for workers in (0, 33, 1.5):
        with pytest.raises(UnknownValue, match=r"workers .*; legal: an integer from 1 to 32"):
            cz.download_raw(listing(), tmp_path / "D", workers=workers)  # type: ignore[arg-type]
    assert not (tmp_path / "D").exists()


@pytest.mark.usefixtures("source")
def test_files_that_do_not_fit_are_told_before_any_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = listing()
    hub.server.requests.clear()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(NoSpace, match=r"kB are needed in .*, 10 bytes are free"):
        cz.download_raw(found, tmp_path / "D")
    assert hub.server.requests == []
    assert inside(tmp_path / "D") == {}


class _Full:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file: Any, left: int) -> None:
        self._file, self._left = file, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> None:
        self._file.write(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_leaves_no_wrong_file_and_what_came(
    source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, opened = listing(cases="liver_1"), trees_module._opened
    monkeypatch.setattr(trees_module, "_opened", lambda path: _Full(opened(path), 1000))
    with pytest.raises(StorageError, match=r"No space left on device; free some, then run it again"):
        cz.download_raw(found, tmp_path / "D", workers=1)
    assert not (tmp_path / "D" / IMAGE).exists()
    assert max(path.stat().st_size for path in (tmp_path / "D" / WORKPLACE).glob("*.partial")) == 1000
    monkeypatch.setattr(trees_module, "_opened", opened)
    assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D").items() <= objects(source.root).items()


@pytest.mark.parametrize("what", ["folder", "file", "workplace", "pipe"])
@pytest.mark.usefixtures("source")
def test_nothing_is_written_through_a_link_or_to_a_pipe(tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"theirs")
    place = tmp_path / "D" / {"folder": "raw_data", "workplace": WORKPLACE}.get(what, IMAGE)
    place.parent.mkdir(parents=True)
    if what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(outside / "file" if what == "file" else outside)
    with pytest.raises(StorageError, match=r"is a link; legal|is a FIFO; legal"):
        cz.download_raw(listing(), tmp_path / "D")
    assert objects(outside) == {"file": b"theirs"}


@pytest.mark.parametrize("said", [b"{}", b"no JSON", b'{"format": 2}'])
@pytest.mark.usefixtures("source")
def test_a_document_that_is_none_is_told(tmp_path: Path, said: bytes) -> None:
    cz.download_raw(listing(), tmp_path / "D")
    (tmp_path / "D" / DOCUMENT).write_bytes(said)
    for build in (
        lambda: cz.download_raw(listing(), tmp_path / "D"),
        lambda: cz.plan_build(tmp_path / "D", "s"),
    ):
        with pytest.raises(SourceError, match=rf"{DOCUMENT} is no document of a download: "):
            build()


# -- a server that is hostile, and one that says no


HOSTILE = (
    *(
        ["../outside"],
        ["a/../../outside"],
        ["/outside"],
        ["a\\..\\outside"],
        ["C:outside"],
        ["a//b"],
        ["./a"],
    ),
    *(["CON"], ["a/nul.nii.gz"], ["aux.d/a"], ["Com1 .txt"], ["LPT\u00b9"], ["conin$"]),
    *(["a\nb"], ["a" * 300], ["README.md", "readme.md"], ["a/b", "A"], [DOCUMENT], [f"{WORKPLACE}/lock"]),
)


def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_asked_for(source: Tree, hub: Hub) -> None:
    for paths in HOSTILE:
        hub.hub.add(REPOSITORY, objects(source.root) | dict.fromkeys(paths, b"x"))
        with pytest.raises(SourceError, match="CTSpine1K lists .*; legal: "):
            cz.list_raw(kinds=["other"])
        # What is not asked for harms nobody.
        assert len(listing().files) == 9


@given(st.lists(st.text(st.sampled_from("aA./\\é\u0301 \n:"), max_size=6), max_size=4))
def test_paths_that_are_taken_lie_apart_below_the_folder(paths: list[str]) -> None:
    try:
        require_paths(paths, "somewhere")
    except SourceError:
        return
    for path in paths:
        assert os.path.normpath(f"/below/{path}") == f"/below/{path}"
        assert not {"..", ""} & set(PurePosixPath(path).parts)
    assert len({path.casefold() for path in paths}) == len(set(paths))


@pytest.mark.parametrize(
    ("location", "revision", "error", "message"),
    [
        ("no/body", None, HubError, "cannot find hf://datasets/no/body: there is no such dataset, or"),
        ("hub", "v9", HubError, "CTSpine1K@v9: there is no such revision"),
        (f"{HUB}@main", "v9", UnknownValue, "revision 'v9' of .*; legal: one revision"),
        ("hf://models/a/b", None, HubError, "is a model; legal: hf://datasets/USER/NAME"),
    ],
)
@pytest.mark.usefixtures("source")
def test_what_is_not_there_is_an_error(
    location: str, revision: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cz.list_raw(location, revision=revision)


def test_a_private_repository_needs_a_token(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    fake = FakeHub(token="hf_right")  # noqa: S106 - of nobody
    fake.add("someone/private", tree.root)
    with served(Watched(fake.app)) as url:
        for token, message in (
            (False, r"private or gated: run `hf auth"),
            ("hf_wrong", r"401.*set HF_TOKEN"),
        ):
            with pytest.raises(HubError, match=message):
                cz.list_raw("someone/private", options={"endpoint": url, "token": token})
        found = cz.list_raw("someone/private", options={"endpoint": url, "token": "hf_right"})
        assert cz.download_raw(found, tmp_path / "D").is_whole
    assert inside(tmp_path / "D") == objects(tree.root)


@pytest.mark.usefixtures("source")
def test_a_gated_repository_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    async def gated(scope: Message, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/datasets/") or "raw_data" not in scope["path"]:
            await hub.hub.app(scope, receive, send)
            return
        headers = [(b"content-length", b"0"), (b"x-error-code", b"GatedRepo")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    with served(gated) as url:
        found = cz.list_raw("hub", options={"endpoint": url})
        with pytest.raises(HubError, match=r"it is gated: accept its conditions on its page, then run `hf"):
            cz.download_raw(found, tmp_path / "D")
    assert not document(tmp_path / "D").is_whole


# -- what comes of it


@pytest.mark.parametrize("selection", [{}, {"cases": ["liver_1"]}, {"splits": "train"}])
@pytest.mark.usefixtures("source")
def test_a_build_of_the_folder_is_that_of_the_hub(
    hub: Hub, tmp_path: Path, selection: dict[str, Any]
) -> None:
    cz.download_raw(listing(**selection), tmp_path / "D")
    chosen = cz.Selection(**selection)
    cz.build_store(
        cz.plan_build("hub", tmp_path / "hub.zarr", selection=chosen, source_options=hub.options, workers=1)
    )
    done = run("build", tmp_path / "D", tmp_path / "local.zarr", "--workers", 1)
    assert (done.exit_code, "refused" in done.stderr) == (0, False)
    assert builds(objects(tmp_path / "local.zarr")) == builds(objects(tmp_path / "hub.zarr"))


@pytest.mark.usefixtures("source")
def test_a_build_of_a_download_that_did_not_end_refuses_what_was_to_come(tmp_path: Path) -> None:
    cz.download_raw(listing(sources="MSD-T10"), tmp_path / "D")
    (tmp_path / "D" / MASK).unlink()
    done = run("build", tmp_path / "D", tmp_path / "s.zarr", "--workers", 1)
    assert done.exit_code == 3
    assert [line.partition(":")[0] for line in done.stderr.splitlines() if line.startswith("refused")] == [
        "refused liver_1"
    ]
    done = run("build", tmp_path / "D", tmp_path / "t.zarr", "--case", "HN_P001")
    assert done.exit_code == 3
    assert "refused HN_P001: volume missing" in done.stderr


@pytest.mark.parametrize(
    "options", [["--all"], ["--split", "validation"], ["--case", "liver_1", "--case", "liver_2"]]
)
def test_a_published_store_gives_the_same_files_by_export(
    source: Tree, hub: Hub, tmp_path: Path, options: list[str]
) -> None:
    cz.build_store(cz.plan_build(source.root, tmp_path / "s.zarr", workers=1))
    cz.publish(tmp_path / "s.zarr", "hf://datasets/someone/store", target_options=hub.options)
    done = run("export", "hf://datasets/someone/store", *options, "--output", tmp_path / "E")
    assert done.exit_code == 0, done.output
    done = run("raw", "hub", *[word for word in options if word != "--all"], "--output", tmp_path / "D")
    assert done.exit_code == 0
    raw = {path: data for path, data in inside(tmp_path / "D").items() if path != SPLITS}
    exported = inside(tmp_path / "E")
    assert {path: gzip.decompress(data) for path, data in exported.items()} == {
        path: gzip.decompress(data) for path, data in raw.items()
    }


# -- the command


def cli(*words: object) -> Result:
    return run("raw", "hub", *words)


@pytest.mark.usefixtures("source")
def test_the_command_lists_a_line_a_file(tmp_path: Path) -> None:
    done = cli("--case", "liver_1")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{HUB}, main: commit {COMMIT}, 3 files, ")
    assert lines[1].split() == ["case", "split", "source", "kind", "size", "path"]
    assert any(
        line.split()[:4] == ["liver_1", "train", "MSD-T10", "image"] and IMAGE in line for line in lines
    )
    found = json.loads(cli("--list", "--case", "liver_1", "--json").stdout)
    assert (found["commit"], [file["path"] for file in found["files"]]) == (COMMIT, [SPLITS, IMAGE, MASK])
    assert cli("--list", "--output", tmp_path).exit_code == 2
    assert cli("--case", "liver_9").exit_code == 2


@pytest.mark.usefixtures("source")
def test_the_command_prints_a_url_a_line() -> None:
    done = cli("--urls", "--kind", "mask")
    assert done.stdout.splitlines() == [file.url for file in cz.list_raw(kinds=["mask"]).files]
    assert len(done.stdout.splitlines()) == 4


def test_the_command_downloads_and_tells_how(source: Tree, tmp_path: Path) -> None:
    done = cli("--output", tmp_path / "D", "--split", "validation", "--revision", "main")
    assert done.exit_code == 0, done.output
    assert f"3 files at commit {COMMIT}" in done.stdout
    assert done.stdout.rstrip().endswith("what was asked for is whole")
    assert "fetched raw_data/volumes/HNSCC-3DCT-RT/HN_P001.nii.gz; " in done.stderr
    found = json.loads(cli("--output", tmp_path / "D", "--split", "validation", "--json").stdout)
    assert (found["is_whole"], found["fetched_bytes"], found["commit"]) == (True, 0, COMMIT)
    assert {one["how"] for one in found["files"]} == {"whole"}
    assert inside(tmp_path / "D").items() <= objects(source.root).items()


@pytest.mark.usefixtures("source")
def test_offline_nothing_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = cli("--list")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "HF_HUB_OFFLINE" in done.stderr
