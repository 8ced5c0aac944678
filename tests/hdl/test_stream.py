"""The stream contract and the FIFO, against a queue in Python, cycle by cycle."""

import random
from collections import deque

import pytest

from hdl.arith import bit
from hdl.module import convert
from hdl.stream import Stream, fifo
from hdl.tools import lint, run_myhdl, run_vectors


class Queue:
    """The FIFO's twin: what its ports show in a cycle, and what a clock edge does."""

    def __init__(self, depth):
        self.depth, self.waiting, self.output = depth, deque(), None

    def ports(self):
        return len(self.waiting) < self.depth, self.output is not None, self.output

    def clock(self, i_valid, i_data, o_ready):
        i_ready, o_valid, _ = self.ports()
        if o_ready or not o_valid:
            self.output = self.waiting.popleft() if self.waiting else None
        if i_valid and i_ready:
            self.waiting.append(i_data)


def drive(depth, width, idle, stall, cycles=600, reset=300):
    """Random inputs that keep the contract, a reset in the middle, and what the twin answers."""
    rng = random.Random(0)
    queue, offer = Queue(depth), None
    inputs = {name: [] for name in ("rst", "i_valid", "i_data", "o_ready")}
    answers, sent, received = [], [], []
    for cycle in range(cycles):
        rst = cycle in (0, reset)
        if offer is None and not rst and rng.random() >= idle:
            offer = rng.getrandbits(width)
        o_ready = rng.random() >= stall
        vector = rst, offer is not None, offer or 0, o_ready
        for name, value in zip(inputs, vector, strict=True):
            inputs[name].append(int(value))
        answers.append(queue.ports())
        i_ready, o_valid, o_data = answers[-1]
        if rst:
            queue, offer, sent, received = Queue(depth), None, [], []
            continue
        if o_valid and o_ready:
            received.append(o_data)
        queue.clock(offer is not None, offer, o_ready)
        if offer is not None and i_ready:
            sent.append(offer)
            offer = None
    assert received == sent[: len(received)]
    assert len(received) > 20
    return inputs, answers


@pytest.mark.parametrize(("depth", "width"), [(2, 1), (32, 70)])
def test_fifo_equals_queue(depth, width, tmp_path):
    def arguments():
        return {"clk": bit(), "rst": bit(), "i": Stream(width), "o": Stream(width), "depth": depth}

    outputs = ["i_ready", "o_valid", "o_data"]
    files = convert(fifo, arguments(), tmp_path)
    lint(files, "fifo")
    for idle, stall in [(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5), (0.1, 0.9), (0.9, 0.1)]:
        inputs, answers = drive(depth, width, idle, stall)
        for got in (
            run_myhdl(fifo, arguments(), inputs, outputs),
            run_vectors(files, "fifo", inputs, outputs),
        ):
            seen = [
                (bool(ready), bool(valid), data if valid else None)
                for ready, valid, data in zip(*(got[name] for name in outputs), strict=True)
            ]
            assert seen[1:] == answers[1:]


def test_fifo_takes_and_gives_a_word_a_cycle():
    inputs, answers = drive(4, 8, 0, 0)
    first = next(t for t, (_, valid, _) in enumerate(answers) if valid)
    assert first == inputs["i_valid"].index(1) + 2
    assert all(ready and valid for ready, valid, _ in answers[first:300])


@pytest.mark.parametrize("depth", [0, 1, 3, 12])
def test_fifo_depth(depth):
    with pytest.raises(ValueError, match=f"fifo of {depth} words"):
        fifo(bit(), bit(), Stream(1), Stream(1), depth)
