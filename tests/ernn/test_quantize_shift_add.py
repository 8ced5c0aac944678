"""Layers of powers of two times bases, in integers, against exact fractions and their own words."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from ernn.compress import Basis, Sparse
from ernn.fixed import FixedPoint
from ernn.quantize.shift_add import IntegerShiftAdd

SOURCE, OUTPUT = FixedPoint(12, 8), FixedPoint(12, 7)


def integers(weight: Tensor, basis: Basis, gap_bits: int = 3) -> IntegerShiftAdd:
    torch.manual_seed(1)
    bias = torch.randn(len(weight))
    given = basis.decompose(weight), weight.shape[1], bias, basis
    return IntegerShiftAdd.of(*given, gap_bits=gap_bits, source=SOURCE, output=OUTPUT)


def random(rows: int, columns: int) -> Tensor:
    torch.manual_seed(rows)
    return torch.randn(rows, columns) / 4


@pytest.mark.parametrize(
    ("shape", "basis"),
    [
        ((5, 31), Basis(3)),
        ((3, 600), Basis(3)),  # two pieces of an output
        ((4, 20), Basis(4, bits=3, basis_bits=6)),
        ((4, 7), Basis(1, bits=4)),
    ],
)
def test_gives_the_projected_weight_times_x_rounded_once(
    shape: tuple[int, int], basis: Basis
) -> None:
    """In exact fractions: nothing is between it and the weight."""
    weight = random(*shape)
    layer, projected = integers(weight, basis), basis.project(weight.double())
    assert np.array_equal(layer.weight.to_float(layer.weights()), projected.numpy())
    rng = np.random.default_rng(0)
    frames = rng.integers(SOURCE.lowest, SOURCE.highest + 1, (4, shape[1]))
    for x, y in zip(frames, layer.run(frames), strict=True):
        for row in range(shape[0]):
            products = zip(projected[row].tolist(), x.tolist(), strict=True)
            total = sum(Fraction(w) * n for w, n in products)
            total /= 2 ** (SOURCE.fraction_length - OUTPUT.fraction_length)
            exact = int((total + Fraction(1, 2)) // 1) + int(layer.bias[row])
            assert y[row] == min(max(exact, OUTPUT.lowest), OUTPUT.highest)


def read(layer: IntegerShiftAdd) -> np.ndarray:
    """The weights, of the words of both memories."""
    bits, basis_bits, size = layer.bits, layer.weight.word_length, layer.size
    out, pieces, rows, _ = layer.coefficients.shape
    weights = np.zeros((out, pieces * rows, size), np.int64)
    columns = [
        [word >> n * basis_bits & (1 << basis_bits) - 1 for n in range(size)]
        for word in layer.basis_words()
    ]
    bases = np.array(columns, np.int64).reshape(-1, size, size)
    bases -= bases >> (basis_bits - 1) << basis_bits
    basis, row, place = 0, 0, -1
    for word in layer.entries():
        codes = [word >> n * bits & (1 << bits) - 1 for n in range(size)]
        word >>= size * bits
        gap, turn, last = word & (1 << layer.gap_bits) - 1, word >> layer.gap_bits & 1, word >> 1
        last >>= layer.gap_bits
        place += gap
        if gap != (1 << layer.gap_bits) - 1:
            place += 1
            powers = [(1 << (c & (1 << (bits - 1)) - 1)) // 2 for c in codes]
            signs = [-1 if c >> (bits - 1) else 1 for c in codes]
            weights[row, place] = bases[basis] @ (np.array(powers) * signs)
        basis += turn
        if last:
            row, place = row + 1, -1
    assert (row, basis) == (out, len(bases))
    return weights.reshape(out, -1)[:, : layer.input_size]


@pytest.mark.parametrize("gap_bits", [1, 3])
@pytest.mark.parametrize("kept", [0, 3, 20, 300])
def test_the_words_hold_the_weights(gap_bits: int, kept: int) -> None:
    """Rows of coefficients are pruned, an output among them, and whole pieces."""
    size, rows = 3, 200
    weight = random(3, size * rows)
    groups = weight.view(-1, size)
    weight = Sparse(kept, (1,)).project(groups).view_as(weight)
    weight[1] = 0
    layer = integers(weight, Basis(size), gap_bits)
    assert np.array_equal(read(layer), layer.weights())
    used = layer.coefficients.any((2, 3)).sum()
    assert len(layer.basis_words()) == used * size
    assert len(layer.entries()) >= layer.coefficients.any(3).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coefficients": np.full((1, 1, 1, 1), 3)}, "coefficient 3: not a power of two of 4 bits"),
        ({"coefficients": np.full((1, 1, 1, 1), -128)}, "coefficient -128"),
        ({"coefficients": np.full((1, 1, 2, 1), 1)}, "reach beyond the 1 columns"),
        ({"bits": 1}, "bits is 1"),
        ({"gap_bits": 0}, "gap_bits is 0"),
        ({"weight": FixedPoint(8, 0)}, "shift of 0; it must be from 1 to 31"),
        ({"input": FixedPoint(40, 8)}, "sums of 56 bits; at most 48"),
    ],
)
def test_what_a_pe_does_not_compute_is_refused(change: dict, message: str) -> None:
    given = {
        "coefficients": np.full((1, 1, 1, 1), 64),
        "bases": np.full((1, 1, 1, 1), 100),
        "bias": np.array([0]),
        "input_size": 1,
        "bits": 4,
        "gap_bits": 4,
        "input": SOURCE,
        "weight": FixedPoint(8, 7),
        "output": FixedPoint(12, 8),
    }
    with pytest.raises(ValueError, match=message):
        IntegerShiftAdd(**given | change)
