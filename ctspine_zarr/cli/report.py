"""What the commands print: facts as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ctspine_zarr.text import cases_table, size

if TYPE_CHECKING:
    import ctspine_zarr as cz

EXITS: Final = (
    "Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built; "
    "4 verify found damage; 130 interrupted."
)


def built(result: cz.BuildResult) -> str:
    """One line on what a build did."""
    stored = sum(receipt.record.stored_bytes for receipt in result.built)
    return (
        f"built {len(result.built)} cases ({size(stored)}) in {result.seconds:,.1f} s; "
        f"{len(result.whole)} were whole before, {len(result.refused)} refused"
    )


def case_published(found: cz.CasePublished) -> str:
    """One line on a case."""
    return f"{'copied' if found.copied else 'there'} {found.case}, {size(found.bytes)}"


def published(result: cz.Published) -> str:
    """One line on what was done."""
    sizes = [case.bytes for case in result.cases if case.copied]
    kept = len(result.cases) - len(sizes)
    copied = f"{len(sizes)} cases ({size(sum(sizes))}) copied and compared with their receipts"
    return f"{result.location}: {copied}, {kept} were there, with their receipts and sizes"


def store_facts(store: cz.Store) -> dict[str, Any]:
    """What `info STORE --json` prints."""
    records = store.records.values()
    stored = sum(record.stored_bytes for record in records)
    source = sum(record.source_bytes for record in records)
    return {
        "location": store.location,
        **store.about.to_json(),
        "codecs": sorted({record.codec for record in records}),
        "stored_bytes": stored,
        "source_bytes": source,
        "ratio": round(stored / source, 4) if source else None,
    }


def store_text(facts: Mapping[str, Any]) -> str:
    """`store_facts` for a person."""
    ratio = "" if facts["ratio"] is None else f", {facts['ratio']:.3f} of the .nii.gz"
    lines = [
        f"{facts['location']}: {facts['dataset']}, codec {', '.join(facts['codecs'])}",
        f"{size(facts['stored_bytes'])}{ratio}",
        *cases_table(facts["cases"]),
    ]
    lines += [f"refused {entry['case']}: {entry['reason']}" for entry in facts["refused"]]
    provenance = facts["provenance"]
    lines += [f"written {provenance['written']} by {provenance['writer']}", facts["licence"]]
    return "\n".join([*lines, facts["citation"]])


def case_text(record: Mapping[str, Any]) -> str:
    """A record's JSON for a person."""
    hu = record["intensity"]
    lines = [
        f"{record['id']}: {record['split']}, {record['source']}",
        f"shape    {tuple(record['shape'])} voxels (z, y, x), {record['dtype']}",
        f"spacing  {tuple(round(mm, 4) for mm in record['spacing'])} mm",
        f"HU       {hu['min']} to {hu['max']}, median {hu['p50']}, mean {hu['mean']}",
        f"stored   {size(record['image_bytes'] + record['segmentation_bytes'])}, {record['codec']}",
        f"source   {size(record['source_bytes'])}",
    ]
    if record["transitional"]:
        lines.append(f"transitional vertebra: {record['transitional']}")
    if record["vertebrae"]:
        lines.append(f"{'label':<8}{'voxels':>10}  {'start':<16}{'stop':<16}{'centroid (z, y, x)'}")
    for vertebra in record["vertebrae"]:
        box = (str(tuple(vertebra[key])) for key in ("start", "stop"))
        start, stop = (f"{corner:<16}" for corner in box)
        centroid = tuple(round(value, 1) for value in vertebra["centroid"])
        lines.append(f"{vertebra['name']:<8}{vertebra['voxels']:>10,}  {start}{stop}{centroid}")
    lines += [f"finding  {finding['code']}: {finding['message']}" for finding in record["findings"]]
    return "\n".join(lines)
