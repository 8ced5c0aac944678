"""Layers of pruned weights on levels, in integers, against exact fractions and their own words."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from ernn.compress import Levels, Sparse, SparseLevels, storage
from ernn.fixed import FixedPoint
from ernn.quantize.sparse import IntegerSparse

SOURCE, OUTPUT = FixedPoint(12, 8), FixedPoint(12, 7)


def projected(rows: int, columns: int, kept: int, bits: int) -> Tensor:
    torch.manual_seed(rows)
    return SparseLevels(Sparse(kept), Levels.equidistant(bits)).project(torch.randn(rows, columns))


def integers(weight: Tensor, level_bits: int = 4, gap_bits: int = 4) -> IntegerSparse:
    torch.manual_seed(1)
    return IntegerSparse.of(
        weight,
        torch.randn(len(weight)),
        level_bits=level_bits,
        gap_bits=gap_bits,
        scale_length=16,
        source=SOURCE,
        output=OUTPUT,
    )


def frames(columns: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (
        rng.integers(SOURCE.lowest, SOURCE.highest + 1, (6, columns))
        >> rng.integers(0, 8, 6)[:, None]
    )


def rounded(value: Fraction, output: FixedPoint) -> int:
    """Half up, not yet saturated."""
    return int((value * 2**output.fraction_length + Fraction(1, 2)) // 1)


@pytest.mark.parametrize(
    ("rows", "columns", "kept", "bits"), [(9, 31, 60, 4), (4, 64, 200, 3), (8, 8, 3, 2)]
)
def test_gives_the_projected_weight_times_x_rounded_once(
    rows: int, columns: int, kept: int, bits: int
) -> None:
    """In exact fractions; the scale's own rounding is all that is between it and the weight."""
    weight = projected(rows, columns, kept, bits)
    layer = integers(weight, bits)
    scale = Fraction(layer.scale) / 2**layer.weight.fraction_length
    off = (layer.levels * float(scale) - weight.double().numpy()).max()
    assert off <= 2 ** (bits - 1) * 2.0**-layer.weight.fraction_length
    assert (layer.levels != 0).sum() == kept
    for x, y in zip(frames(columns), layer.run(frames(columns)), strict=True):
        for row in range(rows):
            products = zip(layer.levels[row].tolist(), x.tolist(), strict=True)
            total = sum(Fraction(level) * n for level, n in products) * scale
            exact = rounded(total / 2**SOURCE.fraction_length, OUTPUT) + int(layer.bias[row])
            assert y[row] == min(max(exact, OUTPUT.lowest), OUTPUT.highest)


def read(layer: IntegerSparse) -> np.ndarray:
    """The levels, of the words of the memory."""
    levels = np.zeros_like(layer.levels)
    row, column = 0, -1
    for word in layer.entries():
        code = word & (1 << layer.level_bits) - 1
        gap = word >> layer.level_bits & (1 << layer.gap_bits) - 1
        column += gap
        if gap != (1 << layer.gap_bits) - 1:
            column += 1
            level = code - (code >> (layer.level_bits - 1) << layer.level_bits)
            levels[row, column] = level + (level >= 0)
        if word >> (layer.level_bits + layer.gap_bits):
            row, column = row + 1, -1
    assert row == len(levels)
    return levels


@pytest.mark.parametrize("gap_bits", [1, 2, 4, 7])
@pytest.mark.parametrize("kept", [0, 1, 40, 240])
def test_the_words_hold_the_levels(gap_bits: int, kept: int) -> None:
    layer = integers(projected(6, 40, kept, 4), gap_bits=gap_bits)
    assert np.array_equal(read(layer), layer.levels)
    assert len(layer.entries()) >= max(6, kept)


def test_gaps_have_the_codes_of_the_files() -> None:
    """One row has as many entries as a file has codes of its positions."""
    layer = integers(projected(1, 400, 30, 4), gap_bits=3)
    places = np.flatnonzero(layer.levels)
    assert len(layer.entries()) == len(storage.gap_codes(np.diff(places, prepend=-1) - 1, 3))


def test_a_weight_that_is_on_no_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="off the levels of 3 bits"):
        integers(torch.tensor([[1.0, 0.7], [0.0, 0.31]]), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": np.array([[9]])}, "level 9: 4 bits hold levels up to 8"),
        ({"level_bits": 0}, "level_bits is 0"),
        ({"gap_bits": 0}, "gap_bits is 0"),
        ({"weight": FixedPoint(16, 0)}, "shift of 0; it must be from 1 to 31"),
        ({"weight": FixedPoint(16, 32)}, "shift of 32"),
        ({"input": FixedPoint(48, 8)}, "sums of 53 bits; at most 48"),
        ({"weight": FixedPoint(48, 8)}, "products of 65 bits; at most 63"),
    ],
)
def test_what_a_pe_does_not_compute_is_refused(change: dict, message: str) -> None:
    given = {
        "levels": np.array([[8]]),
        "scale": 1,
        "bias": np.array([0]),
        "level_bits": 4,
        "gap_bits": 4,
        "input": SOURCE,
        "weight": FixedPoint(16, 8),
        "output": FixedPoint(12, 8),
    }
    with pytest.raises(ValueError, match=message):
        IntegerSparse(**given | change)
