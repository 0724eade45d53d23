"""One CT over HTTP, a round trip away: what this engine and the field ask for, and how long it takes."""

import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.storage
from numpy.typing import NDArray
from obstore.store import HTTPStore

import ctspine_zarr as cz
from benchmarks.goals import goal
from benchmarks.peers import BATCHED, FUSED, ZARRS_PIPELINE, Box, Material
from benchmarks.read import prepare, random_box
from benchmarks.server import Counters, Server, served
from ctspine_zarr.format import layout, shard
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Shape

OURS = "ctspine_zarr"
ZARR = "zarr-python, default"
ZARR_FUSED = "zarr-python, fused"
ZARRS = "zarrs, default"
TENSORSTORE = "TensorStore, default"
TENSORSTORE_KEEPING = "TensorStore, keeping an index"

AXIAL, CUBE = "axial", "96-cube"
COLD, WARM = "cold", "warm"
OPENING = "opening the store"
SAMPLE = "slice of image and mask"
STREAM = "Stream of slices"
PREFETCHES = {"default prefetch": None, "prefetch=0": 0}
FIRST, NEXT = "first epoch", "next epoch"

_EDGE = 96
_WARM_IN_A_ROW = 3
_THREADS = 64
PATCHES = f"{_THREADS} patches in {_THREADS} threads"
# An index, and the chunks of two slabs: a read does not push the index out.
_KEPT_BYTES = 16_000_000

_TARGETS = "targets, set for a chest CT of 275 slices of 512 x 512 and 30 ms:"

type Read = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True)
class Distant:
    """A volume behind a server.

    Attributes:
        server: of the store.
        record: of the case.
    """

    server: Server
    record: Record

    @property
    def array(self) -> str:
        """Path of the image below the store."""
        return f"{self.record.path}/{layout.IMAGE}"

    def case(self) -> cz.Case:
        """Of a store that is opened for it alone: nothing of its shards was read."""
        return cz.open_store(self.server.url)[self.record.id]


@dataclass
class Cost(Counters):
    """What a piece of work took, `milliseconds` of wall time among it."""

    milliseconds: float = 0


type Costs = dict[str, dict[str, list[Cost]]]
"""Kind of read, then peer -> one cost a box; the same boxes for every peer."""
type Turn = list[Box]
"""A box to read cold, then boxes to read warm, which share no chunk with those before."""


def run(source: Path, scratch: Path, case: str | None, repeats: int, latency: float) -> dict[str, Any]:
    """Measure every peer that is installed, print tables, return the figures; the latency is in seconds."""
    material = prepare(source, scratch, case)
    turns = accesses(material.record.shape, repeats)
    with served(material.store, latency) as server:
        distant = Distant(server, material.record)
        names, missing = opened(distant)
        costs = measured(turns, names, distant, material)
        alone = ours_alone(distant, repeats)
        alone[PATCHES], errors = concurrent(distant, repeats)
    slabs = layout.grid(material.record.shape, layout.DEFAULT_CHUNK)[0]
    report(material, latency, costs, alone, slabs)
    goals = [*goals_met(costs), *own_goals(costs, alone, slabs)]
    goals += cube_goals(costs, turns[CUBE], material)
    goals.append(goal(f"{PATCHES}: errors", len(errors), 0))
    print(*missing, _TARGETS, *goals, *errors, sep="\n")
    return {
        "case": material.record.id,
        "shape": material.record.shape,
        "latency": latency,
        "peers": {access: in_json(of_peers) for access, of_peers in costs.items()},
        "alone": in_json(alone),
        "missing": missing,
        "errors": errors,
        "goals": goals,
    }


def opened(distant: Distant) -> tuple[list[str], list[str]]:
    """Names of the peers that are installed, and lines about those that are not."""
    names, missing = [], []
    for name, open_peer in PEERS.items():
        try:
            open_peer(distant)
            names.append(name)
        except ImportError as error:
            missing.append(f"{name}: not installed ({error})")
    return names, missing


def in_json(costs: dict[str, list[Cost]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(cost) for cost in found] for name, found in costs.items()}


def ours(distant: Distant) -> Read:
    """This project's engine, checksums on."""
    return distant.case().voxels("image").__getitem__


