"""What a command says, to whom, and how much of it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from commands import run
from trees import Tree, packed, voxels

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"


@pytest.fixture
def source(tree: Tree) -> Path:
    """A good case and one that is refused."""
    tree.add("liver_1")
    tree.add("liver_2", image=packed(voxels())[:-30])
    return tree.root


@pytest.mark.parametrize("before", [True, False])
def test_quiet_leaves_refusals_and_the_final_line(source: Path, tmp_path: Path, *, before: bool) -> None:
    build = ["build", source, tmp_path / "s.zarr", "--workers", 1]
    done = run("-q", *build) if before else run(*build, "--quiet")
    assert done.exit_code == 3
    assert re.fullmatch(r"built 1 cases \(.*\n", done.stdout)
    assert re.fullmatch(r"refused liver_2: liver_2.nii.gz: truncated .*\n", done.stderr)


def test_quiet_leaves_errors_and_a_dry_runs_plan(source: Path, tmp_path: Path) -> None:
    assert "free disk" in run("build", source, tmp_path / "s.zarr", "-q", "--dry-run").stdout
    failed = run("-q", "verify", tmp_path / "s.zarr")
    assert (failed.exit_code, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert failed.stderr.startswith("ctspine-zarr: no store at ")


@pytest.mark.parametrize("workers", [1, 2])
def test_verbose_has_the_tracebacks_of_refused_cases(source: Path, tmp_path: Path, workers: int) -> None:
    done = run("build", source, tmp_path / "s.zarr", "-v", "--workers", workers)
    assert re.search(rf"^{TIME} ctspine_zarr.write.build: refused liver_2: ", done.stderr, re.MULTILINE)
    assert "\n    Traceback (most recent call last):\n" in done.stderr
    assert re.search(
        r"^    ctspine_zarr\.errors\.CaseRefused: liver_2.nii.gz: trunc", done.stderr, re.MULTILINE
    )
    assert "Traceback" not in run("build", source, tmp_path / "s.zarr").stderr


def test_a_log_file_has_every_line_with_its_time_and_level(source: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("of before\n")
    assert run("build", source, tmp_path / "s.zarr", "-q", "--log-file", log, "--workers", 1).exit_code == 3
    assert run("--log-file", log, "verify", tmp_path / "nowhere.zarr").exit_code == 1
    first, *lines = log.read_text().splitlines()
    assert first == "of before"
    assert all(line.startswith("    ") or re.match(rf"{TIME} [A-Z]+ \S", line) for line in lines)
    for text in (
        r"INFO free disk .*",
        r"INFO built liver_1 in .* of 2 cases, .*",
        r"INFO refused liver_2; .*",
        r"DEBUG ctspine_zarr\.write\.build: refused liver_2: .*",
        r"INFO built 1 cases .*",
        r"WARNING refused liver_2: liver_2\.nii\.gz: trunc.*",
        r"ERROR ctspine-zarr: no store at .*",
    ):
        assert sum(bool(re.fullmatch(rf"{TIME} {text}", line)) for line in lines) == 1, text


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["", "no/log.txt"])
def test_a_log_file_that_cannot_be_written_is_one_line_before_anything_is_done(
    source: Path, tmp_path: Path, name: str, *, before: bool
) -> None:
    option = ["--log-file", tmp_path / name]
    build = ["build", source, tmp_path / "s.zarr"]
    done = run(*option, *build) if before else run(*build, *option)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"ctspine-zarr: --log-file {tmp_path / name}: ")
    assert not (tmp_path / "s.zarr").exists()


def test_a_log_file_on_a_full_disk_ends_no_build(source: Path, tmp_path: Path) -> None:
    done = run("build", source, tmp_path / "s.zarr", "--log-file", "/dev/full", "--workers", 1)
    assert done.exit_code == 3
    assert "built 1 cases" in done.stdout
    assert done.stderr.count("No space left on device") == 1


def test_quiet_and_verbose_together_are_refused(source: Path, tmp_path: Path) -> None:
    done = run("-q", "build", source, tmp_path / "s.zarr", "-v")
    assert done.exit_code == 2
    assert done.stderr == "ctspine-zarr: --quiet and --verbose together; legal: one of them\n"


def test_no_command_leaves_handlers_or_levels_behind(source: Path, tmp_path: Path) -> None:
    library = logging.getLogger("ctspine_zarr")
    before = (list(library.handlers), library.level)
    run("-v", "build", source, tmp_path / "s.zarr", "--log-file", tmp_path / "log.txt", "--workers", 1)
    assert (list(library.handlers), library.level) == before
