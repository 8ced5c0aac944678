"""Piece-wise linear sigmoid and tanh: one table of knots for float, fixed point and RTL.

The positive half-axis up to ``limit`` is cut into ``segments`` pieces, a power of two wide each,
and the function joined by chords between knots. The negative half follows by symmetry and beyond
``limit`` the last knot holds, so the unit is continuous and monotone. Each knot is moved off the
curve by half of what a chord misses beside it, which halves the largest error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PiecewiseLinear:
    """A piece-wise linear form of ``function``; call it on a tensor of any shape.

    Attributes:
        name: what reports and Verilog modules call it.
        function: the scalar function that is approximated.
        limit: the unit is constant beyond +-limit.
        complement: f(-x) is ``complement`` - f(x): 1 for the sigmoid, 0 for an odd function.
        segments: number of pieces of [0, limit); limit / segments is a power of two.
    """

    name: str
    function: Callable[[float], float]
    limit: float
    complement: int
    segments: int = 32

    def __post_init__(self) -> None:
        if not math.log2(self.width).is_integer():
            raise ValueError(
                f"{self.name}: limit / segments is {self.width}; it must be a power of two"
            )

    @property
    def width(self) -> float:
        """Width of a segment."""
        return self.limit / self.segments

    @cached_property
    def knots(self) -> np.ndarray:
        """Values at 0, width, ..., limit: (segments + 1,) float64.

        A chord misses the curve by f'' width**2 / 8 at its middle; the knots take half of it.
        """
        f = np.array([self.function(s * self.width) for s in range(-1, self.segments + 2)])
        return f[1:-1] - np.diff(f, 2) / 16

    def __call__(self, x: Tensor) -> Tensor:
        """Interpolate; the gradient is the slope of the segment, 0 beyond the limit."""
        upper = torch.as_tensor(self.knots, dtype=x.dtype, device=x.device)
        knots = torch.cat([self.complement - upper[1:].flip(0), upper])  # from -limit to limit
        position = (x / self.width + self.segments).clamp(0, 2 * self.segments)
        segment = position.detach().long().clamp(max=2 * self.segments - 1)
        return knots.take(segment) + knots.diff().take(segment) * (position - segment)


SIGMOID = PiecewiseLinear("sigmoid", lambda x: 1 / (1 + math.exp(-x)), limit=8.0, complement=1)
TANH = PiecewiseLinear("tanh", math.tanh, limit=4.0, complement=0)

SEGMENTS = 4, 8, 16, 32, 64
"""Numbers of segments that fixed point has: with fewer the knots do not rise, with more the largest
error, then that of the limit, does not fall. It is 0.064, 0.0134, 0.0031, 0.0008, 0.0007 of tanh
and 0.032, 0.0067, 0.0016, 0.0004, 0.0003 of the sigmoid."""


def check_segments(segments: int) -> None:
    """Raise ValueError unless ``segments`` is one of ``SEGMENTS``."""
    if segments not in SEGMENTS:
        raise ValueError(f"segments {segments}: must be one of {', '.join(map(str, SEGMENTS))}")


@cache
def sigmoid_and_tanh(segments: int) -> tuple[PiecewiseLinear, PiecewiseLinear]:
    """The two units cut into that many segments."""
    return replace(SIGMOID, segments=segments), replace(TANH, segments=segments)
