"""A local copy of the dataset, laid out as on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import override

from ctspine_zarr.errors import CaseRefused, SourceError
from ctspine_zarr.source.cases import CaseFile, Fetched, Listing, Source, SourceCase
from ctspine_zarr.source.listing import DATA_FOLDERS, SPLIT_FILE, SPREADSHEET, Tables, list_cases
from ctspine_zarr.source.splits import SplitList, parse_splits
from ctspine_zarr.source.spreadsheet import read_spreadsheet


@dataclass(frozen=True)
class LocalTree(Source):
    """A folder that holds `raw_data`.

    Attributes:
        root: the folder.
        split_file: the split list, where it is not at `metadata/data_split.txt`.
    """

    root: Path
    split_file: Path | None = None

    @override
    def listing(self) -> Listing:
        """See `list_cases`.

        Raises:
            SourceError: no volumes, or no usable split list; the message says what was looked for.
        """
        paths = list(self._paths())
        splits = read_splits(self.split_file or self.root / SPLIT_FILE) if paths else {}
        sheet = self.root / SPREADSHEET
        rows = read_spreadsheet(sheet, str(sheet)) if sheet.exists() else {}
        return list_cases(str(self.root), paths, Tables(splits, rows), self._described)

    @override
    def fetch(self, case: SourceCase) -> Fetched:
        return Fetched(case, self.root / case.image.path, self.root / case.segmentation.path)

    def files(self) -> list[Fetched]:
        """Where the files of every case lie."""
        return [self.fetch(case) for case in self.listing().cases]

    @override
    def release(self, fetched: Fetched) -> None:
        """The files are the user's."""

    @override
    def close(self) -> None:
        """Nothing was brought here."""

    @override
    def local(self, file: CaseFile) -> Path:
        return self.root / file.path

    def _paths(self) -> Iterator[str]:
        for name in DATA_FOLDERS:
            for kind in ("volumes", "labels"):
                for path in (self.root / name / kind).glob("*/*"):
                    yield path.relative_to(self.root).as_posix()

    def _described(self, path: str) -> CaseFile:
        try:
            return CaseFile(path, (self.root / path).stat().st_size)
        except OSError as error:
            message = f"{Path(path).name}: {error.strerror}"
            raise CaseRefused(message) from error


def read_splits(path: Path) -> SplitList:
    """The split list in a file.

    Raises:
        SourceError: it cannot be read, or is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else str(error)
        message = f"no split list at {path} ({reason}); give one with --split-file FILE"
        raise SourceError(message) from error
    return parse_splits(text)
