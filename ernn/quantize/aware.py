"""Quantization-aware training: prepare, train, convert.

    words = WordLengths(weight=8, activation=8)
    ranges = calibrate(model.recurrent, utterances)
    aware = prepare(model, ranges, words)       # computes as the integer model will, and can learn
    train(aware, train_set, dev_set, TrainConfig(epochs=3, learning_rate=1e-3), "exp/aware")
    integer = convert_prepared(aware)           # in the formats that it was trained in

The formats are chosen once, before training. Every forward pass takes the weights as they then are
to those formats, and computes what the integer model of these weights would: the same integers in
float64, in float32 but for rare roundings of a tie (see :mod:`ernn.quantize.fake`).

Sources: Jacob et al., CVPR 2018 (training with the inference's own arithmetic); the stages are
those of torchao.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ernn import circulant
from ernn.asr.model import AcousticModel
from ernn.fixed import FixedPoint
from ernn.nn import GRU, LSTM
from ernn.nn.recurrent import Recurrent, State
from ernn.quantize.calibrate import Ranges
from ernn.quantize.convert import (
    Formats,
    LinearFormats,
    WordLengths,
    choose_formats,
    common_block_size,
    packed_spectra,
    to_integers,
)
from ernn.quantize.fake import Accumulator, FakeQuantize, to_codes
from ernn.quantize.integer import IntegerModel, LayerFormats, OfflineModel
from ernn.quantize.unrolled import Cell, GRUSequence, LSTMSequence

LONGEST = 20
"""Bits of the longest words that are trained with: float32 counts to 24 bits."""


class AwareRecurrent(Recurrent):
    """What the quantized LSTM and GRU share; parameters are named as the float layer's.

    Attributes:
        formats: of each layer, those of its directions.
        cells: the fixed-point side of each layer and direction, by the ending of its parameters.
        quantizers: of inputs, biases and, by the parameter's name, of spectra and peepholes.
    """

    formats: tuple[tuple[LayerFormats, ...], ...]

    def quantize(self, formats: Sequence[Sequence[LayerFormats]]) -> None:
        """Set the formats; once, after the layer was made."""
        self.formats = tuple(tuple(directions) for directions in formats)
        self.k = common_block_size(self)
        self.cells, self.quantizers = nn.ModuleDict(), nn.ModuleDict()
        sigmoid_g = getattr(self, "cell_activation", "tanh") == "sigmoid"
        for n, directions in enumerate(self.formats):
            for direction, fmt in zip(self.directions, directions, strict=True):
                suffix = f"_l{n}{direction}"
                self.cells[suffix] = Cell(fmt, self.k, self.hidden_size, sigmoid_g)
                named: dict[str, FixedPoint | None] = {
                    "input": fmt.input,
                    "weight_ih": fmt.weight_input,
                    "weight_hh": fmt.weight_recurrent,
                    "weight_hr": fmt.weight_projection,
                    "weight_peephole": fmt.cell.peephole,
                    "bias": fmt.cell.preactivation,
                }
                for name, of in named.items():
                    if of is not None:
                        self.quantizers[name + suffix] = FakeQuantize(of)

    @property
    def fused(self) -> bool:
        """Never torch's kernel."""
        return False

    def dense_parameters(self) -> dict[str, Tensor]:
        """Return all parameters, the matrices as dense forms of their quantized spectra."""
        parameters = {name: getattr(self, name) for name in self.names}
        for name, matrix in self.matrices.items():
            spectra = self.quantizers[name](packed_spectra(parameters[name]))
            blocks = torch.fft.irfft(circulant.unpack(spectra), n=self.k)
            parameters[name] = matrix.to_dense(blocks if self.k > 1 else spectra.squeeze(-1))
        return parameters

    def spectra(self, name: str) -> Tensor:
        """Codes (p, q, k) of a matrix."""
        quantizer = self.quantizers[name]
        assert isinstance(quantizer, FakeQuantize)
        with torch.no_grad():
            return to_codes(packed_spectra(self.get_parameter(name)), quantizer.fmt)

    def gate_bias(self, w: Mapping[str, Tensor]) -> Tensor:
        """The real biases (4, hidden) that the hardware adds, of the parameters ``w``."""
        raise NotImplementedError

    def unroll(
        self, x: Tensor, state: State, w: Mapping[str, Tensor], suffix: str
    ) -> tuple[Tensor, State]:
        """Run one direction of one layer as the integer model does, from a zero state.

        Raises:
            ValueError: the state is not zero.
        """
        if any(tensor.any() for tensor in state):
            raise ValueError("a state is given; a layer in fixed point starts at zero")
        x = self.quantizers["input" + suffix](x)
        if self.bias:
            bias = self.quantizers["bias" + suffix](self.gate_bias(w))
        else:
            bias = x.new_zeros(4, self.hidden_size)
        return self.sequence(x, w, bias, suffix)

    def sequence(
        self, x: Tensor, w: Mapping[str, Tensor], bias: Tensor, suffix: str
    ) -> tuple[Tensor, State]:
        """Run the quantized frames x with the quantized weights and biases."""
        raise NotImplementedError


