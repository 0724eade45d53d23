"""Documents of ours as JSON, and back, with their format version."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format.layout import FORMAT_VERSION, OWN_KEY

type Document = dict[str, Any]
OWN_ATTRIBUTES: Final = ("attributes", OWN_KEY)
"""Where in a group's `zarr.json` our part of its attributes is."""


def encode(document: Any) -> bytes:
    """A document as deterministic UTF-8 JSON; NaN and infinity are refused."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()


def decode[T](data: bytes | None, from_json: Callable[[Document], T], within: Iterable[str] = ()) -> T:
    """What `from_json` makes of a JSON document that states its format version.

    Args:
        data: the object; None where there is none.
        from_json: as the classes here have it.
        within: keys that lead to the document inside a larger one.

    Raises:
        OtherFormat: a version that this one does not read.
        Malformed: no data, no JSON, or another shape than `from_json` expects.
    """
    try:
        document = functools.reduce(operator.getitem, within, json.loads(data or b""))
        if document["format"] == FORMAT_VERSION:
            return from_json(document)
        seen = document["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{type(error).__name__}: {error}" if data else "it is missing"
        raise Malformed(message) from error
    message = f"format {seen}; legal: {FORMAT_VERSION}"
    raise OtherFormat(message)


def known(cls: type[Any], document: Document) -> dict[str, Any]:
    """The fields of a dataclass, all required; other keys are those of later versions."""
    return {field.name: document[field.name] for field in dataclasses.fields(cls)}
