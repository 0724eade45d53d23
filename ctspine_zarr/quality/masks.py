"""All that is found of a mask, as a build tells it and as it is found anew. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.quality.lists import listed
from ctspine_zarr.quality.rules import label_findings
from ctspine_zarr.quality.spine import Spine


def mask_findings(case: str, spine: Spine, *, has_mask: bool) -> Iterator[Finding]:
    """What is odd about the mask that a dataset gives a case, and what lists say of it.

    Args:
        case: id.
        spine: of its mask.
        has_mask: whether it has one.
    """
    if has_mask:
        yield from label_findings(spine)
    else:
        yield Finding(Code.NO_MASK, "the case has no mask: what it shows is not known")
    yield from listed(case, spine.spec)
