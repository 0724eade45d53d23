"""VerSe 2019 and 2020 as their authors restructured them, after BIDS, and datasets laid out so.

<folder>/rawdata/sub-X/sub-X[_dir-D|_split-S]_ct.nii.gz
<folder>/derivatives/sub-X/sub-X[_dir-D|_split-S]_seg-vert_msk.nii.gz

The folders, such as `dataset-verse19training`, `dataset-02validation` or `03_test`, are the splits.
Centroids, which can be computed from the masks, and previews are left alone.

Facts are those of https://github.com/anjany/verse, of https://osf.io/4skx2/wiki, and of the card of
CTSpine1K, which lists transitional vertebrae of VerSe.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, override

from msgspec import structs

from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.datasets.dataset import Dataset, Files, Survey, Wishes
from ctspine_zarr.datasets.naming import CASE, ENDING, SUFFIX, Found, Wanted, find, require_files
from ctspine_zarr.datasets.vertebrae import REGIONS
from ctspine_zarr.errors import CaseRefused, require_known
from ctspine_zarr.format.label_map import VERSE
from ctspine_zarr.format.spec import UNKNOWN, Author, SourceCollection, Spec

_FOLDERS: Final = MappingProxyType({"training": "train", "validation": "validation", "test": "test"})
"""What a folder's name ends in -> split."""

# `latest` is no test set: what stands before is no letter.
_SPLIT_FOLDER: Final = f"(?P<place>(?:[^/]+/)*(?:[^/]*[^A-Za-z/])?(?P<split>{'|'.join(_FOLDERS)}))"
_SUBJECT: Final = "(?P<subject>[^/]+)"
_IMAGES: Final = re.compile(f"{_SPLIT_FOLDER}/rawdata/{_SUBJECT}/{CASE}_ct{ENDING}")
_MASKS: Final = re.compile(f"{_SPLIT_FOLDER}/derivatives/{_SUBJECT}/{CASE}_seg-vert_msk{ENDING}")

_OF_VERSE: Final = re.compile(r"sub-(verse|gl)\d+")
_OTHER: Final = "other"

_LUMBARIZED: Final = "506 519 532 539 542 565 586 619"
_SACRALIZED: Final = "100 584 594"
TRANSITIONAL: Final = MappingProxyType(
    {f"sub-verse{number}": "lumbarization" for number in _LUMBARIZED.split()}
    | {f"sub-verse{number}": "sacralization" for number in _SACRALIZED.split()}
)
"""Subject -> kind of transitional vertebra, as the card of CTSpine1K lists them by VerSe's older names:
its `verse506_CT-iso` is `sub-verse506_dir-iso`. Not all that VerSe has.
"""

_T13, _SACRUM, _COCCYX = (VERSE[name] for name in ("T13", "sacrum", "coccyx"))

SPEC: Final = Spec(
    name="VerSe",
    title="VerSe: spine CT of many scanners with a mask of every vertebra",
    layout="verse",
    licence="CC-BY-SA-4.0",
    licence_note=(
        "Attribution, share-alike: a store derived from VerSe carries the same licence. Scans named sub-gl* "
        "(source gl) come from another collection, which redistributors hold to be CC BY-NC-ND: look before "
        "you pass them on."
    ),
    citation=(
        "Sekuboyina, A., Husseini, M. E., Bayat, A., et al. VerSe: A Vertebrae Labelling and Segmentation "
        "Benchmark for Multi-detector CT Images. Medical Image Analysis 73 (2021) 102166. "
        "doi:10.1016/j.media.2021.102166. "
        "Löffler, M. T., Sekuboyina, A., Jacob, A., et al. A Vertebral Segmentation Dataset with Fracture "
        "Grading. Radiology: Artificial Intelligence 2 (2020) e190138. doi:10.1148/ryai.2020190138. "
        "Liebl, H., Schinz, D., Sekuboyina, A., et al. A Computed Tomography Vertebral Segmentation Dataset "
        "with Anatomical Variations and Multi-Vendor Scanner Data. Scientific Data 8 (2021) 284. "
        "doi:10.1038/s41597-021-01060-0."
    ),
    mask="vertebrae",
    labels={value: name for name, value in VERSE.items()},
    levels=(*range(1, 20), _T13, *range(20, 26), _SACRUM, _COCCYX),
    optional_levels=(_T13, 25, _SACRUM, _COCCYX),
    regions={
        **REGIONS,
        "thoracic": (*REGIONS["thoracic"], _T13),
        "sacrum": (_SACRUM,),
        "coccyx": (_COCCYX,),
    },
    splits=tuple(_FOLDERS.values()),
    sources=("verse", "gl"),
    # Of the first of its three papers, as far as the citation above names them.
    authors=(
        Author(given="A.", family="Sekuboyina"),
        Author(given="M. E.", family="Husseini"),
        Author(given="A.", family="Bayat"),
    ),
    et_al=True,
    paper="VerSe: A Vertebrae Labelling and Segmentation Benchmark for Multi-detector CT Images",
    year=2021,
    doi="10.1016/j.media.2021.102166",
    url="https://github.com/anjany/verse",
    collections={
        "verse": SourceCollection(
            title="VerSe 2019 and 2020", licence="CC-BY-SA-4.0", url="https://github.com/anjany/verse"
        ),
        "gl": SourceCollection(
            title="scans of another collection, named sub-gl*",
            licence_note="Redistributors hold it to be CC BY-NC-ND: look before you pass it on.",
        ),
    },
)
"""What VerSe says of itself."""

