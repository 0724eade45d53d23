"""Lines to a person, and the person's Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

import click

from ctspine_zarr.format.names import printable

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


def say(text: str) -> None:
    """One line to standard error, whatever a store has put into it."""
    click.echo(printable(text), err=True)
