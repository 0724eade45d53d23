"""Samples as MONAI's `MetaTensor`, a reader for its `LoadImaged`, and its data lists.

    from ctspine_zarr import Patches
    from ctspine_zarr.monai import Stream, make_loader

    stream = Stream(store.select(split="train"), Patches(96), transform=monai.transforms.Compose(...))
    for batch in make_loader(stream, batch_size=2):
        batch["image"].affine  # of each sample

Needs MONAI 1.5 or newer.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency, UnknownValue
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Affine, Lattice, Shape, lattice_affine, oriented
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.sample import NAMES, Name
from ctspine_zarr.read.store import Fold, Store
from ctspine_zarr.sampling.units import reorientation_of
from ctspine_zarr.text import some_names
from ctspine_zarr.training.kinds import Kind, Volumes
from ctspine_zarr.training.making import TrainingSample
from ctspine_zarr.training.samples import Samples, SampleSpec

try:
    import monai
    from torch.utils.data import get_worker_info

    from ctspine_zarr import torch
except ImportError as error:
    message = "this needs MONAI: pip install 'ctspine-zarr[monai]'"
    raise MissingDependency(message) from error

__all__ = ["CTSpineReader", "Dataset", "Stream", "case_path", "datalist", "make_loader"]

type Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
type Found = tuple[str, Name, str, str | None]
"""Of a path: store, array, case and label set."""

_ENDING: Final = ".ctspine"
"""Of paths of cases. MONAI takes an ending off where it names files, and ids of cases may have dots."""
_ARRAY: Final = rf"(?P<name>{'|'.join(NAMES)})(?:@(?P<set>[^/\\@#]+))?"
_PATH: Final = re.compile(rf"(?P<store>.+)#{_ARRAY}[/\\](?P<case>[^/\\]+){_ENDING}")
# MONAI makes paths of texts, which takes a slash off, and may put a folder before them.
_URL: Final = re.compile(r"(?:^|[/\\])([A-Za-z][A-Za-z0-9+.-]+):[/\\]+")
_LEGAL_PATH: Final = f"what case_path gives, such as /data/spine.zarr#image/liver_0{_ENDING}"
_STALE: Final = ("affine", "spacing")
"""What a transform of the arrays would leave as it was; theirs is in the arrays."""
_PLACES: Final = ("slice_index", "start", "label")


class _MetaTensors[S](Samples[S]):
    """Samples whose arrays are `MetaTensor`, before the transform."""

    def __init__(self, store: Store, kind: Kind, transform: Callable[[TrainingSample], S] | None) -> None:
        super().__init__(store, _channel_first(kind), transform)

    def spec(self) -> SampleSpec:
        """See `Samples.spec`."""
        return {name: value for name, value in super().spec().items() if name not in _STALE}

    def seed_transform(self, seed: int) -> None:
        """Set the random state of the transform, and of all that it consists of."""
        monai.data.utils.set_rnd(self._transform, seed=seed)

    def _transformed(self, sample: TrainingSample) -> S:
        made: dict[str, Any] = {name: value for name, value in sample.items() if name not in _STALE}
        affine, meta = self._place(sample)
        for name in self._maker.names:
            made[name] = monai.data.MetaTensor(sample[name], meta={"affine": affine.copy(), **meta})
        return super()._transformed(cast("TrainingSample", made))

    def _place(self, sample: TrainingSample) -> tuple[Affine, dict[str, Any]]:
        """The affine of a sample's arrays, and the rest of what MONAI asks for."""
        record, affine = self._record(sample["index"]), sample["affine"]
        _, cut = self._plan.size_of(sample["index"])
        if cut is not None:
            affine = _in_plane(affine, reorientation_of(record, self.kind.orientation).axes.index(cut))
        if isinstance(self.kind, Volumes) and self.kind.crop is None:
            grid = _source_grid(record)
        else:
            grid = (affine, sample["image"].shape[1:])
        return affine, _meta(grid) | _named(sample)


