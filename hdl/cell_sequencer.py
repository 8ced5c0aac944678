"""What the cells' lanes do in which cycle: a cell block a cycle in each slice."""

from myhdl import always, always_comb, block

from hdl.arith import bit, bits, register, wrapping
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
        first, gives: with images, whether it is the first or the last of a pool's window;
            ``ragged``: the last block of a vector or a pixel.
    """

    def __init__(self, cfg):
        self.valid, self.last, self.half, self.fresh = (bit() for _ in range(4))
        self.parameters, self.state = (bits(address_bits(cfg.cell_depth)) for _ in range(2))
        self.rows = [bits(address_bits(cfg.row_depth)) for _ in range(GATES)]
        self.rotation = bits(2)
        self.first, self.gives, self.ragged = (bit() for _ in range(3))


class CellPlace:
    """Where an operation is.

    Attributes:
        index: cell block of a slice; ``last``: it is the operation's last.
        key: the row group that is waited for.
        turn: the lane of slot 0.
        slots: the row group of each slot.
        parameters, state: words of the memories.
    """

    def __init__(self, op):
        self.index, self.turn, self.last = wrapping(len(op.count)), wrapping(2), bit()
        self.key = wrapping(len(op.key))
        self.slots = [wrapping(len(op.key)) for _ in range(GATES)]
        self.parameters, self.state = wrapping(len(op.parameters)), wrapping(len(op.state))


class PoolPlace(CellPlace):
    """Where an operation is, in an image too.

    Attributes:
        across, down: pixel of the window; ``first``, ``gives``: it is the first or the last.
        block_last: the cell block is the pixel's last.
        pixel: of the results along the row.
        line, block, corner: row groups of the window's line, of the cell block in the window's
            first pixel, and of that pixel.
    """

    def __init__(self, op):
        super().__init__(op)
        self.across, self.down = wrapping(len(op.across)), wrapping(len(op.down))
        self.first, self.gives, self.block_last = (bit() for _ in range(3))
        self.pixel = wrapping(len(op.pixels))
        self.line, self.block, self.corner = (wrapping(len(op.key)) for _ in range(3))


@block
def cell_sequencer(clk, rst, program, rows, fresh, frame, command, op, load, cooling, cfg):
    """The order of the cell blocks: operation after operation.

    A cell block waits for its rows; an operation waits until the lanes have finished the one before
    it, so that all its formats can change, if it does not follow that one in an image. Relaxed, a
    cell block comes every other cycle at most.

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
    at = (PoolPlace if cfg.images else CellPlace)(nxt)
    key, turn, slots, last = at.key, at.turn, at.slots, at.last
    cool, cooled, ready = bits(address_bits(cooling + 1)), bit(), bit()
    active, here, there, issue = (bit() for _ in range(4))

    @always_comb
    def decide():
        there.next = rows.frame != frame or key < rows.place

    if cfg.relaxed:

        @always(clk.posedge)
        def look():
            here.next = there and not issue and not load  # what comes then is another cell block
    else:

        @always_comb
        def look():
            here.next = there

    if cfg.images:

        @always_comb
        def lanes_ready():
            ready.next = cooled or nxt.follows
    else:

        @always_comb
        def lanes_ready():
            ready.next = cooled

    @always_comb
    def next_operation():
        issue.next = active and here
        load.next = program.valid and not active and ready
        program.take.next = program.valid and not active and ready

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
        command.parameters.next = at.parameters
        command.state.next = at.state
        command.rotation.next = turn
        command.half.next = frame[0]
        if frame[0]:
            command.fresh.next = fresh.odd[op.stream]
        else:
            command.fresh.next = fresh.even[op.stream]

    if cfg.images:
        move = [
            pool_position(clk, load, issue, nxt, op, at, cfg.relaxed),
            register(clk, at.first, command.first),
            register(clk, at.gives, command.gives),
            register(clk, at.block_last, command.ragged),
        ]
    else:
        move = cell_position(clk, load, issue, nxt, op, at, cfg.relaxed)
    return (
        decide,
        look,
        lanes_ready,
        next_operation,
        position,
        move,
        lanes_busy,
        give,
        latch(clk, load, nxt, op, cell_fields(cfg)),
        [
            lane_row(clk, turn, *(slots[(n - t) % GATES] for t in range(GATES)), command.rows[n])
            for n in range(GATES)
        ],
    )