def zarr_python(distant: Distant, pipeline: str) -> Read:
    """zarr-python over obstore, checksums on."""
    objects = HTTPStore.from_url(distant.server.url, client_options={"allow_http": True})
    store = zarr.storage.ObjectStore(objects, read_only=True)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(store, path=distant.array, mode="r")
    return lambda box: np.asarray(array[box])


def zarrs(distant: Distant) -> Read:
    """zarrs, in Rust, as zarr-python's pipeline over the same obstore, checksums on; each of its threads,
    by default one a core, waits for a request at a time.
    """
    import zarrs as _  # noqa: F401, PLC0415 - registers itself

    with warnings.catch_warnings():
        # That it makes connections of its own.
        warnings.simplefilter("ignore", RuntimeWarning)
        return zarr_python(distant, ZARRS_PIPELINE)


def tensorstore(distant: Distant, kept_bytes: int) -> Read:
    """TensorStore, in C++, checksums on; what it keeps it does not ask for again."""
    import tensorstore as ts  # noqa: PLC0415 - not everyone has it

    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "http", "base_url": distant.server.url, "path": f"/{distant.array}/"},
        "context": {"cache_pool": {"total_bytes_limit": kept_bytes}},
        "recheck_cached_metadata": False,
        "recheck_cached_data": False,
    }
    array = ts.open(spec).result()
    return lambda box: np.asarray(array[box].read().result())


PEERS: dict[str, Callable[[Distant], Read]] = {
    OURS: ours,
    ZARR: lambda distant: zarr_python(distant, BATCHED),
    ZARR_FUSED: lambda distant: zarr_python(distant, FUSED),
    ZARRS: zarrs,
    TENSORSTORE: lambda distant: tensorstore(distant, 0),
    TENSORSTORE_KEEPING: lambda distant: tensorstore(distant, _KEPT_BYTES),
}
"""Each opens the array anew, which reads nothing of its shard."""


def accesses(shape: Shape, repeats: int) -> dict[str, list[Turn]]:
    """For each kind of access and each repeat the boxes of a turn; the same in every run."""
    chooser = random.Random(0)  # noqa: S311 - no secret
    sizes = {AXIAL: (1, *shape[1:]), CUBE: cube(shape)}
    return {name: [turn(shape, size, chooser) for _ in range(repeats)] for name, size in sizes.items()}


def cube(shape: Shape) -> Shape:
    z, y, x = (min(_EDGE, size) for size in shape)
    return z, y, x


def turn(shape: Shape, size: tuple[int, ...], chooser: random.Random) -> Turn:
    """Random boxes without a chunk in common, or with few where the volume is small."""
    boxes: Turn = []
    seen: set[int] = set()
    for _ in range(1 + _WARM_IN_A_ROW):
        drawn = [random_box(shape, size, chooser) for _ in range(50)]
        boxes.append(min(drawn, key=lambda box: len(seen & touched(box, shape))))
        seen |= touched(boxes[-1], shape)
    return boxes


