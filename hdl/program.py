"""From an integer model to what a core loads: two programs, and the contents of its memories.

A frame runs two programs side by side. The *matrix* program's operations are products of block rows
with columns of spectra (:class:`MatrixOp`); the *cell* program's operations take the rows that they
give, a cell block a cycle and slice, and make states and outputs of them (:class:`CellOp`). Both
name places alone; that what they name is there is the sequencers' business.

Columns. The spectra of a frame are numbered from 0: the input's first, then what the cells give, in
the order in which they give it. Column c is in bank c mod W of the spectrum memory. Every vector
begins at a multiple of W and of F. A vector of the frame before is read as ``Source.PREVIOUS``.

Images. The columns of an image are its pixels row by row, each in whole groups of W columns. A
convolution has an operation for each row of its results: the windows along it (:class:`Windows`)
have the same weights. Its results' rows are numbered pixel by pixel; a cell operation reads those
of a pool's window one after another (:class:`Pooling`).

Rows. A row group is 4 W rows, which leave the PEs in one cycle; a frame's row groups are numbered
in the order in which they leave. Lane 4 w + l is lane l of slice w, and block b of a vector belongs
to slice b mod W, where it is number j = b // W. Row group j of an LSTM has the gates i, f, g, o of
cell block j in lanes 0 to 3. The other layers keep each of their gates together: slot s of cell
block j is in lane (j + s) mod 4 of the slot's row group j // 4, so that the lanes of a cell's slots
differ and all are read in one cycle.

PEs. The PEs of group g take rows of one row group. A row may be folded: then F neighbouring groups
share it, of which number f takes the columns f, f + F, f + 2 F, ...; the steps of a segment of q
columns are ceil(q / F).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ernn.fixed import FixedPoint, Integers
from ernn.quantize.feedforward import IntegerConv2d
from ernn.quantize.integer import IntegerModel
from hdl.config import GATES, PEEPHOLES, CoreConfig, address_bits
from hdl.layout import input_layout, pad_frames


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


# ------------------------------------------------------------------------------------- instructions

Fields = dict[str, int]
"""Names of an instruction's fields and their bits, the first in the least significant bits."""


FLAGS = frozenset(
    "two ahead narrow release end sigmoid_g reset_before reset_only relu biased rotate store"
    " spectrum produced output average follows".split()
)
"""Fields that are yes or no; all others are numbers."""


class Source(IntEnum):
    """Where the columns of a segment come from, and so when they are there."""

    INPUT = 0
    """The frame's input: complete when the frame starts."""
    CURRENT = 1
    """What cells give in this frame."""
    PREVIOUS = 2
    """What cells gave in the frame before; zero in the first frame of an utterance."""


class Kind(IntEnum):
    """What the lanes compute."""

    LINEAR = 0
    LSTM = 1
    GRU = 2


WINDOW_BITS = 4
"""Of the height of a convolution's window, and of both sides of a pool's."""

POOL_BITS = 2 * WINDOW_BITS
"""Bits that the sum of a pool's window is longer than its values."""


def matrix_fields(cfg: CoreConfig) -> Fields:
    """Of a matrix instruction. Counts are stored less one."""
    column = address_bits(cfg.column_depth)
    group, weight = address_bits(cfg.groups), address_bits(cfg.weight_depth)
    windows = {
        **{"lines": WINDOW_BITS, "pitch": column, "skip": weight, "pixels": column},
        **{"advance": column, "edge_first": column, "edge_last": column},
    }
    return {
        **{"base0": column, "last0": column, "source0": 2},
        **{"base1": column, "last1": column, "source1": 2, "two": 1, "ahead": 1},
        "passes": address_bits(cfg.row_depth),
        **{"groups": group, "groups_last": group},
        "fold": cfg.fold.bit_length(),
        "weight": weight,
        **{"shift": cfg.accumulator_shift.bits, "narrow": 1},
        "stream": address_bits(cfg.streams),
        **(windows if cfg.images else {}),
        **{"release": 1, "end": 1},
    }


