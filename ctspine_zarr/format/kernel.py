"""The native kernel, where it is installed and not switched off by `CTSPINE_ZARR_NATIVE=0`."""

from __future__ import annotations

import importlib
from os import environ
from types import ModuleType
from typing import Final


def _found() -> ModuleType | None:
    if environ.get("CTSPINE_ZARR_NATIVE") == "0":
        return None
    try:
        found = importlib.import_module("ctspine_zarr_native")
    except ImportError:
        return None
    return found if hasattr(found, "predict_decode") else None


native: Final = _found()
"""The module, or None."""
