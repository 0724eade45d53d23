"""Errors raised on purpose, and the checks of arguments that raise them.

Each message says what was asked, what was seen and what is legal. An error also derives
from the built-in exception a caller would expect, so `except KeyError` works as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import SupportsFloat, SupportsIndex


class CtspineError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line."""

    def __str__(self) -> str:
        # KeyError would show its message as a quoted repr.
        return str(self.args[0]) if self.args else ""


class SourceError(CtspineError, ValueError):
    """The source tree or its split file as a whole is not what the dataset looks like."""


class CaseRefused(CtspineError, ValueError):
    """One case's files cannot become voxels without guessing; other cases are unaffected."""


class StorageError(CtspineError, OSError):
    """An object of the store could not be read, written or listed."""


class HubError(CtspineError, OSError):
    """The Hugging Face Hub could not be reached, or refused what was asked of it."""


class HubUnreachable(HubError):
    """As HubError, for a cause that may pass: no connection, a limit of requests, a server's fault."""


class NotAStore(CtspineError, FileNotFoundError):
    """The location holds no store that this version can open."""


class StoreMismatch(CtspineError, ValueError):
    """The location holds something else than what is to be written there: another dataset, another format,
    or no store of ours.
    """


class StoreInUse(CtspineError, RuntimeError):
    """Another process writes something else to the store, or has taken it over from this one."""


class NoSpace(CtspineError, OSError):
    """The plan needs more disk than is free."""


class IncompleteBuild(CtspineError, RuntimeError):
    """Cases of the plan have neither a receipt nor a reason; the catalog was not written."""

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message, missing)
        self.missing = missing


class NoWorkers(CtspineError, RuntimeError):
    """Worker processes cannot start, as in a script without a main guard, or die of what they are given."""


class Malformed(CtspineError, ValueError):
    """A document of a store is not what was written there."""


class OtherFormat(CtspineError, ValueError):
    """A document of a store is of a format version that this one does not read."""


class DamagedStore(CtspineError, ValueError):
    """What is stored is not what was written: a lost, cut or altered object."""


class StoreUpdated(DamagedStore):
    """The store was updated after it was opened: what was opened is gone; open it again."""


class NotMendable(CtspineError, ValueError):
    """What is damaged cannot be made again from what was given; what else is damaged may be."""


class NoMask(CtspineError, LookupError):
    """A case has no mask, as those of a test set: what is unknown is never given as zeros."""


class UnknownCase(CtspineError, KeyError):
    """No case of that id in the store or selection."""


class UnknownValue(CtspineError, ValueError):
    """An argument is none of its legal values."""


class OutOfBounds(CtspineError, IndexError):
    """A slice or patch lies outside the volume."""


class MissingDependency(CtspineError, ImportError):
    """An optional library is needed; the message holds the pip line."""


def nearest(asked: str, known: Iterable[str], count: int = 3) -> str:
    """The known names most like `asked`, for an error message; empty when none is like it."""
    close = difflib.get_close_matches(str(asked), list(known), n=count, cutoff=0.5)
    return f"; nearest: {', '.join(close)}" if close else ""


def require_case(case: str, known: Collection[str], where: str) -> None:
    """Do nothing where `case` is known.

    Raises:
        UnknownCase: it is not; the message names the nearest ones.
    """
    if case not in known:
        message = f"no case {case!r} among {len(known)} in {where}{nearest(case, known)}"
        raise UnknownCase(message)


def require_known(what: str, asked: Iterable[str], legal: Collection[str]) -> None:
    """Do nothing where every name is legal.

    Raises:
        UnknownValue: one is not; the message lists the legal ones.
    """
    for name in asked:
        if not isinstance(name, str) or name not in legal:
            message = f"unknown {what} {name!r}; legal: {', '.join(legal)}"
            raise UnknownValue(message)


def integer(name: str, value: object, least: int, also: str = "") -> int:
    """The value as an int, where it is an integer of any type and no less than `least`.

    Raises:
        UnknownValue: it is not; `also` ends the list of what is legal.
    """
    if isinstance(value, SupportsIndex) and not isinstance(value, bool) and value.__index__() >= least:
        return value.__index__()
    message = f"{name} {value!r}; legal: an integer from {least}{also}"
    raise UnknownValue(message)


def number(name: str, value: object, legal: str, is_legal: Callable[[float], bool]) -> float:
    """The value as a float, where it is a number of any type that is legal.

    Raises:
        UnknownValue: it is not; `legal` says which are.
    """
    try:
        if isinstance(value, SupportsFloat) and is_legal(float(value)):
            return float(value)
    except (TypeError, OverflowError):
        pass
    message = f"{name} {value!r}; legal: {legal}"
    raise UnknownValue(message)


def choose[T](what: str, asked: str, legal: Mapping[str, T]) -> T:
    """`legal[asked]`.

    Raises:
        UnknownValue: as `require_known`.
    """
    require_known(what, [asked], legal)
    return legal[asked]
