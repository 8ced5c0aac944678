"""Fake quantization: the arithmetic of :mod:`ernn.fixed` on floating-point tensors.

Where the hardware rounds, values are rounded and saturated, and the gradient goes *straight
through*: as if nothing had been rounded, and zero where it was saturated (Bengio et al., Estimating
or Propagating Gradients Through Stochastic Neurons, 2013; Jacob et al., Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018).

*Codes* are the integers of :mod:`ernn.fixed`, held in floating point: in float64 exactly, in
float32 but for rare ties, because there a sum of products keeps 24 bits. Blocks are stored words
first, (k, ..., blocks), so that one small matrix transforms all blocks at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ernn.activations import PiecewiseLinear
from ernn.circulant import num_blocks
from ernn.fixed import TWIDDLE_FRACTION, FixedPoint, activation, activation_table, twiddle

# ----------------------------------------------------------------------------------------- rounding


def to_codes(x: Tensor, fmt: FixedPoint) -> Tensor:
    """Round half up to the format and saturate: real values to codes of any shape."""
    return saturate_((x * 2.0**fmt.fraction_length).add_(0.5).floor_(), fmt)


def round_(n: Tensor, shift: int) -> Tensor:
    """:func:`ernn.fixed.shift_round` in place."""
    return n.mul_(2.0**-shift).add_(0.5).floor_()


def saturate_(n: Tensor, fmt: FixedPoint) -> Tensor:
    """:meth:`ernn.fixed.FixedPoint.saturate` in place."""
    return n.clamp_(fmt.lowest, fmt.highest)


def inside(codes: Tensor, fmt: FixedPoint) -> Tensor:
    """1 where a code is not one of the format's two ends, else 0: what the gradient passes."""
    return ((codes > fmt.lowest) & (codes < fmt.highest)).to(codes.dtype)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: FixedPoint) -> Tensor:
        codes = to_codes(x, fmt)
        ctx.save_for_backward(inside(codes, fmt))
        return codes.mul_(2.0**-fmt.fraction_length)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (passed,) = ctx.saved_tensors
        return gradients[0] * passed, None


class FakeQuantize(nn.Module):
    """Real values of any shape to the nearest values of a format; the gradient is straight-through.

    Args:
        fmt: the format; :func:`repr` shows it.
    """

    def __init__(self, fmt: FixedPoint) -> None:
        super().__init__()
        self.fmt = fmt

    def forward(self, x: Tensor) -> Tensor:
        """Round and saturate."""
        return _StraightThrough.apply(x, self.fmt)

    def extra_repr(self) -> str:
        """Show the format."""
        return str(self.fmt)


# ---------------------------------------------------------------------------------------------- FFT


def to_words(x: Tensor, block_size: int) -> Tensor:
    """Cut (..., size) into blocks padded with zeros, words first: (k, ..., blocks)."""
    blocks = num_blocks(x.shape[-1], block_size)
    x = pad(x, (0, blocks * block_size - x.shape[-1])).unflatten(-1, (blocks, block_size))
    return x.movedim(-1, 0).contiguous()


def from_words(words: Tensor, size: int, dim: int = 0) -> Tensor:
    """Undo :func:`to_words`: (..., k, ..., blocks), the words in ``dim``, to (..., size)."""
    return words.movedim(dim, -1).flatten(-2)[..., :size]


class Transform(nn.Module):
    """The fixed-point FFT of blocks of k words, and its inverse, as :mod:`ernn.fixed` defines them.

    Both are products with k x k matrices, with a rounding after each but the last. Everything but
    the products with twiddles is whole already, so that rounding all words changes only those.
    """

    def __init__(self, block_size: int) -> None:
        super().__init__()
        self.block_size = block_size
        stages = {"forward": _forward_stages(block_size), "inverse": _inverse_stages(block_size)}
        for name, matrices in stages.items():
            tensor = torch.tensor(np.stack(matrices), dtype=torch.get_default_dtype())
            self.register_buffer(f"_{name}", tensor, persistent=False)

    def rfft(self, x: Tensor) -> Tensor:
        """Codes (k, ...) to their spectra (k, ...), packed: :func:`ernn.fixed.rfft`."""
        return self._run(self.get_buffer("_forward"), x)

    def irfft(self, spectra: Tensor) -> Tensor:
        """Spectra (k, ...) to codes (k, ...), k times too large: :func:`ernn.fixed.irfft`."""
        return self._run(self.get_buffer("_inverse"), spectra)

    def _run(self, matrices: Tensor, x: Tensor) -> Tensor:
        y = matrices[0] @ x.flatten(1)
        for matrix in matrices[1:]:
            y = matrix @ y.add_(0.5).floor_()
        return y.view(x.shape)


def _bin(f: int, k: int) -> tuple[int, int]:
    """Places of a bin's real and imaginary part in a packed spectrum, 0 < f < k/2."""
    return 2 * f, 2 * f + 1


def _twice(matrix: np.ndarray) -> np.ndarray:
    return np.kron(np.eye(2), matrix)


