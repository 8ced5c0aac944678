"""From a float model to the integer model: formats are chosen from ranges, numbers rounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ernn import circulant
from ernn.activations import check_segments
from ernn.fixed import CellFormats, FixedPoint, Integers
from ernn.nn import GRU, LSTM, CirculantLinear
from ernn.nn.recurrent import Recurrent
from ernn.quantize.calibrate import Extent, Ranges
from ernn.quantize.feedforward import IntegerLinear
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLSTM,
    IntegerModel,
    LayerFormats,
    OfflineModel,
)


@dataclass(frozen=True)
class WordLengths:
    """Word lengths in bits, from which and the ranges the fractions follow, and segments.

    Attributes:
        weight: of spectra and peephole weights.
        activation: of frames, gates and hidden states.
        preactivation: of sums before an activation, biases and results of the last layer.
        cell: of the LSTM's cell state.
        segments: not a word length, but chosen with them: pieces of the positive half-axis that
            sigmoid and tanh have, of :data:`ernn.activations.SEGMENTS`.

    Raises:
        ValueError: another number of segments.
    """

    weight: int = 12
    activation: int = 16
    preactivation: int = 16
    cell: int = 16
    segments: int = 32

    def __post_init__(self) -> None:
        check_segments(self.segments)

    @property
    def gate(self) -> FixedPoint:
        """The format of gates and unprojected states: it holds -1 and 1."""
        return FixedPoint(self.activation, self.activation - 2)


@dataclass(frozen=True)
class LinearFormats:
    """Formats of a fully connected layer: of frames, spectra, and results with biases."""

    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint


@dataclass(frozen=True)
class Formats:
    """Formats of a recurrent stack and the fully connected layer on it.

    Attributes:
        recurrent: of each layer, those of its one or two directions.
        linear: of the layer on it.
    """

    recurrent: tuple[tuple[LayerFormats, ...], ...]
    linear: LinearFormats


@torch.no_grad()
def choose_formats(
    recurrent: LSTM | GRU,
    linear: nn.Linear | CirculantLinear,
    ranges: Sequence[Ranges],
    words: WordLengths = WordLengths(),
) -> Formats:
    """Choose all fractions: of values to hold what was measured, of weights to err least.

    Args:
        recurrent: one block size for all its matrices.
        linear: from its outputs to the results.
        ranges: of :func:`ernn.quantize.calibrate` for ``recurrent``.
        words: word lengths.

    Raises:
        ValueError: a model the integer arithmetic does not cover.
    """
    common_block_size(recurrent)
    source = FixedPoint.covering(words.activation, ranges[0].input.largest)
    count = len(recurrent.directions)
    stack = []
    for n in range(recurrent.num_layers):
        extents = ranges[n * count : (n + 1) * count]
        output = words.gate
        if recurrent.proj_size:
            largest = max(e.output.largest for e in extents)
            output = FixedPoint.covering(words.activation, largest)
        stack.append(
            tuple(
                _recurrent_formats(recurrent, f"l{n}{d}", e, source, output, words)
                for d, e in zip(recurrent.directions, extents, strict=True)
            )
        )
        source = output
    return Formats(tuple(stack), _linear_formats(linear, ranges[-count:], source, words))


def convert(
    recurrent: LSTM | GRU,
    linear: nn.Linear | CirculantLinear,
    ranges: Sequence[Ranges],
    words: WordLengths = WordLengths(),
) -> IntegerModel:
    """Quantize a model that runs on streams: its formats are those of :func:`choose_formats`.

    Args:
        recurrent: one-directional; one block size for all its matrices.
        linear: from its outputs to the results.
        ranges: of :func:`ernn.quantize.calibrate` for ``recurrent``.
        words: word lengths.

    Raises:
        ValueError: a model the integer arithmetic does not cover.
    """
    if recurrent.bidirectional:
        raise ValueError(
            "a bidirectional model is not for streams, which have no future: use convert_offline"
        )
    return stream_model(recurrent, linear, choose_formats(recurrent, linear, ranges, words))


def convert_offline(
    recurrent: LSTM | GRU,
    linear: nn.Linear | CirculantLinear,
    ranges: Sequence[Ranges],
    words: WordLengths = WordLengths(),
) -> OfflineModel:
    """Quantize as :func:`convert` does a model for whole utterances, which has two directions.

    Raises:
        ValueError: a model the integer arithmetic does not cover.
    """
    return offline_model(recurrent, linear, choose_formats(recurrent, linear, ranges, words))


def to_integers(
    recurrent: LSTM | GRU, linear: nn.Linear | CirculantLinear, formats: Formats
) -> IntegerModel | OfflineModel:
    """Quantize in given formats: a model of one direction for streams, of two for utterances."""
    build = offline_model if recurrent.bidirectional else stream_model
    return build(recurrent, linear, formats)


def stream_model(
    recurrent: LSTM | GRU, linear: nn.Linear | CirculantLinear, formats: Formats
) -> IntegerModel:
    """Quantize a one-directional model in given formats."""
    layers = [layer for (layer,) in _stack(recurrent, formats)]
    return IntegerModel((*layers, _linear(linear, formats.linear)))


def offline_model(
    recurrent: LSTM | GRU, linear: nn.Linear | CirculantLinear, formats: Formats
) -> OfflineModel:
    """Quantize a model for whole utterances in given formats."""
    stack = _stack(recurrent, formats)
    stages = [tuple(IntegerModel((n,)) for n in directions) for directions in stack]
    return OfflineModel((*stages, (IntegerModel((_linear(linear, formats.linear),)),)))


def _stack(recurrent: LSTM | GRU, formats: Formats) -> list[list[IntegerLSTM | IntegerGRU]]:
    """The directions of each layer."""
    return [
        [
            _recurrent(recurrent, f"l{n}{d}", fmt)
            for d, fmt in zip(recurrent.directions, directions, strict=True)
        ]
        for n, directions in enumerate(formats.recurrent)
    ]


def common_block_size(recurrent: Recurrent) -> int:
    """The one block size of all matrices; ValueError if they have several."""
    block_size = recurrent.block_size
    if isinstance(block_size, int):
        return block_size
    sizes = set(block_size.values())
    if len(sizes) > 1:
        raise ValueError(f"block sizes {dict(block_size)}: one for all matrices is needed")
    return sizes.pop()


def _recurrent_formats(
    module: LSTM | GRU,
    suffix: str,
    ranges: Ranges,
    source: FixedPoint,
    output: FixedPoint,
    words: WordLengths,
) -> LayerFormats:
    def spectra(name: str) -> np.ndarray:
        return _spectra(module.get_parameter(f"{name}_{suffix}"))

    weight_projection, peephole = None, None
    if module.proj_size:
        weight_projection = nearest_format(spectra("weight_hr"), words.weight)
    if module.peephole:
        largest = module.get_parameter(f"weight_peephole_{suffix}").abs().max()
        peephole = FixedPoint.covering(words.weight, float(largest))
    weight_input, weight_recurrent = _shared_accumulator(
        (spectra("weight_ih"), source, ranges.input),
        (spectra("weight_hh"), output, ranges.output),
        words.weight,
    )
    cell = FixedPoint.covering(words.cell, ranges.cell.largest)
    cell = FixedPoint(words.cell, min(cell.fraction_length, words.gate.fraction_length))
    return LayerFormats(
        input=source,
        output=output,
        weight_input=weight_input,
        weight_recurrent=weight_recurrent,
        cell=CellFormats(
            preactivation=FixedPoint.covering(words.preactivation, ranges.preactivation.largest),
            gate=words.gate,
            cell=cell,
            peephole=peephole,
            segments=words.segments,
        ),
        weight_projection=weight_projection,
    )


def _linear_formats(
    module: nn.Linear | CirculantLinear,
    inputs: Sequence[Ranges],
    source: FixedPoint,
    words: WordLengths,
) -> LinearFormats:
    dense = module.weight if isinstance(module, nn.Linear) else module.to_dense().weight
    largest = max(ranges.output.largest for ranges in inputs)
    bound = largest * dense.abs().sum(1)
    if module.bias is not None:
        bound += module.bias.abs()
    return LinearFormats(
        input=source,
        weight=nearest_format(_spectra(module.weight), words.weight),
        output=FixedPoint.covering(words.preactivation, float(bound.max())),
    )


@torch.no_grad()
def _recurrent(module: LSTM | GRU, suffix: str, formats: LayerFormats) -> IntegerLSTM | IntegerGRU:
    def spectra(name: str, fmt: FixedPoint) -> Integers:
        return fmt.quantize(_spectra(module.get_parameter(f"{name}_{suffix}")))

    block_size = common_block_size(module)
    common: dict[str, Any] = {
        "input_size": module.matrices[f"weight_ih_{suffix}"].columns,
        "hidden_size": module.hidden_size,
        "block_size": block_size,
        "formats": formats,
        "W": spectra("weight_ih", formats.weight_input),
        "U": spectra("weight_hh", formats.weight_recurrent),
        "bias": formats.cell.preactivation.quantize(_bias(module, suffix, block_size)),
    }
    if isinstance(module, GRU):
        return IntegerGRU(**common, reset_after=module.reset_after)
    peephole, projection = None, None
    if formats.cell.peephole is not None:
        weights = module.get_parameter(f"weight_peephole_{suffix}").numpy()
        peephole = formats.cell.peephole.quantize(_padded(weights, block_size))
    if formats.weight_projection is not None:
        projection = spectra("weight_hr", formats.weight_projection)
    return IntegerLSTM(
        **common,
        peephole=peephole,
        projection=projection,
        proj_size=module.proj_size,
        cell_activation=module.cell_activation,
    )


@torch.no_grad()
def _linear(module: nn.Linear | CirculantLinear, formats: LinearFormats) -> IntegerLinear:
    values = _spectra(module.weight)
    bias = np.zeros(module.out_features) if module.bias is None else module.bias.numpy()
    return IntegerLinear(
        input_size=module.in_features,
        output_size=module.out_features,
        block_size=values.shape[-1],
        input=formats.input,
        weight=formats.weight,
        output=formats.output,
        W=formats.weight.quantize(values),
        bias=formats.output.quantize(bias),
    )


def packed_spectra(parameter: Tensor) -> Tensor:
    """Packed spectra (p, q, k) of a parameter: blocks (p, q, k), or dense (out, in) with k = 1."""
    return circulant.spectrum(parameter if parameter.dim() == 3 else parameter.unsqueeze(-1))


def _spectra(parameter: Tensor) -> np.ndarray:
    return packed_spectra(parameter).double().numpy()


def _bias(module: LSTM | GRU, suffix: str, block_size: int) -> np.ndarray:
    """Biases (4, p_h k): i, f, g, o, or r, z and the n of the input and of the state."""
    size = module.hidden_size
    if not module.bias:
        return _padded(np.zeros((4, size)), block_size)
    b_input, b_state = (
        module.get_parameter(f"{name}_{suffix}").view(-1, size).numpy()
        for name in ("bias_ih", "bias_hh")
    )
    if isinstance(module, GRU):
        return _padded(np.vstack([b_input[:2] + b_state[:2], b_input[2], b_state[2]]), block_size)
    return _padded(b_input + b_state, block_size)


def _padded(values: np.ndarray, block_size: int) -> np.ndarray:
    """Pad (rows, hidden) with zeros to whole blocks."""
    return np.pad(values, ((0, 0), (0, -values.shape[1] % block_size)))


def _squared_error(values: np.ndarray, fmt: FixedPoint) -> float:
    return float(np.square(fmt.to_float(fmt.quantize(values)) - values).mean())


def _candidates(values: np.ndarray, word_length: int) -> list[FixedPoint]:
    """Return the format that holds all values, and three with longer fractions that clip some."""
    fmt = FixedPoint.covering(word_length, np.abs(values).max())
    return [FixedPoint(word_length, fmt.fraction_length + extra) for extra in range(4)]


def nearest_format(values: np.ndarray, word_length: int) -> FixedPoint:
    """Return the format with the least squared error."""
    return min(_candidates(values, word_length), key=lambda fmt: _squared_error(values, fmt))


def _shared_accumulator(
    first: tuple[np.ndarray, FixedPoint, Extent],
    second: tuple[np.ndarray, FixedPoint, Extent],
    word_length: int,
) -> tuple[FixedPoint, FixedPoint]:
    """Choose the formats of two matrices (spectra, format and extent of their inputs each).

    Products of both have one fraction length, the one that adds the least squared error to a
    pre-activation.
    """
    sides = first, second
    fractions = {
        fmt.fraction_length + source.fraction_length
        for values, source, _ in sides
        for fmt in _candidates(values, word_length)
    }

    def formats(fraction: int) -> list[FixedPoint]:
        return [FixedPoint(word_length, fraction - s.fraction_length) for _, s, _ in sides]

    def error(fraction: int) -> float:
        return sum(
            _squared_error(values, fmt) * extent.power * values.shape[1]
            for (values, _, extent), fmt in zip(sides, formats(fraction), strict=True)
        )

    best = formats(min(sorted(fractions), key=error))
    return best[0], best[1]
