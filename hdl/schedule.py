"""The cycles of a program, without a simulator: what the core does when (:mod:`hdl.control`).

Everything in the core takes a fixed time but the two sequencers' waiting, so a few maxima give the
cycle of every step. Frames are offered without a pause, or each alone; results are taken at once.
"""

from dataclasses import dataclass, field

from hdl.delays import ROWS_DELAY, kinds, lane_latency, row_lead, rows_delay, spectrum_delay
from hdl.program import CellOp, MatrixOp, Program, Segment, Source, align

FETCH = 4
"""Cycles from one instruction's being taken to the next one's being there."""

ENTRY, EXIT = 2, 3
"""Cycles from a frame's last block to its first at the core, and from results to the stream."""

QUEUE = 2
"""Cycles from a group's entry into the output queue to the earliest one in which it leaves."""


@dataclass
class Frame:
    """The cycles of one frame.

    Attributes:
        steps: for each matrix operation the cycle of each of its steps.
        cells: for each cell operation the cycle of each of its cell blocks.
        output: the cycle in which the last result is queued.
    """

    steps: list[list[int]] = field(default_factory=list)
    cells: list[list[int]] = field(default_factory=list)
    output: int = 0

    @property
    def start(self) -> int:
        """The cycle of the first step."""
        return self.steps[0][0]


