"""The keys of a state of a store; whatever else lies there does not belong to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Root, encode_catalog, encode_root, groups_above
from ctspine_zarr.format.documents import group
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.receipts import KeptReceipt

VIEWER: Final = f"{layout.VIEWER}/"
"""What the keys of the page's modules begin with."""


def documents_above(
    root: Root, entries: Iterable[Entry], tables: Mapping[str, bytes], catalog: bytes | None = None
) -> dict[str, bytes]:
    """The documents above the cases, in the order of writing: the root, which makes them hold, is the last.

    Args:
        root: of the state; its catalog is that of the entries.
        entries: the cases.
        tables: those that the root names, which do not follow from it; by key.
        catalog: of the entries, encoded, where it has been.
    """
    entries = list(entries)
    found = dict.fromkeys(group_keys(entry.record for entry in entries), encode(group()))
    if root.catalog is not None:
        found[root.catalog.key] = encode_catalog(root.dataset, entries) if catalog is None else catalog
    return {**found, **tables, layout.ROOT: encode_root(root)}


def keys_above(root: Root, entries: Iterable[Entry]) -> list[str]:
    """Keys of the same documents."""
    catalogs = [] if root.catalog is None else [root.catalog.key]
    return [*group_keys(entry.record for entry in entries), *catalogs, *root.tables, layout.ROOT]


def is_beside(key: str) -> bool:
    """Whether a key is of what goes along with a published store, or a repository has beside it."""
    return key in layout.BESIDE or key.startswith(VIEWER)


def group_keys(records: Iterable[Record]) -> list[str]:
    """Keys of the groups that lie above cases."""
    return sorted(f"{path}/{layout.METADATA}" for path in groups_above(records))


@dataclass(frozen=True)
class OwnKeys:
    """The keys of a state.

    Attributes:
        exact: of its documents, receipts and objects.
        open: paths of groups whose receipt cannot be read: all that is below them may be theirs.
    """

    exact: frozenset[str]
    open: tuple[str, ...]

    def __contains__(self, key: str) -> bool:
        return key in self.exact or (bool(self.open) and key.startswith(self.open))


def own_keys(above: Iterable[str], entries: Iterable[Entry], receipts: Iterable[KeptReceipt]) -> OwnKeys:
    """Every key of a state.

    Args:
        above: keys of the documents above the cases.
        entries: its cases.
        receipts: that are there; those of other states are left out.
    """
    exact, unread = set(above), []
    found = {kept.sha256: kept.receipt for kept in receipts}
    for entry in entries:
        exact.add(entry.record.receipt_key)
        if entry.receipt in found:
            exact.update(found[entry.receipt].keys)
        else:
            unread.append(f"{entry.record.path}/")
    return OwnKeys(frozenset(exact), tuple(unread))


def splits_of(specs: Iterable[Spec | None]) -> list[str]:
    """Names of the folders in which cases of these datasets lie."""
    return sorted({split for spec in specs if spec is not None for split in spec.splits})


def case_folders(splits: Iterable[str]) -> list[str]:
    """Names of the folders at the top in which all that is of cases lies: of receipts, and of splits."""
    return [layout.RECEIPTS.removesuffix("/"), *splits]


def left_over(keys: Iterable[str], own: OwnKeys, splits: Collection[str]) -> list[str]:
    """Keys of what other states, and writers that were interrupted, have left: they may be removed.

    What no store writes is not among them, wherever it lies.

    Args:
        keys: of everything there.
        own: of the state that holds.
        splits: of this state and of earlier ones.
    """
    return sorted(key for key in keys if key not in own and layout.is_written(key, splits))


def among_cases(keys: Iterable[str], splits: Iterable[str]) -> list[str]:
    """Keys in the folders in which all that is of cases lies."""
    within = tuple(f"{folder}/" for folder in case_folders(splits))
    return sorted(key for key in keys if key.startswith(within))


def strangers(keys: Iterable[str], own: OwnKeys) -> list[str]:
    """Keys of all that is not of a state, wherever it lies below the store."""
    return sorted(key for key in keys if key not in own and not is_beside(key))
