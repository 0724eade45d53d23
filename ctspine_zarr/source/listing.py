"""From the names of files to cases: which are there, and which cannot be. Pure.

raw_data/volumes/<source>/<case>.nii.gz       (the card's spelling `rawdata/` is accepted)
raw_data/labels/<source>/<case>_seg.nii.gz
metadata/data_split.txt
metadata/metadata_colonog.xlsx                (optional)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ctspine_zarr.dataset import SOURCE_NAMES, source_of
from ctspine_zarr.errors import CaseRefused, SourceError
from ctspine_zarr.source.cases import CaseFile, Listing, Refusal, SourceCase
from ctspine_zarr.source.splits import SUFFIX, SplitList
from ctspine_zarr.source.spreadsheet import Rows

DATA_FOLDERS: Final = ("raw_data", "rawdata")
SPLIT_FILE: Final = "metadata/data_split.txt"
SPREADSHEET: Final = "metadata/metadata_colonog.xlsx"
MASK_SUFFIX: Final = "_seg"


@dataclass(frozen=True)
class _Files:
    """The `.nii.gz` files of one folder by case id; a list, for a case may be there twice.

    `folder` is relative to the source's root: reasons travel with a published store.
    """

    folder: str
    by_case: Mapping[str, list[PurePosixPath]]


@dataclass(frozen=True)
class Tables:
    """What else a source says of its cases: the split list, and the rows of the spreadsheet."""

    splits: SplitList
    rows: Rows


def list_cases(
    root: str, paths: Iterable[str], tables: Tables, describe: Callable[[str], CaseFile]
) -> Listing:
    """Every case that files are there for or that the split list names, in order of id.

    A case is refused, not built, when its name is in two splits or in none, its volume or
    its mask is missing, or either is there in two sources.

    Args:
        root: what the source is called in messages.
        paths: of its files, below it.
        tables: the split list and the spreadsheet.
        describe: a path to its file; raises CaseRefused where that cannot be had.

    Raises:
        SourceError: no volumes; the message says what was looked for.
    """
    paths = list(paths)
    data = _data_folder(root, paths)
    volumes = _find(paths, f"{data}/volumes", "")
    masks = _find(paths, f"{data}/labels", MASK_SUFFIX)
    _require_volumes(root, paths, volumes)
    names = {*volumes.by_case, *masks.by_case, *tables.splits}
    found = [_resolve(case, tables, volumes, masks, describe) for case in sorted(names)]
    return Listing(
        tuple(item for item in found if isinstance(item, SourceCase)),
        tuple(item for item in found if isinstance(item, Refusal)),
    )


def _data_folder(root: str, paths: Iterable[str]) -> str:
    tops = {path.partition("/volumes/")[0] for path in paths}
    for name in DATA_FOLDERS:
        if name in tops:
            return name
    looked_for = " or ".join(f"{root}/{name}/volumes" for name in DATA_FOLDERS)
    message = f"no CTSpine1K at {root}: looked for {looked_for}, holding <source>/<case>{SUFFIX}"
    raise SourceError(message)


def _find(paths: Iterable[str], folder: str, suffix: str) -> _Files:
    """Files `<source>/<case><suffix>.nii.gz` of the four sources."""
    by_case: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in _inside(paths, folder):
        # Not `._x.nii.gz`, in which macOS keeps what other file systems have no place for.
        is_ours = path.name.endswith(suffix + SUFFIX) and not path.name.startswith(".")
        if is_ours and path.parent.name in SOURCE_NAMES and len(path.relative_to(folder).parts) == 2:
            by_case[path.name.removesuffix(suffix + SUFFIX)].append(path)
    return _Files(folder, by_case)


def _inside(paths: Iterable[str], folder: str) -> Iterator[PurePosixPath]:
    return (PurePosixPath(path) for path in sorted(paths) if path.startswith(f"{folder}/"))


def _require_volumes(root: str, paths: Iterable[str], volumes: _Files) -> None:
    if not volumes.by_case:
        folder = PurePosixPath(volumes.folder)
        seen = sorted({path.relative_to(folder).parts[0] for path in _inside(paths, volumes.folder)})
        message = (
            f"no {SUFFIX} below {root}/{folder}; seen there: {', '.join(seen or ['nothing'])}; "
            f"legal: {', '.join(SOURCE_NAMES)}"
        )
        raise SourceError(message)


def _resolve(
    case: str,
    tables: Tables,
    volumes: _Files,
    masks: _Files,
    describe: Callable[[str], CaseFile],
) -> SourceCase | Refusal:
    listed = tables.splits.get(case, ())
    images = volumes.by_case.get(case, [])
    split = listed[0] if len(listed) == 1 else None
    source = images[0].parent.name if images else source_of(case)
    reason = _fault(case, tables.splits, volumes, masks)
    if reason is not None or split is None or source is None:
        printable = case.encode("utf-8", "backslashreplace").decode()
        return Refusal(printable, reason or "of no known source", split, source)
    try:
        image, segmentation = (describe(str(path)) for path in (images[0], masks.by_case[case][0]))
    except CaseRefused as error:
        return Refusal(case, str(error), split, source)
    return SourceCase(case, split, source, image, segmentation, tables.rows.get(case, ()))


def _fault(case: str, splits: SplitList, volumes: _Files, masks: _Files) -> str | None:
    """Why a case cannot be built, judged by names alone; None where it can be tried."""
    listed = splits.get(case, ())
    if not case.isprintable():
        return "its name is not printable UTF-8 text; legal: a name as in the split list"
    if len(listed) > 1:
        return f"named in two splits, {' and '.join(listed)}; legal: one"
    if not listed:
        return "in no split of the split list; legal: one"
    return (
        _file_fault("volume", case + SUFFIX, volumes, case)
        or _file_fault("mask", case + MASK_SUFFIX + SUFFIX, masks, case)
        or _source_fault(volumes.by_case[case][0], masks.by_case[case][0])
    )


def _file_fault(what: str, name: str, files: _Files, case: str) -> str | None:
    found = files.by_case.get(case, [])
    if len(found) > 1:
        return f"{what} {name} is in {' and '.join(p.parent.name for p in found)}; legal: one source"
    if not found:
        return f"{what} missing: no {files.folder}/<source>/{name}"
    return None


def _source_fault(volume: PurePosixPath, mask: PurePosixPath) -> str | None:
    sources = volume.parent.name, mask.parent.name
    return None if sources[0] == sources[1] else f"volume in {sources[0]}, mask in {sources[1]}; legal: one"