class Schedule:
    """The steady state of a program.

    Args:
        program: the program.
        frames: how many are laid out; the last two give the period.
        alone: a frame comes in when all is idle.

    Attributes:
        frames: list of Frame (of all streams together).
        entered: for each frame the cycle in which its first block comes in.
    """

    def __init__(self, program: Program, frames: int = 8, *, alone: bool = False):
        self.program = program
        self.alone = alone
        self.entered: list[int] = []
        self.frames: list[Frame] = []
        self._written: dict[tuple[int, int], int] = {}  # (frame, column) -> first cycle to read it
        self._given: set[int] = set()  # cycles in which the FFT takes what the cells give
        self._input_free = [0, 0]  # cycles from which there is room for an input
        self._input_end = 0  # the first cycle behind the last input
        self._free = 0  # of the matrix: the earliest cycle to offer the next step
        self._step = 0  # the cycle of its last step
        self._row_end = 0  # the earliest cycle of the next row's end
        self._cell_free = 0  # the earliest cycle of the next operation's first cell block
        self._cell_last = 0  # the cycle of their last cell block
        self._cell_taken = 0  # the cycle in which the last instruction of the cells was taken
        self._cells_done: list[int] = []
        self._leaves: list[int] = []  # for each output group the cycle in which it leaves the queue
        self._output_free = 0  # the earliest cycle of the next one
        self._taken = 0  # the cycle in which the last instruction of the matrix was taken
        for number in range(frames):
            self._frame(number)

    @property
    def period(self) -> int:
        """Cycles from frame to frame, of all streams together."""
        return self.frames[-1].start - self.frames[-2].start

    @property
    def cycles_per_frame(self) -> float:
        """Cycles from frame to frame of any stream."""
        return self.period / self.program.streams

    @property
    def utilization(self) -> float:
        """Share of the PEs' cycles that do a block product of the model."""
        return self.program.limit / self.cycles_per_frame

    def _frame(self, number: int) -> None:
        program, frame = self.program, Frame()
        self.frames.append(frame)
        rows: list[int] = []  # the first cycle in which the cells can use a row group
        waiting = list(program.cell)
        relaxed = program.cfg.relaxed  # and so a register before and after each decision
        begin = 1 + relaxed
        start = max(self._free, self._input(number) + 2 * begin - 1, self._taken + FETCH + begin)
        if number >= 2:
            start = max(start, self._cells_done[number - 2] + 2 * begin - 1)
        start = max(start, self._room(number) + 2 * relaxed)
        self._free = start
        for op in program.matrix:
            while waiting and self._needs(op, number):
                self._cells(waiting.pop(0), rows, frame, number)
            rows += self._matrix(op, frame, number)
        while waiting:
            self._cells(waiting.pop(0), rows, frame, number)
        self._cells_done.append(frame.cells[-1][-1] + 1)

    def _needs(self, op: MatrixOp, number: int) -> bool:
        """Whether an operation waits for columns that are not laid out yet."""
        return any(
            s.source is Source.CURRENT and (number, s.last) not in self._written
            for _, s, _ in op.order(self.program.cfg)
        )

    def _input(self, number: int) -> int:
        """The first cycle in which a frame's input allows its start."""
        relaxed = self.program.cfg.relaxed
        free, last = max(self._input_free.pop(0) + relaxed, self._input_end), 0
        if self.alone and number:
            free = max(free, max(self._given) + 1, self._cell_free)
        self.entered.append(free)
        for _ in range(self.program.streams * self.program.input_blocks):
            while free in self._given:
                free += 1
            last, free = free, free + 1 + relaxed
        self._input_end = free
        return last + 1 + spectrum_delay(self.program.cfg) + 1

    def _room(self, number: int) -> int:
        """The first cycle in which the output queue has room for a frame."""
        groups = len(self._leaves) // number if number else 0
        to_leave = groups * (number + 1) - self.program.cfg.fifo_depth
        return self._leaves[to_leave - 1] + 2 if to_leave > 0 else 0

    def _matrix(self, op: MatrixOp, frame: Frame, number: int) -> list[int]:
        """Lay out an operation; return the cycles from which its rows can be used."""
        cfg, steps, rows = self.program.cfg, [], []
        self._taken = self._free - 1
        drains, x_end, last = op.drains(cfg), 0, self.program.matrix[-1]
        for n, segment, ends_row in op.order(cfg):
            for column in range(segment.base, segment.last + 1, op.fold):
                offered = max(self._free, self._step) if cfg.relaxed else self._free
                written = self._column(op, segment, column, number)
                cycle = max(offered, written) + cfg.relaxed
                segment_end = column + op.fold > segment.last
                if ends_row and segment_end:
                    cycle = max(cycle, self._row_end)
                op_end = ends_row and segment_end and n == len(drains) - 1
                fetched = self._taken + FETCH if op_end and op is not last else 0
                if cfg.relaxed:
                    self._free = max(offered + 1 + segment_end + op_end, fetched + 2 * op_end)
                else:
                    cycle = max(cycle, fetched)
                    self._free = cycle + 1
                self._step = cycle
                steps.append(cycle)
            if segment.source is Source.INPUT:
                x_end = steps[-1]
            if ends_row:
                self._row_end = steps[-1] + drains[n] * op.fold
                first = steps[-1] + 1 + rows_delay(cfg) - row_lead(cfg)
                rows += [first + (g + 1) * op.fold - 1 for g in range(drains[n])]
        if op.release:
            self._input_free.append(x_end + 2)
        frame.steps.append(steps)
        return rows

    def _column(self, op: MatrixOp, segment: Segment, column: int, number: int) -> int:
        """The first cycle in which a step can take the columns from this one on."""
        if segment.source is Source.INPUT:
            return 0
        of = number if segment.source is Source.CURRENT else number - 1
        last = column + op.fold - 1
        if segment.edge is not None:
            return self._written.get((of, min(last, segment.last, segment.edge)), 0)
        return max(self._written.get((of, n), 0) for n in range(column, last + 1))

    def _cells(self, op: CellOp, rows: list[int], frame: Frame, number: int) -> None:
        """Lay out a cell operation."""
        cfg = self.program.cfg
        longest = max(lane_latency(kind, cfg) for kind in kinds(cfg))
        if op.at_once(self.program.produced(op)):
            self._cell_free = max(self._cell_last + 2, self._cell_taken + FETCH + 1)
        cycle, cycles = self._cell_free + cfg.relaxed, list[int]()
        self._cell_taken = self._cell_free - 1
        results = op.results(cfg)
        for group, gives in op.reads(cfg):
            cycle = max(cycle, rows[group] + cfg.relaxed)
            if gives:
                n = len(cycles)
                cycles.append(cycle)
                given = cycle + 1 + ROWS_DELAY + lane_latency(op.kind, cfg)
                self._given.add(given)
                if op.output:
                    frame.output = given
                    left = op.blocks - n * cfg.slices
                    self._leaves.append(max(given + QUEUE, self._output_free))
                    self._output_free = self._leaves[-1] + min(left, cfg.slices)
                if op.column is not None:
                    first = op.column + n * cfg.slices
                    until = first + cfg.slices
                    if n == results - 1:
                        until = align(until, cfg)
                    for column in range(first, until):
                        self._written[number, column] = given + 1 + spectrum_delay(cfg)
            cycle += 1 + cfg.relaxed
        self._cell_last = cycles[-1]
        self._cell_free = cycles[-1] + ROWS_DELAY + longest + 3
        frame.cells.append(cycles)


def latency(program: Program) -> int:
    """Cycles of a lone frame from its last input word to its last output word.

    With several streams: of the last stream's frame, the others' just before it.
    """
    schedule = Schedule(program, 2, alone=True)
    frame, cfg = schedule.frames[-1], program.cfg
    free = 0  # the first cycle in which the stream takes a block
    for op, cycles in zip(program.cell, frame.cells, strict=True):
        for j, cycle in enumerate(cycles if op.output else []):
            given = cycle + 1 + ROWS_DELAY + lane_latency(op.kind, cfg)
            blocks = min(cfg.slices, op.blocks - j * cfg.slices)
            free = max(free, given + EXIT) + blocks
    before = (program.streams - 1) * program.input_blocks
    return free - 1 - (schedule.entered[-1] + before - ENTRY)
