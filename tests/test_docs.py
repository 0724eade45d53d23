"""The documentation runs, and names what is there."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import documents
import numpy as np
import obstore.store
import pytest
import xarray as xr
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner
from documents import NOTEBOOKS, PAGES, REPOSITORY, Block
from servers import served
from zarr.storage import ObjectStore

import ctspine_zarr as cz
from ctspine_zarr.cli import build, main
from ctspine_zarr.datasets import DATASETS, ctspine1k, verse
from ctspine_zarr.publishing.web import application
from ctspine_zarr.write.case_objects import WRITER

README = documents.text_of("README.md")
CONTRIBUTING = documents.text_of("CONTRIBUTING.md")
GLOSSARY = documents.text_of("docs/glossary.md")
BUILDING = documents.text_of("docs/building.md")
TEXTS = "\n".join(documents.text_of(page) for page in PAGES)
SOURCES = "\n".join(
    path.read_text() for path in sorted(Path(cz.__file__).parent.rglob("*")) if path.suffix in {".py", ".js"}
)
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
BLOCKS = [block for page in PAGES for block in documents.blocks(page)]
# What a block of Python may need, and where it is run: here, or by the framework's own tests.
HERE, ELSEWHERE = {"torch"}, {"monai", "torchio"}


def script(name: str) -> Any:
    """A module of `scripts`."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def workplace(
    phantom: Path, phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with `CTSpine1K`, `spine.zarr`, two tables, and `demo` as `make demo` leaves it."""
    (tmp_path / "demo").mkdir()
    for name in ("CTSpine1K", "demo/phantom"):
        (tmp_path / name).symlink_to(phantom)
    for name in ("spine.zarr", "demo/spine.zarr"):
        shutil.copytree(phantom_store.location, tmp_path / name)
    (tmp_path / "clinical.csv").write_text("case,age\nliver_0,63\n")
    (tmp_path / "Path.csv").write_text("liver_0/study/1.0-Supine  1.0  B30f-1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def does_run(block: Block) -> bool:
    if block.language == "sh":
        return block.status is not None
    missing = [name for name in set(block.words) & HERE if importlib.util.find_spec(name) is None]
    return block.language == "python" and not set(block.words) & (ELSEWHERE | {"no-run"}) and not missing


RUN = [page for page in PAGES if any(does_run(block) for block in documents.blocks(page))]
# Run as a program, with damage of every kind, by tests of its own.
RUN.remove("docs/format.md")


def asked(_: dict[str, Any]) -> None:
    assert cz.open_store("spine.zarr").cases["position"].dropna().to_dict() == {"liver_0": "supine"}


def judged(names: dict[str, Any]) -> None:
    assert list(names["clean"]) == list(names["store"])


def drawn(_: dict[str, Any]) -> None:
    assert len(list(Path.cwd().glob("*.png"))) == 6


# What a page has done, beyond that it ran.
DONE = {"docs/asking.md": asked, "docs/quality.md": judged, "docs/pictures.md": drawn}


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs(page: str, workplace: Path) -> None:
    blocks = [block for block in documents.blocks(page) if does_run(block)]
    first = next((block.commands[0] for block in blocks if block.language == "sh"), [])
    if first[1:2] == ["build"]:
        # What a page begins by building is not there yet.
        shutil.rmtree(workplace / first[3], ignore_errors=True)
    names: dict[str, Any] = {}
    for block in blocks:
        if block.language == "python":
            # Its line numbers are those of the page.
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(REPOSITORY / page), "exec"), names)  # noqa: S102 - our own
            continue
        for command in block.commands:
            assert command[0] == "ctspine-zarr", command
            done = CliRunner().invoke(main.cli, command[1:])
            assert done.exit_code == block.status, (command, done.output)
    if page in DONE:
        DONE[page](names)


def test_the_pages_that_must_run_do() -> None:
    tutorials = [f"tutorials/{who}" for who in ("analyst", "builder", "trainer")]
    how = [
        "asking",
        "building",
        "reading",
        "training",
        "labels",
        "exporting",
        "verifying",
        "elsewhere",
        "deriving",
    ]
    assert {"README.md", *(f"docs/{name}.md" for name in (*tutorials, *how)), *DONE} <= set(RUN)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_is_of_a_language_that_is_checked(block: Block) -> None:
    if block.language == "python":
        assert set(block.words) <= HERE | ELSEWHERE | {"no-run"}
        compile(block.text, block.page, "exec")
    elif block.language == "sh":
        assert set(block.words) <= {"run", "run=4"}
    else:
        # Shells' own start-up files are tested with what they complete; no engine of SQL is here.
        assert block.language in {
            "indented",
            "text",
            "bash",
            "zsh",
            "fish",
            "sql",
        } or block.language.startswith("{"), block.language


FOREIGN = ("git", "cd", "source", "export", "nnUNetv2_train", "nnUNetv2_predict")
COMMANDS = [
    (f"{block.page}:{block.line}", command)
    for block in BLOCKS
    if block.language in {"sh", "indented"}
    for command in block.commands
]


def require_legal(arguments: list[str]) -> None:
    """Do nothing where click takes a command with its arguments, or there is one that stands alone."""
    command: click.Command = main.cli
    context = click.Context(command)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context)
    if arguments:
        try:
            command.make_context(command.name, list(arguments))
        except click.exceptions.Exit as ended:  # as --version and --help do
            assert ended.exit_code == 0  # noqa: PT017 - it need not be raised


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_command_of_a_page_is_legal(place: str, command: list[str]) -> None:
    program, *arguments = command
    text = " ".join(command)
    for inner in re.findall(r"\$\(ctspine-zarr (.*?)\)", text):
        require_legal(inner.split())
    if program == "ctspine-zarr":
        require_legal(arguments)
    elif program == "make":
        assert arguments[0] in TARGETS, place
    elif program.startswith("scripts/"):
        assert os.access(REPOSITORY / program, os.X_OK), place
    elif program in {"python", "bash", "sh"}:
        assert not arguments or (REPOSITORY / arguments[0]).is_file(), place
    elif program == "pip":
        assert arguments[0] == "install", place
    else:
        assert program in FOREIGN, (place, program)


def test_the_commands_of_the_pages_are_found() -> None:
    assert len([command for _, command in COMMANDS if command[0] == "ctspine-zarr"]) >= 40
    pages = {place.partition(":")[0] for place, _ in COMMANDS}
    assert pages >= {"README.md", "docs/cluster.md", "docs/nnunet.md"}


INLINE = [(page, text) for page in PAGES for text in documents.inline(page)]


@pytest.mark.parametrize("page", PAGES)
def test_a_command_in_a_sentence_is_legal(page: str) -> None:
    for text in documents.inline(page):
        if text.startswith("ctspine-zarr ") and "..." not in text:
            require_legal(text.split()[1:])
        for target in re.findall(r"^make ([a-z0-9-]+)", text):
            assert target in TARGETS, target


def options_of(command: click.Command) -> set[str]:
    own = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    if not isinstance(command, click.Group):
        return own
    context = click.Context(command)
    inner = [command.get_command(context, name) for name in command.list_commands(context)]
    return own.union(*(options_of(one) for one in inner if one is not None))


def test_an_option_in_a_sentence_exists() -> None:
    scripts = "".join(path.read_text() for path in (REPOSITORY / "scripts").rglob("*.py"))
    legal = options_of(main.cli) | set(re.findall(r'"(--[a-z-]+)"', scripts))
    named = {name for _, text in INLINE for name in re.findall(r"^(--[a-z-]+)", text)}
    assert len(named) > 30
    assert named - legal == set()


EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def test_an_extra_that_is_named_exists() -> None:
    named = re.findall(r"ctspine-zarr\[([a-z,]+)\]", TEXTS + SOURCES)
    assert named
    assert {name for names in named for name in names.split(",")} <= set(EXTRAS)


def test_a_part_of_the_benchmark_that_is_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    parse = script("benchmark").parse_arguments
    commands = [text.split() for _, text in INLINE if text.startswith("python scripts/benchmark.py")]
    commands += [command for _, command in COMMANDS if "scripts/benchmark.py" in command]
    assert len(commands) >= 8
    for command in commands:
        monkeypatch.setattr(sys, "argv", command[1:])
        assert isinstance(parse(), argparse.Namespace)


def test_each_table_of_the_benchmarks_has_its_command() -> None:
    sections = re.split(r"^## ", documents.text_of("docs/benchmarks.md"), flags=re.MULTILINE)[1:]
    assert len(sections) >= 5
    for section in sections:
        assert "`python scripts/benchmark.py " in section


def test_the_readme_is_short_and_has_the_picture() -> None:
    assert len(README.encode()) <= 6000
    assert "](docs/images/overview.png)" in README
    assert (REPOSITORY / "docs" / "images" / "overview.png").stat().st_size <= 150_000


ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


@functools.cache
def messages() -> set[str]:
    """Every text of the package, with an ellipsis for what is put in."""
    found = set()
    for path in sorted(Path(cz.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else ELLIPSIS for part in node.values)
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                found.add(node.value if isinstance(node.value, str) else node.value.decode(errors="replace"))
    # Those of the viewer's page stand as they are.
    found.update(path.read_text() for path in Path(cz.__file__).parent.rglob("*.js"))
    return found


def test_every_message_that_is_explained_exists() -> None:
    explained = re.findall(r"^### `(.*)`$", documents.text_of("docs/troubleshooting.md"), re.MULTILINE)
    assert len(explained) >= 25
    assert [text for text in explained if not any(text in one for one in messages())] == []


def test_every_public_name_is_in_the_reference() -> None:
    page = documents.text_of("docs/api.md")
    named = re.findall(r"^   ([A-Za-z_]+)$", page, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {*cz.__all__, "torch", "monai", "torchio", "hf", "tf"}


def test_the_drawing_of_the_rooms_is_that_of_the_imports() -> None:
    drawn = (REPOSITORY / "docs" / "images" / "rooms.svg").read_text()
    assert drawn == script("draw_rooms").drawing(), "run python scripts/draw_rooms.py"


def test_the_rooms_have_a_row_each_in_the_architecture() -> None:
    named = re.findall(r"^\| `([a-z_]+)/` \|", documents.text_of("docs/architecture.md"), re.MULTILINE)
    rooms = [path.parent.name for path in Path(cz.__file__).parent.glob("*/__init__.py")]
    assert sorted(named) == sorted(rooms)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    # They are run, and shown with outputs, by `make docs`.
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert cells[0]["cell_type"] == "markdown"
    assert any("write_phantom(" in "".join(cell["source"]) for cell in code)


def test_there_are_four_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["bone_density", "clusters", "explore", "train"]


def test_every_page_is_in_the_navigation() -> None:
    index = documents.text_of("docs/index.md")
    listed = {
        f"docs/{name}.md" for name in re.findall(r"^(?:.* <)?([a-z_]+(?:/[a-z_]+)?)>?$", index, re.MULTILINE)
    }
    pages = {page for page in PAGES if page.startswith("docs/")} - {"docs/index.md"}
    assert listed >= pages
    assert {f"docs/notebooks/{path.stem}.md" for path in NOTEBOOKS} <= listed


def test_every_dependency_has_its_reason() -> None:
    extras = [name for names in PYPROJECT["project"]["optional-dependencies"].values() for name in names]
    reasons = CONTRIBUTING.split("## Dependencies")[1].lower()
    for requirement in (*PYPROJECT["project"]["dependencies"], *extras):
        name = re.split(r"[\[>=]", requirement)[0]
        assert name in reasons, name


def test_every_command_is_on_a_page() -> None:
    context = click.Context(main.cli)
    for name in main.cli.list_commands(context):
        assert f"ctspine-zarr {name}" in TEXTS, name
    for command in ("make demo", "make view", "make test", "make docs"):
        assert command in README


def test_the_version_is_one() -> None:
    assert cz.__version__ == PYPROJECT["project"]["version"]
    assert f"## {cz.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"ctspine-zarr {cz.__version__}" == WRITER


def test_the_paper_is_cited_by_its_authors() -> None:
    [paper] = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["references"]
    cited = [(one["given-names"], one["family-names"]) for one in paper["authors"]]
    assert cited == [(one.given, one.family) for one in ctspine1k.SPEC.authors]


def test_every_public_name_states_its_guarantees() -> None:
    for name in cz.__all__:
        assert getattr(cz, name).__doc__, name


def test_the_makefile_has_the_targets_that_are_named() -> None:
    texts = README + CONTRIBUTING + (REPOSITORY / ".ci" / "run").read_text()
    assert set(re.findall(r"make ([a-z0-9-]+)", texts)) <= TARGETS


def test_the_setup_script_is_plain_shell() -> None:
    for name in ("setup_venv.sh", "setup_browser.sh", "build_distributions.sh"):
        subprocess.run(["sh", "-n", REPOSITORY / "scripts" / name], check=True)


def test_other_readers_see_image_and_mask_over_http_as_the_page_says(phantom_store: cz.Store) -> None:
    case = phantom_store["liver_0"]
    with served(application(Path(phantom_store.location))) as url:
        own = ObjectStore(
            obstore.store.HTTPStore.from_url(
                f"{url}/{case.record.path}", client_options={"allow_http": True}
            ),
            read_only=True,
        )
        image, mask = xr.open_zarr(own), xr.open_zarr(own, group="labels/vertebrae")
        tree = xr.open_datatree(own, engine="zarr")  # type: ignore[arg-type]  # zarr stores are legal
        assert np.array_equal(image["image"], case.image.compute())
        assert np.array_equal(mask["segmentation"], case.segmentation.compute())
        assert np.array_equal(tree["image"], case.image.compute())
        assert np.array_equal(tree["labels/vertebrae/segmentation"], case.segmentation.compute())


def test_every_dataset_has_a_row_with_its_licence() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", BUILDING, re.MULTILINE))
    assert list(rows) == list(DATASETS)
    for spec in (ctspine1k.SPEC, verse.SPEC):
        assert rows[spec.layout] == spec.licence


def test_every_option_of_a_build_is_on_a_page() -> None:
    options = {name for one in build.build.params for name in one.opts if name.startswith("--")}
    assert [name for name in options if name not in TEXTS] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", documents.prose(page)):
        path, _, anchor = target.partition("#")
        found = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert found.is_file(), target
        if anchor:
            assert anchor in documents.anchors(str(found.resolve().relative_to(REPOSITORY))), target


def glossary() -> dict[str, str]:
    return dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", GLOSSARY, re.MULTILINE))


def test_the_glossary_has_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\*", GLOSSARY, re.MULTILINE)
    assert len(words) == len(set(words)) == len(glossary())
    assert set(words) >= {
        "case",
        "volume",
        "mask",
        "label",
        "source",
        "spec",
        "shard",
        "receipt",
        "seal",
        "state",
    }


@pytest.mark.parametrize("word", glossary())
def test_a_word_of_the_glossary_is_used(word: str) -> None:
    assert re.search(rf"\b{word}s?\b", SOURCES, re.IGNORECASE)


# What had these names has better ones, or is no more.
RETIRED = ("record.vertebrae", 'by="vertebra"', "catalog.jsonl", "DerivedFolder", "ctspine_zarr.dataset ")


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_name_does_not_come_back(name: str) -> None:
    assert name not in SOURCES + TEXTS


def test_the_rooms_of_the_house_are_where_the_page_says() -> None:
    rooms = {path.parent.name for path in Path(cz.__file__).parent.glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in CONTRIBUTING} == set()
    named = set(re.findall(r"\b([a-z]+)/  ", CONTRIBUTING)) - {"docs", "native"}
    assert named <= rooms


def test_the_page_on_asking_has_every_option_and_column(phantom_store: cz.Store) -> None:
    page = documents.text_of("docs/asking.md")
    command = main.cli.get_command(click.Context(main.cli), "cases")
    assert command is not None
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    named = set(re.findall(r"`(--[a-z-]+)`", page))
    assert named - options == {"--all", "--metadata-key"}
    # Those of every command that takes them are on pages of their own.
    common = {"--storage-option", "--quiet", "--verbose", "--log-file"}
    assert common == {name for name in options if name.startswith("--") and name not in page}
    columns = set(re.findall(r"`([a-z0-9_]+)`", page.split("| columns of")[1].split("\n\n")[0]))
    assert set(phantom_store.vertebrae.columns) - columns == {"start_y", "stop_y"}
