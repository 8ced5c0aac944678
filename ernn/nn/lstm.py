"""The LSTM of torch.nn, with block-circulant matrices, peepholes and piece-wise linear units."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ernn.nn.recurrent import UNITS, Options, Recurrent, State


class LSTM(Recurrent):
    """Long short-term memory; inputs and outputs as torch.nn.LSTM.

        i = s(W_i x + R_i y' + p_i * c' + b_i)      f likewise
        g = t(W_g x + R_g y' + b_g)                 c = f * c' + i * g
        o = s(W_o x + R_o y' + p_o * c + b_o)       y = W_hr (o * tanh(c))

    Gates are stacked i, f, g, o. Without ``proj_size`` y is o * tanh(c). With block size 1 and no
    peephole torch.nn.LSTM's own state dict loads.

    Args:
        input_size: size of x.
        hidden_size: size of c.
        num_layers: layers, each on the outputs of the one below.
        proj_size: size of y; 0 is no projection.
        peephole: the gates see the cell through the diagonals p: ``weight_peephole_l0`` (3, hidden)
            in the order i, f, o. Otherwise p is 0.
        cell_activation: t. The published accelerators take ``"sigmoid"`` for it.
        options: see :class:`ernn.nn.recurrent.Options`.

    Source: Sak et al., Long Short-Term Memory Recurrent Neural Network Architectures for Large
    Scale Acoustic Modeling, Interspeech 2014.
    """

    dense_class = nn.LSTM
    cell = "lstm"
    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        proj_size: int = 0,
        peephole: bool = False,
        cell_activation: Literal["tanh", "sigmoid"] = "tanh",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, proj_size=proj_size, peephole=peephole, **options
        )
        if cell_activation not in ("tanh", "sigmoid"):
            raise ValueError(f"cell_activation is {cell_activation!r}; it must be tanh or sigmoid")
        self.cell_activation = cell_activation

    @classmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size."""
        return super().options(module) | {
            "proj_size": module.proj_size,
            "peephole": getattr(module, "peephole", False),
            "cell_activation": getattr(module, "cell_activation", "tanh"),
        }

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Sizes of y and c."""
        return self.proj_size or self.hidden_size, self.hidden_size

    @property
    def fused(self) -> bool:
        """Whether torch's kernel computes this layer."""
        return (self.activation, self.cell_activation, self.peephole) == ("exact", "tanh", False)

    def forward(
        self,
        x: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs of the last layer and the final (y, c) of every layer.

        Args:
            x: (time, batch, input_size), or (batch, time, input_size) if ``batch_first``, or
                (time, input_size).
            hx: the initial (y, c), each (layers * directions, batch, size); zero if not given.
            lengths: (batch,) frames of each sequence, the rest is padding; all if not given. The
                backward direction then starts at a sequence's end. Outputs past it mean nothing,
                and the final state is that after the padding.
        """
        y, (h, c) = self.run(x, hx, lengths)
        return y, (h, c)

    def kernel(
        self,
        x: Tensor,
        state: State,
        weights: list[Tensor],
        num_layers: int,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Call torch's kernel; (output, y, c)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            options = self.bias, num_layers, self.dropout, self.training
            return torch._VF.lstm(x, state, weights, *options, bidirectional, batch_first)

    def step(self, u: Tensor, state: State, w: Mapping[str, Tensor]) -> State:
        """Return (y, c) one frame on."""
        sigmoid, tanh = UNITS[self.activation]
        cell = tanh if self.cell_activation == "tanh" else sigmoid
        y, c = state
        i, f, g, o = (u + linear(y, w["weight_hh"], w.get("bias_hh"))).chunk(4, dim=-1)
        p_i, p_f, p_o = w["weight_peephole"] if self.peephole else (0, 0, 0)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * cell(g)
        y = sigmoid(o + p_o * c) * tanh(c)
        return linear(y, w["weight_hr"]) if self.proj_size else y, c
