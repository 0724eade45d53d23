from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import run
from hostile import OWN, Author, build_every_kind, put_for_now
from stores import objects
from trees import Tree, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.cli import build
from ctspine_zarr.cli.main import cli
from ctspine_zarr.datasets import DATASETS

CASE = "1.3.6.1.4.1.9328.50.4.0001"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
"""ISO 8601, seconds, a zone."""
REPOSITORY = Path(__file__).parents[1]


def test_build_info_verify_export(phantom: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    built = run("build", phantom, store, "--workers", 1)
    assert built.exit_code == 0, built.output
    assert re.search(r"built 9 cases \(\S+ MB\) in \S+ s; 0 were whole before, 0 refused", built.stdout)
    assert re.search(
        rf"^{TIME} built {CASE} in \S+ s; \d of 9 cases, \S+ \S+ of \S+ MB, \d+ s left$",
        built.stderr,
        re.MULTILINE,
    )
    again = run("build", phantom, store)
    assert "built 0 cases" in again.stdout
    assert "9 were whole before" in again.stdout
    assert "of the .nii.gz" in run("info", store).stdout
    verified = run("verify", store)
    assert (verified.exit_code, verified.stdout) == (0, "9 of 9 cases are whole\n")
    exported = run("export", store, CASE, "liver_0", "--output", tmp_path / "out")
    assert exported.exit_code == 0
    assert len(exported.stdout.split()) == 4
    assert all(Path(path).exists() for path in exported.stdout.split())


def test_a_dry_run_prints_the_plan_and_writes_nothing(phantom: Path, tmp_path: Path) -> None:
    done = run(
        "build", phantom, tmp_path / "s.zarr", "--dry-run", "--split", "train", "--source-dataset", "COLONOG"
    )
    assert done.exit_code == 0
    assert re.search(r"train +2 +0 +0 +0 +2", done.stdout)
    for word in ("to read", "to write", "free disk", "memory"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_info_prints_text_or_json(phantom_store: cz.Store) -> None:
    facts = json.loads(run("info", phantom_store.location, "--json").stdout)
    assert (facts["dataset"]["name"], facts["codecs"], facts["dataset"]["licence"]) == (
        "CTSpine1K",
        ["blosc-zstd"],
        "CC-BY-NC-SA-4.0",
    )
    assert (facts["digest"], facts["is_partial"]) == (phantom_store.digest, False)
    assert facts["cases"]["train"] == {"COLONOG": 2, "COVID-19": 1, "HNSCC-3DCT-RT": 1, "MSD-T10": 1}
    case = json.loads(run("info", phantom_store.location, CASE, "--json").stdout)
    assert case["shape"] == [45, 96, 96]
    text = run("info", phantom_store.location, "1.3.6.1.4.1.9328.50.4.0004").stdout
    assert "transitional vertebra: lumbarization" in text
    assert re.search(r"^L6 +[\d,]+ ", text, re.MULTILINE)


def test_a_refused_case_is_told_once_and_is_status_3(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1")
    tree.add("liver_2", image=packed(voxels())[:-30])
    done = run("build", tree.root, tmp_path / "s.zarr")
    assert done.exit_code == 3
    assert done.stderr.count("truncated or corrupt gzip") == 1
    assert "refused liver_2: liver_2.nii.gz: truncated or corrupt gzip" in done.stderr
    verified = run("verify", tmp_path / "s.zarr")
    assert verified.exit_code == 0
    assert "refused when built: liver_2: liver_2.nii.gz: truncated" in verified.stderr
    assert run("build", tree.root, tmp_path / "t.zarr", "--dry-run").exit_code == 0


def test_damage_is_status_4(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1")
    run("build", tree.root, tmp_path / "s.zarr")
    (tmp_path / "s.zarr/train/MSD-T10/liver_1/image/c/0/0/0").write_bytes(b"x")
    done = run("verify", tmp_path / "s.zarr")
    assert (done.exit_code, done.stdout) == (4, "0 of 1 cases are whole\n")
    assert re.search(r"damaged liver_1: image/c/0/0/0 has 1 bytes, \d+ were written", done.stderr)
    exported = run("export", tmp_path / "s.zarr", "liver_1", "--output", tmp_path / "out")
    assert exported.exit_code == 1
    assert exported.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["build", "/nowhere", "s.zarr"], 1, "no CTSpine1K at /nowhere: looked for"),
        (
            ["build", "SOURCE", "s.zarr", "--case", "liver_7"],
            2,
            "no case 'liver_7' among 9 in the source",
        ),
        (
            ["build", "SOURCE", "s.zarr", "--split", "val"],
            2,
            "unknown split 'val'; legal: train, validation, test",
        ),
        (["build", "SOURCE", "s.zarr", "--workers", "0"], 2, "0 is not in the range x>=1"),
        (["build", "SOURCE", "ftp://host/s.zarr"], 1, "ftp:// is not supported; legal: a local path"),
        (["build", "SOURCE", "SOURCE/metadata/data_split.txt"], 1, "is a file; legal: a folder"),
        (["build", "SOURCE", "s.zarr", "--split-file", "/no.txt"], 1, "no split list at /no.txt (not found)"),
        (["info", "/nowhere.zarr"], 1, "no store at /nowhere.zarr: there is no such folder"),
        (["info", "STORE", "liver_7"], 2, "no case 'liver_7' among 9 in"),
        (["verify", "STORE", "liver_7"], 2, "no case 'liver_7' among 9 in"),
        (["verify", "STORE", "--digest", "0f"], 2, "digest '0f'; legal: the 64 hex digits of the store's"),
        (["export", "STORE", "liver_0"], 2, "Missing option '--output'"),
        (["show"], 2, "No such command 'show'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_a_status(
    phantom: Path,
    phantom_store: cz.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"SOURCE": str(phantom), "STORE": phantom_store.location}
    filled = [names.get(a, a.replace("SOURCE", str(phantom))) for a in arguments]
    done = run(*filled)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    if status == 1:
        assert done.stderr.startswith("ctspine-zarr: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_dataset_can_be_chosen() -> None:
    assert tuple(DATASETS) == build.DATASETS


def test_help_names_every_command_and_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ctspine_zarr", "--help"], capture_output=True, text=True, check=True
    )
    assert list(cli.commands) == [
        "build",
        "finalize",
        "verify",
        "repair",
        "diff",
        "remove",
        "info",
        "cases",
        "qc",
        "preview",
        "export",
        "derive",
        "labels",
        "score",
        "metadata",
        "publish",
        "raw",
        "nnunet",
        "view",
        "page",
        "serve",
    ]
    for name in cli.commands:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)
    assert "130 interrupted" in done.stdout


def test_every_option_is_described() -> None:
    for command in cli.commands.values():
        assert command.help
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), parameter.name


def test_the_script_is_the_same_command(phantom: Path, tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "build_store.py"
    done = subprocess.run(
        [sys.executable, script, phantom, tmp_path / "s.zarr", "--case", CASE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "built 1 cases" in done.stdout


def many_cases(tree: Tree, count: int) -> None:
    for number in range(count):
        tree.add(f"liver_{number}", voxels(number, (96, 96, 30)), voxels(number, (96, 96, 30)) % 2)


@pytest.mark.parametrize(
    ("workers", "sent"),
    [
        (1, signal.SIGINT),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_build_says_how_to_go_on_and_does(
    tree: Tree, tmp_path: Path, sent: signal.Signals, workers: int
) -> None:
    many_cases(tree, 20)
    command = [sys.executable, "-m", "ctspine_zarr", "build", str(tree.root), str(tmp_path / "s.zarr")]
    # A shell gives what it starts in the background no SIGINT: put it back.
    with subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        for _ in range(3):
            assert re.match(rf"{TIME} built liver_", process.stderr.readline())
        os.killpg(process.pid, sent)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "ctspine-zarr: interrupted; whole cases are kept: run the same command again to go on"
    )
    kept = len(list((tmp_path / "s.zarr" / "receipts").glob("*.json")))
    assert 3 <= kept < 20
    again = run("build", tree.root, tmp_path / "s.zarr", "--workers", 1)
    assert f"{kept} were whole before" in again.stdout
    run("build", tree.root, tmp_path / "clean.zarr", "--workers", 1)
    resumed, clean = objects(tmp_path / "s.zarr"), objects(tmp_path / "clean.zarr")
    del resumed["zarr.json"], clean["zarr.json"]
    assert resumed == clean


def test_a_terminal_shows_bars_and_a_line_a_worker(tree: Tree, tmp_path: Path) -> None:
    many_cases(tree, 6)
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "ctspine_zarr", "build", str(tree.root), str(tmp_path / "s.zarr")]
    with subprocess.Popen(
        [*command, "--workers", "2", "--log-file", log], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        screen = b"".join(iter(lambda: read_some(leader), b""))
    os.close(leader)
    assert process.returncode == 0
    text = screen.decode()
    assert re.search(r"building .*6/6 cases", text)
    assert re.search(r"worker 1: liver_\d, \S+ (kB|MB)", text)
    assert re.search(r"worker 2: liver_\d, \S+ (kB|MB)", text)
    # The file has the lines that the bars stand for.
    assert "; 6 of 6 cases" not in text
    assert len(re.findall(rf"^{TIME} INFO built liver_\d in ", log.read_text(), re.MULTILINE)) == 6


def read_some(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], 60)
    try:
        return os.read(terminal, 65536) if ready else b""
    except OSError:
        # Linux says so when the other side is closed.
        return b""


def test_no_text_of_a_store_can_write_lines_or_commands_of_a_terminal(tmp_path: Path) -> None:
    location = build_every_kind(tmp_path)
    before = objects(location)
    author = Author(before)
    record = author.record("a")
    record["transitional"] = "kind\x1b[2J"
    record["findings"] = [{"code": "one\r", "message": "two\nok: all is whole", "labels": []}]
    new = author.case("a", record=record)
    root = json.loads(new["zarr.json"])
    about = root["attributes"][OWN]
    about["dataset"] |= {"licence": "MIT\x1b]0;owned\x07", "citation": "\u202ecited\n"}
    about["refused"] = [{"case": "x\x1b[31m", "reason": "y\nok: all 3 cases are whole"}]
    about["provenance"] |= {"writer": "who\x9b", "written": "when\n"}
    with put_for_now(location, new | author.root(root), before):
        shown = [run("info", location), run("info", location, "a"), run("verify", location)]
    for done, told in zip(
        shown, (r"MIT\x1b]0;owned\x07", r"two\nok: all", r"x\x1b[31m: y\nok: all"), strict=True
    ):
        assert told in done.output
        assert all(line.isprintable() for line in done.output.split("\n"))
        assert not any(line.startswith("ok:") for line in done.output.splitlines())


def test_a_refusal_of_a_store_is_one_line(tmp_path: Path) -> None:
    location = build_every_kind(tmp_path)
    before = objects(location)
    receipt = json.loads(before["receipts/b.json"])
    receipt["voxels"]["image\x1b[2J\n"] = 1
    receipt["foreground"] = {"\x1b[2J\n": {}}
    with put_for_now(location, Author(before).case("b", receipt=receipt), before):
        done = run("verify", location)
    assert done.exit_code == 4
    assert all(line.isprintable() for line in done.output.split("\n"))
