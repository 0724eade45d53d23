"""A local copy of the dataset, laid out as on the Hub.

raw_data/volumes/<source>/<case>.nii.gz       (the card's spelling `rawdata/` is accepted)
raw_data/labels/<source>/<case>_seg.nii.gz
metadata/data_split.txt
metadata/metadata_colonog.xlsx                (optional)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctspine_zarr.dataset import SOURCE_NAMES, source_of
from ctspine_zarr.errors import SourceError
from ctspine_zarr.source.cases import Listing, Refusal, SourceCase
from ctspine_zarr.source.splits import SUFFIX, SplitList, parse_splits
from ctspine_zarr.source.spreadsheet import Rows, read_spreadsheet

DATA_FOLDERS = ("raw_data", "rawdata")
SPLIT_FILE = "metadata/data_split.txt"
SPREADSHEET = "metadata/metadata_colonog.xlsx"
MASK_SUFFIX = "_seg"


@dataclass(frozen=True)
class _Files:
    """The `.nii.gz` files of one folder by case id; a list, for a case may be there twice.

    `folder` is relative to the tree's root: reasons travel with a published store.
    """

    folder: str
    by_case: Mapping[str, list[Path]]


def list_tree(root: Path, split_file: Path | None = None) -> Listing:
    """Every case that the tree holds or its split list names, in order of id.

    A case is refused, not built, when its name is in two splits or in none, its volume or
    its mask is missing, or either is there in two sources.

    Args:
        root: the folder that holds `raw_data`.
        split_file: the split list, where it is not at `metadata/data_split.txt`.

    Raises:
        SourceError: no volumes, or no usable split list; the message says what was looked for.
    """
    data = _data_folder(root)
    volumes = _find(data / "volumes", "")
    masks = _find(data / "labels", MASK_SUFFIX)
    splits = _read_splits(root, split_file)
    rows = read_spreadsheet(root / SPREADSHEET) if (root / SPREADSHEET).exists() else {}
    found = [_resolve(case, splits, volumes, masks, rows) for case in sorted(_names(volumes, masks, splits))]
    return Listing(
        tuple(item for item in found if isinstance(item, SourceCase)),
        tuple(item for item in found if isinstance(item, Refusal)),
    )


def _data_folder(root: Path) -> Path:
    for name in DATA_FOLDERS:
        if (root / name / "volumes").is_dir():
            return root / name
    looked_for = " or ".join(str(root / name / "volumes") for name in DATA_FOLDERS)
    message = f"no CTSpine1K at {root}: looked for {looked_for}, holding <source>/<case>{SUFFIX}"
    raise SourceError(message)


def _find(folder: Path, suffix: str) -> _Files:
    """Files `<source>/<case><suffix>.nii.gz` of the four sources."""
    by_case: dict[str, list[Path]] = defaultdict(list)
    for source in SOURCE_NAMES:
        # Not `._x.nii.gz`, in which macOS keeps what other file systems have no place for.
        for path in sorted((folder / source).glob(f"[!.]*{suffix}{SUFFIX}")):
            by_case[path.name.removesuffix(suffix + SUFFIX)].append(path)
    if not suffix and not by_case:
        seen = sorted(p.name for p in folder.iterdir()) or ["nothing"]
        message = (
            f"no {SUFFIX} below {folder}; seen there: {', '.join(seen)}; legal: {', '.join(SOURCE_NAMES)}"
        )
        raise SourceError(message)
    return _Files(f"{folder.parent.name}/{folder.name}", by_case)


def _read_splits(root: Path, split_file: Path | None) -> SplitList:
    path = root / SPLIT_FILE if split_file is None else split_file
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else str(error)
        message = f"no split list at {path} ({reason}); give one with --split-file FILE"
        raise SourceError(message) from error
    return parse_splits(text)


def _names(volumes: _Files, masks: _Files, splits: SplitList) -> set[str]:
    return {*volumes.by_case, *masks.by_case, *splits}


def _resolve(
    case: str, splits: SplitList, volumes: _Files, masks: _Files, rows: Rows
) -> SourceCase | Refusal:
    listed = splits.get(case, ())
    images = volumes.by_case.get(case, [])
    segmentations = masks.by_case.get(case, [])
    split = listed[0] if len(listed) == 1 else None
    source = images[0].parent.name if images else source_of(case)
    reason = _fault(case, splits, volumes, masks)
    if reason is not None or split is None or source is None:
        printable = case.encode("utf-8", "backslashreplace").decode()
        return Refusal(printable, reason or "of no known source", split, source)
    image, segmentation = images[0], segmentations[0]
    try:
        sizes = image.stat().st_size, segmentation.stat().st_size
    except OSError as error:
        return Refusal(case, f"{Path(str(error.filename)).name}: {error.strerror}", split, source)
    return SourceCase(case, split, source, image, segmentation, *sizes, rows.get(case, ()))


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


def _source_fault(volume: Path, mask: Path) -> str | None:
    sources = volume.parent.name, mask.parent.name
    return None if sources[0] == sources[1] else f"volume in {sources[0]}, mask in {sources[1]}; legal: one"
