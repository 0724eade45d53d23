"""What a spec says of the paper a dataset is cited by, and of the collections that its cases come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_datasets import ctspine1k
from trees import NnunetTree, VerseTree, described, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.ctspine1k import SPEC
from ctspine_zarr.datasets.verse import SPEC as VERSE
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.catalog import decode_root, encode_root
from ctspine_zarr.format.encoding import parse, validated
from ctspine_zarr.format.spec import UNKNOWN, SourceCollection, Spec

NEW = ("authors", "et_al", "paper", "year", "doi", "url", "collections")


def written(spec: Spec) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spec))
    return found


@pytest.mark.parametrize("spec", [SPEC, VERSE], ids=["ctspine1k", "verse"])
def test_what_a_dataset_says_of_its_papers_and_sources_is_read_as_it_was_written(spec: Spec) -> None:
    assert set(spec.collections) == set(spec.sources)
    assert spec.authors[0].family in spec.citation
    assert spec.paper in spec.citation
    assert parse(msgspec.json.encode(spec), Spec) == validated(spec) == spec


def test_an_older_spec_says_none_of_it_and_is_read(phantom_store: cz.Store) -> None:
    older = {key: value for key, value in written(SPEC).items() if key not in NEW} | {"derived": None}
    spec = parse(msgspec.json.encode(older), Spec)
    assert (spec.authors, spec.et_al, spec.year, spec.doi, spec.url, spec.collections) == (
        *((), False, None, "", ""),
        {},
    )
    assert not set(NEW) & set(written(spec))
    root = msgspec.structs.replace(phantom_store.root, dataset=spec)
    assert decode_root(encode_root(root)).dataset == spec


def test_a_store_of_ctspine1k_carries_its_collections_and_authors(phantom_store: cz.Store) -> None:
    spec = phantom_store.spec
    assert spec.collections["COLONOG"].title == "CT COLONOGRAPHY, The Cancer Imaging Archive"
    assert spec.collections["COLONOG"].doi == "10.7937/K9/TCIA.2015.NWTESAY1"
    licences = {source: one.licence for source, one in spec.collections.items()}
    stated = {"COLONOG": "CC-BY-3.0", "MSD-T10": "CC-BY-SA-4.0"}
    assert licences == dict.fromkeys(spec.sources, UNKNOWN) | stated
    assert [author.family for author in spec.authors][::14] == ["Deng", "Zhou"]
    assert (spec.authors[-1].given, spec.et_al, spec.year) == ("S. Kevin", False, 2021)


def test_what_is_only_laid_out_as_a_dataset_has_none_of_its_authors_or_collections(tmp_path: Path) -> None:
    tree = VerseTree(tmp_path)
    tree.add("sub-knee1", voxels())
    nnunet = NnunetTree(tmp_path / "nnunet")
    nnunet.add("a", voxels())
    for spec in (described(ctspine1k("knee_1")).spec, described(tree.root).spec, described(nnunet.root).spec):
        assert spec.citation == UNKNOWN
        assert not set(NEW) & set(written(spec)), spec.name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "javascript:alert(1)"),
        ("url", "https://a.example/<script>"),
        ("url", 'https://a.example/"onload="'),
        ("url", "https://a.example/ b"),
        ("url", "https://a.example/\n"),
        ("url", "https://a.example/[x](y)"),
        ("url", f"https://a.example/{'a' * 2048}"),
        ("doi", "10.1234/a b"),
        ("doi", "11.1234/a"),
        ("doi", "10.1234/"),
        ("year", 0),
        ("authors", [{"given": "A.", "family": ""}]),
        ("authors", [{"given": "A.\x1b[31m", "family": "B"}]),
        ("collections", {"elsewhere": {"title": "a"}}),
        ("collections", {"COLONOG": {"title": "a", "url": "file:///etc/passwd"}}),
        ("collections", {"COLONOG": {}}),
    ],
)
def test_a_hostile_address_author_or_source_is_refused(field: str, value: object) -> None:
    with pytest.raises(Malformed):
        parse(msgspec.json.encode(written(SPEC) | {field: value}), Spec)


def test_a_collection_of_which_only_the_name_is_known_says_unknown() -> None:
    found = parse(b'{"title": "Some scans"}', SourceCollection)
    assert (found.licence, found.citation, found.doi, found.url) == (UNKNOWN, UNKNOWN, "", "")
