"""The JSON documents that the commands print with --json, each made by one function. Pure, but for `store`.

docs/commands.md has the keys of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from ctspine_zarr.errors import CtspineError
from ctspine_zarr.format.receipt import record_json
from ctspine_zarr.text import without_password

if TYPE_CHECKING:
    import pandas as pd

    import ctspine_zarr as cz
    from ctspine_zarr.datasets.metadata import Joined


def planned(plan: cz.Plan) -> dict[str, Any]:
    """What a build will do, as it stands now: free disk is asked for."""
    return {
        "location": plan.storage.location,
        "source": without_password(plan.document.source),
        "dataset": plan.spec.name,
        "licence": plan.spec.licence,
        "codec": plan.profile.name,
        "chunk": list(plan.document.chunk),
        "part": str(plan.part) if plan.part else None,
        "workers": plan.workers,
        "cases": _counts(plan),
        "pending": [one.case.id for one in plan.pending],
        "whole": [entry.record.id for entry in plan.whole],
        "refused": _refused(plan.refused),
        "metadata": _joined(plan.joined),
        "read_bytes": plan.read_bytes,
        "download_bytes": plan.download_bytes,
        "store_bytes": plan.store_bytes,
        "needed_bytes": plan.needed_bytes,
        "free_bytes": plan.free_bytes,
        "memory_bytes": plan.memory_bytes,
    }


def _counts(plan: cz.Plan) -> dict[str, dict[str, int]]:
    """Split -> source -> cases, in the dataset's order, of those that there are."""
    counts, spec = plan.counts, plan.spec
    found = {
        split: {one: counts[split, one] for one in spec.sources if (split, one) in counts}
        for split in spec.splits
    }
    return {split: row for split, row in found.items() if row}


def built(result: cz.BuildResult) -> dict[str, Any]:
    """What a build has done."""
    records = [entry.record for entry in result.built]
    return {
        "built": [
            {"case": one.id, "stored_bytes": one.stored_bytes, "source_bytes": one.source_bytes}
            for one in records
        ],
        "whole": [entry.record.id for entry in result.whole],
        "refused": _refused(result.refused),
        "dropped": {case: list(names) for case, names in result.dropped.items()},
        "metadata": _joined(result.metadata),
        "stored_bytes": sum(one.stored_bytes for one in records),
        "seconds": result.seconds,
    }


def build(plan: Mapping[str, Any], result: cz.BuildResult | None) -> dict[str, Any]:
    """What `build` and `derive` print.

    Args:
        plan: as `planned` gave it before the build.
        result: None of a plan that is not carried out.
    """
    return {"plan": plan, "result": None if result is None else built(result)}


def metadata_added(store: str, found: Iterable[cz.MetadataAdded]) -> dict[str, Any]:
    """What `metadata` prints: of each table what was joined; of one that was taken out, nothing."""
    tables = [{**table, "changed": list(one.changed)} for one in found for table in _joined([one])]
    return {"location": store, "tables": tables}


def _joined(found: Iterable[Joined]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "cases": list(one.rows),
            "unmatched_rows": list(one.unmatched_rows),
            "unmatched_cases": list(one.unmatched_cases),
        }
        for one in found
    ]


def _refused(refused: Iterable[cz.Refusal]) -> list[dict[str, str]]:
    return [{"case": one.case, "reason": one.reason} for one in refused]


def finalized(store: str, result: cz.BuildResult) -> dict[str, Any]:
    """What `finalize` prints."""
    return {"location": store, **built(result)}


def verified(store: str, result: cz.Verification) -> dict[str, Any]:
    """What `verify` prints."""
    return {"location": store, "is_whole": result.is_whole, **to_builtins(result)}


def repaired(store: str, result: cz.Repaired) -> dict[str, Any]:
    """What `repair` prints."""
    return {"location": store, "is_whole": result.is_whole, **to_builtins(result)}


