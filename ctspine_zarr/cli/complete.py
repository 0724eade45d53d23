"""What a shell offers for a word that is being typed: folders, and names out of the store before it.

A store is opened where it is a local folder alone, so that no key waits for a network, and whatever is
wrong with it, or with the words before, offers nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

import ctspine_zarr as cz

if TYPE_CHECKING:
    from ctspine_zarr.label_sets.store import Store

# What a shell takes as it is. A label may be called anything, a command too, which the shell would run.
_WORD: Final = re.compile(r"[\w.+-]+")

type Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""As click calls it: with the words before, and the beginning of this one."""


def folders(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - as click calls it
    """Folders, as the shell knows them."""
    return [CompletionItem(incomplete, type="dir")]


def _names(of: Callable[[Store], Iterable[str]]) -> Completion:
    """The names that a store has; those that were given before are left out, and those that are no words."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = ctx.params.get(parameter.name or "")
        before = given if isinstance(given, tuple) else ()
        return [
            CompletionItem(name)
            for name in _from_store(ctx, of)
            if name.startswith(incomplete) and name not in before and _WORD.fullmatch(name)
        ]

    return complete


def _from_store(ctx: click.Context, of: Callable[[Store], Iterable[str]]) -> list[str]:
    """What the parent of a store to be has, or the store; nothing of one that is elsewhere, or is none."""
    location = _given(ctx, "parent") or _given(ctx, "store")
    try:
        return list(of(cz.open_store(location))) if location and Path(location).is_dir() else []
    except Exception:  # noqa: BLE001 - a command line that is being typed is no place for any error
        return []


def _given(ctx: click.Context, name: str) -> str | None:
    """An argument of the words before; None where there is none."""
    # Of an option whose value is being typed click leaves the arguments as they are.
    names = [one.name for one in ctx.command.params if isinstance(one, click.Argument)]
    given: str | None = ctx.params.get(name) or dict(zip(names, ctx.args, strict=False)).get(name)
    return given


cases = _names(lambda store: store)
"""Ids of its cases."""

splits = _names(lambda store: store.spec.splits)
"""Names of its splits."""

sources = _names(lambda store: store.spec.sources)
"""Names of its sources."""

label_sets = _names(lambda store: store.label_sets)
"""Names of its label sets."""

labels = _names(lambda store: store.spec.labels.values())
"""Names of its labels."""

metadata = _names(lambda store: sorted({name for one in store.records.values() for name in one.metadata}))
"""Names of its tables of metadata."""

findings = _names(
    lambda store: sorted({found.code for one in store.records.values() for found in one.findings})
)
"""Codes of the findings that its cases have."""
