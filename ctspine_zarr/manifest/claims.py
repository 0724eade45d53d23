"""Claims: by what those who write to a store know of each other, so that none harms another's work.

Each puts an object of its own, by a name that no other has, and renews it while it works: a crash leaves
nothing that another must wait for longer than `LEASE`. What only one may do at a time, to begin, to end
and to make a state hold, it does behind the gate: who would pass puts an object of its own there too,
then lists them, and passes if it sees no other. Of two who come at once at least one sees the other, for
a listing shows what was put before it, on disks and in buckets alike; so no lock, no rename and no
conditional put is needed, and what is removed has a name that nobody takes again.
"""

from __future__ import annotations

import contextlib
import math
import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self, override

from msgspec import Struct, structs

from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.errors import Malformed, OtherFormat, StorageError, StoreInUse
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Refused
from ctspine_zarr.format.encoding import Sha256, decode, encode
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.storage import Storage

LEASE: Final = 600.0
"""Seconds after which a writer that is not heard of is taken for dead; on its own machine it is at once."""

_BEAT: Final = 60.0
_TOKEN_BYTES: Final = 8
# Seconds between two looks at the gate: they grow, and no two who wait keep step.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0
# Seconds after which what was taken away is looked for once more.
_AGAIN = 1.0


# Keys of the signs that this process gives now: one that is left of its own, as by Ctrl-C, is a dead one's.
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


class Claim(Sign, frozen=True, kw_only=True):
    """The statement of a process that it writes to a store.

    Attributes:
        plan: seal of what it does; who does the same may do so at once.
        purpose: the same in words.
        part: which part of the plan it builds, such as 3/100; empty for all of it.
        has_ended: of a part: what it could do is done, and waits for the others.
        refused: of a part that has ended: cases that it could not build.
    """

    plan: Sha256
    purpose: str
    part: str = ""
    has_ended: bool = False
    refused: tuple[Refused, ...] = ()

    @classmethod
    def own(cls, plan: str, purpose: str, part: str = "") -> Self:
        """Of this process, now."""
        return cls(writer=Identity.own(), at=time.time(), plan=plan, purpose=purpose, part=part)

    @property
    @override
    def is_live(self) -> bool:
        return not self.has_ended and super().is_live

    def __str__(self) -> str:
        part = f", part {self.part}," if self.part else ""
        return f"{self.purpose}{part} by {self.writer}, last heard of {time.time() - self.at:.0f} s ago"


@dataclass
class Held:
    """A claim of this process, renewed by a thread until it is released.

    Attributes:
        storage: of the store.
        key: of the claim.
        claim: as it was first put.
        renewed: keeps it alive.
    """

    storage: Storage
    key: str
    claim: Claim
    renewed: _Renewed
    _passed: list[str] = field(default_factory=list, init=False)

    def require(self) -> None:
        """Do nothing where the claim still holds, and the gate if it was passed; see `require_claim`."""
        for key in (self.key, *self._passed):
            require_claim(self.storage, key)

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """The gate, where the claim holds still behind it; see `gate` and `require_claim`."""
        with gate(self.storage) as key:
            self._passed.append(key)
            try:
                self.require()
                yield
            finally:
                self._passed.remove(key)

    def others(self) -> dict[str, Claim]:
        """Key -> claim of every other writer that may still write."""
        return {key: claim for key, claim in live_claims(self.storage).items() if key != self.key}

    def end(self, refused: tuple[Refused, ...]) -> None:
        """Say that a part is done; its claim stays until its store is finalized."""
        self.renewed.end()
        ended = structs.replace(self.claim, at=time.time(), has_ended=True, refused=refused)
        self.storage.put(self.key, encode(ended))

    def release(self) -> None:
        """Write no more."""
        self.renewed.end()
        self.storage.remove(self.key)

    def forget_plan(self) -> None:
        """Remove the plan of a part that had nothing to build, where no other part waits."""
        if not any(claim.plan == self.claim.plan for claim in read_claims(self.storage).values()):
            self.storage.remove(layout.plan_key(self.claim.plan))

    def sweep_builds(self) -> None:
        """Remove the plan, and the claims of its parts that have ended and of the dead: it is carried out."""
        for key in _keys(self.storage, layout.PLAN):
            self.storage.remove(key)
        for key, claim in _read(self.storage, layout.CLAIM, Claim).items():
            if key != self.key and not (claim is not None and _is_live(key, claim)):
                self.storage.remove(key)


def require_claim(storage: Storage, key: str) -> None:
    """Do nothing where a claim still holds, before something is written by it, in whatever process.

    Raises:
        StoreInUse: somebody has taken over.
    """
    if storage.size(key) is None:
        message = (
            f"{storage.location} was taken over by another build while this one was not heard of, or by "
            "--take-over; run it again"
        )
        raise StoreInUse(message)


def pending_plans(storage: Storage) -> list[str]:
    """Keys of plans whose parts are built, or wait to be finalized."""
    return list(_keys(storage, layout.PLAN))


def read_claims(storage: Storage) -> dict[str, Claim]:
    """Key -> claim of all that are there, of parts that have ended too; what is none claims nothing."""
    found = _read(storage, layout.CLAIM, Claim)
    return {key: claim for key, claim in found.items() if claim is not None}