def different(result: cz.Difference) -> dict[str, Any]:
    """What `diff` prints."""
    found: dict[str, Any] = to_builtins(result)
    for one, case in zip(found["cases"], result.cases, strict=True):
        one["is_encoding"] = case.is_encoding
    return {"is_equal": result.is_equal, **found}


def previewed(store: str, paths: Iterable[Path], damaged: Mapping[str, str]) -> dict[str, Any]:
    """What `preview` prints: the files, and of cases on them that could not be read what is wrong."""
    problems = [{"case": case, "problem": problem} for case, problem in damaged.items()]
    return {"location": store, "paths": list(map(str, paths)), "damaged": problems}


def exported(store: str, output: Path, result: cz.Exported) -> dict[str, Any]:
    """What `export` prints."""
    return {"location": store, "output": str(output), **to_builtins(result, enc_hook=str)}


def labels_added(store: str, result: cz.LabelsAdded) -> dict[str, Any]:
    """What `labels add` prints."""
    return {"location": store, **to_builtins(result), "refused": _refused(result.refused)}


def scored(store: str, name: str, summary: pd.DataFrame) -> dict[str, Any]:
    """What `score` prints: a mean of no case is null."""
    rows = [{"label": str(label), **_figures(row)} for label, row in summary.iterrows()]
    return {"location": store, "name": name, "labels": rows[:-1], "total": rows[-1]}


def _figures(row: pd.Series[Any]) -> dict[str, float | None]:
    counts = {name: int(row[name]) for name in ("cases", "extra")}
    means = {name: float(row[name]) for name in ("dice", "identified")}
    return {**counts, **{name: None if math.isnan(mean) else mean for name, mean in means.items()}}


def raw_listed(found: cz.RawListing) -> dict[str, Any]:
    """What `raw hub` prints of what it would bring."""
    return {
        "repository": found.repository,
        "revision": found.revision,
        "commit": found.commit,
        "bytes": found.bytes,
        "files": to_builtins(found.files),
        "refused": _refused(found.refused),
    }


def raw_downloaded(found: cz.RawListing, result: cz.Downloaded) -> dict[str, Any]:
    """What `raw hub` prints of what it has brought."""
    files = [
        {"path": one.file.path, "how": one.how, "size": one.file.size, "sha256": one.sha256}
        | ({} if one.reason is None else {"reason": one.reason})
        for one in result.files
    ]
    return {
        "repository": found.repository,
        "revision": found.revision,
        "commit": found.commit,
        "output": str(result.output),
        "is_whole": result.is_whole,
        "fetched_bytes": result.fetched_bytes,
        "files": files,
        "refused": _refused(result.refused),
        "missing": list(result.missing),
    }


def published(result: cz.Published) -> dict[str, Any]:
    """What `publish` prints."""
    found: dict[str, Any] = to_builtins(result)
    return found


def store(opened: cz.Store) -> dict[str, Any]:
    """What `info STORE` prints; the receipts that `Store.groups` needs are read."""
    records = opened.records.values()
    stored = sum(record.stored_bytes for record in records)
    source = sum(record.source_bytes for record in records)
    about = to_builtins(opened.root, str_keys=True)
    about["digest"] = about.pop("seal")
    return {
        "location": opened.location,
        "is_partial": opened.is_partial,
        **about,
        "codecs": sorted({record.image.codec for record in records}),
        "without_mask": sum(not record.has_mask for record in records),
        "label_sets": opened.label_sets,
        "leaks": _leaks(opened),
        "stored_bytes": stored,
        "source_bytes": source,
        "ratio": round(stored / source, 4) if source else None,
    }


def _leaks(opened: cz.Store) -> int | None:
    """Groups of cases that lie in several splits; None where a receipt that tells of one is not readable."""
    try:
        return len(opened.leaking)
    except CtspineError:
        return None


def case(found: cz.Case) -> dict[str, Any]:
    """What `info STORE CASE` prints: the case's line of the catalog."""
    return record_json(found.record)
