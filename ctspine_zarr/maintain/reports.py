"""Reports of a verification."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ctspine_zarr.errors import DamagedStore, StorageError, UnknownValue
from ctspine_zarr.format.catalog import Refused
from ctspine_zarr.look import markup
from ctspine_zarr.storage import Storage

_DIGEST: Final = re.compile("[0-9a-fA-F]{64}")

type Proof = Literal["bytes", "record", "sizes"]
"""What a verification rests on; see `Verification`."""


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What was found of one case; whole when there are no problems.

    Attributes:
        case: its id.
        problems: a line each.
        has_mask: False where the case has no mask, so that there is none to prove.
        bytes: of its shards.
    """

    case: str
    problems: tuple[str, ...]
    has_mask: bool = True
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of a store.

    Attributes:
        cases: one report a case of the catalog, in its order.
        problems: of the store as a whole: the root, the catalog, the groups above the cases,
            and whatever lies there that is not of the store.
        refused: cases that the build could not take in, and why; no fault of the store.
        digest: the root's seal, if the root can be read.
        unbuilt: ids of cases that the source has, where one is compared, and the store neither has nor
            refused; no fault of the store either.
        proof: what it rests on: `bytes`, all of which were read, and the voxels in them; `record`, what the
            Hub has recorded of its files as it took them in, every document read; `sizes`, and every
            document read.
        seconds: wall time.
    """

    cases: tuple[CaseReport, ...]
    problems: tuple[str, ...]
    refused: tuple[Refused, ...]
    digest: str = ""
    unbuilt: tuple[str, ...] = ()
    proof: Proof = "bytes"
    seconds: float = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is wrong with what is stored."""
        return not self.problems and all(not report.problems for report in self.cases)

    def _repr_html_(self) -> str:
        damaged = [one for one in self.cases if one.problems]
        facts = [
            f"{len(self.cases) - len(damaged):,} of {len(self.cases):,} cases are whole",
            f"by {self.proof}",
            f"{sum(not one.has_mask for one in self.cases):,} have no mask",
            *([f"digest {self.digest}"] if self.digest else []),
            f"{self.seconds:,.1f} s",
        ]
        problems = [("the store", problem) for problem in self.problems]
        problems += [(one.case, problem) for one in damaged for problem in one.problems]
        parts = [
            markup.bounded(("damaged", "problem"), problems),
            markup.refusals(self.refused),
            markup.bounded(("not built, but in the source",), [(case,) for case in self.unbuilt]),
        ]
        return markup.block(f"Verification: {'whole' if self.is_whole else 'damaged'}", facts, parts)


def legal_digest(digest: str) -> str:
    """A store's digest as somebody kept it, in lower case.

    Raises:
        UnknownValue: it is not 64 hex digits.
    """
    if _DIGEST.fullmatch(str(digest)) is None:
        message = f"digest {digest!r}; legal: the 64 hex digits of the store's, as info prints them"
        raise UnknownValue(message)
    return digest.lower()


def require_here(storage: Storage, error: DamagedStore | StorageError) -> None:
    """Do nothing where an error is a fault of the store: far away, what cannot be read may well be whole."""
    if isinstance(error, StorageError) and storage.path is None:
        raise error