class AwareLSTM(AwareRecurrent, LSTM):
    """An LSTM that computes as :class:`ernn.quantize.IntegerLSTM` does."""

    def gate_bias(self, w: Mapping[str, Tensor]) -> Tensor:
        """Biases of i, f, g, o."""
        return (w["bias_ih"] + w["bias_hh"]).view(4, -1)

    def sequence(
        self, x: Tensor, w: Mapping[str, Tensor], bias: Tensor, suffix: str
    ) -> tuple[Tensor, State]:
        """Run one direction of one layer."""
        spectra = (
            Accumulator(self.spectra("weight_ih" + suffix)),
            Accumulator(self.spectra("weight_hh" + suffix)),
            Accumulator(self.spectra("weight_hr" + suffix)) if self.proj_size else None,
        )
        peephole = w.get("weight_peephole")
        if peephole is not None:
            peephole = self.quantizers["weight_peephole" + suffix](peephole)
        matrices = w["weight_ih"], w["weight_hh"]
        y, c = LSTMSequence.apply(
            self.cells[suffix], spectra, x, *matrices, bias, peephole, w.get("weight_hr")
        )
        return y, (y[-1], c)


class AwareGRU(AwareRecurrent, GRU):
    """A GRU that computes as :class:`ernn.quantize.IntegerGRU` does."""

    def gate_bias(self, w: Mapping[str, Tensor]) -> Tensor:
        """Biases of r, z, the n of the input and the n of the state."""
        b_input, b_state = w["bias_ih"].view(3, -1), w["bias_hh"].view(3, -1)
        return torch.cat((b_input[:2] + b_state[:2], b_input[2:], b_state[2:]))

    def sequence(
        self, x: Tensor, w: Mapping[str, Tensor], bias: Tensor, suffix: str
    ) -> tuple[Tensor, State]:
        """Run one direction of one layer."""
        W, U = self.spectra("weight_ih" + suffix), self.spectra("weight_hh" + suffix)
        parts: list[Tensor | None] = [U, None]
        if not self.reset_after:
            r, z, n = U.chunk(3)
            parts = [torch.cat((r, z)), n]
        spectra = Accumulator(W), *(None if part is None else Accumulator(part) for part in parts)
        matrices = w["weight_ih"], w["weight_hh"]
        y = GRUSequence.apply(self.cells[suffix], self.reset_after, spectra, x, *matrices, bias)
        return y, (y[-1],)


class AwareLinear(nn.Linear):
    """A dense layer that computes as :class:`ernn.quantize.IntegerLinear` does."""

    def quantize(self, formats: LinearFormats) -> None:
        """Set the formats; once, after the layer was made."""
        self.formats = formats
        self.quantizers = nn.ModuleDict(
            {
                "input": FakeQuantize(formats.input),
                "weight": FakeQuantize(formats.weight),
                "output": FakeQuantize(formats.output),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Round the product, the bias, and saturate their sum."""
        q = self.quantizers
        y = q["output"](functional.linear(q["input"](x), q["weight"](self.weight)))
        return y if self.bias is None else q["output"](y + q["output"](self.bias))


def prepare(model: AcousticModel, ranges: Sequence[Ranges], words: WordLengths) -> AcousticModel:
    """Return a copy of a model that computes with fake-quantized numbers, for training.

    It trains, saves and loads as the model does: its parameters have the same names and are the
    real-valued ones. The formats are not saved; they follow from the arguments.

    Args:
        model: one block size for all matrices of its recurrent layers.
        ranges: of :func:`ernn.quantize.calibrate` for ``model.recurrent``.
        words: word lengths, none above ``LONGEST``.

    Raises:
        ValueError: a model the integer arithmetic does not cover, or words too long.
    """
    for name, length in vars(words).items():
        if name != "segments" and length > LONGEST:
            raise ValueError(f"{name} of {length} bits: training has words of {LONGEST} or less")
    formats = choose_formats(model.recurrent, model.output, ranges, words)
    recurrent, like = model.recurrent, model.output.weight
    cls = AwareLSTM if isinstance(recurrent, LSTM) else AwareGRU
    options: dict[str, Any] = recurrent.options(recurrent) | {"block_size": recurrent.block_size}
    aware = deepcopy(model)
    aware.recurrent = cls(**options)
    aware.output = AwareLinear(model.output.in_features, model.output.out_features)
    aware.recurrent.quantize(formats.recurrent)
    aware.output.quantize(formats.linear)
    aware.recurrent.load_state_dict(recurrent.state_dict())
    aware.output.load_state_dict(model.output.state_dict())
    return aware.to(like).train(model.training)


def convert_prepared(model: AcousticModel) -> IntegerModel | OfflineModel:
    """Quantize a prepared model, trained or not, in the formats of its preparation.

    Raises:
        TypeError: the model was not prepared.
    """
    recurrent, output = model.recurrent, model.output
    if not isinstance(recurrent, AwareRecurrent) or not isinstance(output, AwareLinear):
        raise TypeError("the model has no formats; prepare gives a model that has")
    return to_integers(recurrent, output, Formats(recurrent.formats, output.formats))
