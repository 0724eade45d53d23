"""The tables at a store's root and the thumbnails of its cases."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import Hub
from msgspec.structs import replace
from PIL import Image
from pyarrow import parquet
from stores import objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, Malformed, StoreMismatch
from ctspine_zarr.format.catalog import Root, decode_root, encode_root
from ctspine_zarr.format.receipt import MOST_THUMBNAIL_BYTES, StoredObject, decode_receipt
from ctspine_zarr.look.planes import Plane
from ctspine_zarr.look.small import small_jpeg, spine_cut
from ctspine_zarr.read.planes import read_planes
from ctspine_zarr.storage import Storage
from ctspine_zarr.tables import stored

TABLES = ("cases.parquet", "vertebrae.parquet")


def root_of(folder: Path) -> Root:
    return decode_root((folder / "zarr.json").read_bytes())


def plain(cells: pd.Series[Any]) -> list[Any]:
    """Cells as Parquet gives them: None for what is no value, lists for tuples."""
    found = [list(one) if isinstance(one, tuple) else one for one in cells]
    return [None if not isinstance(one, list) and pd.isna(one) else one for one in found]


def require_equal(folder: Path) -> None:
    """Do nothing where the tables of a store are those that the reader makes of its catalog."""
    store = cz.open_store(folder)
    for key, table in zip(TABLES, (store.cases.reset_index(), store.vertebrae), strict=True):
        data = (folder / key).read_bytes()
        written = root_of(folder).tables[key]
        assert (written.bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        found = parquet.read_table(pa.BufferReader(data))
        pictures = [name for name in found.column_names if name == "thumbnail"]
        assert found.column_names == [*table.columns, *pictures]
        for name in table.columns:
            cells = found[name].to_pylist()
            if name == "spreadsheet":
                assert [json.loads(one) for one in cells] == [list(rows) for rows in table[name]]
            else:
                assert cells == plain(table[name]), name


def thumbnails(folder: Path) -> dict[str, bytes]:
    table = parquet.read_table(folder / "cases.parquet")
    return {
        case: picture["bytes"]
        for case, picture in zip(table["case"].to_pylist(), table["thumbnail"].to_pylist(), strict=True)
    }


@pytest.fixture
def folder(phantom_store: cz.Store, tmp_path: Path) -> Path:
    """A copy of the phantom's store."""
    return Path(shutil.copytree(phantom_store.location, tmp_path / "s.zarr"))


def test_the_tables_are_those_of_the_reader(phantom_store: cz.Store) -> None:
    require_equal(Path(phantom_store.location))


def test_a_thumbnail_is_the_plane_of_the_reader(phantom_store: cz.Store) -> None:
    found = thumbnails(Path(phantom_store.location))
    assert list(found) == list(phantom_store)
    for name, data in found.items():
        case = phantom_store[name]
        chosen = spine_cut(case.record, case.spec)
        assert chosen is not None
        [plane] = read_planes(case.record, case.fill, [chosen])
        assert data == small_jpeg(plane, MOST_THUMBNAIL_BYTES)
        assert Image.open(io.BytesIO(data)).format == "JPEG"
        receipt = (Path(phantom_store.location) / case.record.receipt_key).read_bytes()
        assert base64.b64decode(json.loads(receipt)["thumbnail"]) == data


def test_the_thumbnails_of_real_ct_are_small_and_of_its_spine(mini_store: cz.Store) -> None:
    for name, data in thumbnails(Path(mini_store.location)).items():
        picture = Image.open(io.BytesIO(data))
        assert len(data) <= MOST_THUMBNAIL_BYTES
        assert picture.width <= 288, name
        assert picture.height <= 384, name
        assert max(picture.size) >= 140, name
        colours = np.asarray(picture.convert("RGB")).astype(int)
        assert (np.ptp(colours, axis=-1) > 40).mean() > 0.02, name


def test_a_thumbnail_of_noise_is_small_as_well() -> None:
    noise = np.random.default_rng().normal(400, 2000, (800, 600))
    plane = Plane("sagittal", noise, None, (1, 1), ("A", "P", "S", "I"))
    assert 0 < len(small_jpeg(plane, MOST_THUMBNAIL_BYTES)) <= MOST_THUMBNAIL_BYTES
    assert small_jpeg(plane, 100) == b""


