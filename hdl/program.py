"""From an integer layer to the core that runs it: sizes, word lengths, and the image to load.

The image is a list of (address, word) for the core's load port. The high bits of an address name a
unit, the low ``CoreConfig.unit_address_bits`` a word in it: units 0 ... R-1 are the weights of the
PEs, the next four the biases of the four gates, the next three the peephole weights.

Row r of pass j is block row n = j R + r, gate n mod 4 of cell block n // 4; word j q + c of PE r
is the spectrum of its column c, the q_x columns of the input first. Rows past the last and blocks
that a gate does not have (the GRU's candidate keeps W x and U h apart) are zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ernn.fixed import Integers, accumulator_length, output_spectrum
from ernn.quantize.integer import IntegerGRU, IntegerLayer, IntegerLSTM, LayerFormats

BLOCK_SIZES = 4, 8, 16
GATES = 4
PEEPHOLES = 3
ACCUMULATOR_LIMIT = 48
"""Bits of a DSP's accumulator."""


def pack(words: ArrayLike, word_length: int) -> int:
    """Join integers into one as two's complement words, the first in the least significant bits."""
    mask = (1 << word_length) - 1
    packed = 0
    for word in reversed(np.asarray(words).ravel().tolist()):
        packed = packed << word_length | word & mask
    return packed


def unpack(packed: int, word_length: int, count: int) -> Integers:
    """Split an integer into ``count`` signed words; the inverse of :func:`pack`."""
    mask, sign = (1 << word_length) - 1, 1 << (word_length - 1)
    words = ((packed >> n * word_length & mask) for n in range(count))
    return np.array([(word ^ sign) - sign for word in words], np.int64)


