import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ernn.asr import AcousticModel, ModelConfig

SHAPES = [
    {},
    {"bidirectional": True},
    {"proj_size": 8},
    {"peephole": True, "activation": "pwl"},
    {"cell": "gru"},
    {"cell": "gru", "reset_after": False, "bidirectional": True},
    {"block_size": 4},
    {"block_size": {"input": 8, "recurrent": 4, "projection": 2}, "proj_size": 8},
]


def make(**shape):
    torch.manual_seed(0)
    return AcousticModel(ModelConfig(input_size=12, num_phones=5, hidden_size=16, **shape))


def posteriors(model, features, lengths):
    with torch.no_grad():
        return model.eval()(features, lengths)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_posteriors_do_not_depend_on_padding(shape):
    model = make(**shape)
    torch.manual_seed(1)
    features, lengths = torch.randn(9, 3, 12), torch.tensor([4, 9, 4])
    together = posteriors(model, features, lengths)
    assert together.shape == (9, 3, 6)
    for b, length in enumerate(lengths.tolist()):
        alone = posteriors(model, features[:length, b : b + 1], lengths[b : b + 1])
        assert torch.allclose(alone.exp().sum(dim=-1), torch.ones(length, 1))
        assert torch.allclose(together[:length, b], alone[:, 0], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_do_not_depend_on_padding(shape):
    model = make(**shape, dropout=0.0).train()
    torch.manual_seed(1)
    features, lengths = torch.randn(9, 2, 12), torch.tensor([4, 9])

    def gradients(*parts):
        model.zero_grad()
        for part, length in parts:
            hidden = model(part, length)
            for b, frames in enumerate(length.tolist()):
                hidden[:frames, b, 1].sum().backward(retain_graph=True)
        return [p.grad.clone() for p in model.parameters()]

    alone = gradients((features[:4, :1], lengths[:1]), (features[:, 1:], lengths[1:]))
    for together, apart in zip(gradients((features, lengths)), alone, strict=True):
        assert torch.allclose(together, apart, atol=1e-5)


def test_posteriors_are_float32_under_autocast_and_near_those_without():
    model = make(bidirectional=True)
    torch.manual_seed(1)
    features, lengths = torch.randn(9, 3, 12), torch.tensor([4, 9, 4])
    exact = posteriors(model, features, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.encode(features, lengths)
        rounded = model.classify(hidden)
    assert hidden.dtype == torch.bfloat16
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded.exp().sum(dim=-1), torch.ones(9, 3))  # summed in float32
    within = torch.arange(9)[:, None] < lengths
    assert 0 < (rounded - exact)[within].abs().max() < 0.02


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_saved_is_what_is_loaded(shape, tmp_path):
    model = make(**shape)
    model.save(tmp_path / "model.safetensors")
    loaded = AcousticModel.load(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    features, lengths = torch.randn(5, 2, 12), torch.tensor([5, 3])
    assert torch.equal(posteriors(loaded, features, lengths), posteriors(model, features, lengths))


@pytest.mark.parametrize("shape", SHAPES[:6], ids=str)
def test_compressing_projects_the_recurrent_layers_and_keeps_the_rest(shape):
    model = make(**shape)
    small = model.compress(4)
    assert small.config == ModelConfig(
        input_size=12, num_phones=5, hidden_size=16, block_size=4, **shape
    )
    assert torch.equal(small.output.weight, model.output.weight)
    assert small.recurrent_parameters < 0.45 * model.recurrent_parameters
    assert small.parameter_count - small.recurrent_parameters == (
        model.parameter_count - model.recurrent_parameters
    )
    again = small.compress(4)  # a projection is idempotent
    for old, new in zip(small.parameters(), again.parameters(), strict=True):
        assert torch.allclose(old, new, atol=1e-6)
    features, lengths = torch.randn(5, 2, 12), torch.tensor([5, 3])
    assert not torch.equal(
        posteriors(small, features, lengths), posteriors(model, features, lengths)
    )


def test_another_dropout_leaves_the_weights():
    model = make(bidirectional=True).double()
    changed = model.with_dropout(0.4)
    assert changed.config == replace(model.config, dropout=0.4)
    assert changed.recurrent.dropout == changed.dropout.p == 0.4
    for old, new in zip(model.parameters(), changed.parameters(), strict=True):
        assert old.dtype == new.dtype
        assert torch.equal(old, new)
        assert old is not new


def test_parameters_of_the_demos_models_are_counted():
    dense = AcousticModel(ModelConfig(input_size=160))
    weights, biases = 4 * 256 * (160 + 3 * 256), 2 * 2 * 4 * 256
    assert dense.recurrent_parameters == weights + biases
    assert dense.compress(8).recurrent_parameters == weights // 8 + biases
    assert dense.parameter_count == weights + biases + 40 * 257


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"cell": "rnn"}, "cell is 'rnn': it must be 'lstm' or 'gru'"),
        ({"cell": "gru", "peephole": True}, "belong to the LSTM"),
        ({"cell": "gru", "proj_size": 8}, "belong to the LSTM"),
        ({"dropout": 1.5}, "dropout is 1.5; it must be from 0 to 1"),
    ],
)
def test_a_shape_that_is_none_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(input_size=12, **shape)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError):
        AcousticModel.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a saved acoustic model"):
        AcousticModel.load(path)
    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a saved acoustic model"):
        AcousticModel.load(path)
    save_file({"x": np.zeros(2)}, path, {"config": json.dumps({"input_size": 3})})
    with pytest.raises(ValueError, match="not a saved acoustic model"):
        AcousticModel.load(path)
