"""The native kernel by itself: it converts as numpy does, and refuses whatever is not legal."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from arrays import PATH, stored, volume
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr import kernel as native
from ctspine_zarr.arrays.conversion import by_kernel, convert
from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.cli import main
from ctspine_zarr.format import layout
from ctspine_zarr.scaling import Scaling

pytestmark = pytest.mark.skipif(native.kernel is None, reason="needs the native kernel")

DTYPES = ["uint8", "int16", "int32", "float32", "float64"]
SCALINGS = st.builds(
    Scaling,
    st.floats(-2000, 2000, width=32),
    st.floats(0.5, 4000, width=32),
    st.booleans(),
)


@pytest.fixture
def kernel() -> native.Kernel:
    assert native.kernel is not None
    return native.kernel


def python_convert(source: NDArray[Any], target: NDArray[Any], scaling: Scaling | None) -> None:
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(native, "kernel", None)
        convert(source, target, scaling)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_conversions_are_numpys_to_the_bit(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(0, 5)] * 2, st.sampled_from([0, 1, 7, 64, 65, 130])))
    values = data.draw(npst.arrays(data.draw(st.sampled_from(DTYPES)), shape))
    target = data.draw(st.sampled_from(DTYPES))
    scaling = data.draw(st.none() | SCALINGS)
    axes = data.draw(st.permutations(range(3)))
    flips = tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in range(3))
    source = values.transpose(axes)[flips]
    found, expected = np.zeros((2, *source.shape), target)
    if not by_kernel(source.dtype, found.dtype, scaling):
        return
    convert(source, found, scaling)
    python_convert(source, expected, scaling)
    assert np.array_equal(found, expected, equal_nan=True)
    backward = np.zeros(source.shape[::-1], target).transpose()
    convert(source, backward, scaling)
    assert np.array_equal(backward, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_samples_are_made_of_is_converted_by_the_kernel(dtype: str) -> None:
    stored_dtype, single = np.dtype(dtype), np.dtype("float32")
    assert by_kernel(stored_dtype, stored_dtype, None)
    assert by_kernel(stored_dtype, single, None)
    assert by_kernel(stored_dtype, single, Scaling(1, 2))
    assert not by_kernel(stored_dtype.newbyteorder(), single, None) or dtype == "uint8"
    assert not by_kernel(stored_dtype, np.dtype("float64"), Scaling(1, 2))
    assert not by_kernel(single, np.dtype("int32"), None)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_read_uses_as_many_threads_as_it_may_and_no_more(
    kernel: native.Kernel, tmp_path: Path, count: int
) -> None:
    array = volume((200, 400, 400))
    voxels = stored(array, tmp_path, reading=Reading(threads=count))
    kernel.end_idle_threads()
    process, ended, seen = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not ended.is_set():
            seen.append(process.num_threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = process.num_threads()
    try:
        for _ in range(5):
            assert np.array_equal(voxels[...], array)
    finally:
        ended.set()
        watcher.join()
    assert max(seen) - before == count - 1


def waiting() -> int:
    """Threads of the kernel's that this process has."""
    names = Path("/proc/self/task").glob("*/comm")
    return [name.read_text().strip() for name in names].count("ctspine_zarr")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs names of threads")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_threads_wait_for_the_next_read_and_no_fork_meets_them(kernel: native.Kernel, tmp_path: Path) -> None:
    kernel.end_idle_threads()
    array = volume((200, 400, 400))
    voxels = stored(array, tmp_path, reading=Reading(threads=3))
    for _ in range(2):
        assert np.array_equal(voxels[...], array)
        assert waiting() == 2
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert waiting() == 0
    assert np.array_equal(voxels[...], array)


# What only a mistake in this package could ask for


type Call = dict[str, Any]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """The arguments of a read of a shard of 2 x 2 x 2 chunks."""
    voxels = stored(volume((20, 70, 66), chunk=(16, 64, 64)), tmp_path, reading=Reading())
    path = tmp_path / PATH / layout.SHARD
    data = path.read_bytes()
    found = voxels._decoder._bounds  # type: ignore[union-attr]
    with path.open("rb") as file:
        yield {
            "file": (file.fileno(), len(data)),
            "bounds": found,
            "grid": (2, 2, 2),
            "chunk": voxels.chunk,
            "dtype": "int16",
            "codec": "blosc-zstd",
            "target": np.zeros((20, 70, 66), "int16"),
            "positions": ((0, 1, 20), (0, 1, 70), (0, 1, 66)),
            "scaling": None,
        }


def read(kernel: native.Kernel, call: Call) -> list[int]:
    shard = (call["bounds"], call["grid"], call["chunk"], call["dtype"], call["codec"])
    wanted = ([(call["target"], call["positions"])], call["scaling"])
    return kernel.read_file(call["file"], shard, wanted, (4096, 1 << 18), 2)


