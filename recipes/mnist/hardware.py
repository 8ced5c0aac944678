"""From the trained network to the core: integers, the accelerator's RTL, cycles and resources."""

from pathlib import Path

import numpy as np
from torch import nn

from data_prep.mnist import Images
from ernn import bundle
from ernn.fixed import Integers
from ernn.quantize import IntegerModel, WordLengths, convert_sequential, to_frames
from hdl.compiler import compile_model, configure
from hdl.convert import write_accelerator
from hdl.program import Program
from hdl.schedule import latency
from hdl.simulate import Simulator
from hdl.synth import synthesize_folder
from recipes.experiment.stage import Result
from recipes.mnist.settings import Core, Words
from recipes.mnist.training import BATCH, tensors

BENCH_IMAGES = 4
"""In the test bench that is written."""


def quantize(network: nn.Sequential, data: dict[str, Images], words: Words, folder: Path) -> Result:
    """Quantize a network, and keep it as a bundle."""
    patches, layers = network
    assert isinstance(layers, nn.Sequential)
    x, _ = tensors(data["train"][: words.calibration_images])
    lengths = WordLengths(words.weight, words.activation, words.preactivation)
    model = convert_sequential(layers, [patches(x)], lengths)
    bundle.save(model, folder / "bundle")
    return {
        split: accuracy(model, frames(model, patches, data[split]), data[split].digits)
        for split in ("dev", "test")
    }


def frames(model: IntegerModel, patches: nn.Module, images: Images) -> Integers:
    """Integer frames (N, input_size) of images."""
    return model.quantize(to_frames(patches(tensors(images)[0])))


def accuracy(model: IntegerModel, x: Integers, digits: np.ndarray) -> float:
    """Percent of the frames whose digit the integer model recognises."""
    results = np.concatenate([run(model, x[n : n + BATCH]) for n in range(0, len(x), BATCH)])
    return 100 * float((results.argmax(1) == digits).mean())


def run(model: IntegerModel, x: Integers) -> Integers:
    """Results (N, 10) of frames (N, input_size)."""
    return model.run(x[None])[0]


def simulate(folder: Path, patches: nn.Module, test: Images, table: Core, at: Path) -> Result:
    """Run test images through the accelerator's Verilog, beside the integer model; synthesize it.

    Args:
        folder: what is written.
        patches: what comes before the core.
        test: the images.
        table: the core, and how many images.
        at: the bundle.
    """
    model, images = bundle.load(at), test[: table.images]
    x = frames(model, patches, images)
    cfg = configure(model, table.n_pe, slices=table.slices, fold=table.fold)
    program = compile_model(model, cfg)
    compared = compare(Simulator(cfg, folder / "simulators"), program, x, images.digits)
    (folder / "rtl").mkdir(exist_ok=True)
    write_accelerator(program, [x[:BENCH_IMAGES]], folder / "rtl")
    resources = synthesize_folder(folder / "rtl").to_json()["total"]
    names = "dsp", "lut", "ff", "bram36"
    return compared | {"resources": {name: resources[name] for name in names}}


def compare(simulator: Simulator, program: Program, x: Integers, digits: np.ndarray) -> Result:
    """Run frames through an accelerator's Verilog, beside the integer model.

    Args:
        simulator: the accelerator.
        program: for it.
        x: frames (N, input_size); of S streams each takes an S-th of them.
        digits: (N,).
    """
    model = program.model
    result = simulator.run(program, np.split(x, program.streams))
    given = np.concatenate(result.outputs)
    expected = np.concatenate([run(model, x[n : n + BATCH]) for n in range(0, len(x), BATCH)])
    return {
        "images": len(digits),
        "words": given.size,
        "mismatches": int((given != expected).sum()),
        "test": 100 * float((given.argmax(1) == digits).mean()),
        "n_pe": program.cfg.n_pe,
        "cycles": result.cycles_per_frame,
        "latency": latency(program),
        "limit": program.limit,
        "block_products": program.block_products,
    }
