"""From a feed-forward network to the integer model: layers one after another, as nn.Sequential."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ernn.circulant import spectrum
from ernn.fixed import FixedPoint
from ernn.nn import CirculantConv2d, CirculantLinear
from ernn.nn.norm import BlockBatchNorm, fold
from ernn.quantize.calibrate import Extent
from ernn.quantize.convert import WordLengths, nearest_format
from ernn.quantize.feedforward import (
    Geometry,
    IntegerConv2d,
    IntegerLinear,
    IntegerPool,
)
from ernn.quantize.integer import IntegerModel

Layer = CirculantConv2d | CirculantLinear
Pool = nn.MaxPool2d | nn.AvgPool2d

PLAIN = {"padding": 0, "dilation": 1, "ceil_mode": False, "divisor_override": None}
"""What a pool of torch.nn must not ask for."""

DEFAULT = WordLengths()


@dataclass
class _Step:
    """A layer with what follows it, or a pool; and what was measured.

    Attributes:
        module: the layer, batch normalisation folded into it, or the pool.
        relu: whether one follows.
        image: channels, height and width of what enters, if these are images.
        input, output: extents of what enters, and of all that the result's format has to hold.
    """

    module: Layer | Pool
    relu: bool = False
    image: tuple[int, int, int] | None = None
    input: Extent = field(default_factory=Extent)
    output: Extent = field(default_factory=Extent)

    def run(self, x: Tensor) -> Tensor:
        """Run on a batch, and measure."""
        if isinstance(self.module, CirculantLinear):
            if x[0].numel() != x.shape[1]:
                height, width = x.shape[2:]
                raise ValueError(
                    f"a fully connected layer follows images of {height} x {width} pixels: make it "
                    f"a CirculantConv2d with a kernel of {height} x {width}, which reads them as "
                    "they lie in memory"
                )
            x = x.flatten(1)
        elif x.dim() != 4:
            raise ValueError(f"{self.module} follows no image; its input is {tuple(x.shape)}")
        else:
            self.image = (x.shape[1], x.shape[2], x.shape[3])
        self.input.observe(x)
        y = self.module(x)
        if isinstance(self.module, Layer):
            bias = _bias(self.module).view(-1, *[1] * (y.dim() - 2))
            self.output.observe(y - bias)  # negative ones too: a spectrum is of k rows together
            self.output.observe(bias)
            self.output.observe(y.relu() if self.relu else y)
        return y.relu() if self.relu else y


@torch.no_grad()
def convert_sequential(
    model: nn.Sequential, inputs: Iterable[Tensor], words: WordLengths = DEFAULT
) -> IntegerModel:
    """Quantize a network of convolutions, fully connected layers, ReLU and pools.

    Batch normalisation is folded, dropout left out. The results of the last layer have the
    pre-activation's word length, everything between layers the activation's.

    Args:
        model: of the modules of torch.nn and :mod:`ernn.nn`, in evaluation mode.
        inputs: batches that show the ranges, (N, channels, height, width) or (N, features).
        words: word lengths.

    Returns:
        A model whose frames are those of :func:`to_frames`.

    Raises:
        ValueError: there is no input, or a module the integer arithmetic does not cover.
    """
    steps = list(_steps(model))
    empty = True
    for x in inputs:
        empty = False
        for step in steps:
            x = step.run(x)
    if empty or not steps:
        raise ValueError("no layer or no input; at least one of each is needed")
    source = FixedPoint.covering(words.activation, steps[0].input.largest)
    block_size = next((s.module.block_size for s in steps if isinstance(s.module, Layer)), 1)
    layers: list[IntegerConv2d | IntegerLinear | IntegerPool] = []
    for step in steps:
        module = step.module
        if isinstance(module, Layer):
            block_size = module.block_size
            length = words.preactivation if step is steps[-1] else words.activation
            layers.append(_layer(module, step, source, length, words))
        else:
            layers.append(_pool(module, step, block_size, source))
        source = layers[-1].output
    return IntegerModel(tuple(layers))


def to_frames(x: Tensor) -> np.ndarray:
    """Lay images (N, channels, height, width) out as frames, a pixel's channels side by side."""
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).flatten(1).detach().double().numpy()


