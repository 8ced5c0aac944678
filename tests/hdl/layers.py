"""Integer layers with random or extreme contents for the tests of the core."""

from dataclasses import replace

import numpy as np

from ernn.fixed import CellFormats, FixedPoint
from ernn.quantize.integer import IntegerGRU, IntegerLSTM, LayerFormats


def formats(weight=8, activation=8, preactivation=10, cell=10, peephole=False):
    """Formats of these word lengths; input and output differ in their fractions."""
    gate = FixedPoint(activation, activation - 2)
    return LayerFormats(
        input=FixedPoint(activation, activation - 3),
        output=gate,
        weight_input=FixedPoint(weight, weight),
        weight_recurrent=FixedPoint(weight, weight - 1),
        cell=CellFormats(
            preactivation=FixedPoint(preactivation, preactivation - 4),
            gate=gate,
            cell=FixedPoint(cell, min(cell - 4, gate.fraction_length)),
            peephole=FixedPoint(weight, weight - 2) if peephole else None,
        ),
    )


def random_layer(kind, block_size, input_size, hidden_size, fmt, *, seed=0, amplitude=0.3, **more):
    """A layer with uniform weights of ``amplitude`` times what their formats hold."""
    k, rng = block_size, np.random.default_rng(seed)
    p, q = -(-hidden_size // k), -(-input_size // k)
    gates = {"lstm": 4, "gru": 3}[kind]

    def draw(fmt, *shape):
        return rng.integers(fmt.lowest * amplitude, fmt.highest * amplitude, shape, np.int64)

    arrays = {
        "W": draw(fmt.weight_input, gates * p, q, k),
        "U": draw(fmt.weight_recurrent, gates * p, p, k),
        "bias": draw(fmt.cell.preactivation, 4, p * k),
    }
    if fmt.cell.peephole is not None:
        arrays["peephole"] = draw(fmt.cell.peephole, 3, p * k)
    layer = {"lstm": IntegerLSTM, "gru": IntegerGRU}[kind]
    return layer(input_size, hidden_size, k, fmt, **arrays, **more)


def extreme_layers(layer):
    """The layer with the largest, the smallest, and alternating largest and smallest contents."""
    rng = np.random.default_rng(0)
    for choose in (
        lambda fmt, shape: np.full(shape, fmt.lowest),
        lambda fmt, shape: np.full(shape, fmt.highest),
        lambda fmt, shape: rng.choice([fmt.lowest, fmt.highest], shape),
    ):
        arrays = {name: choose(fmt, shape) for name, (shape, fmt) in layer.tensors().items()}
        yield replace(layer, **arrays)


def random_frames(layer, lengths, seed=0):
    """Utterances of these lengths that use all of the input format, one in three at its ends."""
    fmt, rng = layer.formats.input, np.random.default_rng(seed)
    utterances = []
    for n, length in enumerate(lengths):
        shape = length, layer.input_size
        inside = rng.integers(fmt.lowest, fmt.highest + 1, shape)
        utterances.append(rng.choice([fmt.lowest, fmt.highest], shape) if n % 3 == 1 else inside)
    return utterances


def expected(layer, utterances):
    """What the layer gives, each utterance on its own."""
    return [layer.run(frames[:, None])[:, 0] for frames in utterances]
