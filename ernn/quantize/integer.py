"""The integer model: what the hardware computes, defined.

Layers are plain data (integers and formats) with a ``run`` over a whole batch of utterances, time
first; those without a state are in :mod:`ernn.quantize.feedforward`. Nothing here is floating point
but the frames that enter :meth:`IntegerModel.run`. Padded frames at the end of an utterance do not
change the frames before them.

Sizes: a layer's blocks are k = ``block_size`` long; input and hidden sizes are padded with zeros to
whole blocks, q_x and q_h of them; p_h = q_h. The rows that padding adds to a circulant matrix give
values too: they are dropped, so that the padding of a state is zero when it enters again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ernn.fixed import (
    Accumulator,
    CellFormats,
    FixedPoint,
    Integers,
    circulant_row,
    gru_candidate,
    gru_cell,
    gru_gate,
    gru_update,
    inverse,
    lstm_cell,
    rfft,
    round_spectrum,
    shift_round,
)
from ernn.quantize.feedforward import (
    IntegerConv2d,
    IntegerLinear,
    IntegerPool,
    blocks,
    check_sizes,
)

State = tuple[Integers, ...]
"""What a recurrent layer hands from frame to frame."""


@dataclass(frozen=True)
class LayerFormats:
    """Formats of a recurrent layer.

    Attributes:
        input, output: of the frames that enter and leave; the output enters again as the state.
        weight_input, weight_recurrent: of the spectra; input and weight fractions add up to the
            same for both, so that one accumulator sums them.
        cell: inside the cell; its gate format is the output's unless there is a projection.
        weight_projection: of the projection's spectra, or None.
    """

    input: FixedPoint
    output: FixedPoint
    weight_input: FixedPoint
    weight_recurrent: FixedPoint
    cell: CellFormats
    weight_projection: FixedPoint | None = None

    def __post_init__(self) -> None:
        if (
            self.input.fraction_length + self.weight_input.fraction_length
            != self.accumulator_fraction
        ):
            raise ValueError(
                f"input {self.input} x {self.weight_input} and state {self.output} x "
                f"{self.weight_recurrent}: the fractions must add up to the same"
            )
        if self.weight_projection is None and self.output != self.cell.gate:
            raise ValueError(
                f"output {self.output}: without a projection it is the gate's {self.cell.gate}"
            )

    @property
    def accumulator_fraction(self) -> int:
        """Fraction length of the sums of products."""
        return self.output.fraction_length + self.weight_recurrent.fraction_length


@dataclass(frozen=True, eq=False)
class IntegerRecurrent(ABC):
    """What an LSTM and a GRU layer in integers share.

    Attributes:
        input_size, hidden_size: sizes before padding.
        block_size: k.
        formats: the formats of everything.
        W, U: packed spectra of the input matrices (gates p_h, q_x, k) and of the recurrent ones
            (gates p_h, q_h, k), gate after gate in torch's order.
        bias: (4, p_h k), pre-activation format.
    """

    kind: ClassVar[str]
    gates: ClassVar[int]

    input_size: int
    hidden_size: int
    block_size: int
    formats: LayerFormats
    W: Integers
    U: Integers
    bias: Integers

    def __post_init__(self) -> None:
        check_sizes(self.block_size, self.input_size, self.hidden_size)

    @property
    def output_size(self) -> int:
        """Size of an output frame."""
        return self.hidden_size

    @property
    def hidden_blocks(self) -> int:
        """Blocks of a gate, p_h."""
        return -(-self.hidden_size // self.block_size)

    @property
    def input_blocks(self) -> int:
        """Blocks of an input frame, q_x."""
        return -(-self.input_size // self.block_size)

    def tensors(self) -> dict[str, tuple[tuple[int, ...], FixedPoint]]:
        """Shape and format of every array that is a field."""
        p, k, formats = self.gates * self.hidden_blocks, self.block_size, self.formats
        return {
            "W": ((p, self.input_blocks, k), formats.weight_input),
            "U": ((p, -(-self.output_size // k), k), formats.weight_recurrent),
            "bias": ((4, self.hidden_blocks * k), formats.cell.preactivation),
        }

    @cached_property
    def of_input(self) -> Accumulator:
        """Sums of products with W."""
        return Accumulator(self.W)

    @cached_property
    def of_state(self) -> Accumulator:
        """Sums of products with U."""
        return Accumulator(self.U)

    def spectra(self, x: ArrayLike) -> Integers:
        """Packed spectra of frames or states: (..., size) -> (..., blocks, k)."""
        return rfft(blocks(x, self.block_size))

    def preactivation(self, total: Integers) -> Integers:
        """Round sums (batch, n p_h, k) of the accumulator: (batch, n, p_h k), biases not added."""
        fmt = self.formats.cell.preactivation
        z = inverse(round_spectrum(total, self.formats.accumulator_fraction, fmt), fmt)
        return z.reshape(len(z), -1, self.hidden_blocks * self.block_size)

    def run(self, x: Integers) -> Integers:
        """Run from a zero state: (time, batch, input_size) -> (time, batch, output_size)."""
        return self.advance(x, self.zero_state(x.shape[1]))[0]

    def advance(self, x: Integers, state: State) -> tuple[Integers, State]:
        """Run from a state as :meth:`run` does; return the state after the last frame too."""
        if x.shape[-1] != self.input_size:
            raise ValueError(f"frames of {x.shape[-1]} values; the layer takes {self.input_size}")
        y = np.empty((*x.shape[:2], self.output_size), np.int64)
        for t, total in enumerate(self.of_input(self.spectra(x))):
            y[t], state = self.step(total, state)
        return y, state

    @abstractmethod
    def zero_state(self, batch: int) -> State:
        """Return the state before the first frame."""

    @abstractmethod
    def step(self, total: Integers, state: State) -> tuple[Integers, State]:
        """Take the input's sums W x (batch, gates p_h, k): return the output and the new state."""

    def _zeros(self, batch: int, size: int) -> Integers:
        return np.zeros((batch, size), np.int64)


