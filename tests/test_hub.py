"""CTSpine1K on the Hub, by the Hub's own client: what comes is what the Hub has a record of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Bucket, Hub
from fakehub import FakeHub
from servers import Watched, served
from stores import builds, objects, objects_at
from trees import SHAPE, NnunetTree, Tree, VerseTree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.ctspine1k import HUB
from ctspine_zarr.datasets.dataset import MAX_DOCUMENT_BYTES
from ctspine_zarr.errors import HubError, NoSpace, SourceError
from ctspine_zarr.hub.files import RemoteFile
from ctspine_zarr.hub.repository import Repository, cache_folder, download_folder
from ctspine_zarr.sources.hub import HubSource
from ctspine_zarr.storage import open_storage
from ctspine_zarr.write import arrivals

REPOSITORY = HUB.removeprefix("hf://datasets/")
COMMIT = "9b454add169b94f2c322ad6f08b66823975e8dbd"


@pytest.fixture
def source(tree: Tree, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Four cases, on the Hub too; what a build that ended early still fetches ends with the test."""
    monkeypatch.setattr("ctspine_zarr.sources.hub._WAITS", (0,) * 8)
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,) * 8)
    fetched = arrivals._awaited
    for number in range(3):
        tree.add(f"liver_{number}", voxels(number))
    tree.add("HN_P001", voxels(3), source="HNSCC-3DCT-RT", section="test_public")
    hub.hub.add(REPOSITORY, tree.root, commit=COMMIT)
    fetching: set[object] = set()

    def fetch(*arguments: Any) -> Any:
        fetching.add(token := object())
        try:
            return fetched(*arguments)
        finally:
            fetching.remove(token)

    monkeypatch.setattr(arrivals, "_awaited", fetch)
    yield tree
    hub.server.heal()
    while fetching:
        time.sleep(0.01)


def plan(hub: Hub, store: Any, source: str = "hub", **options: Any) -> cz.Plan:
    return cz.plan_build(source, store, source_options=hub.options, workers=1, **options)


def downloads(hub: Hub) -> list[str]:
    """Names of the volumes and masks that were asked for: the client asks where each is, once."""
    names = [r.path.rpartition("/")[2] for r in hub.server.requests if r.method == "HEAD"]
    return [name for name in names if name.endswith(".nii.gz")]


@pytest.mark.parametrize("location", ["hub", HUB, f"{HUB}@{COMMIT}", f"{HUB}@main"])
def test_a_build_from_the_hub_is_that_of_its_files(
    source: Tree, hub: Hub, tmp_path: Path, location: str
) -> None:
    cz.build_store(cz.plan_build(source.root, tmp_path / "local.zarr", workers=1))
    result = cz.build_store(plan(hub, tmp_path / "hub.zarr", location))
    assert len(result.built) == 4
    assert builds(objects(tmp_path / "hub.zarr")) == builds(objects(tmp_path / "local.zarr"))
    assert not list(download_folder().rglob("*.nii.gz"))
    assert sorted(downloads(hub)) == sorted(path.name for path in source.root.rglob("*.nii.gz"))


def test_the_plan_tells_what_will_be_downloaded(source: Tree, hub: Hub, tmp_path: Path) -> None:
    planned = plan(hub, tmp_path / "s.zarr")
    size = sum(path.stat().st_size for path in source.root.rglob("*.nii.gz"))
    assert (len(planned.pending), planned.read_bytes, planned.download_bytes) == (4, size, size)
    assert any(line.startswith("downloads    at most") for line in cz.describe(planned))
    assert downloads(hub) == []