def spans(box: Box) -> list[range]:
    """Along each axis the chunks that hold a voxel of the box."""
    edges = zip(box, layout.DEFAULT_CHUNK, strict=True)
    return [range(span.start // edge, (span.stop - 1) // edge + 1) for span, edge in edges]


def touched(box: Box, shape: Shape) -> set[int]:
    """The same chunks by their number in C order."""
    grid = layout.grid(shape, layout.DEFAULT_CHUNK)
    return set(np.ravel_multi_index(np.ix_(*spans(box)), grid).ravel().tolist())


def measured(turns: dict[str, list[Turn]], names: list[str], distant: Distant, material: Material) -> Costs:
    """The peers take turns, in an order drawn anew each time; each begins with a handle of its own."""
    chooser = random.Random(0)  # noqa: S311 - no secret
    costs: Costs = {
        f"{access}, {state}": {name: [] for name in names} for access in turns for state in (COLD, WARM)
    }
    for access, each in turns.items():
        for boxes in each:
            for name in chooser.sample(names, len(names)):
                cold, *warm = one_turn(PEERS[name](distant), boxes, distant.server, material)
                costs[f"{access}, {COLD}"][name].append(cold)
                costs[f"{access}, {WARM}"][name] += warm
    return costs


def one_turn(read: Read, boxes: Turn, server: Server, material: Material) -> Iterator[Cost]:
    for box in boxes:
        cost, voxels = timed(server, partial(read, box))
        if not np.array_equal(voxels, material.voxels[box]):
            message = f"a peer reads other voxels than were stored at {box}"
            raise ValueError(message)
        yield cost


def timed[T](server: Server, work: Callable[[], T]) -> tuple[Cost, T]:
    server.counted()
    begun = time.perf_counter()
    result = work()
    milliseconds = (time.perf_counter() - begun) * 1000
    return Cost(**asdict(server.counted()), milliseconds=milliseconds), result


def ours_alone(distant: Distant, repeats: int) -> dict[str, list[Cost]]:
    """What no peer has, by name; one cost a repeat."""
    costs: dict[str, list[Cost]] = {}
    for repeat in range(repeats):
        for name, cost in own_pieces(distant, random.Random(repeat)):  # noqa: S311 - no secret
            costs.setdefault(name, []).append(cost)
    return costs


def own_pieces(distant: Distant, chooser: random.Random) -> Iterator[tuple[str, Cost]]:
    """Each with its cost; the second of two slices, and of two epochs, finds the indices known."""
    server = distant.server
    cost, case = timed(server, distant.case)
    yield OPENING, cost
    slabs = range(0, case.shape[0], layout.DEFAULT_CHUNK[0])
    drawn = chooser.sample(slabs, len(slabs))
    for state, z in ((COLD, drawn[0]), (WARM, drawn[-1])):
        yield f"{SAMPLE}, {state}", timed(server, partial(case.slice, z))[0]
    for name, prefetch in PREFETCHES.items():
        stream = cz.Stream(cz.open_store(server.url), cz.Slices(), prefetch=prefetch)
        for epoch in (FIRST, NEXT):
            yield f"{STREAM}, {name}, {epoch}", timed(server, partial(exhausted, stream))[0]


def exhausted(samples: Iterable[Any]) -> int:
    return sum(1 for _ in samples)


def concurrent(distant: Distant, repeats: int) -> tuple[list[Cost], list[str]]:
    """Random patches, all at once, of a case of which nothing was read: one cost a repeat, and errors."""
    chooser = random.Random(0)  # noqa: S311 - no secret
    costs: list[Cost] = []
    errors: list[str] = []
    for _ in range(repeats):
        case = distant.case()
        boxes = [random_box(case.shape, cube(case.shape), chooser) for _ in range(_THREADS)]
        cost, failed = timed(distant.server, partial(patches_at_once, case, boxes))
        costs.append(cost)
        errors += failed
    return costs, errors


def patches_at_once(case: cz.Case, boxes: list[Box]) -> list[str]:
    """Read each in a thread of its own; what went wrong."""

    def read(box: Box) -> str:
        try:
            case.patch(start=[span.start for span in box], size=_EDGE)
        except cz.CtspineError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(_THREADS) as threads:
        return [error for error in threads.map(read, boxes) if error]


def report(
    material: Material, latency: float, costs: Costs, alone: dict[str, list[Cost]], slabs: int
) -> None:
    shape = "x".join(map(str, material.record.shape))
    away = f"{latency * 1000:g} ms away"
    print(f"\nreading {material.record.id}, {shape} {material.voxels.dtype}, over HTTP, {away}; medians")
    for access, of_peers in costs.items():
        table(access, of_peers)
    table(f"{OURS} alone", alone)
    for name in PREFETCHES:
        first, after = alone[f"{STREAM}, {name}, {FIRST}"], alone[f"{STREAM}, {name}, {NEXT}"]
        slices = material.record.shape[0]
        requests = " then ".join(f"{median(found, 'requests') / slabs:.3f}" for found in (first, after))
        took = " then ".join(f"{median(found, 'milliseconds') / slices:.2f}" for found in (first, after))
        print(f"{STREAM}, {name}: {requests} requests a slab, {took} ms a slice")
    rate = _THREADS / median(alone[PATCHES], "milliseconds") * 1000
    print(f"{PATCHES}: {rate:.0f} patches a second\n")


def table(title: str, rows: dict[str, list[Cost]]) -> None:
    """Medians, and for milliseconds the interquartile range."""
    print(f"\n{title:<44}{'requests':>10}{'at once':>10}{'kB':>10}{'ms':>10}{'spread':>10}")
    for name, costs in rows.items():
        counts = f"{median(costs, 'requests'):>10.0f}{median(costs, 'at_once'):>10.0f}"
        spread = np.subtract(*np.percentile([cost.milliseconds for cost in costs], [75, 25]))
        times = f"{median(costs, 'milliseconds'):>10.1f}{spread:>10.1f}"
        print(f"{name:<44}{counts}{median(costs, 'bytes') / 1000:>10.0f}{times}")


def median(costs: Iterable[Cost], what: str) -> float:
    values: list[float] = [getattr(cost, what) for cost in costs]
    return statistics.median(values)


def goals_met(costs: Costs) -> Iterator[str]:
    """How many times faster than a peer: medians of the ratios box by box."""
    for access, peer, least in (
        (AXIAL, ZARRS, 20),
        (AXIAL, ZARR, 2),
        (AXIAL, ZARR_FUSED, 2),
        (CUBE, TENSORSTORE, 1.5),
        (CUBE, TENSORSTORE_KEEPING, 1.5),
    ):
        for state in (COLD, WARM):
            name = f"{access}, {state}"
            if peer in costs[name]:
                pairs = zip(costs[name][peer], costs[name][OURS], strict=True)
                reached = statistics.median(other.milliseconds / own.milliseconds for other, own in pairs)
                yield goal(f"{name}: times faster than {peer}", reached, least, at_least=True)


def own_goals(costs: Costs, alone: dict[str, list[Cost]], slabs: int) -> Iterator[str]:
    """Requests, those for a slice the most of all reads."""
    for state, most in ((COLD, 2), (WARM, 1)):
        reached = max(cost.requests for cost in costs[f"{AXIAL}, {state}"][OURS])
        yield goal(f"{AXIAL}, {state}: requests, most", reached, most)
    for name in PREFETCHES:
        requests = median(alone[f"{STREAM}, {name}, {NEXT}"], "requests") / slabs
        yield goal(f"{STREAM}, {name}, {NEXT}: requests for each slab of slices", requests, 1)


def cube_goals(costs: Costs, turns: list[Turn], material: Material) -> Iterator[str]:
    """Requests and bytes of cubes, whose boxes are given."""
    cold, warm = (costs[f"{CUBE}, {state}"][OURS] for state in (COLD, WARM))
    first, others = [one[0] for one in turns], [box for one in turns for box in one[1:]]
    beyond = {
        f"{COLD}: requests beyond one for the index and for each slab": surplus(cold, first, 1),
        f"{WARM}: requests beyond one for each slab": surplus(warm, others, 0),
    }
    for text, found in beyond.items():
        yield goal(f"{CUBE}, {text}, median", statistics.median(found), 0)
        yield goal(f"{CUBE}, {text}, most", max(found), 0)
    ratios = over_read(warm, others, material)
    yield goal(f"{CUBE}, {WARM}: bytes read for each one needed, median", statistics.median(ratios), 2.5)
    yield goal(f"{CUBE}, {WARM}: bytes read for each one needed, most", max(ratios), 2.5)


def surplus(costs: list[Cost], boxes: list[Box], index: int) -> list[int]:
    """Requests of each read beyond those for the index and one for each slab that the box touches."""
    pairs = zip(costs, boxes, strict=True)
    return [cost.requests - index - len(spans(box)[0]) for cost, box in pairs]


def over_read(costs: list[Cost], boxes: list[Box], material: Material) -> list[float]:
    """Of each read, whose index was known, its bytes over those of the chunks that the box touches."""
    record = material.record
    stored = (material.array / layout.SHARD).read_bytes()
    body = len(stored) - shard.index_size(record.shape, record.image.chunk)
    sizes = np.diff(shard.decode_index(stored[body:], record.shape, record.image.chunk, body))
    needed = (sizes[list(touched(box, record.shape))].sum() for box in boxes)
    return [cost.bytes / bytes_ for cost, bytes_ in zip(costs, needed, strict=True)]
