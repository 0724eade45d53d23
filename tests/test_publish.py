"""A store brought elsewhere is the same there, whatever interrupts it; and served, it is read by others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import tensorstore
import zarr
from commands import run
from conftest import Bucket, Hub
from hostile import Author, dumps, resealed
from obstore.store import HTTPStore
from servers import served
from stores import objects, objects_at
from trees import NnunetTree, Tree, voxels
from zarr.storage import ObjectStore

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, HubError, NotAStore, StorageError, StoreMismatch, StoreUpdated
from ctspine_zarr.format.layout import CASES_TABLE, VERTEBRAE_TABLE
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.manifest.inventory import is_beside
from ctspine_zarr.publishing.beside import documents_beside
from ctspine_zarr.publishing.web import application
from ctspine_zarr.publishing.whole import WholeStore
from ctspine_zarr.storage import Storage, open_storage

TARGET = "hf://datasets/someone/spine"
CASE = "1.3.6.1.4.1.9328.50.4.0001"
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def store(phantom_store: cz.Store, tmp_path: Path) -> Path:
    """A copy of the phantom's store that a test may alter."""
    path = tmp_path / "s.zarr"
    shutil.copytree(phantom_store.location, path)
    return path


# -- to a bucket


def test_a_published_store_is_the_store_byte_for_byte(store: Path, bucket: Bucket) -> None:
    target = bucket.new()
    told: list[cz.CasePublished] = []
    result = cz.publish(store, target, target_options=bucket.options, on_case=told.append)
    assert result.cases == tuple(told)
    assert (len(told), all(case.copied for case in told)) == (9, True)
    assert objects_at(open_storage(target, options=bucket.options)) == objects(store)
    assert cz.verify(target, storage_options=bucket.options).is_whole
    again = cz.publish(store, target, target_options=bucket.options)
    assert not any(case.copied for case in again.cases)


