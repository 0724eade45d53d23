"""Signs of life of those who write to a store, and the gate that one of them passes at a time.

Each puts an object of its own, by a name that no other has, and renews it while it works: a crash leaves
nothing that another must wait for longer than `LEASE`. Who would pass the gate puts an object of its own
there, then lists them, and passes if it sees no other. Of two who come at once at least one sees the other,
for a listing shows what was put before it, on disks and in buckets alike; so no lock, no rename and no
conditional put is needed, and what is removed has a name that nobody takes again.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, structs

from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.errors import Malformed, OtherFormat, StorageError, StoreInUse
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import decode, encode
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.storage import Storage

LEASE: Final = 600.0
"""Seconds after which a writer that is not heard of is taken for dead; on its own machine it is at once."""

_BEAT: Final = 60.0
_TOKEN_BYTES: Final = 8
# Seconds between two looks at the gate: they grow, and no two who wait keep step.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0

# Keys of the signs that this process gives now.
_GIVEN: Final[set[str]] = set()


class Sign(Struct, frozen=True, kw_only=True):
    """A sign of life.

    Attributes:
        format: of the store.
        writer: the process that gives it.
        at: when it was last heard of: seconds since 1970, UTC, by its own clock.
    """

    format: int = FORMAT_VERSION
    writer: Identity
    at: float

    @property
    def is_live(self) -> bool:
        """Whether the process may still write."""
        return not self.writer.is_gone() and abs(time.time() - self.at) < LEASE


@contextlib.contextmanager
def gate(storage: Storage) -> Iterator[None]:
    """The right to begin, to end, or to make a state hold: one process has it at a time.

    Others are waited for as long as they live.
    """
    with given(layout.gate_key(new_token())) as key:
        try:
            _wait(storage, key)
            renewer().add(storage, key, Sign(writer=Identity.own(), at=time.time()))
            yield
        finally:
            renewer().drop(key)
            storage.remove(key)


def _wait(storage: Storage, key: str) -> None:
    """Return once this one is alone at the gate, by a listing that is younger than its own sign.

    Where others are there and it is not the first of them, it steps back.
    """
    wait, put_at = _FIRST_LOOK, -math.inf
    while True:
        others, is_there = _at_gate(storage, key)
        is_fresh = is_there and time.monotonic() - put_at < _BEAT
        if is_fresh and not others:
            return
        if others and min(others) < key and is_there:
            storage.remove(key)
        elif not (is_fresh or (others and not is_there)):
            put_at = time.monotonic()
            storage.put(key, encode(Sign(writer=Identity.own(), at=time.time())))
            continue
        time.sleep(wait * (1 + random.random()))  # noqa: S311 - no secret
        wait = min(2 * wait, _LAST_LOOK)


def new_token() -> str:
    """What no other sign has in its key."""
    return secrets.token_hex(_TOKEN_BYTES)


@contextlib.contextmanager
def given(key: str) -> Iterator[str]:
    """The key of a sign that this process gives while the context lasts."""
    _GIVEN.add(key)
    try:
        yield key
    finally:
        _GIVEN.discard(key)


def is_live(key: str, sign: Sign) -> bool:
    """Whether a sign's process may still write; one that this process left, as by Ctrl-C, is a dead one's."""
    return sign.is_live and (sign.writer != Identity.own() or key in _GIVEN)


def gates(storage: Storage) -> dict[str, Sign | None]:
    """Key -> sign of each who is at the gate, or was when it died."""
    return read_signs(storage, layout.GATE, Sign)


def _at_gate(storage: Storage, own: str) -> tuple[list[str], bool]:
    """Keys of the others at the gate, and whether the own is there; those of the dead are removed."""
    found = gates(storage)
    live = []
    for key, sign in found.items():
        if sign is not None and is_live(key, sign):
            live.append(key)
        elif key != own:
            storage.remove(key)
    return [key for key in live if key != own], own in found


class Renewer:
    """A thread that puts signs anew, each until it is dropped, or taken away."""

    def __init__(self) -> None:
        self._signs: dict[str, tuple[Storage, Sign, float]] = {}
        self._lock = threading.Lock()
        self._added = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="ctspine_zarr claims").start()

    def add(self, storage: Storage, key: str, sign: Sign) -> None:
        """Put it anew from now on."""
        with self._lock:
            self._signs[key] = storage, sign, time.monotonic()
        self._added.set()

    def drop(self, key: str) -> None:
        """Put it no more; what is under way ends before."""
        with self._lock:
            self._signs.pop(key, None)

    def has(self, key: str) -> bool:
        """Whether it was not dropped."""
        return key in self._signs

    def _run(self) -> None:
        while True:
            self._added.wait(_BEAT)
            self._added.clear()
            for key in list(self._signs):
                with self._lock:
                    self._renew(key)

    def _renew(self, key: str) -> None:
        storage, sign, put_at = self._signs.get(key, (None, None, math.inf))
        if storage is None or sign is None or time.monotonic() - put_at < _BEAT:
            return
        self._signs[key] = storage, sign, time.monotonic()
        # What cannot be reached now may be the next time; what was taken away stays away.
        with contextlib.suppress(StorageError):
            if storage.size(key) is not None:
                storage.put(key, encode(structs.replace(sign, at=time.time())))


def renewer() -> Renewer:
    """That of this process: a forked one has none of its parent's threads."""
    return _renewer_of(os.getpid())


@functools.cache
def _renewer_of(process: int) -> Renewer:  # noqa: ARG001 - the key
    return Renewer()


def keys_of(storage: Storage, kind: str) -> dict[str, int]:
    """Key -> bytes of what lies in a store of a kind."""
    sizes = storage.sizes(layout.BUILDS).items()
    return {key: size for key, size in sizes if key.startswith(kind) and layout.is_build(key)}


def read_signs[Kind: Sign](storage: Storage, prefix: str, kind: type[Kind]) -> dict[str, Kind | None]:
    """Key -> sign; None for what is none, such as one that a power cut has emptied."""
    sizes = keys_of(storage, prefix)
    keys = [key for key, size in sizes.items() if size <= MOST_DOCUMENT_BYTES]
    found: dict[str, Kind | None] = dict.fromkeys(sizes)
    for key, data in zip(keys, storage.get_each(keys, most=MOST_DOCUMENT_BYTES), strict=True):
        if data is None:
            # It was removed meanwhile.
            del found[key]
            continue
        try:
            found[key] = decode(data, kind)
        except Malformed:
            continue
        except OtherFormat as error:
            message = f"{storage.location}: {key} is of another version ({error}); legal: that one"
            raise StoreInUse(message) from error
    return found
