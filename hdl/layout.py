"""Where the pixels of images lie.

An image that comes in has its padding with it, so that the first layer has none; images between
layers have none, and windows that reach beyond a side see zeros there.
"""

from dataclasses import dataclass, replace

import numpy as np

from ernn.fixed import Integers
from ernn.quantize.feedforward import Geometry, IntegerConv2d
from ernn.quantize.integer import IntegerLayer


@dataclass(frozen=True)
class Layout:
    """How the columns of an image lie.

    Attributes:
        height, width: pixels.
        pixel: columns from a pixel to the next.
        row: columns from a row to the next.
    """

    height: int
    width: int
    pixel: int
    row: int

    @property
    def columns(self) -> int:
        """Columns of the image."""
        return self.height * self.row


def input_layout(layer: IntegerConv2d) -> Layout:
    """The image that comes in, its padding with it."""
    height, width = padded(layer.geometry).image
    pixel = -(-layer.in_channels // layer.block_size)
    return Layout(height, width, pixel, width * pixel)


def padded(geometry: Geometry) -> Geometry:
    """The same windows over an image that has its padding with it."""
    height, width = (n + 2 * m for n, m in zip(geometry.image, geometry.padding, strict=True))
    return replace(geometry, image=(height, width), padding=(0, 0))


def pad_frames(frames: Integers, layer: IntegerLayer) -> Integers:
    """Frames (time, input_size); images with their padding, every pixel in whole blocks."""
    if not isinstance(layer, IntegerConv2d):
        return frames
    image, padding, k = layer.geometry.image, layer.geometry.padding, layer.block_size
    pixels = frames.reshape(len(frames), *image, layer.in_channels)
    edges = [(0, 0), *((n, n) for n in padding), (0, -layer.in_channels % k)]
    return np.pad(pixels, edges).reshape(len(frames), -1)
