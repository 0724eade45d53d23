"""The commit protocol: interrupted anywhere and run again, the result is the same."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import openpyxl
import pytest
import zarr
from hostile import fresh_seed
from msgspec import structs
from stores import FailingStore, builds, objects
from trees import Tree, labels, nibabel_canonical, packed, scaled, unpacked, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.errors import (
    DamagedStore,
    IncompleteBuild,
    NoSpace,
    StorageError,
    StoreMismatch,
    StoreUpdated,
    UnknownValue,
)
from ctspine_zarr.format.catalog import Entry, Provenance, Refused, decode_root
from ctspine_zarr.format.receipt import Receipt, decode_receipt, encode_receipt
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.storage import Storage, open_storage
from ctspine_zarr.write.case_objects import WRITER
from ctspine_zarr.write.state import documents_of


@pytest.fixture
def source(tree: Tree) -> Tree:
    """Three cases, one without any label."""
    tree.add("liver_1")
    tree.add("1.3.6.1.4.1.9328.50.4.0004", voxels(1), source="COLONOG", section="test_public")
    tree.add("HN_P001", voxels(2), np.zeros_like(labels()), source="HNSCC-3DCT-RT", section="test_private")
    return tree


def build(source: Path, store: object, workers: int = 1, **options: object) -> cz.BuildResult:
    return cz.build_store(cz.plan_build(source, store, workers=workers, **options))  # type: ignore[arg-type]


def contents_of(store: MemoryStore) -> dict[str, bytes]:
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def receipts_of(store: object) -> dict[str, Receipt]:
    """Case id -> receipt."""
    return {one.receipt.record.id: one.receipt for one in read_receipts(open_storage(store))}  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_put_may_fail_and_a_rerun_gives_the_same_objects(source: Tree) -> None:
    clean = FailingStore(-1, OSError())
    build(source.root, clean, workers=1)
    expected = builds(clean.contents())
    for nth in range(1, len(clean.puts) + 1):
        store = FailingStore(nth, OSError(28, "No space left on device"))
        with pytest.raises(StorageError, match=r"cannot write '.*' in .*No space left on device"):
            build(source.root, store, workers=1)
        build(source.root, store, workers=1)
        assert builds(store.contents()) == expected, f"put {nth}: {clean.puts[nth - 1]}"


def test_a_receipt_is_written_last_and_claims_every_object(source: Tree) -> None:
    store = FailingStore(-1, OSError())
    build(source.root, store, workers=1)
    for case in receipts_of(store).values():
        claimed = [f"{case.record.path}/{key}" for key in case.objects]
        written = [key for key in store.puts if key.startswith(f"{case.record.path}/")]
        assert written == claimed
        last = store.puts.index(f"receipts/{case.record.id}.json")
        assert max(store.puts.index(key) for key in claimed) < last
    assert store.written[0] == store.written[-1] == "zarr.json"
    assert re.fullmatch(r"catalog-[0-9a-f]{16}\.jsonl", store.written[-4])
    assert store.written[-3:-1] == ["cases.parquet", "vertebrae.parquet"]


def interrupt_at(patch: pytest.MonkeyPatch, awaited: str) -> None:
    """Ctrl-C as the first key with this ending is put."""
    put = Storage.put

    def interrupted(storage: Storage, key: str, data: bytes) -> None:
        if key.endswith(awaited):
            raise KeyboardInterrupt
        put(storage, key, data)

    patch.setattr(Storage, "put", interrupted)


def test_an_interrupted_case_is_not_in_the_store(source: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    with monkeypatch.context() as patch:
        interrupt_at(patch, "MSD-T10/liver_1/zarr.json")
        with pytest.raises(KeyboardInterrupt):
            build(source.root, store, workers=1)
    assert "liver_1" not in receipts_of(store)
    partial = cz.open_store(store)
    assert partial.is_partial
    assert set(partial) == set(receipts_of(store))
    assert "partial" in repr(partial)
    build(source.root, store, workers=1)
    assert len(cz.open_store(store)) == 3
    assert not cz.open_store(store).is_partial


def interrupt_at_step(patch: pytest.MonkeyPatch, nth: int) -> list[str]:
    """Ctrl-C as the n-th object is put or removed; the keys so far, the interrupted one the last."""
    keys: list[str] = []

    def interrupted(name: str) -> Any:
        real = getattr(Storage, name)

        def step(storage: Storage, key: str, *data: bytes) -> None:
            keys.append(key)
            if len(keys) == nth:
                raise KeyboardInterrupt
            real(storage, key, *data)

        return step

    for name in ("put", "remove"):
        patch.setattr(Storage, name, interrupted(name))
    return keys


def all_of(store: cz.Store) -> dict[str, Any]:
    """Case id -> record, facts, receipt and voxels."""
    return {
        case: (one.record, one.facts, one.receipt, *(one.voxels(name)[...].tobytes() for name in one.names))
        for case, one in store.items()
    }


def untold(key: str) -> str:
    """A key without what tells one build from another."""
    return re.sub(r"^builds/(claim|gate)-.*", r"\1", key)


def replace_two(source: Tree) -> None:
    source.add("liver_1", voxels(7), section=None)
    source.add("HN_P001", voxels(8), source="HNSCC-3DCT-RT", section=None)


@pytest.mark.slow
def test_two_cases_being_replaced_are_read_as_they_were_or_as_they_will_be(
    source: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at any put or removal: until the root is put both are the old ones, then both the new."""
    before = MemoryStore()
    build(source.root, before)
    old = all_of(cz.open_store(before))
    replace_two(source)
    after = MemoryStore(dict(before._store_dict))
    with monkeypatch.context() as patch:
        steps = interrupt_at_step(patch, -1)
        build(source.root, after)
    new = all_of(cz.open_store(after))
    assert {case for case in old if old[case] != new[case]} == {"liver_1", "HN_P001"}
    switch = steps.index("zarr.json")
    assert steps[switch - 3].endswith(".jsonl")
    assert {key.rpartition("/")[2] for key in steps[switch + 1 :]} >= {"liver_1.json", "zarr.json", "0"}
    for nth in range(1, len(steps) + 1):
        store = MemoryStore(dict(before._store_dict))
        opened = cz.open_store(store)
        with monkeypatch.context() as patch:
            keys = interrupt_at_step(patch, nth)
            with pytest.raises(KeyboardInterrupt):
                build(source.root, store)
        # What comes after is the removal of what it told others.
        assert list(map(untold, keys[:nth])) == list(map(untold, steps[:nth]))
        assert all_of(cz.open_store(store)) == (old if nth <= switch + 1 else new), keys[-1]
        if nth <= switch + 1:
            assert all_of(opened) == old, keys[-1]
        build(source.root, store)
        assert builds(contents_of(store)) == builds(contents_of(after)), keys[-1]


