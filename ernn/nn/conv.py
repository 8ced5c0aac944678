"""A convolutional layer whose channels meet in block-circulant matrices."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fft import irfft, rfft
from torch.nn import functional

from ernn.circulant import num_blocks
from ernn.fixed import fft_products, spectral_products
from ernn.nn.base import CirculantModule, Matrix

Pair = int | tuple[int, int]


@dataclass(frozen=True)
class Kernel(Matrix):
    """How the matrices (rows, columns) of a ``window``'s pixels lie in one parameter.

    With ``block_size`` 1 the parameter is torch's, (rows, columns, height, width). Else it holds
    first columns, (height, width, p, q, k).
    """

    window: tuple[int, int] = (1, 1)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """Shape of torch's weight."""
        return self.rows, self.columns, *self.window

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        if self.block_size == 1:
            return self.dense_shape
        p, q = (num_blocks(size, self.block_size) for size in (self.rows, self.columns))
        return *self.window, p, q, self.block_size

    @property
    def products(self) -> int:
        """Real multiplications of an output pixel; an input pixel's FFT serves all its windows."""
        if self.block_size == 1:
            return math.prod(self.dense_shape)
        *window, p, q, k = self.shape
        return math.prod(window) * p * q * spectral_products(k) + (p + q) * fft_products(k)

    def to_dense(self, parameter: Tensor) -> Tensor:
        """Return torch's weight of ``parameter``."""
        if self.block_size == 1:
            return parameter
        dense = self._stack.to_dense(parameter.flatten(0, 2))
        return dense.unflatten(0, (*self.window, self.rows)).permute(2, 3, 0, 1)

    def project(self, weight: Tensor) -> Tensor:
        """Return the parameter nearest to torch's ``weight``."""
        if weight.shape != self.dense_shape:
            raise ValueError(f"a weight is {tuple(weight.shape)}; it must be {self.dense_shape}")
        if self.block_size == 1:
            return weight
        return self._stack.project(weight.permute(2, 3, 0, 1).flatten(0, 2)).view(self.shape)

    @property
    def _stack(self) -> Matrix:
        """The matrices one below the other, row by row of the window."""
        return Matrix(self.rows, self.columns, self.block_size, math.prod(self.window))


class CirculantConv2d(CirculantModule):
    """torch.nn.Conv2d through the spectra of k channels: (N, in, H, W) -> (N, out, H', W').

    A pixel's channels are a vector, and every pixel of the window has a block-circulant matrix
    (out, in) of its own. The FFT of the channels leaves a complex convolution of (q, p) channels
    for each of its k/2 + 1 bins. ``weight`` is (height, width, p, q, k); with ``block_size`` 1 it
    is torch's. Edges are padded with zeros. Source: Ding et al., CirCNN, MICRO 2017.

    Raises:
        ValueError: ``block_size`` is no power of two.
    """

    dense_class = nn.Conv2d
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        block_size: int,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _pair(kernel_size)
        self.block_size = block_size
        self.stride, self.dilation = _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)
        shapes: dict[str, Matrix | tuple[int, ...]] = {
            "weight": Kernel(out_channels, in_channels, block_size, window=self.kernel_size)
        }
        if bias:
            shapes["bias"] = (out_channels,)
        else:
            self.bias = None
        self.register(shapes, in_channels * math.prod(self.kernel_size), device, dtype)

    @classmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size.

        Raises:
            ValueError: ``module`` has groups, or pads with something else than zeros.
        """
        if isinstance(module, nn.Conv2d):
            for name, allowed in (("groups", 1), ("padding_mode", "zeros")):
                if (given := getattr(module, name)) != allowed:
                    raise ValueError(f"{name} is {given!r}; it must be {allowed!r}")
        names = "in_channels out_channels kernel_size stride padding dilation"
        options = {name: getattr(module, name) for name in names.split()}
        return options | {"bias": module.bias is not None}

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, in, H, W), or one image (in, H, W)."""
        geometry: dict[str, Any] = {n: getattr(self, n) for n in ("stride", "padding", "dilation")}
        if self.block_size == 1:
            return functional.conv2d(x, self.weight, self.bias, **geometry)
        if x.dim() == 3:
            return self.forward(x[None])[0]
        p, q, k = self.weight.shape[2:]
        bins = k // 2 + 1
        if ragged := q * k - x.shape[1]:
            x = functional.pad(x, (0, 0, 0, 0, 0, ragged))
        X = rfft(x.unflatten(1, (q, k)), dim=2).transpose(1, 2)  # (N, bins, q, H, W)
        W = rfft(self.weight).permute(4, 2, 3, 0, 1)  # (bins, p, q, height, width)
        Y = functional.conv2d(X.flatten(1, 2), W.flatten(0, 1), groups=bins, **geometry)
        y = irfft(Y.unflatten(1, (bins, p)), n=k, dim=1)  # (N, k, p, H', W')
        y = y.transpose(1, 2).flatten(1, 2)[:, : self.out_channels]
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Show every option."""
        options = self.options(self) | {"block_size": self.block_size}
        return ", ".join(f"{name}={value}" for name, value in options.items())


def _pair(value: Pair) -> tuple[int, int]:
    """Return height and width."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