class Dataset[S](torch.Dataset[S], _MetaTensors[S]):
    """Samples of one kind by index, as `ctspine_zarr.torch.Dataset` has them, for MONAI's transforms.

    `image` and `segmentation` are `MetaTensor`, always channel first, (1, z, y, x) or (1, y, x), whatever
    `channel` says. `affine` is that of what they hold, indices in the order of the axes -> RAS+ mm: (4, 4)
    float64, and stays right through every transform, so that samples have no `affine` and `spacing` of
    their own. A slice's is (3, 3), in its plane: distances are exact, and the plane's two axes are those of
    R, A and S that it lies along, in this order, under the names that MONAI has for two, R and A.

    `meta` is that of a file after `EnsureChannelFirstd`, which would add another channel here: `space` RAS,
    `filename_or_obj`, by which `SaveImaged` names the file for the case, and `patch_index`, the place of a
    slice, patch, window or vertebra, which it adds. `original_affine` and `spatial_shape` are the grid that
    it saves on with `resample=True`: the source image's for volumes that are not cropped, at any spacing,
    and the sample's own for all else.

    Args, errors: as for `ctspine_zarr.torch.Dataset`; `transform` takes samples as above.
    """


class Stream[S](torch.Stream[S], _MetaTensors[S]):
    """Shuffled samples of one kind, as `ctspine_zarr.torch.Stream` has them, in the form of `Dataset` here.

    Args, errors: as for `ctspine_zarr.torch.Stream`.
    """


def make_loader(dataset: Dataset[Any] | Stream[Any], batch_size: int = 1, **options: Any) -> torch.Loader:
    """A loader as `ctspine_zarr.torch.make_loader` makes it, with MONAI's collation.

    By default `collate_fn` is `list_data_collate`: batches are `MetaTensor` with the affine of each sample,
    and of transforms that return lists, such as crops, the items of `batch_size` lists become one batch.
    In each worker the transform's random state is set anew, from `seed`; without workers it is left alone.

    Args, errors: as for `ctspine_zarr.torch.make_loader`; `dataset` is one of this module.
    """
    _require_own(dataset)
    seeded = partial(_seed_worker, then=options.pop("worker_init_fn", None))
    return torch.make_loader(
        dataset, batch_size, **{"collate_fn": monai.data.list_data_collate} | options, worker_init_fn=seeded
    )


def case_path(store: Store, case: str, name: Name = "image") -> str:
    """The path of a case's array, by which `CTSpineReader` finds it: `STORE#image/CASE.ctspine`.

    The mask of a selection with a label set is `STORE#segmentation@SET/CASE.ctspine`. A plain text, that
    JSON and pickle take; MONAI names files for CASE.

    Raises:
        UnknownCase: no such case in the store.
        UnknownValue: no such array.
        NoMask: the mask of a case that has none.
    """
    store[case].voxels(name)
    chosen = f"@{store.label_set}" if store.label_set is not None and name == "segmentation" else ""
    return f"{store.location}#{name}{chosen}/{case}{_ENDING}"


