"""What LSTM and GRU share: layers, directions, states, and the loop over time."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear, pad

from ernn.activations import SIGMOID, TANH
from ernn.circulant import blocks_first, fold, positions_first
from ernn.nn.base import CirculantModule, Matrix
from ernn.nn.recurrence import Recurrence, supports

BlockSize = int | Mapping[str, int]
State = tuple[Tensor, ...]
"""(h, c) of an LSTM, (h,) of a GRU."""

Unit = Callable[[Tensor], Tensor]
UNITS: dict[str, tuple[Unit, Unit]] = {
    "exact": (torch.sigmoid, torch.tanh),
    "pwl": (SIGMOID, TANH),
}
"""Sigmoid and tanh by the name of the activation."""


class Options(TypedDict, total=False):
    """Keyword arguments of :class:`LSTM` and :class:`GRU` alike; from ``bias`` on they are torch's.

    Attributes:
        block_size: k of every matrix, by default 1 (dense); or a mapping that gives one for the
            ``"input"`` matrices, one for the ``"recurrent"``, one for the ``"projection"`` if any.
        activation: ``"exact"``, the default, or ``"pwl"``, the units of :mod:`ernn.activations`.
    """

    block_size: BlockSize
    activation: Literal["exact", "pwl"]
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


def reverse(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Turn every sequence of ``x`` (time, batch, size) round in time; its own inverse.

    With ``lengths`` (batch,) a sequence ends there, and what lies past its end stays.
    """
    if lengths is None:
        return x.flip(0)
    time, batch = (torch.arange(size, device=lengths.device) for size in x.shape[:2])
    time = time[:, None]
    source = torch.where(time < lengths, lengths - 1 - time, time)  # (time, batch)
    rows = (source * len(batch) + batch).flatten().to(x.device)
    return x.flatten(0, 1).index_select(0, rows).view_as(x)


