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
# Each of these may be imported in these places only.
HOMES = {
    # Beside its room, an image's type may be named where it is returned.
    "nibabel": ("nifti", "read.case"),
    "isal": ("nifti",),
    "PIL": ("look.canvas",),
    "matplotlib": ("look.plots",),
    "rich": ("cli.progress", "cli.tables"),
    "pyarrow": ("tables",),
    # The phantom writes what the writer reads, with noise and a spreadsheet of its own. A filter of Pillow's
    # takes minutes where one of scipy's takes seconds.
    "scipy": ("write.pieces", "datasets.phantom", "arrays.regridding", "look.canvas"),
    "xxhash": ("digest",),
    "crc32c": ("format.codecs",),
    "numcodecs": ("format",),
    "zstandard": ("format.zstd",),
    # What is theirs takes and gives its tensors.
    "torch": ("torch", "monai", "torchio"),
    "monai": ("monai",),
    "torchio": ("torchio",),
    "datasets": ("hf",),
    "nnunetv2": ("nnunet",),
    "tensorflow": ("tf",),
    # Beside its own, its client's type may be named where one is handed on.
    "distributed": ("concurrency.cluster", "concurrency.choice", "cli.options"),
    "obstore": ("storage.objects",),
    "huggingface_hub": ("hub", "publishing.papers.card"),
    # Where documents are made or taken apart: no array, no read, no sample and no object needs it.
    "msgspec": (
        "format",
        "manifest",
        "datasets",
        "write",
        "derive",
        "maintain",
        "hub.files",
        "cli.documents",
    ),
    "starlette": ("publishing.web",),
    "uvicorn": ("publishing.web",),
}


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


def is_in(module: str, *places: str) -> bool:
    """Whether a module of the package is one of these, or lies in one of these rooms."""
    inside = module.removeprefix("ctspine_zarr.")
    return any(inside == place or inside.startswith(f"{place}.") for place in places)


def outward(room: str) -> set[str]:
    """The modules of the package that a room imports from elsewhere."""
    return {
        name
        for module in MODULES
        if is_in(module, room)
        for name in own_imports(module)
        if not is_in(name, room)
    }


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
        ("read", "label_sets"),
        ("write", "label_sets"),
        ("label_sets", "maintain"),
        ("read", "sampling"),
        ("sampling", "training"),
        ("training", "write"),
        ("training", "torch"),
        ("nnunet", "torch"),
        ("nnunet", "write"),
        ("read", "publishing"),
        ("write", "publishing"),
        ("publishing", "write"),
        ("publishing", "sources"),
        ("read", "viewer"),
        ("write", "viewer"),
        ("maintain", "viewer"),
        ("publishing", "viewer"),
        ("viewer", "write"),
        ("viewer", "sources"),
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


@pytest.mark.parametrize(
    ("room", "known"),
    [
        ("format", ("geometry", "errors", "digest", "kernel", "locks")),
        ("quality", ("format", "geometry", "text")),
        ("sampling", ("format", "geometry", "errors", "read.regions")),
        ("look", ("format", "geometry", "errors", "text", "scaling")),
        ("tables", ("format", "geometry", "errors", "outputs")),
        ("viewer", ("format", "geometry", "errors", "outputs", "read", "publishing")),
        ("storage", ("hub", "concurrency", "memory", "errors", "digest", "text")),
    ],
)
def test_a_room_knows_of_these_alone(room: str, known: tuple[str, ...]) -> None:
    assert {name for name in outward(room) if not is_in(name, *known)} == set()
    assert {place for place in known if not any(is_in(name, place) for name in outward(room))} == set()


@pytest.mark.parametrize("room", ["format", "sampling"])
def test_format_and_sampling_do_no_io(room: str) -> None:
    for module in MODULES:
        if is_in(module, room):
            libraries = {name.partition(".")[0] for name in imports(module)}
            assert not libraries & {"zarr", "pathlib", "os", "io", "nibabel", "torch"}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_its_homes_alone(library: str) -> None:
    users = {module for module in MODULES if any(name.split(".")[0] == library for name in imports(module))}
    assert {user for user in users if not is_in(user, *HOMES[library])} == set()
    assert {home for home in HOMES[library] if not any(is_in(user, home) for user in users)} == set()


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


def test_a_workers_samples_need_no_tables_no_dask_and_no_zarr(phantom_store: ctspine_zarr.Store) -> None:
    code = (
        "import sys, ctspine_zarr as cz; next(iter(cz.Stream(cz.open_store(sys.argv[1]), cz.Slices())));"
        "heavy = 'dask', 'pandas', 'xarray', 'rich', 'openpyxl', 'zarr', 'obstore';"
        "print([m for m in heavy if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, phantom_store.location]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ctspine_zarr, name) for name in ctspine_zarr.__all__)
