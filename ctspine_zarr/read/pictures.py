"""Pictures of a case: its planes, read and drawn."""

from __future__ import annotations

from typing import Final

from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.canvas import Picture
from ctspine_zarr.look.line import centre_line
from ctspine_zarr.look.overview import VIEWS, overview, require_height, require_window
from ctspine_zarr.look.planes import Plane, cut
from ctspine_zarr.look.sheet import thumbnail
from ctspine_zarr.read.planes import Fill, read_planes

_THUMBNAIL: Final = (220, 260)
# To either side of the spine: a vertebra with its processes, and some of what is around it.
_THUMBNAIL_MM: Final = 70.0


def picture(record: Record, spec: Spec, fill: Fill, *, height: int, window: tuple[float, float]) -> Picture:
    """The picture of a case; see `Case.preview`.

    Args:
        record: of the case.
        spec: of its dataset.
        fill: of the case.
        height, window: as for `overview`.
    """
    require_height(height)
    window = require_window(window)
    line = centre_line(record, spec)
    planes = read_planes(record, fill, [cut(view, record.shape, line) for view in VIEWS])
    return overview(dict(zip(VIEWS, planes, strict=True)), record, spec, height=height, window=window)


def sagittal(record: Record, spec: Spec, fill: Fill, reach_mm: float | None = None) -> Plane:
    """The sagittal plane of a case along its spine.

    Args:
        record, spec, fill: as for `picture`.
        reach_mm: to either side of the spine; by default all.
    """
    reach = None if reach_mm is None else max(1, round(reach_mm / record.spacing[1]))
    [plane] = read_planes(record, fill, [cut("sagittal", record.shape, centre_line(record, spec), reach)])
    return plane


def small_picture(record: Record, spec: Spec, fill: Fill, window: tuple[float, float]) -> Picture:
    """The spine of a case from the side, 220 x 260 pixels at most; only 7 cm around it are read."""
    return thumbnail(sagittal(record, spec, fill, _THUMBNAIL_MM), _THUMBNAIL, window)
