"""Time and memory of a block-circulant layer as it grows, against torch's dense one.

    python benchmarks/scaling.py

Square layers n x n, a batch of vectors, inference and a training step (forward and backward), on
one thread. Ratios are of times measured in the same run, in turns. Memory is counted: the layer's
parameters, in training their gradients too and what autograd keeps for the backward pass.

Two fits: with k fixed a layer is n^2 / k numbers, an exponent of 2 as of the dense one; with n / k
fixed, the blocks growing with the layer, it is O(n) numbers and O(n log n) operations, and that is
CirCNN's claim. Exponents are slopes of log against log, by least squares.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from tqdm import tqdm

from ernn.nn import CirculantLinear

SIZES = (256, 512, 1024, 2048, 4096, 8192)
BLOCK_SIZES = (8, 16, 32, 64, 128, 256)
BLOCKS = 32
"""n / k where the blocks grow with the layer."""
PHASES = ("inference", "training")


@dataclass
class Arguments:
    """Measure how time and memory grow."""

    sizes: tuple[int, ...] = SIZES
    """n: rows and columns of the layer."""
    block_sizes: tuple[int, ...] = BLOCK_SIZES
    """k."""
    batch: int = 16
    """Vectors at once."""
    rounds: int = 7
    """Times that every layer is measured."""
    seconds: float = 0.1
    """That each of them takes at least."""


@dataclass(frozen=True)
class Row:
    """A layer; ``block_size`` 1 is torch's dense one. Times in seconds, memory in bytes."""

    size: int
    block_size: int
    times: dict[str, list[float]]
    memory: dict[str, int]


def step(layer: nn.Module, x: Tensor, training: bool) -> None:
    """Compute a batch; in training the gradients too."""
    if training:
        layer.zero_grad()
        layer(x).sum().backward()
    else:
        with torch.no_grad():
            layer(x)


def kept(layer: nn.Module, x: Tensor, training: bool) -> int:
    """Bytes of the parameters; in training of gradients and of what autograd keeps as well."""
    parameters = sum(p.numel() * p.element_size() for p in layer.parameters())
    if not training:
        return parameters
    storages = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    total = 2 * parameters

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x).sum()
    return total


def measure(size: int, arguments: Arguments) -> list[Row]:
    """Measure torch's layer of one size and those of every block size, in turns."""
    torch.manual_seed(0)
    x = torch.randn(arguments.batch, size, requires_grad=True)
    layers: dict[int, nn.Module] = {1: nn.Linear(size, size)}
    layers |= {k: CirculantLinear(size, size, k) for k in arguments.block_sizes if k < size}
    times: dict[tuple[int, str], list[float]] = {key: [] for key in product(layers, PHASES)}
    timers = {
        (k, phase): Timer(
            "step(layer, x, training)",
            globals={"step": step, "layer": layers[k], "x": x, "training": phase == "training"},
        )
        for k, phase in times
    }
    for _ in range(arguments.rounds):
        for key, timer in timers.items():
            times[key].append(timer.blocked_autorange(min_run_time=arguments.seconds).median)
    return [
        Row(
            size,
            k,
            {phase: times[k, phase] for phase in PHASES},
            {phase: kept(layer, x, phase == "training") for phase in PHASES},
        )
        for k, layer in layers.items()
    ]


def exponent(points: list[tuple[int, float]]) -> float:
    """Slope of log y against log n."""
    n, y = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(n, y, 1)[0])


def families(rows: list[Row], arguments: Arguments) -> dict[str, list[Row]]:
    """Rows that one exponent is fitted to, three sizes at least."""
    found = {"dense": [row for row in rows if row.block_size == 1]}
    for k in arguments.block_sizes:
        found[f"k = {k}"] = [row for row in rows if row.block_size == k]
    found[f"k = n / {BLOCKS}"] = [row for row in rows if row.size == BLOCKS * row.block_size]
    return {name: of for name, of in found.items() if len(of) >= 3}


def to_markdown(rows: list[Row], arguments: Arguments) -> str:
    """Return the tables of ratios and of exponents."""
    lines = [
        f"Batch {arguments.batch}. Ratio: the dense layer's time by this one's, median of the "
        f"{arguments.rounds} rounds, least and largest in brackets.",
        "",
        "| n | k | inference, ms | ratio | training, ms | ratio | bytes, inference | training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    dense = {row.size: row for row in rows if row.block_size == 1}
    for row in rows:
        cells = []
        for phase in PHASES:
            pairs = zip(dense[row.size].times[phase], row.times[phase], strict=True)
            ratios = [theirs / ours for theirs, ours in pairs]
            cells += [
                f"{1e3 * median(row.times[phase]):.3f}",
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        cells += [f"{row.memory[phase]:,}" for phase in PHASES]
        lines.append(f"| {row.size} | {row.block_size} | {' | '.join(cells)} |")
    lines += [
        "",
        "Exponents of n:",
        "",
        "| layers | time, inference | time, training | bytes, inference | bytes, training |",
        "|---|---|---|---|---|",
    ]
    for name, of in families(rows, arguments).items():
        of_what: list[Callable[[Row, str], float]] = [
            lambda row, phase: min(row.times[phase]),
            lambda row, phase: row.memory[phase],
        ]
        fits = [
            exponent([(row.size, value(row, phase)) for row in of])
            for value, phase in product(of_what, PHASES)
        ]
        lines.append(f"| {name} | " + " | ".join(f"{fit:.2f}" for fit in fits) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and print the tables."""
    arguments = tyro.cli(Arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for size in tqdm(arguments.sizes, desc="n", disable=None, file=sys.stderr):
        rows += measure(size, arguments)
    print(to_markdown(rows, arguments), end="")


if __name__ == "__main__":
    main()