class Recurrent(CirculantModule):
    """Base of the recurrent layers; parameters are named and gates are ordered as in torch.nn.

    The matrices are expanded once a call, to dense ones or to their halves. Where torch's kernel
    computes the same function it is used, or :class:`ernn.nn.recurrence.Recurrence`, which trains
    faster on a processor, and by halves with half the products; elsewhere the loop over time here.
    """

    cell: ClassVar[str]
    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        proj_size: int = 0,
        peephole: bool = False,
        block_size: BlockSize = 1,
        activation: Literal["exact", "pwl"] = "exact",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1:
            sizes = f"{input_size}, {hidden_size}, {num_layers}"
            raise ValueError(f"input_size, hidden_size, num_layers are {sizes}; each must be >= 1")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"proj_size is {proj_size}; it must be 0 to {hidden_size - 1}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}; it must be from 0 to 1")
        if activation not in UNITS:
            raise ValueError(f"activation is {activation!r}; it must be one of {', '.join(UNITS)}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.proj_size = proj_size
        self.peephole = peephole
        self.block_size = block_size
        self.activation = activation
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.register(self.layout(block_size), hidden_size, device, dtype)

    @classmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size."""
        names = "input_size hidden_size num_layers bias batch_first dropout bidirectional"
        options = {name: getattr(module, name) for name in names.split()}
        return options | {"activation": getattr(module, "activation", "exact")}

    @property
    @abstractmethod
    def state_sizes(self) -> tuple[int, ...]:
        """Sizes of the tensors of a state."""

    @property
    @abstractmethod
    def fused(self) -> bool:
        """Whether torch's kernel computes this layer."""

    @property
    def compiled(self) -> bool:
        """Whether :class:`Recurrence` is used: where this trains, if it runs there."""
        ours = self.fused and not self.proj_size and torch.is_grad_enabled()
        return ours and supports(next(self.parameters()), self.hidden_size)

    @property
    def halved(self) -> int:
        """The block size, if all matrices have it and are multiplied in halves; else 0.

        See :func:`ernn.circulant.to_halves`.
        """
        sizes = {matrix.block_size for matrix in self.matrices.values()}
        k = max(sizes)
        fits = len(sizes) == 1 and k > 1 and self.hidden_size % k == 0
        like = next(self.parameters())
        return k if fits and self.compiled and supports(like, self.hidden_size // 2) else 0

    @property
    def uses_kernel(self) -> bool:
        """Whether torch's kernel is used."""
        return self.fused and not self.compiled

    @abstractmethod
    def kernel(
        self,
        x: Tensor,
        state: State,
        weights: list[Tensor],
        num_layers: int,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Call torch's kernel; (output, *final state).

        Args:
            x: (time, batch, input), or (batch, time, input) if ``batch_first``.
            state: each (layers * directions, batch, size).
            weights: dense, those of these layers and directions in torch's order.
            num_layers: layers to run.
            bidirectional: whether each has two directions.
            batch_first: the order of x and of the output.
        """

    @abstractmethod
    def step(self, u: Tensor, state: State, w: Mapping[str, Tensor]) -> State:
        """Return the state one frame on, its first tensor the output.

        Args:
            u: (batch, gates * hidden), the input's part of the pre-activations, with its bias.
            state: each (batch, size).
            w: dense weights of one layer and direction, named as torch's without ``_l0``.
        """

    def layout(self, block_size: BlockSize) -> dict[str, Matrix | tuple[int, ...]]:
        """Return how each parameter is stored at ``block_size``, in torch's order.

        Raises:
            ValueError: a k is no power of two, or a mapping does not name the matrices.
        """
        hidden, output = self.hidden_size, self.proj_size or self.hidden_size
        roles = ("input", "recurrent", "projection")
        k = block_size if isinstance(block_size, Mapping) else dict.fromkeys(roles, block_size)
        needed = roles if self.proj_size else roles[:2]
        if not set(needed) <= set(k) <= set(roles):
            raise ValueError(f"block_size has the keys {', '.join(k)}; needed: {', '.join(needed)}")
        shapes: dict[str, Matrix | tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            columns = output * len(self.directions) if layer else self.input_size
            for direction in self.directions:
                suffix = f"l{layer}{direction}"
                shapes[f"weight_ih_{suffix}"] = Matrix(hidden, columns, k["input"], self.gates)
                shapes[f"weight_hh_{suffix}"] = Matrix(hidden, output, k["recurrent"], self.gates)
                if self.bias:
                    shapes[f"bias_ih_{suffix}"] = (self.gates * hidden,)
                    shapes[f"bias_hh_{suffix}"] = (self.gates * hidden,)
                if self.proj_size:
                    shapes[f"weight_hr_{suffix}"] = Matrix(output, hidden, k["projection"])
                if self.peephole:
                    shapes[f"weight_peephole_{suffix}"] = (3, hidden)
        return shapes

    @property
    def directions(self) -> tuple[str, ...]:
        """Endings of the names of parameters, one a direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def run(
        self, x: Tensor, state: State | None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run all layers as torch.nn does, shapes included; without a ``state`` it starts at zero.

        Raises:
            TypeError: ``x`` is no tensor; a PackedSequence is not supported.
            ValueError: ``x``, ``state`` or ``lengths`` does not fit.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"input is a {type(x).__name__}; it must be a padded tensor")
        if x.dim() == 2:  # one sequence, no batch dimension
            batch_dim = 0 if self.batch_first else 1
            y, final = self.run(
                x.unsqueeze(batch_dim), state and tuple(s.unsqueeze(1) for s in state), lengths
            )
            return y.squeeze(batch_dim), tuple(s.squeeze(1) for s in final)
        if x.dim() != 3 or x.shape[-1] != self.input_size or x.numel() == 0:
            order = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"input has the shape {tuple(x.shape)}; it must be ({order}, {self.input_size})"
            )
        stacked = self.num_layers * len(self.directions)
        batch = x.shape[0 if self.batch_first else 1]
        shapes = [(stacked, batch, size) for size in self.state_sizes]
        state = tuple(x.new_zeros(shape) for shape in shapes) if state is None else state
        if (given := [tuple(s.shape) for s in state]) != shapes:
            raise ValueError(f"the state has the shapes {given}; they must be {shapes}")

        frames = x.shape[1 if self.batch_first else 0]
        if lengths is not None:
            fit = lengths.shape == (batch,) and bool(((lengths > 0) & (lengths <= frames)).all())
            if not fit:
                raise ValueError(
                    f"lengths are {lengths.tolist()}; they must be {batch} from 1 to {frames}"
                )

        weights = self.halved_parameters() if self.halved else self.dense_parameters()
        if self.uses_kernel and (lengths is None or not self.bidirectional):
            y, *last = self.kernel(
                x,
                state,
                list(weights.values()),
                self.num_layers,
                self.bidirectional,
                self.batch_first,
            )
            return y, tuple(last)
        if self.batch_first:
            y, final = self._loop(x.transpose(0, 1), state, weights, lengths)
            return y.transpose(0, 1), final
        return self._loop(x, state, weights, lengths)

    def _loop(
        self, x: Tensor, state: State, weights: Mapping[str, Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run layer by layer; x (time, batch, input), the tensors of the state stacked."""
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = dropout(x, self.dropout, self.training)
            outputs = []
            for direction in self.directions:
                suffix = f"_l{layer}{direction}"
                w = {n.removesuffix(suffix): t for n, t in weights.items() if n.endswith(suffix)}
                start = tuple(tensor[len(last)] for tensor in state)
                y, end = self.unroll(reverse(x, lengths) if direction else x, start, w, suffix)
                last.append(end)
                outputs.append(reverse(y, lengths) if direction else y)
            x = torch.cat(outputs, dim=-1)  # (time, batch, directions * output)
        return x, tuple(torch.stack(tensors) for tensors in zip(*last, strict=True))

    def unroll(
        self, x: Tensor, state: State, w: Mapping[str, Tensor], suffix: str
    ) -> tuple[Tensor, State]:
        """Run one direction of one layer: the outputs (time, batch, output) and the last state.

        Args:
            x: (time, batch, input), in the direction's order.
            state: each (batch, size).
            w: as of :meth:`step`.
            suffix: what the layer's and direction's parameters end with, as ``_l0_reverse``.
        """
        if self.uses_kernel:
            stacked, weights = tuple(t[None] for t in state), list(w.values())
            y, *last = self.kernel(x, stacked, weights, 1, False, False)
            return y, tuple(t[0] for t in last)
        if self.compiled:
            return self._unroll_compiled(x, state, w)
        inputs = linear(x, w["weight_ih"], w.get("bias_ih"))  # (time, batch, gates * hidden)
        outputs = []
        for u in inputs:
            state = self.step(u, state, w)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def _unroll_compiled(
        self, x: Tensor, state: State, w: Mapping[str, Tensor]
    ) -> tuple[Tensor, State]:
        """Do what :meth:`unroll` does by :class:`Recurrence`."""
        h, s = state[0], state[-1]
        zeros = h.new_zeros(self.gates * self.hidden_size)
        b_ih, b_hh = w.get("bias_ih", zeros), w.get("bias_hh", zeros)
        if not (k := self.halved):
            u = linear(x, w["weight_ih"], b_ih)[None]
            y, s = Recurrence.apply(self.cell, u, h, s, w["weight_hh"][None], b_hh)
            return y, (y[-1], s)[: len(state)]
        b_ih, b_hh = (b.unflatten(0, (self.gates, -1)) for b in (b_ih, b_hh))
        x = pad(x, (0, -x.shape[-1] % k))
        x, h, s, b_ih, b_hh = (positions_first(t, k) for t in (x, h, s, b_ih, b_hh))
        parts = fold(x), w["weight_ih"], (fold(b_ih) / 2).flatten(1)
        u = torch.stack([linear(*part) for part in zip(*parts, strict=True)])
        y, s = Recurrence.apply(self.cell, u, h, s, w["weight_hh"], b_hh.flatten())
        y, s = blocks_first(y, k), blocks_first(s, k)
        return y, (y[-1], s)[: len(state)]

    def extra_repr(self) -> str:
        """Show every option."""
        options = self.options(self) | {"block_size": self.block_size}
        return ", ".join(f"{name}={value}" for name, value in options.items())
