"""What goes along with a published store is true, legal where others read it, and kept where it is theirs."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest
import yaml  # type: ignore[import-untyped]
from commands import run
from conftest import Bucket, Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from stores import beside
from trees import NnunetTree, voxels

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.format.layout import CASES_TABLE, VERTEBRAE_TABLE
from ctspine_zarr.manifest.inventory import is_beside
from ctspine_zarr.publishing.page import page_beside
from ctspine_zarr.publishing.papers.card import dataset_card
from ctspine_zarr.publishing.papers.citation import citation_file
from ctspine_zarr.publishing.papers.croissant import croissant
from ctspine_zarr.publishing.papers.licence_files import licences_file
from ctspine_zarr.publishing.papers.licences import Licence
from ctspine_zarr.publishing.papers.markdown import one_line, plain
from ctspine_zarr.publishing.papers.place import Place
from ctspine_zarr.publishing.papers.publication import Publication

CASE = "1.3.6.1.4.1.9328.50.4.0001"
TARGET = "hf://datasets/someone/spine"
PAPERS = ("CITATION.cff", "LICENSE", "LICENSES.md", "README.md", "croissant.json", "manifest-sha256.txt")
HOSTILE = "---\nlicense: mit\n\"'`| [x](http://e.example) <script> ${a} {b} \u202e # *"
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


def parts_of(card: str) -> tuple[dict[str, Any], str]:
    """Front matter and text of a card, as the Hub's own class reads them."""
    found = huggingface_hub.DatasetCard(card)
    front: dict[str, Any] = found.data.to_dict()  # type: ignore[no-untyped-call]
    return front, found.text


def hostile_store(tmp_path: Path) -> Path:
    """A store of a dataset whose every text is hostile."""
    tree = NnunetTree(tmp_path / "nnunet")
    tree.add("a", voxels(1))
    tree.describe(name="x [y] | <z>", licence=HOSTILE, citation=HOSTILE, description=HOSTILE)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "hostile.zarr", workers=1))
    return tmp_path / "hostile.zarr"


def test_what_goes_along_lies_beside_a_published_store_wherever_it_is(
    phantom_store: cz.Store, published: Path, bucket: Bucket, hub: Hub
) -> None:
    assert set(beside(published)) == {*PAPERS, *page_beside()}
    target = bucket.new()
    cz.publish(phantom_store.location, target, target_options=bucket.options)
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    keys = set(hub.hub.repos["someone/spine"].files)
    assert set(beside(published)) <= keys
    storage = cz.open_store(target, storage_options=bucket.options).storage
    assert {key for key in storage.sizes() if is_beside(key)} == set(beside(published))
    assert cz.verify(published).is_whole


def test_nothing_that_goes_along_tells_where_on_a_disk_a_store_was(published: Path) -> None:
    for key, data in beside(published).items():
        assert str(published.parent).encode() not in data, key
        assert b"/tmp" not in data, key


# -- the card


def snippets(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


def test_the_snippets_of_a_card_run_as_they_stand(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published.parent)
    card = (published / "README.md").read_text()
    ran = []
    for code in snippets(card, "python"):
        library = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)[0]
        if importlib.util.find_spec(library) is not None:
            scope: dict[str, Any] = {}
            exec(code, scope)  # noqa: S102 - our own
            ran.append(library)
            assert len(scope.get("cases", scope.get("store", range(9)))) == 9
    assert {"ctspine_zarr", "zarr", "pandas"} <= set(ran)
    [command] = snippets(card, "sh")
    assert run(*command.split()[1:]).exit_code == 0
    assert "sha256sum -c manifest-sha256.txt" in card


def test_a_card_on_the_hub_proves_every_byte_by_reading_it(phantom_store: cz.Store, hub: Hub) -> None:
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    card = bytes(hub.hub.repos["someone/spine"].files["README.md"]).decode()
    [command] = snippets(card, "sh")
    assert command == f"ctspine-zarr verify {TARGET} --digest {phantom_store.root.seal} --download\n"
    assert "Without `--download`" in card


