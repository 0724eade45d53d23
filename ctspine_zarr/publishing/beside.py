"""What goes along with a published store, beside its own objects: what is to be written, and what is kept.

A document that somebody changed at the other place stays as it is. Ours is what an earlier list of digests
there names with the digest that it has, if that list is itself as we wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ctspine_zarr.digest import sha256
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.manifest.inventory import VIEWER, is_beside
from ctspine_zarr.publishing.page import INDEX, page_beside
from ctspine_zarr.publishing.papers import manifest
from ctspine_zarr.publishing.papers.citation import CITATION, citation_file
from ctspine_zarr.publishing.papers.croissant import CROISSANT, croissant
from ctspine_zarr.publishing.papers.licence_files import (
    LICENCE_KEY,
    LICENCES_KEY,
    licence_file,
    licences_file,
)
from ctspine_zarr.publishing.papers.place import Place
from ctspine_zarr.publishing.papers.publication import CARD, Publication
from ctspine_zarr.publishing.whole import WholeStore

# Another's at all times: the Hub makes it, and we never do. A list has no line for itself.
_NEVER_OURS: Final = (".gitattributes", manifest.KEY)


@dataclass(frozen=True)
class There:
    """What lies at the other place.

    Attributes:
        sizes: key -> bytes of everything there.
        read: gives what lies at a key, where it has at most so many bytes.
        holds: whether what lies at a key that is there is these bytes.
        irregular: keys at which something lies that is no object, such as a link: it is never ours.
    """

    sizes: Mapping[str, int]
    read: Callable[[str, int], bytes | None]
    holds: Callable[[str, bytes], bool]
    irregular: Collection[str] = ()

    def __contains__(self, key: str) -> bool:
        """Whether anything lies at a key."""
        return key in self.sizes or key in self.irregular

    def has(self, key: str, data: bytes) -> bool:
        """Whether these bytes lie at a key."""
        return self.sizes.get(key) == len(data) and self.holds(key, data)

    def bounded(self, key: str, most: int) -> bytes | None:
        """What lies at a key; None where nothing does, or more than so many bytes."""
        return self.read(key, most) if self.sizes.get(key, most + 1) <= most else None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done beside a store.

    Attributes:
        steps: in their order, a key and what is to be put there; None to remove what is there. The last step
            of a key holds.
        kept: keys of what somebody else wrote or changed, in order.
    """

    steps: tuple[tuple[str, bytes | None], ...]
    kept: tuple[str, ...]


def documents_beside(whole: WholeStore, location: str) -> dict[str, bytes]:
    """Key -> bytes of what is to lie beside a store at a place, but for the list of digests.

    Nothing where the store has no case: there is nothing to tell of.

    Args:
        whole: the store.
        location: of the place.
    """
    # Processes that copy cases do not need the Hub's client.
    from ctspine_zarr.publishing.papers.card import dataset_card

    store = whole.store
    if not store.records:
        return {}
    about = Publication(Place.of(location), store.root, store.records, whole.columns)
    return {
        CARD: dataset_card(about),
        LICENCE_KEY: licence_file(about),
        LICENCES_KEY: licences_file(about),
        CITATION: citation_file(about),
        CROISSANT: croissant(about),
        **page_beside(),
    }


def changes_beside(whole: WholeStore, location: str, there: There) -> Changes:
    """What has to be done at a place so that what goes along with a store lies there; nothing where it does.

    The list of digests has a line for each object of the store and for each document that is ours. Where one
    is replaced or removed the list is put twice: before, with the old digests too, so that a run that goes on
    from an interrupted one knows what it wrote; and after. A list that somebody made or changed is kept; by
    it nothing there is ours.

    Args:
        whole: the store.
        location: of the place.
        there: what lies at the place.
    """
    wanted, earlier = documents_beside(whole, location), _Earlier(there)
    missing = {key: data for key, data in wanted.items() if not there.has(key, data)}
    kept = {key for key in missing if key in there and not earlier.is_ours(key)}
    if INDEX in kept:
        # Another's page is there: nothing would show what ours consists of.
        wanted = {key: data for key, data in wanted.items() if not key.startswith(VIEWER)}
        missing = {key: data for key, data in missing.items() if key in wanted}
        kept &= wanted.keys()
    put = {key: data for key, data in missing.items() if key not in kept}
    stale = [key for key in earlier.listed if key not in wanted and earlier.is_ours(key)]
    old = [(key, earlier.digest(key)) for key in (*put, *stale) if key in there.sizes]
    if earlier.is_list_of_others:
        return Changes(tuple(put.items()), tuple(sorted({*kept, manifest.KEY})))
    digests = dict(_digests(whole)) | {key: sha256(wanted[key]) for key in wanted if key not in kept}
    last = manifest.manifest(digests)
    first = [(manifest.KEY, manifest.manifest(digests, old))] if old else []
    removals = [(key, None) for key in stale]
    if old:
        steps = [*first, *put.items(), *removals, (manifest.KEY, last)]
    else:
        steps = [*([] if there.has(manifest.KEY, last) else [(manifest.KEY, last)]), *put.items()]
    return Changes(tuple(steps), tuple(sorted(kept)))


@dataclass(frozen=True)
class _Earlier:
    """What was written beside a store before.

    Attributes:
        there: what lies at the place now.
        read: key -> what was read of it.
    """

    there: There
    read: dict[str, bytes | None] = field(default_factory=dict)

    @cached_property
    def is_list_of_others(self) -> bool:
        """Whether there is a list that is not as we wrote it."""
        return manifest.KEY in self.there and not manifest.is_ours(self._list)

    @cached_property
    def listed(self) -> Mapping[str, set[str]]:
        """Key -> digests, of the documents that the list there, if it is ours, has and that are there."""
        found = manifest.listed(self._list)
        keys = (key for key in sorted(found) if is_beside(key) and key not in _NEVER_OURS)
        return {key: found[key] for key in keys if key in self.there.sizes}

    def is_ours(self, key: str) -> bool:
        """Whether what lies at a key is as it was written by us."""
        data = self._data(key)
        return data is not None and sha256(data) in self.listed.get(key, ())

    def digest(self, key: str) -> str:
        """Of what lies at a key and is ours."""
        return sha256(self._data(key) or b"")

    @cached_property
    def _list(self) -> bytes:
        """The list there; empty where none is, or one too long to be read."""
        return self.there.bounded(manifest.KEY, manifest.MOST_BYTES) or b""

    def _data(self, key: str) -> bytes | None:
        if key not in self.read:
            self.read[key] = self.there.bounded(key, MOST_DOCUMENT_BYTES)
        return self.read[key]


def _digests(whole: WholeStore) -> Iterator[tuple[str, str]]:
    """Key and sha256 of every object of a store."""
    for case in whole.cases:
        yield from ((key, one.sha256) for key, one in case.written.items())
    yield from ((key, sha256(data)) for key, data in whole.top.items())
