"""The number contract: formats, rounding, FFT and cells against exact or float arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernn.activations import SEGMENTS, SIGMOID, TANH, PiecewiseLinear, sigmoid_and_tanh
from ernn.fixed import (
    Accumulator,
    CellFormats,
    FixedPoint,
    accumulate,
    activation,
    activation_table,
    circulant_row,
    gru_cell,
    inverse,
    irfft,
    lstm_cell,
    output_spectrum,
    rfft,
    shift_round,
)

settings.register_profile("exact", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("exact")

BLOCK_SIZES = [1, 2, 4, 8, 16, 32, 64]
GATE = FixedPoint(16, 14)
CELL = CellFormats(FixedPoint(16, 11), GATE, FixedPoint(16, 12), peephole=FixedPoint(12, 10))


def extremes(fmt: FixedPoint, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """All minimum, all maximum, random corners, then uniform values."""
    rng = np.random.default_rng(seed)
    x = rng.integers(fmt.lowest, fmt.highest + 1, shape)
    corners = np.where(rng.random(shape) < 0.5, fmt.lowest, fmt.highest)
    x[: len(x) // 2] = corners[: len(x) // 2]
    x[0], x[1] = fmt.lowest, fmt.highest
    return x


def unpack(packed: np.ndarray) -> np.ndarray:
    """Packed words (..., k) to complex bins (..., k/2 + 1)."""
    k = packed.shape[-1]
    bins = np.zeros((*packed.shape[:-1], k // 2 + 1), complex)
    bins[..., 0], bins[..., k // 2] = packed[..., 0], packed[..., 1]
    bins[..., 1 : k // 2] = packed[..., 2::2] + 1j * packed[..., 3::2]
    return bins


@given(st.integers(-(2**40), 2**40), st.integers(0, 30))
def test_shift_rounds_half_up(n: int, shift: int) -> None:
    exact = Fraction(n, 2**shift) + Fraction(1, 2)
    assert int(shift_round(n, shift)) == exact.numerator // exact.denominator
    assert int(shift_round(n % 4096, -shift)) == (n % 4096) << shift


@given(st.integers(2, 24), st.integers(-4, 28), st.floats(-1e6, 1e6))
def test_quantize_is_the_nearest_integer_that_fits(word: int, fraction: int, x: float) -> None:
    fmt = FixedPoint(word, fraction)
    exact = Fraction(x) * Fraction(2) ** fraction + Fraction(1, 2)
    nearest = exact.numerator // exact.denominator
    assert int(fmt.quantize(x)) == min(max(nearest, fmt.lowest), fmt.highest)
    assert fmt.quantize(fmt.to_float(fmt.lowest)) == fmt.lowest


@given(st.integers(2, 24), st.floats(1e-6, 1e6))
def test_covering_is_the_finest_format_that_does_not_clip(word: int, largest: float) -> None:
    fmt = FixedPoint.covering(word, largest)
    finer = FixedPoint(word, fmt.fraction_length + 1)
    assert np.floor(largest * 2.0**fmt.fraction_length + 0.5) <= fmt.highest
    assert np.floor(largest * 2.0**finer.fraction_length + 0.5) > finer.highest


def test_covering_zero() -> None:
    assert FixedPoint.covering(12, 0.0) == FixedPoint(12, 11)


def test_word_length_is_checked() -> None:
    with pytest.raises(ValueError, match="word length 1: must be from 2 to 48"):
        FixedPoint(1, 0)


@pytest.mark.parametrize("k", BLOCK_SIZES)
@pytest.mark.parametrize("word", [8, 16])
def test_fft_stays_in_its_words_and_near_the_real_one(k: int, word: int) -> None:
    fmt, growth = FixedPoint(word, 0), k.bit_length() - 1
    x = extremes(fmt, (500, k))
    X, exact = rfft(x), np.fft.rfft(x)
    words = FixedPoint(word + max(growth, 0), 0)
    assert np.array_equal(X, words.saturate(X))
    if k > 1:
        # Every rounded product is off by at most 1/2, and by 2**-17 of what the twiddle multiplies.
        slack = max(0, growth - 2) * (k / 2) * (0.5 + 2.0 ** (word + growth - 17))
        assert np.abs(unpack(X) - exact).max() <= slack
    if k in (1, 2, 4):
        assert np.array_equal(irfft(rfft(x)), k * x)


@pytest.mark.parametrize("k", BLOCK_SIZES)
def test_inverse_fft_stays_in_its_words_whatever_the_spectrum(k: int) -> None:
    output = FixedPoint(12, 4)
    growth = k.bit_length() - 1
    Y = extremes(output_spectrum(output, k), (500, k))
    y = irfft(Y)
    words = FixedPoint(output_spectrum(output, k).word_length + growth + 1, 0)
    assert np.array_equal(y, words.saturate(y))
    if k > 1:
        exact = np.fft.irfft(unpack(Y), n=k) * k
        slack = max(0, growth - 2) * k * (0.5 + 2.0 ** (words.word_length - 17))
        assert np.abs(y - exact).max() <= slack


@pytest.mark.parametrize("k", BLOCK_SIZES)
def test_inverse_undoes_the_fft_to_a_step(k: int) -> None:
    fmt = FixedPoint(12, 8)
    x = extremes(fmt, (500, k))
    assert np.abs(inverse(rfft(x), fmt) - x).max() <= 1


@pytest.mark.parametrize("k", BLOCK_SIZES)
def test_accumulate_is_the_exact_complex_sum(k: int) -> None:
    X = extremes(FixedPoint(20, 0), (6, 5, k))
    W = extremes(FixedPoint(12, 0), (3, 5, k), seed=1)
    expected = np.zeros((6, 3, k), object)
    for n, p, q in np.ndindex(6, 3, 5):
        x, w = X[n, q].astype(object), W[p, q].astype(object)
        expected[n, p, :2] += x[:2] * w[:2]
        for f in range(2, k, 2):
            expected[n, p, f] += x[f] * w[f] - x[f + 1] * w[f + 1]
            expected[n, p, f + 1] += x[f] * w[f + 1] + x[f + 1] * w[f]
    assert (accumulate(X, W) == expected).all()


def test_accumulate_refuses_what_float64_cannot_hold() -> None:
    X = np.full((1, 4, 4), 2**30)
    with pytest.raises(ValueError, match=r"2\*\*53"):
        accumulate(X, X)


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16])
def test_circulant_row_is_the_dense_product(k: int) -> None:
    rng = np.random.default_rng(2)
    x, w = rng.uniform(-1, 1, (20, 6, k)), rng.uniform(-0.3, 0.3, (3, 6, k))
    packed = np.empty((3, 6, k))
    bins = np.fft.rfft(w)
    packed[..., 0] = bins[..., 0].real
    if k > 1:
        packed[..., 1] = bins[..., k // 2].real
        packed[..., 2::2], packed[..., 3::2] = bins[..., 1:-1].real, bins[..., 1:-1].imag
    source, weight, output = FixedPoint(16, 14), FixedPoint(16, 12), FixedPoint(16, 11)
    y = circulant_row(
        rfft(source.quantize(x)), Accumulator(weight.quantize(packed)), 12, 14, output
    )
    index = (np.arange(k)[:, None] - np.arange(k)) % k
    exact = np.einsum("pqrs,nqs->npr", w[..., index], x)
    assert np.abs(output.to_float(y) - exact).max() < 2e-3


UNITS = [unit for segments in SEGMENTS for unit in sigmoid_and_tanh(segments)]
ERRORS = {4: 2**-3, 8: 2**-6, 16: 2**-8, 32: 2**-9, 64: 2**-9}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.name}-{unit.segments}")
@pytest.mark.parametrize("word", [12, 16])
def test_activation_error_falls_with_the_segments(unit: PiecewiseLinear, word: int) -> None:
    source, output = FixedPoint(16, 11), FixedPoint(word, word - 2)
    x = np.arange(source.lowest, source.highest + 1)
    y = activation(x, activation_table(unit, source, output))
    exact = np.array([unit.function(v) for v in source.to_float(x)])
    assert np.abs(output.to_float(y) - exact).max() <= ERRORS[unit.segments]
    assert (np.diff(y) >= 0).all()
    assert np.array_equal(
        y[x > source.lowest] + y[x > source.lowest][::-1],
        np.where(x[1:] == 0, 2 * y[x == 0], unit.complement << (word - 2)),
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.name}-{unit.segments}")
def test_float_and_fixed_activation_are_one_table(unit: PiecewiseLinear) -> None:
    source, output = FixedPoint(20, 15), FixedPoint(24, 22)
    x = np.arange(source.lowest, source.highest + 1, 7)
    y = output.to_float(activation(x, activation_table(unit, source, output)))
    assert np.abs(unit(torch.tensor(source.to_float(x))).numpy() - y).max() < 2**-15


def test_activation_gradient_is_the_slope() -> None:
    x = torch.linspace(-9, 9, 501, dtype=torch.float64, requires_grad=True)
    SIGMOID(x).sum().backward()
    slope = torch.sigmoid(x) * (1 - torch.sigmoid(x))
    assert x.grad is not None
    assert (x.grad - slope).abs().max() < 0.02
    assert x.grad[0] == 0


def test_activation_formats_are_checked() -> None:
    with pytest.raises(ValueError, match="coarser than a segment; its fraction needs 3 bits"):
        activation_table(TANH, FixedPoint(16, 2), GATE)
    with pytest.raises(ValueError, match=r"output Q16\.15 cannot hold 1"):
        activation_table(TANH, FixedPoint(16, 11), FixedPoint(16, 15))
    with pytest.raises(ValueError, match="power of two"):
        PiecewiseLinear("sigmoid", SIGMOID.function, 8.0, 1, segments=24)


def test_cell_formats_are_checked() -> None:
    with pytest.raises(ValueError, match=r"cell Q16\.15"):
        CellFormats(GATE, GATE, FixedPoint(16, 15))
    with pytest.raises(ValueError, match="peephole"):
        CellFormats(GATE, GATE, FixedPoint(16, 1), FixedPoint(12, 10))
    with pytest.raises(ValueError, match="segments 24: must be one of 4, 8, 16, 32, 64"):
        CellFormats(GATE, GATE, GATE, segments=24)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("cell_activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("peephole", [False, True])
def test_lstm_cell_follows_the_equations(cell_activation: str, peephole: bool) -> None:
    rng = np.random.default_rng(3)
    z, b = rng.uniform(-4, 4, (50, 4, 9)), rng.uniform(-1, 1, (4, 9))
    c, p = rng.uniform(-3, 3, (50, 9)), rng.uniform(-1, 1, (3, 9)) * peephole
    h, new = lstm_cell(
        CELL.preactivation.quantize(z),
        CELL.preactivation.quantize(b),
        CELL.cell.quantize(c),
        CELL,
        FixedPoint(12, 10).quantize(p) if peephole else None,
        cell_activation,
    )
    a = z + b
    g = (np.tanh if cell_activation == "tanh" else sigmoid)(a[:, 2])
    expected = sigmoid(a[:, 1] + p[1] * c) * c + sigmoid(a[:, 0] + p[0] * c) * g
    assert np.abs(CELL.cell.to_float(new) - expected).max() < 0.01
    expected_h = sigmoid(a[:, 3] + p[2] * expected) * np.tanh(expected)
    assert np.abs(GATE.to_float(h) - expected_h).max() < 0.01


def test_gru_cell_follows_the_equations() -> None:
    rng = np.random.default_rng(4)
    z, b = rng.uniform(-4, 4, (50, 4, 9)), rng.uniform(-1, 1, (4, 9))
    h = rng.uniform(-1, 1, (50, 9))
    new = gru_cell(
        CELL.preactivation.quantize(z), CELL.preactivation.quantize(b), GATE.quantize(h), CELL
    )
    a = z + b
    r, u = sigmoid(a[:, 0]), sigmoid(a[:, 1])
    n = np.tanh(a[:, 2] + r * a[:, 3])
    assert np.abs(GATE.to_float(new) - ((1 - u) * n + u * h)).max() < 0.01


def test_cells_saturate_and_never_wrap() -> None:
    fmt = CELL.preactivation
    z = extremes(fmt, (40, 4, 8))
    b = extremes(fmt, (4, 8), seed=1)
    c = extremes(CELL.cell, (40, 8), seed=2)
    p = extremes(FixedPoint(12, 10), (3, 8), seed=3)
    h, new = lstm_cell(z, b, c, CELL, p)
    assert np.array_equal(new, CELL.cell.saturate(new))
    assert np.abs(h).max() <= 1 << GATE.fraction_length
    h = gru_cell(z, b, extremes(GATE, (40, 8), seed=4), CELL)
    assert np.array_equal(h, GATE.saturate(h))
