"""Fixed point: the numbers and the arithmetic that PyTorch, the CPU runtime and the RTL share.

A fixed-point value is an integer n with a format (word length, fraction length); it means n *
2**-fraction_length. Two's complement, rounding half up, saturation everywhere. All functions here
take and return integers (int64 arrays) and are exact: they define what the hardware computes, bit
for bit.

A block's spectrum is packed in k real words as :mod:`ernn.circulant` says: Re 0, Re k/2, Re 1, Im
1, Re 2, ...
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ernn.activations import PiecewiseLinear, check_segments, sigmoid_and_tanh

Integers = NDArray[np.int64]

TWIDDLE_FRACTION = 16
"""Fraction length of the FFT's twiddle factors: below 1, they fit 18-bit multiplier inputs."""


@dataclass(frozen=True)
class FixedPoint:
    """A two's complement format: ``word_length`` bits, ``fraction_length`` of them after the point.

    The fraction length may be negative or larger than the word length, as in MATLAB.
    """

    word_length: int
    fraction_length: int

    def __post_init__(self) -> None:
        if not 2 <= self.word_length <= 48:
            raise ValueError(f"word length {self.word_length}: must be from 2 to 48")

    @classmethod
    def covering(cls, word_length: int, largest: float) -> "FixedPoint":
        """Return the format with the longest fraction that holds +-``largest``."""
        integer_length = math.floor(math.log2(largest)) + 1 if largest > 0 else 0
        fmt = cls(word_length, word_length - 1 - integer_length)
        rounds_past_the_end = math.floor(largest * 2.0**fmt.fraction_length + 0.5) > fmt.highest
        return cls(word_length, fmt.fraction_length - 1) if rounds_past_the_end else fmt

    @property
    def lowest(self) -> int:
        """The most negative integer."""
        return -(1 << (self.word_length - 1))

    @property
    def highest(self) -> int:
        """The most positive integer."""
        return (1 << (self.word_length - 1)) - 1

    def quantize(self, values: ArrayLike) -> Integers:
        """Round real values half up and saturate."""
        scaled = np.floor(np.asarray(values, np.float64) * 2.0**self.fraction_length + 0.5)
        return np.clip(scaled, self.lowest, self.highest).astype(np.int64)

    def to_float(self, n: ArrayLike) -> NDArray[np.float64]:
        """Return the real values that the integers mean."""
        return np.asarray(n, np.float64) * 2.0**-self.fraction_length

    def saturate(self, n: ArrayLike) -> Integers:
        """Clip integers to the format."""
        return np.clip(np.asarray(n, np.int64), self.lowest, self.highest)

    def rescale(self, n: ArrayLike, fraction_length: int) -> Integers:
        """Bring integers with ``fraction_length`` into this format: round half up, saturate."""
        return self.saturate(shift_round(n, fraction_length - self.fraction_length))

    def __str__(self) -> str:
        return f"Q{self.word_length}.{self.fraction_length}"


def shift_round(n: ArrayLike, shift: int) -> Integers:
    """Divide by 2**shift, rounding half up: (n + 2**(shift - 1)) >> shift; below 0 multiply."""
    n = np.asarray(n, np.int64)
    if shift > 0:
        return (n + (1 << (shift - 1))) >> shift
    return n << -shift


# ---------------------------------------------------------------------------------------------- FFT


def twiddle(f: int, k: int) -> tuple[int, int]:
    """Cosine and sine of 2 pi f / k as integers of TWIDDLE_FRACTION bits of fraction."""
    angle = 2 * math.pi * f / k
    one = 1 << TWIDDLE_FRACTION
    return math.floor(math.cos(angle) * one + 0.5), math.floor(math.sin(angle) * one + 0.5)


