"""Layers of the integer model that keep nothing from frame to frame.

A frame of an image is its pixels row by row, each with its channels side by side: (height, width,
channels), flattened. So convolution and pooling take and give frames as all other layers do.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ernn.circulant import check_block_size
from ernn.fixed import Accumulator, FixedPoint, Integers, circulant_row, rfft, shift_round

Pair = tuple[int, int]

ACTIVATIONS = "none", "relu"
"""What can follow a fully connected or convolutional layer."""

POOLS = "max", "average"
"""What can become of a window's values."""


def check_sizes(block_size: int, *sizes: int) -> None:
    """Raise ValueError unless k is a power of two and every size is positive."""
    check_block_size(block_size)
    if min(sizes) < 1:
        raise ValueError(f"sizes {sizes}: each must be 1 or more")


def check_activation(activation: str) -> None:
    """Raise ValueError unless the activation is one of ``ACTIVATIONS``."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r}: must be one of {', '.join(ACTIVATIONS)}")


def blocks(x: ArrayLike, block_size: int) -> Integers:
    """Cut (..., size) into blocks (..., ceil(size / k), k), the last one padded with zeros."""
    x = np.asarray(x, np.int64)
    missing = -x.shape[-1] % block_size
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return x.reshape(*x.shape[:-1], -1, block_size)


def activate(y: Integers, bias: Integers, activation: str, output: FixedPoint) -> Integers:
    """Add the bias and saturate; then "relu" makes what is negative zero."""
    y = output.saturate(y + bias)
    return np.maximum(y, 0) if activation == "relu" else y


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """A fully connected layer y = C x + b.

    Attributes:
        input_size, output_size: sizes before padding.
        block_size: k; 1 is a dense matrix.
        input, weight, output: formats of frames, spectra, and results and biases.
        W: packed spectra (p, q, k).
        bias: (output_size,), output format.
        activation: of ``ACTIVATIONS``.
    """

    kind: ClassVar[str] = "linear"

    input_size: int
    output_size: int
    block_size: int
    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint
    W: Integers
    bias: Integers
    activation: str = "none"

    def __post_init__(self) -> None:
        check_sizes(self.block_size, self.input_size, self.output_size)
        check_activation(self.activation)

    def tensors(self) -> dict[str, tuple[tuple[int, ...], FixedPoint]]:
        """Shape and format of every array that is a field."""
        k = self.block_size
        shape = -(-self.output_size // k), -(-self.input_size // k), k
        return {"W": (shape, self.weight), "bias": ((self.output_size,), self.output)}

    def run(self, x: Integers) -> Integers:
        """Apply to frames: (..., input_size) -> (..., output_size)."""
        X = rfft(blocks(x, self.block_size))
        weight, source = self.weight.fraction_length, self.input.fraction_length
        y = circulant_row(X, Accumulator(self.W), weight, source, self.output)
        y = y.reshape(*x.shape[:-1], -1)[..., : self.output_size]
        return activate(y, self.bias, self.activation, self.output)


@dataclass(frozen=True)
class Geometry:
    """Which pixels of an image a window sees, (height, width) each; the names are torch's.

    Attributes:
        image: size of what enters.
        kernel: pixels of a window.
        stride: from window to window.
        padding: zeros around the image, at either end.
        dilation: from pixel to pixel of a window.

    Raises:
        ValueError: a value is too small, or no window fits into the image.
    """

    image: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "padding" else 1
            if len(value) != 2 or min(value) < least:
                raise ValueError(f"{name} {value}: must be two numbers of {least} or more")
        if min(self.output) < 1:
            raise ValueError(f"image {self.image}: no window of {self} fits in")

    @property
    def output(self) -> Pair:
        """Windows below and beside each other: size of the image that leaves."""
        height, width = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(*vars(self).values(), strict=True)
        )
        return height, width

    @property
    def seen(self) -> int:
        """Pixels of the image, without the padding, that all windows together see."""
        both = 1
        for rows, padding, size in zip(self.places(), self.padding, self.image, strict=True):
            both *= int(((rows >= padding) & (rows < padding + size)).sum())
        return both

    def places(self) -> list[Integers]:
        """Rows and columns, the padding counted, of each window's pixels: (windows, pixels)."""
        return [
            stride * np.arange(output)[:, None] + dilation * np.arange(kernel)
            for output, kernel, stride, dilation in zip(
                self.output, self.kernel, self.stride, self.dilation, strict=True
            )
        ]

    def windows(self, pixels: Integers) -> Integers:
        """Gather what the windows see: (n, height, width, ...) -> (n, height', width', seen, ...).

        A window's pixels are row by row, the padding among them zero.
        """
        rows, columns = self.places()
        edges = [(0, 0), *((n, n) for n in self.padding), *[(0, 0)] * (pixels.ndim - 3)]
        seen = np.pad(pixels, edges)[:, rows[:, None, :, None], columns[None, :, None, :]]
        return seen.reshape(len(pixels), *self.output, -1, *pixels.shape[3:])


