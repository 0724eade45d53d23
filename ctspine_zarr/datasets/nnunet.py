"""Raw datasets of nnU-Net 2, of one channel.

imagesTr/<case>_0000.nii.gz   labelsTr/<case>.nii.gz
imagesTs/<case>_0000.nii.gz   labelsTs/<case>.nii.gz   (optional)
dataset.json                  splits_final.json        (needed for a fold)

As documented by nnU-Net in documentation/dataset_format.md and manual_data_splits.md.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, override

from msgspec import Struct

from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.datasets.dataset import Dataset, Files, Survey, Wishes
from ctspine_zarr.datasets.naming import CASE, ENDING, SUFFIX, Found, NamedFile, Wanted, find, require_files
from ctspine_zarr.errors import CaseRefused, Malformed, SourceError, UnknownValue, require_known
from ctspine_zarr.format.encoding import parse
from ctspine_zarr.format.names import is_legal_name
from ctspine_zarr.format.spec import UNKNOWN, Name, Spec, Text

_DESCRIPTION: Final = "dataset.json"
_FOLDS: Final = "splits_final.json"
_SPLITS: Final = ("train", "validation", "test")
_CHANNEL: Final = "0000"
_IMAGES: Final = re.compile(f"images(?P<place>Tr|Ts)/{CASE}_(?P<channel>[0-9]{{4}}){ENDING}")
_MASKS: Final = re.compile(f"labels(?P<place>Tr|Ts)/{CASE}{ENDING}")
_MOST_LABEL: Final = 255
_LONGEST_NAME: Final = 128
_BACKGROUND, _IGNORE = "background", "ignore"


class _Files(Struct, frozen=True):
    """Where the files of a training case are, if not where their names say."""

    images: list[str]
    label: str


class _Description(Struct, frozen=True):
    """What of dataset.json matters; `license`, `citation` and `modality` are seen in use."""

    labels: dict[Name, int | list[int]]
    file_ending: str
    channel_names: dict[str, str] = {}
    modality: dict[str, str] = {}
    dataset: dict[str, _Files] | None = None
    name: Name | None = None
    description: Text | None = None
    licence: Text | None = None
    license: Text | None = None
    citation: Text | None = None
    reference: Text | None = None


class _Fold(Struct, frozen=True):
    train: list[str]
    val: list[str]


class NnUNet(Dataset):
    """A raw dataset of nnU-Net 2: its spec is what its dataset.json says."""

    name = "nnunet"
    title = "nnU-Net dataset"
    looked_for = f"{_DESCRIPTION} beside imagesTr and labelsTr"
    globs = ("imagesTr/*", "labelsTr/*", "imagesTs/*", "labelsTs/*", _DESCRIPTION, _FOLDS)
    heeds = ("split_list", "fold")

    @override
    def recognises(self, paths: Iterable[str]) -> bool:
        return _DESCRIPTION in paths

    @override
    def survey(self, files: Files, wishes: Wishes) -> Survey:
        description = _read(files, _DESCRIPTION, _Description)
        _require_readable(description, _description_name(files))
        spec = _spec(description, files)
        tree = _Tree(files, spec.sources[0], *_found(files, description), _fold(files, wishes))
        return Survey(spec, tree.names, tree.place_of, tree.resolve)

    @override
    def image_path(self, split: str, source: str, case: str) -> str:
        return f"images{_known_folder(split)}/{case}_{_CHANNEL}{SUFFIX}"

    @override
    def mask_path(self, split: str, source: str, case: str) -> str:
        return f"labels{_known_folder(split)}/{case}{SUFFIX}"


@dataclass(frozen=True)
class _Tree:
    """The files by case id, and the fold: case id -> its splits; None where all are for training."""

    files: Files
    source: str
    images: Found
    masks: Found
    fold: Mapping[str, Sequence[str]] | None

    @property
    def names(self) -> set[str]:
        return {*self.images, *self.masks, *(self.fold or ())}

    def place_of(self, case: str) -> tuple[str | None, str]:
        found = (*self.images.get(case, ()), *self.masks.get(case, ()))
        if found and all(file.place == "Ts" for file in found):
            return "test", self.source
        listed = ("train",) if self.fold is None else self.fold.get(case, ())
        return listed[0] if len(listed) == 1 else None, self.source

    def resolve(self, case: str) -> SourceCase:
        split, _ = self.place_of(case)
        if split is None:
            message = "not once in the fold, in train or in val; legal: once"
            raise CaseRefused(message)
        volume, mask = require_files(*self._wanted(case, _folder(split)))
        return SourceCase(
            id=case,
            patient_id=case,
            split=split,
            source=self.source,
            image=self.files.describe(_inside(volume.path)),
            segmentation=self.files.describe(_inside(mask.path)) if mask else None,
        )

    def _wanted(self, case: str, folder: str) -> tuple[Wanted, Wanted | None]:
        images, masks = self.images.get(case, ()), self.masks.get(case, ())
        others = [file.path for file in images if file.parts["channel"] != _CHANNEL]
        if others:
            message = f"another channel in {', '.join(others)}; legal: one, {case}_{_CHANNEL}{SUFFIX}"
            raise CaseRefused(message)
        volume = Wanted("volume", f"images{folder}/{case}_{_CHANNEL}{SUFFIX}", images, "of Tr and Ts")
        mask = Wanted("mask", f"labels{folder}/{case}{SUFFIX}", masks, "of Tr and Ts")
        # Test cases need no mask.
        return volume, mask if masks or folder == "Tr" else None


def _known_folder(split: str) -> str:
    require_known("split", [split], _SPLITS)
    return _folder(split)


def _folder(split: str) -> str:
    return "Ts" if split == "test" else "Tr"


def _description_name(files: Files) -> str:
    return f"{_DESCRIPTION} of {files.name}"


def _read[T](files: Files, path: str, kind: type[T]) -> T:
    data = files.read(path)
    if data is None:
        message = f"no {path} at {files.name} (not found)"
        raise SourceError(message)
    return _parsed(data, f"{path} of {files.name}", kind)


def _parsed[T](data: bytes, name: str, kind: type[T]) -> T:
    try:
        return parse(data, kind)
    except Malformed as error:
        message = f"{name}: {error}; legal: as nnU-Net 2 documents it"
        raise SourceError(message) from error


def _require_readable(description: _Description, name: str) -> None:
    if description.file_ending != SUFFIX:
        message = f"{name}: file_ending {description.file_ending!r}; legal: {SUFFIX}"
        raise SourceError(message)
    channels = description.channel_names or description.modality
    if len(channels) != 1:
        message = f"{name}: {len(channels)} channels, {', '.join(channels.values()) or 'none'}; legal: one"
        raise SourceError(message)


def _spec(description: _Description, files: Files) -> Spec:
    # Of hf://datasets/USER/NAME@REVISION, without the revision.
    folder = files.name.rpartition("/")[2]
    name = description.name or (folder.partition("@")[0] or folder)[:_LONGEST_NAME]
    labels, regions = _labels(description.labels, _description_name(files))
    try:
        return Spec(
            name=name,
            title=" ".join((description.description or "").split()) or name,
            layout=NnUNet.name,
            licence=description.licence or description.license or UNKNOWN,
            licence_note="",
            citation=description.citation or description.reference or UNKNOWN,
            mask="structures",
            labels=labels,
            levels=(),
            optional_levels=(),
            regions=regions,
            splits=_SPLITS,
            sources=(_legal(name),),
        )
    except ValueError as error:
        message = f"{_description_name(files)}: {error}"
        raise SourceError(message) from error


def _labels(
    given: Mapping[str, int | list[int]], description_name: str
) -> tuple[dict[int, str], dict[str, tuple[int, ...]]]:
    """Value -> name, and region -> values; a value that only regions name is called after its number."""
    values = {name: (value,) if isinstance(value, int) else tuple(value) for name, value in given.items()}
    if values.pop(_BACKGROUND, None) != (0,):
        message = f"{description_name}: label {_BACKGROUND} is {given.get(_BACKGROUND)}; legal: 0"
        raise SourceError(message)
    highest = max((max(of, default=0) for of in values.values()), default=0)
    labels: dict[int, str] = {}
    for name, of in values.items():
        is_taken = isinstance(given[name], int) and labels.setdefault(of[0], name) != name
        is_below = name == _IGNORE and of != (highest,)
        if is_taken or is_below or not of or not all(1 <= value <= _MOST_LABEL for value in of):
            message = (
                f"{description_name}: label {name!r} is {given[name]}; legal: 1 to {_MOST_LABEL}, each for "
                f"one name, the highest for {_IGNORE!r}"
            )
            raise SourceError(message)
    used = sorted({value for of in values.values() for value in of})
    regions = {name: of for name, of in values.items() if not isinstance(given[name], int)}
    return {value: labels.get(value, f"label {value}") for value in used}, regions


def _legal(name: str) -> str:
    legal = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:128].rstrip(".")
    return legal if is_legal_name(legal) else "dataset"


def _found(files: Files, description: _Description) -> tuple[Found, Found]:
    """Volumes and masks by case; those for training where dataset.json says, if it does."""
    images, masks = find(files.paths, _IMAGES), find(files.paths, _MASKS)
    if description.dataset is None:
        return images, masks
    listed = description.dataset
    return (
        _instead(
            images, {case: [_pointed(*item) for item in enumerate(of.images)] for case, of in listed.items()}
        ),
        _instead(masks, {case: [_pointed(0, of.label)] for case, of in listed.items()}),
    )


def _instead(found: Found, listed: Found) -> Found:
    """The files listed in place of those that were found for training."""
    tests = {case: [file for file in files if file.place == "Ts"] for case, files in found.items()}
    both = {case: [*tests.get(case, ()), *listed.get(case, ())] for case in {*tests, *listed}}
    return {case: files for case, files in both.items() if files}


def _pointed(channel: int, path: str) -> NamedFile:
    ending = SUFFIX if path.endswith(SUFFIX) else ""
    return NamedFile(path, {"place": "Tr", "channel": f"{channel:04}", "ending": ending})


def _inside(path: str) -> str:
    """A path of the dataset's folder.

    Raises:
        CaseRefused: it may lead elsewhere.
    """
    clean = posixpath.normpath(path)
    if clean.startswith(("/", "../")) or clean in {".", ".."} or "\\" in clean or not clean.isprintable():
        message = f"path {path!r} in {_DESCRIPTION}; legal: one below the dataset's own folder"
        raise CaseRefused(message)
    return clean


def _fold(files: Files, wishes: Wishes) -> Mapping[str, Sequence[str]] | None:
    """Case id -> the splits in which the fold names it; None where no fold is asked for."""
    if wishes.fold is None:
        if wishes.split_list is not None:
            message = f"a split list without a fold for {files.name}; legal: --fold N beside it"
            raise UnknownValue(message)
        return None
    if wishes.split_list is None:
        folds = _read(files, _FOLDS, list[_Fold])
    else:
        folds = _parsed(wishes.split_list.encode(), "the split list", list[_Fold])
    if not 0 <= wishes.fold < len(folds):
        message = f"fold {wishes.fold} of {files.name}; legal: 0 to {len(folds) - 1}"
        raise UnknownValue(message)
    named: dict[str, list[str]] = {}
    for split, cases in (("train", folds[wishes.fold].train), ("validation", folds[wishes.fold].val)):
        for case in cases:
            named.setdefault(case, []).append(split)
    return named