def cell_fields(cfg: CoreConfig) -> Fields:
    """Of a cell instruction. Counts are stored less one."""
    row, cell = address_bits(cfg.row_depth), address_bits(cfg.cell_depth)
    pooling = {
        **{"across": WINDOW_BITS, "down": WINDOW_BITS, "average": 1},
        **{"half": POOL_BITS, "rounding": POOL_BITS.bit_length()},
        **{"pixels": row, "size": row, "pitch": row, "advance": row, "follows": 1},
    }
    return {
        **{"kind": 2, "sigmoid_g": 1, "reset_before": 1, "reset_only": 1},
        **{"relu": 1, "narrow": 1, "biased": 1},
        **{"row0": row, "row1": row, "row2": row, "row3": row, "key": row, "rotate": 1},
        **{"count": cell, "parameters": cell, "state": cell, "store": 1},
        **{"spectrum": 1, "produced": 1},
        **{"output": 1, "used": address_bits(cfg.block_size), "blocks": address_bits(cfg.slices)},
        "preactivation": cfg.preactivation_fraction.bits,
        "cell": cfg.cell_fraction.bits,
        "peephole": cfg.peephole_shift.bits,
        **(pooling if cfg.images else {}),
        **{"stream": address_bits(cfg.streams), "end": 1},
    }


def settings_fields(cfg: CoreConfig) -> Fields:
    """Of the one word of settings. Counts are stored less one."""
    return {
        "input_blocks": address_bits(cfg.column_depth),
        "streams": address_bits(cfg.streams),
        "first_column": address_bits(cfg.column_depth) + 1,
        "output_groups": address_bits(cfg.fifo_depth),
    }


def encode(values: dict[str, int], fields: Fields) -> int:
    """Pack an instruction's fields.

    Raises:
        ValueError: a value needs more bits than the core has for it.
    """
    word, low = 0, 0
    for name, bits in fields.items():
        value = int(values[name])
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} {value}: the core has {bits} bits for it")
        word |= value << low
        low += bits
    return word


@dataclass(frozen=True)
class Segment:
    """Consecutive columns: ``blocks`` of them from ``base`` on; those behind ``edge`` are zero."""

    base: int
    blocks: int
    source: Source
    edge: int | None = None

    @property
    def last(self) -> int:
        """The last column."""
        return self.base + self.blocks - 1


@dataclass(frozen=True)
class Windows:
    """A row of windows, which one segment of a matrix operation is the first line of.

    Columns that are not those of the image row count as zero: so padding left and right of the
    image is done; that above and below by leaving lines out.

    Attributes:
        lines: of a window.
        pitch: columns from a line to the next.
        pixels: windows along the row.
        advance: columns from a window to the next.
        edges: the first and the last column of the image row that the first line is in.
        skip: words of weights of lines that are left out.
    """

    lines: int = 1
    pitch: int = 0
    pixels: int = 1
    advance: int = 0
    edges: tuple[int, int] = (0, 0)
    skip: int = 0


@dataclass(frozen=True)
class Pooling:
    """What a cell operation makes of the rows of an image row: of each pixel's window one result.

    Attributes:
        across, down: pixels of the window.
        average: the mean of 2**n pixels, else the largest.
        pixels: results along the row.
        size: row groups of a pixel.
        pitch: row groups from a line of the window to the next.
        advance: row groups from a window to the next.
    """

    across: int = 1
    down: int = 1
    average: bool = False
    pixels: int = 1
    size: int = 0
    pitch: int = 0
    advance: int = 0

    @property
    def rounding(self) -> int:
        """Bits that the sum drops."""
        return (self.across * self.down).bit_length() - 1 if self.average else 0


