"""Integer networks of images with random contents for the tests of the core, and photographs."""

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn

from ernn.fixed import FixedPoint
from ernn.nn import BlockBatchNorm, CirculantConv2d, CirculantLinear
from ernn.quantize import convert_sequential, to_frames
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


def photographs(count, size, seed=0):
    """Squares from scikit-learn's two photographs in colour: (count, 3, size, size) of -1 to 1.

    A square is of 1 to 6 times as many pixels along a side, and their means are taken.
    """
    rng, squares, images = np.random.default_rng(seed), [], load_sample_images().images
    for n in range(count):
        photograph = images[n % len(images)]
        scale = int(rng.integers(1, 7))
        side = scale * size
        y, x = (int(rng.integers(0, edge - side + 1)) for edge in photograph.shape[:2])
        pixels = photograph[y : y + side, x : x + side] / 127.5 - 1
        squares.append(pixels.reshape(size, scale, size, scale, 3).mean((1, 3)))
    return torch.tensor(np.array(squares), dtype=torch.float32).permute(0, 3, 1, 2)


def vgg(block_size, size, channels, hidden, words):
    """A network like VGG with random weights, and photographs for it that it has not seen.

    For each of ``channels`` two convolutions of 3 x 3 and a pool of 2 x 2, the last one a mean;
    behind them what is fully connected: ``hidden`` values, and 10 classes. The batch normalisation
    has seen other photographs, so that the values of all layers fill their formats.

    Returns:
        The integer model, and frames (8, 3 * size**2) for it.
    """

    def normalised(layer, width):
        return [layer, BlockBatchNorm(width, block_size, momentum=1.0), nn.ReLU()]

    layers, before, side = [], 3, size
    torch.manual_seed(0)
    for width in channels:
        for source in (before, width):
            convolution = CirculantConv2d(source, width, 3, block_size, padding=1)
            layers += normalised(convolution, width)
        layers.append(nn.MaxPool2d(2) if width != channels[-1] else nn.AvgPool2d(2))
        before, side = width, side // 2
    layers += normalised(CirculantConv2d(before, hidden, side, block_size), hidden)
    network = nn.Sequential(*layers, nn.Flatten(), CirculantLinear(hidden, 10, block_size))
    with torch.no_grad():
        network(photographs(64, size))  # the running mean and variance are these photographs'
    model = convert_sequential(network.eval(), [photographs(64, size)], words)
    return model, model.quantize(to_frames(photographs(8, size, seed=1)))
