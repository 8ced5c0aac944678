"""Energy of an inference: a model, from its operations and memory accesses, at 45 nm and 0.9 V.

Published are the energies of some word lengths and memory sizes; between them this model goes by
what they follow: an addition takes energy by its bits, a multiplication by the product of its
factors' bits, a memory's bit by a power of the memory's size. Control, clock tree, leakage and
wires outside memories are not in it: what it says of two methods is a comparison, not a forecast.

Source: Horowitz, Computing's Energy Problem (and what we can do about it), ISSCC 2014, fig. 1.1.9.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from ernn.fixed import fft_products, spectral_products

ADDITION = {8: 0.03, 16: 0.05, 32: 0.1}
"""pJ of an integer addition, by its bits."""
MULTIPLICATION = {8: 0.2, 32: 3.1}
"""pJ of an integer multiplication, by the bits of both factors."""
ACCESS = {8 * 1024: 10.0, 32 * 1024: 20.0, 1024 * 1024: 100.0}
"""pJ of 64 bits, by the bytes of the memory on the chip."""


@dataclass
class Work:
    """What is done for one inference.

    Attributes:
        additions: how many, by their bits; a shift by a variable counts as one.
        multiplications: how many, by the bits of the two factors.
        accesses: bits read or written, by the bytes of the memory they are in.
    """

    additions: Counter[int] = field(default_factory=Counter)
    multiplications: Counter[tuple[int, int]] = field(default_factory=Counter)
    accesses: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.additions + other.additions,
            self.multiplications + other.multiplications,
            self.accesses + other.accesses,
        )

    @property
    def arithmetic(self) -> float:
        """Of its operations, in pJ."""
        additions = sum(n * addition(bits) for bits, n in self.additions.items())
        return additions + sum(
            n * multiplication(*bits) for bits, n in self.multiplications.items()
        )

    @property
    def memory(self) -> float:
        """Of its accesses, in pJ."""
        return sum(bits * access(size) for size, bits in self.accesses.items())

    @property
    def energy(self) -> float:
        """Of all, in pJ."""
        return self.arithmetic + self.memory


def addition(bits: int) -> float:
    """Energy of an integer addition in pJ: that of 32 bits, by its length."""
    return ADDITION[32] * bits / 32


def multiplication(a: int, b: int) -> float:
    """Energy of a multiplication of ``a`` by ``b`` bits in pJ: by their product."""
    return MULTIPLICATION[32] * a * b / 32**2


def access(size: int) -> float:
    """Energy of a bit of a memory of ``size`` bytes in pJ: by a power of the size."""
    (small, low), *_, (large, high) = ACCESS.items()
    power = math.log(high / low) / math.log(large / small)
    return low / 64 * (size / small) ** power


@dataclass(frozen=True)
class Machine:
    """Words and memories of a processing element that takes one weight after another.

    Attributes:
        weight_bits: of a weight, or of a word of a spectrum.
        activation_bits: of an activation.
        sum_bits: of an accumulator.
        weight_memory: bytes.
        activation_memory: bytes.
    """

    weight_bits: int
    activation_bits: int
    sum_bits: int
    weight_memory: int
    activation_memory: int

    def products(self, count: int) -> Work:
        """So many products of a weight and an activation, summed up; both words are read."""
        return Work(
            Counter({self.sum_bits: count}),
            Counter({(self.weight_bits, self.activation_bits): count}),
            Counter({self.weight_memory: count * self.weight_bits})
            + Counter({self.activation_memory: count * self.activation_bits}),
        )

    def sparse(self, entries: int, index_bits: int) -> Work:
        """As many products as entries are stored, each behind an index that is read and added."""
        indices = Counter({self.weight_memory: entries * index_bits})
        return self.products(entries) + Work(Counter({16: entries}), Counter(), indices)

    def shift_add(self, rows: int, size: int, bits: int, basis_bits: int, index_bits: int) -> Work:
        """Rows of coefficients, each rebuilt to ``size`` weights that are multiplied.

        A row of coefficients of ``bits`` and its index is read, for each of its weights a column
        of the basis; what rebuilds a weight is a shift and an addition a coefficient, of words
        that hold the longest shift. ``weight_bits`` are those of the rebuilt weights.

        Source: Chen et al., SmartDeal, arXiv 2101.01163.
        """
        weights = rows * size
        rebuilt = Counter({self.weight_bits: 2 * weights * size, 16: rows})
        reads = rows * (size * bits + index_bits) + weights * size * basis_bits
        products = Work(
            Counter({self.sum_bits: weights}),
            Counter({(self.weight_bits, self.activation_bits): weights}),
            Counter({self.activation_memory: weights * self.activation_bits}),
        )
        return products + Work(rebuilt, Counter(), Counter({self.weight_memory: reads}))

    def circulant(self, block_products: int, transforms: int, block_size: int) -> Work:
        """Block products of spectra, and FFTs of blocks and back.

        A block product reads k words of weights and k of the inputs' spectrum, and takes 2 k
        additions; a transform takes k log2 k of them, and its words stay in registers.
        """
        k = block_size
        words = block_products * k
        return Work(
            Counter({self.sum_bits: 2 * words + transforms * k * int(math.log2(k))}),
            Counter(
                {
                    (self.weight_bits, self.activation_bits): block_products * spectral_products(k)
                    + transforms * fft_products(k)
                }
            ),
            Counter({self.weight_memory: words * self.weight_bits})
            + Counter({self.activation_memory: words * self.activation_bits}),
        )

    def break_even(self, index_bits: int) -> float:
        """How many dense weights cost what one entry of a sparse one does: prune more, or not."""
        return self.sparse(1, index_bits).energy / self.products(1).energy
