"""The documentation runs, and names what is there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import obstore.store
import pytest
import xarray as xr
from click.testing import CliRunner
from servers import served
from zarr.storage import ObjectStore

import ctspine_zarr as cz
from ctspine_zarr.cli import build, derive, main, talk
from ctspine_zarr.datasets import DATASETS, ctspine1k, verse
from ctspine_zarr.publishing.web import application
from ctspine_zarr.write.case_objects import WRITER

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text()
SOURCES = "\n".join(
    path.read_text() for path in sorted(Path(cz.__file__).parent.rglob("*")) if path.suffix in {".py", ".js"}
)
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


@pytest.fixture
def workplace(
    phantom: Path, phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with `CTSpine1K` and, once built, `spine.zarr`."""
    (tmp_path / "CTSpine1K").symlink_to(phantom)
    shutil.copytree(phantom_store.location, tmp_path / "spine.zarr")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_the_readmes_python_runs(workplace: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        if "ctspine_zarr.torch" not in block or importlib.util.find_spec("torch"):
            exec(compile(block, str(workplace), "exec"), names)  # noqa: S102 - our own


def test_the_readmes_commands_run(workplace: Path) -> None:
    text = README.split("## From the Hub")[0]
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("    ctspine-zarr ")]
    assert [line[1] for line in lines] == ["build", "build", "verify", "info", "export", "export"]
    shutil.rmtree(workplace / "spine.zarr")
    for line in lines:
        done = CliRunner().invoke(main.cli, line[1:])
        assert done.exit_code == 0, done.output


def test_every_exit_status_is_documented() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert table == {0, talk.FAILED, talk.USAGE, talk.REFUSED, talk.DAMAGED, talk.INTERRUPTED}


def test_every_dependency_has_its_reason() -> None:
    extras = [name for names in PYPROJECT["project"]["optional-dependencies"].values() for name in names]
    reasons = CONTRIBUTING.split("## Dependencies")[1].lower()
    for requirement in (*PYPROJECT["project"]["dependencies"], *extras):
        name = re.split(r"[\[>=]", requirement)[0]
        assert name in reasons, name


def test_every_command_is_in_the_readme() -> None:
    for command in main.cli.commands:
        assert f"ctspine-zarr {command}" in README
    for command in ("make demo", "make test"):
        assert command in README


def test_the_version_is_one() -> None:
    assert cz.__version__ == PYPROJECT["project"]["version"]
    assert f"## {cz.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"ctspine-zarr {cz.__version__}" == WRITER


def test_every_public_name_states_its_guarantees() -> None:
    for name in cz.__all__:
        assert getattr(cz, name).__doc__, name


def test_the_makefile_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    texts = README + CONTRIBUTING + (REPOSITORY / ".ci" / "run").read_text()
    assert set(re.findall(r"make ([a-z0-9-]+)", texts)) <= targets


def test_the_setup_script_is_plain_shell() -> None:
    for name in ("setup_venv.sh", "setup_browser.sh"):
        subprocess.run(["sh", "-n", REPOSITORY / "scripts" / name], check=True)


def test_the_readmes_commands_for_elsewhere_are_legal() -> None:
    text = README.split("## From the Hub")[1].split("## Read it")[0]
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("    ctspine-zarr ")]
    assert [line[1] for line in lines] == ["build", "publish", "publish", "serve"]
    for _, name, *arguments in lines:
        command = main.cli.commands[name]
        assert command.make_context(name, arguments).params["store"]


def test_other_readers_see_image_and_mask_over_http_as_the_readme_says(phantom_store: cz.Store) -> None:
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


def test_the_readme_has_every_dataset_with_its_licence() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", README, re.MULTILINE))
    assert list(rows) == list(DATASETS)
    for spec in (ctspine1k.SPEC, verse.SPEC):
        assert rows[spec.layout] == spec.licence


