"""Model energy of an image (:mod:`ernn.cost`), of each way to compress.

A processing element takes one weight, entry or block product after another, and reads it from a
memory that holds all weights of the network: a convolution's as often as its window lies somewhere.
The other memory holds the largest layer's activations.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ernn.compress import Basis
from ernn.cost import Machine, Work
from ernn.nn.base import CirculantModule
from ernn.quantize.shift_add import weight_length
from recipes.experiment.stage import Result
from recipes.mnist import networks
from recipes.mnist.settings import Settings

SUM_BITS = 32
"""Of an accumulator."""
GAP_BITS = 5
"""Of a pruned weight's index, while it is not known yet how far it is pruned."""


@dataclass(frozen=True)
class Layer:
    """What a layer does to an image.

    Attributes:
        weight: shape of its parameter.
        inputs, outputs: pixels.
        values: numbers that come out.
    """

    weight: tuple[int, ...]
    inputs: int
    outputs: int
    values: int


def energies(settings: Settings, results: Mapping[str, Result]) -> dict[str, Work]:
    """Return the work of an image, by the stage whose network it is."""
    found = {"dense": dense(settings), "circulant": circulant(settings)}
    for name, bits in (("pruned", settings.words.weight), ("joint", settings.admm_nn.bits)):
        found[name] = sparse(settings, results[name], bits)
    found |= {n: shift_add(settings, results[n]) for n in ("decomposed", "smartdeal")}
    return found | {"spectral": spectral(settings)}


def break_even(settings: Settings) -> float:
    """How many times smaller a layer of LeNet-5 is to be, so that it takes less than dense."""
    lenet5, bits = layers(networks.lenet5()), settings.words.weight
    return machine(settings, lenet5, bits, stored_dense(lenet5, bits)).break_even(GAP_BITS)


def dense(settings: Settings) -> Work:
    """Of every weight of LeNet-5."""
    lenet5, bits = layers(networks.lenet5()), settings.words.weight
    pe = machine(settings, lenet5, bits, stored_dense(lenet5, bits))
    return pe.products(sum(of.outputs * math.prod(of.weight) for of in lenet5.values()))


def sparse(settings: Settings, result: Result, bits: int) -> Work:
    """Of every weight that is kept, each of ``bits``."""
    lenet5, kept = layers(networks.lenet5()), result["nonzero"]
    total, positions = sum(kept.values()), result["bytes"]["positions"]
    entries = sum(lenet5[name].outputs * count for name, count in kept.items())
    pe = machine(settings, lenet5, bits, total * bits / 8 + positions)
    return pe.sparse(entries, round(8 * positions / total))


def shift_add(settings: Settings, result: Result) -> Work:
    """Of every row of coefficients that is not zero, as :mod:`hdl.shift_add` goes through them."""
    lenet5, basis, rows = layers(networks.lenet5()), Basis(), result["rows"]
    stored = sum(result["bytes"][part] for part in ("values", "positions"))
    entries = sum(lenet5[name].outputs * count for name, count in rows.items())
    bits = weight_length(basis.size, basis.bits, basis.basis_bits)
    index_bits = round(8 * result["bytes"]["positions"] / sum(rows.values()))
    pe = machine(settings, lenet5, bits, stored)
    return pe.shift_add(entries, basis.size, basis.bits, basis.basis_bits, index_bits)


def circulant(settings: Settings) -> Work:
    """Of the network of blocks."""
    k = settings.network.block_size
    return blockwise(settings, networks.circulant(k, settings.network.channels), k)


def spectral(settings: Settings) -> Work:
    """Of LeNet-5, its convolutions dense and its fully connected layers of blocks."""
    k = settings.spectral.block_size
    return blockwise(settings, networks.spectral(networks.lenet5(), k), k)


def blockwise(settings: Settings, model: nn.Sequential, k: int) -> Work:
    """Of dense kernels, of every block product, and of the transforms of every pixel's blocks."""
    network, bits = layers(model), settings.words.weight
    kernels = products = transforms = 0
    for of in network.values():
        if len(of.weight) == 4:  # (out, in, height, width)
            kernels += of.outputs * math.prod(of.weight)
            continue
        *_, p, q, _ = of.weight
        products += of.outputs * math.prod(of.weight) // k
        transforms += of.inputs * q + of.outputs * p
    pe = machine(settings, network, bits, stored_dense(network, bits))
    return pe.products(kernels) + pe.circulant(products, transforms, k)


def stored_dense(network: Mapping[str, Layer], bits: int) -> float:
    """Bytes of all parameters."""
    return sum(math.prod(of.weight) for of in network.values()) * bits / 8


def machine(
    settings: Settings, network: Mapping[str, Layer], weight_bits: int, stored: float
) -> Machine:
    """A processing element with memories for ``stored`` bytes and for the activations."""
    bits = settings.words.activation
    values = max(of.values for of in network.values())
    return Machine(weight_bits, bits, SUM_BITS, math.ceil(stored), math.ceil(values * bits / 8))


@torch.no_grad()
def layers(network: nn.Sequential) -> dict[str, Layer]:
    """Return the layers with weights, by the names of these, as they take an image."""
    found = {}

    def note(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        (weight,) = (p for p in module.parameters() if p.dim() > 1)
        inputs, outputs = (math.prod(t.shape[2:]) for t in (x, y))
        found[f"{name}.weight"] = Layer(tuple(weight.shape), inputs, outputs, y.numel())

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | CirculantModule):
            module.register_forward_hook(lambda m, x, y, name=name: note(name, m, x[0], y))
    network.eval()(torch.zeros(1, 1, 28, 28))
    return found
