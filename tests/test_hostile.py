"""Whatever names, paths and links a store or source has: nothing outside is read, written or removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import Bucket
from hostile import OWN, Author, Objects, build_every_kind, tree_of, with_foreign_image, write_tree
from starlette.testclient import TestClient
from stores import objects
from trees import NnunetTree, Tree

import ctspine_zarr as cz
from ctspine_zarr.errors import CtspineError, DamagedStore, StorageError
from ctspine_zarr.publishing.web import application

SECRET: Final = b"nobody may read this"

# Stands for the folder that the fixtures fill: what is absolute leads to a victim that is there.
AROUND: Final = "<around>"

NAMES: Final = [
    *("..", ".", "", "../victim", "../../victim", "a/../../../victim", f"{AROUND}/victim"),
    *(f"/{AROUND}/victim", "a/b", "a\\b", "..\\victim", "a\0b", "a\nb", "x" * 300, "x" * 129),
    *(".hidden", "end.", "CON", "nul.txt", "zarr.json", "receipts", "a~b", "~", "C:", "C:\\victim"),
    *("%2e%2e", "a b", "\u202ea", "é", f"file://{AROUND}/victim"),
]

# Of them, one of each kind.
FEW: Final = ["../../victim", f"{AROUND}/victim", "a\\b", "a\0b", "x" * 300, ""]


def placed(name: str, around: Path) -> str:
    """A name that leads, if anywhere, below this folder."""
    return name.replace(AROUND, str(around))


# -- what is opened, seen by the interpreter itself

EVENTS: Final = frozenset({"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "shutil.rmtree"})
FOLLOWING: Final = frozenset({"open", "os.listdir", "os.scandir"})
_watching: dict[str, Any] = {"roots": None, "seen": []}


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    roots = _watching["roots"]
    if roots is None or event not in EVENTS:
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        folder, name = os.path.split(os.fsdecode(path))
        # What opens no link, or removes the link itself, is not led anywhere by it.
        stays = event not in FOLLOWING or (event == "open" and arguments[2] & os.O_NOFOLLOW)
        real = f"{os.path.realpath(folder)}/{name}" if stays else os.path.realpath(os.fsdecode(path))
        if real.startswith(roots):
            _watching["seen"].append((event, real))


sys.addaudithook(_note)


@contextmanager
def untouched(*outside: Path) -> Iterator[None]:
    """What lies in some folders is neither opened, listed, removed nor altered meanwhile."""
    before = [tree_of(folder) for folder in outside]
    _watching["seen"] = []
    _watching["roots"] = tuple(str(folder.resolve()) for folder in outside)
    try:
        yield
    finally:
        _watching["roots"] = None
    assert not _watching["seen"], _watching["seen"]
    assert [tree_of(folder) for folder in outside] == before


@pytest.mark.parametrize(
    "touch",
    [
        Path.read_bytes,
        os.unlink,
        lambda path: os.open(path, os.O_RDONLY),
        lambda path: list(path.parent.iterdir()),
    ],
)
def test_what_is_touched_outside_is_seen(tmp_path: Path, touch: Callable[[Path], object]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(AssertionError), untouched(tmp_path / "outside"):
        touch(tmp_path / "link" / "file")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_every_kind(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def before(built: Path) -> Objects:
    return objects(built)


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.slow)])
def names(request: pytest.FixtureRequest, around: Path) -> list[str]:
    return [placed(name, around) for name in (FEW if request.param == "few" else NAMES)]


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """The folder that hostile paths lead to: `victim` at each level above a store at `around/deep/s.zarr`,
    whose source is beside it.
    """
    for folder in (tmp_path, tmp_path / "deep"):
        (folder / "victim").mkdir(parents=True)
        (folder / "victim" / "zarr.json").write_bytes(SECRET)
    write_tree(tmp_path / "deep" / "source")
    return tmp_path


@pytest.fixture
def store(built: Path, around: Path) -> Path:
    return Path(shutil.copytree(built, around / "deep" / "s.zarr"))


def everything(location: Path, output: Path, copy: Path) -> list[Callable[[], object]]:
    """All that can be done with a store; built again is a copy, for a build mends what it finds."""

    def each(use: Callable[[cz.Case], object]) -> None:
        for case in cz.open_store(location).values():
            with contextlib.suppress(CtspineError):
                use(case)

    client = TestClient(application(location), raise_server_exceptions=True)
    return [
        lambda: cz.open_store(location).cases,
        lambda: cz.verify(location),
        lambda: each(lambda case: case.slice(0)),
        lambda: each(lambda case: case.facts),
        lambda: each(lambda case: case.to_nibabel()),
        lambda: each(lambda case: cz.export(case, output / "exported", overwrite=True)),
        lambda: cz.publish(location, output / "published"),
        lambda: each(lambda case: client.get(f"/{case.record.path}/zarr.json")),
        lambda: rebuild(copy),
    ]


def rebuild(location: Path) -> cz.BuildResult:
    """From the source beside it."""
    return cz.build_store(cz.plan_build(location.parent / "source", location, workers=1))


def use_all(location: Path, around: Path) -> None:
    """Whatever comes of it, it is a documented error or a result, and both victims are as they were."""
    output, copy = around / "output", location.with_name("copy.zarr")
    # Unlike Python's own, it copies links and FIFOs as they are.
    subprocess.run(["cp", "-a", location, copy], check=True)
    for use in everything(location, output, copy):
        with untouched(around / "victim", around / "deep" / "victim"), contextlib.suppress(CtspineError):
            use()
    written = {path.relative_to(around).parts[0] for path in around.rglob("*")}
    assert written <= {"victim", "deep", "output"}
    assert {path.name for path in (around / "deep").iterdir()} <= {"victim", "s.zarr", "copy.zarr", "source"}
    shutil.rmtree(copy)


def put(location: Path, new: Objects) -> None:
    for key, data in new.items():
        (location / key).write_bytes(data)


# -- names in documents whose digests all fit


@pytest.mark.parametrize("field", ["id", "split", "source", "path", "patient_id"])
def test_no_name_in_a_record_leads_outside(
    store: Path, before: Objects, around: Path, field: str, names: list[str]
) -> None:
    author = Author(before)
    for name in names:
        put(store, before)
        put(store, author.case("a", record=author.record("a") | {field: name}))
        use_all(store, around)


@pytest.mark.parametrize("field", ["splits", "sources", "mask", "name", "layout"])
def test_no_name_in_a_spec_leads_outside(
    store: Path, before: Objects, around: Path, field: str, names: list[str]
) -> None:
    author = Author(before)
    for name in names:
        root = json.loads(before["zarr.json"])
        spec = root["attributes"][OWN]["dataset"]
        spec[field] = [name] if isinstance(spec[field], list) else name
        put(store, before)
        put(store, author.root(root))
        use_all(store, around)


def test_a_split_that_leads_outside_in_every_document_is_no_path(
    store: Path, before: Objects, around: Path, names: list[str]
) -> None:
    """The root, the catalog, the receipt and the facts all say the same."""
    author = Author(before)
    for name in names:
        put(store, before)
        new = author.case("a", record=author.record("a") | {"split": name})
        root = json.loads(new["zarr.json"])
        root["attributes"][OWN]["dataset"]["splits"].append(name)
        put(store, new | author.root(root))
        use_all(store, around)


@pytest.mark.parametrize("field", ["intensity", "labels"])
def test_a_spread_below_zero_is_damage(store: Path, before: Objects, field: str) -> None:
    author = Author(before)
    record = author.record("a")
    told = record["intensity"] if field == "intensity" else record["labels"][0]["hu"]
    told["std"] = -1.5
    put(store, author.case("a", record=record))
    with pytest.raises(DamagedStore, match=r"std"):
        cz.open_store(store)


def test_no_key_in_a_receipt_leads_outside(
    store: Path, before: Objects, around: Path, names: list[str]
) -> None:
    author = Author(before)
    for name in [*names, "../../../../victim/zarr.json", "labels/../../x/zarr.json", "labels/../zarr.json"]:
        receipt = json.loads(before[author.receipts["a"]])
        receipt["objects"][name] = {"bytes": len(SECRET), "sha256": "0" * 64}
        put(store, before)
        put(store, author.case("a", receipt=receipt))
        use_all(store, around)


def test_no_kept_file_name_is_where_export_writes(
    store: Path, before: Objects, around: Path, names: list[str]
) -> None:
    author = Author(before)
    for name in names:
        group = f"{author.groups['b']}/zarr.json"
        document = json.loads(before[group])
        document["attributes"][OWN]["nifti"]["image"]["file"]["name"] = name
        put(store, before)
        put(store, author.case("b", objects={group: json.dumps(document).encode()}))
        use_all(store, around)
        with contextlib.suppress(CtspineError):
            paths = cz.export(cz.open_store(store)["b"], around / "output" / "one", overwrite=True)
            assert {path.name for path in paths} == {"b_0000.nii.gz", "b.nii.gz"}


# -- names in a source


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_no_name_in_a_split_list_leads_outside(tree: Tree, tmp_path: Path, name: str) -> None:
    """Whatever a path of a file would be made of it, files of a case lie where it leads."""
    image = tree.add("liver_1")
    outside = tmp_path / "victim"
    outside.mkdir()
    for ending in (".nii.gz", "_seg.nii.gz"):
        shutil.copy(image, outside / f"c{ending}")
    lines = [placed(name, tmp_path), f"{placed(name, tmp_path)}/c", "../../../../victim/c"]
    assert (image.parent / f"{lines[-1]}.nii.gz").exists()
    tree.write_splits("\n".join(["trainset:", *(f"{line}.nii.gz" for line in ("liver_1", *lines))]))
    with untouched(outside):
        plan = cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1)
        result = cz.build_store(plan)
    assert [receipt.record.id for receipt in result.built] == ["liver_1"]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "s.zarr", "victim"}
    assert cz.verify(tmp_path / "s.zarr").is_whole


@pytest.mark.parametrize("name", NAMES)
def test_no_path_in_a_description_leads_outside(tmp_path: Path, name: str) -> None:
    tree = write_tree(tmp_path / "source")
    outside = tmp_path / "victim"
    outside.mkdir()
    name = placed(name, tmp_path)
    shutil.copy(tree.root / "imagesTr" / "b_0000.nii.gz", outside / "c_0000.nii.gz")
    listed = {"images": [f"../victim/c_0000.nii.gz{name}"], "label": f"{name}/../../victim/c_0000.nii.gz"}
    inside = {"images": [f"{name}/c_0000.nii.gz"], "label": f"{name}/c_0000.nii.gz"}
    own = ["imagesTr/b_0000.nii.gz"]
    for cases in (
        {"c": listed, name: listed, "b": {"images": own, "label": name}},
        {"c": inside},
        {"b": inside | {"images": own}},
    ):
        tree.describe(dataset=cases)
        with untouched(outside), contextlib.suppress(CtspineError):
            cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
        assert {path.name for path in tmp_path.iterdir()} <= {"source", "s.zarr", "victim"}


# -- links


LINKED: Final = ["train", "train/Spines", "receipts", "train/Spines/b", "train/Spines/b/image/c"]


@pytest.mark.parametrize("place", LINKED)
def test_a_folder_that_is_a_link_is_not_followed(
    store: Path, around: Path, place: str, bucket: Bucket
) -> None:
    """It leads to what was there, moved outside, so that all would be right if it were followed."""
    moved = around / "victim" / "moved"
    (store / place).rename(moved)
    (store / place).symlink_to(moved)
    use_all(store, around)
    assert not cz.verify(store).is_whole
    with untouched(around / "victim"):
        with contextlib.suppress(CtspineError):
            cz.publish(store, bucket.new(), target_options=bucket.options)
        with contextlib.suppress(CtspineError):
            rebuild(store)


@pytest.mark.parametrize("place", LINKED[:3])
def test_a_build_and_a_publication_do_not_write_through_a_linked_folder(
    store: Path, around: Path, place: str
) -> None:
    for target in (around / "output", around / "deep" / "new.zarr"):
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).symlink_to(around / "victim")
    with untouched(around / "victim"):
        with pytest.raises(CtspineError):
            cz.publish(store, around / "output")
        with pytest.raises(CtspineError):
            rebuild(around / "deep" / "new.zarr")


def files_of(before: Objects) -> list[str]:
    """One key of each kind."""
    [catalog] = [key for key in before if key.startswith("catalog-")]
    return [
        "zarr.json",
        catalog,
        "receipts/b.json",
        *(key for key in before if key.startswith("train/Spines/b/")),
    ]


def test_a_file_that_is_a_link_to_outside_is_not_read(store: Path, before: Objects, around: Path) -> None:
    """The file outside is the very one that belongs there."""
    for key in files_of(before):
        moved = around / "victim" / "moved"
        (store / key).rename(moved)
        (store / key).symlink_to(moved)
        use_all(store, around)
        assert not cz.verify(store).is_whole, key
        (store / key).unlink()
        moved.rename(store / key)
    assert cz.verify(store).is_whole


def test_what_is_read_through_zarr_python_is_of_the_store(store: Path, before: Objects, around: Path) -> None:
    new, chunk = with_foreign_image(before)
    put(store, new)
    assert not cz.open_store(store)["t"].slice(0)["image"].any()
    for key in (chunk, chunk.replace("c/0/0/0", "zarr.json")):
        moved = around / "victim" / "moved"
        (store / key).rename(moved)
        (store / key).symlink_to(moved)
        use_all(store, around)
        with pytest.raises(StorageError, match=f"cannot read '{key}' in .*: it is a link that leads outside"):
            cz.open_store(store)["t"].slice(0)
        (store / key).unlink()
        moved.rename(store / key)


def test_another_store_inside_one_is_told_and_left_alone(store: Path, built: Path, around: Path) -> None:
    nested = Path(shutil.copytree(built, store / "nested"))
    kept = objects(nested)
    assert any("nested/" in problem for problem in cz.verify(store).problems)
    rebuild(store)
    cz.publish(store, around / "output")
    assert objects(nested) == kept
    assert not (around / "output" / "nested").exists()


# -- what never ends


@pytest.mark.timeout(20)
def test_a_fifo_in_place_of_any_object_is_an_error_at_once(
    store: Path, before: Objects, around: Path
) -> None:
    for key in files_of(before):
        (store / key).unlink()
        os.mkfifo(store / key)
        use_all(store, around)
        assert not cz.verify(store).is_whole, key
        with contextlib.suppress(CtspineError):
            cz.plan_build(around / "deep" / "source", store, workers=1)
        (store / key).unlink()
        (store / key).write_bytes(before[key])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("encoding", ["default", "v2"])
def test_a_fifo_in_place_of_what_zarr_python_reads_is_an_error_at_once(
    store: Path, before: Objects, encoding: str
) -> None:
    separator = {"default": "/", "v2": "."}[encoding]
    keys = {"name": encoding, "configuration": {"separator": separator}}
    new, chunk = with_foreign_image(before, chunk_key_encoding=keys)
    put(store, new)
    # Where its encoding of keys says; no receipt has it.
    fifo = chunk if encoding == "default" else chunk.replace("c/0/0/0", "0.0.0")
    (store / fifo).unlink(missing_ok=True)
    os.mkfifo(store / fifo)
    with pytest.raises(StorageError, match=f"cannot read '{fifo}' in .*: it is a FIFO; legal: a regular"):
        cz.open_store(store)["t"].slice(0)
    assert any("it is a FIFO" in problem for case in cz.verify(store).cases for problem in case.problems)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", ["imagesTr/b_0000.nii.gz", "labelsTr/b.nii.gz", "dataset.json"])
def test_a_fifo_in_place_of_a_file_of_a_source_is_an_error_at_once(tmp_path: Path, place: str) -> None:
    tree: NnunetTree = write_tree(tmp_path / "source")
    (tree.root / place).unlink()
    os.mkfifo(tree.root / place)
    if place == "dataset.json":
        with pytest.raises(CtspineError, match="FIFO; legal: a regular file"):
            cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1)
        return
    result = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    assert [refusal.case for refusal in result.refused] == ["b"]
    assert "FIFO" in result.refused[0].reason


# -- elsewhere


def test_a_hostile_store_writes_nothing_beside_its_place_in_a_bucket(
    store: Path, before: Objects, around: Path, bucket: Bucket
) -> None:
    author = Author(before)
    location = bucket.new()
    for name in (placed(name, around) for name in NAMES[:12]):
        put(store, before)
        put(store, author.case("a", record=author.record("a") | {"id": name, "path": name}))
        bucket.server.requests.clear()
        with contextlib.suppress(CtspineError):
            cz.publish(store, location, target_options=bucket.options)
        inside = location.removeprefix("s3:/")
        puts = [
            request.path for request in bucket.server.requests if request.method in {"PUT", "DELETE", "POST"}
        ]
        assert all(path.startswith(f"{inside}/") and ".." not in path for path in puts)


def test_serving_gives_nothing_outside_the_store(store: Path, around: Path) -> None:
    (store / "linked").symlink_to(around / "victim")
    (store / "link.json").symlink_to(around / "victim" / "zarr.json")
    client = TestClient(application(store))
    asked = ["linked/zarr.json", "link.json", "../victim/zarr.json", "%2e%2e/victim/zarr.json", "a%00b"]
    asked += [
        "..%2fvictim/zarr.json",
        "train/../../victim/zarr.json",
        f"/{around}/victim/zarr.json",
        "x" * 5000,
    ]
    for path in asked:
        with contextlib.suppress(ValueError):
            answer = client.get(f"/{path}")
            assert answer.status_code >= 400, path
            assert SECRET not in answer.content
