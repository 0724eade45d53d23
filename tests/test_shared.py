"""Memory that is filled for another process: what is held stays as it is, whatever comes after it."""

from __future__ import annotations

import copy
import errno
import gc
import glob
import multiprocessing
import os
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctspine_zarr.memory import shared
from ctspine_zarr.memory.shared import CAN_SHARE, Receiver, Sender

pytestmark = pytest.mark.skipif(not CAN_SHARE, reason="needs files without a name: Linux")

MOST = 1 << 16


def arrays(value: int, size: int, count: int = 2) -> list[NDArray[np.int16]]:
    return [np.full(size, value + one, np.int16) for one in range(count)]


def sent(sender: Sender, value: int, size: int) -> Any:
    """What a receiver gets of two arrays, if they go."""
    found = sender.stacked(arrays(value, size))
    return None if found is None else pickle.loads(pickle.dumps(found))  # noqa: S301 - our own


def files() -> int:
    """Files without a name that this process has open."""
    links = [os.readlink(one) for one in glob.glob("/proc/self/fd/*") if os.path.lexists(one)]  # noqa: PTH115, PTH207
    return sum("ctspine-zarr" in link for link in links)


def numbers(sender: Sender) -> int:
    return len(sender._slots)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9000), st.sets(st.integers(0, 12), max_size=4)), max_size=30))
def test_what_is_held_stays_as_it_was(steps: list[tuple[int, set[int]]]) -> None:
    receiver = Receiver()
    sender = Sender(receiver.name, MOST)
    held: dict[int, tuple[int, NDArray[np.int16]]] = {}
    for value, (size, dropped) in enumerate(steps):
        got = sent(sender, value, size)
        if got is None:
            # Only where what is in use leaves no room.
            assert sum(slot.size for slot in sender._slots) + 4 * size > MOST
        else:
            held[value] = size, got
        for key in [key for at, key in enumerate(list(held)) if at in dropped]:
            del held[key]
        for key, (length, array) in held.items():
            assert np.array_equal(array, arrays(key, length))
        assert sum(slot.size for slot in sender._slots) <= MOST


def test_memory_is_used_again_once_no_view_is_left() -> None:
    receiver = Receiver()
    sender = Sender(receiver.name)
    first = sent(sender, 1, 5000)
    assert first is not None
    view = first[1, ::7]
    del first
    second = sent(sender, 2, 5000)
    assert numbers(sender) == 2
    assert set(view.tolist()) == {2}
    place = view.__array_interface__["data"][0]
    del view
    third = sent(sender, 3, 4000)
    assert numbers(sender) == 2
    assert third is not None
    assert second is not None
    assert third.__array_interface__["data"][0] == place - 10_000
    assert third.flags.writeable
    assert third.flags.c_contiguous


def test_rows_that_are_filled_one_by_one_are_sent_as_they_lie() -> None:
    receiver = Receiver()
    sender = Sender(receiver.name)
    form = (30, 100), np.dtype(np.int16)
    stack = sender.stack(4, *form)
    assert stack is not None
    filled = [stack.next(*form) for _ in range(3)]
    for value, row in enumerate(filled):
        assert row is not None
        row[...] = value
    turned = [row[None] for row in filled if row is not None]
    assert stack.are(turned)
    assert not stack.are(turned[1:])
    assert not stack.are([turned[1], turned[0], turned[2]])
    assert not stack.are([*turned[:2], turned[2].copy()])
    assert not stack.are([*turned[:2], turned[2][..., ::-1]])
    assert not stack.are([*turned[:2], turned[2].view(np.uint16)])
    got = pickle.loads(pickle.dumps(stack.sent((3, 1, 30, 100))))  # noqa: S301 - our own
    assert np.array_equal(got, np.stack(turned))
    # Neither the next form nor the next batch is in the memory of rows that somebody has, here or there.
    assert stack.next((30, 99), form[1]) is None
    assert stack.next(*form) is not None
    assert stack.next(*form) is None
    del got, stack
    assert sent(sender, 7, 5000) is not None
    assert numbers(sender) == 2
    assert [int(row[0, 0]) for row in filled if row is not None] == [0, 1, 2]
    del filled, turned, row
    assert sender.stack(4, *form) is not None
    assert numbers(sender) == 2


def test_memory_that_is_too_small_gives_way() -> None:
    receiver = Receiver()
    sender = Sender(receiver.name, MOST)
    first, kept = sent(sender, 1, 12_000), sent(sender, 5, 2000)
    assert np.array_equal(first, arrays(1, 12_000))
    del first
    grown = sent(sender, 2, 14_000)
    assert numbers(sender) == 2
    assert np.array_equal(grown, arrays(2, 14_000))
    assert np.array_equal(kept, arrays(5, 2000))
    assert sent(sender, 3, 2000) is None
    del grown
    assert sent(sender, 3, 2000) is not None


