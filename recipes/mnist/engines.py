"""LeNet-5's largest layer, 800 -> 500, on three processing elements, with the weights of each.

Pruned and on levels (ADMM-NN) it runs on :func:`hdl.sparse.sparse_pe`, decomposed (SmartDeal) on
:func:`hdl.shift_add.shift_add_pe`, block-circulant on the smallest core. What enters are the
activations that the network computes of images; what leaves are the results before the ReLU.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from data_prep.mnist import Images
from ernn.compress import Basis
from ernn.compress.basis import Factors
from ernn.fixed import FixedPoint, Integers
from ernn.quantize import IntegerModel, WordLengths, convert_sequential
from ernn.quantize.feedforward import IntegerLinear
from ernn.quantize.shift_add import IntegerShiftAdd
from ernn.quantize.sparse import IntegerSparse
from hdl.compiler import compile_model, configure
from hdl.products import Held, Layer, LayerPE
from hdl.simulate import Simulator
from hdl.synth import synthesize_accelerator
from recipes.experiment.stage import Result
from recipes.mnist import compression, hardware, networks
from recipes.mnist.compression import Data
from recipes.mnist.settings import Settings
from recipes.mnist.training import BATCH, tensors

LAYER = 7
"""The layer's place in LeNet-5."""
WEIGHT = f"{LAYER}.weight"
N_PE = 4
"""Of the smallest core: a lane each."""
GAPS = range(2, 11)
"""Bits that a gap may have; those are taken with which the weights take the least memory."""

L = TypeVar("L", bound=Layer)

ROWS = {
    "joint": "pruned and on levels (ADMM-NN), one PE",
    "smartdeal": "decomposed and trained (SmartDeal), one PE",
    "spectral": f"block-circulant, a core of {N_PE} PEs",
}
"""What is compared, by the stage that made the network."""


def compare(
    lenet5: Callable[[], nn.Sequential], out: Path, data: Data, settings: Settings, folder: Path
) -> Result:
    """Simulate and synthesize all three, beside each other.

    Args:
        lenet5: makes a dense network, of any weights.
        out: where the stages lie that made the weights.
        data: the images.
        settings: of all stages.
        folder: what is written.
    """
    words = settings.words
    lengths = WordLengths(words.weight, words.activation, words.preactivation)
    seen, test = data["train"][: words.calibration_images], data["test"]
    count = settings.engines.images

    def joint() -> Result:
        network = compression.read(lenet5(), out / "joint")
        layer = sparse(network, features(network, seen), lengths, settings.admm_nn.bits)
        return on_pe(layer, network, test, count, folder / "joint")

    def smartdeal() -> Result:
        network = lenet5()
        factors = compression.read_factors(network, out / "smartdeal")[WEIGHT]
        layer = shift_add(network, factors, features(network, seen), lengths)
        return on_pe(layer, network, test, count, folder / "smartdeal")

    def spectral() -> Result:
        made = networks.spectral(lenet5(), settings.spectral.block_size)
        network = compression.read(made, out / "spectral")
        x = features(network, seen)
        model = convert_sequential(nn.Sequential(network[LAYER]), [x], lengths)
        return on_core(model, network, test, count, folder / "spectral")

    with ThreadPoolExecutor() as pool:  # the tools are processes of their own
        found = [pool.submit(work) for work in (joint, smartdeal, spectral)]
        return dict(zip(ROWS, (of.result() for of in found), strict=True))


# ------------------------------------------------------------------------------------------- layers


@torch.no_grad()
def features(network: nn.Sequential, images: Images) -> Tensor:
    """What enters the layer, (N, 800)."""
    x, _ = tensors(images)
    return torch.cat([network[:LAYER](part) for part in x.split(BATCH)])


def linear(network: nn.Sequential) -> nn.Linear:
    """Return the layer."""
    layer = network[LAYER]
    assert isinstance(layer, nn.Linear)
    return layer


@torch.no_grad()
def formats(
    network: nn.Sequential, x: Tensor, lengths: WordLengths
) -> tuple[FixedPoint, FixedPoint]:
    """Formats that hold what enters, and what leaves with the biases."""
    layer = linear(network)
    largest = max(float(of.abs().max()) for of in (layer(x), layer.bias))
    return (
        FixedPoint.covering(lengths.activation, float(x.abs().max())),
        FixedPoint.covering(lengths.preactivation, largest),
    )


def sparse(network: nn.Sequential, x: Tensor, lengths: WordLengths, bits: int) -> IntegerSparse:
    """Return the layer of weights on levels of that many bits."""
    layer, (source, output) = linear(network), formats(network, x, lengths)
    return smallest(
        IntegerSparse.of(
            layer.weight.detach(),
            layer.bias,
            level_bits=bits,
            gap_bits=gap,
            scale_length=lengths.weight,
            source=source,
            output=output,
        )
        for gap in GAPS
    )