def test_a_legal_call_reads(kernel: native.Kernel, call: Call) -> None:
    # An array of (20, 70, 66) has chunks of the default shape: their grid is as the fixture says.
    grid = layout.grid((20, 70, 66), call["chunk"])
    assert read(kernel, call | {"grid": grid}) == []
    assert np.array_equal(call["target"], volume((20, 70, 66), chunk=(16, 64, 64)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": np.zeros((20, 70, 65), "int16")},
        {"target": np.zeros((20, 70), "int16")},
        {"target": np.zeros((20, 70, 66), "uint16")},
        {"target": np.zeros((20, 70, 66), ">i2")},
        {"target": np.zeros((20, 70, 66), "float64")},
        {"target": np.broadcast_to(np.zeros((70, 66), "int16"), (20, 70, 66))},
        {"target": np.zeros((20, 70, 66), "float32"), "dtype": "int8"},
        {"codec": "lz4"},
        {"bounds": np.zeros(400, np.int64)},
        {"bounds": np.frombuffer(bytes(8), np.int64)},
        {"bounds": np.frombuffer(np.arange(400)[::-1].tobytes(), np.int64)},
        {"bounds": np.frombuffer(np.full(400, -1).tobytes(), np.int64)},
        {"grid": (1, 1, 1)},
        {"grid": (2**40, 2**40, 2**40)},
        {"chunk": (0, 64, 64)},
        {"chunk": (2**30, 2**30, 2**30)},
        {"positions": ((0, 1, 20), (0, 1, 70), (600, 1, 66))},
        {"positions": ((0, 0, 20), (0, 1, 70), (0, 1, 66))},
        {"positions": ((2**63, 1, 20), (0, 1, 70), (0, 1, 66))},
        {"scaling": (0.0, 1.0, 0.0, 1.0)},
        {"target": np.zeros((20, 70, 66), "float32"), "scaling": (0.0, 1.0, 1.0, 0.0)},
    ],
)
def test_an_illegal_call_is_a_value_error_and_no_crash(
    kernel: native.Kernel, call: Call, wrong: Call
) -> None:
    with pytest.raises(ValueError, match="legal: what ctspine_zarr asks for"):
        read(kernel, call | wrong)


def test_targets_that_overlap_themselves_are_refused(kernel: native.Kernel, call: Call) -> None:
    memory = np.zeros(20 * 70 * 66, "int16")
    strided = np.lib.stride_tricks.as_strided(memory, (20, 70, 66), (2 * 66, 2 * 66, 2))
    with pytest.raises(ValueError, match="overlaps itself"):
        read(kernel, call | {"target": strided})


def test_arrays_that_share_memory_are_not_converted(kernel: native.Kernel) -> None:
    memory = np.zeros((2, 3, 5), "int16")
    with pytest.raises(ValueError, match="a conversion between other shapes or dtypes"):
        kernel.convert(memory, memory[::-1], None)
    kernel.convert(memory[:1], memory[1:], None)


def test_a_file_that_is_cut_leaves_its_chunks(kernel: native.Kernel, call: Call) -> None:
    grid = layout.grid((20, 70, 66), call["chunk"])
    count = int(np.prod(grid))
    descriptor, size = call["file"]
    last = int(call["bounds"][count - 1])
    assert read(kernel, call | {"grid": grid, "file": (descriptor, last)}) == [count - 1]
    # A size that is not the file's own: what cannot be read is left as well.
    bounds = np.frombuffer((call["bounds"] + size).tobytes(), np.int64)
    moved = {"grid": grid, "bounds": bounds, "file": (descriptor, 2**40)}
    assert read(kernel, call | moved) == list(range(count))


# Which kernel is used


def test_the_kernel_can_be_turned_off() -> None:
    code = "from ctspine_zarr import kernel; print(kernel.kernel)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={native.SWITCH: "0"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_a_kernel_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("ctspine_zarr_native")
    monkeypatch.setattr(module, "__version__", "0.2.0")
    with pytest.warns(RuntimeWarning, match=r"ctspine-zarr-native 0\.2\.0 is not used; legal: 0\.1\."):
        assert native._found() is None


def test_the_command_says_whether_it_is_used(monkeypatch: pytest.MonkeyPatch, kernel: native.Kernel) -> None:
    shown = CliRunner().invoke(main.cli, ["--version"]).output
    assert shown == f"ctspine-zarr {cz.__version__}, native kernel {kernel.__version__}\n"
    monkeypatch.setattr(native, "kernel", None)
    assert CliRunner().invoke(main.cli, ["--version"]).output.endswith(", no native kernel\n")
