"""Stores with every kind of case, small enough to be attacked ten thousand times, and what they must give."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray
from trees import SHAPE, NnunetTree, in_mm, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.format.encoding import UNSEALED, sealed

type Objects = dict[str, bytes]

OWN: Final = "ctspine_zarr"


def calm(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """HU from -32 to 95, so that what is counted of them is short."""
    return voxels(seed, shape) // 32


def write_tree(root: Path, second: int = 5) -> NnunetTree:
    """`a` with an image of that seed, `b` with a NIfTI extension, `t` for testing, without a mask.

    Of `b` shape, chunks in the shard, mask and labels are others as well: no object of it is one of `a`,
    but for the list of masks, which is the dataset's.
    """
    tree = NnunetTree(root)
    tree.add("a", calm(second))
    shape = (*SHAPE[:2], 35)
    image = in_mm(calm(1, shape))
    image.header.extensions.append(Nifti1Extension("comment", b"a comment"))
    tree.add("b", image, labels(shape) * (labels(shape) == 23))
    tree.add("t", calm(2), False, folder="Ts")
    return tree


def build_every_kind(folder: Path) -> Path:
    """A store of the three cases of `write_tree`, of which `a` has replaced another."""
    tree = write_tree(folder / "source", second=4)
    location = folder / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    write_tree(tree.root)
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    assert cz.open_store(location)["a"].record.is_replaced
    return location


def facts_of(store: cz.Store, case: str) -> dict[str, Any]:
    """All that a reader can have of a case: each as a function that reads it, and so may fail."""
    one = store[case]
    found: dict[str, Callable[[], Any]] = {
        "record": lambda: one.record,
        "spec": lambda: one.spec,
        "affine": lambda: (one.affine.tolist(), one.affine_of("LPS").tolist()),
        "facts": lambda: one.facts,
        "receipt": lambda: one.receipt,
        "slice": lambda: bytes_of(one.slice(3)),
        "patch": lambda: bytes_of(one.patch(start=(-2, 3, 4), size=(19, 30, 7))),
        "image": lambda: _voxels(one, "image"),
        "nibabel": lambda: _nifti(one, "image"),
    }
    if one.has_mask:
        found["segmentation"] = lambda: _voxels(one, "segmentation")
        found["nibabel mask"] = lambda: _nifti(one, "segmentation")
    return found


def truth_of(store: cz.Store) -> dict[str, dict[str, Any]]:
    """Case id -> name -> all that a reader must be given, or an error."""
    return {case: {name: read() for name, read in facts_of(store, case).items()} for case in store}


def bytes_of(sample: Mapping[str, Any]) -> dict[str, bytes]:
    """The arrays of a sample, as bytes that can be compared."""
    return {name: np.asarray(value).tobytes() for name, value in sample.items()}


def _voxels(case: cz.Case, which: Any) -> bytes:
    return case.voxels(which)[...].tobytes()


def _nifti(case: cz.Case, which: Any) -> tuple[Any, ...]:
    image = case.to_nibabel(which)
    extensions = [(one.get_code(), bytes(one.get_content())) for one in image.header.extensions]
    return (
        bytes(image.header.binaryblock),
        extensions,
        image.affine.tobytes(),
        np.asarray(image.dataobj).tobytes(),
    )


# -- an author who has every digest made anew


class Raw(str):
    """JSON text that stands in a document as it is, whether it is JSON or not."""

    __slots__ = ()


def dumps(document: Any, *, indent: int | None = 1) -> bytes:
    """A document as the store writes it, but for `Raw` values, which any text may be."""
    found: list[Raw] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Raw):
            found.append(value)
            return f"@@{len(found) - 1}@@"
        if isinstance(value, dict):
            return {key: marked(of) for key, of in value.items()}
        return [marked(of) for of in value] if isinstance(value, list) else value

    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(marked(document), indent=indent, ensure_ascii=not indent, separators=separators)
    for number, value in enumerate(found):
        text = text.replace(f'"@@{number}@@"', value)
    return text.encode("utf-8", "surrogatepass")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def resealed(document: bytes) -> bytes:
    """A root or receipt whose content was changed, with the seal that is right for it."""
    begun = b'"seal": "'
    start = document.rfind(begun) + len(begun)
    if start < len(begun):
        return document
    return sealed(document[:start] + UNSEALED.encode() + document[start + len(UNSEALED) :])


class Author:
    """Rewrites a store so that each digest fits whatever the author has put in: checks of content are left.

    Attributes:
        before: the objects of an untouched store.
        catalog: key of its catalog.
        groups: case id -> path of its group.
        receipts: case id -> key of its receipt.
    """

    def __init__(self, before: Objects) -> None:
        self.before = before
        [self.catalog] = [key for key in before if key.startswith("catalog-")]
        self._lines = {line["id"]: line for line in map(json.loads, before[self.catalog].splitlines())}
        self.groups = {case: line["path"] for case, line in self._lines.items()}
        self.receipts = {
            case: f"receipts/{path.rpartition('/')[2]}.json" for case, path in self.groups.items()
        }

    def record(self, case: str) -> dict[str, Any]:
        """A case's record, a copy that may be altered."""
        proof = {"receipt", "group", "cases"}
        return {key: value for key, value in self._line(case).items() if key not in proof}

    def root(self, root: Any) -> Objects:
        """What differs once the root is this document."""
        return {"zarr.json": resealed(dumps(root))}

    def lines(self, lines: list[Any]) -> Objects:
        """What differs once the catalog has these lines, which lie under its new name beside the old one."""
        data = b"".join(dumps(line, indent=None) + b"\n" for line in lines)
        root = json.loads(self.before["zarr.json"])
        root["attributes"][OWN]["catalog"] |= {"sha256": digest(data), "bytes": len(data)}
        return {f"catalog-{digest(data)[:16]}.jsonl": data, **self.root(root)}

    def case(
        self, case: str, *, objects: Objects | None = None, record: Any = None, receipt: Any = None
    ) -> Objects:
        """What differs once a case has these objects, this record everywhere, or this receipt."""
        path, new = self.groups[case], dict(objects or {})
        if record is not None:
            group = json.loads(new.get(f"{path}/zarr.json", self.before[f"{path}/zarr.json"]))
            group["attributes"][OWN] |= record
            new[f"{path}/zarr.json"] = dumps(group)
        document = json.loads(self.before[self.receipts[case]]) if receipt is None else receipt
        if receipt is None:
            document["record"] = document["record"] if record is None else record
            stored = {key.removeprefix(f"{path}/"): data for key, data in new.items()}
            document["objects"] |= {
                key: {"bytes": len(data), "sha256": digest(data)} for key, data in stored.items()
            }
        new[self.receipts[case]] = resealed(dumps(document))
        group = new.get(f"{path}/zarr.json", self.before[f"{path}/zarr.json"])
        proof = {"receipt": digest(new[self.receipts[case]]), "group": digest(group)}
        lines = [self._line(one) | ((record or {}) | proof if one == case else {}) for one in self._lines]
        return new | self.lines(lines)

    def _line(self, case: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(self._lines[case]))
        return found


