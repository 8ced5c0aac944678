"""Pruned weights on equidistant levels in integers, and the words that a PE reads: ADMM-NN.

A weight is a scale that all of it shares times a matrix of small integers, most of them 0. A row is
stored as its entries in order, each with the gap of zeros before it in a few bits (relative index),
the codes of gaps being those of :func:`ernn.compress.storage.gap_codes`: the largest is a filler,
which skips as many columns as it says and places nothing. Levels need no code for 0 so, and n bits
hold ADMM-NN's 2**n levels +-1, +-2, ...

An entry has one bit more, which ends the row. A pointer for each row (EIE) takes less room where
rows are long, but a second memory and a subtraction; gap and level of four bits each and the bit
that ends the row are the nine bits of a block memory's word. A row without entries is one filler.

Sources: Ren et al., ADMM-NN, ASPLOS 2019 (pruning, levels); Han et al., EIE, ISCA 2016 (relative
index).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ernn.compress.sets import Levels
from ernn.compress.storage import gap_codes
from ernn.fixed import FixedPoint, Integers, shift_round

SHIFTS = range(1, 32)
"""Bits that the one rounding of a row may drop."""

LONGEST = 48
"""Bits of a row's sum: what a DSP accumulates."""

SCALED = 63
"""Bits of its product with the scale: what NumPy computes."""


class Rounded:
    """What :func:`row_end` needs to know of a layer's formats."""

    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint

    @property
    def shift(self) -> int:
        """Bits that the rounding of a row drops."""
        return (
            self.input.fraction_length + self.weight.fraction_length - self.output.fraction_length
        )


@dataclass(frozen=True, eq=False)
class IntegerSparse(Rounded):
    """A fully connected layer y = s L x + b, L of small integers.

    Attributes:
        levels: L (out, in): 0, or plus or minus 1 to 2**(level_bits - 1).
        scale: s, an integer in ``weight`` format.
        bias: (out,), output format.
        level_bits: of the code of a level, 1 or more.
        gap_bits: of a gap, 1 or more.
        input, weight, output: formats of frames, of the scale, and of results and biases.

    Raises:
        ValueError: a level is too large, or the formats ask for a shift that is not in ``SHIFTS``,
            for a sum longer than ``LONGEST`` bits, or for a product longer than ``SCALED``.
    """

    levels: Integers
    scale: int
    bias: Integers
    level_bits: int
    gap_bits: int
    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint

    def __post_init__(self) -> None:
        check_bits(level_bits=(self.level_bits, 1), gap_bits=(self.gap_bits, 1))
        largest, highest = int(np.abs(self.levels).max(initial=0)), 1 << (self.level_bits - 1)
        if largest > highest:
            raise ValueError(f"level {largest}: {self.level_bits} bits hold levels up to {highest}")
        check_row(self.shift, self.accumulator_length)
        length = self.accumulator_length + self.weight.word_length
        if length > SCALED:
            raise ValueError(f"products of {length} bits; at most {SCALED} are computed")

    @classmethod
    def of(
        cls,
        weight: Tensor,
        bias: Tensor,
        *,
        level_bits: int,
        gap_bits: int,
        scale_length: int,
        source: FixedPoint,
        output: FixedPoint,
    ) -> "IntegerSparse":
        """Return the layer of a weight (out, in) on levels, its scale rounded to that many bits.

        The weight is what :class:`ernn.compress.SparseLevels` gives with
        ``Levels.equidistant(level_bits)``.

        Raises:
            ValueError: the weight is not on these levels; and as the class.
        """
        kept = weight.double()
        survivors = kept[kept != 0]
        equidistant = Levels.equidistant(level_bits)
        scale = equidistant.scale(survivors) if len(survivors) else 0.0
        levels = kept.clone()
        levels[kept != 0] = equidistant.nearest(survivors / scale) if scale else 0.0
        error = float((levels * scale - kept).abs().max()) if levels.numel() else 0.0
        if error > scale * 1e-3:
            raise ValueError(f"weight: {error:.3g} off the levels of {level_bits} bits")
        fmt = FixedPoint.covering(scale_length, scale)
        return cls(
            levels.numpy().astype(np.int64),
            int(fmt.quantize(scale)),
            output.quantize(bias.detach().numpy()),
            level_bits,
            gap_bits,
            source,
            fmt,
            output,
        )

    @property
    def accumulator_length(self) -> int:
        """Word length that holds any row's sum, and a product of a level's word and an input."""
        highest = 1 << (self.level_bits - 1)
        row = self.levels.shape[1] * highest * -self.input.lowest
        product = self.input.word_length + self.level_bits + 1  # a level is longer than its code
        return max(row.bit_length() + 1, product)

    def run(self, x: Integers) -> Integers:
        """Apply to frames (..., in) -> (..., out): exact sums, each rounded and saturated once."""
        return row_end(x @ self.levels.T * self.scale, self.bias, self.shift, self.output)

    def entries(self) -> list[int]:
        """Return the words of the weight memory; from bit 0: level, gap, end of the row."""
        gaps, places, last = relative(self.levels != 0, self.gap_bits)
        level = np.where(places < 0, 0, self.levels.ravel()[places])
        codes = np.where(level > 0, level - 1, level)
        return words((codes, self.level_bits), (gaps, self.gap_bits), (last, 1))


def row_end(sums: Integers, bias: Integers, shift: int, output: FixedPoint) -> Integers:
    """Round half up the sums (..., out), drop ``shift`` bits, add the bias, saturate once."""
    return output.saturate(shift_round(sums, shift) + bias)


def relative(kept: ArrayLike, gap_bits: int) -> tuple[Integers, Integers, Integers]:
    """Return the entries of a mask (rows, positions), row after row, each row one at least.

    Returns:
        gaps: the code of each entry's gap.
        places: its index in the flat mask, -1 of a filler.
        last: 1 if it ends its row.
    """
    filler = 2**gap_bits - 1
    gaps, places, last = [], [], []
    for row, mask in enumerate(np.asarray(kept)):
        found = np.flatnonzero(mask)
        codes = gap_codes(np.diff(found, prepend=-1) - 1, gap_bits)
        if not len(codes):
            codes = np.array([filler])
        at = np.full(len(codes), -1)
        at[codes != filler] = found + row * len(mask)
        gaps.append(codes)
        places.append(at)
        last.append(np.arange(1, len(codes) + 1) == len(codes))
    return np.concatenate(gaps), np.concatenate(places), np.concatenate(last).astype(np.int64)


def words(*fields: tuple[ArrayLike, int]) -> list[int]:
    """Pack fields, values (count,) and bits of one, into words, the first in the lowest bits."""
    packed = [0] * len(np.asarray(fields[0][0]))
    low = 0
    for values, bits in fields:
        for n, value in enumerate(np.asarray(values).tolist()):
            packed[n] |= (value & ((1 << bits) - 1)) << low
        low += bits
    return packed


def check_bits(**given: tuple[int, int]) -> None:
    """Raise ValueError if a value is below its least one."""
    for name, (value, least) in given.items():
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def check_row(shift: int, length: int) -> None:
    """Raise ValueError if a PE does not round so, or its sums are too long."""
    if shift not in SHIFTS:
        ends = f"{SHIFTS[0]} to {SHIFTS[-1]}"
        raise ValueError(f"the formats ask for a shift of {shift}; it must be from {ends}")
    if length > LONGEST:
        raise ValueError(f"sums of {length} bits; at most {LONGEST} are added up")
