"""Cases as TorchIO's subjects, whose voxels are read when they are needed; for TorchIO 1.2 and 2 (alpha).

    from ctspine_zarr.torchio import subjects

    dataset = torchio.SubjectsDataset(subjects(store.select(split="train")), transform=...)

Needs TorchIO 1.2 or newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.geometry import Affine
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.sample import Name
from ctspine_zarr.read.store import Store

try:
    import torch
    import torchio
except ImportError as error:
    message = "this needs TorchIO: pip install 'ctspine-zarr[torchio]'"
    raise MissingDependency(message) from error

__all__ = ["subject", "subjects"]

_IS_FIRST: Final = torchio.__version__.startswith("1.")


def subjects(store: Store) -> list[torchio.Subject]:
    """A `subject` for each case of a selection, in its order; nothing is read."""
    return [subject(case) for case in store.values()]


def subject(case: Case) -> torchio.Subject:
    """A case as a `torchio.Subject`; nothing is read before its voxels are asked for.

    `image` is a `ScalarImage` of HU, and `segmentation`, where the case has a mask, a `LabelMap`: (1, x, y,
    z), towards right, anterior and superior, in the stored dtypes, nearly always int16 and uint8. `affine` is
    the case's own, to RAS+ mm. Shape and affine are known without a read; in TorchIO 2 a part of an image
    reads that part alone. `case`, `patient_id`, `split` and `source` are texts. Copies and pickles are
    small as long as nothing is loaded.
    """
    record = case.record
    images = {name: _IMAGES[name](Path(record.path, name), reader=_Reader(case, name)) for name in case.names}
    told = {"patient_id": record.patient_id, "split": record.split, "source": record.source}
    return torchio.Subject(**images, case=case.id, **told)


@dataclass(frozen=True)
class _Reader:
    """The reader of one array of a case, whatever the path."""

    case: Case
    name: Name

    def __call__(self, _path: Path) -> tuple[NDArray[Any], Affine]:
        return self.case.voxels(self.name)[...].transpose()[None], self.case.affine

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        # TorchIO copies each subject that it gives.
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        z, y, x = self.case.shape
        return 1, x, y, z

    def create_backend(self, _request: Any) -> _Backend:
        """What TorchIO 2 reads parts by."""
        return _Backend(self)


class _Backend:
    """An array of a case as TorchIO 2 reads it: (1, x, y, z)."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._voxels = reader.case.voxels(reader.name)
        self.shape = reader.shape
        self.dtype = self._voxels.dtype
        self.affine = torch.as_tensor(reader.case.affine)

    def __getitem__(self, item: Any) -> torch.Tensor:
        channel, *parts = normalize_index(item)
        return torch.as_tensor(self._voxels[tuple(parts[::-1])].transpose()[None][channel])

    def to_tensor(self) -> torch.Tensor:
        """The whole array."""
        return self[...]


if _IS_FIRST:

    class _Lazy(torchio.Image):
        """An image whose path is the name of an array in a store, and no file."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"verify_path": False})

        @property
        def shape(self) -> tuple[int, int, int, int]:
            return self.reader.shape if self._is_unread else super().shape

        @property
        def affine(self) -> Affine:
            return self.reader.case.affine if self._is_unread else super().affine

        @affine.setter
        def affine(self, matrix: Any) -> None:
            torchio.Image.affine.fset(self, matrix)

        @property
        def _is_unread(self) -> bool:
            return not self._loaded and isinstance(self.reader, _Reader)

    class _ScalarImage(_Lazy, torchio.ScalarImage):
        """An image of HU."""

    class _LabelMap(_Lazy, torchio.LabelMap):
        """A mask."""

    _IMAGES: dict[Name, Any] = {"image": _ScalarImage, "segmentation": _LabelMap}
else:
    from torchio.data.backends import normalize_index

    _IMAGES = {"image": torchio.ScalarImage, "segmentation": torchio.LabelMap}
