"""The document of the format is enough to prove and read a store, and names all that a store holds."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import json
import random
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest
from hostile import fresh_seed
from numpy.typing import NDArray
from trees import NnunetTree, edited, in_mm, labels, load, nibabel_canonical, packed, scaled, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format import catalog, findings, histogram, layout, receipt, record, series, spec
from ctspine_zarr.format.catalog import CatalogFile, Provenance, Root, decode_root, encode_root
from ctspine_zarr.format.findings import Code
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.manifest.commit import begin
from ctspine_zarr.storage import open_storage
from ctspine_zarr.write.intensity import LEAST_MEASURED

DOCUMENT = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
[PROGRAM] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
NAMED = set(re.findall(r"`([A-Za-z0-9_.-]+)`", DOCUMENT))

CASE = "liver_0"
OTHER = "liver_12"
FLIPS_AN_OBJECT = 4
# What the program takes for damage.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OSError)

# Runs the program as a stranger does, who has not the package.
ALONE = """
import json, runpy, sys
sys.modules["ctspine_zarr"] = None
_, program, runs = sys.argv
for arguments in json.loads(runs):
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
"""

type OpenCase = Callable[..., tuple[Any, Any, dict[str, Any], dict[int, str]]]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document's program, as a file."""
    path = tmp_path_factory.mktemp("document") / "prove.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture(scope="session")
def open_case(program: Path) -> OpenCase:
    """The program's function of that name."""
    found: OpenCase = runpy.run_path(str(program))["open_case"]
    return found


@pytest.fixture
def copy(phantom_store: cz.Store, tmp_path: Path) -> Path:
    """A copy of the phantom's store, to alter."""
    return Path(shutil.copytree(phantom_store.location, tmp_path / "copy.zarr"))