def fft_products(block_size: int) -> int:
    """Real multiplications of :func:`rfft` or :func:`irfft`: 0, 2, 14, 54 for k = 4, 8, 16, 32.

    The product with a twiddle has four; two if its parts are equal, none if one of them is 0.
    """
    if block_size < 8:
        return 0
    return 2 * fft_products(block_size // 2) + 2 + 4 * (block_size // 4 - 2)


def _unpack(packed: Integers) -> list[tuple[Integers, Integers]]:
    """Split (..., k) words, k >= 2, into k/2 + 1 pairs (real, imaginary) of (...) words."""
    k = packed.shape[-1]
    zero = np.zeros_like(packed[..., 0])
    middle = [(packed[..., 2 * f], packed[..., 2 * f + 1]) for f in range(1, k // 2)]
    return [(packed[..., 0], zero), *middle, (packed[..., 1], zero)]


def _pack(bins: Sequence[tuple[Integers, Integers]]) -> Integers:
    """Join k/2 + 1 pairs of (...) words into (..., k) words."""
    packed = np.empty((*bins[0][0].shape, 2 * len(bins) - 2), np.int64)
    packed[..., 0], packed[..., 1] = bins[0][0], bins[-1][0]
    for f, (re, im) in enumerate(bins[1:-1], 1):
        packed[..., 2 * f], packed[..., 2 * f + 1] = re, im
    return packed


def rfft(x: ArrayLike) -> Integers:
    """Real FFT of blocks (..., k) -> packed spectra (..., k), unnormalised; k a power of two.

    Decimation in time: two transforms of k/2 (even samples E, odd samples O) and one stage of
    butterflies, X[f] = E[f] + w**f O[f] and X[k/2 - f] = conj(E[f] - w**f O[f]), w = exp(-2 pi i /
    k). A product with a twiddle other than 1 and -i is formed exactly and each part rounded once to
    the fraction of x; all else is exact. The words grow by log2(k) bits and cannot overflow.
    """
    x = np.asarray(x, np.int64)
    k = x.shape[-1]
    if k == 1:
        return x
    if k == 2:
        return np.stack([x[..., 0] + x[..., 1], x[..., 0] - x[..., 1]], axis=-1)
    even, odd = _unpack(rfft(x[..., 0::2])), _unpack(rfft(x[..., 1::2]))
    X = [(x[..., 0], x[..., 0])] * (k // 2 + 1)
    X[0] = (even[0][0] + odd[0][0], even[0][1])
    X[k // 2] = (even[0][0] - odd[0][0], even[0][1])
    X[k // 4] = (even[k // 4][0], -odd[k // 4][0])
    for f in range(1, k // 4):
        cos, sin = twiddle(f, k)
        (e_re, e_im), (o_re, o_im) = even[f], odd[f]
        t_re = shift_round(o_re * cos + o_im * sin, TWIDDLE_FRACTION)
        t_im = shift_round(o_im * cos - o_re * sin, TWIDDLE_FRACTION)
        X[f] = (e_re + t_re, e_im + t_im)
        X[k // 2 - f] = (e_re - t_re, t_im - e_im)
    return _pack(X)


def irfft(packed: ArrayLike) -> Integers:
    """Inverse real FFT of packed spectra (..., k) -> blocks (..., k), k times too large.

    Decimation in frequency, the mirror of :func:`rfft`: the even samples are the transform of E[f]
    = Y[f] + conj(Y[k/2 - f]), the odd ones that of O[f] = (Y[f] - conj(Y[k/2 - f])) exp(2 pi i f /
    k), each product rounded once to the fraction of Y. The words grow by log2(k) + 1 bits and
    cannot overflow, whatever Y is.
    """
    packed = np.asarray(packed, np.int64)
    k = packed.shape[-1]
    if k == 1:
        return packed
    if k == 2:
        return np.stack([packed[..., 0] + packed[..., 1], packed[..., 0] - packed[..., 1]], axis=-1)
    Y = _unpack(packed)
    zero = Y[0][1]
    even = [(zero, zero)] * (k // 4 + 1)
    odd = list(even)
    even[0], odd[0] = (Y[0][0] + Y[k // 2][0], zero), (Y[0][0] - Y[k // 2][0], zero)
    even[k // 4], odd[k // 4] = (2 * Y[k // 4][0], zero), (-2 * Y[k // 4][1], zero)
    for f in range(1, k // 4):
        cos, sin = twiddle(f, k)
        (a_re, a_im), (b_re, b_im) = Y[f], Y[k // 2 - f]
        even[f] = (a_re + b_re, a_im - b_im)
        d_re, d_im = a_re - b_re, a_im + b_im
        odd[f] = (
            shift_round(d_re * cos - d_im * sin, TWIDDLE_FRACTION),
            shift_round(d_re * sin + d_im * cos, TWIDDLE_FRACTION),
        )
    y = np.empty_like(packed)
    y[..., 0::2], y[..., 1::2] = irfft(_pack(even)), irfft(_pack(odd))
    return y


# ------------------------------------------------------------------------------- circulant products


def spectral_products(block_size: int) -> int:
    """Real multiplications of a block's product, given the spectra: 2 + 3 (k/2 - 1), for k > 1.

    Two bins are real; a complex product takes three real ones.
    """
    return 2 + 3 * (block_size // 2 - 1)


class Accumulator:
    """Sums of block products of packed spectra with a matrix, exactly: (..., q, k) -> (..., p, k).

    The integers are held in float64, so that BLAS does the work.

    Args:
        W: packed spectra (p, q, k) of the matrix.
    """

    def __init__(self, W: Integers) -> None:
        self.rows = W.shape[0]
        self.largest = float(np.abs(W).max(initial=0))
        w = W.transpose(2, 1, 0).astype(np.float64)  # (k, q, p)
        re, im = w[2::2], w[3::2]
        self.ends = w[:2].copy()
        self.inner = np.concatenate(  # (k/2 - 1, 2 q, 2 p): a complex product as a real one
            [np.concatenate([re, im], axis=2), np.concatenate([-im, re], axis=2)], axis=1
        )

    def __call__(self, X: Integers) -> Integers:
        """Sum the products of spectra X (..., q, k).

        Raises:
            ValueError: the sum of the magnitudes might reach 2**53, beyond which float64 is not
                exact.
        """
        q, k = X.shape[-2:]
        bound = 2.0 * q * float(np.abs(X).max(initial=0)) * self.largest
        if bound >= 2.0**53:
            raise ValueError(f"accumulator might reach {bound:.3g}: float64 is exact below 2**53")
        x = X.reshape(-1, q, k).transpose(2, 0, 1).astype(np.float64)  # (k, n, q)
        y = np.empty((len(x[0]), self.rows, k), np.int64)
        y[..., :2] = (x[:2] @ self.ends).transpose(1, 2, 0)
        if k > 2:
            re_im = np.concatenate([x[2::2], x[3::2]], axis=2)  # (k/2 - 1, n, 2 q)
            inner = (re_im @ self.inner).transpose(1, 2, 0)  # (n, 2 p, k/2 - 1)
            y[..., 2::2], y[..., 3::2] = inner[:, : self.rows], inner[:, self.rows :]
        return y.reshape(*X.shape[:-2], self.rows, k)


def accumulate(X: Integers, W: Integers) -> Integers:
    """Sum block products of packed spectra, exactly: (..., q, k), (p, q, k) -> (..., p, k)."""
    return Accumulator(W)(X)


def accumulator_length(weight: FixedPoint, spectrum_length: int, q: int) -> int:
    """Word length that holds any sum of q complex products of weights and input spectra."""
    return weight.word_length + spectrum_length + math.ceil(math.log2(q))


def output_spectrum(output: FixedPoint, block_size: int) -> FixedPoint:
    """Format of a spectrum before the inverse FFT: the output's, log2(k) bits longer."""
    return FixedPoint(output.word_length + block_size.bit_length() - 1, output.fraction_length)


def round_spectrum(accumulator: ArrayLike, fraction_length: int, output: FixedPoint) -> Integers:
    """The one rounding of the accumulator: (..., k) -> (..., k) in ``output_spectrum`` format."""
    accumulator = np.asarray(accumulator, np.int64)
    return output_spectrum(output, accumulator.shape[-1]).rescale(accumulator, fraction_length)


def inverse(spectrum: ArrayLike, output: FixedPoint) -> Integers:
    """Inverse FFT with its 1/k and one rounding to the output format: (..., k) -> (..., k)."""
    y = irfft(spectrum)
    return output.saturate(shift_round(y, y.shape[-1].bit_length() - 1))


def circulant_row(
    X: Integers, sums: Accumulator, weight_fraction: int, input_fraction: int, output: FixedPoint
) -> Integers:
    """Rows of y = C x from input spectra by C's sums: (..., q, k) -> (..., p, k), output format."""
    total = sums(X)
    return inverse(round_spectrum(total, weight_fraction + input_fraction, output), output)


# --------------------------------------------------------------------------------------- activation


@dataclass(frozen=True)
class ActivationTable:
    """A piece-wise linear unit in fixed point.

    Attributes:
        intercepts, differences: a segment's value at its start, and the step to the next segment's;
            output format.
        offset_length: the low bits of |x| that lie within a segment.
        one: the complement (1 for the sigmoid, 0 for tanh) in the output format.
        output: the output format.
    """

    intercepts: tuple[int, ...]
    differences: tuple[int, ...]
    offset_length: int
    one: int
    output: FixedPoint

    @property
    def magnitude_limit(self) -> int:
        """The largest |x| that is told apart: one step below the unit's limit."""
        return (len(self.intercepts) << self.offset_length) - 1


@cache
def activation_table(
    unit: PiecewiseLinear, source: FixedPoint, output: FixedPoint
) -> ActivationTable:
    """Quantize a unit's knots for inputs in format ``source`` and outputs in format ``output``.

    Raises:
        ValueError: the source's step is wider than a segment, or the output cannot hold 1.
    """
    offset_length = source.fraction_length + int(math.log2(unit.width))
    if offset_length < 0:
        raise ValueError(
            f"{unit.name}: input {source} is coarser than a segment; "
            f"its fraction needs {-int(math.log2(unit.width))} bits or more"
        )
    if output.highest < 1 << output.fraction_length:
        raise ValueError(f"{unit.name}: output {output} cannot hold 1")
    knots = output.quantize(unit.knots)
    return ActivationTable(
        tuple(int(n) for n in knots[:-1]),
        tuple(int(n) for n in np.diff(knots)),
        offset_length,
        unit.complement << output.fraction_length,
        output,
    )


def activation(x: ArrayLike, table: ActivationTable) -> Integers:
    """Piece-wise linear unit: intercept + difference * offset / 2**offset_length, rounded half up.

    |x| is clipped one step below the limit; a negative x gives the complement of its magnitude's
    value.
    """
    x = np.asarray(x, np.int64)
    magnitude = np.minimum(np.abs(x), table.magnitude_limit)
    segment = magnitude >> table.offset_length
    offset = magnitude & ((1 << table.offset_length) - 1)
    rise = shift_round(np.asarray(table.differences)[segment] * offset, table.offset_length)
    y = np.asarray(table.intercepts)[segment] + rise
    return np.where(x < 0, table.one - y, y)


# -------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True)
class CellFormats:
    """Formats inside a recurrent cell.

    Attributes:
        preactivation: sums before a sigmoid or tanh, and biases.
        gate: what sigmoid and tanh give, and the hidden state o * tanh(c) or the GRU's h.
        cell: the LSTM's cell state; its fraction is not longer than the gate's.
        peephole: the peephole weights, or None.
        segments: how many pieces of the positive half-axis sigmoid and tanh have, of
            :data:`ernn.activations.SEGMENTS`.
    """

    preactivation: FixedPoint
    gate: FixedPoint
    cell: FixedPoint
    peephole: FixedPoint | None = None
    segments: int = 32

    def __post_init__(self) -> None:
        check_segments(self.segments)
        if self.cell.fraction_length > self.gate.fraction_length:
            raise ValueError(
                f"cell {self.cell}: its fraction must not be longer than the gate's {self.gate}"
            )
        if self.peephole is not None:
            shift = self.peephole.fraction_length + self.cell.fraction_length
            if shift < self.preactivation.fraction_length:
                raise ValueError(
                    f"peephole {self.peephole} times cell {self.cell} is coarser than the "
                    f"pre-activation {self.preactivation}"
                )

    @property
    def units(self) -> tuple[PiecewiseLinear, PiecewiseLinear]:
        """Sigmoid and tanh."""
        return sigmoid_and_tanh(self.segments)

    @property
    def sigmoid(self) -> ActivationTable:
        """Sigmoid of a pre-activation."""
        return activation_table(self.units[0], self.preactivation, self.gate)

    @property
    def tanh(self) -> ActivationTable:
        """Tanh of a pre-activation."""
        return activation_table(self.units[1], self.preactivation, self.gate)

    @property
    def tanh_cell(self) -> ActivationTable:
        """Tanh of the cell state."""
        return activation_table(self.units[1], self.cell, self.gate)


def lstm_cell(
    z: Integers,
    bias: Integers,
    c: Integers,
    formats: CellFormats,
    peephole: Integers | None = None,
    cell_activation: str = "tanh",
) -> tuple[Integers, Integers]:
    """One LSTM step after the matrix product.

    Args:
        z: W x + U h for the gates i, f, g, o: (..., 4, hidden), pre-activation format.
        bias: (4, hidden), pre-activation format.
        c: the cell state before: (..., hidden), cell format.
        formats: the formats.
        peephole: weights of c in i and f, and of the new c in o: (3, hidden), peephole format.
        cell_activation: "tanh" or "sigmoid", the unit of g.

    Returns:
        h (..., hidden) in the gate format, and the new c. Pre-activation = z + bias (+ the rounded
        peephole product), saturated once; c = f c' + i g is rounded once; h = o tanh(c) is rounded
        once.
    """
    fmt = formats

    def peek(weight: int, state: Integers) -> Integers | int:
        if peephole is None:
            return 0
        assert fmt.peephole is not None
        fraction = fmt.peephole.fraction_length + fmt.cell.fraction_length
        return shift_round(peephole[weight] * state, fraction - fmt.preactivation.fraction_length)

    total = z + bias
    i = activation(fmt.preactivation.saturate(total[..., 0, :] + peek(0, c)), fmt.sigmoid)
    f = activation(fmt.preactivation.saturate(total[..., 1, :] + peek(1, c)), fmt.sigmoid)
    g = activation(
        fmt.preactivation.saturate(total[..., 2, :]),
        fmt.tanh if cell_activation == "tanh" else fmt.sigmoid,
    )
    align = fmt.gate.fraction_length - fmt.cell.fraction_length
    c = fmt.cell.rescale(((f * c) << align) + i * g, 2 * fmt.gate.fraction_length)
    o = activation(fmt.preactivation.saturate(total[..., 3, :] + peek(2, c)), fmt.sigmoid)
    h = fmt.gate.rescale(o * activation(c, fmt.tanh_cell), 2 * fmt.gate.fraction_length)
    return h, c


def gru_gate(z: Integers, bias: Integers, formats: CellFormats) -> Integers:
    """Sigmoid of the saturated z + bias: the reset and update gates; any shape, gate format."""
    return activation(formats.preactivation.saturate(z + bias), formats.sigmoid)


def gru_candidate(z: Integers, bias: Integers, formats: CellFormats) -> Integers:
    """Tanh of the saturated z + bias: the candidate state; any shape, gate format."""
    return activation(formats.preactivation.saturate(z + bias), formats.tanh)


def gru_update(u: Integers, n: Integers, h: Integers, formats: CellFormats) -> Integers:
    """(1 - u) n + u h, formed exactly as n + u (h - n) and rounded once; all in the gate format."""
    one = formats.gate.fraction_length
    return formats.gate.rescale((n << one) + u * (h - n), 2 * one)


def gru_cell(z: Integers, bias: Integers, h: Integers, formats: CellFormats) -> Integers:
    """One GRU step after the matrix products, reset after the matrix (torch.nn.GRU).

    Args:
        z: (..., 4, hidden), pre-activation format: W x + U h for r and u (torch's z), W x for n, U
            h for n.
        bias: (4, hidden), pre-activation format, of the same four.
        h: the state before: (..., hidden), gate format.
        formats: the formats; ``cell`` is not used.

    Returns:
        The new h (..., hidden), gate format. r times the saturated U h + b is rounded once, the
        candidate's pre-activation is saturated once, the update rounded once.
    """
    fmt = formats
    r = gru_gate(z[..., 0, :], bias[0], fmt)
    u = gru_gate(z[..., 1, :], bias[1], fmt)
    recurrent = fmt.preactivation.saturate(z[..., 3, :] + bias[3])
    reset = shift_round(r * recurrent, fmt.gate.fraction_length)
    n = gru_candidate(z[..., 2, :] + reset, bias[2], fmt)
    return gru_update(u, n, h, fmt)
