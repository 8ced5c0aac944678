import pytest
import torch
from torch import nn

from benchmarks.scaling import Arguments, Row, exponent, families, kept, measure, to_markdown
from ernn.nn import CirculantLinear

PHASES = {"inference": [2.0, 1.0], "training": [4.0, 8.0]}


def row(size: int, k: int) -> Row:
    times = {phase: [size**2 / k * t for t in of] for phase, of in PHASES.items()}
    return Row(size, k, times, {"inference": 4 * size**2 // k, "training": 8 * size})


def test_an_exponent_is_the_slope_of_the_logarithms() -> None:
    assert exponent([(n, 3.0 * n**1.5) for n in (4, 10, 100)]) == pytest.approx(1.5)


def test_the_table_has_ratios_of_the_same_run_and_exponents() -> None:
    rows = [row(n, k) for n in (256, 512, 1024) for k in sorted({1, 8, n // 32})]
    arguments = Arguments(block_sizes=(8, 16), rounds=2)
    assert list(families(rows, arguments)) == ["dense", "k = 8", "k = n / 32"]
    text = to_markdown(rows, arguments).splitlines()
    assert (
        "| 512 | 16 | 24576000.000 | 16.00 (16.00 to 16.00) | 98304000.000 | "
        "16.00 (16.00 to 16.00) | 65,536 | 4,096 |" in text
    )
    assert "| dense | 2.00 | 2.00 | 2.00 | 1.00 |" in text
    assert "| k = n / 32 | 1.00 | 1.00 | 1.00 | 1.00 |" in text


def test_what_training_keeps_is_counted() -> None:
    x = torch.randn(3, 8)
    assert kept(nn.Linear(8, 8), x, training=False) == 4 * (64 + 8)
    assert kept(nn.Linear(8, 8), x, training=True) == 2 * 4 * (64 + 8) + 4 * 24
    circulant = CirculantLinear(64, 64, 8)
    of_training = kept(circulant, torch.randn(2, 64), training=True)
    assert 2 * kept(circulant, x, training=False) < of_training
    assert of_training < kept(nn.Linear(64, 64), torch.randn(2, 64), training=True)


def test_layers_are_measured_in_turns() -> None:
    rows = measure(16, Arguments(block_sizes=(4, 16), rounds=2, seconds=1e-4))
    assert [(r.size, r.block_size) for r in rows] == [(16, 1), (16, 4)]
    assert all(len(times) == 2 for r in rows for times in r.times.values())
