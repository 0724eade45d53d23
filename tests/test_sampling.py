"""Which samples an epoch has and in what order: properties of the index arithmetic."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from ctspine_zarr.datasets.vertebrae import LABELS, REGIONS
from ctspine_zarr.errors import OutOfBounds, UnknownValue
from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.record import (
    Intensity,
    Label,
    Record,
    StoredArray,
)
from ctspine_zarr.format.record import (
    LabelIntensity as Voxels,
)
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.order import Purpose, Share, dealt, generator, items_of, shuffled
from ctspine_zarr.sampling.patches import Axis, PatchPlan
from ctspine_zarr.sampling.resampling import Between, between, linear, nearest
from ctspine_zarr.sampling.slices import SlicePlan
from ctspine_zarr.sampling.strategies import Balanced, Foreground, Strategy, Uniform
from ctspine_zarr.sampling.units import Draw, SampleBox
from ctspine_zarr.sampling.volumes import WHOLE, Frame, VolumePlan, box_lattice, volume_lattice
from ctspine_zarr.sampling.windows import WindowPlan, assemble, window_starts

LEVELS = list(LABELS)


def spec(names: Sequence[str] = LEVELS, **changes: Any) -> Spec:
    facts: dict[str, Any] = {
        "name": "Test",
        "title": "a test's",
        "layout": "none",
        "licence": "unknown",
        "licence_note": "",
        "citation": "unknown",
        "mask": "labels",
        "labels": dict(enumerate(names, 1)),
        "levels": tuple(range(1, len(names) + 1)),
        "optional_levels": (),
        "regions": dict(REGIONS),
        "splits": ("train",),
        "sources": ("one",),
    }
    return Spec(**facts | changes)


SPINE = spec()


def record(
    case: str,
    top: str,
    last: str,
    shape: Shape = (45, 96, 96),
    chunk: Shape = (16, 64, 64),
    orientation: str = "LPS",
    transitional: str | None = None,
) -> Record:
    """A case whose labels are boxes below one another, 6 slices each, in the volume's middle."""
    values = range(LEVELS.index(top) + 1, LEVELS.index(last) + 2)
    hu = Voxels(mean=0, std=1, p00_5=0, p05=0, p50=0, p95=0, p99_5=0)
    z, y, x = shape
    labels = []
    for place, value in enumerate(values, 1):
        start, stop = (z - 6 * place, y // 3, x // 3), (z - 6 * place + 6, 2 * y // 3, x // 2)
        middle_z, middle_y, middle_x = ((a + b - 1) / 2 for a, b in zip(start, stop, strict=True))
        name = LEVELS[value - 1]
        labels.append(
            Label(
                label=value,
                name=name,
                voxels=9,
                start=start,
                stop=stop,
                centroid=(middle_z, middle_y, middle_x),
                pieces=1,
                largest=9,
                hu=hu,
            )
        )
    array = StoredArray(dtype="int16", bytes=10**9, index_crc32c=0, chunk=chunk, codec="none")
    return Record(
        id=case,
        patient_id=case,
        split="train",
        source="one",
        content="0" * 64,
        is_replaced=False,
        shape=shape,
        affine=((4, 0, 0, 0), (0, 4, 0, 0), (0, 0, 5, 0), (0, 0, 0, 1)),
        orientation=orientation,
        image=array,
        segmentation=replace(array, dtype="uint8"),
        source_bytes=0,
        intensity=Intensity(min=0, max=0, mean=0, std=0, p00_5=0, p05=0, p50=0, p95=0, p99_5=0, padding=None),
        labels=tuple(labels),
        transitional=transitional,
        findings=(),
        spreadsheet=(),
    )


RECORDS = (
    record("lumbar", "T11", "L5"),
    record("with-L6", "T12", "L6", (44, 90, 130), transitional="lumbarization"),
    record("without-L5", "T12", "L4", (61, 96, 96), transitional="sacralization"),
    record("liver_0", "T8", "L3", (70, 80, 96), (32, 32, 32)),
    record("neck", "C1", "T1", (48, 70, 80), (8, 128, 64), "PIR"),
    record("chest", "T1", "T8", (50, 60, 64), (64, 64, 16)),
)


def unmasked(one: Record) -> Record:
    return replace(one, segmentation=None, labels=())


SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=30)


def shares(ranks: int, workers: int) -> list[Share]:
    return [Share(r, ranks, w, workers) for r in range(ranks) for w in range(workers)]


@given(total=st.integers(0, 500), ranks=st.integers(1, 9), workers=st.integers(1, 9))
def test_shares_cover_an_epoch_once(total: int, ranks: int, workers: int) -> None:
    parts = [share.of(total, even=False) for share in shares(ranks, workers)]
    assert sorted(sample for samples in parts for sample in samples) == list(range(total))
    for rank in range(ranks):
        sizes = [len(Share(rank, ranks, w, workers).of(total, even=False)) for w in range(workers)]
        assert max(sizes) - min(sizes) <= 1
        assert abs(sum(sizes) - total / ranks) < 1


