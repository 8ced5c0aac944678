"""Products of a layer, entry by entry: what drives a PE, and what it shows in every cycle."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from checking import Case
from myhdl import always_comb, block

from hdl.arith import bit, bits, word
from hdl.sparse import Write
from hdl.stream import Stream


@dataclass(frozen=True)
class Run:
    """Products of a layer.

    Attributes:
        words: for each memory but that of the activations what it holds.
        steady: ports that stay, ``last_entry`` not among them.
        last: for each entry whether it ends a row.
        frames, results: (n, columns) and (n, rows).
    """

    words: dict
    steady: dict
    last: list
    frames: np.ndarray
    results: np.ndarray


def frames_of(length, columns, count=2, seed=0):
    """All lowest, all highest, both by turns, and random ones: (3 + count, columns)."""
    half, rng = 1 << (length - 1), np.random.default_rng(seed)
    turn = np.where(np.arange(columns) % 2, -half, half - 1)
    fixed = [np.full(columns, -half), np.full(columns, half - 1), turn]
    return np.concatenate([fixed, rng.integers(-half, half, (count, columns))])


def shown(ends, steps, latency, stall, seed):
    """The twin of a pipeline that stops where a result cannot leave.

    Args:
        ends: for each row how many entries are read when it is complete.
        steps: cycles of an entry.
        latency: cycles from start to a result beside those of the entries.
        stall: how probable it is that no result is taken.
        seed: of the stalls.

    Yields:
        For each cycle after start: o_ready, and the number of the result that is there or None.
    """
    rng = np.random.default_rng(seed)
    complete = deque(steps * int(end) + latency - 2 for end in ends)
    moves, given, result = 0, 0, None
    while complete or result is not None:
        ready = int(rng.random() >= stall)
        yield ready, result
        done = bool(complete) and moves == complete[0]
        free = ready or result is None
        moves += free or not done
        if free:
            result = given if done else None
            if done:
                given += 1
                complete.popleft()


def product_case(function, cfg, memories, runs, steps, latency, stall=0.0):
    """All runs, one after another, by one PE with an answer for every cycle, after a false start.

    Args:
        function: the PE with flat ports.
        cfg: its configuration.
        memories: a Write for each; "x" is that of the activations.
        runs: of layers that it holds.
        steps, latency, stall: as :func:`shown` takes them.
    """
    o = Stream(cfg.output)
    ports = {"rst": bit(), "start": bit(), "last_entry": bits(len(memories["w"].address))}
    ports |= {name: word(getattr(cfg, name)) for name in runs[0].steady}
    for name, write in memories.items():
        ports |= {f"{name}_{field}": signal for field, signal in vars(write).items()}
    ports |= {"o_ready": o.ready, "o_valid": bits(1), "o_data": o.data}
    idle = dict.fromkeys(ports, 0)
    cycles = [idle | {"rst": 1, "o_valid": None, "o_data": None}]

    def write(**words):
        for t in range(max(map(len, words.values()))):
            cycles.append(idle | steady)
            for name, content in words.items():
                if t < len(content):
                    given = {"enable": 1, "address": t, "data": int(content[t])}
                    cycles[-1] |= {f"{name}_{field}": v for field, v in given.items()}

    for run in runs:
        steady = run.steady | {"last_entry": len(run.last) - 1}
        write(**run.words)
        if run is runs[0]:  # a product is broken off by a reset
            write(x=run.frames[-1])
            unknown = {"o_valid": None, "o_data": None}
            cycles.append(idle | steady | {"start": 1})
            cycles += [idle | steady | unknown] * (steps + latency + 3)
            cycles.append(idle | steady | {"rst": 1} | unknown)
        ends = np.flatnonzero(run.last) + 1
        for n, frame in enumerate(run.frames):
            write(x=frame)
            cycles.append(idle | steady | {"start": 1})
            for ready, result in shown(ends, steps, latency, stall, n):
                answer = 0 if result is None else int(run.results[n, result])
                there = {"o_valid": int(result is not None), "o_data": answer}
                cycles.append(idle | steady | {"o_ready": ready} | there)
    cycles.append(idle | steady)
    outputs = "o_valid", "o_data"
    return Case(
        function,
        ports,
        {"cfg": cfg},
        {n: [cycle[n] for cycle in cycles] for n in ports if n not in outputs},
        {n: [cycle[n] for cycle in cycles] for n in outputs},
        0,
    )


def written(ports, name):
    """The write side of a memory of signals ``name_enable`` and so on."""
    made = Write(2, 1)
    for field in vars(made):
        setattr(made, field, ports[f"{name}_{field}"])
    return made


@block
def show(o, o_ready, o_valid, o_data):
    """The ports of a stream in a bank, which joins vectors; no data where there is none."""
    valid, ready, data = o.valid, o.ready, o.data

    @always_comb
    def copy():
        ready.next = o_ready
        if valid:
            o_valid.next = 1
            o_data.next = data
        else:
            o_valid.next = 0
            o_data.next = 0

    return copy
