"""Handwritten digits, from PyTorch to Verilog: MNIST, or scikit-learn's, which need no file.

Stages: prepare, dense, then the block-circulant network (circulant, quantize, hardware), two
block-circulant MLPs (mlps), LeNet-5 compressed otherwise (control, admm, pruned, joint, decomposed,
smartdeal, spectral), its largest layer on three processing elements (engines), report. Each keeps
its result below ``--out``: a second run does only what is missing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ernn.files import locked
from recipes.experiment import command
from recipes.experiment.stage import Result, Stage, run_stages

HERE = Path(__file__).parent
StageName = Literal[
    "prepare",
    "dense",
    "circulant",
    "quantize",
    "hardware",
    "mlps",
    "control",
    "admm",
    "pruned",
    "joint",
    "decomposed",
    "smartdeal",
    "spectral",
    "engines",
    "report",
]


@dataclass
class Options:
    """Digit recognition from images to Verilog."""

    data: Path | None = None
    """Folder of MNIST's four IDX files; default: scikit-learn's digits."""
    out: Path = Path("exp/mnist")
    """Folder of everything that is written."""
    config: Path | None = None
    """Settings: every hyper-parameter; default: mnist.toml with --data, else default.toml."""
    start: Annotated[StageName | None, tyro.conf.arg(name="from")] = None
    """Repeat this stage and all after it."""
    seed: int | None = None
    """Replaces the seed of the settings."""


def run(options: Options) -> None:
    """Run what is missing and print the report.

    Raises:
        ValueError, FileNotFoundError: an option or a file is not as it must be.
        BlockingIOError: another run writes there.
    """
    import torch  # when the options are parsed: it is slow
    from torch import nn

    from data_prep import mnist
    from ernn.compress import Levels
    from recipes.mnist import compression, energy, engines, hardware, mlps, networks, report
    from recipes.mnist.settings import read_settings
    from recipes.mnist.training import trained

    config = options.config or HERE / ("mnist.toml" if options.data else "default.toml")
    settings, out = read_settings(config, options.seed), options.out
    seed, train, admm_nn = settings.seed, settings.train, settings.admm_nn
    break_even = energy.break_even(settings)
    data = mnist.mnist(options.data) if options.data else mnist.sklearn_digits(settings.seed)
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give

    def prepare(folder: Path, results: dict[str, Result]) -> Result:
        name = "MNIST" if options.data else "scikit-learn's digits"
        return {"corpus": name, "images": {split: len(part) for split, part in data.items()}}

    def learn(folder: Path, network: nn.Sequential) -> Result:
        return trained(network, data, settings.train, settings.seed, folder / "model.safetensors")

    def circulant() -> nn.Sequential:
        torch.manual_seed(settings.seed)
        return networks.circulant(settings.network.block_size, settings.network.channels)

    def dense() -> nn.Sequential:
        torch.manual_seed(settings.seed)
        return networks.lenet5()

    def quantize(folder: Path, results: dict[str, Result]) -> Result:
        network = networks.load(circulant(), out / "circulant" / "model.safetensors")
        return hardware.quantize(network, data, settings.words, folder)

    def simulate(folder: Path, results: dict[str, Result]) -> Result:
        at = out / "quantize" / "bundle"
        return hardware.simulate(folder, circulant()[0], data["test"], settings.core, at)

    def trained_lenet5() -> nn.Sequential:
        return networks.load(dense(), out / "dense" / "model.safetensors")

    def draw(folder: Path, results: dict[str, Result]) -> Result:
        given = trained_lenet5(), data, train, admm_nn, seed, folder
        return compression.drawn(*given, break_even)

    def prune(folder: Path, count: int, levels: Levels | None = None) -> Result:
        given = compression.read(dense(), out / "admm"), data, train, admm_nn, seed, folder
        return compression.kept_inside(*given, count=count, break_even=break_even, levels=levels)

    def prune_and_level(folder: Path, results: dict[str, Result]) -> Result:
        return prune(folder, admm_nn.joint, Levels.equidistant(admm_nn.bits))

    def compare(folder: Path, results: dict[str, Result]) -> Result:
        return engines.compare(dense, out, data, settings, folder)

    def accuracy(result: Result) -> str:
        return f"test {result['test']:.2f} %"

    def smaller(result: Result) -> str:
        return f"{accuracy(result)}, 1 / {result['ratio']:.0f} of the bytes"

    stages = [
        Stage(
            "prepare",
            prepare,
            [str(options.data), settings.seed],
            lambda r: f"{r['corpus']}, {' / '.join(map(str, r['images'].values()))} images",
        ),
        Stage("dense", lambda f, _: learn(f, dense()), asdict(settings.train), accuracy),
        Stage("circulant", lambda f, _: learn(f, circulant()), settings.network, accuracy),
        Stage("quantize", quantize, settings.words, accuracy),
        Stage(
            "hardware",
            simulate,
            settings.core,
            lambda r: (
                f"{r['images']} images, {r['mismatches']} mismatches, {r['cycles']:.0f} cycles"
            ),
        ),
        Stage(
            "mlps",
            lambda f, _: mlps.measure(data, train, settings.words, settings.mlps, seed, f),
            asdict(settings.mlps),
            lambda r: ", ".join(f"{name} {accuracy(of)}" for name, of in r["networks"].items()),
        ),
        Stage(
            "control",
            lambda f, _: compression.control(trained_lenet5(), data, train, admm_nn, seed, f),
            asdict(admm_nn),
            accuracy,
        ),
        Stage("admm", draw, [asdict(admm_nn), break_even], smaller),
        Stage(
            "pruned", lambda f, _: prune(f, admm_nn.pruned), [asdict(admm_nn), break_even], smaller
        ),
        Stage("joint", prune_and_level, [asdict(admm_nn), break_even], smaller),
        Stage(
            "decomposed",
            lambda f, _: compression.decomposed(trained_lenet5(), data, settings.smartdeal, f),
            asdict(settings.smartdeal),
            smaller,
        ),
        Stage(
            "smartdeal",
            lambda f, _: compression.smartdeal(
                trained_lenet5(), data, train, settings.smartdeal, seed, f
            ),
            asdict(settings.smartdeal),
            smaller,
        ),
        Stage(
            "spectral",
            lambda f, _: compression.spectral(
                trained_lenet5(), data, train, settings.spectral, seed, f
            ),
            asdict(settings.spectral),
            smaller,
        ),
        Stage(
            "engines",
            compare,
            asdict(settings.engines),
            lambda r: "; ".join(
                f"{name} {r[name]['cycles']:.0f} cycles, {r[name]['mismatches']} mismatches"
                for name in engines.ROWS
            ),
        ),
        Stage(
            "report",
            lambda folder, results: report.write(out, settings, results),
            None,
            lambda r: f"see {out / 'RESULTS.md'}",
        ),
    ]
    with locked(out, wait=False):
        results = run_stages(stages, out, options.start)
    print(results["report"]["text"])


if __name__ == "__main__":
    command.main(Options, run)
