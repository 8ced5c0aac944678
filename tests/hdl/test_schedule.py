"""The accelerator under Verilator: results and cycles on cores of several shapes.

A core runs many networks, so that one build tests them all.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from layers import (
    cut,
    expected,
    extreme_models,
    formats,
    random_frames,
    random_layer,
    random_linear,
    random_network,
)
from networks import GATE, INPUT, SYSTEM, network

from ernn.fixed import FixedPoint
from hdl.compiler import compile_model, configure
from hdl.config import covering
from hdl.schedule import Schedule
from hdl.simulate import Simulator

NETWORKS = (
    SYSTEM
    | {
        "gru after": network(
            random_layer("gru", 4, 9, 13, formats(), amplitude=0.5),
            random_layer("gru", 4, 13, 10, formats(source=GATE), amplitude=0.5),
        ),
        "gru many inputs": network(random_layer("gru", 4, 120, 5, formats())),
        "linear": network(
            random_linear(4, 30, 7, INPUT, GATE, activation="relu"),
            random_linear(4, 7, 9, GATE, FixedPoint(10, 6)),
        ),
        "linear many inputs": network(random_linear(4, 250, 4, INPUT, GATE)),
        "linear many outputs": network(random_linear(4, 4, 400, INPUT, GATE)),
        "lstm many passes": network(random_layer("lstm", 4, 3, 40, formats(), amplitude=0.1)),
        "lstm one block": network(random_layer("lstm", 4, 4, 4, formats(peephole=True))),
    }
    | {f"random {seed}": random_network(seed, 4, layers=1 + seed % 3) for seed in range(9)}
)
SHAPES = {
    "one slice": {"n_pe": 8, "fold": 2, "streams": 2},
    "two slices": {"n_pe": 16, "slices": 2, "fold": 2},
    "folded": {"n_pe": 16, "fold": 4},
    "relaxed": {"n_pe": 16, "slices": 2, "fold": 2},
}
ONE_SLICE = [(name, streams) for name in NETWORKS for streams in (1, 2)]
CASES = [("one slice", *case) for case in ONE_SLICE]
CASES += [(core, name, 1) for core in SHAPES if core != "one slice" for name in NETWORKS]


@cache
def simulator(core):
    cfg = covering([configure(model, **SHAPES[core]) for model in NETWORKS.values()])
    return Simulator(replace(cfg, relaxed=core == "relaxed"))


def run(simulator, model, streams, lengths, **traffic):
    """A run whose results are right, and its program."""
    program = compile_model(model, simulator.cfg, streams)
    utterances = random_frames(model, np.repeat(lengths, streams))
    result = simulator.run(program, utterances, patience=5000, **traffic)
    for got, want in zip(result.outputs, expected(model, utterances), strict=True):
        np.testing.assert_array_equal(got, want)
    return result, program


@pytest.mark.parametrize("name", ["projected", "classifier", "stack", "random 2", "random 7"])
@pytest.mark.parametrize("core", SHAPES)
def test_pauses_and_extreme_contents(core, name):
    streams = 2 if core == "one slice" else 1
    lengths = [12, 1, 1, 7]
    for seed, (idle, stall) in enumerate([(0.95, 0.0), (0.0, 0.98), (0.5, 0.6)]):
        run(simulator(core), NETWORKS[name], streams, lengths, idle=idle, stall=stall, seed=seed)
    for model in extreme_models(NETWORKS[name]):
        run(simulator(core), model, streams, lengths)


@pytest.mark.parametrize("segments", [8, 16])
def test_fewer_segments(segments):
    models = [cut(SYSTEM[name], segments) for name in ("projected", "classifier", "stack")]
    of_segments = Simulator(covering([configure(model, 8) for model in models]))
    for model in models:
        for contents in (model, *extreme_models(model)):
            run(of_segments, contents, 1, [12, 1, 1, 7])


def test_short_stalls_cost_nothing():
    """The output queue takes them up; no credit gets lost."""
    result, program = run(simulator("one slice"), NETWORKS["classifier"], 1, [400], stall=0.8)
    assert result.cycles_per_frame < Schedule(program).period + 1


@pytest.mark.parametrize(("core", "name", "streams"), CASES)
def test_cycles_are_those_of_the_schedule(core, name, streams):
    result, program = run(simulator(core), NETWORKS[name], streams, [20])
    schedule = Schedule(program, 20)
    periods = set(np.diff(result.finished[streams - 1 :: streams])[8:])
    assert periods == set(np.diff([frame.output for frame in schedule.frames])[8:])
    assert schedule.period in periods
    # relaxed, a cell block now and then delays an input: two distances in turn
    assert len(periods) <= 1 + (core == "relaxed")