@given(total=st.integers(0, 500), ranks=st.integers(1, 9), workers=st.integers(1, 9))
def test_even_shares_are_equal_on_every_rank(total: int, ranks: int, workers: int) -> None:
    parts = [share.of(total, even=True) for share in shares(ranks, workers)]
    samples = [sample for part in parts for sample in part]
    assert len(set(samples)) == len(samples) == total - total % ranks
    for worker in range(workers):
        assert len({len(parts[rank * workers + worker]) for rank in range(ranks)}) == 1


def test_a_share_that_is_none_is_refused() -> None:
    for rank, ranks in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(UnknownValue, match="legal: each number from 0 and below its count"):
            Share(rank, ranks)


@given(sizes=SIZES, ranks=st.integers(1, 5), workers=st.integers(1, 4), buffer=st.integers(1, 50))
def test_every_item_is_drawn_once_by_whatever_shares(
    sizes: list[int], ranks: int, workers: int, buffer: int
) -> None:
    drawn: list[tuple[int, int]] = []
    for share in shares(ranks, workers):
        samples = share.of(sum(sizes), even=False)
        units = items_of(np.array(sizes), samples)
        mine = list(shuffled(units, buffer, np.random.default_rng(0)))
        assert len(mine) == len(samples)
        drawn += mine
    assert sorted(drawn) == [(unit, item) for unit, size in enumerate(sizes) for item in range(size)]


@given(sizes=SIZES, buffer=st.integers(1, 50))
def test_no_more_units_are_open_than_may_be(sizes: list[int], buffer: int) -> None:
    opened: dict[int, int] = {}

    def units() -> Any:
        for unit, size in enumerate(sizes):
            opened[unit] = size
            assert len(opened) <= buffer
            yield unit, range(size)

    for unit, _ in shuffled(units(), buffer, np.random.default_rng(0)):
        opened[unit] -= 1
        if not opened[unit]:
            del opened[unit]
    assert not opened


def test_a_batch_has_many_units() -> None:
    random = np.random.default_rng(0)
    order = [unit for unit, _ in shuffled(((unit, range(16)) for unit in range(50)), 8, random)]
    batches = [order[at : at + 16] for at in range(96, 600, 16)]
    assert np.mean([len(set(batch)) for batch in batches]) > 6.5


@given(batches=st.lists(st.integers(0, 6), min_size=1, max_size=5), data=st.data())
def test_dealing_goes_on_where_it_was(batches: list[int], data: st.DataObject) -> None:
    whole_round = deal(batches)
    count = data.draw(st.integers(0, sum(batches)))
    turn, given_out = dealt(batches, count)
    assert Counter(whole_round[:count]) == Counter({worker: n for worker, n in enumerate(given_out) if n})
    # Worker w of the next pass takes over from worker turn + w.
    taken_over = [(turn + worker) % len(batches) for worker in range(len(batches))]
    left = deal([batches[worker] - given_out[worker] for worker in taken_over])
    assert [taken_over[worker] for worker in left] == whole_round[count:]


def deal(batches: list[int]) -> list[int]:
    """What a DataLoader does: a batch from each worker in turn, leaving out those that have no more."""
    return [w for turn in range(max(batches)) for w, has in enumerate(batches) if turn < has]


def test_no_more_is_dealt_than_there_is() -> None:
    with pytest.raises(UnknownValue, match="4 batches of a pass of 3; legal: 0 to 3"):
        dealt([1, 2], 4)


# Slices