_LIKE: Final = structs.replace(
    SPEC,
    name="dataset in VerSe's layout",
    title="Spine CT with a mask of every vertebra, laid out as VerSe",
    licence=UNKNOWN,
    licence_note="",
    citation=UNKNOWN,
    sources=(*SPEC.sources, _OTHER),
    authors=(),
    et_al=False,
    paper="",
    year=None,
    doi="",
    url="",
    collections={},
)


class VerSe(Dataset):
    """VerSe; a tree of its layout with other subjects is another dataset, of unknown licence."""

    name = SPEC.layout
    title = SPEC.name
    looked_for = f"*training, *validation or *test, holding rawdata/<subject>/<case>_ct{SUFFIX}"
    globs = tuple(
        f"{above}*{folder}/{kind}/*/*"
        # Archives are often unpacked into a folder of their own, and the two years side by side.
        for above in ("", "*[Vv]er[Ss]e*/")
        for folder in _FOLDERS
        for kind in ("rawdata", "derivatives")
    )

    @override
    def recognises(self, paths: Iterable[str]) -> bool:
        return any(_IMAGES.fullmatch(path) for path in paths)

    @override
    def survey(self, files: Files, wishes: Wishes) -> Survey:
        images, masks = find(files.paths, _IMAGES), find(files.paths, _MASKS)
        tree = _Tree(files, images, masks, _is_verse(images))
        spec = SPEC if tree.is_verse else _LIKE
        return Survey(spec, {*images, *masks}, tree.place_of, tree.resolve)

    @override
    def image_path(self, split: str, source: str, case: str) -> str:
        return f"{_folder(split)}/rawdata/{_subject_of(case)}/{case}_ct{SUFFIX}"

    @override
    def mask_path(self, split: str, source: str, case: str) -> str:
        return f"{_folder(split)}/derivatives/{_subject_of(case)}/{case}_seg-vert_msk{SUFFIX}"


@dataclass(frozen=True)
class _Tree:
    """The files by case id."""

    files: Files
    images: Found
    masks: Found
    is_verse: bool

    def place_of(self, case: str) -> tuple[str | None, str | None]:
        splits = {_FOLDERS[f.parts["split"]] for f in (*self.images.get(case, ()), *self.masks.get(case, ()))}
        return splits.pop() if len(splits) == 1 else None, _source_of(case)

    def resolve(self, case: str) -> SourceCase:
        volume, mask = require_files(*self._wanted(case))
        subject = _subject_of(case)
        for file in (volume, mask):
            if file and file.parts["subject"] != subject:
                message = f"{file.path} is in another subject's folder; legal: {subject}"
                raise CaseRefused(message)
        return SourceCase(
            id=case,
            patient_id=subject,
            split=_FOLDERS[volume.parts["split"]],
            source=_source_of(case),
            image=self.files.describe(volume.path),
            segmentation=self.files.describe(mask.path) if mask else None,
            transitional=TRANSITIONAL.get(subject) if self.is_verse else None,
        )

    def _wanted(self, case: str) -> tuple[Wanted, Wanted | None]:
        split, _ = self.place_of(case)
        folder, subject = f"*{_name_of(split)}", _subject_of(case)
        volume = f"{folder}/rawdata/{subject}/{case}_ct{SUFFIX}"
        mask = f"{folder}/derivatives/{subject}/{case}_seg-vert_msk{SUFFIX}"
        # The masks of a test set may be kept back.
        has_mask = case in self.masks or split != "test"
        return (
            Wanted("volume", volume, self.images.get(case, ()), "folder"),
            Wanted("mask", mask, self.masks.get(case, ()), "folder") if has_mask else None,
        )


def _is_verse(cases: Collection[str]) -> bool:
    return all(_OF_VERSE.fullmatch(_subject_of(case)) for case in cases)


def _subject_of(case: str) -> str:
    return case.partition("_")[0]


def _source_of(case: str) -> str:
    match = _OF_VERSE.fullmatch(_subject_of(case))
    return match[1] if match else _OTHER


def _name_of(split: str | None) -> str:
    return next((name for name, known in _FOLDERS.items() if known == split), "")


def _folder(split: str) -> str:
    require_known("split", [split], _FOLDERS.values())
    return f"dataset-{list(_FOLDERS.values()).index(split) + 1:02}{_name_of(split)}"
