"""The stream contract, the FIFO and the register slice against twins, cycle by cycle."""

import random
from collections import deque

import pytest
from streams import drive, shift

from hdl.arith import bit
from hdl.module import convert
from hdl.stream import Stream, fifo, register_slice
from hdl.tools import lint, run_myhdl, run_vectors

STALLS = [(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5), (0.1, 0.9), (0.9, 0.1)]
OUTPUTS = ["i_ready", "o_valid", "o_data"]


class Queue:
    """The FIFO's twin: what its ports show in a cycle, and what a clock edge does."""

    def __init__(self, depth, registers=1):
        self.depth, self.waiting, self.out = depth, deque(), [None] * registers

    def empty(self):
        return Queue(self.depth, len(self.out))

    def ports(self, o_ready):
        return len(self.waiting) < self.depth, self.out[0] is not None, self.out[0]

    def clock(self, word, o_ready):
        i_ready = len(self.waiting) < self.depth
        shift(self.out, self.waiting, o_ready)
        if word is not None and i_ready:
            self.waiting.append(word)


class Slice:
    """The register slice's twin."""

    def __init__(self):
        self.words = deque()

    def empty(self):
        return Slice()

    def ports(self, o_ready):
        return len(self.words) < 2, bool(self.words), self.words[0] if self.words else None

    def clock(self, word, o_ready):
        i_ready = len(self.words) < 2
        if o_ready and self.words:
            self.words.popleft()
        if word is not None and i_ready:
            self.words.append(word)


def arguments(width, **parameters):
    return {"clk": bit(), "rst": bit(), "i": Stream(width), "o": Stream(width), **parameters}


def random_words(width, count=300):
    rng = random.Random(1)
    return [rng.getrandbits(width) for _ in range(count)]


@pytest.mark.parametrize(
    ("function", "width", "parameters", "twin"),
    [
        (fifo, 1, {"depth": 2}, Queue(2)),
        (fifo, 70, {"depth": 32}, Queue(32)),
        (fifo, 70, {"depth": 32, "relaxed": True}, Queue(32, 2)),
        (register_slice, 1, {}, Slice()),
        (register_slice, 70, {}, Slice()),
    ],
    ids=["fifo-2", "fifo-32", "relaxed", "register_slice-1", "register_slice-70"],
)
def test_equals_twin(function, width, parameters, twin, tmp_path):
    files = convert(function, arguments(width, **parameters), tmp_path)
    lint(files, function.__name__)
    words = random_words(width)
    for idle, stall in STALLS:
        vectors, answers, received = drive(twin.empty(), words, idle, stall, reset=150)
        assert received == words[-len(received) :]
        assert len(received) > 100
        inputs = {
            "rst": [rst for rst, _, _ in vectors],
            "i_valid": [word is not None for _, word, _ in vectors],
            "i_data": [word or 0 for _, word, _ in vectors],
            "o_ready": [ready for *_, ready in vectors],
        }
        for got in (
            run_myhdl(function, arguments(width, **parameters), inputs, OUTPUTS),
            run_vectors(files, function.__name__, inputs, OUTPUTS),
        ):
            seen = [
                (bool(ready), bool(valid), data if valid else None)
                for ready, valid, data in zip(*(got[name] for name in OUTPUTS), strict=True)
            ]
            assert seen[1:] == answers


@pytest.mark.parametrize(("twin", "latency"), [(Queue(4), 2), (Queue(4, 2), 3), (Slice(), 1)])
def test_takes_and_gives_a_word_a_cycle(twin, latency):
    _, answers, _ = drive(twin, random_words(8), 0, 0)
    valid = [o_valid for _, o_valid, _ in answers]
    assert valid[: 300 + latency] == [False] * latency + [True] * 300
    assert all(ready for ready, *_ in answers)


@pytest.mark.parametrize("depth", [0, 1, 3, 12])
def test_fifo_depth(depth):
    with pytest.raises(ValueError, match=f"fifo of {depth} words"):
        fifo(bit(), bit(), Stream(1), Stream(1), depth)
