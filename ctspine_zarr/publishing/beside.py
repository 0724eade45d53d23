"""The documents that go along with a published store, beside its own objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.publishing.card import CARD, MARK, dataset_card
from ctspine_zarr.publishing.whole import WholeStore

MOST_BYTES: Final = MOST_DOCUMENT_BYTES
"""Of a document beside a store."""


def documents_beside(
    whole: WholeStore, location: str, read: Callable[[str], bytes | None]
) -> dict[str, bytes]:
    """Key -> bytes of what is to lie beside a store at another place: a card.

    What somebody else has written there is left out, so that it stays.

    Args:
        whole: the store.
        location: of the other place.
        read: gives up to `MOST_BYTES` of what lies there at a key; None where nothing does.
    """
    card = dataset_card(location, whole.store.records, whole.store.root)
    there = read(CARD)
    is_ours = there is None or MARK in there.decode(errors="replace")
    return {CARD: card} if is_ours else {}