@block
def cell_position(clk, load, issue, nxt, op, at, relaxed):
    """Move on from cell block to cell block.

    Ports
        load, issue, nxt, op : of the sequencer
        at : CellPlace
    """
    quad_end, step = bit(), bit()

    @(always(clk.posedge) if relaxed else always_comb)
    def quad():
        quad_end.next = not op.rotate or at.turn == 3

    @always_comb
    def next_rows():
        step.next = issue and quad_end
        at.last.next = at.index == op.count

    @always(clk.posedge)
    def count():
        if load:
            at.index.next = 0
            at.turn.next = 0
            at.key.next = nxt.key
            at.parameters.next = nxt.parameters
            at.state.next = nxt.state
        elif issue:
            at.index.next = at.index + 1
            at.parameters.next = at.parameters + 1
            at.state.next = at.state + 1
            if op.rotate:
                at.turn.next = at.turn + 1
            if step:
                at.key.next = at.key + 1

    firsts = [nxt.row0, nxt.row1, nxt.row2, nxt.row3]
    rows = [slot_row(clk, load, n, step, slot) for n, slot in zip(firsts, at.slots, strict=True)]
    return quad, next_rows, count, rows


@block
def pool_position(clk, load, issue, nxt, op, at, relaxed):
    """Move on as :func:`cell_position`; and through a pool's window, and along the row of pixels.

    Ports
        load, issue, nxt, op : of the sequencer
        at : PoolPlace
    """
    quad_end, step, across_last, pools = (bit() for _ in range(4))
    slot, key = at.slots[0], at.key

    @(always(clk.posedge) if relaxed else always_comb)
    def quad():
        quad_end.next = not op.rotate or at.turn == 3

    @always_comb
    def ends():
        pools.next = op.across != 0 or op.down != 0
        across_last.next = at.across == op.across
        at.first.next = at.across == 0 and at.down == 0
        at.block_last.next = at.index == op.count

    @always_comb
    def results():
        at.gives.next = across_last and at.down == op.down

    @always_comb
    def next_rows():
        step.next = issue and at.gives and quad_end
        at.last.next = at.gives and at.block_last and at.pixel == op.pixels

    @always(clk.posedge)
    def count():
        if load:
            at.index.next = 0
            at.turn.next = 0
            at.parameters.next = nxt.parameters
            at.state.next = nxt.state
            at.across.next = 0
            at.down.next = 0
            at.pixel.next = 0
        elif issue:
            if not across_last:
                at.across.next = at.across + 1
            elif not at.gives:
                at.across.next = 0
                at.down.next = at.down + 1
            else:
                at.across.next = 0
                at.down.next = 0
                if at.block_last:
                    at.index.next = 0
                    at.turn.next = 0
                    at.parameters.next = op.parameters
                    at.pixel.next = at.pixel + 1
                else:
                    at.index.next = at.index + 1
                    at.parameters.next = at.parameters + 1
                    at.state.next = at.state + 1
                    if op.rotate:
                        at.turn.next = at.turn + 1

    @always(clk.posedge)
    def read():
        if load:
            slot.next = nxt.row0
            key.next = nxt.key
            at.line.next = nxt.row0
            at.block.next = nxt.row0
            at.corner.next = nxt.row0
        elif issue:
            if not across_last:
                slot.next = slot + op.size
                key.next = slot + op.size
            elif not at.gives:
                slot.next = at.line + op.pitch
                key.next = at.line + op.pitch
                at.line.next = at.line + op.pitch
            elif at.block_last:
                slot.next = at.corner + op.advance
                key.next = at.corner + op.advance
                at.line.next = at.corner + op.advance
                at.block.next = at.corner + op.advance
                at.corner.next = at.corner + op.advance
            elif quad_end:
                slot.next = at.block + 1
                at.line.next = at.block + 1
                at.block.next = at.block + 1
                if pools:
                    key.next = at.block + 1
                else:
                    key.next = key + 1
            else:
                slot.next = at.block
                at.line.next = at.block
                if pools:
                    key.next = at.block

    firsts = [nxt.row1, nxt.row2, nxt.row3]
    rows = [slot_row(clk, load, n, step, s) for n, s in zip(firsts, at.slots[1:], strict=True)]
    return quad, ends, results, next_rows, count, read, rows


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
