import numpy as np
import pytest
import torch

from ernn.asr.integer import IntegerAcousticModel, log_posteriors
from ernn.nn import LSTM
from ernn.quantize import OfflineModel, calibrate, convert, convert_offline

INPUT, HIDDEN, CLASSES = 10, 9, 5
LENGTHS = [7, 3, 5]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_posteriors_do_not_depend_on_the_padding(bidirectional: bool) -> None:
    torch.manual_seed(0)
    lstm = LSTM(INPUT, HIDDEN, 2, block_size=4, activation="pwl", bidirectional=bidirectional)
    linear = torch.nn.Linear(HIDDEN * (1 + bidirectional), CLASSES)
    ranges = calibrate(lstm, torch.randn(2, 20, INPUT))
    utterances = [torch.randn(length, INPUT) for length in LENGTHS]
    model = (convert_offline if bidirectional else convert)(lstm, linear, ranges)
    batch = torch.nn.utils.rnn.pad_sequence([*utterances, utterances[1]])  # (T, B, D)
    lengths = torch.tensor([*LENGTHS, LENGTHS[1]])
    scores = IntegerAcousticModel(model)(batch, lengths)
    assert scores.shape == (7, 4, CLASSES)
    last = model.stages[-1][0] if isinstance(model, OfflineModel) else model
    for b, x in enumerate([*utterances, utterances[1]]):
        alone = model.run(model.quantize(x.numpy())[:, None])[:, 0]
        np.testing.assert_array_equal(scores[: len(x), b], log_posteriors(last, alone))
        assert (scores[: len(x), b].argmax(-1).numpy() == alone.argmax(-1)).all()
