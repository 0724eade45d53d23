"""Pictures of a store as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ctspine_zarr.errors import DamagedStore, UnknownValue
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.outputs import require_free, whole_file
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.select import Criteria
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import Location

if TYPE_CHECKING:
    from ctspine_zarr.look.canvas import Picture


def preview(
    store: Location,
    output: str | Path,
    case: str | None = None,
    *,
    height: int = 720,
    columns: int | None = None,
    window: tuple[float, float] = WINDOW,
    overwrite: bool = False,
    on_damaged: Callable[[str, DamagedStore], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **criteria: Unpack[Criteria],
) -> tuple[Path, ...]:
    """Write a picture of a case, or contact sheets of all, as PNG files.

    Args:
        store: where it is, as for `open_store`.
        output: the file; its name ends in `.png`, and its folder is made where it does not exist. Of
            several contact sheets each has its number before the ending: `all-1.png`.
        case: its id; by default all cases are drawn, on contact sheets of 200.
        height: of a case's picture, as for `Case.preview`.
        columns, on_damaged: of contact sheets, as for `Store.preview`.
        window: HU that become black and white.
        overwrite: replace files that are there.
        storage_options: as for `open_store`.
        criteria: only cases that fit, as for `Store.select`; with `labels` that label set is drawn in
            place of the masks.

    Returns:
        The paths. Each file is whole or not there.

    Raises:
        UnknownCase: no such case.
        UnknownValue: an argument that is not legal, or no case is left.
        StorageError: a file exists or cannot be written, or the storage fails.
        DamagedStore: the voxels of `case` cannot be read.
    """
    place = Path(output)
    if place.suffix != ".png":
        message = f"output {str(output)!r}; legal: a name that ends in .png"
        raise UnknownValue(message)
    opened = open_store(store, storage_options=storage_options)
    chosen = opened.select(**criteria)
    if case is not None:
        _require_free([place], overwrite=overwrite)
        return (_saved(chosen[case].preview(height=height, window=window), place),)
    if not chosen:
        message = f"no case of {opened.location} fits what was asked for; legal: one or more"
        raise UnknownValue(message)
    places = _numbered(place, chosen)
    _require_free(places, overwrite=overwrite)
    for page, one in enumerate(places, 1):
        _saved(chosen.preview(page, columns=columns, window=window, on_damaged=on_damaged), one)
    return tuple(places)


def _numbered(place: Path, chosen: Store) -> list[Path]:
    if chosen.pages == 1:
        return [place]
    digits = len(str(chosen.pages))
    return [place.with_stem(f"{place.stem}-{page:0{digits}}") for page in range(1, chosen.pages + 1)]


def _require_free(places: list[Path], *, overwrite: bool) -> None:
    if not overwrite:
        for place in places:
            require_free(place)


def _saved(picture: Picture, place: Path) -> Path:
    from ctspine_zarr.look.canvas import png

    with whole_file(place) as file:
        file.write(png(picture))
    return place
