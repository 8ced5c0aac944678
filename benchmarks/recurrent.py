"""A training step of the recurrent layers against torch's own, forward and backward.

    python benchmarks/recurrent.py

Dense and block-circulant layers beside torch's dense ones, on a padded batch, one thread, float32
and under autocast to bfloat16; processor time, so that what runs beside counts less. Ratios are
torch's time by ours, measured in turns.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median

import torch
import tyro
from torch import nn

from ernn.nn import GRU, LSTM


@dataclass
class Arguments:
    """Measure how fast the recurrent layers train."""

    frames: int = 136
    """Of a sequence."""
    batch: int = 8
    """Sequences at once."""
    input_size: int = 160
    """Values a frame."""
    hidden_size: int = 256
    """Units of a layer and direction."""
    num_layers: int = 2
    """Layers."""
    block_size: int = 8
    """k of the block-circulant layers."""
    rounds: int = 15
    """Times that every layer is measured."""


def measure(arguments: Arguments) -> list[tuple[str, list[float], list[float]]]:
    """Return what is measured, torch's times and ours, in seconds."""
    torch.manual_seed(0)
    sizes = arguments.input_size, arguments.hidden_size, arguments.num_layers
    x = torch.randn(arguments.frames, arguments.batch, arguments.input_size)
    results = []
    block_sizes = 1, arguments.block_size
    for cell, both, short, k in product(("LSTM", "GRU"), (False, True), (False, True), block_sizes):
        theirs = getattr(nn, cell)(*sizes, bidirectional=both)
        ours = (LSTM if cell == "LSTM" else GRU).from_dense(theirs, k)

        def step(layer: Callable[..., tuple[torch.Tensor, object]], short: bool = short) -> float:
            started = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                y = layer(x)[0]
            y.float().square().sum().backward()
            return time.process_time() - started

        step(theirs), step(ours)
        times = [(step(theirs), step(ours)) for _ in range(arguments.rounds)]
        name = f"{cell}, {'both directions' if both else 'one direction'}"
        name += f" | {'bfloat16' if short else 'float32'} | {k}"
        results.append((name, [a for a, _ in times], [b for _, b in times]))
    return results


def to_markdown(results: list[tuple[str, list[float], list[float]]]) -> str:
    """Return the table."""
    lines = [
        "| layers | | k | torch, ms | ours, ms | ratio, median | least | largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, theirs, ours in results:
        ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
        cells = [f"{1e3 * median(of):.1f}" for of in (theirs, ours)]
        cells += [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and print the table."""
    arguments = tyro.cli(Arguments)
    torch.set_num_threads(1)
    print(to_markdown(measure(arguments)), end="")


if __name__ == "__main__":
    main()
