"""Pointers: small JSON files that stand for an array of a store where nnU-Net wants a file.

It imports neither torch nor nnunetv2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import looked_up
from ctspine_zarr.errors import Malformed, StoreUpdated, UnknownValue
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.sample import Name
from ctspine_zarr.read.store import Store

_TYPE: Final = "ctspine_zarr_pointer"
_STORES_KEPT: Final = 4
_SIZES_OF_TABLES: Final = (0, 256)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer to an array of a case, as it was when the pointer was made.

    Attributes:
        store: location of the store, absolute.
        case: its id.
        content: digest of all that the case holds, 64 hex digits; with a label set, of its receipt.
        array: `image` or `segmentation`.
        table: the new value of each of 256 labels; empty for an image.
        label_set: whose labels are the case's; None for its mask's, and then not written.
    """

    store: str
    case: str
    content: str
    array: Name
    table: tuple[int, ...] = ()
    label_set: str | None = None

    @classmethod
    def to(cls, store: Store, case: Case, array: Name, table: tuple[int, ...] = ()) -> Self:
        """The pointer to an array of a case of a store, or of a selection with a label set.

        Raises:
            UnknownValue: other processes do not see the store.
        """
        content = _content(case, store.label_set)
        return cls(location_of(store), case.id, content, array, table, store.label_set)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self | None:
        """The pointer that a file holds; None where it is no JSON, such as a NIfTI file.

        Raises:
            Malformed: it is JSON, and no pointer.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:  # noqa: PTH123 - paths of nnU-Net are texts
            if file.read(1) != b"{":
                return None
            text = b"{" + file.read()
        try:
            return cls.of(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            message = f"{os.fspath(path)}: {error!r}; legal: a pointer that `nnunet raw` wrote"
            raise Malformed(message) from error

    @classmethod
    def require(cls, path: str | os.PathLike[str]) -> Self:
        """The pointer that a file holds.

        Raises:
            UnknownValue: it is no JSON, such as a NIfTI file.
            Others: as `read`.
        """
        pointer = cls.read(path)
        if pointer is None:
            message = f"{os.fspath(path)} is no pointer; legal: one that `nnunet raw` wrote"
            raise UnknownValue(message)
        return pointer

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The pointer that a document holds.

        Raises:
            ValueError, TypeError, KeyError: it holds none.
        """
        fields = dict(document)
        kind = fields.pop("type")
        if kind != _TYPE:
            message = f"type {kind!r}; legal: {_TYPE!r}"
            raise ValueError(message)
        table = bytes(fields["table"])
        if len(table) not in _SIZES_OF_TABLES:
            message = f"a table of {len(table)} values; legal: {_SIZES_OF_TABLES}"
            raise ValueError(message)
        return cls(**fields | {"table": tuple(table)})

    @property
    def document(self) -> dict[str, Any]:
        """What the file of the pointer holds."""
        fields = asdict(self)
        if self.label_set is None:
            del fields["label_set"]
        return {"type": _TYPE, **fields}

    def open(self) -> Case:
        """The case that is pointed to, of a store that each process opens once.

        Raises:
            StoreUpdated: the case holds something else by now.
            UnknownCase: the store has it no more.
            NotAStore, DamagedStore, StorageError: as `open_store`.
        """
        case = self.open_store()[self.case]
        content = _content(case, self.label_set)
        if content != self.content:
            message = (
                f"{self.store}, case {self.case}: content {content[:12]}, the pointer was made "
                f"of {self.content[:12]}; legal: the store as it was, or the raw dataset written again"
            )
            raise StoreUpdated(message)
        return case

    def open_store(self) -> Store:
        """The store that is pointed into, which each process opens once; the cases with the label set.

        Raises:
            UnknownValue: the label set is there no more.
            NotAStore, DamagedStore, StorageError: as `open_store` of the package.
        """
        return _opened(self.store, self.label_set, os.getpid())

    def mapped(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels of the store as those of nnU-Net, in an array of their own."""
        return looked_up(labels, bytes(self.table))


def location_of(store: Store) -> str:
    """The location of a store, absolute, under which other processes find it.

    Raises:
        UnknownValue: other processes do not see it, as one in memory.
    """
    if not store.storage.is_shared:
        message = f"pointers to {store.location}, which other processes do not see; legal: nifti=True"
        raise UnknownValue(message)
    path = store.storage.path
    return store.location if path is None else str(path.absolute())


def _content(case: Case, label_set: str | None) -> str:
    # What a case holds of label sets is told by its receipt alone.
    return case.record.content if label_set is None else case.entry.receipt


@lru_cache(maxsize=_STORES_KEPT)
def _opened(location: str, label_set: str | None, process: int) -> Store:  # noqa: ARG001 - a forked process opens its own
    store = open_store(location)
    return store if label_set is None else store.select(labels=label_set)