def _steps(model: nn.Sequential) -> Iterator[_Step]:
    """Put together what belongs together.

    Raises:
        ValueError: a module that is not covered, or not where it stands.
    """
    step: _Step | None = None
    for name, module in _modules(model):
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Identity | nn.Flatten):
            continue
        if isinstance(module, nn.ReLU) and step and isinstance(step.module, Layer):
            step.relu = True
            continue
        if isinstance(module, BlockBatchNorm) and step and isinstance(step.module, Layer):
            if step.relu:
                raise ValueError(f"{name}: {module} cannot be folded behind a ReLU")
            step.module = fold(step.module, module)
            continue
        if step:
            yield step
        if isinstance(module, nn.Conv2d):
            module = CirculantConv2d.from_dense(module, 1)
        elif isinstance(module, nn.Linear):
            module = CirculantLinear.from_dense(module, 1)
        if not isinstance(module, Layer | Pool):
            raise ValueError(f"{name}: {module} is not covered there")
        step = _Step(module)
    if step:
        yield step


def _modules(model: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    """All modules in their order, those of nested sequences too, by name."""
    for name, module in model.named_children():
        if isinstance(module, nn.Sequential):
            for inner, part in _modules(module):
                yield f"{name}.{inner}", part
        else:
            yield name, module


def _bias(layer: Layer) -> Tensor:
    rows = layer.matrices["weight"].rows
    return torch.zeros(rows) if layer.bias is None else layer.bias


def _spectra(layer: Layer) -> np.ndarray:
    """Packed spectra (..., p, q, k) of a layer, before them height and width of its window."""
    weight: Tensor = layer.weight
    if layer.block_size == 1:
        weight = (weight.permute(2, 3, 0, 1) if weight.dim() == 4 else weight).unsqueeze(-1)
    return spectrum(weight).double().numpy()


def _layer(
    module: Layer, step: _Step, source: FixedPoint, length: int, words: WordLengths
) -> IntegerConv2d | IntegerLinear:
    """Quantize a layer whose input has the format ``source``, to results of ``length`` bits."""
    spectra = _spectra(module)
    weight = nearest_format(spectra, words.weight)
    output = FixedPoint.covering(length, step.output.largest)
    common: dict[str, Any] = {
        "block_size": module.block_size,
        "input": source,
        "weight": weight,
        "output": output,
        "bias": output.quantize(_bias(module).numpy()),
        "activation": "relu" if step.relu else "none",
    }
    if isinstance(module, CirculantLinear):
        W = weight.quantize(spectra)
        return IntegerLinear(module.in_features, module.out_features, W=W, **common)
    assert step.image is not None
    _, *image = step.image
    if isinstance(module.padding, str):
        raise ValueError(f"{module}: give padding by numbers")
    geometry = Geometry(
        (image[0], image[1]), module.kernel_size, module.stride, module.padding, module.dilation
    )
    height, width, p, q, k = spectra.shape
    W = spectra.transpose(2, 0, 1, 3, 4).reshape(p, height * width * q, k)
    return IntegerConv2d(
        module.in_channels,
        module.out_channels,
        geometry=geometry,
        W=weight.quantize(W),
        **common,
    )


def _pool(module: Pool, step: _Step, block_size: int, source: FixedPoint) -> IntegerPool:
    """Make a pool between layers of block size k."""
    assert step.image is not None
    channels, *image = step.image
    for name, allowed in PLAIN.items():
        if (given := getattr(module, name, allowed)) != allowed:
            raise ValueError(f"{module}: {name} is {given}; it must be {allowed}")
    kernel, stride = (
        (value, value) if isinstance(value, int) else (value[0], value[1])
        for value in (module.kernel_size, module.stride)
    )
    pool = "max" if isinstance(module, nn.MaxPool2d) else "average"
    geometry = Geometry((image[0], image[1]), kernel, stride)
    return IntegerPool(channels, block_size, geometry, source, pool)
