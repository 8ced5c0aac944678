"""The GRU of torch.nn, with block-circulant matrices, either reset and piece-wise linear units."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ernn.nn.recurrent import UNITS, Options, Recurrent, State


class GRU(Recurrent):
    """Gated recurrent unit; inputs and outputs as torch.nn.GRU.

        r = s(W_r x + U_r h' + b_r)                 z likewise
        n = tanh(W_n x + b_n + U_n (r * h') + d_n)              reset_after=False
        n = tanh(W_n x + b_n + r * (U_n h' + d_n))              reset_after=True
        h = (1 - z) * n + z * h'

    Gates are stacked r, z, n. This is torch's z, the share of the old state; E-RNN's z is 1 - z.
    The reset before the matrix is that of Cho et al. and E-RNN; there b_n and d_n simply add up.
    The reset after it is torch's: with it and block size 1, torch.nn.GRU's own state dict loads.

    Args:
        input_size: size of x.
        hidden_size: size of h.
        num_layers: layers, each on the outputs of the one below.
        reset_after: whether the reset acts after the matrix.
        options: see :class:`ernn.nn.recurrent.Options`.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation, EMNLP 2014.
    """

    dense_class = nn.GRU
    cell = "gru"
    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, **options)
        self.reset_after = reset_after

    @classmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size."""
        return super().options(module) | {"reset_after": getattr(module, "reset_after", True)}

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Size of h."""
        return (self.hidden_size,)

    @property
    def fused(self) -> bool:
        """Whether torch's kernel computes this layer."""
        return self.activation == "exact" and self.reset_after

    def forward(
        self, x: Tensor, hx: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs of the last layer and the final h of every layer.

        Args:
            x: (time, batch, input_size), or (batch, time, input_size) if ``batch_first``, or
                (time, input_size).
            hx: the initial h, (layers * directions, batch, hidden_size); zero if not given.
            lengths: (batch,) frames of each sequence, the rest is padding; all if not given. The
                backward direction then starts at a sequence's end. Outputs past it mean nothing,
                and the final state is that after the padding.
        """
        y, (h,) = self.run(x, None if hx is None else (hx,), lengths)
        return y, h

    def kernel(
        self,
        x: Tensor,
        state: State,
        weights: list[Tensor],
        num_layers: int,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Call torch's kernel; (output, h)."""
        options = self.bias, num_layers, self.dropout, self.training
        return torch._VF.gru(x, state[0], weights, *options, bidirectional, batch_first)

    def step(self, u: Tensor, state: State, w: Mapping[str, Tensor]) -> State:
        """Return (h,) one frame on."""
        sigmoid, tanh = UNITS[self.activation]
        (h,) = state
        rz_n = 2 * self.hidden_size, self.hidden_size
        U_rz, U_n = w["weight_hh"].split(rz_n)
        d_rz, d_n = w["bias_hh"].split(rz_n) if self.bias else (None, None)
        u_rz, u_n = u.split(rz_n, dim=-1)
        r, z = sigmoid(u_rz + linear(h, U_rz, d_rz)).chunk(2, dim=-1)
        n = tanh(u_n + (r * linear(h, U_n, d_n) if self.reset_after else linear(r * h, U_n, d_n)))
        return ((1 - z) * n + z * h,)
