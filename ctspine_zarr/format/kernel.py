"""The native kernel, where its wheel is installed and not turned off."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Final


def _kernel() -> ModuleType | None:
    if os.environ.get("CTSPINE_ZARR_NATIVE") == "0":
        return None
    try:
        return import_module("ctspine_zarr_native")
    except ImportError:
        return None


kernel: Final = _kernel()
