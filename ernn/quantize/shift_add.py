"""Weights as powers of two times small bases in integers, and the words a PE reads: SmartDeal.

:class:`ernn.compress.Basis` cuts each output's weights into pieces W = C B. A row of C, of ``size``
coefficients, is an entry; multiplied with its piece's basis it gives ``size`` weights, for which B
is only shifted and added. A coefficient's code is its sign and, in the other bits, 0 for 0 and n +
1 for 2**n.

Rows of C that are zero, which come of pruned weights, are skipped by a gap before each entry, as
zeros are in :mod:`ernn.quantize.sparse`. Single zeros are not: the weight that they are part of is
multiplied all the same. Two bits more say that the next entry has the next basis, and that the
output is complete. A piece without entries has no basis in memory; an output without is one filler.

Source: Chen et al., SmartDeal, arXiv 2101.01163.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernn.compress.basis import Basis, Factors
from ernn.fixed import FixedPoint, Integers, accumulator_length
from ernn.quantize.sparse import Rounded, check_bits, check_row, relative, row_end, words


@dataclass(frozen=True, eq=False)
class IntegerShiftAdd(Rounded):
    """A fully connected layer y = W x + b, W = C B piece by piece.

    Attributes:
        coefficients: C (out, pieces, rows, size): 0 or plus or minus 1, 2, 4, ...
        bases: B (out, pieces, size, size), weight format.
        bias: (out,), output format.
        input_size: columns of W; those that its last piece has beyond are zero.
        bits: of a coefficient, 2 or more.
        gap_bits: of a gap, 1 or more.
        input, weight, output: formats of frames, of the bases, and of results and biases.

    Raises:
        ValueError: a coefficient is none of the levels of that many bits, or is in a row beyond
            the columns, or the formats ask for a shift or a sum that
            :func:`ernn.quantize.sparse.check_row` refuses.
    """

    coefficients: Integers
    bases: Integers
    bias: Integers
    input_size: int
    bits: int
    gap_bits: int
    input: FixedPoint
    weight: FixedPoint
    output: FixedPoint

    def __post_init__(self) -> None:
        check_bits(bits=(self.bits, 2), gap_bits=(self.gap_bits, 1))
        magnitude = np.abs(self.coefficients)
        odd = (magnitude & (magnitude - 1) != 0) | (magnitude > 1 << largest_shift(self.bits))
        if odd.any():
            found = int(self.coefficients[odd][0])
            raise ValueError(f"coefficient {found}: not a power of two of {self.bits} bits")
        rows = self.coefficients.reshape(len(self.bias), -1, self.size)
        if rows[:, -(-self.input_size // self.size) :].any():
            raise ValueError(f"coefficients reach beyond the {self.input_size} columns")
        check_row(self.shift, self.accumulator_length)

    @classmethod
    def of(
        cls,
        factors: Factors,
        input_size: int,
        bias: Tensor,
        basis: Basis,
        *,
        gap_bits: int,
        source: FixedPoint,
        output: FixedPoint,
    ) -> "IntegerShiftAdd":
        """Return the layer of the factors of a weight (out, ``input_size``), nothing rounded.

        They are what ``basis.decompose`` gives, or what was trained from there on: ``weights`` of
        the layer mean exactly what ``basis.compose`` makes of them.

        Raises:
            ValueError: as the class.
        """
        bases = factors.bases.unflatten(0, (len(bias), -1)).numpy()
        fmt = FixedPoint.covering(basis.basis_bits, float(np.abs(bases).max(initial=0)))
        return cls(
            factors.coefficients.unflatten(0, (len(bias), -1)).numpy().astype(np.int64),
            fmt.quantize(bases),
            output.quantize(bias.detach().numpy()),
            input_size,
            basis.bits,
            gap_bits,
            source,
            fmt,
            output,
        )

    @property
    def size(self) -> int:
        """Columns of a piece."""
        return self.coefficients.shape[-1]

    @property
    def accumulator_length(self) -> int:
        """Word length that holds any row's sum, the bias in it."""
        weight = FixedPoint(weight_length(self.size, self.bits, self.weight.word_length), 0)
        products = accumulator_length(weight, self.input.word_length, self.input_size)
        return max(products, self.output.word_length + self.shift) + 1

    def weights(self) -> Integers:
        """Return W (out, in), its integers in the fraction of the bases."""
        C, B = (
            torch.from_numpy(part.astype(np.float64)).flatten(0, 1)
            for part in (self.coefficients, self.bases)
        )
        shape = len(self.bias), self.input_size
        return Basis(self.size).compose(Factors(C, B), shape).numpy().astype(np.int64)

    def run(self, x: Integers) -> Integers:
        """Apply to frames (..., in) -> (..., out): exact sums, each rounded and saturated once."""
        return row_end(x @ self.weights().T, self.bias, self.shift, self.output)

    def entries(self) -> list[int]:
        """Return the words of the weight memory.

        From bit 0: codes of the coefficients, gap, last of its basis, end of the row.
        """
        out, pieces, rows, size = self.coefficients.shape
        C = self.coefficients.reshape(-1, size)
        gaps, places, last = relative(C.any(1).reshape(out, -1), self.gap_bits)
        chosen = np.where(places[:, None] < 0, 0, C[places])
        codes = np.where(chosen == 0, 0, np.frexp(np.abs(chosen))[1])
        codes = codes | (chosen < 0) << (self.bits - 1)
        found = np.flatnonzero(places >= 0)
        piece = places[found] // rows
        turn = np.zeros(len(places), np.int64)
        turn[found[np.diff(piece, append=out * pieces) != 0]] = 1
        fields = [(column, self.bits) for column in codes.T]
        return words(*fields, (gaps, self.gap_bits), (turn, 1), (last, 1))

    def basis_words(self) -> list[int]:
        """Return the words of the basis memory: a column of a basis each, its first entry lowest.

        There is a basis for each piece that has entries, in their order.
        """
        used = self.bases[self.coefficients.any((2, 3))]  # (pieces, size, size)
        columns = used.transpose(0, 2, 1).reshape(-1, self.size)
        return words(*((entry, self.weight.word_length) for entry in columns.T))


def largest_shift(bits: int) -> int:
    """Return the exponent of the largest coefficient of that many bits."""
    return 2 ** (bits - 1) - 2


def weight_length(size: int, bits: int, basis_bits: int) -> int:
    """Return the word length that holds any sum of ``size`` shifted entries of a basis."""
    return (size << (basis_bits - 1 + largest_shift(bits))).bit_length() + 1
