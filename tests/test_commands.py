"""What all commands have in common: quick help, one JSON document, what a shell completes, their page."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import nibabel
import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import Result
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from trees import AFFINE, Tree, labels, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.cli import documents, main, talk
from ctspine_zarr.cli.main import cli
from ctspine_zarr.format.findings import QUALITIES, Severity
from ctspine_zarr.text import size

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "commands.md").read_text()


def leaves(group: click.Group = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Each command that does something, by its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


COMMANDS = dict(leaves())


# -- help


def test_no_help_imports_what_only_a_run_needs() -> None:
    code = """
import sys, click
from click.testing import CliRunner
before = set(sys.modules)
import ctspine_zarr.cli.main as main
HEAVY = (
    "numpy pandas zarr numcodecs dask xarray nibabel scipy obstore huggingface_hub rich msgspec distributed "
    "openpyxl asyncio multiprocessing starlette matplotlib PIL importlib.metadata"
).split()
def check(words, command):
    done = CliRunner().invoke(main.cli, [*words, "--help"])
    loaded = [name for name in HEAVY if name in sys.modules and name not in before]
    if loaded or done.exit_code:
        sys.exit(f"{words}: {loaded or done.output}")
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        check([*words, name], command.get_command(None, name))
check([], main.cli)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys; from ctspine_zarr.cli.main import cli, COMMANDS; cli(['--help'], standalone_mode=False);"
        "print([m for m in COMMANDS if f'ctspine_zarr.cli.{m}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    assert main.COMMANDS[name].help == cli.commands[name].get_short_help_str(limit=1000)
    assert cli.commands[name].name == name


def test_a_misspelt_command_is_told_its_name() -> None:
    assert "No such command 'biuld'. Did you mean 'build'?" in run("biuld").stderr
    assert run("biuld").exit_code == talk.USAGE


def choices(command: str, option: str) -> list[str]:
    [kind] = [one.type for one in COMMANDS[command].params if option in one.opts]
    assert isinstance(kind, click.Choice)
    return list(kind.choices)


def test_choices_that_help_may_not_import_are_those_of_the_library() -> None:
    assert choices("qc", "--severity") == choices("qc", "--fail-on") == list(map(str, Severity))
    assert choices("cases", "--quality") == list(QUALITIES)


def test_the_default_height_of_a_picture_is_the_librarys() -> None:
    default = inspect.signature(cz.preview).parameters["height"].default
    assert f"[default: {default}]" in run("preview", "--help").stdout


# -- the page


