"""Claims: by what those who write to a store know of each other, so that none harms another's work.

Each says what it does by a sign of its own, see `signs`, for as long as it writes. Who does the same may do
so at once, who does something else is refused. What only one may do at a time, to begin, to end and to make
a state hold, it does behind the gate.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, override

from msgspec import structs

from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.errors import StoreInUse
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Refused
from ctspine_zarr.format.encoding import Sha256, encode
from ctspine_zarr.manifest.signs import (
    LEASE,
    Sign,
    gate,
    given,
    is_live,
    keys_of,
    new_token,
    read_signs,
    renewer,
)
from ctspine_zarr.storage import Storage

# Seconds after which what was taken away is looked for once more.
_AGAIN: Final = 1.0


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


@dataclass(frozen=True)
class ClaimedStorage(Storage):
    """The objects of a store for who has a claim there, in whatever process: it is looked for before each
    put and each removal, which are StoreInUse where it is gone.

    Attributes:
        claim: its key.
    """

    claim: str

    @override
    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        require_claim(self, self.claim)
        super().put(key, data)

    @override
    def remove(self, key: str) -> None:
        require_claim(self, self.claim)
        super().remove(key)


@dataclass(frozen=True)
class Held:
    """A claim of this process, renewed until it is released.

    Attributes:
        place: the store.
        key: of the claim.
        claim: as it was first put.
    """

    place: Storage
    key: str
    claim: Claim

    @property
    def storage(self) -> ClaimedStorage:
        """Of the store, to be written to while the claim holds."""
        return ClaimedStorage(self.place.backend, self.place.location, self.key)

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """The gate, where the claim holds still behind it; see `gate` and `require_claim`."""
        with gate(self.place):
            require_claim(self.place, self.key)
            yield

    def others(self) -> dict[str, Claim]:
        """Key -> claim of every other writer that may still write."""
        return {key: claim for key, claim in live_claims(self.place).items() if key != self.key}

    def end(self, refused: tuple[Refused, ...]) -> None:
        """Say that a part is done; its claim stays until its store is finalized."""
        renewer().drop(self.key)
        ended = structs.replace(self.claim, at=time.time(), has_ended=True, refused=refused)
        self.place.put(self.key, encode(ended))

    def release(self) -> None:
        """Write no more."""
        renewer().drop(self.key)
        self.place.remove(self.key)

    def forget_plan(self) -> None:
        """Remove the plan of a part that had nothing to build, where no other part waits."""
        if not any(claim.plan == self.claim.plan for claim in read_claims(self.place).values()):
            self.place.remove(layout.plan_key(self.claim.plan))

    def sweep_builds(self) -> None:
        """Remove the plan, and the claims of its parts that have ended and of the dead: it is carried out."""
        for key in keys_of(self.place, layout.PLAN):
            self.place.remove(key)
        for key, claim in read_signs(self.place, layout.CLAIM, Claim).items():
            if key != self.key and not (claim is not None and is_live(key, claim)):
                self.place.remove(key)


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
    return list(keys_of(storage, layout.PLAN))


def read_claims(storage: Storage) -> dict[str, Claim]:
    """Key -> claim of all that are there, of parts that have ended too; what is none claims nothing."""
    found = read_signs(storage, layout.CLAIM, Claim)
    return {key: claim for key, claim in found.items() if claim is not None}


def live_claims(storage: Storage) -> dict[str, Claim]:
    """Key -> claim of all whose process may still write."""
    return {key: claim for key, claim in read_claims(storage).items() if is_live(key, claim)}


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
    with given(layout.claim_key(new_token())) as key:
        with gate(storage):
            _require_free(storage, claim, take_over=take_over)
            # It may have waited for long.
            storage.put(key, encode(structs.replace(claim, at=time.time())))
        held = Held(storage, key, claim)
        renewer().add(storage, key, claim)
        try:
            yield held
        finally:
            # Where it ended, or was released, there is nothing to be done.
            if renewer().has(key):
                held.release()


def _require_free(storage: Storage, claim: Claim, *, take_over: bool) -> None:
    """Do nothing where nobody does anything else; claims of the dead go.

    Raises:
        StoreInUse: somebody does.
    """
    taken = False
    for key, other in read_signs(storage, layout.CLAIM, Claim).items():
        if other is None or not (other.has_ended or is_live(key, other)):
            storage.remove(key)
            continue
        is_same = other.plan == claim.plan
        # Of the same plan only what does the same part: the other parts go on.
        if is_same and not (take_over and other.part == claim.part):
            continue
        if not (is_same or take_over):
            raise _in_use(storage, claim, str(other))
        storage.remove(key)
        taken |= not other.has_ended
    for key in keys_of(storage, layout.PLAN):
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
