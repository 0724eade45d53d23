"""The texts that the commands print for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ctspine_zarr.format.findings import Finding
from ctspine_zarr.format.names import printable
from ctspine_zarr.text import cases_table, size

if TYPE_CHECKING:
    import pandas as pd

    import ctspine_zarr as cz


def in_lines(texts: Iterable[str]) -> str:
    """Texts, whatever a store or source has put into them, a line each."""
    return "\n".join(map(printable, texts))


def built(result: cz.BuildResult) -> str:
    """One line on what a build did."""
    stored = sum(entry.record.stored_bytes for entry in result.built)
    return (
        f"built {len(result.built)} cases ({size(stored)}) in {result.seconds:,.1f} s; "
        f"{len(result.whole)} were whole before, {len(result.refused)} refused"
    )


def dropped(result: cz.BuildResult) -> list[str]:
    """A line for each case that has lost label sets."""
    return [
        f"dropped label sets {', '.join(names)} of {case}: its image is another, or they were damaged"
        for case, names in result.dropped.items()
    ]


def case_published(found: cz.CasePublished) -> str:
    """One line on a case."""
    if not found.copied:
        return f"there {found.case}, {size(found.bytes)}"
    return f"copied {found.case}, {size(found.sent)}{_of_all(found.sent, found.bytes)}"


def _of_all(sent: int, whole: int) -> str:
    return "" if sent == whole else f" of {size(whole)}"


def published(result: cz.Published) -> str:
    """One line on what was done."""
    copied = [case for case in result.cases if case.copied]
    there = len(result.cases) - len(copied)
    sent, whole = sum(case.sent for case in copied), sum(case.bytes for case in copied)
    moved = f"{len(copied)} cases ({size(sent)}{_of_all(sent, whole)}) copied"
    told = (
        f"{result.location}: {moved} and compared with their receipts, {there} were there, with their "
        "receipts and sizes"
    )
    theirs = ", ".join(map(printable, result.kept))
    told += f"; left as somebody changed them: {theirs}" if theirs else ""
    return f"{told}; {result.lacks}" if result.lacks else told


def case_verified(found: cz.CaseReport) -> str:
    """A few words on a case."""
    return f"{'damaged' if found.problems else 'whole'} {found.case}"


def mended(found: cz.Mended) -> str:
    """One line on a case."""
    return f"mended {found.case}: {', '.join(found.keys) or 'nothing had to be put'}"


def repaired(result: cz.Repaired) -> str:
    """A line on what was done, and one on a root that is another store's."""
    done = (
        f"{len(result.mended)} cases mended, {len(result.documents)} documents above them put, "
        f"{len(result.removed)} strays removed"
    )
    end = f"{len(result.left)} problems are left" if result.left else "the store is whole"
    root = f"\nthe root was lost and is now the other store's, digest {result.other_root}"
    return f"{done}; {end}{root * (result.other_root is not None)}"


def problems(result: cz.Verification) -> list[str]:
    """A line for each thing that was found of a store."""
    return [
        *(f"damaged {found.case}: {problem}" for found in result.cases for problem in found.problems),
        *(f"damaged: {problem}" for problem in result.problems),
        *(f"refused when built: {entry.case}: {entry.reason}" for entry in result.refused),
        *(f"not built: {case}, which the source has" for case in result.unbuilt),
    ]


_RESTS_ON: Final = {
    "bytes": "",
    "record": " by the Hub's record of each sha256: documents were read, no shard was; --download reads all",
    "sizes": " by sizes and documents: no shard was read, and bytes altered within one would not show",
}


def verified(result: cz.Verification) -> str:
    """One line on what was found, and by whom it is proven."""
    damaged = sum(bool(found.problems) for found in result.cases)
    masks = sum(not found.has_mask for found in result.cases)
    without = f"; {masks} have no mask" if masks else ""
    whole = f"{len(result.cases) - damaged} of {len(result.cases)} cases are whole"
    return f"{whole}{_RESTS_ON[result.proof]}{without}"


def different(result: cz.Difference) -> str:
    """A line for each thing that differs, and one on all."""
    lines = [f"the dataset differs: {_change(change)}" for change in result.spec]
    lines += [_change(change) for change in result.refused]
    lines += [f"only in {result.a}: {case}" for case in result.only_a]
    lines += [f"only in {result.b}: {case}" for case in result.only_b]
    for one in result.cases:
        what = "is encoded otherwise" if one.is_encoding else "differs"
        lines.append(f"{one.case} {what}: {'; '.join(map(_change, one.changes))}")
    only = f"{len(result.only_a)} are only in {result.a}, {len(result.only_b)} only in {result.b}"
    return in_lines([*lines, f"{result.equal} cases are the same, {len(result.cases)} differ, {only}"])


