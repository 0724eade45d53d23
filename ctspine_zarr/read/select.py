"""Which cases of a catalog fit a request. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, SupportsIndex, TypedDict

from ctspine_zarr.errors import UnknownValue, integer, require_known
from ctspine_zarr.format.findings import QUALITIES, Code, Severity, at_least, worst
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.read.ids import CaseIds, ids_of

type OneOrMore[T] = T | Collection[T]


class Criteria(TypedDict, total=False):
    """Criteria that every selected case meets. A criterion left out, or None, excludes nothing.

    Attributes:
        cases: ids, each once; a table that is indexed by them; or a boolean Series indexed by the ids
            of all cases that there are, of which it says True or False; one of pandas' `boolean` may
            have gaps, which are no True.
        split: one of the dataset's splits, such as train, or several.
        source: one of its sources, or several.
        min_slices, max_slices: axial slices, inclusive.
        has_label: labels that must all be present, as names (`"L6"`) or values (25).
        has_mask: whether the case has a mask; those of a test set may have none.
        transitional: whether the dataset's card lists a transitional vertebra.
        without_finding: codes of findings, none of which the case may have.
        quality: `clean`, no finding that is a warning or an error; `usable`, none that is an error. Findings
            are those of the catalog: a leak, which is of a store, is none of them.
        labels: a label set that the case must have, in place of whose mask it is then taken: its labels are
            those of the set in everything, `has_label` and findings included.
    """

    cases: CaseIds | None
    split: OneOrMore[str] | None
    source: OneOrMore[str] | None
    min_slices: int | None
    max_slices: int | None
    has_label: OneOrMore[str | SupportsIndex] | None
    has_mask: bool | None
    transitional: bool | None
    without_finding: OneOrMore[str] | None
    quality: Literal["clean", "usable"] | None
    labels: str | None


def select(
    records: Mapping[str, Record], spec: Spec, criteria: Criteria, where: str = "the store"
) -> list[Record]:
    """The records that fit, in their order.

    Args:
        records: of a store, by case id.
        spec: of its dataset, which has the names.
        criteria: what is asked for.
        where: the cases are, for an error message.

    Raises:
        UnknownCase: an id that no case has.
        UnknownValue: a criterion, split, source, label or quality that does not exist; cases as `ids_of`
            says.
    """
    _known("criterion", set(criteria), Criteria.__optional_keys__)
    cases = criteria.get("cases")
    ids = None if cases is None else ids_of(cases, records.keys(), where)
    splits = _known("split", criteria.get("split"), spec.splits)
    sources = _known("source", criteria.get("source"), spec.sources)
    labels = {_label(label, spec) for label in _several("has_label", criteria.get("has_label")) or ()}
    unwanted = _known("finding", criteria.get("without_finding"), list(Code)) or set()
    unfit = _unfit(criteria.get("quality"))
    transitional, has_mask = _flag("transitional", criteria), _flag("has_mask", criteria)
    least, most = _slices("min_slices", criteria), _slices("max_slices", criteria)
    return [
        record
        for record in records.values()
        if (ids is None or record.id in ids)
        and (splits is None or record.split in splits)
        and (sources is None or record.source in sources)
        and (least is None or record.shape[0] >= least)
        and (most is None or record.shape[0] <= most)
        and labels <= {label.label for label in record.labels}
        and has_mask in (None, record.has_mask)
        and transitional in (None, record.transitional is not None)
        and unwanted.isdisjoint(finding.code for finding in record.findings)
        and (not unfit or worst(record.findings) not in unfit)
    ]


def _unfit(quality: str | None) -> frozenset[Severity]:
    """The severities of which a case may have no finding."""
    asked = [] if quality is None else [quality]
    require_known("quality", asked, QUALITIES)
    return at_least(QUALITIES[asked[0]]) if asked else frozenset()


def _several[T: (str, str | SupportsIndex)](what: str, value: OneOrMore[T] | None) -> set[T] | None:
    if value is None:
        return None
    try:
        return {value} if isinstance(value, str | SupportsIndex) else set(value)
    except TypeError:
        message = f"{what} {value!r}; legal: one, or several in a list"
        raise UnknownValue(message) from None


def _known(what: str, asked: OneOrMore[str] | None, legal: Collection[str]) -> set[str] | None:
    names = _several(what, asked)
    require_known(what, sorted(names or (), key=str), legal)
    return names


def _label(label: str | SupportsIndex, spec: Spec) -> int:
    return spec.require_label(label if isinstance(label, str) else integer("has_label", label, 1))


def _slices(name: Literal["min_slices", "max_slices"], criteria: Criteria) -> int | None:
    value = criteria.get(name)
    return None if value is None else integer(name, value, 0)


def _flag(name: Literal["transitional", "has_mask"], criteria: Criteria) -> bool | None:
    value = criteria.get(name)
    if value not in (None, True, False):
        message = f"{name} {value!r}; legal: True, False, None"
        raise UnknownValue(message)
    return value