def test_a_build_goes_on_with_what_is_missing(source: Tree, hub: Hub, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    cz.build_store(plan(hub, store, selection=cz.Selection(cases=["liver_0", "liver_1"])))
    assert sorted(downloads(hub)) == [
        "liver_0.nii.gz",
        "liver_0_seg.nii.gz",
        "liver_1.nii.gz",
        "liver_1_seg.nii.gz",
    ]
    source.sections["trainset"].remove("liver_1")
    source.add("liver_1", voxels(9))
    hub.hub.add(REPOSITORY, source.root)
    hub.server.requests.clear()
    result = cz.build_store(plan(hub, store))
    assert sorted(receipt.record.id for receipt in result.built) == ["HN_P001", "liver_1", "liver_2"]
    assert "liver_0.nii.gz" not in downloads(hub)


@pytest.mark.parametrize(
    ("selection", "cases"),
    [
        (cz.Selection(cases="liver_2"), {"liver_2"}),
        (cz.Selection(splits="validation"), {"HN_P001"}),
        (cz.Selection(sources="MSD-T10"), {"liver_0", "liver_1", "liver_2"}),
    ],
)
@pytest.mark.usefixtures("source")
def test_only_what_is_selected_is_downloaded(
    hub: Hub, tmp_path: Path, selection: cz.Selection, cases: set[str]
) -> None:
    cz.build_store(plan(hub, tmp_path / "s.zarr", selection=selection))
    assert {name.removesuffix(".nii.gz").removesuffix("_seg") for name in downloads(hub)} == cases


@pytest.mark.usefixtures("source")
def test_a_listing_in_part_is_an_error_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    hidden = "raw_data/labels/MSD-T10/liver_1_seg.nii.gz"
    hub.hub.repos[REPOSITORY].hidden = {hidden}
    with pytest.raises(SourceError, match=r"lists 7 of 8 files; missing: liver_1_seg.nii.gz; run it again"):
        plan(hub, tmp_path / "s.zarr")
    assert downloads(hub) == []
    assert len(plan(hub, tmp_path / "s.zarr", selection=cz.Selection(cases="liver_0")).pending) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_altered_bytes_are_asked_for_again(source: Tree, hub: Hub, tmp_path: Path, times: int) -> None:
    cz.build_store(cz.plan_build(source.root, tmp_path / "local.zarr", workers=1))
    hub.hub.repos[REPOSITORY].corrupt["raw_data/volumes/MSD-T10/liver_1.nii.gz"] = times
    result = cz.build_store(plan(hub, tmp_path / "hub.zarr"))
    assert result.refused == ()
    assert builds(objects(tmp_path / "hub.zarr")) == builds(objects(tmp_path / "local.zarr"))


@pytest.mark.usefixtures("source")
def test_bytes_that_stay_altered_are_refused_and_the_others_built(hub: Hub, tmp_path: Path) -> None:
    hub.hub.repos[REPOSITORY].corrupt["raw_data/volumes/MSD-T10/liver_1.nii.gz"] = 99
    result = cz.build_store(plan(hub, tmp_path / "s.zarr"))
    [refusal] = result.refused
    assert refusal.case == "liver_1"
    assert "liver_1.nii.gz: came 3 times with another size or sha256 than the Hub's record" in refusal.reason
    assert len(cz.open_store(tmp_path / "s.zarr")) == 3


@pytest.mark.parametrize("fault", [429, 500, 503, "cut"])
def test_requests_that_fail_are_made_again(source: Tree, hub: Hub, tmp_path: Path, fault: int | str) -> None:
    cz.build_store(cz.plan_build(source.root, tmp_path / "local.zarr", workers=1))
    planned = plan(hub, tmp_path / "hub.zarr")
    hub.server.fault = lambda number, *_: fault if number % 3 == 0 else None
    assert cz.build_store(planned).refused == ()
    assert builds(objects(tmp_path / "hub.zarr")) == builds(objects(tmp_path / "local.zarr"))


@pytest.mark.usefixtures("source")
def test_a_limit_of_requests_is_waited_out(hub: Hub, tmp_path: Path) -> None:
    planned = plan(hub, tmp_path / "s.zarr", selection=cz.Selection(cases="liver_0"))
    hub.server.requests.clear()
    hub.server.retry_after = 17
    hub.server.fault = lambda number, *_: 429 if number == 2 else None
    cz.build_store(planned)
    assert any(wait >= 17 for wait in hub.waits)


@pytest.mark.usefixtures("source")
def test_a_hub_that_is_gone_ends_the_build_and_keeps_what_is_built(hub: Hub, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    cz.build_store(plan(hub, store, selection=cz.Selection(cases="liver_0")))
    planned = plan(hub, store)
    hub.server.fault = lambda *_: 503
    with pytest.raises(
        HubError, match=r"cannot download raw_data/.* of hf://datasets/alexanderdann/CTSpine1K"
    ):
        cz.build_store(planned)
    hub.server.heal()
    assert len(plan(hub, store).whole) == 1


def test_the_disk_never_holds_more_than_a_few_downloads(hub: Hub, tree: Tree, tmp_path: Path) -> None:
    for number in range(12):
        tree.add(f"liver_{number}", voxels(number))
    hub.hub.add(REPOSITORY, tree.root)
    planned = plan(hub, tmp_path / "s.zarr")
    most = 0

    def look(event: object) -> None:  # noqa: ARG001 - as it is called
        nonlocal most
        most = max(most, len(list(download_folder().rglob("*_seg.nii.gz"))))

    cz.build_store(planned, look)
    # The one being built, the next one taken, and those ahead.
    assert 1 < most <= 2 + planned.source.ahead
    assert not list(download_folder().rglob("*.nii.gz"))


@pytest.mark.usefixtures("source")
def test_an_interrupted_build_leaves_no_downloads(hub: Hub, tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, cz.CaseBuilt):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cz.build_store(plan(hub, tmp_path / "s.zarr"), stop)
    assert len(plan(hub, tmp_path / "s.zarr").whole) == 1
    while list(download_folder().rglob("*.nii.gz")):
        # What was under way when it was interrupted goes as it comes.
        time.sleep(0.01)


@pytest.mark.usefixtures("source")
def test_kept_downloads_serve_another_build_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    chosen = cz.Selection(sources="MSD-T10")
    cz.build_store(plan(hub, tmp_path / "a.zarr", selection=chosen, keep_downloads=True))
    assert len(list(cache_folder().rglob("*_seg.nii.gz"))) >= 3
    hub.server.requests.clear()
    cz.build_store(plan(hub, tmp_path / "b.zarr", selection=chosen))
    assert downloads(hub) == []
    command = [sys.executable, "-m", "ctspine_zarr", "build", "hub", str(tmp_path / "c.zarr")]
    done = subprocess.run(
        [*command, "--source-dataset", "MSD-T10", "--workers", "1"],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert builds(objects(tmp_path / "c.zarr")) == builds(objects(tmp_path / "a.zarr"))


def test_offline_without_a_cache_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ctspine_zarr", "build", "hf://datasets/no/body", str(tmp_path / "s.zarr")],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot find hf://datasets/no/body: it is not in the cache at" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_private_repository_needs_a_token(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    fake = FakeHub(token="hf_right")  # noqa: S106 - of nobody
    fake.add("someone/private", tree.root)
    with served(Watched(fake.app)) as url:
        for token, message in ((None, "there is no such dataset, or it is private"), ("hf_wrong", "401")):
            with pytest.raises(HubError, match=message):
                cz.plan_build(
                    "hf://datasets/someone/private",
                    tmp_path / "s.zarr",
                    source_options={"endpoint": url, "token": token or False},
                )
        options = {"endpoint": url, "token": "hf_right"}
        planned = cz.plan_build(
            "hf://datasets/someone/private", tmp_path / "s.zarr", source_options=options, workers=1
        )
        assert len(cz.build_store(planned).built) == 1


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("hf://datasets/no/body", HubError, "cannot find hf://datasets/no/body: there is no such dataset"),
        (f"{HUB}@v9", HubError, "CTSpine1K@v9: there is no such revision"),
        ("hf://models/a/b", HubError, "is a model; legal: hf://datasets/USER/NAME"),
        (
            "hf://datasets/someone/else",
            SourceError,
            "no CTSpine1K at hf://datasets/someone/else: looked for raw_data/volumes",
        ),
        (
            "hf://datasets/someone/listless",
            SourceError,
            r"no split list at hf://datasets/someone/listless/metadata/data_split.txt \(not found\)",
        ),
    ],
)
@pytest.mark.usefixtures("source")
def test_what_is_no_source_is_an_error(
    hub: Hub, tmp_path: Path, location: str, error: type[Exception], message: str
) -> None:
    hub.hub.add("someone/else", {"README.md": b"something else"})
    hub.hub.add("someone/listless", {"raw_data/volumes/MSD-T10/liver_0.nii.gz": b"x"})
    with pytest.raises(error, match=message):
        plan(hub, tmp_path / "s.zarr", location)


@pytest.mark.parametrize("dataset", ["verse", "nnunet"])
def test_other_datasets_are_built_from_the_hub(hub: Hub, tmp_path: Path, dataset: str) -> None:
    tree = VerseTree(tmp_path / dataset) if dataset == "verse" else NnunetTree(tmp_path / dataset)
    cases = {"sub-verse004": "dataset-01training", "sub-gl003_dir-ax": "dataset-03test"}
    for number, (case, folder) in enumerate(cases.items()):
        place = folder if dataset == "verse" else "Ts" if number else "Tr"
        tree.add(case, voxels(number), None if number == 0 else False, folder=place)
    hub.hub.add("someone/spines", tree.root)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "local.zarr", workers=1))
    planned = plan(hub, tmp_path / "hub.zarr", "hf://datasets/someone/spines", keep_downloads=True)
    assert cz.build_store(planned).refused == ()
    assert builds(objects(tmp_path / "hub.zarr")) == builds(objects(tmp_path / "local.zarr"))
    command = [sys.executable, "-m", "ctspine_zarr", "build", "hf://datasets/someone/spines"]
    done = subprocess.run(
        [*command, str(tmp_path / "c.zarr"), "--workers", "1"],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert builds(objects(tmp_path / "c.zarr")) == builds(objects(tmp_path / "hub.zarr"))


def test_a_document_of_a_size_that_is_none_is_not_downloaded(hub: Hub) -> None:
    hub.hub.add("someone/else", {"dataset.json": b"{}"})
    source = HubSource.at("hf://datasets/someone/else", hub.options, "s.zarr", keep=False)
    source.repository.__dict__["files"] = {"dataset.json": RemoteFile(MAX_DOCUMENT_BYTES + 1, None)}
    hub.server.requests.clear()
    with pytest.raises(SourceError, match="dataset.json of hf://datasets/someone/else has 67108865 bytes"):
        source.read("dataset.json")
    assert hub.server.requests == []
    assert source.read("none.json") is None


@pytest.mark.usefixtures("source")
def test_a_build_without_room_for_downloads_does_not_begin(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(hub, tmp_path / "s.zarr")
    monkeypatch.setattr("ctspine_zarr.write.plan.free_bytes", lambda _: 10)
    with pytest.raises(NoSpace, match=r"kB are needed for downloads, 10 bytes are free; free some, or set"):
        cz.build_store(planned)
    assert downloads(hub) == []


# -- the whole way: from a Hub that fails to a bucket that fails, by a process that is killed


def listed(bucket: Bucket, location: str) -> dict[str, bytes]:
    return objects_at(open_storage(location, options=bucket.options))


@dataclass
class Killer:
    """A bucket's fault: every fifth request fails, and a process ends at its n-th put.

    Attributes:
        fatal: n; None for never.
        process: the one to end.
    """

    fatal: int | None
    process: subprocess.Popen[bytes] | None = None
    puts: int = 0

    def __call__(self, number: int, method: str, path: str) -> int | None:  # noqa: ARG002 - as it is called
        self.puts += method == "PUT"
        if self.puts == self.fatal and self.process is not None:
            self.process.kill()
        return 503 if number % 5 == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(20,), (1, 2, 9, 12, 3, 13, 1)], ids=["few", "many"])