@dataclass(frozen=True, eq=False)
class IntegerLSTM(IntegerRecurrent):
    """An LSTM layer; gates i, f, g, o.

    Attributes:
        peephole: (3, p_h k) for i, f, o, peephole format, or None.
        projection: packed spectra (p_y, q_h, k), or None.
        proj_size: size of the projected output; 0 without projection.
        cell_activation: "tanh" or "sigmoid", the unit of g.
    """

    kind = "lstm"
    gates = 4

    peephole: Integers | None = None
    projection: Integers | None = None
    proj_size: int = 0
    cell_activation: str = "tanh"

    @property
    def output_size(self) -> int:
        """Size of an output frame."""
        return self.proj_size or self.hidden_size

    def tensors(self) -> dict[str, tuple[tuple[int, ...], FixedPoint]]:
        """Shape and format of every array that is a field."""
        tensors, k = super().tensors(), self.block_size
        if self.peephole is not None:
            assert self.formats.cell.peephole is not None
            tensors["peephole"] = (3, self.hidden_blocks * k), self.formats.cell.peephole
        if self.projection is not None:
            assert self.formats.weight_projection is not None
            shape = -(-self.proj_size // k), self.hidden_blocks, k
            tensors["projection"] = shape, self.formats.weight_projection
        return tensors

    def zero_state(self, batch: int) -> State:
        """Return y (batch, output_size) and c (batch, p_h k)."""
        cells = self.hidden_blocks * self.block_size
        return self._zeros(batch, self.output_size), self._zeros(batch, cells)

    def step(self, total: Integers, state: State) -> tuple[Integers, State]:
        """One frame."""
        y, c = state
        z = self.preactivation(total + self.of_state(self.spectra(y)))
        h, c = lstm_cell(z, self.bias, c, self.formats.cell, self.peephole, self.cell_activation)
        y = h[:, : self.hidden_size]
        if self.projection is not None:
            y = self._project(y)
        return y, (y, c)

    @cached_property
    def of_cells(self) -> Accumulator:
        """Sums of products with the projection."""
        assert self.projection is not None
        return Accumulator(self.projection)

    def _project(self, h: Integers) -> Integers:
        assert self.formats.weight_projection is not None
        weight = self.formats.weight_projection.fraction_length
        gate = self.formats.cell.gate.fraction_length
        y = circulant_row(self.spectra(h), self.of_cells, weight, gate, self.formats.output)
        return y.reshape(len(y), -1)[:, : self.proj_size]


@dataclass(frozen=True, eq=False)
class IntegerGRU(IntegerRecurrent):
    """A GRU layer; gates r, z, n; rows of ``bias``: r, z, n of the input, n of the state.

    Attributes:
        reset_after: r multiplies U h + b (torch's GRU), or h before the matrix.
    """

    kind = "gru"
    gates = 3

    reset_after: bool = True

    @cached_property
    def of_state(self) -> Accumulator:
        """Sums of products with U; with its rows r and z alone, if the reset is before."""
        return Accumulator(self.U if self.reset_after else self.U[: 2 * self.hidden_blocks])

    @cached_property
    def of_candidate(self) -> Accumulator:
        """Sums of products with the rows n of U, if the reset is before."""
        return Accumulator(self.U[2 * self.hidden_blocks :])

    def zero_state(self, batch: int) -> State:
        """Return h (batch, p_h k)."""
        return (self._zeros(batch, self.hidden_blocks * self.block_size),)

    def step(self, total: Integers, state: State) -> tuple[Integers, State]:
        """One frame."""
        (h,) = state
        n_rows = 2 * self.hidden_blocks
        if self.reset_after:
            recurrent = self.of_state(self.spectra(h[:, : self.hidden_size]))
            both = total[:, :n_rows] + recurrent[:, :n_rows]
            rows = np.concatenate([both, total[:, n_rows:], recurrent[:, n_rows:]], axis=1)
            h = gru_cell(self.preactivation(rows), self.bias, h, self.formats.cell)
        else:
            h = self._reset_before(total, h, n_rows)
        return h[:, : self.hidden_size], (h,)

    def _reset_before(self, total: Integers, h: Integers, n_rows: int) -> Integers:
        fmt = self.formats.cell
        size = self.hidden_size
        gates = total[:, :n_rows] + self.of_state(self.spectra(h[:, :size]))
        z = self.preactivation(gates)
        r, u = (gru_gate(z[:, gate], self.bias[gate], fmt) for gate in (0, 1))
        reset = shift_round(r * h, fmt.gate.fraction_length)[:, :size]
        candidate = total[:, n_rows:] + self.of_candidate(self.spectra(reset))
        z_n = self.preactivation(candidate)[:, 0]
        return gru_update(u, gru_candidate(z_n, self.bias[2] + self.bias[3], fmt), h, fmt)


IntegerLayer = IntegerLSTM | IntegerGRU | IntegerLinear | IntegerConv2d | IntegerPool


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """Layers one after another.

    Raises:
        ValueError: a layer does not take what the one before it gives.
    """

    layers: tuple[IntegerLayer, ...]

    def __post_init__(self) -> None:
        for n, (layer, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            given = layer.output_size, output_format(layer)
            taken = after.input_size, input_format(after)
            if given != taken:
                raise ValueError(
                    f"layer {n} gives {given[0]} values {given[1]}; "
                    f"layer {n + 1} takes {taken[0]} values {taken[1]}"
                )

    def quantize(self, features: ArrayLike) -> Integers:
        """Bring real frames (..., input_size) into the input format."""
        return input_format(self.layers[0]).quantize(features)

    def run(self, x: Integers) -> Integers:
        """Integer frames (time, batch, input_size) -> (time, batch, output_size)."""
        return self.advance(x, self.zero_states(x.shape[1]))[0]

    def zero_states(self, batch: int) -> list[State]:
        """Return the states of the recurrent layers before the first frame."""
        return [layer.zero_state(batch) for layer in self.recurrent()]

    def advance(self, x: Integers, states: Iterable[State]) -> tuple[Integers, list[State]]:
        """Run from states as :meth:`run` does; return those after the last frame too."""
        before, after = iter(states), []
        for layer in self.layers:
            if isinstance(layer, IntegerRecurrent):
                x, state = layer.advance(x, next(before))
                after.append(state)
            else:
                x = layer.run(x)
        return x, after

    def recurrent(self) -> Iterable[IntegerLSTM | IntegerGRU]:
        """Return the recurrent layers in order."""
        return (layer for layer in self.layers if isinstance(layer, IntegerRecurrent))


@dataclass(frozen=True, eq=False)
class OfflineModel:
    """Models for whole utterances, one after another: what a bidirectional model is quantized to.

    Attributes:
        stages: each one model, or two: of the frames in order and of the frames in reverse order,
            whose results stand side by side. They are streams of their own, and so programs of
            their own for an accelerator (:mod:`hdl.offline`).

    Raises:
        ValueError: a stage has not one or two models, or does not take what is given to it.
    """

    stages: tuple[tuple[IntegerModel, ...], ...]

    def __post_init__(self) -> None:
        given: tuple[int, FixedPoint] | None = None
        for n, stage in enumerate(self.stages):
            if len(stage) not in (1, 2):
                raise ValueError(f"stage {n} has {len(stage)} models; it must be 1 or 2")
            for model in stage:
                first = model.layers[0]
                taken = first.input_size, input_format(first)
                if given and given != taken:
                    raise ValueError(
                        f"stage {n - 1} gives {given[0]} values {given[1]}; "
                        f"stage {n} takes {taken[0]} values {taken[1]}"
                    )
            formats = {output_format(model.layers[-1]) for model in stage}
            if len(formats) > 1:
                both = " and ".join(map(str, formats))
                raise ValueError(f"stage {n} gives {both}: one format is needed")
            given = sum(model.layers[-1].output_size for model in stage), formats.pop()

    def quantize(self, features: ArrayLike) -> Integers:
        """Bring real frames (..., input_size) into the input format."""
        return self.stages[0][0].quantize(features)

    def run(
        self,
        x: Integers,
        run: Callable[[IntegerModel, Integers], Integers] = IntegerModel.run,
    ) -> Integers:
        """Integer frames (time, batch, input_size) -> (time, batch, output_size).

        Utterances of a batch have one length: padding would come before the reverse direction.

        Args:
            x: the frames.
            run: what runs a model on frames, its argument; an accelerator can.
        """
        for stage in self.stages:
            ways = (slice(None), slice(None, None, -1))
            results = [run(model, x[way])[way] for model, way in zip(stage, ways, strict=False)]
            x = np.concatenate(results, axis=-1)
        return x


def input_format(layer: IntegerLayer) -> FixedPoint:
    """Format of the frames that enter a layer."""
    return layer.formats.input if isinstance(layer, IntegerRecurrent) else layer.input


def output_format(layer: IntegerLayer) -> FixedPoint:
    """Format of the frames that leave a layer."""
    return layer.formats.output if isinstance(layer, IntegerRecurrent) else layer.output