def test_a_store_that_was_updated_says_so_to_who_opened_it_before(source: Tree) -> None:
    store = MemoryStore()
    build(source.root, store, workers=1)
    opened = cz.open_store(store)
    source.add("liver_1", voxels(7), section=None)
    build(source.root, store, workers=1)
    for read in (
        lambda: opened["liver_1"].slice(0),
        opened["liver_1"].image[0].compute,
        lambda: opened["liver_1"].facts,
    ):
        with pytest.raises(StoreUpdated, match="was updated since it was opened; open it again"):
            read()
    assert opened["HN_P001"].slice(0)["image"].shape == (24, 20)


def test_a_second_run_skips_what_is_whole(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location)
    before = {path: path.stat().st_mtime_ns for path in location.rglob("c/0/0/0")}
    first = objects(location)
    plan = cz.plan_build(source.root, location)
    assert (len(plan.whole), plan.pending, plan.read_bytes) == (3, (), 0)
    result = cz.build_store(plan)
    assert (len(result.built), len(result.whole)) == (0, 3)
    assert objects(location) == first
    assert before == {path: path.stat().st_mtime_ns for path in location.rglob("c/0/0/0")}


@pytest.mark.parametrize("damage", ["cut", "lost", "torn receipt"])
def test_a_second_run_builds_again_what_is_not_whole(source: Tree, tmp_path: Path, damage: str) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location)
    expected = builds(objects(location))
    shard = location / "train/MSD-T10/liver_1/image/c/0/0/0"
    if damage == "cut":
        os.truncate(shard, 1000)
    elif damage == "lost":
        shard.unlink()
    else:
        (location / "receipts/liver_1.json").write_text('{"format": 2, "rec')
    assert [p.case.id for p in cz.plan_build(source.root, location).pending] == ["liver_1"]
    build(source.root, location)
    assert builds(objects(location)) == expected