@dataclass(frozen=True, eq=False)
class MatrixOp:
    """Row groups times the columns of one or two segments, or of a row of windows.

    Attributes:
        rows: spectra (row groups, 4 W, q, k), q the blocks of the segments together; of a
            convolution those of all lines, those that are left out with them.
        segments: one or two.
        fold: F of this operation.
        weight: first word in the PEs' memories.
        shift: fraction bits that rounding the sums drops.
        stream: whose utterance starts zero the state.
        narrow: the rows have A bits, else P.
        release: the last operation that reads the input.
        windows: the row of windows, if it is one.
        loads: it brings the weights; others of the same ``weight`` have them.
    """

    rows: Integers
    segments: tuple[Segment, ...]
    fold: int
    weight: int
    shift: int
    stream: int
    narrow: bool = False
    release: bool = False
    windows: Windows | None = None
    loads: bool = True

    @property
    def lines(self) -> list[Segment]:
        """What a pass goes through; of windows the first one's lines."""
        if self.windows is None:
            return list(self.segments)
        (first,), w = self.segments, self.windows
        return [
            replace(first, base=first.base + n * w.pitch, edge=w.edges[1] + n * w.pitch)
            for n in range(w.lines)
        ]

    @property
    def steps(self) -> int:
        """Steps of a pass."""
        return sum(-(-s.blocks // self.fold) for s in self.lines)

    def per_pass(self, cfg: CoreConfig) -> int:
        """Row groups of a full pass."""
        return cfg.groups // self.fold

    def passes(self, cfg: CoreConfig) -> int:
        """Passes over the columns."""
        return -(-len(self.rows) // self.per_pass(cfg))

    def ahead(self, cfg: CoreConfig) -> bool:
        """Whether the first segment of the second pass is done before all else.

        The second segment is waited for; the more there is to do before it, the better.
        """
        return len(self.segments) == 2 and self.passes(cfg) > 1

    def order(self, cfg: CoreConfig) -> list[tuple[int, Segment, bool]]:
        """Passes of all windows, and segments, as the PEs go through them; whether a row ends."""
        order, windows = [], self.windows or Windows()
        for n in range(windows.pixels * self.passes(cfg)):
            away = n // self.passes(cfg) * windows.advance
            for m, line in enumerate(self.lines, 1):
                order.append((n, replace(line, base=line.base + away), m == len(self.lines)))
        return self.moved(order, cfg)

    def moved(self, order: list[Any], cfg: CoreConfig) -> list[Any]:
        """What is in the order of passes and segments, in that of the PEs."""
        if self.ahead(cfg):
            order.insert(0, order.pop(2))
        return order

    def drains(self, cfg: CoreConfig) -> list[int]:
        """Groups whose sums leave, pass by pass, window by window."""
        full, rest = divmod(len(self.rows), self.per_pass(cfg))
        of_window = [self.per_pass(cfg)] * full + [rest] * bool(rest)
        return of_window * (self.windows or Windows()).pixels

    def cycles(self, cfg: CoreConfig) -> int:
        """Cycles that it takes when nothing waits for data.

        The groups of a pass leave the PEs one a cycle, so a pass is at least as long.
        """
        return sum(max(self.steps, n * self.fold) for n in self.drains(cfg))

    def weights(self, cfg: CoreConfig) -> Integers:
        """Contents of the PEs' memories: (R, passes * steps, k)."""
        passes, per_pass = self.passes(cfg), self.per_pass(cfg)
        missing, start, parts = passes * per_pass - len(self.rows), 0, list[Integers]()
        while start < self.rows.shape[2]:
            blocks = self.segments[len(parts) if self.windows is None else 0].blocks
            columns = self.rows[:, :, start : start + blocks]
            start += blocks
            padding = (0, missing), (0, 0), (0, -blocks % self.fold), (0, 0)
            shape = passes, per_pass, cfg.drain, -1, self.fold, cfg.block_size
            parts.append(np.pad(columns, padding).reshape(shape))
        ordered = self.moved([part[n] for n in range(passes) for part in parts], cfg)
        steps = np.concatenate(ordered, axis=2)  # per_pass, D, steps, F, k
        return steps.transpose(0, 3, 1, 2, 4).reshape(cfg.n_pe, -1, cfg.block_size)

    def encode(self, cfg: CoreConfig, end: bool) -> int:
        """The instruction."""
        first, second = self.segments[0], self.segments[-1]
        groups, w = [n * self.fold for n in self.drains(cfg)], self.windows or Windows()
        edges = w.edges if self.windows else (0, (1 << address_bits(cfg.column_depth)) - 1)
        windows = {
            **{"lines": w.lines - 1, "pitch": w.pitch, "skip": w.skip, "pixels": w.pixels - 1},
            **{"advance": w.advance, "edge_first": edges[0], "edge_last": edges[1]},
        }
        values = {
            **{"base0": first.base, "last0": first.last, "source0": first.source},
            **{"base1": second.base, "last1": second.last, "source1": second.source},
            **{"two": len(self.segments) == 2, "ahead": self.ahead(cfg)},
            "passes": self.passes(cfg) - 1,
            **{"groups": groups[0] - 1, "groups_last": groups[-1] - 1},
            **{"fold": self.fold.bit_length() - 1, "weight": self.weight},
            **{"shift": self.shift - cfg.accumulator_shift.low, "narrow": self.narrow},
            **{"stream": self.stream, "release": self.release, "end": end, **windows},
        }
        return encode(values, matrix_fields(cfg))


@dataclass(frozen=True)
class CellOp:
    """What becomes of rows: a cell block a cycle and slice.

    Attributes:
        kind: what the lanes compute.
        blocks: of the result.
        size: words of the result.
        rows: row group of cell block 0 for each of the four slots.
        key: row group of cell block 0 of the slot that leaves the PEs last.
        rotate: slots lie as in all layers but the LSTM.
        parameters: first word of biases and peepholes.
        state: first word of the states.
        stream: whose utterance starts zero the state.
        column: where the spectra of the result go, or None.
        output: the result leaves the core.
        preactivation, cell: formats.
        peephole: fraction bits that the peephole's product drops, or None.
        store: the lanes give a new state.
        flags: of ``cell_fields``: sigmoid_g, reset_before, reset_only, relu, narrow, biased.
        pooling: what becomes of an image row; ``blocks`` and ``size`` are those of a pixel.
        follows: it is the image row behind that of the operation before, and the lanes do the same.
    """

    kind: Kind
    blocks: int
    size: int
    rows: tuple[int, int, int, int]
    key: int
    rotate: bool
    parameters: int
    state: int
    stream: int
    column: int | None
    output: bool
    preactivation: FixedPoint
    cell: FixedPoint | None = None
    peephole: int | None = None
    store: bool = False
    flags: frozenset[str] = frozenset()
    pooling: Pooling = Pooling()
    follows: bool = False

    def iterations(self, cfg: CoreConfig) -> int:
        """Cell blocks of a slice, of each pixel."""
        return -(-self.blocks // cfg.slices)

    def results(self, cfg: CoreConfig) -> int:
        """Cell blocks of a slice that it gives."""
        return self.pooling.pixels * self.iterations(cfg)

    def reads(self, cfg: CoreConfig) -> list[tuple[int, bool]]:
        """Row groups as they are waited for, a cell block a cycle; whether it gives a result."""
        p, step = self.pooling, 4 if self.rotate else 1
        return [
            (
                self.key + x * p.advance + dy * p.pitch + dx * p.size + j // step,
                (dy, dx) == (p.down - 1, p.across - 1),
            )
            for x in range(p.pixels)
            for j in range(self.iterations(cfg))
            for dy in range(p.down)
            for dx in range(p.across)
        ]

    def at_once(self, produced: bool) -> bool:
        """Whether it does not wait until the lanes have finished the operation before.

        The lanes' results are marked when they come: ``produced`` must not be on the former's.
        """
        return self.follows and not produced

    def encode(self, cfg: CoreConfig, produced: bool, end: bool) -> int:
        """The instruction; ``produced``: it gives the frame's last spectra."""
        flags = "sigmoid_g", "reset_before", "reset_only", "relu", "narrow", "biased"
        fraction = self.preactivation.fraction_length
        fraction = max(fraction, cfg.preactivation_fraction.low)  # of no use to the linear lanes
        fraction = min(fraction, cfg.preactivation_fraction.high)
        cell = self.cell.fraction_length if self.cell else cfg.cell_fraction.high
        peephole = cfg.peephole_shift.low if self.peephole is None else self.peephole
        p = self.pooling
        pooling = {
            **{"across": p.across - 1, "down": p.down - 1, "average": p.average},
            **{"half": (1 << p.rounding) >> 1, "rounding": p.rounding, "pixels": p.pixels - 1},
            **{"size": p.size, "pitch": p.pitch, "advance": p.advance},
            "follows": self.at_once(produced),
        }
        values = {
            **{name: name in self.flags for name in flags},
            **{f"row{slot}": row for slot, row in enumerate(self.rows)},
            **{"kind": self.kind, "key": self.key, "rotate": self.rotate},
            **{"count": self.iterations(cfg) - 1, "parameters": self.parameters},
            **{"state": self.state, "store": self.store},
            **{"spectrum": self.column is not None, "produced": produced, "output": self.output},
            "used": (self.size - 1) % cfg.block_size,
            "blocks": (self.blocks - 1) % cfg.slices,
            "preactivation": cfg.preactivation_fraction.high - fraction,
            "cell": cfg.cell_fraction.high - cell,
            "peephole": peephole - cfg.peephole_shift.low,
            **{"stream": self.stream, "end": end, **pooling},
        }
        return encode(values, cell_fields(cfg))


def align(column: int, cfg: CoreConfig) -> int:
    """The next column at which a vector may begin."""
    step = max(cfg.slices, cfg.fold)
    return -(-column // step) * step


# ------------------------------------------------------------------------------------------ program


@dataclass(frozen=True, eq=False)
class Program:
    """What a core runs for every frame.

    Attributes:
        cfg: the core's configuration.
        model: what it computes.
        streams: utterances that take turns, frame by frame.
        matrix, cell: the operations in their order.
        bias: (words, W, 4, k).
        peephole: (words, W, 3, k).
        first_column: the first column behind the input's.
        rows: row groups of a frame.
        columns: columns of a frame.
    """

    cfg: CoreConfig
    model: IntegerModel
    streams: int
    matrix: tuple[MatrixOp, ...]
    cell: tuple[CellOp, ...]
    bias: Integers
    peephole: Integers
    first_column: int
    rows: int
    columns: int

    @property
    def input_blocks(self) -> int:
        """Blocks of an input frame, with the padding of an image."""
        first = self.model.layers[0]
        if isinstance(first, IntegerConv2d):
            return input_layout(first).columns
        return -(-first.input_size // self.cfg.block_size)

    @property
    def output_blocks(self) -> int:
        """Blocks of an output frame."""
        return -(-self.output_size // self.cfg.block_size)

    @property
    def output_size(self) -> int:
        """Words of an output frame."""
        return self.model.layers[-1].output_size

    @property
    def block_products(self) -> int:
        """Block products that a frame of one stream needs."""
        return block_products(self.model)

    @property
    def limit(self) -> float:
        """Cycles a frame of one stream if every PE did a block product in every cycle."""
        return self.block_products / self.cfg.n_pe

    def sections(self) -> list[tuple[int, list[int]]]:
        """Unit and words of everything that is loaded."""
        cfg = self.cfg
        units = Units(cfg)
        weights = np.concatenate([op.weights(cfg) for op in self._distinct()], axis=1)
        sections = [(n, [pack(w, cfg.weight) for w in memory]) for n, memory in enumerate(weights)]
        for w in range(cfg.slices):
            for n in range(GATES):
                words = [pack(block, cfg.row_length) for block in self.bias[:, w, n]]
                sections.append((units.bias(w, n), words))
            if "peephole" in cfg.cells:
                for n in range(PEEPHOLES):
                    words = [pack(block, cfg.weight) for block in self.peephole[:, w, n]]
                    sections.append((units.peephole(w, n), words))
        matrix = [op.encode(cfg, op is self.matrix[-1]) for op in self.matrix]
        cell = [op.encode(cfg, self.produced(op), op is self.cell[-1]) for op in self.cell]
        settings = {
            "input_blocks": self.input_blocks - 1,
            "streams": self.streams - 1,
            "first_column": self.first_column,
            "output_groups": self.streams * -(-self.output_blocks // cfg.slices) - 1,
        }
        sections.append((units.matrix, matrix))
        sections.append((units.cell, cell))
        sections.append((units.settings, [encode(settings, settings_fields(cfg))]))
        return [(unit, words) for unit, words in sections if words]

    def produced(self, op: CellOp) -> bool:
        """Whether a cell operation gives the frame's last spectra."""
        return op is next((o for o in reversed(self.cell) if o.column is not None), None)

    def _distinct(self) -> list[MatrixOp]:
        """The operations that bring weights."""
        return [op for op in self.matrix if op.loads]

    def pack_inputs(self, frames: Integers, word_bits: int) -> list[int]:
        """As :meth:`pack_frames`, images with their padding."""
        return self.pack_frames(pad_frames(frames, self.model.layers[0]), word_bits)

    def pack_frames(self, frames: Integers, word_bits: int) -> list[int]:
        """Blocks of frames (time, input_size) in order, as words of that many bits."""
        k = self.cfg.block_size
        padded = np.pad(frames, ((0, 0), (0, -frames.shape[1] % k)))
        return [pack(block, word_bits) for block in padded.reshape(-1, k)]

    def unpack_frames(self, blocks: Iterable[int], word_bits: int) -> Integers:
        """Frames (time, output_size) of blocks of words of that many bits."""
        k = self.cfg.block_size
        words = [unpack(block, word_bits, k) for block in blocks]
        return np.array(words, np.int64).reshape(-1, self.output_blocks * k)[:, : self.output_size]


def block_products(model: IntegerModel) -> int:
    """Block products that a frame needs."""
    total = 0
    for layer in model.layers:
        matrices = [shape for shape, _ in layer.tensors().values() if len(shape) == 3]
        products = sum(rows * columns for rows, columns, _ in matrices)
        if isinstance(layer, IntegerConv2d):  # of each pixel of the results
            kernel = layer.geometry.kernel
            products = products * layer.geometry.seen // (kernel[0] * kernel[1])
        total += products
    return total


class Units:
    """Numbers of the memories that are loaded: the PEs' come first."""

    def __init__(self, cfg: CoreConfig):
        self.cfg = cfg
        self.per_slice = GATES + (PEEPHOLES if "peephole" in cfg.cells else 0)
        self.matrix = cfg.n_pe + cfg.slices * self.per_slice
        self.cell = self.matrix + 1
        self.settings = self.cell + 1
        self.count = self.settings + 1

    def bias(self, w: int, slot: int) -> int:
        """Of the biases of a slot in slice w."""
        return self.cfg.n_pe + w * self.per_slice + slot

    def peephole(self, w: int, n: int) -> int:
        """Of peephole n (i, f, o) in slice w."""
        return self.bias(w, GATES) + n


def load_data_bits(cfg: CoreConfig) -> int:
    """Bits of the longest word that is loaded."""
    words = cfg.block_size * max(cfg.weight, cfg.row_length)
    programs = (sum(f(cfg).values()) for f in (matrix_fields, cell_fields, settings_fields))
    return max(words, *programs)


def load_address_bits(cfg: CoreConfig) -> int:
    """Bits of the longest address within a unit."""
    return max(address_bits(n) for n in (cfg.weight_depth, cfg.cell_depth, cfg.program_depth))
