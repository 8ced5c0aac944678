"""A hundred thousand frames."""

import numpy as np
import pytest
from layers import formats, random_layer, random_linear
from networks import GATE, network

from ernn.fixed import FixedPoint
from hdl.compiler import compile_model, configure
from hdl.simulate import Simulator

FRAMES, CHUNK = 100_000, 5_000
NETWORK = network(
    random_layer("lstm", 4, 6, 7, formats(peephole=True), amplitude=0.5),
    random_layer("gru", 4, 7, 5, formats(source=GATE), reset_after=False, amplitude=0.5),
    random_linear(4, 5, 3, GATE, FixedPoint(10, 5)),
)


def batched(model, utterances):
    """What the model gives, each utterance on its own: all padded to the longest, as one batch."""
    longest = max(map(len, utterances))
    padded = [np.pad(frames, ((0, longest - len(frames)), (0, 0))) for frames in utterances]
    results = model.run(np.stack(padded, axis=1)).swapaxes(0, 1)
    return [of[: len(frames)] for of, frames in zip(results, utterances, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("streams", [1, 2])
def test_soak(streams):
    """Utterances of 1 to 99 frames, from reset to reset a chunk, under all kinds of stalls."""
    cfg = configure(NETWORK, 8, fold=2, streams=2)
    program, simulator = compile_model(NETWORK, cfg, streams), Simulator(cfg)
    rng, left, seed = np.random.default_rng(streams), FRAMES, 0
    while left > 0:
        rounds, count = [], 0
        while count < CHUNK:
            length = int(rng.integers(1, 100))
            rounds += [rng.integers(-128, 128, (length, 6)) for _ in range(streams)]
            count += streams * length
        idle, stall = ((0.0, 0.0), (0.95, 0.0), (0.0, 0.97), (0.6, 0.9), (0.9, 0.6))[seed % 5]
        run = simulator.run(program, rounds, idle=idle, stall=stall, seed=seed)
        for got, want in zip(run.outputs, batched(NETWORK, rounds), strict=True):
            np.testing.assert_array_equal(got, want)
        left, seed = left - count, seed + 1