def run_alone(program: Path, *runs: list[str]) -> subprocess.CompletedProcess[str]:
    """The program with each of these arguments, in one process."""
    command = [sys.executable, "-I", "-c", ALONE, str(program), json.dumps(runs)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def described(expected: NDArray[Any], dtype: str) -> list[object]:
    """What the program prints of an array of these values."""
    exact = np.ascontiguousarray(expected, dtype)
    assert np.array_equal(exact, expected)
    return [list(exact.shape), dtype, hashlib.sha256(exact.tobytes()).hexdigest()]


def test_the_program_needs_zarr_and_the_standard_library_alone() -> None:
    nodes = list(ast.walk(ast.parse(PROGRAM)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert names - set(sys.stdlib_module_names) == {"zarr"}
    assert not any(isinstance(node, ast.ImportFrom) and node.module != "pathlib" for node in nodes)


def test_without_the_package_the_program_reads_what_nibabel_reads(
    phantom: Path, phantom_store: cz.Store, program: Path
) -> None:
    cases = list(phantom_store.values())
    done = run_alone(program, *([phantom_store.location, case.id, phantom_store.digest] for case in cases))
    assert done.returncode == 0, done.stderr
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        folder = phantom / "raw_data"
        volume = folder / "volumes" / case.record.source / f"{case.id}.nii.gz"
        mask = nibabel_canonical(folder / "labels" / case.record.source / f"{case.id}_seg.nii.gz")
        assert found["image"] == described(nibabel_canonical(volume), "<i2")
        assert found["mask"] == described(mask, "|u1")
        assert found["labels"] == [phantom_store.spec.labels[int(value)] for value in np.unique(mask)[1:]]
        canonical = nibabel.as_closest_canonical(load(volume))
        np.testing.assert_allclose(found["affine"], canonical.affine, rtol=0, atol=1e-9)
        assert found["source_affine"] == load(volume).affine.tolist()


def test_the_program_reads_headers_and_masks_of_every_kind(tmp_path: Path, open_case: OpenCase) -> None:
    tree = NnunetTree(tmp_path / "raw")
    flipped = np.diag([-0.8, -0.8, 2.5, 1.0])
    oblique = np.array([[0.8, 0.1, 0, 3], [-0.1, 0.8, 0, 4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
    by_qform = in_mm(voxels(), oblique)
    by_qform.set_qform(oblique, code="scanner")
    by_qform.set_sform(None, code=0)
    paths = {
        "flipped": tree.add("flipped", in_mm(voxels(), flipped), in_mm(labels(), flipped)),
        "nifti2": tree.add("nifti2", in_mm(voxels(), oblique, nibabel.Nifti2Image), in_mm(labels(), oblique)),
        "big-endian": tree.add("big-endian", packed(edited(voxels(dtype=">i2")))),
        "fractions": tree.add("fractions", packed(scaled(voxels(), 0.5, -3))),
        "qform": tree.add("qform", by_qform, in_mm(labels(), oblique)),
        "no-label": tree.add("no-label", mask=np.zeros_like(labels())),
        "no-mask": tree.add("no-mask", mask=False, folder="Ts"),
    }
    result = cz.build_store(cz.plan_build(tree.root, tmp_path / "some.zarr", workers=1))
    assert result.refused == ()
    for case, path in paths.items():
        image, mask, facts, names = open_case(tmp_path / "some.zarr", case)
        assert np.array_equal(image, nibabel_canonical(path)), case
        assert (mask is None) == (facts["segmentation"] is None) == (case == "no-mask")
        assert mask is None or set(np.unique(mask)) == ({0} if case == "no-label" else {0, 23, 24})
        assert names == {23: "L4", 24: "L5"}


def test_the_program_reads_a_replaced_case_beside_the_others(tmp_path: Path, open_case: OpenCase) -> None:
    tree, location = NnunetTree(tmp_path / "raw"), tmp_path / "some.zarr"
    for seed in (1, 2):
        path = tree.add("a", voxels(seed))
        tree.add("b")
        cz.build_store(cz.plan_build(tree.root, location, workers=1))
        image, _, facts, _ = open_case(location, "a")
        assert np.array_equal(image, nibabel_canonical(path))
        assert facts["is_replaced"] == (seed > 1)
        assert len(list(location.glob("receipts/a~*.json"))) == seed - 1


def is_refused(open_case: OpenCase, store: Path) -> bool:
    try:
        open_case(store, CASE)
    except DAMAGE:
        return True
    return False


def proven_keys(store: cz.Store, case: str) -> Iterator[str]:
    """What the program proves when it reads a case: every document, and every object of the case."""
    for path in sorted(Path(store.location).rglob("*")):
        key = path.relative_to(store.location).as_posix()
        is_within = "/image/" in key or "/labels/" in key
        if path.is_file() and (not is_within or key.startswith(f"{store[case].record.path}/")):
            yield key


def test_what_is_proven_is_of_every_kind(phantom_store: cz.Store) -> None:
    keys = list(proven_keys(phantom_store, CASE))
    path = phantom_store[CASE].record.path
    written = {f"{path}/{key}" for key in phantom_store[CASE].receipt.objects}
    assert {"zarr.json", "train/zarr.json", "train/MSD-T10/zarr.json", *written} <= set(keys)
    assert {one.record.receipt_key for one in phantom_store.values()} <= set(keys)
    assert sum(layout.is_catalog(key) for key in keys) == 1


def test_the_program_finds_every_flipped_bit(
    phantom_store: cz.Store, copy: Path, open_case: OpenCase
) -> None:
    chance = random.Random(fresh_seed())
    for key in [*proven_keys(phantom_store, CASE)] * FLIPS_AN_OBJECT:
        data = (copy / key).read_bytes()
        altered, place, bit = bytearray(data), chance.randrange(len(data)), chance.randrange(8)
        altered[place] ^= 1 << bit
        (copy / key).write_bytes(altered)
        assert is_refused(open_case, copy), (key, place, bit)
        (copy / key).write_bytes(data)


def test_the_program_finds_what_is_lost_cut_or_longer(
    phantom_store: cz.Store, copy: Path, open_case: OpenCase
) -> None:
    for key in proven_keys(phantom_store, CASE):
        data = (copy / key).read_bytes()
        (copy / key).unlink()
        for altered in (None, b"", data[:-1], data + b"\n"):
            if altered is not None:
                (copy / key).write_bytes(altered)
            assert is_refused(open_case, copy), (key, altered and len(altered))
        (copy / key).write_bytes(data)


def test_the_program_finds_each_kind_of_object_in_the_place_of_another(
    phantom_store: cz.Store, copy: Path, open_case: OpenCase
) -> None:
    one, other = (phantom_store[case].record for case in (CASE, OTHER))
    pairs = [(f"{one.path}/{key}", f"{other.path}/{key}") for key in phantom_store[CASE].receipt.objects]
    for key, instead in (*pairs, (one.receipt_key, other.receipt_key)):
        data = (copy / key).read_bytes()
        if data == (copy / instead).read_bytes():
            continue
        shutil.copyfile(copy / instead, copy / key)
        assert is_refused(open_case, copy), (key, instead)
        (copy / key).write_bytes(data)


def test_the_program_ends_with_one_line_on_what_is_damaged(
    phantom_store: cz.Store, copy: Path, program: Path
) -> None:
    shard = copy / phantom_store[CASE].record.path / "image/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[::-1])
    done = run_alone(program, [str(copy), CASE])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("damaged: ")
    assert "image/c/0/0/0" in done.stderr
    assert done.stderr.count("\n") == 1


def root_of(store: Path) -> Root:
    return decode_root((store / layout.ROOT).read_bytes())


def test_only_the_kept_digest_tells_a_root_that_was_sealed_again(
    phantom_store: cz.Store, copy: Path, open_case: OpenCase
) -> None:
    root = root_of(copy)
    about = msgspec.structs.replace(root.provenance, writer="somebody else")
    (copy / layout.ROOT).write_bytes(encode_root(msgspec.structs.replace(root, provenance=about)))
    open_case(copy, CASE)
    with pytest.raises(ValueError, match="another state"):
        open_case(copy, CASE, phantom_store.digest)


def test_the_program_leaves_the_store_by_no_name(
    phantom_store: cz.Store, copy: Path, open_case: OpenCase
) -> None:
    lines = (copy / root_of(copy).catalog.key).read_text().splitlines()  # type: ignore[union-attr]
    for field, name in (("id", "../victim"), ("id", "/victim"), ("split", ".."), ("source", "a/../../b")):
        altered = [json.dumps(json.loads(lines[0]) | {field: name}), *lines[1:]]
        data = "".join(f"{line}\n" for line in altered).encode()
        named = CatalogFile(hashlib.sha256(data).hexdigest(), len(data), len(lines))
        (copy / named.key).write_bytes(data)
        root = msgspec.structs.replace(root_of(Path(phantom_store.location)), catalog=named)
        (copy / layout.ROOT).write_bytes(encode_root(root))
        with pytest.raises(ValueError, match=re.escape(name)):
            open_case(copy, CASE)


def test_the_program_says_that_a_store_is_partial(
    phantom_store: cz.Store, tmp_path: Path, open_case: OpenCase
) -> None:
    about = Provenance(writer="w", written="", python="3", libraries={})
    begin(open_storage(tmp_path / "begun.zarr"), phantom_store.spec, about)
    with pytest.raises(ValueError, match="partial"):
        open_case(tmp_path / "begun.zarr", CASE)


def structures() -> dict[str, type[msgspec.Struct]]:
    """Every public structure that a document of a store is made of."""
    modules = (spec, findings, record, series, receipt, catalog, histogram)
    members = [pair for module in modules for pair in inspect.getmembers(module, inspect.isclass)]
    return {
        name: one for name, one in members if issubclass(one, msgspec.Struct) and not name.startswith("_")
    }


def test_every_field_of_every_structure_is_in_the_document() -> None:
    found = structures()
    assert {"Spec", "Root", "Record", "Label", "Receipt", "Facts", "NiftiSource", "Histogram"} <= set(found)
    for name, one in found.items():
        assert set(one.__struct_fields__) <= NAMED, name


# The keys below these are data: values of labels, names of splits, of libraries, of columns and of figures.
DATA = {"labels", "regions", "cases", "libraries", "objects", "foreground", "figures"}


def keys_of(document: object) -> Iterator[str]:
    if isinstance(document, list):
        for item in document:
            yield from keys_of(item)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from keys_of(list(value.values()) if key in DATA and isinstance(value, dict) else value)


def test_every_key_that_a_store_holds_is_in_the_document(phantom_store: cz.Store) -> None:
    location = Path(phantom_store.location)
    root = root_of(location)
    assert root.catalog is not None
    found = [json.loads(line) for line in (location / root.catalog.key).read_text().splitlines()]
    found += [json.loads(path.read_bytes()) for path in location.glob("receipts/*")]
    for key in ("zarr.json", *(f"{one.record.path}/zarr.json" for one in phantom_store.values())):
        found.append(json.loads((location / key).read_bytes())["attributes"][layout.OWN_KEY])
    rows = [row for one in phantom_store.values() for row in one.record.spreadsheet]
    data = {column for row in rows for column in row} | set(phantom_store.spec.sources)
    assert set(keys_of(found)) - data <= NAMED


def test_every_name_and_number_in_the_document_is_that_of_the_code() -> None:
    assert {str(code) for code in Code} <= NAMED
    assert set(PROFILES) <= NAMED
    assert {one.image_codec for one in PROFILES.values()} <= NAMED
    assert {one.segmentation_codec for one in PROFILES.values()} <= NAMED
    for text in (
        f"| `format` | {layout.FORMAT_VERSION} |",
        f"where it is below {LEAST_MEASURED} HU",
        f"Values below {histogram.LOWEST} are",
        f"values from {histogram.HIGHEST} on",
        f"`width` ({histogram.WIDTH} HU)",
        f"Chunks are {layout.DEFAULT_CHUNK} where",
        f"at most {receipt.MOST_DOCUMENT_BYTES >> 20} MiB",
        f"at most {catalog.MOST_CATALOG_BYTES >> 30} GiB",
        f"values from {histogram.HIGHEST} on in the bin that ends there; no bin lies beyond them",
    ):
        assert text in DOCUMENT, text
    assert record.MOST_VOXELS == 2**33


def test_the_keys_in_the_document_are_those_that_a_store_has(phantom_store: cz.Store) -> None:
    [listed] = re.findall(r"## Keys\n\n(.*?)\n\n", DOCUMENT, re.DOTALL)
    one = phantom_store[CASE].record
    for path in Path(phantom_store.location).rglob("*"):
        key = path.relative_to(phantom_store.location).as_posix()
        inside = key.removeprefix(f"{one.path}/")
        is_in_another = key.count("/") > one.path.count("/") and inside == key
        if path.is_file() and not is_in_another:
            general = re.sub("catalog-[0-9a-f]{16}", "catalog-<16 digits>", inside)
            general = re.sub("receipts/.*[.]json", "receipts/<group>.json", general)
            general = general.replace(f"/{phantom_store.spec.mask}/", "/<mask>/")
            general = re.sub("segmentation/c/0/0/0$", "segmentation/zarr.json  .../c/0/0/0", general)
            general = re.sub("^(train|validation|test)/zarr", "<split>/zarr", general)
            general = re.sub("^(train|validation|test)/[^/]+/zarr", "<split>/<source>/zarr", general)
            assert general in listed, key


def test_a_catalog_larger_than_is_read_in_one_piece_is_refused(copy: Path) -> None:
    root = root_of(copy)
    assert root.catalog is not None
    for count, is_legal in ((catalog.MOST_CATALOG_BYTES, True), (catalog.MOST_CATALOG_BYTES + 1, False)):
        named = msgspec.structs.replace(root.catalog, bytes=count)
        (copy / layout.ROOT).write_bytes(encode_root(msgspec.structs.replace(root, catalog=named)))
        with contextlib.nullcontext() if is_legal else pytest.raises(DamagedStore, match="<= 1073741824"):
            assert cz.open_store(copy)


@pytest.fixture
def with_sets(copy: Path) -> Path:
    """A store whose cases have two label sets, one of which replaced another."""
    cases = cz.open_store(copy)
    for steps, replace in ((1, False), (2, True)):
        masks = {case: np.roll(cases[case].voxels("segmentation")[...], steps, 0) for case in (CASE, OTHER)}
        cz.add_labels(copy, "prediction", masks, replace=replace)
    cz.add_labels(copy, "empty", {CASE: cases[CASE].voxels("segmentation")[...] * 0})
    return copy


def test_the_program_proves_and_reads_label_sets(with_sets: Path, open_case: OpenCase, program: Path) -> None:
    store = cz.open_store(with_sets)
    for name in ("prediction", "empty"):
        _, mask, _, _ = open_case(with_sets, CASE, store.digest, name)
        chosen = store.select(labels=name)[CASE]
        assert np.array_equal(mask, chosen.voxels("segmentation")[...])
    done = run_alone(program, [str(with_sets), CASE, store.digest, "prediction"])
    assert json.loads(done.stdout)["labels"] == list(store.select(labels="prediction")[CASE].labels)
    path = with_sets / store[CASE].record.path / "labels"
    for file in [one for one in path.rglob("*") if one.is_file()]:
        data = file.read_bytes()
        for altered in (b"", data[:-1], data[:20] + bytes([data[20] ^ 1]) + data[21:]):
            file.write_bytes(altered)
            assert is_refused(open_case, with_sets), (file, len(altered))
        file.write_bytes(data)
    assert not is_refused(open_case, with_sets)


def test_every_key_of_label_sets_is_in_the_document(with_sets: Path) -> None:
    root, record = root_of(with_sets), cz.open_store(with_sets)[CASE].record
    assert root.catalog is not None
    found = [json.loads(line) for line in (with_sets / root.catalog.key).read_text().splitlines()]
    found += [json.loads(path.read_bytes()) for path in with_sets.glob("receipts/*")]
    found.append(
        json.loads((with_sets / record.path / "zarr.json").read_bytes())["attributes"][layout.OWN_KEY]
    )
    rows = [row for one in cz.open_store(with_sets).values() for row in one.record.spreadsheet]
    data = {column for row in rows for column in row} | {"prediction", "empty"}
    numbers = {str(number) for number in range(1, 256)}
    assert set(keys_of(found)) - data - numbers <= NAMED
    [listed] = re.findall(r"## Keys\n\n(.*?)\n\n", DOCUMENT, re.DOTALL)
    assert "labels/<set>/zarr.json" in listed
    assert re.search(r"labels/<set>/segmentation/zarr\.json +\.\.\./c/0/0/0", listed)
    arrays = [
        path.name for path in (with_sets / record.path / "labels/prediction").iterdir() if path.is_dir()
    ]
    assert re.fullmatch("segmentation~[0-9a-f]{12}", "".join(arrays))
    assert "`segmentation~<tag>`" in DOCUMENT
