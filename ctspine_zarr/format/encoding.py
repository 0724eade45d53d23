"""Documents of a store as JSON bytes, and back as typed and validated structures.

A sealed document holds its own sha256, so that a change of any byte of it shows: its last field, `seal`,
is the sha256 of the document's bytes with the 64 digits of the seal written as zeros.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.locks import STRUCTURES

type Document = dict[str, Any]
type Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

UNSEALED: Final = "0" * 64
"""The seal of a document that is not sealed yet."""

# What a decoder may raise besides its own errors: on nesting, and on numbers that no float holds.
_BROKEN: Final = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


class _Own[T](Struct):
    """The attributes of a group: ours are below one key."""

    ctspine_zarr: T


class _Group[T](Struct):
    """A group's `zarr.json` of which our part is read."""

    attributes: _Own[T]


class _Versioned(Struct):
    format: int


class _Sealed(Struct):
    seal: Sha256


def encode(document: Any) -> bytes:
    """A document as deterministic UTF-8 JSON; NaN and infinity are refused."""
    plain = msgspec.to_builtins(document, str_keys=True)
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False).encode()


def validated[T](document: T) -> T:
    """A structure as it would be read again: its numbers of the stated types, its values legal.

    Raises:
        msgspec.ValidationError: one is not.
    """
    kind: type[T] = type(document)
    plain = msgspec.to_builtins(document, builtin_types=(bytes,))
    with STRUCTURES:
        return msgspec.convert(plain, kind)


def sealed(data: bytes) -> bytes:
    """The bytes of a document whose one field `seal` holds zeros, sealed."""
    return _resealed(data, UNSEALED, hashlib.sha256(data).hexdigest())


def require_seal(data: bytes, seal: str) -> None:
    """Do nothing where a document's bytes are those that its seal was made of.

    Raises:
        Malformed: they are not.
    """
    blank = _resealed(data, seal, UNSEALED)
    if hashlib.sha256(blank).hexdigest() != seal:
        message = "it was altered: its seal is not the sha256 of its bytes"
        raise Malformed(message)


def decode[T](data: bytes | None, kind: type[T], *, in_group: bool = False, is_sealed: bool = False) -> T:
    """A document that states its format version, as a structure of its kind.

    Args:
        data: the object; None where there is none.
        kind: a msgspec structure.
        in_group: it is our part of a group's `zarr.json`.
        is_sealed: its seal must hold.

    Raises:
        OtherFormat: a version that this one does not read.
        Malformed: no data, no JSON, another structure, or a seal that fails.
    """
    if not data:
        message = "it is missing" if data is None else "it is empty"
        raise Malformed(message)
    seen = _parse(data, _Versioned, in_group=in_group).format
    if seen != FORMAT_VERSION:
        message = f"format {seen}; legal: {FORMAT_VERSION}"
        raise OtherFormat(message)
    if is_sealed:
        require_seal(data, _parse(data, _Sealed, in_group=in_group).seal)
    return _parse(data, kind, in_group=in_group)


def parse[T](data: bytes, kind: type[T]) -> T:
    """A structure from JSON, whatever its format version.

    Raises:
        Malformed: no JSON, or another structure.
    """
    return _parse(data, kind, in_group=False)


def _parse[T](data: bytes, kind: type[T], *, in_group: bool) -> T:
    try:
        found: Any = _decoder(kind, in_group=in_group).decode(data)
    except _BROKEN as error:
        message = f"{type(error).__name__}: {error}"
        raise Malformed(message) from error
    document: T = found.attributes.ctspine_zarr if in_group else found
    return document


def _decoder(kind: type[Any], *, in_group: bool) -> msgspec.json.Decoder[Any]:
    with STRUCTURES:
        hashable: Any = kind
        return _made(hashable, in_group=in_group)


@functools.cache
def _made(kind: type[Any], *, in_group: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_Group[kind] if in_group else kind)  # type: ignore[valid-type]


def _resealed(data: bytes, old: str, new: str) -> bytes:
    # The seal is the last field: a spreadsheet may well have a column of that name.
    head, found, tail = data.rpartition(_field(old))
    return head + (_field(new) if found else b"") + tail


def _field(seal: str) -> bytes:
    return f'"seal": "{seal}"'.encode()
