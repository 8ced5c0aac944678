"""From an integer model to what a core loads: two programs, and the contents of its memories.

A frame runs two programs side by side. The *matrix* program's operations are products of block rows
with columns of spectra (:class:`MatrixOp`); the *cell* program's operations take the rows that they
give, a cell block a cycle and slice, and make states and outputs of them (:class:`CellOp`). Both
name places alone; that what they name is there is the sequencers' business.

Columns. The spectra of a frame are numbered from 0: the input's first, then what the cells give, in
the order in which they give it. Column c is in bank c mod W of the spectrum memory. Every vector
begins at a multiple of W and of F. A vector of the frame before is read as ``Source.PREVIOUS``.

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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from ernn.fixed import FixedPoint, Integers, accumulator_length
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLayer,
    IntegerLinear,
    IntegerLSTM,
    IntegerModel,
    input_format,
)
from hdl.config import GATES, PEEPHOLES, CoreConfig, Span, address_bits

__all__ = ["CoreConfig", "compile_model", "configure", "pack", "unpack"]


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
    " spectrum produced output".split()
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


def matrix_fields(cfg: CoreConfig) -> Fields:
    """Of a matrix instruction. Counts are stored less one."""
    column = address_bits(cfg.column_depth)
    group = address_bits(cfg.groups)
    return {
        **{"base0": column, "last0": column, "source0": 2},
        **{"base1": column, "last1": column, "source1": 2, "two": 1, "ahead": 1},
        "passes": address_bits(cfg.row_depth),
        **{"groups": group, "groups_last": group},
        "fold": cfg.fold.bit_length(),
        "weight": address_bits(cfg.weight_depth),
        **{"shift": cfg.accumulator_shift.bits, "narrow": 1},
        "stream": address_bits(cfg.streams),
        **{"release": 1, "end": 1},
    }


def cell_fields(cfg: CoreConfig) -> Fields:
    """Of a cell instruction. Counts are stored less one."""
    row, cell = address_bits(cfg.row_depth), address_bits(cfg.cell_depth)
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
    """Consecutive columns: ``blocks`` of them from column ``base`` on."""

    base: int
    blocks: int
    source: Source

    @property
    def last(self) -> int:
        """The last column."""
        return self.base + self.blocks - 1


@dataclass(frozen=True, eq=False)
class MatrixOp:
    """Row groups times the columns of one or two segments.

    Attributes:
        rows: spectra (row groups, 4 W, q, k), q the blocks of the segments together.
        segments: one or two.
        fold: F of this operation.
        weight: first word in the PEs' memories.
        shift: fraction bits that rounding the sums drops.
        stream: whose utterance starts zero the state.
        narrow: the rows have A bits, else P.
        release: the last operation that reads the input.
    """

    rows: Integers
    segments: tuple[Segment, ...]
    fold: int
    weight: int
    shift: int
    stream: int
    narrow: bool = False
    release: bool = False

    @property
    def steps(self) -> int:
        """Steps of a pass."""
        return sum(-(-s.blocks // self.fold) for s in self.segments)

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

    def order(self, cfg: CoreConfig) -> list[tuple[int, Segment]]:
        """Passes and segments as the PEs go through them."""
        order = [(n, segment) for n in range(self.passes(cfg)) for segment in self.segments]
        if self.ahead(cfg):
            order.insert(0, order.pop(2))
        return order

    def drains(self, cfg: CoreConfig) -> list[int]:
        """Groups whose sums leave, pass by pass."""
        full, rest = divmod(len(self.rows), self.per_pass(cfg))
        return [self.per_pass(cfg)] * full + [rest] * bool(rest)

    def cycles(self, cfg: CoreConfig) -> int:
        """Cycles that it takes when nothing waits for data.

        The groups of a pass leave the PEs one a cycle, so a pass is at least as long.
        """
        return sum(max(self.steps, n * self.fold) for n in self.drains(cfg))

    def weights(self, cfg: CoreConfig) -> Integers:
        """Contents of the PEs' memories: (R, passes * steps, k)."""
        passes, per_pass = self.passes(cfg), self.per_pass(cfg)
        missing, start, parts = passes * per_pass - len(self.rows), 0, {}
        for segment in self.segments:
            columns = self.rows[:, :, start : start + segment.blocks]
            start += segment.blocks
            padding = (0, missing), (0, 0), (0, -segment.blocks % self.fold), (0, 0)
            shape = passes, per_pass, cfg.drain, -1, self.fold, cfg.block_size
            parts[segment] = np.pad(columns, padding).reshape(shape)
        ordered = [parts[segment][n] for n, segment in self.order(cfg)]
        steps = np.concatenate(ordered, axis=2)  # per_pass, D, steps, F, k
        return steps.transpose(0, 3, 1, 2, 4).reshape(cfg.n_pe, -1, cfg.block_size)

    def encode(self, cfg: CoreConfig, end: bool) -> int:
        """The instruction."""
        first, second = self.segments[0], self.segments[-1]
        groups = [n * self.fold for n in self.drains(cfg)]
        values = {
            **{"base0": first.base, "last0": first.last, "source0": first.source},
            **{"base1": second.base, "last1": second.last, "source1": second.source},
            **{"two": len(self.segments) == 2, "ahead": self.ahead(cfg)},
            "passes": self.passes(cfg) - 1,
            **{"groups": groups[0] - 1, "groups_last": groups[-1] - 1},
            **{"fold": self.fold.bit_length() - 1, "weight": self.weight},
            **{"shift": self.shift - cfg.accumulator_shift.low, "narrow": self.narrow},
            **{"stream": self.stream, "release": self.release, "end": end},
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

    def iterations(self, cfg: CoreConfig) -> int:
        """Cycles that it takes at least."""
        return -(-self.blocks // cfg.slices)

    def encode(self, cfg: CoreConfig, produced: bool, end: bool) -> int:
        """The instruction; ``produced``: it gives the frame's last spectra."""
        flags = "sigmoid_g", "reset_before", "reset_only", "relu", "narrow", "biased"
        fraction = self.preactivation.fraction_length
        fraction = max(fraction, cfg.preactivation_fraction.low)  # of no use to the linear lanes
        fraction = min(fraction, cfg.preactivation_fraction.high)
        cell = self.cell.fraction_length if self.cell else cfg.cell_fraction.high
        peephole = cfg.peephole_shift.low if self.peephole is None else self.peephole
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
            **{"stream": self.stream, "end": end},
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
        """Blocks of an input frame."""
        return -(-self.model.layers[0].input_size // self.cfg.block_size)

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
        return sum(
            int(np.prod(m.shape[:2])) for layer in self.model.layers for m in _matrices(layer)
        )

    @property
    def limit(self) -> float:
        """Cycles a frame of one stream if every PE did a block product in every cycle."""
        return self.block_products / self.cfg.n_pe

    def sections(self) -> list[tuple[int, list[int]]]:
        """Unit and words of everything that is loaded."""
        cfg, k = self.cfg, self.cfg.block_size
        units = Units(cfg)
        weights = np.concatenate([op.weights(cfg) for op in self._distinct()], axis=1)
        sections = [(n, [pack(w, cfg.weight) for w in memory]) for n, memory in enumerate(weights)]
        tables = [(self.bias, units.bias, cfg.row_length)]
        if "peephole" in cfg.cells:
            tables.append((self.peephole, units.peephole, cfg.weight))
        for table, unit, length in tables:
            for w in range(cfg.slices):
                for n in range(table.shape[2]):
                    words = [pack(block, length) for block in table[:, w, n].reshape(-1, k)]
                    sections.append((unit(w, n), words))
        matrix = [op.encode(cfg, op is self.matrix[-1]) for op in self.matrix]
        writers = [op for op in self.cell if op.column is not None]
        cell = [
            op.encode(cfg, bool(writers) and op is writers[-1], op is self.cell[-1])
            for op in self.cell
        ]
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

    def _distinct(self) -> list[MatrixOp]:
        """The operations of stream 0: the others have their weights."""
        return [op for op in self.matrix if op.stream == 0]

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


# ----------------------------------------------------------------------------------------- compiler


def _matrices(layer: IntegerLayer) -> list[Integers]:
    """The block spectra (p, q, k) of a layer."""
    if isinstance(layer, IntegerLinear):
        return [layer.W]
    matrices = [layer.W, layer.U]
    if isinstance(layer, IntegerLSTM) and layer.projection is not None:
        matrices.append(layer.projection)
    return matrices


@dataclass
class _Compiler:
    """Lays out one model on a core; what it lays out grows as the layers are added."""

    cfg: CoreConfig
    streams: int
    matrix: list[MatrixOp] = field(default_factory=list)
    cell: list[CellOp] = field(default_factory=list)
    bias: list[Integers] = field(default_factory=list)
    peephole: list[Integers] = field(default_factory=list)
    columns: int = 0
    rows: int = 0
    weights: int = 0
    states: int = 0
    parameters: int = 0

    def vector(self, size: int) -> int:
        """Reserve the columns of a vector of ``size`` words; return the first."""
        base = align(self.columns, self.cfg)
        self.columns = align(base + -(-size // self.cfg.block_size), self.cfg)
        return base

    def segment(self, base: int, size: int, source: Source) -> Segment:
        """The columns of a vector."""
        return Segment(base, -(-size // self.cfg.block_size), source)

    def lanes(self, slots: Sequence[Integers | None], rotate: bool) -> Integers:
        """Row groups (n, 4 W, q, k) of slots (p, q, k) each, laid out as the module says.

        Without ``rotate`` the four slots share row groups, else there is one slot.
        """
        W = self.cfg.slices
        shape = next(s.shape for s in slots if s is not None)
        blocks = -(-shape[0] // W)
        padded = np.zeros((len(slots), blocks * W, *shape[1:]), np.int64)
        for slot, rows in enumerate(slots):
            if rows is not None:
                padded[slot, : len(rows)] = rows
        by_slice = padded.reshape(len(slots), blocks, W, *shape[1:])  # slot, j, w, q, k
        if not rotate:
            return by_slice.transpose(1, 2, 0, 3, 4).reshape(blocks, GATES * W, *shape[1:])
        quads = -(-blocks // GATES)
        groups = np.zeros((quads, W, GATES, *shape[1:]), np.int64)
        (slot,) = (n for n, s in enumerate(slots) if s is not None)
        for j in range(blocks):
            groups[j // GATES, :, (j + slot) % GATES] = by_slice[slot, j]
        return groups.reshape(quads, GATES * W, *shape[1:])

    def slot(self, number: int, rows: Integers) -> Integers:
        """Row groups of one slot in the rotated layout."""
        slots: list[Integers | None] = [None] * GATES
        slots[number] = rows
        return self.lanes(slots, rotate=True)

    def product(
        self,
        rows: Integers,
        segments: Sequence[Segment],
        shift: int,
        stream: int,
        weight: int,
        narrow: bool = False,
    ) -> int:
        """Add a matrix operation; return its first row group."""
        folds = (1 << n for n in range(self.cfg.fold.bit_length()))
        ops = [
            MatrixOp(rows, tuple(segments), fold, weight, shift, stream, narrow) for fold in folds
        ]
        op = min(ops, key=lambda op: op.cycles(self.cfg))
        self.matrix.append(op)
        base = self.rows
        self.rows += len(rows)
        return base

    def parameter_words(self, bias: Integers, peephole: Integers | None = None) -> int:
        """Reserve words for biases (4, p k) and peepholes (3, p k); return the first."""
        W, k = self.cfg.slices, self.cfg.block_size
        blocks = bias.shape[1] // k
        words = -(-blocks // W)
        for table, target in (bias, self.bias), (peephole, self.peephole):
            count = GATES if target is self.bias else PEEPHOLES
            padded = np.zeros((count, words * W * k), np.int64)
            if table is not None:
                padded[:, : table.shape[1]] = table
            target.append(padded.reshape(count, words, W, k).transpose(1, 2, 0, 3))
        base = self.parameters
        self.parameters += words
        return base

    def state_words(self, size: int) -> int:
        """Reserve words for states; return the first."""
        base = self.states
        self.states += -(-size // (self.cfg.block_size * self.cfg.slices))
        return base

    def each_stream(
        self,
        rows: Integers,
        segments: Sequence[Sequence[Segment]],
        shift: int,
        narrow: bool = False,
    ) -> list[int]:
        """Add a matrix operation for every stream, with the same weights; return their rows."""
        weight = self.weights
        bases = [
            self.product(rows, of_stream, shift, stream, weight, narrow)
            for stream, of_stream in enumerate(segments)
        ]
        self.weights += self.matrix[-1].passes(self.cfg) * self.matrix[-1].steps
        return bases

    def add(
        self, layer: IntegerLayer, inputs: Sequence[int], source: Source, last: bool
    ) -> list[int]:
        """Add a layer whose input vectors begin at these columns; return its outputs' columns."""
        segments = [self.segment(base, layer.input_size, source) for base in inputs]
        match layer:
            case IntegerLSTM():
                return self.lstm(layer, segments, last)
            case IntegerGRU():
                return self.gru(layer, segments, last)
            case _:
                return self.linear(layer, segments, last)

    def linear(self, layer: IntegerLinear, x: Sequence[Segment], last: bool) -> list[int]:
        """A fully connected layer."""
        narrow = layer.output.word_length != self.cfg.preactivation
        shift = (
            layer.weight.fraction_length
            + layer.input.fraction_length
            - layer.output.fraction_length
        )
        rows = self.each_stream(self.slot(0, layer.W), [[s] for s in x], shift, narrow)
        columns = [None if last else self.vector(layer.output_size) for _ in x]
        bias = np.zeros((GATES, len(layer.W) * layer.block_size), np.int64)
        bias[0, : layer.output_size] = layer.bias
        optional = {"narrow": narrow, "relu": layer.activation == "relu"}
        flags = {"biased", *(name for name, wanted in optional.items() if wanted)}
        self.linear_cells(
            len(layer.W), layer.output_size, rows, columns, layer.output, last, flags, bias
        )
        return [c or 0 for c in columns]

    def linear_cells(
        self,
        blocks: int,
        size: int,
        rows: Sequence[int],
        columns: Sequence[int | None],
        fmt: FixedPoint,
        output: bool,
        flags: set[str],
        bias: Integers | None = None,
    ) -> None:
        """Add the cell operations of linear rows, for every stream."""
        parameters = 0 if bias is None else self.parameter_words(bias)
        for stream, (row, column) in enumerate(zip(rows, columns, strict=True)):
            self.cell.append(
                CellOp(
                    Kind.LINEAR,
                    blocks,
                    size,
                    rows=(row, row, row, row),
                    key=row,
                    rotate=True,
                    parameters=parameters,
                    state=0,
                    stream=stream,
                    column=column,
                    output=output,
                    preactivation=fmt,
                    flags=frozenset(flags),
                )
            )

    def lstm(self, layer: IntegerLSTM, x: Sequence[Segment], last: bool) -> list[int]:
        """An LSTM: its gates, its cells, and its projection if it has one."""
        formats, p = layer.formats, layer.hidden_blocks
        cells = [self.vector(layer.hidden_size) for _ in x]
        outputs = cells
        if layer.projection is not None:
            outputs = [self.vector(layer.proj_size) for _ in x]
        states = [self.segment(base, layer.output_size, Source.PREVIOUS) for base in outputs]
        W, U = (m.reshape(GATES, p, *m.shape[1:]) for m in (layer.W, layer.U))
        segments, rows = self.recurrent(x, states, W, U)
        first_rows = self.each_stream(
            self.lanes(rows, rotate=False),
            segments,
            formats.accumulator_fraction - formats.cell.preactivation.fraction_length,
        )
        parameters = self.parameter_words(layer.bias, layer.peephole)
        peephole = None
        if formats.cell.peephole is not None:
            fraction = formats.cell.peephole.fraction_length + formats.cell.cell.fraction_length
            peephole = fraction - formats.cell.preactivation.fraction_length
        for stream, row in enumerate(first_rows):
            self.cell.append(
                CellOp(
                    Kind.LSTM,
                    p,
                    layer.hidden_size,
                    rows=(row, row, row, row),
                    key=row,
                    rotate=False,
                    parameters=parameters,
                    state=self.state_words(layer.hidden_size),
                    stream=stream,
                    column=cells[stream],
                    output=last and layer.projection is None,
                    preactivation=formats.cell.preactivation,
                    cell=formats.cell.cell,
                    peephole=peephole,
                    store=True,
                    flags=frozenset({"sigmoid_g", "biased"})
                    if layer.cell_activation == "sigmoid"
                    else frozenset({"biased"}),
                )
            )
        if layer.projection is not None:
            assert formats.weight_projection is not None
            shift = (
                formats.weight_projection.fraction_length
                + formats.cell.gate.fraction_length
                - formats.output.fraction_length
            )
            hidden = [self.segment(base, layer.hidden_size, Source.CURRENT) for base in cells]
            rows_y = self.each_stream(
                self.slot(0, layer.projection), [[s] for s in hidden], shift, narrow=True
            )
            self.linear_cells(
                len(layer.projection),
                layer.proj_size,
                rows_y,
                outputs,
                formats.output,
                last,
                {"narrow"},
            )
        return outputs

    def gru(self, layer: IntegerGRU, x: Sequence[Segment], last: bool) -> list[int]:
        """A GRU: r and u, then the candidate, whose sums of the input and the state are apart."""
        formats, p, size = layer.formats, layer.hidden_blocks, layer.hidden_size
        shift = formats.accumulator_fraction - formats.cell.preactivation.fraction_length
        reset = [] if layer.reset_after else [self.vector(size) for _ in x]
        outputs = [self.vector(size) for _ in x]
        states = [self.segment(base, size, Source.PREVIOUS) for base in outputs]
        W, U = (m.reshape(3, p, *m.shape[1:]) for m in (layer.W, layer.U))
        segments, gates = self.recurrent(x, states, W[:2], U[:2])
        parameters = self.parameter_words(layer.bias)
        common = {
            "kind": Kind.GRU,
            "blocks": p,
            "size": size,
            "rotate": True,
            "parameters": parameters,
            "preactivation": formats.cell.preactivation,
        }
        words = [self.state_words(size) for _ in x]
        both = np.concatenate([self.slot(n, gate) for n, gate in enumerate(gates)])
        groups = len(both) // 2
        if layer.reset_after:
            products = [
                lambda: self.each_stream(self.slot(2, W[2]), [[s] for s in x], shift),
                lambda: self.each_stream(both, segments, shift),
                lambda: self.each_stream(self.slot(3, U[2]), [[s] for s in states], shift),
            ]
            if x[0].source is Source.INPUT:
                of_input, r_and_u, of_state = (add() for add in products)
            else:  # what the layer below gives is waited for: it comes last
                of_state, r_and_u, of_input = (add() for add in reversed(products))
            for stream, row in enumerate(r_and_u):
                rows = (row, row + groups, of_input[stream], of_state[stream])
                self.cell.append(
                    CellOp(
                        **common,
                        rows=rows,
                        key=max(rows),
                        state=words[stream],
                        stream=stream,
                        column=outputs[stream],
                        output=last,
                        store=True,
                        flags=frozenset({"biased"}),
                    )
                )
            return outputs
        r_and_u = self.each_stream(both, segments, shift)
        for stream, row in enumerate(r_and_u):
            self.cell.append(
                CellOp(
                    **common,
                    rows=(row, row, row, row),
                    key=row,
                    state=words[stream],
                    stream=stream,
                    column=reset[stream],
                    output=False,
                    flags=frozenset({"biased", "reset_only"}),
                )
            )
        resets = [self.segment(base, size, Source.CURRENT) for base in reset]
        segments, (candidate,) = self.recurrent(x, resets, W[2:], U[2:])
        of_both = self.each_stream(self.slot(2, candidate), segments, shift)
        for stream, row in enumerate(of_both):
            u = r_and_u[stream] + groups
            self.cell.append(
                CellOp(
                    **common,
                    rows=(u, u, row, row),
                    key=row,
                    state=words[stream],
                    stream=stream,
                    column=outputs[stream],
                    output=last,
                    store=True,
                    flags=frozenset({"biased", "reset_before"}),
                )
            )
        return outputs

    def recurrent(
        self, x: Sequence[Segment], state: Sequence[Segment], W: Integers, U: Integers
    ) -> tuple[list[list[Segment]], Integers]:
        """Segments for every stream and the rows (gates, p, q, k) of W x + U h.

        What is there first comes first: the state of the frame before, where what enters is waited
        for.
        """
        order = [(x, W), (state, U)]
        if x[0].source is Source.CURRENT and state[0].source is Source.PREVIOUS:
            order.reverse()
        segments = [[vectors[n] for vectors, _ in order] for n in range(len(x))]
        return segments, np.concatenate([matrix for _, matrix in order], axis=2)


def check_layer(n: int, layer: IntegerLayer, cfg: CoreConfig) -> None:
    """Raise ValueError, naming the layer, unless the core runs it."""
    what = f"layer {n} ({layer.kind})"
    if layer.block_size != cfg.block_size:
        raise ValueError(f"{what}: block size {layer.block_size}; the core has {cfg.block_size}")

    def word_length(name: str, fmt: FixedPoint, *allowed: int) -> None:
        if fmt.word_length not in allowed:
            lengths = " or ".join(map(str, sorted(set(allowed))))
            raise ValueError(f"{what}: {name} {fmt}; the core has {lengths} bits")

    def within(name: str, value: int, span: Span) -> None:
        if value not in span:
            raise ValueError(f"{what}: {name} {value}; the core has {span.low} to {span.high}")

    word_length("input", input_format(layer), cfg.activation)
    if isinstance(layer, IntegerLinear):
        word_length("output", layer.output, cfg.activation, cfg.preactivation)
        return
    formats, cell = layer.formats, layer.formats.cell
    lanes = {layer.kind} if cell.peephole is None else {layer.kind, "peephole"}
    missing = lanes - set(cfg.cells)
    if missing:
        raise ValueError(f"{what}: the core has no lanes for {', '.join(sorted(missing))}")
    word_length("pre-activation", cell.preactivation, cfg.preactivation)
    within(
        "pre-activation's fraction", cell.preactivation.fraction_length, cfg.preactivation_fraction
    )
    if cell.gate != cfg.gate:
        raise ValueError(f"{what}: gates {cell.gate}; the core has {cfg.gate}")
    word_length("output", formats.output, cfg.activation)
    if isinstance(layer, IntegerLSTM):
        word_length("cell", cell.cell, cfg.cell)
        within("cell's fraction", cell.cell.fraction_length, cfg.cell_fraction)
        if cell.peephole is not None:
            fraction = cell.peephole.fraction_length + cell.cell.fraction_length
            shift = fraction - cell.preactivation.fraction_length
            within("shift of the peephole's product", shift, cfg.peephole_shift)


def _lay_out(model: IntegerModel, cfg: CoreConfig, streams: int) -> tuple[_Compiler, int]:
    """All layers' operations, and the first column behind the inputs."""
    compiler = _Compiler(cfg, streams)
    inputs = [compiler.vector(model.layers[0].input_size) for _ in range(streams)]
    first_column, source = compiler.columns, Source.INPUT
    for layer in model.layers:
        inputs = compiler.add(layer, inputs, source, last=layer is model.layers[-1])
        source = Source.CURRENT
    readers = [
        n
        for n, op in enumerate(compiler.matrix)
        if any(s.source is Source.INPUT for s in op.segments)
    ]
    compiler.matrix[readers[-1]] = replace(compiler.matrix[readers[-1]], release=True)
    return compiler, first_column


def compile_model(model: IntegerModel, cfg: CoreConfig, streams: int = 1) -> Program:
    """Lay out a model on a core.

    Args:
        model: the integer model.
        cfg: the core.
        streams: utterances that take turns, frame by frame.

    Raises:
        ValueError: the core does not run the model: which layer, what it has and what it takes.
    """
    for n, layer in enumerate(model.layers):
        check_layer(n, layer, cfg)
    compiler, first_column = _lay_out(model, cfg, streams)
    output_blocks = -(-model.layers[-1].output_size // cfg.block_size)
    for what, used, depth in (
        ("streams", streams, cfg.streams),
        ("words of weights a PE", compiler.weights, cfg.weight_depth),
        ("spectra a frame", compiler.columns, cfg.column_depth),
        ("row groups a frame", compiler.rows, cfg.row_depth),
        ("words of parameters", compiler.parameters, cfg.cell_depth),
        ("words of states", compiler.states, cfg.cell_depth),
        ("cell blocks", max(op.iterations(cfg) for op in compiler.cell), cfg.cell_depth),
        ("matrix operations", len(compiler.matrix), cfg.program_depth),
        ("cell operations", len(compiler.cell), cfg.program_depth),
        ("output groups a frame", streams * -(-output_blocks // cfg.slices), cfg.fifo_depth),
    ):
        if used > depth:
            raise ValueError(f"{what}: the model needs {used}, the core has {depth}")
    for op in compiler.matrix:
        if op.shift not in cfg.accumulator_shift:
            raise ValueError(
                f"accumulator's shift {op.shift}: the core has "
                f"{cfg.accumulator_shift.low} to {cfg.accumulator_shift.high}"
            )
    length = accumulator_bits(model, cfg)
    if length > cfg.accumulator_length:
        raise ValueError(f"accumulator of {length} bits: the core has {cfg.accumulator_length}")
    k, W = cfg.block_size, cfg.slices
    none = [np.zeros((0, W, n, k), np.int64) for n in (GATES, PEEPHOLES)]
    return Program(
        cfg,
        model,
        streams,
        tuple(compiler.matrix),
        tuple(compiler.cell),
        np.concatenate([none[0], *compiler.bias]),
        np.concatenate([none[1], *compiler.peephole]),
        first_column,
        compiler.rows,
        compiler.columns,
    )


def accumulator_bits(model: IntegerModel, cfg: CoreConfig) -> int:
    """Bits that hold every sum of block products of a model."""
    lengths = []
    for layer in model.layers:
        X = cfg.input_spectrum_length
        if isinstance(layer, IntegerLinear):
            lengths.append(accumulator_length(layer.weight, X, layer.W.shape[1]))
            continue
        formats, columns = layer.formats, layer.W.shape[1] + layer.U.shape[1]
        lengths.append(accumulator_length(formats.weight_input, X, columns))
        lengths.append(accumulator_length(formats.weight_recurrent, X, columns))
        if formats.weight_projection is not None:
            lengths.append(accumulator_length(formats.weight_projection, X, layer.hidden_blocks))
    return max(lengths)


def configure(
    model: IntegerModel, n_pe: int, *, slices: int = 1, fold: int = 1, streams: int = 1
) -> CoreConfig:
    """The smallest core of ``n_pe`` PEs that runs a model.

    Args:
        model: the integer model.
        n_pe: R.
        slices: W.
        fold: F.
        streams: interleaved streams that it can take.

    Raises:
        ValueError: no core runs the model.
    """
    first = model.layers[0]
    for n, layer in enumerate(model.layers):
        if layer.block_size != first.block_size:
            raise ValueError(
                f"layer {n}: block size {layer.block_size}, layer 0: {first.block_size}; "
                "a core has one block size"
            )
    recurrent = list(model.recurrent())
    formats = [layer.formats for layer in recurrent]
    cells: list[str] = []
    if any(isinstance(layer, IntegerLSTM) for layer in recurrent):
        cells.append("lstm")
    if any(f.cell.peephole is not None for f in formats):
        cells.append("peephole")
    if any(isinstance(layer, IntegerGRU) for layer in recurrent):
        cells.append("gru")
    lstm_cells = [layer.formats.cell for layer in recurrent if isinstance(layer, IntegerLSTM)]
    peepholes = [c for c in lstm_cells if c.peephole is not None]
    linear = [layer for layer in model.layers if isinstance(layer, IntegerLinear)]
    activation = input_format(first).word_length
    outputs = [f.cell.preactivation for f in formats] or [layer.output for layer in linear]
    widest = max(outputs, key=lambda fmt: fmt.word_length)
    weights = [f.word_length for layer in model.layers for f in _weight_formats(layer)]

    def span(values: Iterable[int], default: int) -> Span:
        found = list(values) or [default]
        return Span(min(found), max(found))

    cfg = CoreConfig(
        block_size=first.block_size,
        n_pe=n_pe,
        slices=slices,
        fold=fold,
        cells=tuple(cells),
        weight=max(weights),
        activation=activation,
        preactivation=widest.word_length,
        cell=lstm_cells[0].cell.word_length if lstm_cells else activation,
        preactivation_fraction=span(
            (f.cell.preactivation.fraction_length for f in formats), widest.fraction_length
        ),
        cell_fraction=span((c.cell.fraction_length for c in lstm_cells), activation - 2),
        peephole_shift=span(
            (
                c.peephole.fraction_length
                + c.cell.fraction_length
                - c.preactivation.fraction_length
                for c in peepholes
                if c.peephole is not None
            ),
            0,
        ),
        streams=streams,
    )
    compiler, _ = _lay_out(model, cfg, streams)
    output_blocks = -(-model.layers[-1].output_size // cfg.block_size)
    groups = streams * -(-output_blocks // slices)
    iterations = (op.iterations(cfg) for op in compiler.cell)
    return replace(
        cfg,
        accumulator_length=accumulator_bits(model, cfg),
        accumulator_shift=span((op.shift for op in compiler.matrix), 0),
        weight_depth=compiler.weights,
        column_depth=compiler.columns,
        cell_depth=max(compiler.parameters, compiler.states, *iterations),
        row_depth=compiler.rows,
        program_depth=max(len(compiler.matrix), len(compiler.cell)),
        fifo_depth=1 << (2 * groups - 1).bit_length(),
    )


def _weight_formats(layer: IntegerLayer) -> list[FixedPoint]:
    """Formats of everything that multiplies: spectra and peepholes."""
    if isinstance(layer, IntegerLinear):
        return [layer.weight]
    formats = layer.formats
    optional = formats.weight_projection, formats.cell.peephole
    return [formats.weight_input, formats.weight_recurrent, *(f for f in optional if f)]
