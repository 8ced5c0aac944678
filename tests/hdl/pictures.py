"""Integer networks of images with random contents for the tests of the core."""

import numpy as np

from ernn.fixed import FixedPoint
from ernn.quantize.feedforward import Geometry, IntegerConv2d, IntegerPool
from ernn.quantize.integer import IntegerModel

ACTIVATION = FixedPoint(8, 5)
RESULT = FixedPoint(10, 5)


def random_convolution(block_size, channels, geometry, *, output=ACTIVATION, seed=0, relu=True):
    """A convolution of ``channels`` (in, out) with uniform weights."""
    k, rng, weight = block_size, np.random.default_rng(seed), FixedPoint(8, 8)
    p, q = (-(-n // k) for n in reversed(channels))
    shape = p, int(np.prod(geometry.kernel)) * q, k
    return IntegerConv2d(
        *channels,
        k,
        geometry,
        ACTIVATION,
        weight,
        output,
        W=rng.integers(-70, 71, shape),
        bias=rng.integers(output.lowest // 4, output.highest // 4, channels[1]),
        activation="relu" if relu else "none",
    )


def random_images(seed, block_size=4):
    """Convolutions and pools of random windows down to one pixel, and what classifies it."""
    rng = np.random.default_rng(seed)
    layers, channels = [], int(rng.integers(1, 3 * block_size))
    image = (int(rng.integers(6, 10)), int(rng.integers(6, 10)))
    for _ in range(int(rng.integers(1, 4))):
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        geometry = Geometry(
            image,
            kernel,
            stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            padding=(int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1]))),
            dilation=(int(rng.integers(1, 3)), 1),
        )
        out = int(rng.integers(1, 6 * block_size))
        relu = bool(rng.random() < 0.7)
        layers.append(
            random_convolution(block_size, (channels, out), geometry, seed=seed, relu=relu)
        )
        image, channels = geometry.output, out
        pool = ["none", "max", "average"][int(rng.integers(3))]
        if pool != "none" and min(image) > 1:
            window = (2, 2) if pool == "average" else (int(rng.integers(1, 3)), 2)
            pooling = Geometry(image, window, stride=(int(rng.integers(1, 3)), 2))
            layers.append(IntegerPool(channels, block_size, pooling, ACTIVATION, pool))
            image = pooling.output
        if min(image) < 3:
            break
    last = Geometry(image, image)
    layers.append(
        random_convolution(block_size, (channels, 7), last, output=RESULT, seed=seed, relu=False)
    )
    return IntegerModel(tuple(layers))