def test_the_page_has_the_help_of_every_command() -> None:
    script = [sys.executable, str(REPOSITORY / "scripts" / "write_commands.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall(r"^### ctspine-zarr (.+)$", PAGE, re.MULTILINE)) >= set(COMMANDS)


def test_the_page_has_every_exit_status() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert table == {0, talk.FAILED, talk.USAGE, talk.REFUSED, talk.DAMAGED, talk.INTERRUPTED}
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", talk.EXITS)} == table


# -- JSON


class Both(NamedTuple):
    """A command run twice, on equal stores: for its text, and for its document."""

    text: Result
    json: Result

    @property
    def document(self) -> Any:
        return json.loads(self.json.stdout)


def source(root: Path) -> Tree:
    """Three cases, and one that is refused."""
    tree = Tree(root)
    tree.add("liver_1")
    tree.add("liver_2", voxels(1))
    tree.add("liver_3", voxels(2), section="test_public")
    tree.add("liver_4", image=packed(voxels())[:-30])
    return tree


def predictions(folder: Path) -> None:
    """Of one case, the mask two voxels further up; and of one, a mask of another shape."""
    folder.mkdir()
    moved = np.roll(labels(), 2, axis=2)
    nibabel.save(nibabel.Nifti1Image(moved, AFFINE), folder / "liver_1.nii.gz")
    nibabel.save(nibabel.Nifti1Image(moved[1:], AFFINE), folder / "liver_2.nii.gz")


def table() -> None:
    Path("clinical.csv").write_text("case,age\nliver_1,63\nliver_9,64\n")


def damage() -> None:
    Path("s.zarr/train/MSD-T10/liver_2/image/c/0/0/0").write_bytes(b"x")


STEPS: dict[str, list[str] | Callable[[], None]] = {
    "dry run": ["build", "source", "s.zarr", "--dry-run"],
    "part": ["build", "source", "parts.zarr", "--part", "1/1", "--workers", "1"],
    "finalize": ["finalize", "parts.zarr"],
    "build": ["build", "source", "s.zarr", "--workers", "1"],
    "info": ["info", "s.zarr"],
    "info of a case": ["info", "s.zarr", "liver_1"],
    "qc": ["qc", "s.zarr"],
    "table": table,
    "metadata": ["metadata", "s.zarr", "clinical.csv"],
    "labels add": ["labels", "add", "s.zarr", "prediction", "predictions"],
    "score": ["score", "s.zarr", "prediction"],
    "labels remove": ["labels", "remove", "s.zarr", "prediction"],
    "derive": ["derive", "s.zarr", "d.zarr", "--crop", "labels", "--margin", "1", "--workers", "1"],
    "publish": ["publish", "s.zarr", "copy.zarr"],
    "diff": ["diff", "s.zarr", "copy.zarr"],
    "nnunet raw": ["nnunet", "raw", "s.zarr", "raw", "--id", "601"],
    "nnunet trainers": ["nnunet", "trainers"],
    "damage": damage,
    "preview": ["preview", "s.zarr", "--all", "-o", "all.png"],
    "verify": ["verify", "s.zarr"],
    "export": ["export", "s.zarr", "liver_1", "liver_2", "--output", "out"],
    "repair": ["repair", "s.zarr", "source"],
    "remove": ["remove", "s.zarr", "liver_3", "liver_1"],
}


def carried_out(place: Path, *more: str) -> dict[str, Result]:
    """The result of each step in a folder of its own."""
    place.mkdir()
    source(place / "source")
    predictions(place / "predictions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        done = {}
        for name, step in STEPS.items():
            if callable(step):
                step()
            else:
                done[name] = run(*step, *more)
        return done


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    place = tmp_path_factory.mktemp("told")
    texts = carried_out(place / "here")
    (place / "here").rename(place / "before")
    documents = carried_out(place / "here", "--json")
    return {name: Both(text, documents[name]) for name, text in texts.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_json_and_the_page_has_its_keys(name: str) -> None:
    assert any("--json" in option.opts for option in COMMANDS[name].params)
    assert re.search(rf"^\| .*`{name}`.* \| .*`\w+`", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_the_options_of_its_logs(name: str) -> None:
    assert {"--quiet", "--verbose", "--log-file"} <= {one for of in COMMANDS[name].params for one in of.opts}


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if not callable(step)])
def test_a_document_stands_alone_and_the_status_is_the_same(told: dict[str, Both], name: str) -> None:
    both = told[name]
    assert isinstance(both.document, dict)
    assert both.json.exit_code == both.text.exit_code, both.json.output
    assert both.json.exception is None or isinstance(both.json.exception, SystemExit)
    assert both.json.stderr == ""


@pytest.mark.parametrize("row", re.findall(r"^\| (`.+`) \| (.+) \|$", PAGE, re.MULTILINE))
def test_a_document_has_the_keys_that_the_page_names(told: dict[str, Both], row: tuple[str, str]) -> None:
    for name in re.findall(r"`(.+?)`", row[0]):
        if name in told:
            keys = re.findall(r"`(\w+)`", row[1])
            found = list(told[name].document)
            assert found == keys or ("and more" in row[1] and set(keys) < set(found))


def test_the_page_names_what_a_plan_and_a_result_have(told: dict[str, Both]) -> None:
    document = told["build"].document
    [paragraph] = re.findall(r"^The `plan` of a build has .*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    plan, _, result = paragraph.partition("Its `result`")
    assert set(re.findall(r"`(\w+)`", plan)) - {"plan"} == set(document["plan"])
    assert "but for `location`" in " ".join(result.split())
    assert ["location", *document["result"]] == list(told["finalize"].document)


def test_the_document_of_a_plan_has_its_figures(told: dict[str, Both]) -> None:
    text, plan = told["dry run"].text.stdout, told["dry run"].document["plan"]
    assert told["dry run"].document["result"] is None
    assert plan["cases"] == {"train": {"MSD-T10": 3}, "validation": {"MSD-T10": 1}}
    for line in (
        f"dataset +{plan['dataset']}, licence {plan['licence']}",
        f"whole +{len(plan['whole'])} of {len(plan['pending'])} are built already",
        rf"to read +{size(plan['read_bytes'])} of .nii.gz in 4 cases",
        f"to write +about {size(plan['store_bytes'])} with codec {plan['codec']}",
        f"memory +at most {size(plan['memory_bytes'])} with {plan['workers']} workers",
    ):
        assert re.search(line, text), line


@pytest.mark.parametrize("name", ["build", "part", "derive"])
def test_the_document_of_a_build_has_its_figures(told: dict[str, Both], name: str) -> None:
    result, text = told[name].document["result"], told[name].text.stdout.splitlines()[-1]
    cases, sizes = [one["case"] for one in result["built"]], [one["stored_bytes"] for one in result["built"]]
    assert sorted(cases) == ["liver_1", "liver_2", "liver_3"]
    assert result["stored_bytes"] == sum(sizes)
    assert text.startswith(f"built 3 cases ({size(result['stored_bytes'])}) in ")
    assert f"{len(result['whole'])} were whole before, {len(result['refused'])} refused" in text
    for refusal in result["refused"]:
        assert f"refused {refusal['case']}: {refusal['reason']}" in told[name].text.stderr
    assert len(result["refused"]) == (0 if name == "derive" else 1)


def test_the_document_of_labels_and_scores_have_their_figures(told: dict[str, Both]) -> None:
    added, removed, score = (told[name].document for name in ("labels add", "labels remove", "score"))
    assert (added["added"], [one["case"] for one in added["refused"]]) == (["liver_1"], ["liver_2"])
    assert "added prediction to 1 cases" in told["labels add"].text.stdout
    assert (removed["name"], removed["cases"]) == ("prediction", ["liver_1"])
    *rows, total = [line.split() for line in told["score"].text.stdout.splitlines()[1:]]
    assert [one["label"] for one in score["labels"]] == [row[0] for row in rows] == ["L4", "L5"]
    for row, one in zip([*rows, total], [*score["labels"], score["total"]], strict=True):
        figures = [one["cases"], f"{one['dice']:.4f}", f"{one['identified']:.4f}", one["extra"]]
        assert row == [one["label"], *map(str, figures)]


def test_the_other_documents_have_the_figures_of_their_text(told: dict[str, Both]) -> None:
    final = {name: both.text.stdout.strip() for name, both in told.items()}
    found = {name: both.document for name, both in told.items()}
    assert final["finalize"] == f"parts.zarr: {len(found['finalize']['whole'])} cases are whole, 1 refused"
    assert final["verify"] == "2 of 3 cases are whole"
    damaged = [one["case"] for one in found["verify"]["cases"] if one["problems"]]
    assert (damaged, found["verify"]["is_whole"]) == (["liver_2"], False)
    assert [one["case"] for one in found["repair"]["mended"]] == ["liver_2"]
    assert final["repair"].startswith("1 cases mended, ")
    assert final["repair"].endswith("the store is whole") == found["repair"]["is_whole"]
    assert final["remove"] == f"removed {', '.join(found['remove']['removed'])}"
    assert final["info"].splitlines()[0].startswith(f"{found['info']['location']}: CTSpine1K, codec ")
    assert final["info of a case"].startswith(f"{found['info of a case']['id']}: ")
    copied = found["publish"]["cases"]
    assert f"{len(copied)} cases ({size(sum(one['sent'] for one in copied))}) copied" in final["publish"]
    assert final["nnunet trainers"] == found["nnunet trainers"]["folder"]
    assert found["nnunet raw"]["folder"] == final["nnunet raw"]


def test_the_document_of_an_export_has_files_and_failures(told: dict[str, Both]) -> None:
    exported, failed = told["export"].document["cases"]
    assert told["export"].json.exit_code == talk.FAILED
    assert exported["paths"] == told["export"].text.stdout.splitlines()
    assert (failed["case"], failed["paths"]) == ("liver_2", [])
    assert f"ctspine-zarr: {failed['reason']}\n" == told["export"].text.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["info", "/nowhere.zarr"], talk.FAILED),
        (["verify", "/nowhere.zarr", "-q"], talk.FAILED),
        (["export", "STORE", "liver_9", "--output", "x"], talk.USAGE),
        (["score", "STORE", "none"], talk.USAGE),
        (["labels", "remove", "STORE", "none"], talk.USAGE),
        (["nnunet", "preprocess", "nowhere", "x"], talk.FAILED),
        (["preview", "STORE", "liver_0", "--columns", "2", "-o", "x.png"], talk.USAGE),
        (["preview", "STORE", "--all", "--height", "300", "-o", "x.png"], talk.USAGE),
        (["preview", "STORE", "liver_0", "--all", "-o", "x.png"], talk.USAGE),
        (["view", "STORE", "--neuroglancer"], talk.USAGE),
        (["derive", "STORE", "x.zarr", "--spacing", "1,2"], talk.USAGE),
        (["serve", "/nowhere.zarr"], talk.FAILED),
        (["build", "/nowhere", "s.zarr"], talk.FAILED),
        (["build", "/nowhere", "s.zarr", "--codec", "none"], talk.USAGE),
    ],
)
def test_an_error_leaves_standard_output_empty(
    phantom_store: cz.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(phantom_store.location if word == "STORE" else word for word in arguments), "--json")
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1].startswith(("ctspine-zarr: ", "Error: "))


