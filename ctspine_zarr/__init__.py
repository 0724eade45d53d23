"""CTSpine1K, VerSe or any nnU-Net dataset as one Zarr v3 store: built once, then read by slice or patch.

    import ctspine_zarr as cz

    store = cz.open_store("spine.zarr")
    case = store["liver_0"]
    case.slice(120)["image"]

Public names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctspine_zarr.datasets.cases import Refusal
    from ctspine_zarr.datasets.raw import RawFile
    from ctspine_zarr.datasets.selection import Selection
    from ctspine_zarr.derive.planning import plan_derive
    from ctspine_zarr.errors import CtspineError, NoMask, StoreInUse, StoreUpdated
    from ctspine_zarr.format.histogram import Histogram, Moments, merge_histograms, merge_moments, percentile
    from ctspine_zarr.format.label_map import LabelMap
    from ctspine_zarr.kernel import kernel_version
    from ctspine_zarr.label_sets.add import LabelsAdded, add_labels
    from ctspine_zarr.label_sets.remove import remove_labels
    from ctspine_zarr.label_sets.store import Store, open_store
    from ctspine_zarr.maintain.changes import Change
    from ctspine_zarr.maintain.diff import CaseDifference, Difference, diff
    from ctspine_zarr.maintain.export import CaseExported, Exported, export, export_cases
    from ctspine_zarr.maintain.pictures import preview
    from ctspine_zarr.maintain.remove import remove
    from ctspine_zarr.maintain.repair import Left, Mended, Repaired, repair
    from ctspine_zarr.maintain.reports import CaseReport, Verification
    from ctspine_zarr.maintain.verify import verify
    from ctspine_zarr.publishing.publish import CasePublished, Published, publish
    from ctspine_zarr.raw.download import Downloaded, FileDownloaded, download_raw
    from ctspine_zarr.raw.listing import RawListing, list_raw
    from ctspine_zarr.read.case import Case
    from ctspine_zarr.read.foreground import ct_normalization
    from ctspine_zarr.read.quality import QualityReport, qc, quality_report
    from ctspine_zarr.read.sample import Sample
    from ctspine_zarr.read.scoring import LabelScore, score, score_store, score_summary
    from ctspine_zarr.read.store import Fold
    from ctspine_zarr.sampling.strategies import Balanced, Foreground, Uniform
    from ctspine_zarr.sampling.windows import assemble, window_starts
    from ctspine_zarr.scaling import Normalization
    from ctspine_zarr.tables.files import write_parquet
    from ctspine_zarr.training.datasets import Dataset
    from ctspine_zarr.training.kinds import Patches, Slices, Vertebrae, Volumes, Windows
    from ctspine_zarr.training.making import TrainingSample
    from ctspine_zarr.training.streams import Stream
    from ctspine_zarr.write.build import BuildResult, CaseBuilt, CaseFailed, CaseStarted, build_store
    from ctspine_zarr.write.document import Part
    from ctspine_zarr.write.finalize import finalize
    from ctspine_zarr.write.metadata import MetadataAdded, add_metadata, remove_metadata
    from ctspine_zarr.write.plan import Plan, describe
    from ctspine_zarr.write.planning import plan_build

__all__ = [
    "Balanced",
    "BuildResult",
    "Case",
    "CaseBuilt",
    "CaseDifference",
    "CaseExported",
    "CaseFailed",
    "CasePublished",
    "CaseReport",
    "CaseStarted",
    "Change",
    "CtspineError",
    "Dataset",
    "Difference",
    "Downloaded",
    "Exported",
    "FileDownloaded",
    "Fold",
    "Foreground",
    "Histogram",
    "LabelMap",
    "LabelScore",
    "LabelsAdded",
    "Left",
    "Mended",
    "MetadataAdded",
    "Moments",
    "NoMask",
    "Normalization",
    "Part",
    "Patches",
    "Plan",
    "Published",
    "QualityReport",
    "RawFile",
    "RawListing",
    "Refusal",
    "Repaired",
    "Sample",
    "Selection",
    "Slices",
    "Store",
    "StoreInUse",
    "StoreUpdated",
    "Stream",
    "TrainingSample",
    "Uniform",
    "Verification",
    "Vertebrae",
    "Volumes",
    "Windows",
    "add_labels",
    "add_metadata",
    "assemble",
    "build_store",
    "ct_normalization",
    "describe",
    "diff",
    "download_raw",
    "export",
    "export_cases",
    "finalize",
    "kernel_version",
    "list_raw",
    "merge_histograms",
    "merge_moments",
    "open_store",
    "percentile",
    "plan_build",
    "plan_derive",
    "preview",
    "publish",
    "qc",
    "quality_report",
    "remove",
    "remove_labels",
    "remove_metadata",
    "repair",
    "score",
    "score_store",
    "score_summary",
    "verify",
    "window_starts",
    "write_parquet",
]

_HOMES = {
    "write.metadata": ("MetadataAdded", "add_metadata", "remove_metadata"),
    "write.plan": ("Plan", "describe"),
    "write.planning": ("plan_build",),
    "derive.planning": ("plan_derive",),
    "write.document": ("Part",),
    "write.finalize": ("finalize",),
    "write.build": ("BuildResult", "CaseBuilt", "CaseFailed", "CaseStarted", "build_store"),
    "datasets.cases": ("Refusal",),
    "datasets.raw": ("RawFile",),
    "raw.download": ("Downloaded", "FileDownloaded", "download_raw"),
    "raw.listing": ("RawListing", "list_raw"),
    "datasets.selection": ("Selection",),
    "format.histogram": ("Histogram", "Moments", "merge_histograms", "merge_moments", "percentile"),
    "errors": ("CtspineError", "NoMask", "StoreInUse", "StoreUpdated"),
    "kernel": ("kernel_version",),
    "label_sets.add": ("LabelsAdded", "add_labels"),
    "label_sets.remove": ("remove_labels",),
    "label_sets.store": ("Store", "open_store"),
    "maintain.changes": ("Change",),
    "maintain.diff": ("CaseDifference", "Difference", "diff"),
    "maintain.export": ("CaseExported", "Exported", "export", "export_cases"),
    "maintain.pictures": ("preview",),
    "maintain.remove": ("remove",),
    "maintain.repair": ("Left", "Mended", "Repaired", "repair"),
    "maintain.reports": ("CaseReport", "Verification"),
    "maintain.verify": ("verify",),
    "tables.files": ("write_parquet",),
    "publishing.publish": ("CasePublished", "Published", "publish"),
    "format.label_map": ("LabelMap",),
    "read.case": ("Case",),
    "read.foreground": ("ct_normalization",),
    "read.quality": ("QualityReport", "qc", "quality_report"),
    "read.sample": ("Sample",),
    "read.scoring": ("LabelScore", "score", "score_store", "score_summary"),
    "read.store": ("Fold",),
    "sampling.strategies": ("Balanced", "Foreground", "Uniform"),
    "sampling.windows": ("assemble", "window_starts"),
    "scaling": ("Normalization",),
    "training.datasets": ("Dataset",),
    "training.kinds": ("Patches", "Slices", "Vertebrae", "Volumes", "Windows"),
    "training.making": ("TrainingSample",),
    "training.streams": ("Stream",),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # It takes longer to import than all that help needs.
        from importlib.metadata import version  # noqa: PLC0415

        return version("ctspine-zarr")
    if name not in _MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
