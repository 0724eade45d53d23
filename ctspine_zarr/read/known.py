"""What is known of one case of a store, without reading a voxel."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Self

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import Facts, NiftiSource, Receipt, decode_facts, decode_receipt
from ctspine_zarr.format.record import Record, Triple
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Affine, Lattice, Shape, lattice_affine, oriented
from ctspine_zarr.read.arrays import arrays_of
from ctspine_zarr.read.original import kept_source
from ctspine_zarr.read.proof import proven
from ctspine_zarr.read.sample import NAMES, Name, require_array
from ctspine_zarr.storage import Storage
from ctspine_zarr.text import shape_text, spacing_text


class KnownCase:
    """A case as root, catalog and its own small documents have it, and its arrays, unread.

    Making one reads nothing.

    Attributes:
        entry: the case's line of the catalog.
        record: what it says of the case.
        spec: the dataset's description.
    """

    def __init__(self, storage: Storage, entry: Entry, spec: Spec, reading: Reading) -> None:
        self._storage = storage
        self._reading = reading
        self.entry = entry
        self.record: Record = entry.record
        self.spec = spec

    def __reduce__(self) -> tuple[type[Self], tuple[Storage, Entry, Spec, Reading]]:
        # Caches are left out of a pickle: reading again is faster than sending.
        return type(self), (self._storage, self.entry, self.spec, self._reading)

    def __repr__(self) -> str:
        grid = f"{shape_text(self.shape)} at {spacing_text(self.spacing)} mm"
        labels = ", ".join(self.labels) if self.has_mask else "no mask"
        return f"<Case {self.id} ({self.record.split}, {self.record.source}) {grid}: {labels}>"

    @property
    def id(self) -> str:
        """The case's name: that of its source file, as the dataset names cases."""
        return self.record.id

    @property
    def shape(self) -> Shape:
        """(z, y, x) voxels."""
        return self.record.shape

    @property
    def spacing(self) -> Triple:
        """Voxel size in mm, (z, y, x)."""
        return self.record.spacing

    @property
    def affine(self) -> Affine:
        """(4, 4) float64, canonical (x, y, z) -> RAS+ mm; note the order of the indices."""
        return self.record.affine_matrix

    def affine_of(self, orientation: str) -> Affine:
        """(4, 4) float64, indices of an array in that orientation -> RAS+ mm.

        Args:
            orientation: as for `to_dask`; "RAS" gives `affine` itself.

        Raises:
            UnknownValue: no such orientation.
        """
        return lattice_affine(self.affine, oriented(orientation), Lattice(self.shape))

    @property
    def has_mask(self) -> bool:
        """Whether the case has a mask; those of a test set may have none."""
        return self.record.has_mask

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels present, in order of value."""
        return tuple(label.name for label in self.record.labels)

    @cached_property
    def facts(self) -> Facts:
        """What the case's attributes say of its source files; one small read, proven by the catalog.

        Raises:
            DamagedStore: they are missing or altered.
        """
        key = f"{self.record.path}/{layout.METADATA}"
        return proven(self._storage, self._reading, key, self.entry.group, decode_facts)

    @cached_property
    def receipt(self) -> Receipt:
        """The case's receipt: its objects, and counts of HU by label; one read, proven by the catalog.

        Raises:
            DamagedStore: it is missing or altered.
        """
        key = self.record.receipt_key
        parse = partial(decode_receipt, key=key)
        return proven(self._storage, self._reading, key, self.entry.receipt, parse)

    def nifti_source(self, which: Name) -> NiftiSource:
        """What was kept of a source file: name, digests, header, scaling, reorientation.

        Raises:
            DamagedStore: the case's attributes cannot be read.
        """
        require_array(which, self.names, self._place)
        return kept_source(self.facts, which, self.spec.mask, self._place)

    def voxels(self, which: Name) -> Voxels:
        """The stored array as an array-like, without dask.

        Raises:
            UnknownValue: no such array.
            NoMask: the mask of a case that has none.
        """
        require_array(which, self.names, self._place)
        return self._arrays[which]

    @property
    def names(self) -> tuple[Name, ...]:
        """Names of the arrays that the case has."""
        return NAMES if self.has_mask else NAMES[:1]

    @property
    def _place(self) -> str:
        return f"{self._storage.location}: case {self.id}"

    @cached_property
    def _arrays(self) -> dict[Name, Voxels]:
        return arrays_of(self._storage, self.record, self.spec, self._reading)
