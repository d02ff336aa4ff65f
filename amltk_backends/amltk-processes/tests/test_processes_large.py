"""What is large: arrays and the like travel without needless copies, and arrive as they were sent."""

from __future__ import annotations

import collections
import pickle
import socket
import threading
from typing import Any

import numpy as np
import psutil
import pytest
from arrays_for_processes import same, tagged
from calls_for_processes import add
from hypothesis import given
from hypothesis import strategies as st

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor, _frames, _pickling
from amltk_processes._frames import CHUNK, FrameReader, pack
from amltk_processes._pickling import dumps, loads

LARGE = CHUNK // 8  # so many numbers of eight bytes are sent apart


@pytest.fixture
def executor():
    with ProcessPoolExecutor(2) as executor:
        yield executor


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


ARRAYS = {
    "large": np.arange(2 * LARGE, dtype="f8"),
    "just large": np.arange(LARGE, dtype="f8"),
    "just small": np.arange(LARGE - 1, dtype="f8"),
    "empty": np.zeros((0, 3)),
    "one number": np.array(7.0),
    "by columns": np.asfortranarray(np.arange(2.0 * LARGE).reshape(2, LARGE)),
    "with gaps": np.arange(4.0 * LARGE)[::2],
    "backwards": np.arange(2.0 * LARGE)[::-1],
    "turned": np.arange(4.0 * LARGE).reshape(2, 2, LARGE).transpose(1, 0, 2),
    "broadcast": np.broadcast_to(np.arange(float(LARGE)), (3, LARGE)),
    "read-only": read_only(np.arange(2.0 * LARGE)),
    "structured": np.zeros(LARGE, dtype=[("x", "f8"), ("y", "i4")]),
    "objects": np.array([None, "text"] * LARGE, dtype=object),
    "big-endian": np.arange(2 * LARGE, dtype=">f8"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_comes_back_as_from_pickle(executor: ProcessPoolExecutor, kind: str) -> None:
    array = ARRAYS[kind]
    expected = pickle.loads(pickle.dumps(array, 5))
    back = executor.submit(same, array).result()
    assert (back.dtype, back.shape, back.strides) == (expected.dtype, expected.shape, expected.strides)
    assert (back.flags.writeable, back.flags.f_contiguous) == (expected.flags.writeable, expected.flags.f_contiguous)
    np.testing.assert_array_equal(back, array)
    if back.flags.writeable and back.size:
        back[...] = np.zeros_like(back)  # it is really there


def test_subclasses_and_mixtures(executor: ProcessPoolExecutor) -> None:
    mixture = {
        "small": np.arange(3),
        "tagged": tagged("mine", np.arange(2.0 * LARGE)),
        "bytes": bytes(3 * CHUNK),
        "bytearray": bytearray(b"x" * 3 * CHUNK),
        "many": [np.full(LARGE, number, "f8") for number in range(20)],
        "text": "x" * 3 * CHUNK,
        "nothing": [],
    }
    mixture["twice"] = mixture["many"][0]
    back = executor.submit(same, mixture).result()
    assert list(back) == list(mixture)
    assert (type(back["tagged"]).__name__, back["tagged"].tag) == ("Tagged", "mine")
    assert back["twice"] is back["many"][0]
    np.testing.assert_equal(back, mixture)


def test_each_array_owns_its_memory_alone(executor: ProcessPoolExecutor) -> None:
    def two() -> list[Any]:
        import numpy as np

        one = np.ones(100_000)
        return [one, one[:50_000], one[50_000:]]

    whole, first, second = executor.submit(two).result()
    whole[:] = 2
    first[:] = 3
    assert set(second) == {1.0}
    for array in (whole, first, second):
        while isinstance(array.base, np.ndarray):
            array = array.base  # noqa: PLW2901 - down to the memory that it is made of
        assert memoryview(array.base).nbytes == array.nbytes


def test_what_the_caller_changes_after_submit_is_not_sent(executor: ProcessPoolExecutor, tmp_path) -> None:
    array = np.zeros(1_000_000)
    futures = [executor.submit(lambda values: float(values.sum()), array) for _ in range(6)]
    array[:] = 1
    assert [future.result() for future in futures] == [0.0] * 6


def test_arguments_can_be_written_to_in_the_worker(executor: ProcessPoolExecutor) -> None:
    def double(values: Any) -> Any:
        values *= 2
        return values

    array = np.ones(500_000)
    assert set(executor.submit(double, array).result()) == {2.0}
    assert set(array) == {1.0}


def test_300_mb_arrive_and_are_freed_with_the_last_reference(executor: ProcessPoolExecutor) -> None:
    array = executor.submit(lambda: __import__("numpy").full(37_500_000, 3.0)).result()
    assert array.nbytes == 300_000_000
    array[-1] = 4
    assert array[0] + array[-1] == 7

    def resident() -> int:
        return psutil.Process().memory_info().rss

    before = resident()
    del array
    assert before - resident() > 250_000_000


def test_a_large_function_and_large_errors_arrive(executor: ProcessPoolExecutor) -> None:
    array = np.arange(1_000_000)
    assert executor.submit(lambda: int(array.sum())).result() == array.sum()

    def fail() -> None:
        raise ValueError(array)

    error = executor.submit(fail).exception()
    np.testing.assert_array_equal(error.args[0], array)


def test_a_buffer_that_cannot_be_sent_fails_its_call_alone(executor: ProcessPoolExecutor) -> None:
    def gaps() -> Any:
        import pickle

        import numpy as np

        return pickle.PickleBuffer(np.arange(100_000)[::2])

    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        executor.submit(gaps).result()
    assert executor.submit(add, 1).result() == 2


def test_a_worker_that_dies_while_it_sends_fails_that_call_alone(executor: ProcessPoolExecutor) -> None:
    def die_half_way() -> bytes:
        import os

        from amltk_processes import _worker

        def half(*frame: Any) -> Any:
            head, *rest = whole(*frame)
            yield head
            if not rest:  # it is not the result
                return
            (data,) = rest
            yield data[: len(data) // 2]
            os._exit(9)

        whole = _worker.pack
        _worker.pack = half  # type: ignore[assignment]
        return bytes(10_000_000)

    futures = [executor.submit(die_half_way), *(executor.submit(add, number) for number in range(20))]
    error = futures[0].exception()
    assert isinstance(error, WorkerDied)
    assert error.exit_code == 9
    assert [future.result() for future in futures[1:]] == list(range(1, 21))


# Frames


class Dribble:
    """A socket that gives what was sent piece by piece."""

    def __init__(self, data: bytes, pieces: list[int]) -> None:
        self.data = data
        self.pieces = collections.deque(pieces)

    def recv(self, most: int) -> bytes:
        length = min(most, self.pieces[0] if self.pieces else most)
        self.pieces.rotate(-1)
        received, self.data = self.data[:length], self.data[length:]
        return received

    def recv_into(self, memory: memoryview) -> int:
        received = self.recv(len(memory))
        memory[: len(received)] = received
        return len(received)


SIZES = st.sampled_from([0, 1, 30, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
BUFFERS = st.lists(st.sampled_from([CHUNK, CHUNK + 1, 2 * CHUNK]), max_size=3)


@given(frames=st.lists(st.tuples(SIZES, BUFFERS), max_size=6), pieces=st.lists(st.integers(1, CHUNK), max_size=5))
def test_frames_are_put_together_from_any_pieces(frames: list[tuple[int, list[int]]], pieces: list[int]) -> None:
    pieces = [*pieces, CHUNK]
    sent = []
    for number, (size, buffers) in enumerate(frames):
        fill = bytes([number + 1])
        sent.append((number % 4, number, size, number / 2, fill * size, [fill * length for length in buffers]))
    packed = [pack(kind, number, tag, data, buffers, started) for kind, number, tag, started, data, buffers in sent]
    reader = FrameReader(Dribble(b"".join(map(b"".join, packed)), pieces))
    received: list[Any] = []
    while (got := reader.read()) is not None:
        received += [
            (kind, number, tag, started, bytes(data), list(map(bytes, buffers)))
            for kind, number, tag, started, data, buffers in got
        ]
    assert received == sent


@pytest.mark.parametrize("size", [CHUNK, _frames._MAPPED])
def test_large_data_is_received_into_memory_of_its_own_that_can_be_written(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(
            target=lambda: [theirs.sendall(piece) for piece in pack(1, 2, 3, b"d", [bytes(size)])]
        )
        sender.start()
        reader = FrameReader(ours)
        frames: list[Any] = []
        while not frames:
            frames += reader.read() or []
        sender.join()
    ((_, _, _, _, data, (buffer,)),) = frames
    view = memoryview(buffer)
    view[size - 1] = 1
    assert (bytes(data), view.nbytes, view.readonly) == (b"d", size, False)


def test_only_what_is_large_and_lies_in_one_piece_stays_out_of_the_pickle() -> None:
    buffers: list[memoryview] = []
    values = [np.arange(10), np.arange(LARGE), np.arange(3 * LARGE)[::3]]
    data = dumps(values, buffers)
    assert [buffer.nbytes for buffer in buffers] == [CHUNK]
    np.testing.assert_equal(loads(data, buffers), values)
    assert len(dumps(values)) > len(data) + CHUNK - 100


def test_what_is_large_is_unpickled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pickling, "_AT_ONCE", CHUNK)
    sizes = []

    class Pieces(_pickling._InPieces):
        def readinto(self, buffer: memoryview) -> int:
            sizes.append(super().readinto(buffer))
            return sizes[-1]

    monkeypatch.setattr(_pickling, "_InPieces", Pieces)
    value = {"bytes": bytes(range(256)) * (CHUNK // 64), "text": "ä" * CHUNK, "numbers": list(range(CHUNK))}
    assert loads(dumps(value)) == value
    assert max(sizes) == CHUNK
    assert len(sizes) > 8
