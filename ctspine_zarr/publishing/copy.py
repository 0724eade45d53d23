"""A store copied to another place, every object compared with its receipt on both sides."""

from __future__ import annotations

from collections.abc import Iterator

from ctspine_zarr.errors import DamagedStore, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.publishing.whole import WholeCase, WholeStore, require_written
from ctspine_zarr.storage import Storage


def copy_cases(whole: WholeStore, target: Storage) -> Iterator[tuple[WholeCase, bool]]:
    """Copy what is not there yet, case by case, in the build's own order: the receipt last.

    Yields:
        Each case as it is whole there, and whether it had to be copied.

    Raises:
        StoreMismatch: the place holds something else, or cases that the store has not.
        DamagedStore: an object is not what its receipt says, here or, read back, there.
        StorageError: either side fails.
    """
    sizes = target.sizes()
    _require_ours(whole, target, frozenset(sizes))
    receipts = target.get_each([case.receipt_key for case in whole.cases])
    pending = {
        case.id
        for case, there in zip(whole.cases, receipts, strict=True)
        if there != case.receipt or any(sizes.get(key) != one.bytes for key, one in case.objects.items())
    }
    if pending:
        # A catalog there would speak of cases that are about to be replaced.
        target.remove(layout.CATALOG)
    for case in whole.cases:
        if case.id in pending:
            _copy(case, whole, target)
        yield case, case.id in pending


def copy_top(whole: WholeStore, target: Storage) -> None:
    """Copy what makes it a store: the groups, the catalog, and the root that proves it.

    Raises: as `copy_cases`.
    """
    for key, data in whole.top():
        target.put(key, data)
        if target.get(key) != data:
            message = f"{target.location}: {key}, read back, is not what was written; run it again"
            raise DamagedStore(message)


def _copy(case: WholeCase, whole: WholeStore, target: Storage) -> None:
    target.remove(case.receipt_key)
    for shard in layout.SHARDS:
        if f"{case.path}/{shard}" not in case.objects:
            target.remove(f"{case.path}/{shard}")
    for key, written in case.objects.items():
        target.put(key, whole.object(key, written))
        require_written(target.location, key, target.get(key), written)
    target.put(case.receipt_key, case.receipt)


def _require_ours(whole: WholeStore, target: Storage, keys: frozenset[str]) -> None:
    receipts = {key for key in keys if key.startswith(layout.RECEIPTS)}
    others = sorted(receipts - {case.receipt_key for case in whole.cases})
    if others:
        message = (
            f"{target.location} has {len(others)} cases that {whole.store.location} has not, such as "
            f"{others[0].removeprefix(layout.RECEIPTS).removesuffix('.json')}; publish to another place"
        )
        raise StoreMismatch(message)
    if layout.ROOT in keys and not receipts:
        message = f"{target.location} holds a {layout.ROOT} that is not ours; publish to another place"
        raise StoreMismatch(message)