class CTSpineReader(monai.data.ImageReader):
    """A reader of cases for `LoadImaged(keys, reader=CTSpineReader())`, by the paths of `case_path`.

    It gives what `NibabelReader` gives of the source file after `Orientationd(axcodes="RAS")`: (x, y, z)
    voxels, in the stored dtype, and their affine; `original_affine` and `spatial_shape` are the source's,
    so that `SaveImaged` saves on its grid. Several paths are stacked as channels, as MONAI does. Stores
    are opened once, and go along where it is pickled.

    Args:
        store: of all paths; by default each says which. Give it for a store that no text opens, such as
            one in memory or of an object.
        options: of `open_store`, such as `storage_options`.
    """

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self._store = store
        self._options = options
        self._opened: dict[tuple[str, str | None], Store] = {}

    def verify_suffix(self, filename: Paths) -> bool:
        """Whether every path is one of `case_path`; nothing is read."""
        return all(_PATH.fullmatch(path) for path in _paths(filename))

    def read(self, data: Paths, **_: Any) -> list[Found]:
        """Store, array, case and label set of each path; nothing is read.

        Raises:
            UnknownValue: another path.
        """
        return [_parsed(path) for path in _paths(data)]

    def get_data(
        self, img: Sequence[tuple[str, Name, str, str | None]]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Voxels and their meta data.

        Args:
            img: what `read` gave.

        Returns:
            (x, y, z) of one array, (channels, x, y, z) of several; and `affine`, `original_affine`,
            `spatial_shape`, `space` and `original_channel_dim`.

        Raises:
            UnknownCase: no such case.
            NoMask: the mask of a case that has none.
            UnknownValue: several arrays of different grids.
            DamagedStore: the chunks cannot be read.
        """
        cases = [(self._case(store, case, chosen), name) for store, name, case, chosen in img]
        _require_one_grid([case for case, _ in cases])
        arrays = [case.voxels(name)[...].transpose() for case, name in cases]
        first, _ = cases[0]
        meta = {"affine": first.affine, **_meta(_source_grid(first.record))}
        if len(arrays) == 1:
            return arrays[0], meta
        return np.stack(arrays), meta | {"original_channel_dim": 0}

    def _case(self, location: str, case: str, chosen: str | None) -> Case:
        if (location, chosen) not in self._opened:
            store = open_store(location, **self._options) if self._store is None else self._store
            self._opened[location, chosen] = store if chosen is None else store.select(labels=chosen)
        return self._opened[location, chosen][case]


def datalist(store: Store, folds: Sequence[Fold] | None = None) -> dict[str, Any]:
    """A data list of the Decathlon's form, plain values that JSON takes, for `load_decathlon_datalist`.

    `training`, `validation` and `testing` are lists of `{"image": PATH, "label": PATH}`, paths as `case_path`
    gives them, in the store's order; test cases without a mask have no `label`. `name`, `licence`,
    `modality` and `labels` describe the dataset.

    Args:
        store: the selection. Its own splits are taken; what is neither train nor validation is testing.
        folds: as `Store.folds` gives them, instead of train and validation. Of several, `training` has all
            cases, each with `fold`, the number of the one that validates on it; of a single one, `training`
            and `validation` are its own. Cases of the split test that are in none are testing.

    Raises:
        UnknownCase: a fold with a case that is not in the store.
        UnknownValue: cases to train or validate on that have no mask; several folds that do not validate
            on each case exactly once.
    """
    lists = _by_splits(store) if folds is None else _by_folds(store, folds)
    for name in ("training", "validation"):
        _require_masks(name, [case for case, _ in lists[name]])
    labels = {"0": "background"} | {str(value): label for value, label in store.spec.labels.items()}
    return {
        "name": store.spec.name,
        "licence": store.spec.licence,
        "modality": {"0": "CT"},
        "labels": labels,
        **{name: [_item(store, case) | more for case, more in cases] for name, cases in lists.items()},
    }


type _Listed = dict[str, list[tuple[Case, dict[str, int]]]]


def _by_splits(store: Store) -> _Listed:
    lists: _Listed = {"training": [], "validation": [], "testing": []}
    key_of = {"train": "training", "validation": "validation"}
    for case in store.values():
        lists[key_of.get(case.record.split, "testing")].append((case, {}))
    return lists


def _by_folds(store: Store, folds: Sequence[Fold]) -> _Listed:
    known = {case for fold in folds for side in (fold.train, fold.validation) for case in side}
    testing: list[tuple[Case, dict[str, int]]] = [
        (case, {}) for case in store.select(split="test").values() if case.id not in known
    ]
    if len(folds) == 1:
        sides = {"training": folds[0].train, "validation": folds[0].validation}
        own: _Listed = {name: [(case, {}) for case in side.values()] for name, side in sides.items()}
        return own | {"testing": testing}
    _require_dealt(folds, known)
    training = [
        (case, {"fold": number}) for number, fold in enumerate(folds) for case in fold.validation.values()
    ]
    return {"training": training, "validation": [], "testing": testing}


def _item(store: Store, case: Case) -> dict[str, Any]:
    label = {"label": case_path(store, case.id, "segmentation")} if case.has_mask else {}
    return {"image": case_path(store, case.id)} | label


def _require_dealt(folds: Sequence[Fold], known: Iterable[str]) -> None:
    times = Counter(case for fold in folds for case in fold.validation)
    if other := [case for case in known if times[case] != 1]:
        message = (
            f"{len(folds)} folds that validate on {some_names(other)} not exactly once; legal: those of "
            "store.folds(count), or a single fold"
        )
        raise UnknownValue(message)


def _require_masks(name: str, cases: Sequence[Case]) -> None:
    if without := [case.id for case in cases if not case.has_mask]:
        message = f"{name} cases without a mask: {some_names(without)}; legal: select(has_mask=True)"
        raise UnknownValue(message)


def _require_one_grid(cases: Sequence[Case]) -> None:
    first, *others = cases
    for case in others:
        if case.shape != first.shape or not np.allclose(case.affine, first.affine):
            message = f"{first.id} and {case.id} as channels of one image; legal: cases of one grid"
            raise UnknownValue(message)


def _channel_first(kind: Kind) -> Kind:
    # What is no kind is refused where samples are made.
    return dataclasses.replace(kind, channel=True) if isinstance(kind, Kind) else kind


def _require_own(asked: object) -> None:
    if not isinstance(asked, _MetaTensors):
        message = f"{type(asked).__name__} to load from; legal: the datasets and streams of {__name__}"
        raise UnknownValue(message)


def _seed_worker(worker: int, then: Callable[[int], None] | None) -> None:
    info = get_worker_info()
    info.dataset.seed_transform(info.seed)
    if then is not None:
        then(worker)


def _source_grid(record: Record) -> tuple[Affine, Shape]:
    """Affine and shape of the source image's (i, j, k) array."""
    source = oriented(record.orientation)
    return lattice_affine(record.affine, source, Lattice(record.shape)), source.shape(record.shape)


def _meta(grid: tuple[Affine, Sequence[int]]) -> dict[str, Any]:
    affine, shape = grid
    return {
        "original_affine": affine.copy(),
        "spatial_shape": np.array(shape),
        "space": "RAS",
        # None, as files of NIfTI have it: else MONAI 1.6 takes a volume that it saves for a plane.
        "original_channel_dim": float("nan"),
    }


def _named(sample: TrainingSample) -> dict[str, str]:
    """What files are named by."""
    values: Mapping[str, Any] = sample
    places = [np.atleast_1d(values[key]) for key in _PLACES if key in values]
    index = {"patch_index": "_".join(map(str, places[0].tolist()))} if places else {}
    return {"filename_or_obj": sample["case"] + _ENDING} | index


def _in_plane(affine: Affine, cut: int) -> Affine:
    """(3, 3), the indices of a slice -> mm in its plane.

    Args:
        affine: (4, 4), of the box that the slice is.
        cut: the axis of the box that the slice does not have.
    """
    columns = np.delete(affine[:3, :3], cut, axis=1)
    normal = int(np.abs(np.cross(columns[:, 0], columns[:, 1])).argmax())
    directions, lengths = np.linalg.qr(columns)
    # The rotation nearest to what an oblique plane's axes look like along the body's: lengths stay.
    left, _, right = np.linalg.svd(np.delete(directions, normal, axis=0))
    found = np.eye(3)
    found[:2, :2] = left @ right @ lengths
    found[:2, 2] = np.delete(affine[:3, 3], normal)
    return found


def _paths(asked: Paths) -> list[str]:
    several = [asked] if isinstance(asked, str | os.PathLike) else asked
    return [os.fspath(path) for path in several]


def _parsed(path: str) -> Found:
    found = _PATH.fullmatch(path)
    if found is None:
        message = f"path {path!r}; legal: {_LEGAL_PATH}"
        raise UnknownValue(message)
    location = found["store"]
    if (url := _URL.search(location)) is not None:
        location = f"{url[1]}://{location[url.end() :]}"
    return location, cast("Name", found["name"]), found["case"], found["set"]
