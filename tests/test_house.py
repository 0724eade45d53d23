"""The structure of the code: who may import whom, and what a library does not do."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ctspine_zarr

PACKAGE = Path(ctspine_zarr.__file__).parent
MODULES = {
    ".".join(("ctspine_zarr", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Each of these may be imported by one module only.
HOMES = {
    "nibabel": "ctspine_zarr.nifti",
    "isal": "ctspine_zarr.nifti",
    "PIL": "ctspine_zarr.preview",
    "rich": "ctspine_zarr.cli.progress",
    "scipy": "ctspine_zarr.write.pieces",
    "xxhash": "ctspine_zarr.digest",
    "crc32c": "ctspine_zarr.format.codecs",
    "numcodecs": "ctspine_zarr.format",
    "zstandard": "ctspine_zarr.format.zstd",
    "torch": "ctspine_zarr.torch",
    "datasets": "ctspine_zarr.hf",
    "tensorflow": "ctspine_zarr.tf",
    "obstore": "ctspine_zarr.storage.objects",
    "huggingface_hub": "ctspine_zarr.hub",
    "msgspec": "ctspine_zarr",
    "starlette": "ctspine_zarr.publishing.serve",
    "uvicorn": "ctspine_zarr.publishing.serve",
}
# The phantom writes what the writer reads, with noise and a spreadsheet of its own.
ALSO = {("ctspine_zarr.datasets.phantom", "scipy")}


@functools.cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(MODULES[module].read_text())))


def imports(module: str) -> Iterator[str]:
    """Every module that one imports, lazily or for types only included."""
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES and name != module}


def test_the_import_graph_has_no_cycle() -> None:
    # The face of the package names every public module lazily; only the command line uses it.
    graph = {module: own_imports(module) for module in MODULES if module != "ctspine_zarr"}
    for targets in graph.values():
        targets.discard("ctspine_zarr")
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES) - 1


def test_only_the_command_line_uses_the_public_face() -> None:
    users = {module for module in MODULES if "ctspine_zarr" in own_imports(module)}
    assert {user for user in users if not user.startswith("ctspine_zarr.cli")} == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("write", "read"),
        ("write", "arrays"),
        ("arrays", "write"),
        ("arrays", "read"),
        ("read", "write"),
        ("read", "sources"),
        ("datasets", "sources"),
        ("datasets", "storage"),
        ("manifest", "read"),
        ("manifest", "write"),
        ("read", "maintain"),
        ("read", "sampling"),
        ("sampling", "training"),
        ("training", "write"),
        ("training", "torch"),
        ("read", "publishing"),
        ("write", "publishing"),
        ("publishing", "write"),
        ("publishing", "sources"),
        ("storage", "format"),
        ("sources", "storage"),
    ],
)
def test_writer_and_reader_meet_only_in_the_format(one: str, other: str) -> None:
    reached: set[str] = set()
    unseen = {module for module in MODULES if module.startswith(f"ctspine_zarr.{one}")}
    while unseen:
        module = unseen.pop()
        reached.add(module)
        unseen |= own_imports(module) - reached
    assert {module for module in reached if module.startswith(f"ctspine_zarr.{other}")} == set()


def test_the_format_does_no_io() -> None:
    allowed = tuple(f"ctspine_zarr.{name}" for name in ("format", "dataset", "geometry", "errors", "digest"))
    for module in MODULES:
        if module.startswith("ctspine_zarr.format"):
            names = set(imports(module))
            assert {name for name in names if name in MODULES and not name.startswith(allowed)} == set()
            assert not names & {"zarr", "pathlib", "os", "io", "nibabel"}


def test_sampling_does_no_io() -> None:
    pure = ("format", "sampling", "dataset", "geometry", "errors", "read.regions")
    allowed = tuple(f"ctspine_zarr.{name}" for name in pure)
    for module in MODULES:
        if module.startswith("ctspine_zarr.sampling"):
            names = set(imports(module))
            assert {name for name in names if name in MODULES and not name.startswith(allowed)} == set()
            assert not names & {"zarr", "pathlib", "os", "io", "torch"}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    users = {
        module
        for module in MODULES
        if any(name.split(".")[0] == library for name in imports(module)) and (module, library) not in ALSO
    }
    # A picture's type and an image's type may be named where they are returned.
    users -= {"ctspine_zarr.read.case"} if library == "nibabel" else set()
    assert users
    assert all(user.startswith(HOMES[library]) for user in users)


@pytest.mark.parametrize("module", MODULES)
def test_a_library_neither_asserts_nor_prints(module: str) -> None:
    for node in nodes(module):
        assert not isinstance(node, ast.Assert)
        is_name = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        assert not (is_name and node.func.id == "print")  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    for node in nodes(module):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            begin = (first.end_lineno or 0) + 1 if documented else first.lineno
            assert (node.end_lineno or 0) - begin < 40, f"{module}.{node.name}"


def test_modules_are_short() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}


def test_importing_the_package_is_light() -> None:
    code = "import sys, ctspine_zarr; print([m for m in ('numpy', 'zarr', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_workers_samples_need_no_tables_and_no_dask(phantom_store: ctspine_zarr.Store) -> None:
    code = (
        "import sys, ctspine_zarr as cz; next(iter(cz.SliceStream(cz.open_store(sys.argv[1]))));"
        "print([m for m in ('dask', 'pandas', 'xarray', 'rich', 'openpyxl') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, phantom_store.location]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ctspine_zarr, name) for name in ctspine_zarr.__all__)