def test_a_picture_column_is_one_for_the_hub(phantom_store: cz.Store) -> None:
    schema = parquet.read_schema(Path(phantom_store.location) / "cases.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"thumbnail": {"_type": "Image"}}
    assert schema.field("thumbnail").type == pa.struct({"bytes": pa.binary(), "path": pa.string()})


def test_tables_follow_every_change(folder: Path, tmp_path: Path) -> None:
    before = thumbnails(folder)
    table = tmp_path / "age.csv"
    table.write_text("case,age\nliver_0,61\n")
    cz.add_metadata(folder, table)
    require_equal(folder)
    mask = np.asarray(cz.open_store(folder)["liver_0"].segmentation)
    cz.add_labels(folder, "mine", {"liver_0": mask})
    require_equal(folder)
    assert thumbnails(folder) == before
    cz.remove(folder, "liver_0")
    require_equal(folder)
    assert thumbnails(folder).keys() == before.keys() - {"liver_0"}
    found = cz.verify(folder)
    assert found.problems == ()
    assert all(report.problems == () for report in found.cases)


def test_a_case_that_is_replaced_has_another_row(tree: Tree, tmp_path: Path) -> None:
    for case in ("liver_1", "liver_2"):
        tree.add(case)
    folder = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, folder, workers=1))
    before = thumbnails(folder)
    tree.add("liver_1", voxels(7))
    cz.build_store(cz.plan_build(tree.root, folder, workers=1))
    require_equal(folder)
    after = thumbnails(folder)
    assert after["liver_1"] != before["liver_1"]
    assert after["liver_2"] == before["liver_2"]


@pytest.mark.parametrize("damage", [None, b"", b"PAR1"])
@pytest.mark.parametrize("key", TABLES)
@pytest.mark.parametrize("how", ["source", "store"])
def test_a_table_that_is_lost_or_altered_is_found_and_mended(
    phantom: Path, phantom_store: cz.Store, folder: Path, key: str, damage: bytes | None, how: str
) -> None:
    right = objects(folder)
    (folder / key).unlink()
    if damage is not None:
        (folder / key).write_bytes(damage)
    found = cz.verify(folder)
    assert any(key in problem for problem in found.problems)
    assert not any(report.problems for report in found.cases)
    if how == "source":
        result = cz.repair(folder, phantom)
    else:
        result = cz.repair(folder, other=phantom_store.location)
    assert result.documents == (key,)
    assert objects(folder) == right


def test_a_root_that_is_made_anew_names_tables(phantom: Path, folder: Path) -> None:
    (folder / "zarr.json").unlink()
    cz.repair(folder, phantom)
    require_equal(folder)
    assert cz.verify(folder).is_whole


def test_tables_of_another_version_of_the_library_hold(
    phantom: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = objects(folder)
    monkeypatch.setattr(stored, "encode_parquet", lambda *_, **__: b"as another version writes it")
    cz.build_store(cz.plan_build(phantom, folder, workers=1))
    assert objects(folder) == right


def test_a_store_without_tables_is_whole(folder: Path, tmp_path: Path) -> None:
    without_tables(folder)
    assert cz.verify(folder).is_whole
    cz.publish(folder, tmp_path / "copy.zarr")
    assert objects(tmp_path / "copy.zarr") == objects(folder)


def test_tables_go_along_and_are_proven_first(folder: Path, tmp_path: Path) -> None:
    cz.publish(folder, tmp_path / "copy.zarr")
    require_equal(tmp_path / "copy.zarr")
    (folder / "cases.parquet").write_bytes(b"PAR1")
    with pytest.raises(cz.CtspineError, match=r"cases\.parquet .*run verify"):
        cz.publish(folder, tmp_path / "other.zarr")


@pytest.mark.parametrize(
    "key", ["../x.parquet", "a/b.parquet", "cases.csv", "zarr.json", ".parquet", "later.parquet\n"]
)
def test_a_root_names_no_other_objects_as_tables(phantom_store: cz.Store, key: str) -> None:
    root = root_of(Path(phantom_store.location))
    data = encode_root(replace(root, tables={key: root.tables[TABLES[0]]}))
    with pytest.raises(Malformed):
        decode_root(data)


def test_a_thumbnail_of_too_many_bytes_is_no_receipt(phantom_store: cz.Store) -> None:
    record = phantom_store["liver_0"].record
    document = json.loads((Path(phantom_store.location) / record.receipt_key).read_bytes())
    document["thumbnail"] = base64.b64encode(bytes(MOST_THUMBNAIL_BYTES + 1)).decode()
    document["seal"] = "0" * 64
    blank = json.dumps(document, indent=1, ensure_ascii=False).encode()
    data = blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode())
    with pytest.raises(Malformed):
        decode_receipt(data, record.receipt_key)


# -- files of others in the place of a table

THEIRS = b"PAR1, and more that is theirs"


