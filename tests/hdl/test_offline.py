"""Bidirectional models, a program a direction, against the integer model."""

import numpy as np
import pytest
import torch

from ernn.nn import GRU, LSTM, CirculantLinear
from ernn.quantize import OfflineModel, WordLengths, calibrate, convert_offline
from hdl import offline
from hdl.simulate import Simulator

INPUT, HIDDEN, PROJECTED, CLASSES, BATCH, FRAMES = 10, 9, 6, 5, 3, 12
WORDS = WordLengths(8, 10, 12, 12)


def quantized(recurrent, linear):
    """An integer model, and utterances of one length for it."""
    x = torch.randn(FRAMES, BATCH, INPUT)
    model = convert_offline(recurrent, linear, calibrate(recurrent, x.unbind(1)), WORDS)
    return model, model.quantize(x.numpy())


def test_both_directions_equal_the_integer_model():
    torch.manual_seed(0)
    options = {"block_size": 4, "activation": "pwl", "bidirectional": True}
    lstm = LSTM(INPUT, HIDDEN, 2, proj_size=PROJECTED, peephole=True, **options)
    model, frames = quantized(lstm, CirculantLinear(2 * PROJECTED, CLASSES, 4))
    simulator = Simulator(offline.configure(model, 8, fold=2))
    np.testing.assert_array_equal(offline.run(model, simulator, frames), model.run(frames))


def test_the_dense_layer_is_left_to_the_host():
    torch.manual_seed(1)
    gru = GRU(INPUT, HIDDEN, block_size=4, activation="pwl", bidirectional=True)
    model, frames = quantized(gru, torch.nn.Linear(2 * HIDDEN, CLASSES))
    simulator = Simulator(offline.configure(model, 4))
    np.testing.assert_array_equal(offline.run(model, simulator, frames), model.run(frames))


def test_stages_of_different_block_sizes_are_refused():
    torch.manual_seed(2)
    gru = GRU(INPUT, HIDDEN, block_size=4, activation="pwl", bidirectional=True)
    model, _ = quantized(gru, CirculantLinear(2 * HIDDEN, CLASSES, 8))
    assert isinstance(model, OfflineModel)
    with pytest.raises(ValueError, match=r"block sizes 4 and 8: a core has one"):
        offline.configure(model, 4)


def test_a_model_of_dense_layers_needs_no_core():
    torch.manual_seed(3)
    gru = GRU(INPUT, HIDDEN, block_size=4, activation="pwl", bidirectional=True)
    model, _ = quantized(gru, torch.nn.Linear(2 * HIDDEN, CLASSES))
    with pytest.raises(ValueError, match="but dense layers, which are the host's"):
        offline.configure(OfflineModel(model.stages[-1:]), 4)
