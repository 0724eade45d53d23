from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctspine_zarr.datasets import ctspine1k
from ctspine_zarr.datasets.splits import SPLITS, parse_splits
from ctspine_zarr.errors import SourceError

CASES = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True), unique=True, max_size=20)


def test_the_authors_list_resolves_to_the_published_counts(facts: Path) -> None:
    splits = parse_splits((facts / "data_split.txt").read_text())
    counts = Counter((*splits[case], ctspine1k.source_of(case)) for case in splits)
    published = {"train": (480, 20, 20, 90), "validation": (152, 10, 5, 30), "test": (152, 10, 6, 30)}
    assert counts == {
        (split, source): count
        for split, row in published.items()
        for source, count in zip(ctspine1k.SPEC.sources, row, strict=True)
    }
    only = Counter(listed for listed in splits.values() if len(listed) == 1)
    assert [only[split,] for split in ctspine1k.SPEC.splits] == [610, 197, 198]


def test_every_transitional_case_is_in_the_authors_list(facts: Path) -> None:
    splits = parse_splits((facts / "data_split.txt").read_text())
    assert set(ctspine1k.TRANSITIONAL) <= set(splits)
    assert Counter(ctspine1k.TRANSITIONAL.values()) == {"lumbarization": 17, "sacralization": 11}


@given(st.fixed_dictionaries(dict.fromkeys(SPLITS, CASES)), st.sampled_from(["\n", "\r\n"]))
def test_what_is_listed_is_found(sections: dict[str, list[str]], newline: str) -> None:
    lines = [line for name, cases in sections.items() for line in (f"{name}:", *cases, "")]
    listed = {case.removesuffix(".nii.gz") for cases in sections.values() for case in cases}
    if not listed:
        with pytest.raises(SourceError, match="names no case"):
            parse_splits(newline.join(lines))
        return
    splits = parse_splits("\ufeff" + newline.join(lines) + newline)
    assert set(splits) == listed
    for header, cases in sections.items():
        for case in cases:
            assert SPLITS[header] in splits[case.removesuffix(".nii.gz")]


def test_a_name_in_two_sections_is_known_of_both() -> None:
    splits = parse_splits("trainset:\na\nb\n\ntest_public:\nb\n")
    assert splits["b"] == ("train", "validation")
    assert [case for case, listed in splits.items() if listed == ("train",)] == ["a"]
    assert ("validation",) not in splits.values()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.nii.gz\ntrainset:\n", "line 1: 'a.nii.gz' before any of trainset:"),
        ("trainset:\na\nvalset:\n", "line 3: unknown section 'valset'; legal: trainset:, test_public:"),
        ("\r\n\r\n", "names no case"),
    ],
)
def test_a_list_of_another_form_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_splits(text)


@pytest.mark.parametrize(
    ("case", "source"),
    [
        ("1.3.6.1.4.1.9328.50.4.0001", "COLONOG"),
        ("CTC-1000000001", "COLONOG"),
        ("liver_106", "MSD-T10"),
        ("HN_P001", "HNSCC-3DCT-RT"),
        ("volume-covid19-A-0001_0_ct", "COVID-19"),
        ("verse519_CT-iso", None),
    ],
)
def test_a_name_tells_its_source(case: str, source: str | None) -> None:
    assert ctspine1k.source_of(case) == source