def with_foreign_image(before: Objects, **metadata: Any) -> tuple[Objects, str]:
    """What differs once the image of `t` is one raw chunk, of a codec that nobody knows; and the chunk's key.

    Args:
        before: the objects of an untouched store.
        metadata: what the array's `zarr.json` says instead of what is so.
    """
    author = Author(before)
    record, path = author.record("t"), f"{author.groups['t']}/image"
    document = json.loads(before[f"{path}/zarr.json"])
    document["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    document["chunk_grid"]["configuration"]["chunk_shape"] = record["shape"]
    data = bytes(2 * math.prod(record["shape"]))
    record["image"] |= {"codec": "by hand", "bytes": len(data), "index_crc32c": 0}
    new = {f"{path}/zarr.json": dumps(document | metadata), f"{path}/c/0/0/0": data}
    return author.case("t", objects=new, record=record), f"{path}/c/0/0/0"


@contextmanager
def put_for_now(location: Path, new: Objects, before: Objects) -> Iterator[None]:
    """A folder with some objects changed, and as it was afterwards."""
    try:
        for key, data in new.items():
            (location / key).write_bytes(data)
        yield
    finally:
        for key in new:
            if key in before:
                (location / key).write_bytes(before[key])
            else:
                (location / key).unlink(missing_ok=True)


# -- bounds


@contextmanager
def memory_within(count: int) -> Iterator[None]:
    """Room for so many more bytes than the process has now: a MemoryError beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def time_within(seconds: float, what: object) -> Iterator[None]:
    begun = time.monotonic()
    yield
    taken = time.monotonic() - begun
    assert taken < seconds, f"{taken:.1f} s for {what}"


def many(count: int) -> int:
    """How often something random is done: each run has seeds of its own, so a quarter of it will do, unless
    CTSPINE_ROUNDS is "all".
    """
    return count if os.environ.get("CTSPINE_ROUNDS") == "all" else count // 4


def fresh_seed() -> int:
    """A seed that no run had before, unless CTSPINE_SEED asks for one that had a failure."""
    seed = int(os.environ.get("CTSPINE_SEED", int.from_bytes(os.urandom(6))))
    print(f"CTSPINE_SEED={seed}")
    return seed


def tree_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Path -> kind and content of all that lies below a folder; of links, where they lead."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = bytes(path.readlink()) if path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (mode, path.read_bytes() if path.is_file() else content)
    return found