def without_tables(folder: Path) -> None:
    """A store as it was written before there were tables."""
    root = root_of(folder)
    for key in root.tables:
        (folder / key).unlink()
    (folder / "zarr.json").write_bytes(encode_root(replace(root, tables={})))


@pytest.mark.parametrize("key", TABLES)
def test_a_build_takes_no_place_where_others_have_a_file_of_a_tables_name(tree: Tree, key: str) -> None:
    tree.add()
    place = tree.root.with_name("place")
    place.mkdir()
    (place / key).write_bytes(THEIRS)
    with pytest.raises(StoreMismatch, match=rf"holds a {key} that is no table of a store; legal: "):
        cz.plan_build(tree.root, place, workers=1)
    assert objects(place) == {key: THEIRS}


def test_a_publication_takes_no_such_place_either(
    folder: Path, phantom_store: cz.Store, tmp_path: Path, hub: Hub
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "cases.parquet").write_bytes(THEIRS)
    with pytest.raises(StoreMismatch, match=r"holds a cases\.parquet that is no table of a store"):
        cz.publish(phantom_store.location, there)
    assert objects(there) == {"cases.parquet": THEIRS}
    hub.hub.add("someone/spine", {"cases.parquet": THEIRS})
    with pytest.raises(StoreMismatch, match=r"holds a cases\.parquet"):
        cz.publish(folder, "hf://datasets/someone/spine", target_options=hub.options)
    assert set(hub.hub.repos["someone/spine"].files) == {"cases.parquet"}


def test_an_export_beside_a_store_without_tables_stays(phantom: Path, folder: Path, tmp_path: Path) -> None:
    without_tables(folder)
    cz.write_parquet(cz.open_store(folder).cases, folder / "cases.parquet")
    before = objects(folder)
    [problem] = cz.verify(folder).problems
    assert problem == "cases.parquet belongs to no case of the catalog"
    assert cz.repair(folder, phantom).removed == ()
    (tmp_path / "age.csv").write_text("case,age\nliver_0,61\n")
    with pytest.raises(StoreMismatch, match="is no table of a store"):
        cz.add_metadata(folder, tmp_path / "age.csv")
    assert objects(folder)["cases.parquet"] == before["cases.parquet"]
    (folder / "cases.parquet").unlink()
    cz.add_metadata(folder, tmp_path / "age.csv")
    require_equal(folder)


@pytest.mark.parametrize("last", [*TABLES, "zarr.json"])
def test_a_first_build_that_is_killed_at_a_table_is_gone_on_with(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    tree.add("liver_1")
    place = tmp_path / "s.zarr"
    put = Storage.put

    def until(self: Storage, key: str, data: bytes) -> None:
        if key == last and (key != "zarr.json" or self.size(TABLES[1]) is not None):
            raise KeyboardInterrupt
        put(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", until)
        with pytest.raises(KeyboardInterrupt):
            cz.build_store(cz.plan_build(tree.root, place, workers=1))
    tree.add("liver_2")
    cz.build_store(cz.plan_build(tree.root, place, workers=1))
    require_equal(place)
    assert cz.verify(place).is_whole


def test_what_a_root_proves_and_is_no_parquet_file_is_told_before_anything_is_sent(
    folder: Path, tmp_path: Path
) -> None:
    root = root_of(folder)
    (folder / "cases.parquet").write_bytes(THEIRS)
    tables = {**root.tables, "cases.parquet": StoredObject.of(THEIRS)}
    (folder / "zarr.json").write_bytes(encode_root(replace(root, tables=tables)))
    with pytest.raises(DamagedStore, match="is no Parquet file"):
        cz.publish(folder, tmp_path / "copy")
    assert objects(tmp_path / "copy") == {}


def test_a_root_of_another_version_stays_as_it_is(phantom: Path, folder: Path, tmp_path: Path) -> None:
    """It has fields that this version does not know, or says what this one leaves out."""
    document = json.loads((folder / "zarr.json").read_bytes())
    own = document["attributes"]["ctspine_zarr"]
    seal = own.pop("seal")
    own |= {"later": {"a": 1}, "seal": seal}
    blank = json.dumps(document, indent=1, ensure_ascii=False).encode().replace(seal.encode(), b"0" * 64)
    data = blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode())
    (folder / "zarr.json").write_bytes(data)
    assert cz.verify(folder).is_whole
    cz.publish(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "zarr.json").read_bytes() == data
    (folder / "cases.parquet").unlink()
    assert cz.repair(folder, phantom).documents == ("cases.parquet",)
    assert (folder / "zarr.json").read_bytes() == data
