"""The end of a command: its exit status, and a person's Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NoReturn

from ctspine_zarr.cli import logs

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
DAMAGED: Final = 4
DIFFERENT: Final = 4
INTERRUPTED: Final = 130
"""Exit statuses; see docs/commands.md."""

EXITS: Final = (
    "Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built; "
    "4 damage was found, or is left, or qc found what --fail-on names, or diff a difference; 130 interrupted."
)
"""What the help of all commands says of them."""

_interrupted: Final = threading.Event()


def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
    """End what is under way, by an exception and by a flag that stays."""
    _interrupted.set()
    raise KeyboardInterrupt


def heeding[T](listener: Callable[[T], None]) -> Callable[[T], None]:
    """A listener that also ends the run it listens to, once that was asked for.

    Python drops a KeyboardInterrupt that happens to be raised in a destructor; the flag stays.
    """

    def heed(event: T) -> None:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        listener(event)

    return heed


@contextlib.contextmanager
def serving(store: str) -> Iterator[Callable[[str], None]]:
    """What tells the address of a store that is served; from then on Ctrl-C ends the command, and well.

    Before that it interrupts the command as any other: the store was being opened.
    """
    is_told = False

    def tell(url: str) -> None:
        nonlocal is_told
        # First, for who reads the address may answer with Ctrl-C at once.
        is_told = True
        logs.answer(f"{store} is at {url}; Ctrl-C ends", {"location": store, "url": url}, in_a_line=True)

    try:
        yield tell
    except KeyboardInterrupt:
        if not is_told:
            raise


def fail(message: str, status: int) -> NoReturn:
    """End the command with one line on why, and a status."""
    logs.error(f"ctspine-zarr: {message}")
    sys.exit(status)
