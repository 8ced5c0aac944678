"""Accelerators of the papers' size on speech, word for word; the cases are the benchmark's."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from layers import expected

from hdl.compiler import compile_model, configure
from hdl.schedule import Schedule
from hdl.simulate import Simulator

UTTERANCES, FRAMES = 16, 64


def load_benchmark():
    """The file benchmarks/accelerator.py as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "accelerator.py"
    spec = importlib.util.spec_from_file_location("accelerator_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()


@pytest.fixture(scope="module")
def speech():
    """Utterances of real speech, (FRAMES, 153) each."""
    if "ERNN_DATA" not in os.environ:
        pytest.skip("ERNN_DATA is not set: real speech is needed")
    options = benchmark.Options(frames=FRAMES, streams=UTTERANCES)
    source, vectors = benchmark.features(options)
    assert source == "speechocean762"
    return vectors


@pytest.mark.full
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", benchmark.CASES)
def test_equals_integer_model(name, speech):
    case = benchmark.CASES[name]
    model = benchmark.integer_model(case, speech, seed=0)
    cfg = configure(model, case.n_pe, slices=case.slices, fold=case.fold)
    program = compile_model(model, cfg)
    simulator = Simulator(cfg)
    utterances = [model.quantize(x) for x in speech]
    stalled = simulator.run(program, utterances, idle=0.3, stall=0.3)
    assert len(stalled.finished) >= 1000
    for got, want in zip(stalled.outputs, expected(model, utterances), strict=True):
        np.testing.assert_array_equal(got, want)

    run = simulator.run(program, utterances[:1])
    (cycles,) = set(np.diff(run.finished[4:]).tolist())
    assert cycles == Schedule(program).period
    if case.cycles is not None:
        assert cycles <= case.cycles
    if case.utilization is not None:
        assert program.limit / cycles >= case.utilization
