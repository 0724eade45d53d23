"""Label maps that a file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.label_map import AnyMap, Ignored, LabelMap
from ctspine_zarr.format.spec import Spec


def label_map_of(asked: AnyMap | Path, spec: Spec, ignore: Ignored = ()) -> LabelMap:
    """The map that is asked for, of a dataset.

    Args:
        asked: as for `LabelMap.of`; or a JSON file, by its path, that holds a dictionary.
        spec, ignore: as for `LabelMap.of`.

    Raises:
        UnknownValue: the file cannot be read, or the map is not legal.
    """
    if isinstance(asked, Path) or (isinstance(asked, str) and asked.endswith(".json")):
        return LabelMap.of(_loaded(Path(asked)), spec, ignore=ignore)
    return LabelMap.of(asked, spec, ignore=ignore)


def _loaded(path: Path) -> Mapping[Any, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"label map {path}: {error}; legal: a JSON file of labels and their values"
        raise UnknownValue(message) from error
    if not isinstance(found, Mapping):
        message = f"label map {path} holds a {type(found).__name__}; legal: labels and their values"
        raise UnknownValue(message)
    return found
