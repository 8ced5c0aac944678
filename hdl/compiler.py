"""From an integer model to a program: where everything lies, and what the core must be for it.

:func:`configure` finds the smallest core that runs a model, :func:`compile_model` lays the model
out on a core. What the parts of a program mean is in :mod:`hdl.program`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ernn.fixed import FixedPoint, Integers, accumulator_length
from ernn.quantize.feedforward import IntegerConv2d, IntegerLinear, IntegerPool
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLayer,
    IntegerLSTM,
    IntegerModel,
    input_format,
)
from hdl import images
from hdl.config import GATES, PEEPHOLES, CoreConfig, Span
from hdl.layout import Layout, input_layout, padded
from hdl.program import CellOp, Kind, MatrixOp, Pooling, Program, Segment, Source, align

NO_POOLING = Pooling()


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
    image: Layout | None = None

    def vector(self, size: int) -> int:
        """Reserve the columns of a vector of ``size`` words; return the first."""
        return self.reserve(-(-size // self.cfg.block_size))

    def reserve(self, columns: int) -> int:
        """Reserve columns; return the first."""
        base = align(self.columns, self.cfg)
        self.columns = align(base + columns, self.cfg)
        return base

    def segment(self, base: int, size: int, source: Source) -> Segment:
        """The columns of a vector."""
        return Segment(base, -(-size // self.cfg.block_size), source)

    def slices(self, rows: Integers) -> Integers:
        """Deal block rows (..., p, q, k) to the slices: (..., blocks of a slice, W, q, k)."""
        *gates, p, q, k = rows.shape
        padding = [(0, 0)] * len(gates) + [(0, -p % self.cfg.slices), (0, 0), (0, 0)]
        return np.pad(rows, padding).reshape(*gates, -1, self.cfg.slices, q, k)

    def lanes(self, gates: Integers) -> Integers:
        """Row groups (n, 4 W, q, k) of an LSTM's gates (4, p, q, k), those of a block together."""
        dealt = self.slices(gates).transpose(1, 2, 0, 3, 4)  # blocks of a slice, W, 4, q, k
        return dealt.reshape(len(dealt), -1, *gates.shape[2:])

    def slot(self, number: int, rows: Integers) -> Integers:
        """Row groups (n, 4 W, q, k) of one slot's block rows (p, q, k), each in its turn's lane."""
        dealt = self.slices(rows)  # blocks of a slice, W, q, k
        n, W, q, k = dealt.shape
        groups = np.zeros((-(-n // GATES), W, GATES, q, k), np.int64)
        j = np.arange(n)
        groups[j // GATES, :, (j + number) % GATES] = dealt
        return groups.reshape(-1, W * GATES, q, k)

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
        op = MatrixOp(rows, tuple(segments), 1, weight, shift, stream, narrow, loads=stream == 0)
        op = replace(op, fold=self.best_fold([op]))
        self.matrix.append(op)
        base = self.rows
        self.rows += len(rows)
        return base

    def best_fold(self, ops: Sequence[MatrixOp]) -> int:
        """The fold with which operations take the fewest cycles."""
        folds = [1 << n for n in range(self.cfg.fold.bit_length())]
        return min(folds, key=lambda f: sum(replace(o, fold=f).cycles(self.cfg) for o in ops))

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
        self,
        layer: IntegerLayer,
        pool: IntegerPool | None,
        inputs: Sequence[int],
        source: Source,
        last: bool,
    ) -> list[int]:
        """Add a layer whose input vectors begin at these columns; return its outputs' columns."""
        if isinstance(layer, IntegerConv2d):
            return self.convolution(layer, pool, inputs, source, last)
        if self.image and self.image.height * self.image.width > 1:
            raise ValueError(
                f"{layer.kind} behind an image of {self.image.height} x {self.image.width} pixels: "
                "a convolution with a window of that size reads it"
            )
        self.image = None
        segments = [self.segment(base, layer.input_size, source) for base in inputs]
        match layer:
            case IntegerLSTM():
                return self.lstm(layer, segments, last)
            case IntegerGRU():
                return self.gru(layer, segments, last)
            case IntegerLinear():
                return self.linear(layer, segments, last)
        raise AssertionError(layer)

    def convolution(
        self,
        layer: IntegerConv2d,
        pool: IntegerPool | None,
        inputs: Sequence[int],
        source: Source,
        last: bool,
    ) -> list[int]:
        """A convolution, and the pool behind it."""
        cfg, geometry, layout = self.cfg, layer.geometry, self.image
        if source is Source.INPUT:
            geometry, layout = padded(geometry), input_layout(layer)
        if layout is None or (layout.height, layout.width) != geometry.image:
            raise ValueError(f"conv2d of an image {geometry.image}: the layer before gives another")
        narrow = layer.output.word_length != cfg.preactivation
        shift = layer.weight.fraction_length + layer.input.fraction_length
        shift -= layer.output.fraction_length
        spectra = images.lines(layer, layout)  # (p, lines, columns, k)
        rows = self.slot(0, spectra.reshape(len(spectra), -1, layer.block_size))
        weight, bases = self.weights, []
        ops: list[MatrixOp] = []
        for stream, base in enumerate(inputs):
            bases.append(self.rows)
            for segment, windows, above in images.window_rows(geometry, layout, base, source):
                op = MatrixOp(rows, (segment,), 1, above, shift, stream, narrow, windows=windows)
                ops.append(replace(op, loads=not ops))
                self.rows += windows.pixels * len(rows)
        fold = self.best_fold(ops)
        steps = -(-spectra.shape[2] // fold)  # of a line
        for op in ops:
            assert op.windows is not None
            windows = replace(op.windows, skip=op.windows.skip * steps)
            start = weight + op.weight * steps
            self.matrix.append(replace(op, fold=fold, weight=start, windows=windows))
        self.weights += ops[0].passes(cfg) * spectra.shape[1] * steps

        size = (pool or layer).geometry.output
        p = len(layer.W)
        layout = images.output_layout(p, size, cfg)
        if last and size != (1, 1):
            raise ValueError(f"the last layer gives {size[0]} x {size[1]} pixels: it must be 1 x 1")
        columns = [None if last else self.reserve(layout.columns) for _ in inputs]
        parameters = self.linear_bias(layer.bias)
        down = pool.geometry.stride[0] if pool else 1
        for stream, column in enumerate(columns):
            for y in range(layout.height):
                self.linear_cells(
                    p,
                    layer.out_channels,
                    bases[stream] + y * down * geometry.output[1] * len(rows),
                    stream,
                    None if column is None else column + y * layout.row,
                    layer.output,
                    last,
                    self.linear_flags(layer),
                    parameters,
                    images.pooling(geometry, pool, len(rows)),
                    follows=y > 0,
                )
        self.image = layout
        return [c or 0 for c in columns]

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
        parameters = self.linear_bias(layer.bias)
        for stream, (row, column) in enumerate(zip(rows, columns, strict=True)):
            self.linear_cells(
                len(layer.W),
                layer.output_size,
                row,
                stream,
                column,
                layer.output,
                last,
                self.linear_flags(layer),
                parameters,
            )
        return [c or 0 for c in columns]

    def linear_bias(self, bias: Integers) -> int:
        """Reserve words for the biases of linear rows; return the first."""
        words = np.zeros(
            (GATES, -(-len(bias) // self.cfg.block_size) * self.cfg.block_size), np.int64
        )
        words[0, : len(bias)] = bias
        return self.parameter_words(words)

    def linear_flags(self, layer: IntegerLinear | IntegerConv2d) -> frozenset[str]:
        """What the linear lanes do for a layer."""
        optional = {
            "narrow": layer.output.word_length != self.cfg.preactivation,
            "relu": layer.activation == "relu",
        }
        return frozenset({"biased", *(name for name, wanted in optional.items() if wanted)})

    def linear_cells(
        self,
        blocks: int,
        size: int,
        row: int,
        stream: int,
        column: int | None,
        fmt: FixedPoint,
        output: bool,
        flags: frozenset[str],
        parameters: int = 0,
        pooling: Pooling = NO_POOLING,
        follows: bool = False,
    ) -> None:
        """Add the cell operation of linear rows."""
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
                flags=flags,
                pooling=pooling,
                follows=follows,
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
            self.lanes(rows),
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
            for stream, (row, column) in enumerate(zip(rows_y, outputs, strict=True)):
                self.linear_cells(
                    len(layer.projection),
                    layer.proj_size,
                    row,
                    stream,
                    column,
                    formats.output,
                    last,
                    frozenset({"narrow"}),
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
        cell_op = partial(
            CellOp,
            Kind.GRU,
            p,
            size,
            rotate=True,
            parameters=parameters,
            preactivation=formats.cell.preactivation,
        )
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
                    cell_op(
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
                cell_op(
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
                cell_op(
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

    if isinstance(layer, IntegerConv2d | IntegerPool) and not cfg.images:
        raise ValueError(f"{what}: the core has no images")
    if not isinstance(layer, IntegerPool):
        word_length("input", input_format(layer), cfg.activation)
    if isinstance(layer, IntegerLinear | IntegerConv2d | IntegerPool):
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
    if cell.segments != cfg.segments:
        raise ValueError(f"{what}: segments {cell.segments}; the core has {cfg.segments}")
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
    first = model.layers[0]
    blocks = -(-first.input_size // cfg.block_size)
    if isinstance(first, IntegerConv2d):
        blocks = input_layout(first).columns
    inputs = [compiler.reserve(blocks) for _ in range(streams)]
    compiler.reserve(max(0, images.margin(model.layers, cfg) - compiler.columns))
    first_column, source = compiler.columns, Source.INPUT
    for layer, pool in images.with_pools(model.layers):
        inputs = compiler.add(layer, pool, inputs, source, model.layers[-1] in (layer, pool))
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


def on_core(model: IntegerModel) -> IntegerModel:
    """A model without its last layer if that is a dense one, which is left to the host."""
    *before, last = model.layers
    return IntegerModel(tuple(before)) if before and _dense(last) else model


def on_host(model: IntegerModel) -> bool:
    """Whether a model is but one dense layer."""
    return len(model.layers) == 1 and _dense(model.layers[0])


def _dense(layer: IntegerLayer) -> bool:
    return isinstance(layer, IntegerLinear) and layer.block_size == 1


def accumulator_bits(model: IntegerModel, cfg: CoreConfig) -> int:
    """Bits that hold every sum of block products of a model."""
    lengths = []
    for layer in model.layers:
        X = cfg.input_spectrum_length
        if isinstance(layer, IntegerPool):
            continue
        if isinstance(layer, IntegerLinear | IntegerConv2d):
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
        if isinstance(layer, IntegerConv2d | IntegerPool):
            images.check(f"layer {n} ({layer.kind})", layer)
    list(images.with_pools(model.layers))  # it says what is wrong with them
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
    has_images = any(isinstance(layer, IntegerConv2d) for layer in model.layers)
    linear = [layer for layer in model.layers if isinstance(layer, IntegerLinear | IntegerConv2d)]
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
        segments=formats[0].cell.segments if formats else CoreConfig.segments,
        streams=streams,
        images=has_images,
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
        column_depth=compiler.columns + (fold if has_images else 0),
        cell_depth=max(compiler.parameters, compiler.states, *iterations),
        row_depth=compiler.rows,
        program_depth=max(len(compiler.matrix), len(compiler.cell)),
        fifo_depth=1 << (2 * groups - 1).bit_length(),
    )


def _weight_formats(layer: IntegerLayer) -> list[FixedPoint]:
    """Formats of everything that multiplies: spectra and peepholes."""
    if isinstance(layer, IntegerPool):
        return []
    if isinstance(layer, IntegerLinear | IntegerConv2d):
        return [layer.weight]
    formats = layer.formats
    optional = formats.weight_projection, formats.cell.peephole
    return [formats.weight_input, formats.weight_recurrent, *(f for f in optional if f)]
