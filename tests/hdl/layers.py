"""Integer layers and networks with random or extreme contents for the tests of the core."""

import random
from dataclasses import replace

import numpy as np

from ernn.fixed import CellFormats, FixedPoint
from ernn.quantize.feedforward import IntegerLinear
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLSTM,
    IntegerModel,
    LayerFormats,
    input_format,
    output_format,
)


def formats(
    weight=8,
    activation=8,
    preactivation=10,
    cell=10,
    peephole=False,
    projection=False,
    source=None,
    fraction=4,
):
    """Formats of these word lengths; input and output differ in their fractions.

    ``source`` is the input's format; ``fraction`` the integer bits of pre-activation and cell.
    """
    gate = FixedPoint(activation, activation - 2)
    source = source or FixedPoint(activation, activation - 3)
    output = FixedPoint(activation, activation - 4) if projection else gate
    accumulator = weight + source.fraction_length
    return LayerFormats(
        input=source,
        output=output,
        weight_input=FixedPoint(weight, weight),
        weight_recurrent=FixedPoint(weight, accumulator - output.fraction_length),
        cell=CellFormats(
            preactivation=FixedPoint(preactivation, preactivation - fraction),
            gate=gate,
            cell=FixedPoint(cell, min(cell - fraction, gate.fraction_length)),
            peephole=FixedPoint(weight, weight - 2) if peephole else None,
        ),
        weight_projection=FixedPoint(weight, weight - 1) if projection else None,
    )


def random_layer(
    kind, block_size, input_size, hidden_size, fmt, *, seed=0, amplitude=0.3, proj_size=0, **more
):
    """A recurrent layer with uniform weights of ``amplitude`` times what their formats hold."""
    k, rng = block_size, np.random.default_rng(seed)
    p, q, r = (-(-size // k) for size in (hidden_size, input_size, proj_size or hidden_size))
    gates = {"lstm": 4, "gru": 3}[kind]

    def draw(fmt, *shape):
        return rng.integers(fmt.lowest * amplitude, fmt.highest * amplitude, shape, np.int64)

    arrays = {
        "W": draw(fmt.weight_input, gates * p, q, k),
        "U": draw(fmt.weight_recurrent, gates * p, r, k),
        "bias": draw(fmt.cell.preactivation, 4, p * k),
    }
    if fmt.cell.peephole is not None:
        arrays["peephole"] = draw(fmt.cell.peephole, 3, p * k)
    if proj_size:
        arrays["projection"] = draw(fmt.weight_projection, r, p, k)
        more["proj_size"] = proj_size
    layer = {"lstm": IntegerLSTM, "gru": IntegerGRU}[kind]
    return layer(input_size, hidden_size, k, fmt, **arrays, **more)


def random_linear(block_size, input_size, output_size, source, output, *, weight=8, seed=0, **more):
    """A fully connected layer with uniform weights and biases."""
    k, rng = block_size, np.random.default_rng(seed)
    p, q = (-(-size // k) for size in (output_size, input_size))
    fmt = FixedPoint(weight, weight)
    return IntegerLinear(
        input_size,
        output_size,
        k,
        source,
        fmt,
        output,
        W=rng.integers(fmt.lowest // 2, fmt.highest // 2, (p, q, k)),
        bias=rng.integers(output.lowest // 2, output.highest // 2, output_size),
        **more,
    )


def random_network(seed, block_size, *, word_lengths=(8, 8, 10, 10), layers=2, most_blocks=5):
    """A small network of all kinds of layers; the last one is fully connected or not."""
    rng = random.Random(seed)
    k, (weight, activation, preactivation, cell) = block_size, word_lengths
    size, source = rng.randint(1, most_blocks * k), FixedPoint(activation, activation - 3)
    stack = []
    for n in range(layers):
        kind = rng.choice(["lstm", "lstm", "gru", "gru"] + ["linear"] * (n > 0))
        hidden = rng.randint(1, most_blocks * k)
        if kind == "linear":
            output = FixedPoint(activation, rng.randint(activation - 5, activation - 2))
            unit = rng.choice(["none", "relu"])
            layer = random_linear(
                k, size, hidden, source, output, weight=weight, seed=seed + n, activation=unit
            )
        else:
            projection = kind == "lstm" and rng.random() < 0.5
            fmt = formats(
                weight,
                activation,
                preactivation,
                cell,
                peephole=kind == "lstm" and rng.random() < 0.5,
                projection=projection,
                source=source,
                fraction=rng.choice([3, 4]),
            )
            more = (
                {"cell_activation": rng.choice(["tanh", "sigmoid"])}
                if kind == "lstm"
                else {"reset_after": rng.random() < 0.5}
            )
            if projection:
                more["proj_size"] = rng.randint(1, most_blocks * k)
            layer = random_layer(
                kind, k, size, hidden, fmt, seed=seed + n, amplitude=rng.choice([0.1, 0.4]), **more
            )
        stack.append(layer)
        size, source = layer.output_size, output_format(layer)
    if rng.random() < 0.6:
        output = FixedPoint(preactivation, preactivation - rng.randint(3, 6))
        stack.append(
            random_linear(k, size, rng.randint(1, 3 * k), source, output, weight=weight, seed=seed)
        )
    return IntegerModel(tuple(stack))


def cut(model, segments):
    """The model with sigmoid and tanh of that many segments."""

    def changed(layer):
        cell = replace(layer.formats.cell, segments=segments)
        return replace(layer, formats=replace(layer.formats, cell=cell))

    recurrent = list(model.recurrent())
    return IntegerModel(tuple(changed(n) if n in recurrent else n for n in model.layers))


def extreme_models(model):
    """The model with the largest, the smallest, and alternating largest and smallest contents."""
    rng = np.random.default_rng(0)
    for choose in (
        lambda fmt, shape: np.full(shape, fmt.lowest),
        lambda fmt, shape: np.full(shape, fmt.highest),
        lambda fmt, shape: rng.choice([fmt.lowest, fmt.highest], shape),
    ):
        yield IntegerModel(
            tuple(
                replace(
                    layer,
                    **{name: choose(fmt, shape) for name, (shape, fmt) in layer.tensors().items()},
                )
                for layer in model.layers
            )
        )


def random_frames(model, lengths, seed=0):
    """Utterances of these lengths that use all of the input format, one in three at its ends."""
    first = model.layers[0]
    fmt, rng = input_format(first), np.random.default_rng(seed)
    utterances = []
    for n, length in enumerate(lengths):
        shape = length, first.input_size
        inside = rng.integers(fmt.lowest, fmt.highest + 1, shape)
        utterances.append(rng.choice([fmt.lowest, fmt.highest], shape) if n % 3 == 1 else inside)
    return utterances


def expected(model, utterances):
    """What the model gives, each utterance on its own."""
    return [model.run(frames[:, None])[:, 0] for frames in utterances]