def test_a_build_that_is_killed_at_puts_ends_as_a_clean_one(
    source: Tree, hub: Hub, bucket: Bucket, tmp_path: Path, kills: tuple[int, ...]
) -> None:
    cz.build_store(cz.plan_build(source.root, tmp_path / "local.zarr", workers=1))
    location = bucket.new()
    command = [sys.executable, "-m", "ctspine_zarr", "build", "hub", location, "--workers", "1"]
    environment = os.environ | bucket.environment | {"HF_ENDPOINT": hub.options["endpoint"]}
    hub.server.fault = lambda number, *_: [None, 429, None, "cut", None, None, 503][number % 7]
    for fatal in (*kills, None):
        bucket.server.fault = killer = Killer(fatal)
        killer.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        _, errors = killer.process.communicate(timeout=120)
        assert killer.process.returncode == (0 if fatal is None else -9), errors
    bucket.server.heal()
    assert builds(listed(bucket, location)) == builds(objects(tmp_path / "local.zarr"))
    assert cz.verify(location, storage_options=bucket.options).is_whole


# -- reads


@pytest.fixture
def small(hub: Hub) -> Repository:
    """A repository with one small file, of which a request may take 5 s."""
    hub.hub.add("someone/else", {"a.json": bytes(range(100))})
    found = Repository.at("hf://datasets/someone/else", {**hub.options, "timeout": 5})
    _ = found.commit
    hub.server.requests.clear()
    return found


