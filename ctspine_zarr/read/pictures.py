"""Pictures of a case: its planes, read and drawn."""

from __future__ import annotations

from typing import Final

from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.canvas import Picture, png
from ctspine_zarr.look.overview import overview, require_height
from ctspine_zarr.look.small import drawn, spine_cut
from ctspine_zarr.read.planes import Fill, read_planes, three_planes
from ctspine_zarr.scaling import require_window

_SIZE: Final = (220, 260)


def picture(record: Record, spec: Spec, fill: Fill, *, height: int, window: tuple[float, float]) -> Picture:
    """The picture of a case; see `Case.preview`.

    Args:
        record: of the case.
        spec: of its dataset.
        fill: of the case.
        height, window: as for `overview`; they are looked at before anything is read.
    """
    height, window = require_height(height), require_window(window)
    planes = three_planes(record, spec, fill)
    return overview(planes, record, spec, height=height, window=window)


def small_picture(record: Record, spec: Spec, fill: Fill) -> bytes | None:
    """The spine of a case from the side, a PNG of 220 x 260 pixels at most; only 7 cm around it are read.

    None where that are more voxels than any CT has there.
    """
    chosen = spine_cut(record, spec)
    if chosen is None:
        return None
    [plane] = read_planes(record, fill, [chosen])
    return png(drawn(plane, _SIZE))
