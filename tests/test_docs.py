"""The documentation runs, and names what is there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import ctspine_zarr as cz
from ctspine_zarr.cli import main
from ctspine_zarr.write.case_objects import WRITER

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
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
    assert [line[1] for line in lines] == ["build", "build", "verify", "info", "export"]
    shutil.rmtree(workplace / "spine.zarr")
    for line in lines:
        done = CliRunner().invoke(main.cli, line[1:])
        assert done.exit_code == 0, done.output


def test_every_exit_status_is_documented() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert table == {0, main.FAILED, main.USAGE, main.REFUSED, main.DAMAGED, main.INTERRUPTED}


def test_every_dependency_has_its_reason() -> None:
    extras = [name for names in PYPROJECT["project"]["optional-dependencies"].values() for name in names]
    reasons = README.split("## Dependencies")[1].split("## Licence")[0].lower()
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
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    texts = README + (REPOSITORY / "CONTRIBUTING.md").read_text() + (REPOSITORY / ".ci" / "run").read_text()
    assert set(re.findall(r"make ([a-z-]+)", texts)) <= targets


def test_the_setup_script_is_plain_shell() -> None:
    subprocess.run(["sh", "-n", REPOSITORY / "scripts" / "setup_venv.sh"], check=True)


def test_the_readmes_commands_for_elsewhere_are_legal() -> None:
    text = README.split("## From the Hub")[1].split("## Read it")[0]
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("    ctspine-zarr ")]
    assert [line[1] for line in lines] == ["build", "publish", "publish", "serve"]
    for _, name, *arguments in lines:
        command = main.cli.commands[name]
        assert command.make_context(name, arguments).params["store"]
