"""The ids of cases that a request names: one by one, by a table, or by a boolean Series. Pure."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ctspine_zarr.errors import UnknownValue, require_case
from ctspine_zarr.text import some_names

if TYPE_CHECKING:
    import pandas as pd

type CaseIds = Iterable[str] | pd.DataFrame | pd.Index[Any] | pd.Series[Any]
"""Ids; a table that is indexed by them; or a boolean Series that says of each case whether it is meant."""

_LEGAL: Final = "ids, as texts, or a table or boolean Series that is indexed by them"


def ids_of(asked: CaseIds, known: Collection[str], where: str) -> set[str]:
    """The ids that are asked for.

    Args:
        asked: a text is one id.
        known: the ids that there are.
        where: they are, for an error message.

    Raises:
        UnknownCase: an id that there is not; the message names the nearest ones.
        UnknownValue: no ids, an id twice, or a boolean Series that does not say True or False exactly
            once of each case; in one of pandas' `boolean`, what is missing is no True, as in pandas itself.
    """
    ids = list(_named(asked, known, where))
    for case in ids:
        if not isinstance(case, str):
            message = f"cases with {case!r} among them; legal: {_LEGAL}"
            raise UnknownValue(message)
        require_case(case, known, where)
    if twice := _repeated(ids):
        message = f"cases with {some_names(twice)} more than once; legal: each id once"
        raise UnknownValue(message)
    return set(ids)


def _named(asked: Any, known: Collection[str], where: str) -> Iterable[Any]:
    # Of a library that nobody has imported, nobody has an object.
    pandas: Any = sys.modules.get("pandas")
    if pandas and isinstance(asked, pandas.DataFrame):
        return list(asked.index)
    if pandas and isinstance(asked, pandas.Series) and _is_boolean(asked):
        return _chosen(asked, known, where)
    if isinstance(asked, Iterable):
        return (asked,) if isinstance(asked, str) else asked
    message = f"cases {asked!r}; legal: {_LEGAL}"
    raise UnknownValue(message)


def _is_boolean(series: pd.Series[Any]) -> bool:
    # Of numpy's, pandas' and Arrow's flags; with gaps, a Series of flags is one of objects.
    return series.dtype.name.startswith("bool") or any(map(_is_flag, series))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _chosen(series: pd.Series[Any], known: Collection[str], where: str) -> list[Any]:
    """The ids of which a boolean Series says True."""
    # What compares with nothing, such as an age that nobody knows, is neither more nor less.
    if series.dtype.name == "boolean":
        series = series.fillna(False)
    if faults := list(_faults(series, known)):
        legal = f"True or False, once, for each of the {len(known)} cases in {where}"
        message = f"a boolean Series {', and '.join(faults)}; legal: {legal}"
        raise UnknownValue(message)
    return [case for case, flag in series.items() if flag]


def _faults(series: pd.Series[Any], known: Collection[str]) -> Iterator[str]:
    said = set(series.index)
    for words, cases in (
        ("without", [case for case in known if case not in said]),
        ("with unknown", [case for case in series.index if case not in known]),
        ("that repeats", _repeated(series.index)),
        ("that says neither True nor False of", [key for key, flag in series.items() if not _is_flag(flag)]),
    ):
        if cases:
            yield f"{words} {some_names(list(map(str, cases)))}"


def _repeated(ids: Iterable[Any]) -> list[Any]:
    return [case for case, count in Counter(ids).items() if count > 1]