def test_the_hubs_own_classes_read_a_card(published: Path) -> None:
    card = huggingface_hub.DatasetCard.load(published / "README.md")
    data: dict[str, Any] = card.data.to_dict()
    assert (data["license"], data["task_ids"]) == ("cc-by-nc-sa-4.0", ["semantic-segmentation"])
    first, second = data["configs"]
    assert (first["config_name"], first["default"], second["config_name"]) == ("cases", True, "vertebrae")
    for one, rows in ((first, 9), (second, 83)):
        [files] = one["data_files"]
        assert pq.read_metadata(published / files["path"]).num_rows == rows
    assert str(card) == (published / "README.md").read_text()


def test_a_card_tells_sources_with_their_terms_and_figures_that_are_the_stores(published: Path) -> None:
    store, card = cz.open_store(published), (published / "README.md").read_text()
    for source, known in store.spec.collections.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {source} |"))
        assert known.title in row
        assert known.url in row
        assert f"| {(store.cases.source == source).sum()} |" in row
    assert "| what | figure |" in card
    assert "of 0 cases" not in card
    low, high = store.cases.hu_min.min(), store.cases.hu_max.max()
    assert f"| HU | {low:g} to {high:g} |" in card
    slices = store.cases.slices
    assert f"{slices.min()} to {slices.max()}, half of them at most {slices.sort_values().iloc[4]} |" in card
    for heading in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Maintenance"):
        assert f"**{heading}.** " in card


def test_hostile_texts_of_a_dataset_are_no_marks_of_what_goes_along(tmp_path: Path) -> None:
    cz.publish(hostile_store(tmp_path), tmp_path / "copy")
    found = beside(tmp_path / "copy")
    data, shown = parts_of(found["README.md"].decode())
    assert (data["license"], data["license_link"]) == ("other", "LICENSE")
    for text in (shown, found["LICENSES.md"].decode()):
        assert "<script>" not in text.replace("\\<script\\>", "")
        assert "](http://e.example" not in text.replace("\\](", "")
        assert "\u202e" not in text
        assert (
            len({line.count("|") - line.count("\\|") for line in text.splitlines() if line[:1] == "|"}) <= 4
        )
    citation = yaml.safe_load(found["CITATION.cff"])
    assert "license" not in citation
    assert citation["title"] == "x [y] | <z> as one Zarr v3 store"
    assert json.loads(found["croissant.json"])["name"] == "x [y] | <z>"


@settings(max_examples=30)
@given(text=st.text(max_size=200))
def test_any_text_of_a_dataset_is_one_text_of_its_papers(phantom_store: cz.Store, text: str) -> None:
    root = phantom_store.root
    spec = replace(root.dataset, title=text, licence=text, licence_note=text, citation=text)
    about = Publication(
        Place.of(TARGET), replace(root, dataset=spec), {CASE: phantom_store.records[CASE]}, {}
    )
    data, shown = parts_of(dataset_card(about).decode())
    usual = {"license", "license_name", "license_link", "pretty_name", "task_categories", "task_ids", "tags"}
    assert set(data) <= usual | {"size_categories", "configs"}
    assert shown.rstrip("\n").endswith(f"## Citation\n\n{plain(text)}".rstrip("\n"))
    citation = yaml.safe_load(citation_file(about))
    assert citation["abstract"] == one_line(text)
    assert json.loads(croissant(about)).get("citeAs", "") == one_line(text)


def test_a_store_from_before_there_were_tables_names_none(phantom_store: cz.Store) -> None:
    root = replace(phantom_store.root, tables={})
    about = Publication(Place.of(TARGET), root, phantom_store.records, {})
    data, shown = parts_of(dataset_card(about).decode())
    assert "configs" not in data
    assert "parquet" not in shown
    assert "recordSet" not in json.loads(croissant(about))


# -- Croissant


def croissant_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "croissant.json").read_text())
    return found


