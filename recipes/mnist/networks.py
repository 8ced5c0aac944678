"""The networks of the recipe; all of them take images (N, 1, 28, 28) of 0 to 1."""

from pathlib import Path

from safetensors.torch import load_model
from torch import nn

from ernn.compress import apply
from ernn.nn import CirculantConv2d, CirculantLinear
from ernn.nn.norm import BlockBatchNorm

PATCH = 4
"""Pixels of a side of what becomes one pixel of 16 channels: 7 x 7 of them make an image."""


def lenet5() -> nn.Sequential:
    """LeNet-5 as the compression papers have it: 430,500 weights.

    Source: LeCun et al., Proc. IEEE 1998, in the sizes of Caffe's example.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def spectral(network: nn.Sequential, block_size: int) -> nn.Sequential:
    """Project the fully connected layers of LeNet-5 on block-circulant ones."""
    projected = apply(network, {"7": block_size, "9": block_size})
    assert isinstance(projected, nn.Sequential)
    return projected


def circulant(block_size: int, channels: tuple[int, int]) -> nn.Sequential:
    """A block-circulant network for the core: patches, two convolutions, and classes.

    A patch of 4 x 4 pixels is a pixel of 16 channels, so that the first convolution has whole
    blocks to work on. The second one sees the whole image: it is a fully connected layer that
    reads pixels as they lie in the core's memory.
    """
    first, second = channels
    side = 28 // PATCH
    return nn.Sequential(
        nn.PixelUnshuffle(PATCH),
        nn.Sequential(
            CirculantConv2d(PATCH * PATCH, first, 3, block_size, padding=1),
            BlockBatchNorm(first, block_size),
            nn.ReLU(),
            CirculantConv2d(first, second, side, block_size),
            BlockBatchNorm(second, block_size),
            nn.ReLU(),
            nn.Flatten(),
            CirculantLinear(second, 10, block_size),
        ),
    )


def load(network: nn.Sequential, path: Path) -> nn.Sequential:
    """Load the weights of a trained network, for inference."""
    load_model(network, path)
    return network.eval()