@pytest.mark.parametrize("fault", [408, 429, 503, "cut"])
def test_a_read_that_fails_is_made_again(small: Repository, hub: Hub, fault: int | str) -> None:
    hub.server.fault = lambda number, *_: fault if number < 3 else None
    assert small.read("a.json", (3, 200)) == bytes(range(3, 100))
    assert small.read("none.json", (0, 9)) is None
    assert small.read("a.json", (100, 101)) == b""


def test_a_read_waits_as_long_as_the_hub_says_beyond_its_own_time(small: Repository, hub: Hub) -> None:
    hub.server.retry_after = 90
    hub.server.fault = lambda number, *_: 429 if number < 3 else None
    assert small.read("a.json", (0, 3)) == b"\0\1\2"
    assert hub.waits == [91, 91]


def test_a_read_waits_no_longer_than_a_limit_of_the_hub_lasts(small: Repository, hub: Hub) -> None:
    hub.server.retry_after = 10**9
    hub.server.fault = lambda *_: 429
    with pytest.raises(HubError, match=r"cannot read a.json of .*429"):
        small.read("a.json", (0, 3))
    assert hub.waits == [301] * 5


def test_a_read_that_is_refused_is_not_made_again(small: Repository, hub: Hub) -> None:
    hub.server.fault = lambda *_: 403
    with pytest.raises(HubError, match=r"cannot read a.json of .*403"):
        small.read("a.json", (0, 3))
    assert len(hub.server.requests) == 1


