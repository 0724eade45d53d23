"""CTSpine1K, and datasets laid out as it is.

raw_data/volumes/<source>/<case>.nii.gz       (the card's spelling `rawdata/` is accepted)
raw_data/labels/<source>/<case>_seg.nii.gz
metadata/data_split.txt
metadata/metadata_colonog.xlsx                (optional)
metadata/Path.csv, or Path.csv                (optional: in the authors' repository, not on the Hub)

Facts are counted from the authors' split list and stated by the dataset's card and paper
(Deng et al., arXiv:2105.14711).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final, override

from msgspec import structs

from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.datasets.dataset import Dataset, Files, Survey, Wishes
from ctspine_zarr.datasets.naming import CASE, ENDING, SUFFIX, Found, Wanted, find, require_files
from ctspine_zarr.datasets.series import SERIES_LIST, SeriesByCase, read_series
from ctspine_zarr.datasets.splits import SPLITS, SplitList, parse_splits
from ctspine_zarr.datasets.spreadsheet import Rows, read_spreadsheet
from ctspine_zarr.datasets.vertebrae import REGIONS, VERTEBRAE
from ctspine_zarr.errors import CaseRefused, SourceError
from ctspine_zarr.format.spec import UNKNOWN, Author, SourceCollection, Spec

HUB: Final = "hf://datasets/alexanderdann/CTSpine1K"
"""CTSpine1K on the Hub."""

DATA_FOLDERS: Final = ("raw_data", "rawdata")
SPLIT_FILE: Final = "metadata/data_split.txt"
SPREADSHEET: Final = "metadata/metadata_colonog.xlsx"
SERIES_LISTS: Final = (f"metadata/{SERIES_LIST}", SERIES_LIST)
MASK_SUFFIX: Final = "_seg"

SOURCE_PATTERNS: Final = MappingProxyType(
    {
        "COLONOG": re.compile(r"1\.3\.6\.1\.4\.1\.9328\.50\.4\.\d+|CTC-\d+"),
        "COVID-19": re.compile(r"volume-covid19-.+_ct"),
        "HNSCC-3DCT-RT": re.compile(r"HN_\w+"),
        "MSD-T10": re.compile(r"liver_\d+"),
    }
)
"""The four source datasets and the form of their case ids."""

_COLONOG: Final = "1.3.6.1.4.1.9328.50.4."
_LUMBARIZED: Final = "0004 0067 0149 0167 0175 0189 0215 0261 0267 0344 0401 0587 0666 0672 0699 0737"
_SACRALIZED: Final = "0064 0104 0107 0110 0537 0554 0555 0615 0721"
TRANSITIONAL: Final = MappingProxyType(
    {"liver_106": "lumbarization", "liver_83": "sacralization", "liver_93": "sacralization"}
    | {_COLONOG + number: "lumbarization" for number in _LUMBARIZED.split()}
    | {_COLONOG + number: "sacralization" for number in _SACRALIZED.split()}
)
"""Case id -> kind of transitional vertebra, as the card lists them.