def with_other_digit(receipt: bytes, at: int) -> bytes:
    """One digit more or less; such as may stand in a number or name there."""
    digit = b"8" if receipt[at : at + 1] == b"9" else b"%d" % (int(receipt[at : at + 1]) + 1)
    return receipt[:at] + digit + receipt[at + 1 :]


def digits_of(receipt: bytes) -> list[int]:
    """Where digits stand in a receipt but that of its format, each of which may become another."""
    first = receipt.index(b'"format": 2') + len('"format": 2')
    others = (found.start() for found in re.finditer(rb"\d", receipt[first:]))
    return [first + at for at in others]


@pytest.mark.parametrize("is_root_lost", [False, True])
def test_a_digit_flipped_in_a_receipt_is_not_the_truth_of_a_second_run(
    source: Tree, tmp_path: Path, is_root_lost: bool
) -> None:
    """The count of a label's voxels, and any digits; each time the receipt is still one but for its seal."""
    location = tmp_path / "s.zarr"
    build(source.root, location)
    before = objects(location)
    receipt = before["receipts/liver_1.json"]
    counted = receipt.index(b'"voxels": ') + len('"voxels": ')
    for at in (counted, *random.Random(fresh_seed()).sample(digits_of(receipt), 12)):
        altered = with_other_digit(receipt, at)
        json.loads(altered)
        (location / "receipts/liver_1.json").write_bytes(altered)
        if is_root_lost:
            (location / "zarr.json").write_bytes(b"lost")
        assert [p.case.id for p in cz.plan_build(source.root, location).pending] == ["liver_1"]
        build(source.root, location)
        assert builds(objects(location)) == builds(before), receipt[at - 40 : at + 1]
    assert cz.verify(location).is_whole


def otherwise(location: Path) -> bytes:
    """A receipt of `liver_1` and its objects, its seal right, which tells other things of the case."""
    receipt = decode_receipt((location / "receipts/liver_1.json").read_bytes(), "receipts/liver_1.json")
    label, *others = receipt.record.labels
    told = structs.replace(receipt.record, labels=(structs.replace(label, voxels=label.voxels + 1), *others))
    return encode_receipt(structs.replace(receipt, record=told))


# Before the receipt in order of key, after it, and below a folder.
ELSEWHERE: Final = ("receipts/a.json", "receipts/z.json", "receipts/old/liver_1.json")


