"""Two block-circulant MLPs on one core, beside those of AAAI-18.

An image is averaged to a few pixels before the core, as in the paper, and streams of images take
turns, so that what one waits for the others hide. What then limits a core of few PEs is its block
products. More PEs are held up by what does not grow with them: a block a cycle goes through the
FFT, and the lanes finish an operation before the next one begins. So small cores, each with images
of its own, make the most of the DSPs; the report counts how many the paper's FPGA would hold.

Source: Wang et al., Towards Ultra-High Performance and Energy Efficiency of Deep Learning Systems,
AAAI 2018.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from data_prep.mnist import SIDE, Images
from ernn import bundle
from ernn.nn import CirculantLinear
from ernn.nn.norm import BlockBatchNorm
from ernn.quantize import IntegerModel
from hdl.compiler import compile_model, configure
from hdl.config import covering
from hdl.devices import SERIES7
from hdl.simulate import Simulator
from hdl.sizing import estimate
from recipes.experiment.stage import Result
from recipes.mnist.hardware import compare, frames, quantize
from recipes.mnist.settings import Mlps, Words
from recipes.mnist.training import Train, trained

DSPS, CLOCK = 342, 2e8
"""DSPs of the paper's FPGA, a Cyclone V 5CEA9; clock in Hz at which cycles are compared."""


@dataclass(frozen=True)
class Published:
    """An MLP of the paper: 12 bits, on that FPGA."""

    accuracy: float  # percent of MNIST's test images
    images_per_s: float


PUBLISHED = {"MLP-1": Published(92.9, 8.6e7), "MLP-2": Published(95.6, 2.9e7)}
"""As recalled; their sizes are not known."""


def network(config: Mlps, hidden: int) -> nn.Sequential:
    """What makes a few pixels of images (N, 1, 28, 28), and the layers behind it."""
    side, k = (SIDE - 2 * config.crop) // config.pool, config.block_size
    return nn.Sequential(
        nn.Sequential(nn.ZeroPad2d(-config.crop), nn.AvgPool2d(config.pool), nn.Flatten()),
        nn.Sequential(
            CirculantLinear(side * side, hidden, k, bias=False),
            BlockBatchNorm(hidden, k),
            nn.ReLU(),
            CirculantLinear(hidden, 10, k),
        ),
    )


def measure(
    data: dict[str, Images], train: Train, words: Words, config: Mlps, seed: int, folder: Path
) -> Result:
    """Train and quantize the networks, and run of each the best on dev on the core."""
    own = {name: getattr(config, name) for name in ("epochs", "batch_size", "learning_rate")}
    schedule = replace(train, **own, shift=0, smoothing=0.0)
    found: dict[str, Result] = {}
    for name, hidden in zip(PUBLISHED, config.hidden, strict=True):
        runs: dict[str, Result] = {}
        for n in range(seed, seed + config.seeds):
            torch.manual_seed(n)
            mlp, at = network(config, hidden), folder / f"{name}, seed {n}"
            trained(mlp, data, schedule, n, at / "model.safetensors")
            runs[at.name] = quantize(mlp, data, words, at)
        best = max(runs, key=lambda run: runs[run]["dev"])
        found[name] = {"runs": list(runs.values()), "best": best}
    models = {name: bundle.load(folder / of["best"] / "bundle") for name, of in found.items()}
    core = run(models, data["test"][: config.images], config, folder)
    return core | {"networks": {name: of | core["networks"][name] for name, of in found.items()}}


def run(models: dict[str, IntegerModel], images: Images, config: Mlps, folder: Path) -> Result:
    """Run images through all models on one core; with its resources, LUTs estimated."""
    size = {name: getattr(config, name) for name in ("n_pe", "slices", "fold", "streams")}
    cfg = covering([configure(model, **size) for model in models.values()])
    simulator, pixels = Simulator(cfg, folder / "simulators"), network(config, 1)[0]
    found: Result = {}
    for name, model in models.items():
        program, x = compile_model(model, cfg, config.streams), frames(model, pixels, images)
        sizes = [model.layers[0].input_size, *(layer.output_size for layer in model.layers)]
        found[name] = compare(simulator, program, x, images.digits) | {"sizes": sizes}
    used = estimate(cfg, SERIES7).total
    return {"networks": found, "dsp": used.dsp, "lut": used.lut}


def section(config: Mlps, result: Result) -> list[str]:
    """The part of the report."""
    networks, dsp = result["networks"], result["dsp"]
    cores = DSPS // dsp
    lines = [
        "## The MLPs of AAAI-18",
        "",
        f"One core of {config.n_pe} PEs ({dsp} DSPs, and {result['lut']:,} LUTs by the estimate "
        f"for xc7) runs both: k = {config.block_size}, {config.streams} streams of images. "
        "Accuracies are those of the integers: of every seed, and in Verilog of the one that is "
        "best on dev. Cycles an image are simulated (Verilator), from image to image; limit: block "
        f"products by PEs. The last column is what {cores} such cores, {cores * dsp} DSPs, take "
        "together: divided, not simulated. The paper (Wang et al.; figures as recalled, on MNIST) "
        f"has {DSPS} DSPs and 12 bits; its cycles are from images/s at {CLOCK / 1e6:.0f} MHz.",
        "",
        "| network | sizes | dev | test | images | mismatches | test in Verilog | cycles an image "
        "| limit | paper: test | paper: cycles | of all cores |",
        "|---" * 12 + "|",
    ]
    for name, of in networks.items():
        theirs = PUBLISHED[name]
        cells = [name, "-".join(map(str, of["sizes"]))]
        cells += [", ".join(f"{run[part]:.2f}" for run in of["runs"]) for part in ("dev", "test")]
        cells += [f"{of['images']:,}", str(of["mismatches"]), f"{of['test']:.2f}"]
        cells += [f"{of['cycles']:.1f}", f"{of['limit']:.1f}"]
        cells += [f"{theirs.accuracy:.1f}", f"{CLOCK / theirs.images_per_s:.1f}"]
        lines.append(f"| {' | '.join(cells)} | {of['cycles'] / cores:.1f} |")
    return lines
