"""The GRU of torch.nn, with block-circulant matrices, either reset and piece-wise linear units."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
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

    @property
    def uses_kernel(self) -> bool:
        """Whether torch's kernel is used: on a processor :class:`GRUFunction` trains faster."""
        trains_here = torch.is_grad_enabled() and self.weight_ih_l0.device.type == "cpu"
        return self.fused and not trains_here

    def unroll(
        self, x: Tensor, state: State, w: Mapping[str, Tensor], suffix: str
    ) -> tuple[Tensor, State]:
        """Run one direction of one layer, as :meth:`Recurrent.unroll` says."""
        if self.uses_kernel or not self.fused:
            return super().unroll(x, state, w, suffix)
        U = w["weight_hh"]
        d = w["bias_hh"] if self.bias else U.new_zeros(len(U))
        y = GRUFunction.apply(linear(x, w["weight_ih"], w.get("bias_ih")), state[0], U, d)
        return y, (y[-1],)

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


class GRUFunction(Function):
    """A GRU of torch over time, and its gradient: all that is not recurrent in one piece.

    Arguments of ``apply``
        u : (time, batch, 3 hidden), the input's part of the pre-activations, with its bias
        h : (batch, hidden), the state before the first frame
        U, d : (3 hidden, hidden), (3 hidden,), recurrent weight and bias

    Returns the outputs (time, batch, hidden). Under autocast the recurrent products are of its
    type, all else of U's.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, h: Tensor, U: Tensor, d: Tensor) -> Tensor:
        """Run, and keep what the gradient needs."""
        device = u.device.type
        autocast = torch.is_autocast_enabled(device)
        ctx.dtype = torch.get_autocast_dtype(device) if autocast else U.dtype
        u = u.to(U.dtype)
        frames, batch, size = len(u), *h.shape
        y = u.new_empty(frames + 1, batch, size)
        gates, recurrent = torch.empty_like(u), torch.empty_like(y[1:])  # r, z, n; U_n h + d_n
        y[0] = h
        with torch.autocast(device, enabled=False):
            U_T, d_row = U.to(ctx.dtype).T, d.to(ctx.dtype)
            for t in range(frames):
                g = torch.addmm(d_row, y[t].to(ctx.dtype), U_T)
                r, z, n = gates[t].split(size, dim=-1)
                rz = torch.add(u[t, :, : 2 * size], g[:, : 2 * size], out=gates[t, :, : 2 * size])
                rz.sigmoid_()
                recurrent[t] = g[:, 2 * size :]
                torch.addcmul(u[t, :, 2 * size :], r, recurrent[t], out=n).tanh_()
                torch.lerp(n, y[t], z, out=y[t + 1])
        ctx.save_for_backward(U, y, gates, recurrent)
        return y[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of u, h, U and d."""
        U, y, gates, recurrent = ctx.saved_tensors
        size = recurrent.shape[-1]
        r, z, n = gates.split(size, dim=-1)
        of_n = (1 - z) * (1 - n.square())  # d h / d pre-activation of n, and of r, z
        of_rz = of_n * recurrent * r * (1 - r), (y[:-1] - n) * z * (1 - z)
        of_u = torch.stack((*of_rz, of_n), dim=2)  # (time, batch, 3, hidden)
        of_Uh = torch.stack((*of_rz, of_n * r), dim=2)
        du = torch.empty_like(of_u)
        dUh = torch.empty_like(of_u, dtype=ctx.dtype)
        U_cast, dh = U.to(ctx.dtype), torch.zeros_like(y[0])
        for t in reversed(range(len(dy))):
            dh = dh + dy[t]
            torch.mul(dh[:, None], of_u[t], out=du[t])
            dUh[t] = dh[:, None] * of_Uh[t]
            dh = dh * z[t] + dUh[t].flatten(1) @ U_cast
        flat = dUh.flatten(2).flatten(0, 1)  # (time * batch, 3 hidden)
        dU = flat.T @ y[:-1].to(ctx.dtype).flatten(0, 1)
        dd = flat.sum(0, dtype=U.dtype)
        return du.flatten(2), dh, dU.to(U.dtype), dd
