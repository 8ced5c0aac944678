"""Quantization-aware training: its arithmetic against the integer model, its gradient."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from ernn import fixed
from ernn.activations import sigmoid_and_tanh
from ernn.asr import AcousticModel, Dataset, ModelConfig, TrainConfig, train
from ernn.fixed import FixedPoint
from ernn.quantize import WordLengths, calibrate, choose_formats, convert, to_integers
from ernn.quantize.aware import convert_prepared, prepare
from ernn.quantize.fake import Accumulator, FakeQuantize, Lookup, Transform, from_words, to_words
from ernn.quantize.integer import OfflineModel, output_format

INPUT, HIDDEN, PHONES = 11, 14, 6
FORMS = {
    "lstm": {},
    "lstm-projection-peephole": {"peephole": True, "proj_size": 9},
    "gru": {"cell": "gru"},
    "gru-reset-before": {"cell": "gru", "reset_after": False},
}
LONG, SHORT, FINE = WordLengths(), WordLengths(6, 7, 9, 8), WordLengths(20, 20, 20, 20)
COARSE = WordLengths(segments=8)


def recogniser(form: str, block_size: int, both: bool = False, **options) -> AcousticModel:
    """A random acoustic model with weights large enough that gates open and close."""
    torch.manual_seed(0)
    config = ModelConfig(
        INPUT,
        num_phones=PHONES,
        hidden_size=HIDDEN,
        block_size=block_size,
        bidirectional=both,
        activation="pwl",
        dropout=0.0,
        **FORMS[form],
        **options,
    )
    model = AcousticModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def frames(scale: float = 1.0) -> torch.Tensor:
    torch.manual_seed(1)
    return scale * torch.randn(12, 3, INPUT)  # (time, batch, input)


def prepared(model: AcousticModel, words: WordLengths) -> AcousticModel:
    return prepare(model, calibrate(model.recurrent, frames().unbind(1)), words)


def codes_of_integer_model(aware: AcousticModel, x: torch.Tensor) -> tuple[np.ndarray, FixedPoint]:
    """What the integer model of a prepared model gives, and the format of it."""
    model = convert_prepared(aware)
    last = model.stages[-1][0] if isinstance(model, OfflineModel) else model
    return model.run(model.quantize(x.numpy())), output_format(last.layers[-1])


def scores(model: AcousticModel, x: torch.Tensor) -> torch.Tensor:
    """What goes into the softmax."""
    return model.output(model.recurrent(x)[0])


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16, 32])
def test_transforms_and_sums_are_those_of_the_integer_model(k: int) -> None:
    rng = np.random.default_rng(k)
    x, W = rng.integers(-(2**15), 2**15, (6, 5, k)), rng.integers(-(2**11), 2**11, (3, 5, k))
    words = to_words(torch.tensor(x.reshape(6, -1), dtype=torch.float64), k)  # (k, 6, 5)
    transform = Transform(k).double()
    sums = Accumulator(torch.tensor(W, dtype=torch.float64))(words)
    for ours, theirs in (
        (transform.rfft(words), fixed.rfft(x)),
        (transform.irfft(words), fixed.irfft(x)),
        (sums, fixed.accumulate(x, W)),
    ):
        assert np.array_equal(from_words(ours, 10**6).numpy(), theirs.reshape(6, -1))


@pytest.mark.parametrize("segments", [8, 32])
@pytest.mark.parametrize("source", [FixedPoint(10, 5), FixedPoint(9, 6), FixedPoint(12, 4)])
def test_units_are_those_of_the_integer_model(source: FixedPoint, segments: int) -> None:
    output, units = FixedPoint(8, 6), sigmoid_and_tanh(segments)
    lookup = Lookup(units, source, output).double()
    codes = torch.arange(source.lowest, source.highest + 1.0, dtype=torch.float64)
    x = (codes * 2.0**-source.fraction_length).requires_grad_()
    for n, unit in enumerate(units):
        places = lookup.places_(codes.clone(), lookup.start(n)).long()
        table = fixed.activation_table(unit, source, output)
        expected = output.to_float(fixed.activation(codes.long().numpy(), table))
        assert np.array_equal(lookup.values.take(places).numpy(), expected)
        (slopes,) = torch.autograd.grad(unit(x + 1e-9).sum(), x)  # a knot belongs to its right
        inner = (x.abs() < unit.limit) & (codes.abs() < source.highest) & (x >= 0)
        torch.testing.assert_close(lookup.slopes.take(places)[inner], slopes[inner])
        assert not lookup.slopes.take(places)[[0, -1]].any()


@pytest.mark.parametrize("both", [False, True], ids=["one-direction", "both"])
@pytest.mark.parametrize("words", [LONG, SHORT, COARSE], ids=["long", "short", "coarse"])
@pytest.mark.parametrize("block_size", [1, 4, 8, 16])
@pytest.mark.parametrize("form", FORMS)
def test_forward_is_the_integer_model(
    form: str, block_size: int, words: WordLengths, both: bool
) -> None:
    aware = prepared(recogniser(form, block_size, both), words)
    x = frames()
    expected, fmt = codes_of_integer_model(aware, x)
    with torch.no_grad():
        single = scores(aware, x).numpy() * 2.0**fmt.fraction_length
        exact = scores(aware.double(), x.double()).numpy() * 2.0**fmt.fraction_length
    assert np.array_equal(exact, expected)
    assert np.abs(single - expected).max() <= 3  # steps of the output


@pytest.mark.parametrize("form", FORMS)
def test_forward_is_the_integer_model_where_everything_saturates(form: str) -> None:
    aware = prepared(recogniser(form, 8), WordLengths(8, 8, 8, 8))
    with torch.no_grad():
        for parameter in aware.parameters():
            parameter.mul_(3)
        aware.output.bias[0] = 1000.0
    x = frames(scale=10.0)
    expected, fmt = codes_of_integer_model(aware, x)
    with torch.no_grad():
        exact = scores(aware.double(), x.double()).numpy() * 2.0**fmt.fraction_length
    assert np.array_equal(exact, expected)
    assert expected.max() == fmt.highest


def test_no_bias_is_a_bias_of_zero() -> None:
    model = recogniser("gru", 4)
    options = model.recurrent.options(model.recurrent) | {"bias": False, "block_size": 4}
    model.recurrent = type(model.recurrent)(**options)
    aware = prepared(model, SHORT)
    expected, fmt = codes_of_integer_model(aware, frames())
    with torch.no_grad():
        y = scores(aware.double(), frames().double()).numpy()
    assert np.array_equal(y * 2.0**fmt.fraction_length, expected)


@pytest.mark.parametrize("both", [False, True], ids=["one-direction", "both"])
@pytest.mark.parametrize("block_size", [1, 8])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_of_fine_words_is_that_of_the_float_model(
    form: str, block_size: int, both: bool
) -> None:
    model = recogniser(form, block_size, both)
    aware = prepared(model, FINE).double()
    weights = torch.randn(12, 3, PHONES + 1, dtype=torch.float64)
    gradients = []
    for m in (model.double(), aware):
        x = frames().double().requires_grad_()
        (m(x) * weights).sum().backward()
        gradients.append([x.grad, *(p.grad for p in m.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert ours is not None
        assert (ours - theirs).norm() < 0.05 * theirs.norm()  # a value may cross a knot


def test_gradient_stops_where_values_saturate() -> None:
    quantize = FakeQuantize(FixedPoint(4, 1))  # -4 to 3.5
    x = torch.tensor([-9.0, -3.9, -0.2, 0.25, 3.2, 3.6], requires_grad=True)
    y = quantize(x)
    y.sum().backward()
    assert y.tolist() == [-4.0, -4.0, 0.0, 0.5, 3.0, 3.5]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]


def test_weights_and_units_that_saturate_get_no_gradient() -> None:
    aware = prepared(recogniser("lstm", 1, num_layers=1), SHORT)
    weight = aware.recurrent.weight_ih_l0
    with torch.no_grad():
        weight[0, 0] = 100.0
        aware.recurrent.bias_ih_l0[1] = 100.0
        aware.recurrent.weight_ih_l0[1] = 0.0
        aware.recurrent.weight_hh_l0[1] = 0.0
    scores(aware, frames()).sum().backward()
    assert weight.grad is not None
    assert weight.grad[0, 0] == 0
    assert not weight.grad[1].any()  # its gate is open as wide as can be
    assert weight.grad[2].any()


def test_a_prepared_model_prints_its_formats() -> None:
    aware = prepared(recogniser("lstm", 4), LONG)
    text = repr(aware)
    (formats,) = aware.recurrent.formats[0]
    assert f"(input_l0): FakeQuantize({formats.input})" in text
    assert f"(weight_hh_l0): FakeQuantize({formats.weight_recurrent})" in text
    assert f"preactivation={formats.cell.preactivation}" in text


def test_preparation_leaves_the_model_alone_and_has_its_parameters(tmp_path: Path) -> None:
    model = recogniser("lstm-projection-peephole", 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    aware = prepared(model, SHORT)
    assert aware.config == model.config
    assert {n: t.tolist() for n, t in aware.state_dict().items()} == {
        n: t.tolist() for n, t in before.items()
    }
    with torch.no_grad():
        for parameter in aware.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    aware.save(tmp_path / "model.safetensors")
    loaded = AcousticModel.load(tmp_path / "model.safetensors")
    assert all(torch.equal(t, aware.state_dict()[n]) for n, t in loaded.state_dict().items())


def test_conversion_in_given_formats_is_the_conversion() -> None:
    model = recogniser("lstm", 4)
    ranges = calibrate(model.recurrent, frames().unbind(1))
    formats = choose_formats(model.recurrent, model.output, ranges, SHORT)
    given = to_integers(model.recurrent, model.output, formats)
    chosen = convert(model.recurrent, model.output, ranges, SHORT)
    unlearned = convert_prepared(prepare(model, ranges, SHORT))
    for one, other, third in zip(given.layers, chosen.layers, unlearned.layers, strict=True):
        for name in one.tensors():
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert np.array_equal(getattr(one, name), getattr(third, name))


def test_training_lowers_the_loss_and_keeps_the_formats(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    symbols = [f"p{n}" for n in range(PHONES)]
    features, phones = {}, {}
    for n in range(24):  # each phone's frames are its own vector and noise
        sequence = rng.integers(PHONES, size=3)
        spoken = np.repeat(sequence, 4)
        features[f"u{n}"] = np.float32(
            2 * np.eye(INPUT)[spoken] + 0.3 * rng.standard_normal((len(spoken), INPUT))
        )
        phones[f"u{n}"] = [symbols[p] for p in sequence]
    data = Dataset(features, phones, symbols)
    model = recogniser("lstm", 4)
    ranges = calibrate(model.recurrent, data.features)
    aware = prepare(model, ranges, WordLengths(4, 6, 10, 10))
    formats = asdict(
        choose_formats(model.recurrent, model.output, ranges, WordLengths(4, 6, 10, 10))
    )
    config = TrainConfig(epochs=8, learning_rate=1e-2, warmup_steps=1, spec_augment=None)
    history = train(aware, data, data, config, tmp_path / "run")
    assert history.epochs[-1].loss < 0.5 * history.epochs[0].loss
    integer = convert_prepared(aware)
    for layer, (expected,) in zip(integer.recurrent(), formats["recurrent"], strict=True):
        assert asdict(layer.formats) == expected
    again = prepare(model, ranges, WordLengths(4, 6, 10, 10))
    assert train(again, data, data, config, tmp_path / "run") == history  # complete: read back
    assert all(torch.equal(t, aware.state_dict()[n]) for n, t in again.state_dict().items())


def test_what_cannot_be_trained_is_refused() -> None:
    model = recogniser("lstm", 4)
    aware = prepared(model, SHORT)
    with pytest.raises(ValueError, match="a state is given; a layer in fixed point starts at zero"):
        aware.recurrent(frames(), (torch.ones(2, 3, HIDDEN), torch.zeros(2, 3, HIDDEN)))
    with pytest.raises(ValueError, match="cell of 24 bits: training has words of 20 or less"):
        prepared(model, WordLengths(cell=24))
    with pytest.raises(TypeError, match="the model has no formats; prepare gives a model that has"):
        convert_prepared(model)
    with pytest.raises(ValueError, match="one for all matrices"):
        prepared(model.compress({"input": 8, "recurrent": 4}), SHORT)
