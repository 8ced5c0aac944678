"""What the cells' lanes do in which cycle: a cell block a cycle in each slice."""

from myhdl import always, always_comb, block

from hdl.arith import bit, bits, wrapping
from hdl.config import GATES, address_bits
from hdl.control import latch
from hdl.program import cell_fields


class CellCommand:
    """A cell block in each slice.

    Attributes:
        valid: there is one; ``last``: the operation's last.
        parameters, state: words of the memories.
        rows: for each lane the word of the row memory.
        rotation: the lane of slot 0.
        half: of the row memory.
        fresh: the state is zero.
    """

    def __init__(self, cfg):
        self.valid, self.last, self.half, self.fresh = (bit() for _ in range(4))
        self.parameters, self.state = (bits(address_bits(cfg.cell_depth)) for _ in range(2))
        self.rows = [bits(address_bits(cfg.row_depth)) for _ in range(GATES)]
        self.rotation = bits(2)


@block
def cell_sequencer(clk, rst, program, rows, fresh, frame, command, op, load, cooling, cfg):
    """The order of the cell blocks: operation after operation.

    A cell block waits for its rows; an operation waits until the lanes have finished the one before
    it, so that all its formats can change. Relaxed, a cell block comes every other cycle at most.

    Latency
        A cell block that may be taken is the command of the next cycle.

    Ports
        program : bundle of ``take``, ``op`` (its fields) and ``valid``
        rows : Position of the rows: what is before it can be read by the next command
        fresh : as of :func:`matrix_sequencer`
        frame : the frame
        command : CellCommand
        op : the operation's fields
        load : a new operation is loaded
        cooling : cycles that the lanes need, less one
    """
    nxt = program.op
    index, key, turn = wrapping(len(nxt.count)), wrapping(len(nxt.key)), wrapping(2)
    slots = [wrapping(len(nxt.key)) for _ in range(GATES)]
    cool, cooled = bits(address_bits(cooling + 1)), bit()
    active, here, there, issue, last, quad_end, step = (bit() for _ in range(7))
    parameters, state = wrapping(len(nxt.parameters)), wrapping(len(nxt.state))

    @always_comb
    def decide():
        there.next = rows.frame != frame or key < rows.place
        last.next = index == op.count

    if cfg.relaxed:

        @always(clk.posedge)
        def look():
            here.next = there and not issue and not load  # what comes then is another cell block
    else:

        @always_comb
        def look():
            here.next = there

    @always_comb
    def next_operation():
        issue.next = active and here
        load.next = program.valid and not active and cooled
        program.take.next = program.valid and not active and cooled

    @(always(clk.posedge) if cfg.relaxed else always_comb)
    def quad():
        quad_end.next = not op.rotate or turn == 3

    @always_comb
    def next_rows():
        step.next = issue and quad_end

    @always(clk.posedge)
    def position():
        if rst:
            active.next = 0
            frame.next = 1
        elif load:
            active.next = 1
        elif issue and last:
            active.next = 0
            if op.end:
                frame.next = frame + 1

    @always(clk.posedge)
    def count():
        if load:
            index.next = 0
            turn.next = 0
            key.next = nxt.key
            parameters.next = nxt.parameters
            state.next = nxt.state
        elif issue:
            index.next = index + 1
            parameters.next = parameters + 1
            state.next = state + 1
            if op.rotate:
                turn.next = turn + 1
            if step:
                key.next = key + 1

    @always(clk.posedge)
    def lanes_busy():
        if rst:
            cool.next = 0
            cooled.next = 1
        elif issue:
            cool.next = cooling
            cooled.next = 0
        elif cool != 0:
            cool.next = cool - 1
            cooled.next = cool == 1

    @always(clk.posedge)
    def give():
        command.valid.next = issue and not rst
        command.last.next = last
        command.parameters.next = parameters
        command.state.next = state
        command.rotation.next = turn
        command.half.next = frame[0]
        if frame[0]:
            command.fresh.next = fresh.odd[op.stream]
        else:
            command.fresh.next = fresh.even[op.stream]

    firsts = [nxt.row0, nxt.row1, nxt.row2, nxt.row3]
    return (
        decide,
        look,
        next_operation,
        quad,
        next_rows,
        position,
        count,
        lanes_busy,
        give,
        latch(clk, load, nxt, op, cell_fields(cfg)),
        [slot_row(clk, load, first, step, slot) for first, slot in zip(firsts, slots, strict=True)],
        [
            lane_row(clk, turn, *(slots[(n - t) % GATES] for t in range(GATES)), command.rows[n])
            for n in range(GATES)
        ],
    )


@block
def slot_row(clk, load, first, step, row):
    """The row group of a slot."""

    @always(clk.posedge)
    def count():
        if load:
            row.next = first
        elif step:
            row.next = row + 1

    return count


@block
def lane_row(clk, turn, slot0, slot1, slot2, slot3, row):
    """The row group that a lane reads: that of the slot whose turn it is."""

    @always(clk.posedge)
    def select():
        if turn == 0:
            row.next = slot0
        elif turn == 1:
            row.next = slot1
        elif turn == 2:
            row.next = slot2
        else:
            row.next = slot3

    return select
