"""Calibration, conversion, the integer model and its bundle, against the float model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ernn import bundle
from ernn.fixed import FixedPoint
from ernn.nn import GRU, LSTM, CirculantLinear
from ernn.quantize import (
    IntegerLinear,
    IntegerLSTM,
    IntegerModel,
    OfflineModel,
    WordLengths,
    calibrate,
    convert,
    convert_offline,
)

INPUT, HIDDEN, OUTPUT, PROJECTED = 23, 30, 11, 12
DEFAULT = WordLengths()
FORMS = {
    "lstm": (LSTM, {}),
    "lstm-projection-peephole": (LSTM, {"proj_size": PROJECTED, "peephole": True}),
    "lstm-sigmoid": (LSTM, {"cell_activation": "sigmoid"}),
    "gru": (GRU, {"reset_after": True}),
    "gru-reset-before": (GRU, {"reset_after": False}),
}


def example(form: str, block_size: int, words: WordLengths = DEFAULT):
    """A random two-layer model with a linear layer on it, its integer model, and frames."""
    torch.manual_seed(0)
    cls, options = FORMS[form]
    model = cls(INPUT, HIDDEN, 2, block_size=block_size, activation="pwl", **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    linear = torch.nn.Linear(options.get("proj_size", HIDDEN), OUTPUT)
    x = torch.randn(25, 4, INPUT)
    ranges = calibrate(model, x.unbind(1))
    return model, linear, convert(model, linear, ranges, words), x


@pytest.mark.parametrize("block_size", [1, 4, 8, 16])
@pytest.mark.parametrize("form", FORMS)
def test_integer_model_follows_the_float_model(form: str, block_size: int) -> None:
    model, linear, integer, x = example(form, block_size, WordLengths(weight=16))
    with torch.no_grad():
        y = linear(model(x)[0]).numpy()
    n = integer.run(integer.quantize(x.numpy()))
    assert np.abs(integer.layers[-1].output.to_float(n) - y).max() < 2e-3


@pytest.mark.parametrize("form", FORMS)
def test_padding_at_the_end_changes_nothing_before_it(form: str) -> None:
    _, _, integer, x = example(form, 8)
    n = integer.quantize(x.numpy())
    padded = np.concatenate([n, np.zeros_like(n[:5])])
    assert np.array_equal(integer.run(padded)[: len(n)], integer.run(n))
    assert np.array_equal(integer.run(n[:, 1:2]), integer.run(n)[:, 1:2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_size", [1, 4])
def test_bundle_gives_the_same_model_back(form: str, block_size: int, tmp_path: Path) -> None:
    _, _, integer, x = example(form, block_size)
    bundle.save(integer, tmp_path / "bundle")
    back = bundle.load(tmp_path / "bundle")
    n = integer.quantize(x.numpy())
    assert np.array_equal(back.run(n), integer.run(n))
    for layer, other in zip(integer.recurrent(), back.recurrent(), strict=True):
        assert layer.formats == other.formats


def test_weights_and_results_stay_in_their_formats() -> None:
    _, _, integer, _ = example("lstm", 8, WordLengths(weight=8, activation=8))
    extreme = integer.layers[0].formats.input
    n = np.where(np.arange(40)[:, None, None] % 2, extreme.lowest, extreme.highest)
    y = integer.run(np.broadcast_to(n, (40, 2, INPUT)))
    assert np.array_equal(y, integer.layers[-1].output.saturate(y))
    for layer in integer.layers:
        for name, (shape, fmt) in layer.tensors().items():
            tensor = getattr(layer, name)
            assert tensor.shape == shape
            assert np.array_equal(tensor, fmt.saturate(tensor))


def test_words_are_as_asked() -> None:
    _, _, integer, _ = example("lstm-projection-peephole", 8, WordLengths(10, 12, 14, 15))
    layer = integer.layers[0]
    assert isinstance(layer, IntegerLSTM)
    formats = layer.formats
    assert formats.weight_input.word_length == formats.weight_recurrent.word_length == 10
    assert formats.cell.peephole is not None
    assert formats.cell.peephole.word_length == 10
    assert formats.input.word_length == formats.output.word_length == 12
    assert formats.cell.gate == FixedPoint(12, 10)
    assert formats.cell.preactivation.word_length == 14
    assert formats.cell.cell.word_length == 15


def test_segments_are_as_asked_and_come_back(tmp_path: Path) -> None:
    _, _, fine, x = example("lstm", 4)
    _, _, coarse, _ = example("lstm", 4, WordLengths(segments=8))
    assert [layer.formats.cell.segments for layer in coarse.recurrent()] == [8, 8]
    n = fine.quantize(x.numpy())
    assert not np.array_equal(coarse.run(n), fine.run(n))
    bundle.save(coarse, tmp_path)
    assert np.array_equal(bundle.load(tmp_path).run(n), coarse.run(n))
    edit_json(tmp_path, lambda c: [f["formats"]["cell"].pop("segments") for f in c["layers"][:2]])
    assert np.array_equal(bundle.load(tmp_path).run(n), fine.run(n))  # an old one has 32
    with pytest.raises(ValueError, match="segments 5: must be one of 4, 8, 16, 32, 64"):
        WordLengths(segments=5)


def test_formats_follow_the_ranges() -> None:
    torch.manual_seed(1)
    model = LSTM(INPUT, HIDDEN, block_size=4)
    x = torch.randn(25, INPUT)
    x[3, 3] = 100.0
    integer = convert(model, torch.nn.Linear(HIDDEN, OUTPUT), calibrate(model, [x]))
    assert integer.layers[0].formats.input == FixedPoint(16, 8)


def test_circulant_linear_is_quantized_too() -> None:
    torch.manual_seed(2)
    model, linear = LSTM(INPUT, 32, block_size=8), CirculantLinear(32, 21, 8)
    x = torch.randn(25, 1, INPUT)
    integer = convert(model, linear, calibrate(model, [x[:, 0]]), WordLengths(weight=16))
    with torch.no_grad():
        y = linear(model(x)[0]).numpy()
    n = integer.run(integer.quantize(x.numpy()))
    assert np.abs(integer.layers[-1].output.to_float(n) - y).max() < 2e-3


@pytest.mark.parametrize("form", FORMS)
def test_both_directions_follow_the_float_model(form: str) -> None:
    torch.manual_seed(5)
    cls, options = FORMS[form]
    model = cls(INPUT, HIDDEN, 2, block_size=4, activation="pwl", bidirectional=True, **options)
    linear = CirculantLinear(2 * options.get("proj_size", HIDDEN), OUTPUT, 4)
    x = torch.randn(25, 4, INPUT)
    ranges = calibrate(model, x.unbind(1))
    integer = convert_offline(model, linear, ranges, WordLengths(weight=16))
    assert [len(stage) for stage in integer.stages] == [2, 2, 1]
    with torch.no_grad():
        y = linear(model(x)[0]).numpy()
    n = integer.run(integer.quantize(x.numpy()))
    output = integer.stages[-1][0].layers[-1].output
    assert np.abs(output.to_float(n) - y).max() < 2e-3


def test_one_direction_offline_is_the_stream() -> None:
    model, linear, integer, x = example("lstm", 4)
    offline = convert_offline(model, linear, calibrate(model, x.unbind(1)))
    n = integer.quantize(x.numpy())
    assert np.array_equal(offline.run(n), integer.run(n))


def test_stages_must_fit_together() -> None:
    _, _, integer, _ = example("lstm", 4)
    first, second, _ = (IntegerModel((layer,)) for layer in integer.layers)
    with pytest.raises(ValueError, match="stage 0 has 3 models; it must be 1 or 2"):
        OfflineModel(((first,) * 3,))
    with pytest.raises(ValueError, match=r"stage 0 gives 60 values .*; stage 1 takes 30 values"):
        OfflineModel(((first, first), (second,)))
    one, other = relu_layer("none"), replace(relu_layer("none"), output=FixedPoint(9, 4))
    with pytest.raises(ValueError, match=r"stage 0 gives Q.* and Q.*: one format is needed"):
        OfflineModel(((IntegerModel((one,)), IntegerModel((other,))),))


def relu_layer(activation: str) -> IntegerLinear:
    rng = np.random.default_rng(3)
    fmt, W, bias = FixedPoint(8, 4), rng.integers(-128, 128, (2, 3, 4)), rng.integers(-128, 128, 8)
    return IntegerLinear(12, 8, 4, fmt, fmt, fmt, W, bias, activation)


def test_relu_follows_the_saturation() -> None:
    x = np.random.default_rng(4).integers(-128, 128, (50, 2, 12))
    y = relu_layer("none").run(x)
    assert y.min() == -128
    assert np.array_equal(relu_layer("relu").run(x), np.where(y < 0, 0, y))
    with pytest.raises(ValueError, match="activation 'tanh': must be one of none, relu"):
        relu_layer("tanh")


def test_a_bundle_keeps_the_relu_and_an_old_one_has_none(tmp_path: Path) -> None:
    bundle.save(IntegerModel((relu_layer("relu"),)), tmp_path)
    assert bundle.load(tmp_path).layers[0].activation == "relu"
    edit_json(tmp_path, lambda c: c["layers"][0].pop("activation"))
    assert bundle.load(tmp_path).layers[0].activation == "none"


def test_what_cannot_be_quantized_is_refused() -> None:
    linear = torch.nn.Linear(HIDDEN, OUTPUT)
    both = LSTM(INPUT, HIDDEN, bidirectional=True)
    with pytest.raises(ValueError, match="streams, which have no future: use convert_offline"):
        convert(both, linear, [])
    mixed = LSTM(INPUT, HIDDEN, block_size={"input": 8, "recurrent": 4})
    with pytest.raises(ValueError, match="one for all matrices"):
        convert(mixed, linear, calibrate(mixed, [torch.randn(5, INPUT)]))
    with pytest.raises(ValueError, match="no utterance"):
        calibrate(mixed, [])


def test_layers_must_fit_together() -> None:
    _, _, integer, _ = example("lstm", 4)
    with pytest.raises(ValueError, match="layer 0 gives 30 values"):
        IntegerModel((integer.layers[0], integer.layers[0]))
    with pytest.raises(ValueError, match="frames of 5 values; the layer takes 23"):
        integer.run(np.zeros((3, 1, 5), np.int64))


def edit_json(folder: Path, change) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")


DAMAGES = {
    "no bundle.json": lambda f: (f / "bundle.json").unlink(),
    "no weights.safetensors": lambda f: (f / "weights.safetensors").unlink(),
    "Expecting value": lambda f: (f / "bundle.json").write_text("{"[:0]),
    "ernn-bundle 9; this reads ernn-bundle 1": lambda f: edit_json(
        f, lambda c: c.update(version=9)
    ),
    "known are lstm, gru, linear": lambda f: edit_json(
        f, lambda c: c["layers"][0].update(kind="tcn")
    ),
    "a power of two": lambda f: edit_json(f, lambda c: c["layers"][0].update(block_size=0)),
    "each must be 1 or more": lambda f: edit_json(
        f, lambda c: c["layers"][0].update(hidden_size=0)
    ),
    "no 'kind'": lambda f: edit_json(f, lambda c: c["layers"][0].pop("kind")),
    "missing 1 required positional argument: 'hidden_size'": lambda f: edit_json(
        f, lambda c: c["layers"][0].pop("hidden_size")
    ),
    "missing 1 required positional argument: 'W'": lambda f: edit_tensors(
        f, lambda t: t.pop("layers.0.W")
    ),
    "layers.0.U is": lambda f: edit_tensors(
        f, lambda t: t.update({"layers.0.U": t["layers.0.U"][1:].copy()})
    ),
    "segments 5: must be one of": lambda f: edit_json(
        f, lambda c: c["layers"][0]["formats"]["cell"].update(segments=5)
    ),
    "Q12.*holds -2048 to 2047": lambda f: edit_tensors(
        f, lambda t: t.update({"layers.0.U": t["layers.0.U"] + 4000})
    ),
    "header": lambda f: (f / "weights.safetensors").write_bytes(b"not tensors"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_bundle_is_named(message: str, tmp_path: Path) -> None:
    _, _, integer, _ = example("lstm", 4)
    bundle.save(integer, tmp_path / "bundle")
    DAMAGES[message](tmp_path / "bundle")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        bundle.load(tmp_path / "bundle")
    assert "\n" not in str(caught.value)


def test_a_failed_save_leaves_the_old_bundle(tmp_path: Path, monkeypatch) -> None:
    _, _, integer, _ = example("lstm", 4)
    bundle.save(integer, tmp_path / "bundle")
    before = sorted((p.name, p.read_bytes()) for p in (tmp_path / "bundle").iterdir())

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bundle, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        bundle.save(integer, tmp_path / "bundle")
    assert sorted((p.name, p.read_bytes()) for p in (tmp_path / "bundle").iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