@pytest.mark.parametrize(
    ("shape", "puts", "posts"), [(SHAPE, 8, 0), pytest.param((160, 160, 120), 9, 2, marks=pytest.mark.slow)]
)
def test_a_case_takes_the_requests_that_the_documentation_counts(
    hub: Hub, bucket: Bucket, tmp_path: Path, shape: tuple[int, ...], puts: int, posts: int
) -> None:
    """Of a shard of more than 5 MiB, of two parts here, each part is a PUT, its begin and end are POSTs."""
    to_bucket, to_hub = [], []
    for count in (3, 6):
        tree = Tree(tmp_path / str(count))
        for number in range(count):
            tree.add(f"liver_{number}", voxels(number, shape), labels(shape))
        hub.hub.add(REPOSITORY, tree.root, commit=str(count) * 40)
        hub.server.requests.clear()
        bucket.server.requests.clear()
        cz.build_store(plan(hub, bucket.new(), storage_options=bucket.options))
        to_bucket.append(Counter(request.method for request in bucket.server.requests))
        to_hub.append(Counter(request.method for request in hub.server.requests))
    (three, six), (few, many) = to_bucket, to_hub
    assert six - three == Counter(PUT=3 * puts, GET=3 * 3, HEAD=3 * 8) + Counter(POST=3 * posts)
    # An image and a mask: where each is, then the CDN.
    assert many - few == Counter(HEAD=3 * 2, GET=3 * 2)
