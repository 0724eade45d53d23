"""A store opens, with equal voxels and valid metadata, in software that is not ours."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import tensorstore
import xarray as xr
import xxhash
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels
from stores import catalog_of, objects
from trees import Tree, labels

import ctspine_zarr as cz
from ctspine_zarr import kernel as native
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format.layout import grid
from ctspine_zarr.format.predict.codec import Predict
from ctspine_zarr.format.spec import colour

CASE = "1.3.6.1.4.1.9328.50.4.0001"


@pytest.fixture(scope="session", params=["phantom_store", pytest.param("mini_store", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> cz.Store:
    found: cz.Store = request.getfixturevalue(request.param)
    return found


def arrays(store: cz.Store) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Path below the store and voxels of every array."""
    return [
        (f"{case.record.path}/{path}", case.voxels(which)[...])  # type: ignore[arg-type]
        for case in store.values()
        for which, path in (("image", "image"), ("segmentation", "labels/vertebrae/segmentation"))
    ]


def test_zarr_python_reads_equal_voxels(store: cz.Store) -> None:
    root = zarr.open_group(store.location, mode="r")
    for path, voxels in arrays(store):
        array = root[path]
        assert isinstance(array, zarr.Array)
        assert np.array_equal(array[...], voxels)
        assert array.metadata.dimension_names == ("z", "y", "x")  # type: ignore[union-attr]


def test_tensorstore_reads_equal_voxels(store: cz.Store) -> None:
    for path, voxels in arrays(store):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store.location}/{path}"}}
        array = tensorstore.open(spec).result()
        assert np.array_equal(array.read().result(), voxels)
        assert array.domain.labels == ("z", "y", "x")


def test_dask_reads_equal_voxels(store: cz.Store) -> None:
    # Many chunks a task: with a task for each, which is the default, a real volume takes dask seconds.
    for path, voxels in arrays(store):
        lazy = dask.array.from_zarr(f"{store.location}/{path}", chunks="auto")
        assert np.array_equal(lazy.compute(), voxels)


def test_dask_reads_equal_voxels_chunk_by_chunk(phantom_store: cz.Store) -> None:
    for path, voxels in arrays(phantom_store):
        assert np.array_equal(dask.array.from_zarr(f"{phantom_store.location}/{path}").compute(), voxels)


def test_xarray_opens_a_case_and_a_split(store: cz.Store) -> None:
    tree = xr.open_datatree(f"{store.location}/train", engine="zarr", consolidated=False)
    for case in store.select(split="train").values():
        path = f"{store.location}/{case.record.path}"
        dataset = xr.open_zarr(path, consolidated=False, chunks="auto")
        expected = case.image.compute()
        assert dataset.image.dtype == expected.dtype
        assert dataset.image.dims == ("z", "y", "x")
        assert np.array_equal(dataset.image.values, expected)
        node = tree[f"{case.record.source}/{case.id}"]
        assert np.array_equal(node.image.values, expected)
        mask: Any = node["labels/vertebrae/segmentation"]
        assert np.array_equal(mask.values, case.segmentation.compute())


def test_the_metadata_is_valid_ome_zarr(store: cz.Store) -> None:
    for case in store.values():
        path = f"{store.location}/{case.record.path}"
        image = Image.from_zarr(zarr.open_group(path, mode="r"))
        Labels.from_zarr(zarr.open_group(f"{path}/labels", mode="r"))
        label: Any = ImageLabel.from_zarr(zarr.open_group(f"{path}/labels/vertebrae", mode="r"))
        multiscale: Any = image.ome_attributes.multiscales[0]
        assert [axis.name for axis in multiscale.axes] == ["z", "y", "x"]
        scale, translation = multiscale.datasets[0].coordinateTransformations
        assert scale.scale == pytest.approx(case.spacing)
        assert translation.translation == pytest.approx(case.affine[:3, 3][::-1])
        names = {p["label-value"]: p["name"] for p in label_document(path)["properties"]}
        assert names == {store.spec.require_label(name): name for name in case.labels}
        assert len(label.ome_attributes.image_label.colors or ()) == len(case.labels)


def label_document(path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(path, "labels/vertebrae/zarr.json").read_text())
    found: dict[str, Any] = document["attributes"]["ome"]["image-label"]
    return found


def test_axes_say_their_anatomical_orientation(store: cz.Store) -> None:
    case = next(iter(store.values()))
    document = json.loads(Path(store.location, case.record.path, "zarr.json").read_text())
    axes = document["attributes"]["ome"]["multiscales"][0]["axes"]
    assert [axis["orientation"] for axis in axes] == [
        {"type": "anatomical", "value": "inferior-to-superior"},
        {"type": "anatomical", "value": "posterior-to-anterior"},
        {"type": "anatomical", "value": "left-to-right"},
    ]