def test_croissant_names_files_by_their_digests_and_every_column(published: Path) -> None:
    found = croissant_of(published)
    required = {"@context", "@type", "conformsTo", "name", "description", "license", "citeAs", "version"}
    assert required | {"creator", "datePublished", "keywords", "distribution", "recordSet"} <= set(found)
    files = {one["@id"]: one for one in found["distribution"]}
    assert {CASES_TABLE, VERTEBRAE_TABLE, "zarr.json"} < set(files)
    for key, one in files.items():
        data = (published / key).read_bytes()
        assert (one["contentSize"], one["sha256"], one["contentUrl"]) == (f"{len(data)} B", sha256(data), key)
    sets = {one["name"]: one for one in found["recordSet"]}
    for key in (CASES_TABLE, VERTEBRAE_TABLE):
        fields = sets[key.removesuffix(".parquet")]["field"]
        assert [one["name"] for one in fields] == pq.read_schema(published / key).names
        assert all(one["source"]["fileObject"] == {"@id": key} for one in fields)
    splits = {one["splits/name"]: one["splits/url"] for one in sets["splits"]["data"]}
    assert splits["train"] == "cr:TrainingSplit"
    assert set(splits) == {"train", "validation", "test"}


def test_croissant_says_what_is_known_of_people_and_what_is_not(published: Path) -> None:
    found = croissant_of(published)
    assert any("headers" in line.lower() for line in found["rai:personalSensitiveInformation"])
    assert "not known" in found["rai:dataCollection"]
    assert any(line.startswith("Cases by source: COLONOG 4") for line in found["rai:dataBiases"])


def test_croissant_of_the_hub_has_addresses_that_are_complete(phantom_store: cz.Store, hub: Hub) -> None:
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    found = json.loads(bytes(hub.hub.repos["someone/spine"].files["croissant.json"]))
    page = "https://huggingface.co/datasets/someone/spine"
    assert found["url"] == page
    files = {one["@id"]: one["contentUrl"] for one in found["distribution"]}
    assert (files["repository"], files[CASES_TABLE]) == (page, f"{page}/resolve/main/{CASES_TABLE}")


# Of the library that it is built on.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_croissants_own_library_reads_the_records(published: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(published / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    table = cz.open_store(published).cases
    records = list(dataset.records("cases"))
    assert [one["cases/case"].decode() for one in records] == list(table.index)
    assert [one["cases/slices"] for one in records] == list(table.slices)
    assert records[0]["cases/thumbnail"].format == "JPEG"
    assert len(list(dataset.records("vertebrae"))) == 83


# -- citation and licence


def test_a_citation_names_authors_paper_licence_and_state(published: Path) -> None:
    store, found = cz.open_store(published), yaml.safe_load((published / "CITATION.cff").read_bytes())
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(found)
    assert (found["license"], found["version"]) == (store.spec.licence, store.root.seal)
    assert found["date-released"] == store.root.provenance.written[:10]
    paper = found["preferred-citation"]
    assert (paper["type"], paper["doi"], paper["title"]) == ("article", store.spec.doi, store.spec.paper)
    assert paper["notes"] == store.spec.citation
    assert [one["family-names"] for one in paper["authors"]] == [one.family for one in store.spec.authors]


def test_a_citation_is_legal_by_the_formats_own_schema(published: Path) -> None:
    cffconvert = pytest.importorskip("cffconvert")
    cffconvert.Citation((published / "CITATION.cff").read_text()).validate()