@dataclass(frozen=True, eq=False)
class IntegerConv2d:
    """A convolution: a block-circulant matrix over the channels for each pixel of the window.

    Attributes:
        in_channels, out_channels: of a pixel, before padding to blocks.
        block_size: k; 1 is a dense matrix.
        geometry: of image and window.
        input, weight, output: formats of pixels, spectra, and results and biases.
        W: packed spectra (p, pixels of the window * q, k), the blocks of a pixel side by side.
        bias: (out_channels,), output format.
        activation: of ``ACTIVATIONS``.
    """

    kind: ClassVar[str] = "conv2d"

    in_channels: int
    out_channels: int
    block_size: int
    geometry: Geometry
    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint
    W: Integers
    bias: Integers
    activation: str = "none"

    def __post_init__(self) -> None:
        check_sizes(self.block_size, self.in_channels, self.out_channels)
        check_activation(self.activation)

    @property
    def input_size(self) -> int:
        """Values of an image that enters."""
        return int(np.prod(self.geometry.image)) * self.in_channels

    @property
    def output_size(self) -> int:
        """Values of an image that leaves."""
        return int(np.prod(self.geometry.output)) * self.out_channels

    def tensors(self) -> dict[str, tuple[tuple[int, ...], FixedPoint]]:
        """Shape and format of every array that is a field."""
        k, seen = self.block_size, int(np.prod(self.geometry.kernel))
        shape = -(-self.out_channels // k), seen * -(-self.in_channels // k), k
        return {"W": (shape, self.weight), "bias": ((self.out_channels,), self.output)}

    def run(self, x: Integers) -> Integers:
        """Apply to frames: (..., input_size) -> (..., output_size). A pixel has one FFT."""
        pixels = np.reshape(x, (-1, *self.geometry.image, self.in_channels))
        X = self.geometry.windows(rfft(blocks(pixels, self.block_size)))
        X = X.reshape(*X.shape[:3], -1, self.block_size)  # (n, height', width', columns, k)
        weight, source = self.weight.fraction_length, self.input.fraction_length
        y = circulant_row(X, Accumulator(self.W), weight, source, self.output)
        y = y.reshape(*y.shape[:3], -1)[..., : self.out_channels]
        y = activate(y, self.bias, self.activation, self.output)
        return y.reshape(*x.shape[:-1], self.output_size)


@dataclass(frozen=True, eq=False)
class IntegerPool:
    """The largest value, or the mean, of every channel in a window.

    Attributes:
        channels: of a pixel.
        block_size: k of the layers around it.
        geometry: of image and window, without padding.
        format: of what enters and leaves.
        pool: of ``POOLS``; a mean is of 2**n pixels, so that rounding it is a shift.
    """

    kind: ClassVar[str] = "pool"

    channels: int
    block_size: int
    geometry: Geometry
    format: FixedPoint
    pool: str = "max"

    def __post_init__(self) -> None:
        check_sizes(self.block_size, self.channels)
        if self.pool not in POOLS:
            raise ValueError(f"pool {self.pool!r}: must be one of {', '.join(POOLS)}")
        if self.geometry.padding != (0, 0):
            raise ValueError(f"padding {self.geometry.padding}: a pool has none")
        if self.pool == "average" and self._seen.bit_count() > 1:
            raise ValueError(f"window of {self._seen} pixels: a mean must be of a power of two")

    @property
    def _seen(self) -> int:
        """Pixels of a window."""
        return int(np.prod(self.geometry.kernel))

    @property
    def input_size(self) -> int:
        """Values of an image that enters."""
        return int(np.prod(self.geometry.image)) * self.channels

    @property
    def output_size(self) -> int:
        """Values of an image that leaves."""
        return int(np.prod(self.geometry.output)) * self.channels

    @property
    def input(self) -> FixedPoint:
        """Format of what enters."""
        return self.format

    @property
    def output(self) -> FixedPoint:
        """Format of what leaves."""
        return self.format

    def tensors(self) -> dict[str, tuple[tuple[int, ...], FixedPoint]]:
        """It has no array."""
        return {}

    def run(self, x: Integers) -> Integers:
        """Apply to frames: (..., input_size) -> (..., output_size)."""
        pixels = np.reshape(x, (-1, *self.geometry.image, self.channels))
        seen = self.geometry.windows(pixels)
        if self.pool == "max":
            y = seen.max(3)
        else:
            y = shift_round(seen.sum(3), self._seen.bit_length() - 1)
        return y.reshape(*x.shape[:-1], self.output_size)