def test_verbose_shows_progress_beside_a_document_and_a_log_has_the_text(
    phantom_store: cz.Store, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    done = run("-v", "verify", phantom_store.location, "--quick", "--json", "--log-file", log)
    assert json.loads(done.stdout)["is_whole"]
    assert done.stderr.count("whole ") == len(phantom_store)
    assert "INFO 9 of 9 cases are whole" in log.read_text()


@pytest.mark.parametrize("name", [("serve",), ("view", "--no-browser")])
def test_the_document_of_what_is_served_is_one_line(phantom_store: cz.Store, name: tuple[str, ...]) -> None:
    own = [sys.executable, "-m", "ctspine_zarr"]
    command = [*own, *name, phantom_store.location, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert found["location"] == phantom_store.location
    token = r"/[\w-]{22}/" if "view" in name else ""
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+{token}", found["url"])


@given(st.floats() | st.integers(0, 9))
def test_a_mean_of_no_case_is_null(mean: float) -> None:
    import pandas as pd  # noqa: PLC0415

    summary = pd.DataFrame(
        {"cases": [0, 0], "dice": mean, "identified": mean, "extra": 1}, index=["L4", "total"]
    )
    found = documents.scored("s.zarr", "p", summary)
    assert found["total"]["dice"] == (None if np.isnan(mean) else mean)


# -- completion


def completed(*words: str) -> list[str]:
    """What a shell offers for the last of some words."""
    shell = ShellComplete(cli, {}, "ctspine-zarr", "_CTSPINE_ZARR_COMPLETE")
    return [found.value for found in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def location(phantom_store: cz.Store) -> str:
    return phantom_store.location


def test_a_shell_completes_commands_in_their_order() -> None:
    assert completed("") == list(main.COMMANDS)
    assert completed("re") == ["repair", "remove"]
    assert completed("labels", "") == ["add", "remove"]
    assert "--json" in completed("publish", "--")
    assert completed("build", "a", "b", "--codec", "") == ["portable", "compact"]


@pytest.mark.parametrize(
    "before", [["info"], ["verify"], ["export", "--output", "x"], ["remove"], ["export", "--crop", "spine"]]
)
def test_a_shell_completes_the_cases_of_the_store(
    phantom_store: cz.Store, location: str, before: list[str]
) -> None:
    assert completed(*before, location, "") == list(phantom_store)
    assert completed(*before, location, "liver_") == [
        case for case in phantom_store if case.startswith("liver_")
    ]
    assert completed(*before, location, "no") == []


def test_a_shell_offers_no_case_twice(phantom_store: cz.Store, location: str) -> None:
    first, second, *rest = phantom_store
    assert completed("remove", location, first, second, "") == rest


def test_a_shell_completes_what_a_build_may_select(phantom_store: cz.Store, location: str) -> None:
    for words in (["build", "source", location], ["derive", location, "new.zarr"]):
        assert completed(*words, "--split", "") == ["train", "validation", "test"]
        assert completed(*words, "--split", "train", "--split", "t") == ["test"]
        assert completed(*words, "--source-dataset", "C") == ["COLONOG", "COVID-19"]
        assert completed(*words, "--case", "") == list(phantom_store)


def test_a_shell_completes_label_sets(tmp_path: Path, phantom_store: cz.Store) -> None:
    place = shutil.copytree(phantom_store.location, tmp_path / "s.zarr")
    case = next(case for case in phantom_store.values() if case.has_mask)
    cz.add_labels(place, "prediction", {case.id: case.voxels("segmentation")[...]})
    for words in (["score"], ["labels", "remove"], ["labels", "add"]):
        assert completed(*words, str(place), "p") == ["prediction"]
    assert completed("export", str(place), "--label-set", "") == ["prediction"]
    assert completed("nnunet", "raw", str(place), "raw", "--label-set", "") == ["prediction"]


def test_a_shell_completes_codes_and_tables_of_metadata(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = str(shutil.copytree(phantom_store.location, tmp_path / "s.zarr"))
    codes = {found.code for record in phantom_store.records.values() for found in record.findings}
    assert completed("cases", place, "--without-finding", "") == sorted(codes)
    assert completed("metadata", place, "--remove", "") == []
    (tmp_path / "clinical.csv").write_text("case,age\nliver_0,63\n")
    cz.add_metadata(place, tmp_path / "clinical.csv")
    assert completed("metadata", place, "--remove", "") == ["clinical.csv"]


@pytest.mark.parametrize("words", [["info"], ["build", "source"], ["publish"], ["repair"], ["nnunet", "raw"]])
def test_a_shell_completes_a_store_as_a_folder(words: list[str]) -> None:
    shell = ShellComplete(cli, {}, "ctspine-zarr", "_CTSPINE_ZARR_COMPLETE")
    [found] = shell.get_completions(words, "sp")
    assert (found.type, found.value) == ("dir", "sp")


@pytest.mark.parametrize(
    "store", ["s3://bucket/s.zarr", "https://host/s.zarr", "hf://datasets/a/b", "nowhere"]
)
def test_a_shell_asks_no_store_elsewhere(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("it was opened")

    monkeypatch.setattr(cz, "open_store", refuse)
    assert completed("info", store, "") == []


def test_a_store_that_cannot_be_read_completes_nothing(tmp_path: Path, phantom_store: cz.Store) -> None:
    place = shutil.copytree(phantom_store.location, tmp_path / "s.zarr")
    (place / "zarr.json").write_bytes(b"{")
    assert completed("info", str(place), "") == completed("info", str(tmp_path), "") == []


def test_a_shell_is_offered_no_command_of_its_own(
    monkeypatch: pytest.MonkeyPatch, location: str, phantom_store: cz.Store
) -> None:
    names = [
        "one",
        "T1$(touch x)",
        "T1`touch x`",
        "T2;touch x",
        "a b",
        "$HOME",
        "l\u00e4sion",
        "T-1.a+b",
    ]
    others = [*phantom_store.spec.labels.values()][len(names) :]
    labels = dict(zip(phantom_store.spec.labels, [*names, *others], strict=True))
    spec = structs.replace(phantom_store.spec, labels=labels)
    root = structs.replace(phantom_store.root, dataset=spec)
    store = cz.Store(phantom_store.storage, root, phantom_store.entries, phantom_store.reading)
    monkeypatch.setattr(cz, "open_store", lambda *_, **__: store)
    assert completed("cases", location, "--has-label", "") == ["one", "l\u00e4sion", "T-1.a+b", *others]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash, which is not on this machine")
def test_bash_completes_cases(tmp_path: Path, phantom_store: cz.Store) -> None:
    command = tmp_path / "ctspine-zarr"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ctspine_zarr "$@"\n')
    command.chmod(0o755)
    [line] = re.findall(r"```bash\n(eval .*)\n```", PAGE)
    script = f"""
{line}
complete -p ctspine-zarr
COMP_WORDS=(ctspine-zarr info "$STORE" liver_) COMP_CWORD=3
_ctspine_zarr_completion ctspine-zarr liver_ "$STORE"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STORE": phantom_store.location}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    registered, *found = done.stdout.splitlines()
    assert registered.endswith("-F _ctspine_zarr_completion ctspine-zarr")
    assert found == [case for case in phantom_store if case.startswith("liver_")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_page_has_the_line_of_each_shell(shell: str) -> None:
    assert f"_CTSPINE_ZARR_COMPLETE={shell}_source ctspine-zarr" in PAGE