def rows_of(text: str) -> dict[str, list[str]]:
    """First cell -> the others, of the rows of Markdown's tables."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in rows}


def test_licences_by_source_tell_what_each_asks_and_how_it_is_cited(published: Path) -> None:
    spec, rows = cz.open_store(published).spec, rows_of((published / "LICENSES.md").read_text())
    own = spec.collections["COLONOG"]
    _, licence, asked, cited, where = rows["COLONOG"]
    assert (licence, asked, cited) == ("CC-BY-3.0", "attribution", plain(own.citation))
    assert where.endswith(f"doi:{own.doi}")
    _, licence, asked, cited, _ = rows["COVID-19"]
    assert (licence, asked, cited) == ("unknown", "none is stated: ask its authors", "not known here")


@pytest.mark.parametrize("key", ["README.md", "LICENSES.md"])
def test_a_note_that_all_sources_share_is_said_once(published: Path, key: str) -> None:
    spec, text = cz.open_store(published).spec, (published / key).read_text()
    [note] = {one.licence_note for one in spec.collections.values()}
    assert text.count(note) == 1
    assert max(len(cells) for cells in rows_of(text).values()) <= (3 if key == "README.md" else 5)


def test_a_note_of_one_source_alone_stands_with_it(phantom_store: cz.Store) -> None:
    root = phantom_store.root
    collections = dict(root.dataset.collections)
    collections["COLONOG"] = replace(collections["COLONOG"], licence_note="Ask first.")
    spec = replace(root.dataset, collections=collections)
    about = Publication(Place.of(TARGET), replace(root, dataset=spec), phantom_store.records, {})
    rows = rows_of(licences_file(about).decode())
    assert rows["COLONOG"][1] == "CC-BY-3.0. Ask first"
    assert rows["MSD-T10"][1].startswith("CC-BY-SA-4.0. CTSpine1K's authors")


def test_the_licence_goes_along_in_full(published: Path, tmp_path: Path) -> None:
    text = (published / "LICENSE").read_text()
    assert text.startswith("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International")
    assert "Section 8" in text
    by_source = (published / "LICENSES.md").read_text()
    assert "| https://creativecommons.org/licenses/by-nc-sa/4.0/ |" in by_source
    cz.publish(hostile_store(tmp_path), tmp_path / "copy")
    own = (tmp_path / "copy" / "LICENSE").read_text()
    assert own.startswith("x [y] | <z> is under: --- license: mit")


@pytest.mark.parametrize(
    ("stated", "spdx", "hub", "url"),
    [
        ("CC-BY-SA 4.0", "CC-BY-SA-4.0", "cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
        ("CC0", "CC0-1.0", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("ODbL-1.0", "ODbL-1.0", "odbl", "https://spdx.org/licenses/ODbL-1.0.html"),
        (
            "GPL-3.0-or-later",
            "GPL-3.0-or-later",
            "gpl-3.0",
            "https://spdx.org/licenses/GPL-3.0-or-later.html",
        ),
        ("unknown", "", "unknown", ""),
        ("", "", "unknown", ""),
        ("bsd", "", "bsd", ""),
        ("ask us", "", "other", ""),
        ("../../etc/passwd", "", "other", ""),
    ],
)
def test_a_licence_is_known_by_what_a_dataset_calls_it(stated: str, spdx: str, hub: str, url: str) -> None:
    found = Licence.of(stated)
    assert (found.spdx, found.hub, found.url) == (spdx, hub, url)
    assert found.text is None or len(found.text) > 1000


def test_every_licence_that_is_carried_along_is_known() -> None:
    carried = files("ctspine_zarr.publishing").joinpath("licences").iterdir()
    names = [path.name.removesuffix(".txt") for path in carried]
    texts = {name: Licence.of(name) for name in names}
    assert {"CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "CC0-1.0", "CC-BY-3.0", "MIT"} <= set(texts)
    for name, found in texts.items():
        assert found.spdx == name
        assert found.text is not None
        assert found.demands != "see its text" or name.startswith("CDLA")


# -- places


@pytest.mark.parametrize(
    ("location", "url", "file"),
    [
        ("/home/a/spine.zarr", "", "x.parquet"),
        ("s3://bucket/spine.zarr", "s3://bucket/spine.zarr", "x.parquet"),
        ("hf://datasets/a/b", "/a/b", "/a/b/resolve/main/x.parquet"),
        ("hf://datasets/a/b@v%2F2/c d", "/a/b/tree/v%2F2/c%20d", "/a/b/resolve/v%2F2/c%20d/x.parquet"),
    ],
)
def test_a_place_has_addresses(location: str, url: str, file: str) -> None:
    place = Place.of(location)
    pages = "https://huggingface.co/datasets" if location.startswith("hf") else ""
    assert (place.url, place.file_url("x.parquet")) == (pages + url, pages + file)
    assert place.location == ("spine.zarr" if location.startswith("/") else location)


def test_a_source_of_which_nothing_is_known_is_told_so(tmp_path: Path) -> None:
    cz.publish(hostile_store(tmp_path), tmp_path / "copy")
    assert (
        "| not known here | not known here | not known here |"
        in (tmp_path / "copy" / "LICENSES.md").read_text()
    )
