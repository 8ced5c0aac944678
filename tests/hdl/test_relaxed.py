"""Relaxed cores: whole networks, bit for bit, in the cycles of their schedule."""

from dataclasses import replace

import numpy as np
import pytest
from layers import expected, formats, random_frames, random_layer, random_linear, random_network

from ernn.fixed import FixedPoint
from ernn.quantize.integer import IntegerModel
from hdl.accelerator import image
from hdl.compiler import compile_model, configure
from hdl.schedule import Schedule
from hdl.simulate import Simulator


def small():
    """An LSTM with peepholes and a fully connected layer, k = 4."""
    fmt = formats(peephole=True)
    lstm = random_layer("lstm", 4, 10, 14, fmt)
    return IntegerModel((lstm, random_linear(4, 14, 9, fmt.output, FixedPoint(10, 6))))


CASES = {
    "k-4": (small, 8, {}),
    "k-8-wide": (lambda: random_network(0, 8), 16, {"slices": 2, "fold": 2, "streams": 2}),
    "k-8-ahead": (lambda: random_network(1, 8), 8, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_network(name):
    make, n_pe, options = CASES[name]
    model, streams = make(), options.get("streams", 1)
    cfg = replace(configure(model, n_pe, **options), relaxed=True)
    program = compile_model(model, cfg, streams)
    utterances = random_frames(model, [n for n in (7, 1, 30) for _ in range(streams)])
    wanted = expected(model, utterances)
    simulator = Simulator(cfg)
    for chances in ({}, {"idle": 0.9}, {"idle": 0.5, "stall": 0.5}, {"stall": 0.9}):
        run = simulator.run(program, utterances, **chances)
        for got, want in zip(run.outputs, wanted, strict=True):
            np.testing.assert_array_equal(got, want)
        if not chances:
            period = run.finished[4 * streams :] - run.finished[3 * streams : -streams]
            assert set(period) == {Schedule(program).period}


def test_a_program_runs_on_both():
    model = small()
    cfg = configure(model, 8)
    images = [image(compile_model(model, replace(cfg, relaxed=r))) for r in (False, True)]
    np.testing.assert_array_equal(*images)