def test_the_commands_of_the_cluster_page_are_legal() -> None:
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    lines = [line.split("#")[0].split() for line in page.splitlines() if line.startswith("    ctspine-zarr ")]
    assert len(lines) >= 5
    for _, name, *arguments in lines:
        command = main.cli.commands[name]
        command.make_context(name, arguments, resilient_parsing=False)
    for block in re.findall(r"```python no-run\n(.*?)```", page, re.DOTALL):
        compile(block, "docs/cluster.md", "exec")
    for name in re.findall(r"`--([a-z-]+)", page):
        assert any(f"--{name}" in one.opts for c in main.cli.commands.values() for one in c.params), name


def test_the_commands_of_the_viewers_page_are_legal() -> None:
    page = (REPOSITORY / "docs" / "viewer.md").read_text()
    lines = [line.split() for line in page.splitlines() if line.startswith("    ctspine-zarr ")]
    assert len(lines) == 3
    for _, name, *arguments in lines:
        command = main.cli.commands[name]
        assert command.make_context(name, arguments).params["store"] == "spine.zarr"
    for block in re.findall(r"```python no-run\n(.*?)```", page, re.DOTALL):
        compile(block, "docs/viewer.md", "exec")


@pytest.mark.parametrize("name", ["docs/frameworks.md", "docs/deriving.md"])
def test_the_python_of_a_page_is_python(name: str) -> None:
    for block in re.findall(r"```python[^\n]*\n(.*?)```", (REPOSITORY / name).read_text(), re.DOTALL):
        compile(block, name, "exec")
    assert name in README


def test_the_options_of_deriving_are_those_of_the_command() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", (REPOSITORY / "docs" / "deriving.md").read_text()))
    assert named <= {option for one in derive.derive.params for option in one.opts}


def test_every_option_of_a_build_is_in_the_readme() -> None:
    options = {name for one in build.build.params for name in one.opts if name.startswith("--")}
    # What is usual, and told by --help.
    assert {name for name in options if name not in README} <= {"--workers", "--codec"}


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/format.md",
        "docs/glossary.md",
        "docs/cluster.md",
        "docs/commands.md",
        "docs/deriving.md",
        "docs/frameworks.md",
        "docs/nnunet.md",
        "docs/asking.md",
        "docs/quality.md",
        "docs/pictures.md",
        "docs/viewer.md",
    ],
)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (REPOSITORY / page).read_text(), flags=re.DOTALL)
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (REPOSITORY / page).parent.joinpath(target).is_file(), target


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
    assert name not in SOURCES + README + CONTRIBUTING + GLOSSARY


def test_the_rooms_of_the_house_are_where_the_page_says() -> None:
    rooms = {path.parent.name for path in Path(cz.__file__).parent.glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in CONTRIBUTING} == set()
    named = set(re.findall(r"\b([a-z]+)/  ", CONTRIBUTING)) - {"docs", "native"}
    assert named <= rooms


def test_the_page_on_asking_runs(workplace: Path) -> None:
    page = (REPOSITORY / "docs" / "asking.md").read_text()
    (workplace / "clinical.csv").write_text("case,age\nliver_0,63\n")
    (workplace / "Path.csv").write_text("liver_0/study/1.0-Supine  1.0  B30f-1\n")
    lines = [line.split() for line in page.splitlines() if line.startswith("    ctspine-zarr ")]
    assert len(lines) == 11
    for line in lines:
        done = CliRunner().invoke(main.cli, line[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, str(workplace), "exec"), names)  # noqa: S102 - our own
    assert list(cz.open_store("spine.zarr").metadata.columns)[:2] == ["study", "series"]
    options = {name for one in main.cli.commands["cases"].params for name in (*one.opts, *one.secondary_opts)}
    named = set(re.findall(r"`(--[a-z-]+)`", page))
    assert named - options == {"--all", "--metadata-key"}
    assert {"--storage-option"} == {name for name in options if name not in page}
    columns = set(re.findall(r"`([a-z0-9_]+)`", page.split("| columns of")[1].split("\n\n")[0]))
    assert set(cz.open_store("spine.zarr").vertebrae.columns) - columns == {"start_y", "stop_y"}