def live_claims(storage: Storage) -> dict[str, Claim]:
    """Key -> claim of all whose process may still write."""
    return {key: claim for key, claim in read_claims(storage).items() if _is_live(key, claim)}


@contextlib.contextmanager
def claimed(storage: Storage, claim: Claim, *, take_over: bool = False) -> Iterator[Held]:
    """A claim that is held until the context ends, unless another writer does something else.

    Args:
        storage: of the store.
        claim: what is to be done.
        take_over: take away the claims of other plans, also of those who seem to live, and their parts.

    Raises:
        StoreInUse: another writer does something else; the message names it.
        StorageError: the store cannot be written.
    """
    with _given(layout.claim_key(secrets.token_hex(_TOKEN_BYTES))) as key:
        with gate(storage):
            _require_free(storage, claim, take_over=take_over)
            # It may have waited for long.
            storage.put(key, encode(structs.replace(claim, at=time.time())))
        held = Held(storage, key, claim, _Renewed(storage, key, claim))
        try:
            yield held
        finally:
            if not held.renewed.has_ended:
                held.release()


@contextlib.contextmanager
def gate(storage: Storage) -> Iterator[str]:
    """The right to begin, to end, or to make a state hold: one process has it at a time.

    Others are waited for as long as they live.

    Yields:
        The key of the own sign, which others remove if they take this process for dead.
    """
    with _given(layout.gate_key(secrets.token_hex(_TOKEN_BYTES))) as key:
        try:
            _wait(storage, key)
            renewed = _Renewed(storage, key, Sign(writer=Identity.own(), at=time.time()))
            try:
                yield key
            finally:
                renewed.end()
        finally:
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


@contextlib.contextmanager
def _given(key: str) -> Iterator[str]:
    _GIVEN.add(key)
    try:
        yield key
    finally:
        _GIVEN.discard(key)


def _is_live(key: str, sign: Sign) -> bool:
    return sign.is_live and (sign.writer != Identity.own() or key in _GIVEN)


def _at_gate(storage: Storage, own: str) -> tuple[list[str], bool]:
    """Keys of the others at the gate, and whether the own is there; those of the dead are removed."""
    found = _read(storage, layout.GATE, Sign)
    live = []
    for key, sign in found.items():
        if sign is not None and _is_live(key, sign):
            live.append(key)
        elif key != own:
            storage.remove(key)
    return [key for key in live if key != own], own in found


def _require_free(storage: Storage, claim: Claim, *, take_over: bool) -> None:
    """Do nothing where nobody does anything else; claims of the dead go.

    Raises:
        StoreInUse: somebody does.
    """
    taken = False
    for key, other in _read(storage, layout.CLAIM, Claim).items():
        is_live = other is not None and _is_live(key, other)
        counts = other is not None and (is_live or other.has_ended)
        is_same = other is not None and other.plan == claim.plan
        if counts and not is_same and not take_over:
            raise _in_use(storage, claim, str(other))
        # Of the same plan only what does the same part: the other parts go on.
        is_own = other is not None and is_same and (other.part != claim.part or not take_over)
        if not (counts and is_own):
            storage.remove(key)
            taken |= is_live
    for key in _keys(storage, layout.PLAN):
        if key != layout.plan_key(claim.plan):
            if not take_over:
                raise _in_use(storage, claim, f"parts of another plan, {key}, that are not finalized")
            storage.remove(key)
    if taken:
        # One that lives may just then have put it anew.
        time.sleep(_AGAIN)
        _require_free(storage, claim, take_over=take_over)


def _in_use(storage: Storage, claim: Claim, other: str) -> StoreInUse:
    message = (
        f"{storage.location} is in use: asked for {claim.purpose}, seen {other}; legal: to wait until it has "
        f"ended (a writer that is not heard of for {LEASE:g} s is taken for dead), or --take-over"
    )
    return StoreInUse(message)


class _Renewed:
    """A sign that a thread puts anew, until it is told to end or the sign is taken away."""

    def __init__(self, storage: Storage, key: str, sign: Sign) -> None:
        self._storage, self._key, self._sign = storage, key, sign
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ctspine_zarr claim")
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it was told to."""
        return self._end.is_set()

    def end(self) -> None:
        """Put it no more; what is under way ends before."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_BEAT):
            # What cannot be reached now may be the next time.
            with contextlib.suppress(StorageError):
                if self._storage.size(self._key) is None:
                    return
                self._storage.put(self._key, encode(structs.replace(self._sign, at=time.time())))


def _keys(storage: Storage, kind: str) -> dict[str, int]:
    """Key -> bytes of what lies in a store of a kind."""
    sizes = storage.sizes(layout.BUILDS).items()
    return {key: size for key, size in sizes if key.startswith(kind) and layout.is_build(key)}


def _read[Kind: Sign](storage: Storage, prefix: str, kind: type[Kind]) -> dict[str, Kind | None]:
    """Key -> sign; None for what is none, such as one that a power cut has emptied."""
    sizes = _keys(storage, prefix)
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