@pytest.fixture(scope="session")
def records() -> tuple[Record, ...]:
    return RECORDS


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("orientation", ["SAR", "LPI", "RAS"])
@pytest.mark.parametrize("foreground", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_slabs_have_every_slice_once(
    records: tuple[Record, ...], axis: str, orientation: str, foreground: bool, every: int
) -> None:
    plan = SlicePlan(records, axis, every, foreground, orientation)
    singles = [plan.single(number) for number in range(len(plan))]
    by_number = [(unit.case, unit.boxes[0]) for unit in singles]
    slabs = [plan.unit(number) for number in range(len(plan.sizes))]
    assert [(unit.case, box) for unit in slabs for box in unit.boxes] == by_number
    assert [len(unit.boxes) for unit in slabs] == plan.sizes.tolist()
    number = ("axial", "coronal", "sagittal").index(axis)
    found: dict[tuple[int, ...], list[Any]] = {}
    for unit in slabs:
        edge = records[unit.case].image.chunk[number]
        chunks = {int(box.lattice.first[number]) // edge for box in unit.boxes}
        assert len(chunks) == 1
        # And all that there are of it.
        found.setdefault((unit.case, *chunks), []).append(unit)
    assert all(len(same) == 1 for same in found.values())
    units = [number for case in range(len(records)) for number in plan.units_of(case)]
    assert units == list(range(len(slabs)))


def test_foreground_slices_are_those_that_cross_a_box(records: tuple[Record, ...]) -> None:
    plan = SlicePlan(records, foreground=True)
    found = {(u.case, u.boxes[0].index) for u in map(plan.single, range(len(plan)))}
    assert found == {
        (case, z)
        for case, record in enumerate(records)
        for z in range(record.shape[0])
        if any(label.start[0] <= z < label.stop[0] for label in record.labels)
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": "oblique"}, "unknown axis 'oblique'; legal: axial, coronal, sagittal"),
        ({"axis": "coronal", "orientation": "hub"}, "legal: axial, the slices that the Hub has"),
        ({"orientation": "XYZ"}, "orientation 'XYZ'"),
    ],
)
def test_slices_that_are_none_are_refused(
    records: tuple[Record, ...], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownValue, match=message):
        SlicePlan(records, **arguments)


def test_a_selection_without_labels_has_no_foreground_slice(records: tuple[Record, ...]) -> None:
    for bare in (replace(records[0], labels=()), unmasked(records[0])):
        with pytest.raises(UnknownValue, match="no slice of the selection crosses a label"):
            SlicePlan([bare], foreground=True)
        plan = SlicePlan([bare, records[1]], foreground=True)
        assert {plan.single(number).case for number in range(len(plan))} == {1}


def test_slabs_are_as_thick_as_the_chunks_of_each_image(records: tuple[Record, ...]) -> None:
    one = records[0]
    for edge in (1, 8, 45, 64):
        cut = replace(one, image=replace(one.image, chunk=(edge, 96, 96)))
        plan = SlicePlan([cut])
        assert plan.sizes.tolist() == [edge] * (45 // edge) + [45 % edge] * (45 % edge > 0)
        assert plan.thickest == edge
        # A mask's own chunks do not cut it.
        mask = replace(cut.segmentation, chunk=(2, 2, 2))  # type: ignore[type-var]
        assert (SlicePlan([replace(cut, segmentation=mask)]).sizes == plan.sizes).all()
    assert [SlicePlan(records, axis).thickest for axis in ("axial", "coronal", "sagittal")] == [64, 128, 64]


def test_a_plan_is_known_by_all_but_its_selection(records: tuple[Record, ...]) -> None:
    """Whole, and in order: it is part of a saved state."""
    assert repr(VolumePlan(records, Frame((1, 2, 3)))) == f"VolumePlan(frame={Frame((1, 2, 3))})"
    assert repr(SlicePlan(records)) == "SlicePlan(axis='axial', every=1, foreground=False, orientation='SAR')"
    assert (
        repr(WindowPlan(records, (8, 8, 8), 0.5)) == f"WindowPlan(size=(8, 8, 8), overlap=0.5, frame={WHOLE})"
    )
    plan = PatchPlan(records, SPINE, (8, 8, 8), 4, Balanced(by="region"))
    strategy = "Balanced(where='box', jitter=0.0, by='region', weights=None)"
    assert repr(plan) == (
        f"PatchPlan(size=(8, 8, 8), samples=4, strategy={strategy}, together=1, frame={WHOLE}, seed=0)"
    )


# Patches


def never(_case: int, _label: Label) -> Any:
    pytest.fail("no mask is to be read")


def drawn(plan: PatchPlan, epoch: int = 0) -> list[tuple[int, Shape]]:
    """Case and start of every patch of an epoch."""
    units = [plan.unit(number, Draw(epoch, never)) for number in range(len(plan.sizes))]
    return [(unit.case, start_of(box)) for unit in units for box in unit.boxes]


def start_of(box: SampleBox) -> Shape:
    assert box.start is not None
    return box.start


AXES = st.builds(
    Axis,
    voxels=st.integers(1, 300),
    chunk=st.sampled_from([16, 64]),
    size=st.integers(1, 300),
    first=st.floats(-0.5, 2),
    step=st.floats(0.3, 3),
    edge=st.integers(1, 130),
)


@given(axis=AXES, middle=st.integers(-50, 400))
def test_a_patch_lies_inside_or_has_the_volume_in_its_middle(axis: Axis, middle: int) -> None:
    start = int(axis.starts(np.array(middle)))
    if axis.edge <= axis.size:
        assert 0 <= start <= axis.size - axis.edge
        if axis.edge // 2 <= middle <= axis.size - axis.edge + axis.edge // 2:
            assert start + axis.edge // 2 == middle
    else:
        before, after = -start, axis.edge - axis.size + start
        assert 0 <= before - after <= 1


@settings(deadline=None)
@given(axis=AXES, data=st.data())
def test_patches_of_a_region_need_the_same_chunks(axis: Axis, data: st.DataObject) -> None:
    """As resampling, or reading alone, does need them."""
    starts = axis.starts(np.arange(axis.size))
    one = int(data.draw(st.sampled_from(starts.tolist())))

    def touched(start: int) -> set[int]:
        needed = Between.of(axis.first + start * axis.step, axis.step, axis.edge, axis.voxels).needed
        return {voxel // axis.chunk for voxel in needed}

    inside = [bool(touched(int(start))) and bool(touched(one)) for start in starts]
    expected = [touched(int(start)) == touched(one) for start in starts]
    found = axis.like(starts, one).tolist()
    assert all(a == b for a, b, is_inside in zip(found, expected, inside, strict=True) if is_inside)


def test_whole_steps_need_no_voxel_more() -> None:
    assert Between.of(0, 1, 64, 200).needed == range(64)
    assert Between.of(1, 2, 8, 200).needed == range(1, 16)
    assert Between.of(0.5, 1, 8, 200).needed == range(9)


@pytest.mark.parametrize("together", [1, 4])
def test_every_place_is_as_likely_alone_or_with_others(records: tuple[Record, ...], together: int) -> None:
    size = (20, 50, 70)
    plan = PatchPlan(records[:1], SPINE, size, 6000, Uniform(), together)
    starts = np.array([start for _, start in drawn(plan)])
    for axis, (n, edge) in enumerate(zip(records[0].shape, size, strict=True)):
        counts = np.bincount(starts[:, axis], minlength=n - edge + 1)
        assert len(counts) == n - edge + 1
        # Patches of a region are alike, so that fewer of them are independent.
        assert scipy.stats.chisquare(counts / together).pvalue > 0.001


@pytest.mark.parametrize("strategy", [Uniform(), Foreground(), Balanced(), Balanced(by="region")])
@pytest.mark.parametrize("samples", [1, 4, 6])
def test_an_epoch_has_as_many_patches_as_promised(
    records: tuple[Record, ...], strategy: Strategy, samples: int
) -> None:
    plan = PatchPlan(records, SPINE, (16, 32, 32), samples, strategy, 4)
    assert len(drawn(plan)) == len(plan) == samples * len(records) == plan.sizes.sum()
    assert drawn(plan) == drawn(plan)
    assert drawn(plan) != drawn(plan, epoch=1)
    assert drawn(plan) != drawn(dataclasses.replace(plan, seed=1))
    if not isinstance(strategy, Balanced):
        assert Counter(case for case, _ in drawn(plan)) == dict.fromkeys(range(len(records)), samples)


def frequencies(
    strategy: Strategy, records: tuple[Record, ...], known: Spec = SPINE, count: int = 6000
) -> Counter[str]:
    aim = strategy.aiming(records, known)
    random = generator(Purpose.DRAW, 0)
    aims = [aim(number % len(records), random) for number in range(count)]
    return Counter("anywhere" if a.label is None else a.label.name for a in aims)


def same(counts: Counter[str], weights: dict[str, float]) -> bool:
    assert set(counts) == set(weights)
    if len(weights) == 1:
        return True
    expected = np.array(list(weights.values())) / sum(weights.values()) * counts.total()
    return bool(scipy.stats.chisquare([counts[name] for name in weights], expected).pvalue > 0.001)


def test_every_label_comes_as_often(records: tuple[Record, ...]) -> None:
    names = {label.name for record in records for label in record.labels}
    assert len(names) == 25
    assert same(frequencies(Balanced(), records), dict.fromkeys(names, 1))


def test_every_label_comes_as_often_as_its_weight_says(records: tuple[Record, ...]) -> None:
    weights = {"L6": 1, "L1": 2.5, "C2": 0.5, "T5": 0}
    found = frequencies(Balanced(weights=weights), records)
    assert same(found, {name: weight for name, weight in weights.items() if weight})


def test_every_region_comes_as_often_and_its_labels_too(records: tuple[Record, ...]) -> None:
    found = frequencies(Balanced(by="region", weights={"lumbar": 1, "cervical": 3}), records)
    lumbar = Counter(v.name for r in records for v in r.labels if v.label in REGIONS["lumbar"])
    weights = {name: count / lumbar.total() for name, count in lumbar.items()}
    cervical = Counter(v.name for r in records for v in r.labels if v.label in REGIONS["cervical"])
    weights |= {name: 3 * count / cervical.total() for name, count in cervical.items()}
    assert same(found, weights)


def test_transitional_vertebrae_are_the_lowest_of_the_listed_cases(records: tuple[Record, ...]) -> None:
    listed = [record for record in records if record.transitional is not None]
    assert [record.transitional for record in listed] == ["sacralization", "lumbarization"][::-1]
    found = frequencies(Balanced(by="region", weights={"transitional": 1}), records)
    assert same(found, {"L6": 1, "L4": 1})


@pytest.mark.parametrize("probability", [0, 1 / 3, 1])
def test_foreground_comes_with_its_probability(records: tuple[Record, ...], probability: float) -> None:
    found = frequencies(Foreground(probability=probability), records[:1])
    names = [label.name for label in records[0].labels]
    weights = dict.fromkeys(names, probability / len(names)) | {"anywhere": 1 - probability}
    assert same(found, {name: weight for name, weight in weights.items() if weight})


def test_stray_labels_are_not_drawn(records: tuple[Record, ...]) -> None:
    first = records[0].labels[0]
    stray = Finding(Code.STRAY_LABEL, "far from the others", (first.label,))
    record = replace(records[0], findings=(stray,))
    for strategy in (Balanced(), Foreground(probability=1)):
        assert first.name not in frequencies(strategy, (record,))


def test_a_case_without_labels_gets_patches_from_anywhere(records: tuple[Record, ...]) -> None:
    for bare in (replace(records[0], labels=()), unmasked(records[0])):
        found = frequencies(Foreground(probability=1), (bare, records[1]))
        assert found["anywhere"] == 3000
        assert "anywhere" not in frequencies(Balanced(), (bare, records[1]))


def middles(plan: PatchPlan) -> NDArray[np.int64]:
    starts = np.array([start for _, start in drawn(plan)])
    found: NDArray[np.int64] = starts + np.array(plan.size) // 2
    return found


def test_a_middle_is_on_the_box_or_the_centroid_moved_by_the_jitter(records: tuple[Record, ...]) -> None:
    record = records[0]
    # In the middle of the volume, so that no patch of one voxel is moved inside.
    one = next(label for label in record.labels if label.name == "L2")
    reach = 7 // np.array(record.spacing)
    assert reach.all()

    def around(**options: Any) -> NDArray[np.int64]:
        strategy = Balanced(weights={"L2": 1}, **options)
        return middles(PatchPlan((record,), SPINE, (1, 1, 1), 4000, strategy))

    on_box = around()
    assert (on_box.min(0) == one.start).all()
    assert (on_box.max(0) == np.array(one.stop) - 1).all()
    assert (around(where="centroid") == np.rint(one.centroid)).all()
    off = around(where="centroid", jitter=7.0) - np.rint(one.centroid)
    assert (off.min(0) == -reach).all()
    assert (off.max(0) == reach).all()
    moved = around(jitter=7.0)
    strategy = Balanced(weights={"L2": 1}, where="voxel", jitter=7.0)
    for together in (1, 4):
        plan = PatchPlan((record,), SPINE, (1, 1, 1), 4000, strategy, together)
        units = [plan.unit(number, Draw(0, lambda *_: np.array([(20, 48, 48)]))) for number in range(1000)]
        off_voxel = np.array([start_of(unit.boxes[0]) for unit in units]) - (20, 48, 48)
        for axis in range(3):
            assert alike(off_voxel[:, axis], np.arange(-reach[axis], reach[axis] + 1))
    for axis in range(3):
        assert alike(off[:, axis], np.arange(-reach[axis], reach[axis] + 1))
        # The box's voxels and the jitter, each alike, give their sums unlike.
        box = np.arange(one.start[axis], one.stop[axis])
        assert alike(moved[:, axis], (box[:, None] + np.arange(-reach[axis], reach[axis] + 1)).ravel())


def alike(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether drawn values may come from these, each as likely."""
    values, weights = np.unique(expected, return_counts=True)
    assert np.isin(found, values).all()
    counts = [np.count_nonzero(found == value) for value in values]
    return bool(scipy.stats.chisquare(counts, weights / weights.sum() * len(found)).pvalue > 1e-4)


@pytest.mark.parametrize("spacing", [None, pytest.param((3.1, 5.0, 5.0), marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["box", "centroid", "voxel"])
def test_each_patch_of_a_region_is_distributed_as_the_first(
    records: tuple[Record, ...], where: Any, spacing: Any
) -> None:
    """Near a border too, where many middles have one start."""
    record = records[0]
    top = record.labels[0]
    voxels = np.argwhere(np.ones(np.subtract(top.stop, top.start))) + top.start
    strategy = Balanced(weights={top.name: 1}, where=where, jitter=14.0)

    def starts(together: int) -> NDArray[np.int64]:
        plan = PatchPlan((record,), SPINE, (14, 22, 22), 2500 * together, strategy, together, Frame(spacing))
        units = [plan.unit(number, Draw(0, lambda *_: voxels)) for number in range(2500)]
        return np.array([[start_of(box) for box in unit.boxes] for unit in units])

    alone, several = starts(1)[:, 0], starts(3)
    assert (several[:, 0] != several[:, 2]).any()
    for axis in range(3):
        values = np.unique(np.concatenate([alone[:, axis], several[:, :, axis].ravel()]))
        for number in (0, 1, 2):
            columns = [alone[:, axis], several[:, number, axis]]
            table = np.array([[np.count_nonzero(c == v) for v in values] for c in columns])
            common = table[:, table.sum(0) > 10]
            if common.shape[1] > 1:
                assert scipy.stats.chi2_contingency(common).pvalue > 1e-4


def test_voxels_that_bear_the_label_are_asked_for_and_drawn(records: tuple[Record, ...]) -> None:
    record = records[0]
    strategy = Balanced(weights={"T12": 1}, where="voxel")
    plan = PatchPlan((record,), SPINE, (1, 1, 1), 600, strategy, 3)
    voxels = np.array([(10, 20, 30), (10, 21, 30), (12, 80, 33)])

    def asked(case: int, label: Label) -> Any:
        assert (case, label.name) == (0, "T12")
        return voxels

    units = [plan.unit(number, Draw(0, asked)) for number in range(len(plan.sizes))]
    starts = [[start_of(box) for box in unit.boxes] for unit in units]
    assert {start for unit in starts for start in unit} == set(map(tuple, voxels.tolist()))
    # (12, 80, 33) lies in another chunk: it is never read with the others.
    assert all(len({start[1] // 64 for start in unit}) == 1 for unit in starts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Foreground(probability=1.5), "probability 1.5; legal: 0 to 1"),
        (lambda: Foreground(where="edge"), "unknown where 'edge'; legal: box, centroid, voxel"),  # type: ignore[arg-type]
        (lambda: Foreground(jitter=-1), "jitter -1; legal: mm from 0"),
        (lambda: Foreground(jitter=float("nan")), "jitter nan"),
        (lambda: Balanced(by="organ"), "unknown by 'organ'; legal: label, region"),  # type: ignore[arg-type]
        (lambda: Balanced(weights={"L1": 0}), "sum of weights 0.*; legal: above 0 and finite"),
        (lambda: Balanced(weights={}), "sum of weights 0.*; legal: above 0 and finite"),
        (lambda: Balanced(weights={"L1": -1, "L2": 2}), "weight of L1: -1; legal: from 0"),
        (lambda: Balanced(weights={"L1": float("nan")}), "weight of L1: nan"),
        (lambda: Balanced(weights={"L1": 1e308, "L2": 1e308}), "sum of weights inf"),
        (lambda: Balanced(weights=["L1"]), "legal: a dictionary, label -> weight"),  # type: ignore[arg-type]
        (lambda: Foreground(jitter=np.zeros(2)), "jitter array"),  # type: ignore[arg-type]
        (lambda: Balanced(weights={"L1": "much"}), "weight of L1: 'much'"),  # type: ignore[dict-item]
    ],
)
def test_strategies_that_are_none_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        make()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Balanced(weights={"L9": 1}), "unknown label 'L9'; legal: C1, C2"),
        (Balanced(weights={"L9": 0, "L1": 1}), "unknown label 'L9'"),
        (Balanced(weights={"lumbar": 1}), "unknown label 'lumbar'; legal: .*, L6$"),
        (Balanced(weights={3: 1}), "unknown label 3; legal"),  # type: ignore[dict-item]
        (
            Balanced(by="region", weights={"L1": 1}),
            "unknown region 'L1'; legal: cervical, thoracic, lumbar, L6, transitional$",
        ),
    ],
)
def test_names_that_the_store_does_not_know_are_refused(
    records: tuple[Record, ...], strategy: Strategy, message: str
) -> None:
    with pytest.raises(UnknownValue, match=message):
        PatchPlan(records, SPINE, (8, 8, 8), 1, strategy)


def test_names_are_those_of_the_store(records: tuple[Record, ...]) -> None:
    """Of a dataset that has no spine: its values mean what its spec says."""
    names = ["liver", "left kidney", "right kidney"]
    abdomen = spec(names, levels=(), regions={"kidneys": (2, 3)})
    organs = tuple(
        replace(label, label=value, name=name)
        for value, (label, name) in enumerate(zip(records[0].labels, names, strict=False), 1)
    )
    one = replace(records[0], labels=organs, transitional="lumbarization")
    assert same(frequencies(Balanced(), (one,), abdomen), dict.fromkeys(names, 1))
    assert same(frequencies(Balanced(weights={"liver": 1}), (one,), abdomen), {"liver": 1})
    kidneys = frequencies(Balanced(by="region"), (one,), abdomen)
    assert same(kidneys, dict.fromkeys(names[1:], 1))
    for weights, message in (
        ({"L1": 1}, "unknown label 'L1'; legal: liver, left kidney, right kidney$"),
        ({"transitional": 1}, "unknown region 'transitional'; legal: kidneys$"),
    ):
        by: Any = "region" if "transitional" in weights else "label"
        with pytest.raises(UnknownValue, match=message):
            Balanced(by=by, weights=weights).aiming((one,), abdomen)
    with pytest.raises(UnknownValue, match="no case of the selection has a label to draw from"):
        Balanced(by="region").aiming((one,), spec(names, levels=(), regions={}))


def test_the_lowest_level_is_that_of_the_spec_not_the_greatest_value(records: tuple[Record, ...]) -> None:
    """As where T13 has a value behind all others, and a label is no level at all."""
    names = ["T12", "L1", "sacrum", "T13"]
    odd = spec(names, levels=(1, 4, 2), regions={})
    labels = tuple(
        replace(label, label=value, name=name)
        for value, (label, name) in enumerate(zip(records[0].labels, names, strict=False), 1)
    )
    transitional = Balanced(by="region", weights={"transitional": 1})
    for present, lowest in ((labels, "L1"), ((labels[0], labels[3]), "T13")):
        one = replace(records[0], labels=present, transitional="lumbarization")
        assert same(frequencies(transitional, (one,), odd), {lowest: 1})


@pytest.mark.parametrize("chunk", [(16, 64, 64), (8, 24, 40), (45, 96, 1)])
def test_patches_of_a_region_touch_the_chunks_of_their_image(
    records: tuple[Record, ...], chunk: Shape
) -> None:
    one = replace(records[0], image=replace(records[0].image, chunk=chunk))
    size = (6, 20, 3)
    plan = PatchPlan((one,), SPINE, size, 400, Uniform(), 4)
    regions = [plan.unit(number, Draw(0, never)).boxes for number in range(len(plan.sizes))]
    for boxes in regions:
        touched = {
            tuple((s // c, (s + n - 1) // c) for s, n, c in zip(start_of(box), size, chunk, strict=True))
            for box in boxes
        }
        assert len(touched) == 1
    assert any(len({box.start for box in boxes}) > 1 for boxes in regions)


def test_what_no_case_has_cannot_be_drawn(records: tuple[Record, ...]) -> None:
    lumbar = tuple(record for record in records if record.id == "liver_0")
    with pytest.raises(UnknownValue, match="no case of the selection has C1; it has: T8, T9"):
        PatchPlan(lumbar, SPINE, (8, 8, 8), 1, Balanced(weights={"C1": 1}))
    bare = replace(lumbar[0], labels=())
    for strategy in (Balanced(), Foreground()):
        with pytest.raises(UnknownValue, match=r"no case of the selection has a label.*Uniform"):
            PatchPlan((bare,), SPINE, (8, 8, 8), 1, strategy)


@given(
    shape=st.tuples(*[st.integers(1, 200)] * 3),
    own=st.tuples(*[st.floats(0.3, 6)] * 3),
    asked=st.tuples(*[st.floats(0.3, 6)] * 3),
)
@example(shape=(1, 2, 3), own=(1.0, 1.0, 1.0), asked=(2.5, 5.0, 5.9))
def test_a_resampled_volume_has_the_extent_of_its_own(
    records: tuple[Record, ...], shape: Shape, own: Any, asked: Any
) -> None:
    rows = tuple(tuple(row) for row in np.diag([*own[::-1], 1.0]).tolist())
    record = replace(records[0], shape=shape, affine=rows, labels=())
    lattice = volume_lattice(record, asked)
    for axis in range(3):
        step, first, size = lattice.step[axis], lattice.first[axis], lattice.size[axis]
        assert step == pytest.approx(asked[axis] / own[axis], rel=2e-5)
        missed = abs(shape[axis] - size * step)
        if shape[axis] < step / 2:
            assert (size, first) == (1, (shape[axis] - 1) / 2)
        else:
            assert first - step / 2 == pytest.approx(-0.5) or size == 1
            assert missed <= step / 2 + 1e-6
    # Every voxel of it has values of the volume.
    assert all(b.inside == slice(0, n) for b, n in zip(between(lattice, shape), lattice.size, strict=True))
    assert volume_lattice(record, record.spacing) == volume_lattice(record, None) == Lattice(shape)


@given(data=st.data())
def test_resampling_a_part_is_scipys_of_the_whole(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    volume = np.random.default_rng(0).integers(-1000, 1000, shape).astype("int16")
    step = data.draw(st.tuples(*[st.floats(0.3, 3)] * 3))
    size = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    first = data.draw(st.tuples(*[st.floats(-0.49, n - 0.51) for n in shape]))
    lattice = Lattice(size, first, step)
    along = between(lattice, shape)
    block = volume[tuple(slice(b.needed.start, b.needed.stop) for b in along)]
    positions = np.meshgrid(
        *(f + s * np.arange(n) for f, s, n in zip(first, step, size, strict=True)), indexing="ij"
    )
    # A position just between two voxels may be nearer to either.
    assume(all((np.abs(p - np.floor(p) - 0.5) > 1e-4).all() for p in positions))
    expected = scipy.ndimage.map_coordinates(volume.astype(float), positions, order=1, mode="nearest")
    labels = scipy.ndimage.map_coordinates(volume, positions, order=0, mode="nearest")
    inside = tuple(b.inside for b in along)
    assert np.allclose(linear(block, along), expected[inside], atol=1e-2)
    assert np.array_equal(nearest(block, along), labels[inside])
    for axis, b in enumerate(along):
        at = np.moveaxis(positions[axis], axis, 0)[:, 0, 0]
        outside = np.ones(size[axis], bool)
        outside[b.inside] = False
        assert ((at < -0.499) | (at > shape[axis] - 0.501))[outside].all()


def test_boxes_of_a_lattice_are_on_it() -> None:
    lattice = Lattice((10, 10, 10), (0.5, 0.25, 0), (2, 1.5, 1))
    assert box_lattice(lattice, (1, 2, -3), (4, 4, 4)) == Lattice((4, 4, 4), (2.5, 3.25, -3), (2, 1.5, 1))


# Windows


@given(n=st.integers(1, 200), edge=st.integers(1, 60), tenths=st.integers(0, 9))
def test_windows_are_as_few_as_cover_a_volume_with_their_overlap(n: int, edge: int, tenths: int) -> None:
    starts = [z for z, _, _ in window_starts((n, 1, 1), (edge, 1, 1), tenths / 10)]
    # In whole numbers, which 1 - 0.8 is not.
    stride = max(1, edge * (10 - tenths) // 10)
    assert {v for start in starts for v in range(start, start + edge)} >= set(range(n))
    assert (np.diff(starts) <= stride).all()
    assert (np.diff(starts) > 0).all()
    assert len(starts) == max(0, -(-(n - edge) // stride)) + 1
    if n >= edge:
        assert (starts[0], starts[-1]) == (0, n - edge)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("shape", [(30, 41, 20), (7, 5, 33), (1, 9, 9)])
def test_windows_assembled_are_the_volume(blend: Any, channels: tuple[int, ...], shape: Shape) -> None:
    size = (12, 16, 10)
    volume = np.random.default_rng(0).random((*channels, *shape)).astype("float32")
    padded = np.pad(volume, [(0, 0)] * len(channels) + [(40, 40)] * 3)
    patches = []
    for z, y, x in window_starts(shape, size, 0.5):
        patch = padded[..., 40 + z : 52 + z, 40 + y : 56 + y, 40 + x : 50 + x]
        patches.append(((z, y, x), patch))
    found = assemble(iter(patches), shape, blend)
    assert found.dtype == np.float32
    assert np.allclose(found, volume, atol=1e-6)


def test_the_middle_of_a_window_counts_more_than_its_edge() -> None:
    shape, size = (1, 1, 24), (1, 1, 16)
    ones = ((0, 0, 0), np.ones(size)), ((0, 0, 8), np.zeros(size))
    even, middle = assemble(ones, shape, "constant")[0, 0], assemble(ones, shape)[0, 0]
    assert (even[8:16] == 0.5).all()
    assert (np.diff(middle[8:16]) < 0).all()
    assert middle[8] > 0.9
    assert middle[15] < 0.1


def test_what_cannot_be_assembled_is_refused() -> None:
    one = np.zeros((4, 4, 4))
    with pytest.raises(OutOfBounds, match=r"64 voxels of \(8, 4, 4\) are in no patch; legal: none"):
        assemble([((0, 0, 0), one)], (8, 4, 4))
    with pytest.raises(OutOfBounds, match=r"128 voxels of \(8, 4, 4\)"):
        assemble([], (8, 4, 4))
    with pytest.raises(OutOfBounds, match=r"shares no voxel .*; legal: from \(-3, -3, -3\) to \(\d, 3, 3\)"):
        assemble([((9, 0, 0), one)], (8, 4, 4))
    with pytest.raises(UnknownValue, match="unknown blend 'max'; legal: gaussian, constant"):
        assemble([((0, 0, 0), one)], (4, 4, 4), "max")  # type: ignore[arg-type]
    with pytest.raises(UnknownValue, match=r"shape \(1, 4, 4, 4\) after leading axes \(\); legal: equal"):
        assemble([((0, 0, 0), one), ((0, 0, 0), one[None])], (4, 4, 4))
    for overlap in (-0.1, 1, float("nan")):
        with pytest.raises(UnknownValue, match="overlap"):
            window_starts((9, 9, 9), 4, overlap)


def test_regions_name_every_label_once() -> None:
    assert sorted(label for labels in REGIONS.values() for label in labels) == sorted(LABELS.values())