The `verse*` names that it lists besides are VerSe's, and are in no split.
"""

# The paper's, as the card cites it.
_AUTHORS: Final = (
    *("Yang Deng", "Ce Wang", "Yuan Hui", "Qian Li", "Jun Li", "Shiwei Luo", "Mengke Sun", "Quan Quan"),
    *("Shuxin Yang", "You Hao", "Pengbo Liu", "Honghu Xiao", "Chunpeng Zhao", "Xinbao Wu", "S. Kevin Zhou"),
)

_TCIA: Final = "The Cancer Imaging Archive"
# The authors' README says so of "all existing sub-datasets", without a version.
_LICENCE_NOTE: Final = "CTSpine1K's authors state CC-BY-NC-SA for all of their sources."

# Names and addresses are those of the authors' README, but for the decathlon's, to whose file it links.
COLLECTIONS: Final = MappingProxyType(
    {
        # Licence and citation: version 25 of the collections' index of the NCI's Imaging Data Commons, which
        # has none of the others.
        "COLONOG": SourceCollection(
            title=f"CT COLONOGRAPHY, {_TCIA}",
            licence="CC-BY-3.0",
            licence_note=_LICENCE_NOTE,
            citation=(
                "Smith, K., Clark, K., Bennett, W. C., Nolan, T., Kirby, J., Wolfsberger, M., Moulton, J., "
                "Vendt, B., & Freymann, J. (2015). Data From CT COLONOGRAPHY (ACRIN 6664) [Data set]. The "
                "Cancer Imaging Archive. https://doi.org/10.7937/K9/TCIA.2015.NWTESAY1"
            ),
            doi="10.7937/K9/TCIA.2015.NWTESAY1",
            url="https://wiki.cancerimagingarchive.net/display/Public/CT+COLONOGRAPHY",
        ),
        "COVID-19": SourceCollection(
            title=f"CT Images in COVID-19, {_TCIA}",
            licence_note=_LICENCE_NOTE,
            url="https://wiki.cancerimagingarchive.net/display/Public/CT+Images+in+COVID-19",
        ),
        "HNSCC-3DCT-RT": SourceCollection(
            title=f"HNSCC-3DCT-RT, {_TCIA}",
            licence_note=_LICENCE_NOTE,
            url="https://wiki.cancerimagingarchive.net/pages/viewpage.action?pageId=39879146",
        ),
        # It calls them MSD T10; the card names the task as well. The licence is that of all of its tasks.
        "MSD-T10": SourceCollection(
            title="Task03_Liver, Medical Segmentation Decathlon",
            licence="CC-BY-SA-4.0",
            licence_note=_LICENCE_NOTE,
            url="http://medicaldecathlon.com/",
        ),
    }
)
"""Source -> what is known of the collection that its cases were taken from."""


def _author(name: str) -> Author:
    given, _, family = name.rpartition(" ")
    return Author(given=given, family=family)


SPEC: Final = Spec(
    name="CTSpine1K",
    title="CTSpine1K: spine CT from four sources with a mask of every vertebra",
    layout="ctspine1k",
    licence="CC-BY-NC-SA-4.0",
    licence_note=(
        "Attribution, non-commercial, share-alike: a store derived from CTSpine1K carries the same licence."
    ),
    citation=(
        "Deng, Y., Wang, C., Hui, Y., et al. CTSpine1K: A Large-Scale Dataset for Spinal Vertebrae "
        "Segmentation in Computed Tomography. arXiv:2105.14711."
    ),
    mask="vertebrae",
    labels=dict(VERTEBRAE),
    levels=tuple(VERTEBRAE),
    optional_levels=(25,),
    regions=dict(REGIONS),
    splits=tuple(SPLITS.values()),
    sources=tuple(SOURCE_PATTERNS),
    authors=tuple(_author(name) for name in _AUTHORS),
    paper="CTSpine1K: A Large-Scale Dataset for Spinal Vertebrae Segmentation in Computed Tomography",
    year=2021,
    # That arXiv gives every paper, by its number.
    doi="10.48550/arXiv.2105.14711",
    url="https://github.com/MIRACLE-Center/CTSpine1K",
    collections=dict(COLLECTIONS),
)
"""What CTSpine1K says of itself."""

_LIKE: Final = structs.replace(
    SPEC,
    name="dataset in CTSpine1K's layout",
    title="Spine CT with a mask of every vertebra, laid out as CTSpine1K",
    licence=UNKNOWN,
    licence_note="",
    citation=UNKNOWN,
    authors=(),
    paper="",
    year=None,
    doi="",
    url="",
    collections={},
)


class CTSpine1K(Dataset):
    """CTSpine1K; a tree of its layout with cases of other names is another dataset, of unknown licence."""

    name = SPEC.layout
    title = SPEC.name
    looked_for = f"{' or '.join(f'{name}/volumes' for name in DATA_FOLDERS)}, holding <source>/<case>{SUFFIX}"
    globs = (
        *(f"{name}/{kind}/*/*" for name in DATA_FOLDERS for kind in ("volumes", "labels")),
        SPLIT_FILE,
        SPREADSHEET,
        *SERIES_LISTS,
    )
    heeds = ("split_list",)

    @override
    def recognises(self, paths: Iterable[str]) -> bool:
        return _data_folder(paths) is not None

    @override
    def survey(self, files: Files, wishes: Wishes) -> Survey:
        data = _data_folder(files.paths) or DATA_FOLDERS[0]
        splits = _splits(files, wishes)
        volumes = find(files.paths, _pattern(data, "volumes", ""))
        _require_volumes(files, volumes, f"{data}/volumes")
        masks = find(files.paths, _pattern(data, "labels", MASK_SUFFIX))
        is_itself = _is_ctspine1k(volumes, splits)
        beside = _rows(files), _series(files)
        tree = _Tree(files, data, splits, volumes, masks, *beside, is_itself)
        return Survey(SPEC if is_itself else _LIKE, {*volumes, *masks, *splits}, tree.place_of, tree.resolve)

    @override
    def image_path(self, split: str, source: str, case: str) -> str:
        return f"{DATA_FOLDERS[0]}/volumes/{source}/{case}{SUFFIX}"

    @override
    def mask_path(self, split: str, source: str, case: str) -> str:
        return f"{DATA_FOLDERS[0]}/labels/{source}/{case}{MASK_SUFFIX}{SUFFIX}"


@dataclass(frozen=True)
class _Tree:
    """The files by case id, and what the lists beside them say."""

    files: Files
    data: str
    splits: SplitList
    volumes: Found
    masks: Found
    rows: Rows
    series: SeriesByCase
    is_ctspine1k: bool

    def place_of(self, case: str) -> tuple[str | None, str | None]:
        listed, volumes = self.splits.get(case, ()), self.volumes.get(case)
        return listed[0] if len(listed) == 1 else None, volumes[0].place if volumes else source_of(case)

    def resolve(self, case: str) -> SourceCase:
        split = _one_split(self.splits.get(case, ()))
        image, mask = require_files(*self._wanted(case))
        return SourceCase(
            id=case,
            patient_id=case,
            split=split,
            source=image.place,
            image=self.files.describe(image.path),
            segmentation=self.files.describe(mask.path) if mask else None,
            transitional=TRANSITIONAL.get(case) if self.is_ctspine1k else None,
            spreadsheet=self.rows.get(case, ()),
            series=self.series.get(case, ()),
        )

    def _wanted(self, case: str) -> tuple[Wanted, Wanted]:
        volume = f"{self.data}/volumes/<source>/{case}{SUFFIX}"
        mask = f"{self.data}/labels/<source>/{case}{MASK_SUFFIX}{SUFFIX}"
        return (
            Wanted("volume", volume, self.volumes.get(case, ()), "source"),
            Wanted("mask", mask, self.masks.get(case, ()), "source"),
        )


def source_of(case: str) -> str | None:
    """The source dataset that a case is named after, or None where its form is unknown."""
    matches = (name for name, pattern in SOURCE_PATTERNS.items() if pattern.fullmatch(case))
    return next(matches, None)


def _data_folder(paths: Iterable[str]) -> str | None:
    tops = {path.partition("/volumes/")[0] for path in paths if "/volumes/" in path}
    return next((name for name in DATA_FOLDERS if name in tops), None)


def _pattern(data: str, kind: str, suffix: str) -> re.Pattern[str]:
    sources = "|".join(map(re.escape, SOURCE_PATTERNS))
    return re.compile(f"{data}/{kind}/(?P<place>{sources})/{CASE}{suffix}{ENDING}")


def _splits(files: Files, wishes: Wishes) -> SplitList:
    if wishes.split_list is not None:
        return parse_splits(wishes.split_list)
    data, reason = files.read(SPLIT_FILE), "not found"
    try:
        if data is not None:
            return parse_splits(data.decode())
    except UnicodeDecodeError as error:
        reason = str(error)
    message = f"no split list at {files.name}/{SPLIT_FILE} ({reason}); give one with --split-file FILE"
    raise SourceError(message)


def _rows(files: Files) -> Rows:
    sheet = files.read(SPREADSHEET)
    return {} if sheet is None else read_spreadsheet(sheet, f"{files.name}/{SPREADSHEET}")


def _series(files: Files) -> SeriesByCase:
    path = next((path for path in SERIES_LISTS if path in files.paths), None)
    data = None if path is None else files.read(path)
    if data is None:
        return {}
    name = f"{files.name}/{path}"
    try:
        return read_series(data.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        message = f"{name}: byte {error.start} is no UTF-8; legal: UTF-8, with or without a mark"
        raise SourceError(message) from error


def _require_volumes(files: Files, volumes: Found, folder: str) -> None:
    if not volumes:
        inside = (PurePosixPath(path) for path in files.paths if path.startswith(f"{folder}/"))
        seen = sorted({path.relative_to(folder).parts[0] for path in inside})
        message = (
            f"no {SUFFIX} below {files.name}/{folder}; seen there: {', '.join(seen or ['nothing'])}; "
            f"legal: {', '.join(SOURCE_PATTERNS)}"
        )
        raise SourceError(message)


def _is_ctspine1k(volumes: Found, splits: Collection[str]) -> bool:
    """Whether the names of all cases that may be built are of the form of their source."""
    return all(
        SOURCE_PATTERNS[file.place].fullmatch(case)
        for case, files in volumes.items()
        for file in files
        if case in splits
    )


def _one_split(listed: Sequence[str]) -> str:
    if len(listed) == 1:
        return listed[0]
    seen = f"named in two splits, {' and '.join(listed)}" if listed else "in no split of the split list"
    message = f"{seen}; legal: one"
    raise CaseRefused(message)
