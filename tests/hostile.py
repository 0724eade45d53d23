"""Stores with every kind of case, small enough to be attacked ten thousand times, and what they must give."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Extension
from stores import objects
from trees import NnunetTree, in_mm, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.format.encoding import UNSEALED, sealed

type Objects = dict[str, bytes]

OWN: Final = "ctspine_zarr"


def write_tree(root: Path, second: int = 5) -> NnunetTree:
    """`a` with an image of that seed, `b` with a NIfTI extension, `t` for testing, without a mask."""
    tree = NnunetTree(root)
    tree.add("a", voxels(second))
    image = in_mm(voxels(1))
    image.header.extensions.append(Nifti1Extension("comment", b"a comment"))
    tree.add("b", image)
    tree.add("t", voxels(2), False, folder="Ts")
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
        "affine": lambda: one.affine.tobytes(),
        "facts": lambda: one.facts,
        "receipt": lambda: one.receipt,
        "slice": lambda: bytes_of(one.slice(3)),
        "patch": lambda: bytes_of(one.patch(start=(-2, 3, 4), size=(19, 30, 7))),
        "image": lambda: one.voxels("image")[...].tobytes(),
        "nibabel": lambda: _nifti(one, "image"),
    }
    if one.has_mask:
        found["segmentation"] = lambda: one.voxels("segmentation")[...].tobytes()
        found["nibabel mask"] = lambda: _nifti(one, "segmentation")
    return found


def truth_of(store: cz.Store) -> dict[str, dict[str, Any]]:
    """Case id -> name -> all that a reader must be given, or an error."""
    return {case: {name: read() for name, read in facts_of(store, case).items()} for case in store}


def bytes_of(sample: Mapping[str, Any]) -> dict[str, bytes]:
    """The arrays of a sample, as bytes that can be compared."""
    return {name: np.asarray(value).tobytes() for name, value in sample.items()}


def _nifti(case: cz.Case, which: Any) -> tuple[Any, ...]:
    image = case.to_nibabel(which)
    extensions = [(one.get_code(), bytes(one.get_content())) for one in image.header.extensions]  # type: ignore[attr-defined]
    return (
        bytes(image.header.binaryblock),  # type: ignore[attr-defined]
        extensions,
        image.affine.tobytes(),  # type: ignore[union-attr]
        np.asarray(image.dataobj).tobytes(),
    )


# -- an author who has every digest made anew


def reseal(document: bytes) -> bytes:
    """A root or receipt whose content was changed, with the seal that is right for it."""
    at = document.find(b'"seal": "')
    if at < 0:
        return document
    start = at + len(b'"seal": "')
    return sealed(document[:start] + UNSEALED.encode() + document[start + len(UNSEALED) :])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replace_field(data: bytes, old: object, new: object) -> bytes:
    return data.replace(json.dumps(old).encode(), json.dumps(new).encode())


class Author:
    """Rewrites a store so that each digest fits whatever the author has put in: only checks of content are left.

    Attributes:
        before: the objects of an untouched store.
    """

    def __init__(self, before: Objects) -> None:
        self.before = before
        [self.catalog] = [key for key in before if key.startswith("catalog-")]
        self.receipts = {
            f"{document['record']['path']}/": key
            for key, data in before.items()
            if key.startswith("receipts/") and (document := json.loads(data))
        }

    def changed(self, key: str, data: bytes) -> Objects:
        """The objects that differ once an object has these bytes: itself, and those that prove it.

        The catalog lies under its new name beside the old one.
        """
        found: Objects = {}
        self._change(key, data, found)
        return found

    def _change(self, key: str, data: bytes, found: Objects) -> None:
        if key == "zarr.json":
            found[key] = reseal(data)
        elif key == self.catalog:
            name = f"catalog-{digest(data)[:16]}.jsonl"
            found[name] = data
            root = replace_field(self.before["zarr.json"], digest(self.before[key]), digest(data))
            old, new = f'"bytes": {len(self.before[key])}', f'"bytes": {len(data)}'
            self._change("zarr.json", root.replace(old.encode(), new.encode()), found)
        elif key.startswith("receipts/"):
            found[key] = reseal(data)
            line = found.get("line", self.before[self.catalog])
            self._change(self.catalog, replace_field(line, digest(self.before[key]), digest(found[key])), found)
        else:
            found[key] = data
            if key.startswith(tuple(self.receipts)):
                self._of_case(key, data, found)
        found.pop("line", None)

    def _of_case(self, key: str, data: bytes, found: Objects) -> None:
        group, receipt = next((g, r) for g, r in self.receipts.items() if key.startswith(g))
        old = self.before[key]
        found["line"] = replace_field(self.before[self.catalog], digest(old), digest(data))
        document = replace_field(self.before[receipt], digest(old), digest(data))
        size = f'"bytes": {len(old)},\n   "sha256": "{digest(data)}"'.encode()
        document = document.replace(size, size.replace(str(len(old)).encode(), str(len(data)).encode(), 1))
        assert key.removeprefix(group).encode() in document
        self._change(receipt, document, found)


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
        content = os.readlink(path).encode() if path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (mode, path.read_bytes() if path.is_file() else content)
    return found