def shift_add(
    network: nn.Sequential, factors: Factors, x: Tensor, lengths: WordLengths
) -> IntegerShiftAdd:
    """Return the layer of bases and coefficients."""
    layer, (source, output) = linear(network), formats(network, x, lengths)
    of_layer = factors, layer.in_features, layer.bias, Basis()
    return smallest(
        IntegerShiftAdd.of(*of_layer, gap_bits=gap, source=source, output=output) for gap in GAPS
    )


def smallest(layers: Iterable[L]) -> L:
    """Return the layer whose weights take the least memory."""
    return min(layers, key=lambda layer: Held.of(layer).bits)


# ----------------------------------------------------------------------------------------- hardware


def on_pe(layer: Layer, network: nn.Sequential, test: Images, count: int, folder: Path) -> Result:
    """Run a layer on its PE, which multiplies a weight a cycle where it has one."""
    x = layer.input.quantize(features(network, test).numpy())
    expected = np.concatenate([layer.run(part) for part in batches(x)])
    pe = LayerPE(layer, folder)
    run = pe.run(layer, x[:count])
    if isinstance(layer, IntegerSparse):
        products = np.count_nonzero(layer.levels)
    else:
        products = layer.size * np.count_nonzero(layer.coefficients.any(-1))
    cycles = float(run.cycles.mean())
    return {
        **compared(run.outputs, expected),
        "test": accuracy(network, layer.output.to_float(expected), test),
        "bytes": Held.of(layer).bits / 8,
        "steps": len(layer.entries()),
        "cycles": cycles,
        "utilization": products / cycles,
        "resources": asdict(pe.synthesize().total),
    }


def on_core(
    model: IntegerModel, network: nn.Sequential, test: Images, count: int, folder: Path
) -> Result:
    """Run a model of the one layer on a core, of which each PE does a block product a cycle."""
    (layer,) = model.layers
    assert isinstance(layer, IntegerLinear)
    x = model.quantize(features(network, test).numpy())
    expected = np.concatenate([hardware.run(model, part) for part in batches(x)])
    cfg = configure(model, N_PE)
    program = compile_model(model, cfg)
    run = Simulator(cfg, folder / "simulators").run(program, [x[:count]])
    cycles = run.cycles_per_frame
    return {
        **compared(run.outputs[0], expected),
        "test": accuracy(network, layer.output.to_float(expected), test),
        "bytes": layer.W.size * layer.weight.word_length / 8,
        "steps": program.block_products,
        "cycles": cycles,
        "utilization": program.limit / cycles,
        "resources": asdict(synthesize_accelerator(cfg).total),
    }


def batches(x: Integers) -> list[Integers]:
    """Cut frames (N, 800) into a few at once."""
    return [x[n : n + BATCH] for n in range(0, len(x), BATCH)]


def compared(given: Integers, expected: Integers) -> Result:
    """Count what the Verilog gives otherwise than the integer layer, of the first frames."""
    wrong = given != expected[: len(given)]
    return {"images": len(given), "words": given.size, "mismatches": int(wrong.sum())}


@torch.no_grad()
def accuracy(network: nn.Sequential, y: np.ndarray, images: Images) -> float:
    """Percent of the images that a network recognises whose layer gives y (N, 500)."""
    classes = network[LAYER + 1 :](torch.tensor(y, dtype=torch.get_default_dtype()))
    return 100 * float((classes.argmax(1).numpy() == images.digits).mean())


# ------------------------------------------------------------------------------------------- report


def table(results: Result) -> list[str]:
    """Return the section of the report."""
    heads = "layer and hardware, test, bytes, entries or block products, cycles, utilization"
    heads += ", DSP, LUT, FF, BRAM36, words compared, mismatches"
    lines = [
        "## One layer, three PEs",
        "",
        "LeNet-5's layer 800 -> 500 with the weights of three methods, in integers, fed with what "
        "the network computes of test images; test is the accuracy of the network with this layer. "
        "Bytes are those of the weights as the memories hold them. Cycles are simulated "
        "(Verilator): of a PE from start to the last result, its input being written before, a "
        "word a cycle; of the core, whose input comes in beside its work, from image to image. "
        "Utilization: of the multiplier's cycles those with a weight, of the core's PEs those with "
        "a block product. Resources are those of Yosys for xc7, with memories of this layer's size "
        "(as deep as the next power of two), of the core with its streams and its loader.",
        "",
        f"| {heads.replace(', ', ' | ')} |",
        "|---" * (heads.count(",") + 1) + "|",
    ]
    for name, label in ROWS.items():
        of = results[name]
        used = of["resources"]
        cells = [label, f"{of['test']:.2f}", f"{of['bytes']:,.0f}", f"{of['steps']:,}"]
        cells += [f"{of['cycles']:,.0f}", f"{100 * of['utilization']:.0f} %", f"{used['dsp']}"]
        cells += [f"{used['lut']:,}", f"{used['ff']:,}", f"{used['bram36']:g}"]
        lines.append(f"| {' | '.join(cells)} | {of['words']:,} | {of['mismatches']} |")
    return lines