def _forward_stages(k: int) -> list[np.ndarray]:
    """Matrices of :func:`ernn.fixed.rfft`: even and odd samples apart, rotation, butterflies."""
    if k == 1:
        return [np.eye(1)]
    half, quarter = k // 2, k // 4
    stages = [_twice(stage) for stage in _forward_stages(half)]
    stages[0] = stages[0] @ np.eye(k)[[*range(0, k, 2), *range(1, k, 2)]]
    rotation, butterflies = np.eye(k), np.zeros((k, k))  # words: E packed, then O packed
    butterflies[0, [0, half]] = 1, 1
    butterflies[1, [0, half]] = 1, -1
    if k > 2:
        re, im = _bin(quarter, k)
        butterflies[re, 1], butterflies[im, half + 1] = 1, -1
    for f in range(1, quarter):
        cos, sin = (part / (1 << TWIDDLE_FRACTION) for part in twiddle(f, k))
        e_re, e_im = _bin(f, half)
        t_re, t_im = half + e_re, half + e_im
        rotation[t_re, [t_re, t_im]] = cos, sin
        rotation[t_im, [t_re, t_im]] = -sin, cos
        (re, im), (mirrored_re, mirrored_im) = _bin(f, k), _bin(half - f, k)
        butterflies[re, [e_re, t_re]] = 1, 1
        butterflies[im, [e_im, t_im]] = 1, 1
        butterflies[mirrored_re, [e_re, t_re]] = 1, -1
        butterflies[mirrored_im, [e_im, t_im]] = -1, 1
    if quarter <= 1:  # no twiddle, nothing to round
        return [butterflies @ stages[0]]
    return [*stages[:-1], rotation @ stages[-1], butterflies]


def _inverse_stages(k: int) -> list[np.ndarray]:
    """Matrices of :func:`ernn.fixed.irfft`: spectra of even and odd samples, then both apart."""
    if k == 1:
        return [np.eye(1)]
    half, quarter = k // 2, k // 4
    split = np.zeros((k, k))  # to the words of the even samples' spectrum, then of the odd ones'
    split[0, [0, 1]] = 1, 1
    split[half, [0, 1]] = 1, -1
    if k > 2:
        re, im = _bin(quarter, k)
        split[1, re], split[half + 1, im] = 2, -2
    for f in range(1, quarter):
        cos, sin = (part / (1 << TWIDDLE_FRACTION) for part in twiddle(f, k))
        parts = [*_bin(f, k), *_bin(half - f, k)]  # a_re, a_im, b_re, b_im
        re, im = _bin(f, half)
        split[re, parts] = 1, 0, 1, 0
        split[im, parts] = 0, 1, 0, -1
        split[half + re, parts] = cos, -sin, -cos, -sin
        split[half + im, parts] = sin, cos, -sin, cos
    stages = [_twice(stage) for stage in _inverse_stages(half)]
    order = np.argsort([*range(0, k, 2), *range(1, k, 2)])
    stages[-1] = stages[-1][order]
    if quarter <= 1:
        return [stages[0] @ split]
    return [split, *stages]


class Accumulator:
    """Sums of block products, as :func:`ernn.fixed.accumulate` makes them.

    Args:
        spectra: codes (p, q, k) of a matrix.
    """

    def __init__(self, spectra: Tensor) -> None:
        words = spectra.permute(2, 1, 0)  # (k, q, p)
        re, im = words[2::2], words[3::2]
        self.ends = words[:2].contiguous()
        self.inner = torch.cat((torch.cat((re, im), 2), torch.cat((-im, re), 2)), 1)

    def __call__(self, X: Tensor) -> Tensor:
        """Spectra (k, n, q) to sums (k, n, p)."""
        ends = torch.bmm(X[:2], self.ends)
        if len(X) <= 2:
            return ends
        inner = X[2:].unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)  # (k/2 - 1, n, 2 q)
        Y = torch.bmm(inner, self.inner).unflatten(2, (2, -1)).transpose(1, 2)
        return torch.cat((ends, Y.flatten(0, 1)))


# --------------------------------------------------------------------------------------- activation


class Lookup(nn.Module):
    """Piece-wise linear units of one input format, each code's value looked up.

    The values are those of :func:`ernn.fixed.activation`, the slopes those of the units before
    their knots were rounded: 0 beyond a unit's limit and at the ends of the input format.

    Args:
        units: what to hold.
        source, output: formats.
    """

    values: Tensor
    slopes: Tensor

    def __init__(
        self, units: Sequence[PiecewiseLinear], source: FixedPoint, output: FixedPoint
    ) -> None:
        super().__init__()
        limit = int(max(unit.limit for unit in units) * 2.0**source.fraction_length)
        self.lowest, self.highest = max(source.lowest, -limit), min(source.highest, limit)
        codes = np.arange(self.lowest, self.highest + 1)
        self.size = len(codes)
        values, slopes = [], []
        for unit in units:
            table = activation_table(unit, source, output)
            values.append(output.to_float(activation(codes, table)))
            segment = np.minimum(np.abs(codes) >> table.offset_length, unit.segments - 1)
            passed = np.abs(codes) <= table.magnitude_limit
            passed &= (codes > source.lowest) & (codes < source.highest)
            slopes.append(np.diff(unit.knots)[segment] / unit.width * passed)
        for name, content in (("values", values), ("slopes", slopes)):
            tensor = torch.tensor(np.concatenate(content), dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def start(self, unit: int = 0) -> int:
        """What added to a code of the range makes its place in the ``unit``'s part of the table."""
        return unit * self.size - self.lowest

    def places_(self, codes: Tensor, start: Tensor | int) -> Tensor:
        """Clip codes to the range, in place, and add ``start``: places in the table."""
        return codes.clamp_(self.lowest, self.highest).add_(start)

    def extra_repr(self) -> str:
        """Show the size."""
        return f"{len(self.values)} values"