def test_what_was_never_sent_is_free_again() -> None:
    sender = Sender(Receiver().name)
    for value in range(5):
        made = sender.stacked(arrays(value, 5000))
        assert made is not None
        assert numbers(sender) == 1
        del made
        gc.collect()


def test_a_file_is_sent_once_and_goes_with_the_receiver() -> None:
    gc.collect()
    before = files()
    receiver = Receiver()
    sender = Sender(receiver.name)
    for value in range(20):
        assert sent(sender, value, 5000) is not None
    # The sender's own, with its mapping's, and the receiver's.
    assert files() <= before + 3
    name = receiver.name
    del receiver
    gc.collect()
    assert files() <= before + 2
    with pytest.raises(KeyError):
        sent(Sender(name), 0, 5000)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_process_has_what_it_was_forked_with() -> None:
    context = multiprocessing.get_context("fork")
    receiver = Receiver()
    sender = Sender(receiver.name)
    held = [sent(sender, 1, 5000)]
    go_on, found = context.Event(), context.Queue()

    def read() -> None:
        go_on.wait(20)
        found.put(held.pop().tolist())

    process = context.Process(target=read)
    process.start()
    held.clear()
    later = [sent(sender, value, 5000) for value in range(2, 5)]
    go_on.set()
    assert np.array_equal(found.get(timeout=20), arrays(1, 5000))
    process.join(20)
    # Nor does that it let go of it free it for others.
    later += [sent(sender, 5, 5000)]
    assert process.exitcode == 0
    assert numbers(sender) == len(later)
    assert [array[0, 0] for array in later] == [2, 3, 4, 5]


def fill(name: str, queue: Any, count: int, done: Any) -> None:
    sender = Sender(name)
    for value in range(count):
        queue.put(sender.stacked(arrays(value, 100_000)))
    done.wait(60)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_another_process_fills_it(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    receiver, queue, done = Receiver(), context.Queue(2), context.Event()
    process = context.Process(target=fill, args=(receiver.name, queue, 40, done))
    process.start()
    for value in range(40):
        assert np.array_equal(queue.get(timeout=60), arrays(value, 100_000))
    done.set()
    process.join(20)
    assert process.exitcode == 0
    # Two wait, one is made and two are here, at most.
    assert 1 <= len(receiver._slots) <= 6


def test_where_no_file_is_to_be_had_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    sender = Sender(receiver.name)
    first = sent(sender, 1, 5000)

    def refused(_: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", refused)
    assert sent(sender, 2, 5000) is None
    del first
    assert sent(sender, 3, 5000) is not None


def test_forks_and_small_arrays_leave_memory_to_send() -> None:
    receiver = Receiver()
    sender = Sender(receiver.name, MOST)
    for value in range(30):
        held = sent(sender, value, 8000)
        assert held is not None
        shared._before_fork()
        shared._after_fork()
        assert np.array_equal(held, arrays(value, 8000))
        del held
    opened = files()
    many = [sent(sender, value, 10) for value in range(500)]
    assert sum(array is not None for array in many) == numbers(sender) == shared._MOST_SLOTS
    assert files() - opened < 3 * shared._MOST_SLOTS


def test_while_a_fork_is_under_way_nothing_is_free_again() -> None:
    receiver = Receiver()
    sender = Sender(receiver.name)
    before = sent(sender, 1, 5000)
    shared._before_fork()
    during = [sent(sender, value, 5000) for value in (2, 3)]
    # What another thread lets go of meanwhile, and afterwards.
    del before, during[1]
    assert sum(slot.is_lost for slot in sender._slots) == 2
    shared._after_fork()
    del during
    assert all(slot.is_lost for slot in sender._slots)
    assert sent(sender, 4, 5000) is not None
    assert sum(slot.is_free for slot in sender._slots) == numbers(sender) == 3


def test_a_receivers_copy_is_the_same_one_as_long_as_it_lives() -> None:
    receiver = Receiver()
    copies = [copy.deepcopy(receiver), pickle.loads(pickle.dumps(receiver))]  # noqa: S301 - our own
    assert all(one is receiver for one in copies)
    packed = pickle.dumps(receiver)
    del receiver, copies
    gc.collect()
    again = pickle.loads(packed)  # noqa: S301 - our own
    assert sent(Sender(again.name), 1, 5000) is not None


def test_memory_of_processes_that_have_ended_is_let_go() -> None:
    context: Any = multiprocessing.get_context("spawn")
    receiver = Receiver()
    for _ in range(3):
        queue, done = context.Queue(), context.Event()
        process = context.Process(target=fill, args=(receiver.name, queue, 4, done))
        process.start()
        got = [queue.get(timeout=60) for _ in range(4)]
        done.set()
        process.join(20)
        assert len(receiver._slots) <= 4
        assert all(np.array_equal(one, arrays(value, 100_000)) for value, one in enumerate(got))
