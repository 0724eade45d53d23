"""A file that notes each case found whole, so that a verification can be interrupted and go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from ctspine_zarr.errors import Malformed, StorageError
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.encoding import parse


class _Note(Struct, frozen=True):
    """A line: a case of this receipt was whole in this store, and as in this source where it names one."""

    case: str
    receipt: str
    store: str
    source: str | None = None


@dataclass(frozen=True)
class Journal:
    """The cases that verifications have found whole.

    Attributes:
        path: of the file, made where it does not exist.
        store: location of the store: of a copy nothing is noted yet.
        source: name of the source that cases are compared with; None for none.
    """

    path: Path
    store: str
    source: str | None = None

    def whole(self, entries: Iterable[Entry]) -> frozenset[str]:
        """Ids of the cases that were whole and have the same receipt now; a line that is none claims nothing.

        Raises:
            StorageError: the file cannot be read.
        """
        noted = {
            (note.case, note.receipt)
            for note in self._notes()
            if note.store == self.store and self.source in {None, note.source}
        }
        return frozenset(e.record.id for e in entries if (e.record.id, e.receipt) in noted)

    def add(self, entry: Entry) -> None:
        """Note a case at once.

        Raises:
            StorageError: the file cannot be written.
        """
        note: dict[str, str | None] = {"case": entry.record.id, "receipt": entry.receipt, "store": self.store}
        note["source"] = self.source
        with self._naming("write"), self.path.open("ab+") as file:
            # What was torn before stays a line of its own, which claims nothing.
            begin = "" if _ends_a_line(file.tell(), self.path) else "\n"
            file.write(f"{begin}{json.dumps(note)}\n".encode())

    def _notes(self) -> Iterator[_Note]:
        with self._naming("read"):
            data = self.path.read_bytes() if self.path.exists() else b""
        for line in data.splitlines():
            try:
                yield parse(line, _Note)
            except Malformed:
                continue

    @contextmanager
    def _naming(self, action: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            message = f"cannot {action} the journal {self.path}: {said}; legal: a file, there or to be made"
            raise StorageError(message) from error


def _ends_a_line(size: int, path: Path) -> bool:
    if not size:
        return True
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