def test_pandas_reads_the_catalog(store: cz.Store) -> None:
    table = pd.read_json(catalog_of(Path(store.location)), lines=True, dtype={"id": str})
    assert list(table["id"]) == list(store)
    assert list(table["path"]) == [case.record.path for case in store.values()]
    assert (table["cases"] == len(store)).all()


def test_the_attributes_keep_the_source_header(phantom: Path, phantom_store: cz.Store) -> None:
    document = json.loads(
        Path(phantom_store.location, phantom_store[CASE].record.path, "zarr.json").read_text()
    )
    kept = document["attributes"]["ctspine_zarr"]["nifti"]["image"]
    source = phantom / "raw_data/volumes/COLONOG" / f"{CASE}.nii.gz"
    assert base64.b64decode(kept["prefix"])[:348][344:347] == b"n+1"
    assert kept["file"]["bytes"] == source.stat().st_size
    assert kept["file"]["ending"] == source.read_bytes()[-8:].hex()
    assert (kept["axes"], kept["flips"]) == ([2, 1, 0], [False, True, True])


def test_the_receipt_digests_the_canonical_voxels(store: cz.Store) -> None:
    for case in store.values():
        kept = case.facts.voxels
        for expected, voxels in ((kept.image, case.image), (kept.segmentation, case.segmentation)):
            assert xxhash.xxh3_128_hexdigest(np.ascontiguousarray(voxels.compute())) == expected


def test_no_attribute_makes_xarray_scale_integers(store: cz.Store) -> None:
    for key, data in objects(Path(store.location)).items():
        if key.endswith("zarr.json"):
            assert not {b"scale_factor", b"add_offset", b"_FillValue"} & set(data.split(b'"'))


def test_the_licence_travels_with_the_store(store: cz.Store) -> None:
    root = zarr.open_group(store.location, mode="r").attrs["ctspine_zarr"]
    dataset: Any = root["dataset"]  # type: ignore[index, call-overload]
    assert dataset["licence"] == "CC-BY-NC-SA-4.0"
    assert "arXiv:2105.14711" in dataset["citation"]


def test_every_vertebra_has_a_colour_of_its_own() -> None:
    assert len({colour(label) for label in range(1, 26)}) == 25


def test_a_mask_without_labels_stores_no_chunk(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "source")
    tree.add(mask=np.zeros_like(labels()))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    assert case.record.segmentation is not None
    assert case.record.segmentation.bytes == 0
    path = tmp_path / "s.zarr" / case.record.path / "labels/vertebrae/segmentation"
    assert [p.name for p in path.iterdir()] == ["zarr.json"]
    assert not case.segmentation.compute().any()
    assert not zarr.open_array(path, mode="r")[...].any()  # type: ignore[union-attr]


def test_the_compact_profile_holds_equal_voxels(
    phantom: Path, phantom_store: cz.Store, tmp_path: Path, engine: str
) -> None:
    # Numpy takes seconds for a case.
    some = cz.Selection(cases=min(phantom_store.values(), key=lambda case: case.shape).id)
    selection = some if engine == "python" else cz.Selection()
    plan = cz.plan_build(phantom, tmp_path / "c.zarr", codec="compact", workers=1, selection=selection)
    cz.build_store(plan)
    compact = cz.open_store(tmp_path / "c.zarr")
    cached = cz.open_store(tmp_path / "c.zarr", cache_bytes=1 << 28)
    for case in compact.values():
        expected = phantom_store[case.id].image.compute()
        assert np.array_equal(case.image.compute(), expected)
        for _ in range(2):
            assert np.array_equal(cached[case.id].voxels("image")[...], expected)
    assert cz.verify(tmp_path / "c.zarr").is_whole


def test_without_the_kernel_chunks_of_compact_are_decoded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "kernel", None)
    sizes: list[int] = []
    decompress = Predict.decompress_batch

    def counted(codec: Predict, chunks: Sequence[memoryview]) -> NDArray[Any]:
        sizes.append(len(chunks))
        return decompress(codec, chunks)

    monkeypatch.setattr(Predict, "decompress_batch", counted)
    shape = (20, 130, 130)
    tree = Tree(tmp_path / "source")
    tree.add(image=np.arange(math.prod(shape)).reshape(shape).astype("i2"), mask=np.zeros(shape, "u1"))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "c.zarr", codec="compact", workers=1))
    case = next(iter(cz.open_store(tmp_path / "c.zarr", threads=1).values()))
    whole = case.voxels("image")[...]
    chunks = math.prod(grid(whole.shape, (8, 64, 64)))
    assert (sum(sizes), len(sizes)) == (chunks, -(-chunks // 64))
    shard = tmp_path / "c.zarr" / case.record.path / "image/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamagedStore, match=r"image, chunk \(\d+, \d+, \d+\): its checksum fails; run verify"):
        case.voxels("image")[...]