def test_publishing_goes_on_where_it_was_interrupted(
    store: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, put = bucket.new(), Storage.put
    puts = iter(range(10_000))

    def interrupted(storage: Storage, key: str, data: bytes) -> None:
        if next(puts) == 17:
            raise KeyboardInterrupt
        put(storage, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cz.publish(store, target, target_options=bucket.options)
    with pytest.raises(NotAStore):
        cz.open_store(target, storage_options=bucket.options)
    result = cz.publish(store, target, target_options=bucket.options)
    assert [case.copied for case in result.cases].count(False) == 2
    assert objects_at(open_storage(target, options=bucket.options)) == objects(store)


def test_a_bucket_that_fails_is_asked_again(store: Path, bucket: Bucket) -> None:
    bucket.server.fault = lambda number, method, _: {
        1: 503,
        4: "cut" if method == "GET" else 500,
    }.get(number % 7)
    impatient = {"retry_config": {"backoff": {"init_backoff": timedelta(milliseconds=5)}}}
    target = bucket.new()
    cz.publish(store, target, target_options=bucket.options | impatient)
    bucket.server.heal()
    assert objects_at(open_storage(target, options=bucket.options)) == objects(store)


def test_a_damaged_object_is_not_published(store: Path, bucket: Bucket) -> None:
    shard = next(store.rglob("image/c/0/0/0"))
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    target = bucket.new()
    with pytest.raises(DamagedStore, match=r"image/c/0/0/0 was altered: its sha256 is not that in its"):
        cz.publish(store, target, target_options=bucket.options)
    with pytest.raises(NotAStore):
        cz.open_store(target, storage_options=bucket.options)


def test_what_arrives_altered_is_an_error(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Storage.put

    def altered(storage: Storage, key: str, data: bytes) -> None:
        put(storage, key, data[:-1] if key.endswith("image/c/0/0/0") else data)

    monkeypatch.setattr(Storage, "put", altered)
    with pytest.raises(DamagedStore, match=rf"{tmp_path}/copy: .*image/c/0/0/0 has \d+ bytes, \d+ were"):
        cz.publish(store, tmp_path / "copy")


def test_a_newer_build_replaces_an_older_one(tree: Tree, tmp_path: Path) -> None:
    for number in range(3):
        tree.add(f"liver_{number}", voxels(number))
    store, target = tmp_path / "s.zarr", tmp_path / "copy"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    cz.publish(store, target)
    tree.sections["trainset"].remove("liver_1")
    tree.add("liver_1", voxels(7), np.zeros((20, 24, 18), np.uint8))
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    result = cz.publish(store, target)
    assert [case.case for case in result.cases if case.copied] == ["liver_1"]
    assert objects(target) == objects(store)


@pytest.mark.parametrize("other", ["another store", "another thing"])
def test_what_is_there_already_is_not_overwritten(
    store: Path, tree: Tree, tmp_path: Path, other: str
) -> None:
    target = tmp_path / "other"
    if other == "another store":
        tree.add("liver_77")
        cz.build_store(cz.plan_build(tree.root, target, workers=1))
    else:
        zarr.create_group(target)
    before = objects(target)
    with pytest.raises(StoreMismatch, match="such as liver_77; publish to|zarr.json that is not ours"):
        cz.publish(store, target)
    assert objects(target) == before


# -- to the Hub


def publish(store: Path, hub: Hub, **options: Any) -> cz.Published:
    return cz.publish(store, TARGET, target_options=hub.options, **options)


def on_the_hub(hub: Hub) -> dict[str, bytes]:
    return {
        path: content if isinstance(content, bytes) else content.read_bytes()
        for path, content in hub.hub.repos["someone/spine"].files.items()
        if not is_beside(path)
    }


def test_a_store_on_the_hub_is_the_store_byte_for_byte(store: Path, hub: Hub) -> None:
    assert all(case.copied for case in publish(store, hub).cases)
    assert on_the_hub(hub) == objects(store)
    assert cz.verify(TARGET, storage_options=hub.options).is_whole
    commits = len(hub.hub.repos["someone/spine"].commits)
    publish(store, hub)
    assert len(hub.hub.repos["someone/spine"].commits) == commits


def test_the_card_says_licence_citation_sizes_and_how_to_load(store: Path, hub: Hub) -> None:
    publish(store, hub)
    card = bytes(hub.hub.repos["someone/spine"].files["README.md"]).decode()
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n")
    citation = cz.open_store(store).spec.citation
    for part in (citation, "share-alike", "9 CTs", "COLONOG", f'open_store("{TARGET}")'):
        assert part in card
    first, second, *_ = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(first.replace(f'"{TARGET}"', f'"{TARGET}", storage_options={hub.options}'), scope)  # noqa: S102 - our own
    assert scope["case"].id in second


def test_a_branch_and_a_folder_of_a_repository(store: Path, hub: Hub) -> None:
    hub.hub.add("someone/spine", {"other.txt": b"kept"}, refs=("main", "dev"))
    target = f"{TARGET}@dev/stores/spine.zarr"
    cz.publish(store, target, target_options=hub.options)
    assert len(cz.open_store(target, storage_options=hub.options)) == 9
    assert set(hub.hub.repos["someone/spine"].files) == {"other.txt"}


def test_a_slice_from_the_hub_is_that_of_the_store(store: Path, hub: Hub) -> None:
    publish(store, hub)
    case = cz.open_store(TARGET, storage_options=hub.options)[CASE]
    assert np.array_equal(case.slice(7)["image"], cz.open_store(store)[CASE].slice(7)["image"])


def test_the_hub_is_believed_only_where_its_record_is_the_receipts(
    store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    [shard, *_] = [key for key in objects(store) if key.endswith("image/c/0/0/0")]
    change = Repository.change

    def altered(repository: Repository, put: dict[str, bytes], *others: Any) -> None:
        change(repository, {key: data + b"\0" * (key == shard) for key, data in put.items()}, *others)

    monkeypatch.setattr(Repository, "change", altered)
    with pytest.raises(DamagedStore, match="has not what was written of 1 cases, such as"):
        publish(store, hub)
    with pytest.raises(NotAStore):
        cz.open_store(TARGET, storage_options=hub.options)


@pytest.fixture(params=["bytes", "files"])
def sent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether objects are sent to the Hub from memory, or from their files."""
    if request.param == "files":
        monkeypatch.setattr("ctspine_zarr.publishing.hub._MOST_IN_MEMORY", -1)
    return str(request.param)


def committed(hub: Hub) -> set[str]:
    """Of every commit, LFS's too: the files that the Hub was given."""
    repo = hub.hub.repos["someone/spine"]
    return {path for tree in repo.commits.values() for path in tree} - {".gitattributes"} | set(repo.uploads)


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize("damage", ["altered", "cut", "lost"])
def test_a_damaged_object_is_not_sent_to_the_hub(store: Path, hub: Hub, damage: str) -> None:
    shard = next(store.rglob("image/c/0/0/0"))
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    if damage == "lost":
        shard.unlink()
    told = {"altered": "was altered: its sha256 is not", "cut": r"has \d+ bytes", "lost": "is missing"}
    with pytest.raises(DamagedStore, match=rf"image/c/0/0/0 {told[damage]}.*; run verify"):
        publish(store, hub)
    assert committed(hub) == set()


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize("name", ["zarr.json", "image/c/0/0/0"])
def test_what_a_link_leads_to_is_not_sent_to_the_hub(
    store: Path, tmp_path: Path, hub: Hub, name: str
) -> None:
    group = Path(store, cz.open_store(store)[CASE].record.path)
    (tmp_path / "secret").write_bytes(b"\0of the user alone" * 10)
    (group / name).unlink()
    (group / name).symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="it is a link that leads outside the store"):
        publish(store, hub)
    assert committed(hub) == set()


def test_a_store_goes_to_the_hub_from_its_files_too(store: Path, hub: Hub, sent: str) -> None:
    publish(store, hub)
    assert on_the_hub(hub) == objects(store), sent


def test_a_file_that_is_altered_after_its_proof_is_not_sent(
    store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctspine_zarr.publishing.hub._MOST_IN_MEMORY", -1)
    shard, change = next(store.rglob("image/c/0/0/0")), Repository.change

    def late(repository: Repository, *arguments: Any) -> None:
        shard.write_bytes(b"\0something else")
        change(repository, *arguments)

    monkeypatch.setattr(Repository, "change", late)
    with pytest.raises(HubError, match="image/c/0/0/0 was altered meanwhile; run verify"):
        publish(store, hub)
    assert committed(hub) == set()


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_store_that_is_updated_meanwhile_is_told_so(
    tree: Tree, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    tree.add("liver_1", voxels(1))
    store = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    require_place = WholeStore.require_place

    def late(whole: WholeStore, *arguments: Any) -> None:
        require_place(whole, *arguments)
        _ = whole.cases
        tree.add("liver_1", voxels(9), section=None)
        cz.build_store(cz.plan_build(tree.root, store, workers=1))

    monkeypatch.setattr(WholeStore, "require_place", late)
    with pytest.raises(StoreUpdated, match="was updated since it was opened; open it again"):
        publish(store, hub) if where == "hub" else cz.publish(store, tmp_path / "copy")


@pytest.fixture
def spines(tmp_path: Path) -> NnunetTree:
    """A dataset with one case that a test may describe."""
    tree = NnunetTree(tmp_path / "nnunet")
    tree.add("a", voxels(1))
    return tree


@pytest.mark.parametrize("where", ["folder", "hub"])
@pytest.mark.parametrize("altered", ["re-sealed", "of no objects"])
def test_a_case_without_its_own_receipt_is_not_published(
    spines: NnunetTree, tmp_path: Path, hub: Hub, altered: str, where: str
) -> None:
    store, target = tmp_path / "s.zarr", tmp_path / "copy"
    cz.build_store(cz.plan_build(spines.root, store, workers=1))
    author = Author(objects(store))
    receipt = json.loads(author.before[author.receipts["a"]])
    if altered == "re-sealed":
        # It says what is true, but is not the one that the catalog has.
        new = {author.receipts["a"]: resealed(dumps(receipt | {"writer": "someone else"}))}
        told = "is damaged .its sha256 is not that in the catalog"
    else:
        # Its digest is in the catalog, and that's in the root.
        new = author.case("a", receipt=receipt | {"objects": {}})
        told = r"is damaged .ValidationError: objects \[\]; legal: those of a case"
    for key, data in new.items():
        (store / key).write_bytes(data)
    with pytest.raises(DamagedStore, match=told):
        publish(store, hub) if where == "hub" else cz.publish(store, target)
    assert not target.exists()
    assert where != "hub" or committed(hub) == set()


@pytest.mark.parametrize(
    ("described", "front", "shown"),
    [
        ({"name": "Task 1: spines"}, {"pretty_name": "Task 1: spines as Zarr"}, "# Task 1: spines as one"),
        ({"name": '- [a"\\'}, {"pretty_name": '- [a"\\ as Zarr'}, '# \\- \\[a"\\\\ as one'),
        ({"name": "--- 骨 \U0001f9b4"}, {"pretty_name": "--- 骨 \U0001f9b4 as Zarr"}, "# \\--- 骨"),
        (
            {"licence": "CC-BY-SA 4.0: see readme"},
            {"license": "other", "license_name": "cc-by-sa-4.0-see-readme"},
            "CC-BY-SA 4.0: see readme.",
        ),
        (
            {"licence": "x\nextra: injected"},
            {"license": "other", "license_name": "x-extra-injected"},
            "\nx extra: injected.",
        ),
        ({"licence": "\u202e---\n"}, {"license": "other"}, "\\u202e---"),
        ({"licence": "CC-BY-SA 4.0"}, {"license": "cc-by-sa-4.0"}, "CC-BY-SA 4.0."),
        ({"licence": "GPL-3.0-or-later"}, {"license": "gpl-3.0"}, "GPL-3.0-or-later."),
        ({"licence": "CC0"}, {"license": "cc0-1.0"}, "CC0."),
        ({"licence": "<script>a_b</script> _c_"}, {}, "\\<script\\>a_b\\</script\\> \\_c\\_"),
    ],
)
def test_the_card_of_a_dataset_says_what_it_says_and_nothing_else(
    spines: NnunetTree, tmp_path: Path, described: dict[str, str], front: dict[str, str], shown: str
) -> None:
    spines.describe(**described)
    cz.build_store(cz.plan_build(spines.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    text = documents_beside(WholeStore(store), TARGET)["README.md"].decode()
    found = huggingface_hub.DatasetCard(text)
    data: dict[str, Any] = found.data.to_dict()  # type: ignore[no-untyped-call]
    others = {
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "configs": [
            {"config_name": "cases", "default": True, "data_files": [{"split": "full", "path": CASES_TABLE}]},
            {"config_name": "vertebrae", "data_files": [{"split": "full", "path": VERTEBRAE_TABLE}]},
        ],
        "tags": ["medical", "CT", "zarr", "OME-Zarr"],
        "size_categories": ["n<1K"],
    }
    usual = {"license": "unknown", "pretty_name": "Spines as Zarr"}
    licences = {"license", "license_name", "license_link"} if "licence" in described else set()
    assert {key: value for key, value in data.items() if key not in licences} == {
        key: value for key, value in (usual | front | others).items() if key not in licences
    }
    assert {key: data.get(key) for key in front} == front
    assert shown in found.text


def test_a_hub_that_fails_is_gone_on_with(store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0, 0))
    # A commit is four requests: of each fourth one, it would always be the same that fails.
    hub.server.fault = lambda number, *_: 503 if number % 5 == 0 else None
    publish(store, hub)
    hub.server.heal()
    assert on_the_hub(hub) == objects(store)


def test_only_a_local_store_goes_to_the_hub(store: Path, hub: Hub, bucket: Bucket) -> None:
    target = bucket.new()
    cz.publish(store, target, target_options=bucket.options)
    with pytest.raises(StorageError, match="to the Hub; legal: a store in a local folder"):
        cz.publish(target, TARGET, storage_options=bucket.options, target_options=hub.options)
    with pytest.raises(HubError, match="legal: hf://datasets/USER/NAME"):
        cz.publish(store, "hf://spaces/someone/spine", target_options=hub.options)


# -- over HTTP


@pytest.fixture
def url(phantom_store: cz.Store) -> Iterator[str]:
    with served(application(Path(phantom_store.location))) as found:
        yield found


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return answer.status, answer.read(), dict(answer.headers)


def test_pages_of_any_origin_get_ranges(url: str, phantom_store: cz.Store) -> None:
    path = phantom_store[CASE].record.path + "/image/c/0/0/0"
    data = (Path(phantom_store.location) / path).read_bytes()
    status, part, headers = ask(f"{url}/{path}", Range="bytes=100-199", Origin="https://page.example")
    assert (status, part) == (206, data[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(data)}"
    assert headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in headers["access-control-expose-headers"]
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    status, _, headers = ask(
        f"{url}/{path}", "OPTIONS", **asked, **{"Access-Control-Request-Headers": "range"}
    )
    assert status == 200
    assert "Range" in headers["access-control-allow-headers"]


def test_nothing_outside_the_store_is_served(url: str) -> None:
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/nothing"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(url + path)
    with pytest.raises(urllib.error.HTTPError, match="405"):
        ask(f"{url}/zarr.json", "DELETE")


def test_other_readers_open_what_is_served(url: str, phantom_store: cz.Store) -> None:
    record, expected = phantom_store[CASE].record, phantom_store[CASE].voxels("image")[...]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "http", "base_url": url, "path": f"/{record.path}/image/"},
    }
    assert np.array_equal(tensorstore.open(spec).result().read().result(), expected)
    address = f"{url}/{record.path}"
    web = ObjectStore(HTTPStore.from_url(address, client_options={"allow_http": True}), read_only=True)
    case = zarr.open_group(web, mode="r")
    for path, which in (("image", "image"), ("labels/vertebrae/segmentation", "segmentation")):
        array = case[path]
        assert isinstance(array, zarr.Array)
        assert np.array_equal(array[...], phantom_store[CASE].voxels(which)[...])  # type: ignore[arg-type]


def test_serve_ends_at_ctrl_c(phantom_store: cz.Store) -> None:
    command = [sys.executable, "-m", "ctspine_zarr", "serve", phantom_store.location, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        pytest.fail("its messages cannot be read")
    lines = iter(process.stdout.readline, "")
    found = next(match for line in lines if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
    assert len(cz.open_store(found[0])) == 9
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()


# -- on the command line


def test_the_commands_reach_a_bucket(phantom: Path, bucket: Bucket, tmp_path: Path) -> None:
    options = [f"{key}={value}" for key, value in bucket.options.items()]
    here = [part for text in options for part in ("--storage-option", text)]
    there = [part for text in options for part in ("--target-option", text)]
    target, copy = bucket.new(), bucket.new()
    assert run("build", phantom, target, "--workers", 1, "--case", CASE, *here).exit_code == 0
    assert json.loads(run("info", target, "--json", *here).stdout)["location"] == target
    assert run("verify", target, *here).stdout == "1 of 1 cases are whole\n"
    assert run("export", target, CASE, "--output", tmp_path, *here).exit_code == 0
    published = run("publish", target, copy, *here, *there)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert published.exit_code == 0, published.output
    assert re.fullmatch(rf"{time} copied {CASE}, \S+ kB\n", published.stderr)
    assert re.fullmatch(
        rf"{copy}: 1 cases \(\S+ kB\) copied and compared with .*, 0 were there, .*\n", published.stdout
    )
    assert re.match(rf"{time} there {CASE}", run("publish", target, copy, *here, *there).stderr)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["info", "s3://b/s", "--storage-option", "endpoint"], 2, "'endpoint' is not of the form KEY=VALUE"),
        (["info", "s3://b/s", "--storage-option", "=x"], 2, "'=x' is not of the form KEY=VALUE"),
        (["info", "s3://b/s", "--storage-option", "colour=red"], 1, "cannot open s3://b/s"),
        (["serve", "nowhere"], 1, "there is no such folder"),
        (["serve", "nowhere", "--port", "70000"], 2, "70000 is not in the range 0<=x<=65535"),
        (["publish", "nowhere", "elsewhere"], 1, "there is no such folder"),
        (["build", "hf://models/a/b", "s.zarr"], 1, "is a model; legal: hf://datasets/USER/NAME"),
    ],
)
def test_a_wrong_argument_is_one_line_and_a_status(arguments: list[str], status: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == status
    assert message in done.stderr
    if status == 1:
        assert done.stderr.count("\n") == 1


def test_serving_a_bucket_is_refused(bucket: Bucket, store: Path) -> None:
    target = bucket.new()
    cz.publish(store, target, target_options=bucket.options)
    done = subprocess.run(
        [sys.executable, "-m", "ctspine_zarr", "serve", target],
        env=os.environ | bucket.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "legal: a store in a local folder" in done.stderr


# -- faults that were met


def rebuilt(tree: Tree, store: Path) -> None:
    """The store again, of a case whose mask has become empty and of one that has moved."""
    tree.sections = {"trainset": ["liver_0", "liver_1"], "test_public": ["liver_2"], "test_private": []}
    tree.add("liver_1", voxels(7), np.zeros((20, 24, 18), np.uint8), section=None)
    cz.build_store(cz.plan_build(tree.root, store, workers=1))


@pytest.mark.parametrize("where", ["bucket", "hub"])
def test_a_newer_build_replaces_an_older_one_elsewhere(
    tree: Tree, tmp_path: Path, bucket: Bucket, hub: Hub, where: str
) -> None:
    for number in range(3):
        tree.add(f"liver_{number}", voxels(number))
    store = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    target, options = (bucket.new(), bucket.options) if where == "bucket" else (TARGET, hub.options)
    cz.publish(store, target, target_options=options)
    rebuilt(tree, store)
    result = cz.publish(store, target, target_options=options)
    assert [case.case for case in result.cases if case.copied] == ["liver_1", "liver_2"]
    found = objects_at(open_storage(target, options=options)) if where == "bucket" else on_the_hub(hub)
    assert found == objects(store)
    assert cz.verify(target, storage_options=options).is_whole


def test_an_old_catalog_never_speaks_of_new_cases_on_the_hub(
    tree: Tree, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        tree.add(f"liver_{number}", voxels(number))
    store = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    publish(store, hub)
    rebuilt(tree, store)
    with monkeypatch.context() as patch:
        patch.setattr("ctspine_zarr.publishing.hub.upload_top", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(store, hub)
    before = cz.open_store(TARGET, storage_options=hub.options)
    assert np.array_equal(before["liver_1"].voxels("image")[...], voxels(1).transpose())
    assert before["liver_2"].record.split == "train"
    publish(store, hub)
    assert on_the_hub(hub) == objects(store)


def interrupt(*arguments: Any) -> None:  # noqa: ARG001 - as what it stands for is called
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"zarr.json": b"{}"}, "publish to another place"),
        (
            {"receipts/liver_77.json": b"{}"},
            "where its cases would be, such as receipts/liver_77.json; legal",
        ),
    ],
)
def test_a_repository_of_something_else_is_left_alone(
    store: Path, hub: Hub, files: dict[str, bytes | Path], told: str
) -> None:
    hub.hub.add("someone/spine", files)
    with pytest.raises(StoreMismatch, match=told):
        publish(store, hub)
    assert hub.hub.repos["someone/spine"].files == files


def test_a_card_of_the_users_own_is_kept(store: Path, hub: Hub) -> None:
    hub.hub.add("someone/spine", {"README.md": b"# Mine\n"})
    publish(store, hub)
    assert hub.hub.repos["someone/spine"].files["README.md"] == b"# Mine\n"
    assert on_the_hub(hub) == objects(store)


@pytest.mark.parametrize("target", ["s.zarr", "s.zarr/below", ".", "link", "s.zarr/../s.zarr"])
def test_a_store_is_not_published_onto_itself(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / "link").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    before = objects(store)
    with pytest.raises(StorageError, match="cannot publish .*; legal: a place apart from it"):
        cz.publish("s.zarr", target)
    assert objects(store) == before


def test_a_case_is_proven_before_its_earlier_copy_is_touched(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1", voxels(1))
    store, target = tmp_path / "s.zarr", tmp_path / "copy"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    cz.publish(store, target)
    before = objects(target)
    tree.add("liver_1", voxels(2), section=None)
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    next(store.rglob("image/c/0/0/0")).write_bytes(b"damaged")
    with pytest.raises(DamagedStore, match=r"has 7 bytes, \d+ were written; run verify"):
        cz.publish(store, target)
    assert objects(target) == before


def test_a_port_in_use_is_one_line(url: str, phantom_store: cz.Store) -> None:
    done = run("serve", phantom_store.location, "--port", url.rpartition(":")[2])
    assert done.exit_code == 1
    assert re.fullmatch(
        r"ctspine-zarr: cannot listen at 127.0.0.1:\d+: Address already in use; legal: .*\n", done.stderr
    )


@pytest.mark.parametrize("step", ["remove", "put"])
def test_a_moved_case_whose_move_was_interrupted_leaves_nothing(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for number in range(3):
        tree.add(f"liver_{number}", voxels(number))
    store, target = tmp_path / "s.zarr", tmp_path / "copy"
    cz.build_store(cz.plan_build(tree.root, store, workers=1))
    cz.publish(store, target)
    rebuilt(tree, store)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            cz.publish(store, target)
    cz.publish(store, target)
    assert objects(target) == objects(store)
    assert cz.verify(target).is_whole