def _change(change: cz.Change) -> str:
    return f"{change.what} {change.a} -> {change.b}"


def labels_added(result: cz.LabelsAdded) -> str:
    """One line on what was done."""
    return (
        f"added {result.name} to {len(result.added)} cases in {result.seconds:,.1f} s; "
        f"{len(result.skipped)} had these labels, {len(result.refused)} refused"
    )


def scored(summary: pd.DataFrame) -> str:
    """The table of `score_summary`, a line a label."""
    lines = [f"{'label':<8}{'cases':>6}{'Dice':>8}{'identified':>12}{'extra':>7}"]
    for name, row in summary.iterrows():
        figures = f"{row.cases:>6.0f}{row.dice:>8.4f}{row.identified:>12.4f}{row.extra:>7.0f}"
        lines.append(f"{name:<8}{figures}")
    return in_lines(lines)


def store_text(document: Mapping[str, Any]) -> str:
    """A document of `documents.store`."""
    ratio = "" if document["ratio"] is None else f", {document['ratio']:.3f} of the .nii.gz"
    dataset = document["dataset"]
    partial = ["partial: its first build has not ended; these cases are whole"] * document["is_partial"]
    lines = [
        f"{document['location']}: {dataset['name']}, codec {', '.join(document['codecs'])}",
        *partial,
        f"{size(document['stored_bytes'])}{ratio}",
        *cases_table(document["cases"]),
    ]
    if document["without_mask"]:
        lines.append(f"{document['without_mask']} cases have no mask")
    lines += [f"label set {name} of {cases} cases" for name, cases in document["label_sets"].items()]
    if document["leaks"] is None:
        lines.append("leaks: not known, for a receipt cannot be read; run verify")
    elif document["leaks"]:
        lines.append(f"leaks: {document['leaks']} groups of cases lie in several splits (store.leaks())")
    lines += [f"refused {entry['case']}: {entry['reason']}" for entry in document["refused"]]
    provenance = document["provenance"]
    lines += [f"written {provenance['written']} by {provenance['writer']}", f"digest {document['digest']}"]
    return in_lines([*lines, dataset["licence"], dataset["citation"]])


def case_text(record: Mapping[str, Any]) -> str:
    """A document of `documents.case`."""
    hu, image, mask = record["intensity"], record["image"], record["segmentation"]
    padding = "" if hu["padding"] is None else f", padding {hu['padding']['value']:g} apart"
    sets = record.get("sets", {})
    stored = sum(array["bytes"] for array in (image, mask, *(one["array"] for one in sets.values())) if array)
    lines = [
        f"{record['id']}: {record['split']}, {record['source']}",
        f"shape    {tuple(record['shape'])} voxels (z, y, x), {image['dtype']}",
        f"spacing  {tuple(round(mm, 4) for mm in record['spacing'])} mm",
        f"HU       {hu['min']:g} to {hu['max']:g}, median {hu['p50']:g}, mean {hu['mean']:g}{padding}",
        f"stored   {size(stored)}, {image['codec']}",
        f"source   {size(record['source_bytes'])}",
    ]
    lines += [f"series   {line['text']}" for line in record.get("series", ())]
    if record["transitional"]:
        lines.append(f"transitional vertebra: {record['transitional']}")
    if record["labels"]:
        columns = f"{'start':<16}{'stop':<16}{'centroid (z, y, x)':<26}mean HU"
        lines.append(f"{'label':<8}{'voxels':>10}  {columns}")
    for label in record["labels"]:
        box = (str(tuple(label[key])) for key in ("start", "stop"))
        start, stop = (f"{corner:<16}" for corner in box)
        centroid = str(tuple(round(value, 1) for value in label["centroid"]))
        mean = f"{label['hu']['mean']:.0f}"
        lines.append(f"{label['name']:<8}{label['voxels']:>10,}  {start}{stop}{centroid:<26}{mean}")
    for name, one in sets.items():
        lines.append(f"label set {name}: {', '.join(label['name'] for label in one['labels'])}")
    lines += [_finding(**one) for one in record["findings"]]
    return in_lines(lines)


def _finding(code: str, message: str, **_: Any) -> str:
    return f"{Finding(code, message).severity:<8} {code}: {message}"