@dataclass(frozen=True)
class CoreConfig:
    """What a core is elaborated from; all derived sizes and widths are here.

    Attributes:
        kind: "lstm" or "gru" (reset after the matrix).
        block_size: k.
        n_pe: R, the PEs: block products a cycle.
        input_size, hidden_size: sizes of a frame before padding to whole blocks.
        formats: the layer's formats.
        peephole: the LSTM has peepholes.
        cell_activation: "tanh" or "sigmoid", the LSTM's unit of g.

    Raises:
        ValueError: the core does not run such a layer.
    """

    kind: str
    block_size: int
    n_pe: int
    input_size: int
    hidden_size: int
    formats: LayerFormats
    peephole: bool = False
    cell_activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size {self.block_size}: the core has {BLOCK_SIZES}")
        if self.n_pe < GATES or self.n_pe % GATES:
            raise ValueError(f"n_pe {self.n_pe}: must be a multiple of {GATES}, {GATES} or more")
        if self.drain > self.columns:
            raise ValueError(
                f"n_pe {self.n_pe}: a drain of {self.drain} cycles must fit into the "
                f"{self.columns} columns of a pass, so at most {GATES * self.columns} PEs"
            )
        for what, one, other in (
            ("activations", self.formats.input, self.formats.output),
            ("weights", self.formats.weight_input, self.formats.weight_recurrent),
        ):
            if one.word_length != other.word_length:
                raise ValueError(f"{what} {one} and {other}: the core has one word length for both")
        if self.accumulator_length > ACCUMULATOR_LIMIT:
            raise ValueError(
                f"accumulator of {self.accumulator_length} bits: the core has {ACCUMULATOR_LIMIT}"
            )

    @property
    def hidden_blocks(self) -> int:
        """Cell blocks of a frame, p = q_h."""
        return -(-self.hidden_size // self.block_size)

    @property
    def input_blocks(self) -> int:
        """Blocks of an input frame, q_x."""
        return -(-self.input_size // self.block_size)

    @property
    def columns(self) -> int:
        """Block products of a row, q = q_x + q_h."""
        return self.input_blocks + self.hidden_blocks

    @property
    def passes(self) -> int:
        """Passes over the columns that a frame takes."""
        return -(-GATES * self.hidden_blocks // self.n_pe)

    @property
    def drain(self) -> int:
        """Cell blocks of a full pass, and the cycles in which they leave the PEs."""
        return self.n_pe // GATES

    @property
    def weight_words(self) -> int:
        """Words of a PE's weight memory."""
        return self.passes * self.columns

    @property
    def fifo_depth(self) -> int:
        """Output blocks that can wait: two frames, rounded up to a power of two."""
        return 1 << (2 * self.hidden_blocks - 1).bit_length()

    @property
    def activation_length(self) -> int:
        """Bits of an input and of an output word, A."""
        return self.formats.input.word_length

    @property
    def weight_length(self) -> int:
        """Bits of a weight, Ww."""
        return self.formats.weight_input.word_length

    @property
    def input_spectrum_length(self) -> int:
        """Bits of a word of an input spectrum."""
        return self.activation_length + self.block_size.bit_length() - 1

    @property
    def accumulator_length(self) -> int:
        """Bits of a sum of block products."""
        return accumulator_length(
            self.formats.weight_input, self.input_spectrum_length, self.columns
        )

    @property
    def spectrum_length(self) -> int:
        """Bits of a word between accumulator and inverse FFT, S."""
        return output_spectrum(self.formats.cell.preactivation, self.block_size).word_length

    @property
    def preactivation_length(self) -> int:
        """Bits of a pre-activation and of a bias, P."""
        return self.formats.cell.preactivation.word_length

    @property
    def state_length(self) -> int:
        """Bits of a word of the state that a cell keeps: the LSTM's c, the GRU's h."""
        cell = self.formats.cell
        return (cell.cell if self.kind == "lstm" else cell.gate).word_length

    @property
    def peephole_length(self) -> int:
        """Bits of a peephole weight."""
        assert self.formats.cell.peephole is not None
        return self.formats.cell.peephole.word_length

    @property
    def units(self) -> int:
        """Memories that the load port writes."""
        return self.n_pe + GATES + (PEEPHOLES if self.peephole else 0)

    @property
    def unit_address_bits(self) -> int:
        """Bits of an address within a unit."""
        return address_bits(max(self.weight_words, self.hidden_blocks))

    @property
    def load_address_bits(self) -> int:
        """Bits of the load port's address."""
        return self.unit_address_bits + address_bits(self.units)

    @property
    def load_data_bits(self) -> int:
        """Bits of the load port's data: a block of the longest words."""
        lengths = [self.weight_length, self.preactivation_length]
        if self.peephole:
            lengths.append(self.peephole_length)
        return self.block_size * max(lengths)

    @property
    def block_products(self) -> int:
        """Block products of a frame that the layer needs."""
        missing = self.hidden_blocks * self.columns if self.kind == "gru" else 0
        return GATES * self.hidden_blocks * self.columns - missing


def address_bits(words: int) -> int:
    """Bits of an address of a memory of that many words; at least one."""
    return max(1, (words - 1).bit_length())


def configure(layer: IntegerLayer, n_pe: int) -> CoreConfig:
    """Return the configuration of a core of ``n_pe`` PEs for a layer.

    Raises:
        ValueError: the core does not run such a layer: it takes an LSTM without projection or a GRU
            with the reset after the matrix.
    """
    peephole, cell_activation = False, "tanh"
    match layer:
        case IntegerLSTM():
            if layer.projection is not None:
                raise ValueError(f"proj_size {layer.proj_size}: the core has no projection")
            peephole, cell_activation = layer.peephole is not None, layer.cell_activation
        case IntegerGRU():
            if not layer.reset_after:
                raise ValueError("reset_after False: the core resets after the matrix only")
        case _:
            raise ValueError(f"{layer.kind} layer: the core runs lstm and gru")
    return CoreConfig(
        layer.kind,
        layer.block_size,
        n_pe,
        layer.input_size,
        layer.hidden_size,
        layer.formats,
        peephole,
        cell_activation,
    )


def rows(layer: IntegerLSTM | IntegerGRU) -> Integers:
    """Spectra of the block rows of every cell block: (p, 4, q, k), columns of the input first."""
    W, U = (m.reshape(layer.gates, -1, *m.shape[1:]) for m in (layer.W, layer.U))
    if isinstance(layer, IntegerGRU):
        W = np.concatenate([W, np.zeros_like(W[:1])])
        U = np.concatenate([U[:2], np.zeros_like(U[:1]), U[2:]])
    return np.concatenate([W, U], axis=2).swapaxes(0, 1)


def load_image(layer: IntegerLSTM | IntegerGRU, config: CoreConfig) -> list[tuple[int, int]]:
    """Address and word of everything that the core loads before its first frame."""
    k, per_cell = config.block_size, (config.hidden_blocks, config.block_size)
    by_pe = np.zeros((config.passes, config.n_pe, config.columns, k), np.int64)
    spectra = rows(layer).reshape(-1, config.columns, k)
    by_pe.reshape(-1, config.columns, k)[: len(spectra)] = spectra
    units = [(memory.reshape(-1, k), config.weight_length) for memory in by_pe.swapaxes(0, 1)]
    units += [(bias.reshape(per_cell), config.preactivation_length) for bias in layer.bias]
    if isinstance(layer, IntegerLSTM) and layer.peephole is not None:
        units += [(peep.reshape(per_cell), config.peephole_length) for peep in layer.peephole]
    return [
        (unit << config.unit_address_bits | address, pack(block, word_length))
        for unit, (memory, word_length) in enumerate(units)
        for address, block in enumerate(memory)
    ]


def pack_frames(frames: Integers, config: CoreConfig) -> list[int]:
    """Blocks of the input port for frames (time, input_size), in order."""
    k = config.block_size
    padded = np.pad(frames, ((0, 0), (0, config.input_blocks * k - config.input_size)))
    return [pack(block, config.activation_length) for block in padded.reshape(-1, k)]


def unpack_frames(blocks: Iterable[int], config: CoreConfig) -> Integers:
    """Frames (time, hidden_size) of the output port's blocks."""
    k, p = config.block_size, config.hidden_blocks
    words = [unpack(block, config.activation_length, k) for block in blocks]
    return np.array(words, np.int64).reshape(-1, p * k)[:, : config.hidden_size]
