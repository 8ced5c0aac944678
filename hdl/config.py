"""What a core is elaborated from: sizes of its hardware, word lengths, and ranges of formats.

Everything about a model beyond that (layers, sizes, fraction lengths) is program:
:mod:`hdl.program`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ernn.activations import check_segments
from ernn.fixed import FixedPoint, spectral_products

BLOCK_SIZES = 4, 8, 16, 32
GATES = 4
"""Drain lanes of a slice, and pre-activations that a cell takes."""
PEEPHOLES = 3
ACCUMULATOR_LIMIT = 48
"""Bits of a DSP's accumulator."""
CELLS = "lstm", "peephole", "gru"


def address_bits(words: int) -> int:
    """Bits of an address of a memory of that many words; at least one."""
    return max(1, (words - 1).bit_length())


@dataclass(frozen=True)
class Span:
    """A range of integers that the program chooses from at run time; both ends belong to it."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"range from {self.low} to {self.high}: must not be empty")

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high

    @property
    def bits(self) -> int:
        """Bits of an offset into the range; at least one."""
        return address_bits(self.high - self.low + 1)

    @property
    def values(self) -> range:
        """All of it, in order."""
        return range(self.low, self.high + 1)


@dataclass(frozen=True)
class CoreConfig:
    """What a core is elaborated from.

    Attributes:
        block_size: k.
        n_pe: R, the PEs: block products a cycle.
        slices: W: cell blocks a cycle; the core drains 4 W rows a cycle.
        fold: F, the columns a cycle at most: PEs that may share a row.
        cells: what there are lanes for, of ``CELLS``; "peephole" goes with "lstm".
        weight, activation, preactivation, cell: word lengths Ww (of weights and peepholes), A, P
            and C. Gates are in the format (A, A - 2).
        accumulator_length: bits of the sums of block products.
        accumulator_shift: fraction bits that the rounding of the sums drops.
        preactivation_fraction, cell_fraction: fraction lengths of P and C.
        peephole_shift: fraction bits that the rounding of a peephole's product drops.
        segments: pieces of the positive half-axis that sigmoid and tanh have, of
            :data:`ernn.activations.SEGMENTS`.
        weight_depth: words of a PE's weight memory.
        column_depth: spectra of a frame that the spectrum memory holds.
        cell_depth: words of a slice's memories of biases, peepholes and states.
        row_depth: groups of 4 W rows of a frame that the row memory holds.
        program_depth: instructions of each of the two programs.
        streams: interleaved streams at most.
        fifo_depth: groups of W output blocks that can wait; a power of two.
        images: windows over images, and pools.
        relaxed: one more register where a carry chain or a block memory meets more logic: for FPGAs
            whose chains and memories are slow, at some cycles a frame. A program runs on both.

    Raises:
        ValueError: there is no such core.
    """

    block_size: int
    n_pe: int
    slices: int = 1
    fold: int = 1
    cells: tuple[str, ...] = ("lstm",)
    weight: int = 12
    activation: int = 16
    preactivation: int = 16
    cell: int = 16
    accumulator_length: int = 40
    accumulator_shift: Span = Span(8, 15)
    preactivation_fraction: Span = Span(9, 12)
    cell_fraction: Span = Span(9, 12)
    peephole_shift: Span = Span(8, 15)
    segments: int = field(default=32, repr=False)
    weight_depth: int = 512
    column_depth: int = 256
    cell_depth: int = 128
    row_depth: int = 256
    program_depth: int = 16
    streams: int = 1
    fifo_depth: int = 256
    images: bool = field(default=False, repr=False)
    relaxed: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size {self.block_size}: the core has {BLOCK_SIZES}")
        if self.slices < 1 or self.slices & (self.slices - 1):
            raise ValueError(f"slices {self.slices}: must be a power of two")
        if self.fold < 1 or self.fold & (self.fold - 1):
            raise ValueError(f"fold {self.fold}: must be a power of two")
        step = self.drain * self.fold
        if self.n_pe < step or self.n_pe % step:
            raise ValueError(f"n_pe {self.n_pe}: must be a multiple of {step}, 4 slices times fold")
        unknown = [cell for cell in self.cells if cell not in CELLS]
        if unknown:
            raise ValueError(f"cells {unknown}: the core has {', '.join(CELLS)}")
        check_segments(self.segments)
        if self.accumulator_length > ACCUMULATOR_LIMIT:
            raise ValueError(
                f"accumulator of {self.accumulator_length} bits: the core has {ACCUMULATOR_LIMIT}"
            )
        if self.cell_fraction.high > self.gate.fraction_length:
            raise ValueError(
                f"cell fraction {self.cell_fraction.high}: at most the gate's, "
                f"{self.gate.fraction_length}"
            )

    @property
    def drain(self) -> int:
        """D, the PEs of a group: they work in the same cycles, and their sums leave together."""
        return GATES * self.slices

    @property
    def groups(self) -> int:
        """G, the groups of PEs; one works a cycle after the other."""
        return self.n_pe // self.drain

    @property
    def gate(self) -> FixedPoint:
        """Format of gates and of the states that cells give."""
        return FixedPoint(self.activation, self.activation - 2)

    @property
    def products(self) -> int:
        """Real multiplications of a block product, and DSPs of a PE."""
        return spectral_products(self.block_size)

    @property
    def input_spectrum_length(self) -> int:
        """Bits of a word of an input spectrum, and of an operand."""
        return self.activation + self.block_size.bit_length() - 1

    @property
    def operand_bits(self) -> int:
        """Bits of the operands of a column."""
        return self.products * self.input_spectrum_length

    @property
    def sums_bits(self) -> int:
        """Bits of a PE's sums."""
        return self.products * self.accumulator_length

    @property
    def row_length(self) -> int:
        """Bits of a word of a row, the longer of A and P."""
        return max(self.activation, self.preactivation)

    @property
    def spectrum_length(self) -> int:
        """Bits of a word between accumulator and inverse FFT."""
        return self.row_length + self.block_size.bit_length() - 1

    @property
    def state_length(self) -> int:
        """Bits of a word of the states that cells keep: the LSTM's c, the GRU's h."""
        lengths = {"lstm": self.cell, "gru": self.activation}
        return max((lengths[c] for c in self.cells if c in lengths), default=self.activation)

    @property
    def block_bits(self) -> int:
        """Bits of a block of activations."""
        return self.block_size * self.activation

    @property
    def row_bits(self) -> int:
        """Bits of a block of rows."""
        return self.block_size * self.row_length


def covering(configs: Sequence[CoreConfig]) -> CoreConfig:
    """The smallest core that has what each of some cores has.

    Raises:
        ValueError: they have different block sizes, or those that have cells different segments.
    """
    sizes = sorted({cfg.block_size for cfg in configs})
    segments = sorted({cfg.segments for cfg in configs if cfg.cells}) or [CoreConfig.segments]
    for what, values in (("block sizes", sizes), ("numbers of segments", segments)):
        if len(values) > 1:
            raise ValueError(f"{what} {' and '.join(map(str, values))}: a core has one")

    def both(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Span):
            return Span(min(v.low for v in values), max(v.high for v in values))
        if isinstance(values[0], tuple):
            return tuple(cell for cell in CELLS if any(cell in v for v in values))
        return max(values)

    found = {f.name: both([getattr(c, f.name) for c in configs]) for f in fields(CoreConfig)}
    return CoreConfig(**found | {"segments": segments[0]})