@pytest.mark.parametrize("key", ELSEWHERE)
def test_a_receipt_at_the_key_of_another_is_none_of_a_partial_store(
    source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    location = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        interrupt_at(patch, ".jsonl")
        with pytest.raises(KeyboardInterrupt):
            build(source.root, location)
    expected = receipts_of(location)
    (location / key).parent.mkdir(exist_ok=True)
    (location / key).write_bytes(otherwise(location))
    store = cz.open_store(location)
    assert store.is_partial
    assert {case: one.record for case, one in store.items()} == {
        case: one.record for case, one in expected.items()
    }
    (location / "receipts/liver_1.json").unlink()
    assert set(cz.open_store(location)) == set(expected) - {"liver_1"}


@pytest.mark.parametrize("key", ELSEWHERE)
@pytest.mark.parametrize("is_own_lost", [False, True])
def test_a_receipt_at_the_key_of_another_is_none_of_a_second_run(
    source: Tree, tmp_path: Path, key: str, is_own_lost: bool
) -> None:
    """Though the root is lost, so that receipts alone speak."""
    location = tmp_path / "s.zarr"
    build(source.root, location)
    before = objects(location)
    (location / key).parent.mkdir(exist_ok=True)
    (location / key).write_bytes(otherwise(location))
    (location / "zarr.json").write_bytes(b"lost")
    if is_own_lost:
        (location / "receipts/liver_1.json").unlink()
    pending = [planned.case.id for planned in cz.plan_build(source.root, location).pending]
    assert pending == ["liver_1"] * is_own_lost
    build(source.root, location)
    after = objects(location)
    # What no store writes is left where it lies.
    assert (key in after) == ("old/" in key)
    after.pop(key, None)
    assert builds(after) == builds(before)


def test_leftovers_of_a_killed_attempt_do_not_survive(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    torn = location / "train/MSD-T10/liver_1/image/c/0/0/0.0123456789abcdef.partial"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"half a shard")
    build(source.root, location)
    assert not torn.exists()


def test_the_bytes_do_not_depend_on_the_workers(source: Tree, tmp_path: Path) -> None:
    build(source.root, tmp_path / "one.zarr", workers=1)
    build(source.root, tmp_path / "three.zarr", workers=3)
    assert builds(objects(tmp_path / "one.zarr")) == builds(objects(tmp_path / "three.zarr"))


def test_splits_built_one_by_one_give_the_store_built_at_once(source: Tree, tmp_path: Path) -> None:
    build(source.root, tmp_path / "once.zarr")
    for split in ("test", "train", "validation"):
        build(source.root, tmp_path / "parts.zarr", selection=cz.Selection(splits=[split]))
    assert builds(objects(tmp_path / "parts.zarr")) == builds(objects(tmp_path / "once.zarr"))


@pytest.mark.parametrize("limit", ["MOST_CATALOG_BYTES", "MOST_DOCUMENT_BYTES"])
def test_documents_that_no_reader_would_take_are_not_written(
    source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location, selection=cz.Selection(splits=["train"]))
    before = objects(location)
    monkeypatch.setattr(f"ctspine_zarr.manifest.commit.{limit}", 100)
    with pytest.raises(StorageError, match=r"would have \d+ bytes; legal: at most 100, in a store of fewer"):
        build(source.root, location)
    assert before.items() <= objects(location).items()
    assert list(cz.open_store(location)) == ["liver_1"]


def test_a_mended_case_is_taken_up_again(source: Tree, tmp_path: Path) -> None:
    path = source.add("liver_3", image=packed(voxels())[:-100])
    location = tmp_path / "s.zarr"
    assert [refusal.case for refusal in build(source.root, location).refused] == ["liver_3"]
    assert [refusal.case for refusal in build(source.root, location).refused] == ["liver_3"]
    path.write_bytes(packed(voxels()))
    result = build(source.root, location)
    assert ([r.record.id for r in result.built], result.refused) == (["liver_3"], ())
    assert cz.open_store(location).root.refused == ()


def test_a_replaced_file_is_built_again_and_a_broken_one_loses_nothing(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    path = source.add("liver_3")
    build(source.root, location)
    path.write_bytes(packed(voxels(5))[:-100])
    assert [refusal.case for refusal in build(source.root, location).refused] == ["liver_3"]
    store = cz.open_store(location)
    assert np.array_equal(store["liver_3"].image.compute(), voxels().transpose())
    assert store.root.refused[0].reason.endswith("as an earlier build read it, it is still in the store")
    path.write_bytes(packed(voxels(5)) + packed(b""))
    build(source.root, location)
    assert np.array_equal(cz.open_store(location)["liver_3"].image.compute(), nibabel_canonical(path))


def test_a_case_that_changed_its_split_moves(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location)
    source.sections["trainset"].remove("liver_1")
    source.sections["test_public"].append("liver_1")
    source.write_splits()
    build(source.root, location)
    assert not (location / "train/MSD-T10/liver_1").exists()
    assert cz.open_store(location)["liver_1"].record.split == "validation"


def test_a_refusal_ends_with_its_cause(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    source.sections["trainset"].append("liver_77")
    source.write_splits()
    build(source.root, location)
    assert [entry.case for entry in cz.open_store(location).root.refused] == ["liver_77"]
    build(source.root, location, selection=cz.Selection(splits="test"))
    assert [entry.case for entry in cz.open_store(location).root.refused] == ["liver_77"]
    source.sections["trainset"].remove("liver_77")
    source.write_splits()
    build(source.root, location)
    assert cz.open_store(location).root.refused == ()


def test_a_damaged_root_is_written_anew(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location)
    expected = builds(objects(location))
    for damage in (b"", b"[]", b'{"attributes": 3}', b"\xff"):
        (location / "zarr.json").write_bytes(damage)
        with pytest.raises(DamagedStore, match=r"zarr.json is damaged .*run the build again"):
            cz.open_store(location)
        build(source.root, location)
        assert builds(objects(location)) == expected


def test_a_store_of_another_format_is_not_touched(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    build(source.root, location)
    receipt = location / "receipts" / "liver_1.json"
    receipt.write_text(receipt.read_text().replace('"format": 2', '"format": 3', 1))
    with pytest.raises(StoreMismatch, match=r"liver_1.json: format 3; legal: 2; build into another store"):
        cz.plan_build(source.root, location)


def test_a_zarr_store_of_somebody_else_is_not_touched(source: Tree, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "s.zarr", shape=(4,), dtype="i4")
    before = objects(tmp_path / "s.zarr")
    with pytest.raises(
        StoreMismatch,
        match=r"s.zarr is no ctspine_zarr store: its zarr.json is another's; build into another place",
    ):
        cz.plan_build(source.root, tmp_path / "s.zarr")
    assert objects(tmp_path / "s.zarr") == before


def test_a_store_that_workers_cannot_share_is_refused_for_several(source: Tree) -> None:
    with pytest.raises(UnknownValue, match=r"2 workers for .*; legal: 1$"):
        cz.plan_build(source.root, MemoryStore(), workers=2)
    assert cz.plan_build(source.root, MemoryStore()).workers == 1
    with pytest.raises(StorageError, match="was opened read-only; legal: a store that can be written"):
        cz.plan_build(source.root, MemoryStore(read_only=True))


def test_a_selection_of_nothing_is_an_error(source: Tree, tmp_path: Path) -> None:
    selection = cz.Selection(splits="train", sources="COVID-19")
    with pytest.raises(UnknownValue, match=r"selected by split train, source COVID-19; legal: one .* its \d"):
        cz.plan_build(source.root, tmp_path / "s.zarr", selection=selection)


def test_a_file_replaced_by_one_of_its_size_is_built_again(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    path = source.add("liver_3", gzip.compress(unpacked(voxels(3)), 0))
    build(source.root, location)
    size = path.stat().st_size
    path.write_bytes(gzip.compress(unpacked(voxels(4)), 0))
    assert path.stat().st_size == size
    build(source.root, location)
    assert np.array_equal(cz.open_store(location)["liver_3"].image.compute(), nibabel_canonical(path))


def test_another_codec_in_one_store_is_an_error(source: Tree, tmp_path: Path) -> None:
    build(source.root, tmp_path / "s.zarr", selection=cz.Selection(cases=["liver_1"]))
    with pytest.raises(
        StoreMismatch,
        match=r"begun with codec blosc-zstd and chunks of \(8, 64, 64\), asked for compact \(predict\) and "
        r".*; legal: the --codec and --chunk of the store, --rebuild",
    ):
        cz.plan_build(source.root, tmp_path / "s.zarr", codec="compact")
    with pytest.raises(UnknownValue, match="unknown codec 'zip'; legal: portable, compact"):
        cz.plan_build(source.root, tmp_path / "s.zarr", codec="zip")


def test_a_case_whose_receipt_is_gone_as_a_build_ends_is_named(source: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"

    def lose(event: object) -> None:
        if isinstance(event, cz.CaseBuilt):
            for path in (location / "receipts").glob("liver_1.json"):
                path.unlink()

    with pytest.raises(
        IncompleteBuild, match=r"1 of 3 cases are not built yet: liver_1; run the build"
    ) as caught:
        cz.build_store(cz.plan_build(source.root, location, workers=1), lose)
    assert caught.value.missing == ("liver_1",)
    assert cz.open_store(location).is_partial
    build(source.root, location)
    assert cz.verify(location).is_whole


def test_the_documents_above_say_what_was_refused(source: Tree, tmp_path: Path) -> None:
    build(source.root, tmp_path / "s.zarr")
    entries = {case: Entry.of(receipt) for case, receipt in receipts_of(tmp_path / "s.zarr").items()}
    spec = cz.open_store(tmp_path / "s.zarr").spec
    written = Provenance(writer=WRITER, written="now", python="3", libraries={})
    excused = documents_of(entries, [Refused("liver_8", "broken")], spec, written, {})
    about = decode_root(excused["zarr.json"])
    assert about.refused == (Refused("liver_8", "broken"),)
    assert about.cases["train"]["MSD-T10"] == 1
    assert list(excused)[-1] == "zarr.json"


def test_a_build_without_room_does_not_begin(
    source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "free_bytes", lambda _: 10)
    plan = cz.plan_build(source.root, tmp_path / "s.zarr")
    with pytest.raises(NoSpace, match=r"s\.zarr: about \d+ kB are needed, 10 bytes are free; free some"):
        cz.build_store(plan)
    assert not (tmp_path / "s.zarr").exists()


def test_the_plan_says_what_will_happen(phantom: Path, tmp_path: Path) -> None:
    plan = cz.plan_build(phantom, tmp_path / "s.zarr", workers=2)
    text = "\n".join(cz.describe(plan))
    assert re.search(r"train +2 +1 +1 +1 +5", text)
    assert re.search(r"to read +\S+ MB of .nii.gz in 9 cases", text)
    assert re.search(r"memory +at most \S+ MB with 2 workers", text)
    assert plan.memory_bytes == 2 * (300_000_000 + max(p.working_bytes for p in plan.pending))
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.slow
def test_the_estimate_is_near_the_truth_on_real_ct(mini: Path, mini_store: cz.Store, tmp_path: Path) -> None:
    plan = cz.plan_build(mini, tmp_path / "s.zarr")
    stored = sum(len(data) for data in objects(Path(mini_store.location)).values())
    assert plan.store_bytes == pytest.approx(stored, rel=0.1)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "most"),
    [
        ("uint8", 1, 0, 2),
        ("uint8", 1, -1024, 2),
        ("uint8", 0.3, -10, 4),
        ("uint8", 300, 0, 4),
        ("int16", 0.3, 7, 2),
    ],
)
def test_the_estimate_covers_values_that_are_wider_than_on_disk(
    source: Tree, tmp_path: Path, dtype: str, slope: float, inter: float, most: float
) -> None:
    values = np.random.default_rng(0).normal(100, 12, (64, 64, 48)).clip(0, 255).astype(dtype)
    source.add("liver_wide", packed(scaled(values, slope, inter)), np.zeros((64, 64, 48), "uint8"))
    plan = cz.plan_build(source.root, tmp_path / "s.zarr", selection=cz.Selection(cases=("liver_wide",)))
    cz.build_store(plan)
    written = sum(len(data) for data in objects(tmp_path / "s.zarr").values())
    assert written <= 1.1 * plan.store_bytes <= most * written


def test_the_spreadsheet_is_joined_by_patient(source: Tree, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["Study", "Patient Id", "Age", None])
    sheet.append(["one", "1.3.6.1.4.1.9328.50.4.0004", 61, "beside the table"])
    sheet.append(["two", "1.3.6.1.4.1.9328.50.4.0004", None])
    sheet.append(["three", "somebody else", 40])
    book.save(source.root / "metadata" / "metadata_colonog.xlsx")
    build(source.root, tmp_path / "s.zarr")
    store = cz.open_store(tmp_path / "s.zarr")
    rows = store["1.3.6.1.4.1.9328.50.4.0004"].record.spreadsheet
    assert rows == ({"Study": "one", "Age": 61}, {"Study": "two"})
    assert store["liver_1"].record.spreadsheet == ()


def test_events_tell_of_every_case(source: Tree, tmp_path: Path) -> None:
    source.add("liver_2", mask=packed(b"nothing"))
    events: list[object] = []
    cz.build_store(cz.plan_build(source.root, tmp_path / "s.zarr", workers=2), events.append)
    started = [event.case.id for event in events if isinstance(event, cz.CaseStarted)]
    built = [event.case.id for event in events if isinstance(event, cz.CaseBuilt)]
    failed = [event.case.id for event in events if isinstance(event, cz.CaseFailed)]
    assert len(started) == 4
    assert sorted([*built, *failed]) == sorted(started)
    assert failed == ["liver_2"]
