"""What the PEs do in which cycle: a step a cycle, and the tags of what leaves them."""

from types import SimpleNamespace

from myhdl import Signal, always, always_comb, block, intbv

from hdl.arith import bit, bits, later, wrapping
from hdl.config import address_bits
from hdl.control import Fields, frame_number, latch, store
from hdl.program import Source, matrix_fields

INPUT, PREVIOUS = int(Source.INPUT), int(Source.PREVIOUS)


class MatrixCommand:
    """A step of the PEs.

    Attributes:
        step: there is one; ``first``, ``last``: it is the first or last of its row; ``keep``: what
            was added up before it is put aside.
        weight: the word of the weight memories.
        half: of the spectrum memory.
        columns: the column of each lane.
        clear: for each lane, that its column is zero.
    """

    def __init__(self, cfg):
        self.step, self.first, self.last, self.keep, self.half = (bit() for _ in range(5))
        self.weight = bits(address_bits(cfg.weight_depth))
        self.columns = [bits(address_bits(cfg.column_depth)) for _ in range(cfg.fold)]
        self.clear = [bit() for _ in range(cfg.fold)]


class RowTags:
    """What leaves the PEs.

    Attributes:
        more: the group's sums add to those of the group before.
        done: a row group is complete; ``end``: it is the frame's last.
        shift, narrow: how its rows are rounded.
    """

    def __init__(self, cfg):
        self.more, self.done, self.end, self.narrow = (bit() for _ in range(4))
        self.shift = bits(cfg.accumulator_shift.bits)


class Place:
    """Where an operation is.

    Attributes:
        column, last: the next column of a segment, and its last one; ``source`` of both.
        row: the pass.
        second: in the second segment; ``ahead``: in the first one of the second pass.
        weight: the word of the weight memories.
    """

    def __init__(self, op):
        self.column, self.last = (wrapping(len(op.base0)) for _ in range(2))
        self.source, self.second, self.ahead = bits(2), bit(), bit()
        self.row, self.weight = wrapping(len(op.passes)), wrapping(len(op.weight))


class WindowPlace(Place):
    """Where an operation is, in an image too.

    Attributes:
        edge_first, edge_last: the columns of the image row of this line.
        line, pixel: of the window, and in the row of windows; ``line_last``, ``pixel_last``.
        line_first: the line's first column.
        pixel_first, pixel_end: first and last column of the window's first line.
    """

    def __init__(self, op):
        super().__init__(op)
        for name in ("edge_first", "edge_last", "line_first", "pixel_first", "pixel_end"):
            setattr(self, name, wrapping(len(op.base0)))
        self.line, self.pixel = wrapping(len(op.lines)), wrapping(len(op.pixels))
        self.line_last, self.pixel_last = bit(), bit()


@block
def matrix_sequencer(
    clk,
    rst,
    program,
    written,
    cell_frame,
    x_complete,
    x_first,
    popped,
    command,
    tags,
    fresh,
    release,
    sizes,
    cfg,
):
    """The order of the block products: operation after operation, pass after pass.

    With ``ahead`` an operation begins with the first segment of its second pass. What that gives is
    put aside during the first pass, whose own first segment comes then: so both hide what the
    second segment waits for. With images, a segment may be the first line of a row of windows.

    A frame starts when its input is complete, the output FIFO has room for all that it gives, and
    the cells work at the frame before it. A step waits for its columns, a row's last step until the
    groups of the row before have left.

    Relaxed, the steps go through a register on their way, and each segment ends a cycle before the
    next one begins.

    Latency
        A step that may be taken is the command of the next cycle.

    Ports
        program : bundle of ``take``, ``op`` (its fields) and ``valid``
        written : Position of the spectra: what is before it can be read by the next command
        cell_frame : the frame that the cells work at
        x_complete : another input is complete
        x_first : for each half and stream, whether an utterance starts with this input
        popped : an output group has left the FIFO
        command : MatrixCommand
        tags : RowTags; those of group 0 come with the command of the row's last step
        fresh : for the frame before and this one by parity, the streams that start an utterance
        release : the input has been read for the last time
        sizes : the settings
    """
    nxt, op = program.op, Fields(matrix_fields(cfg))
    depth = cfg.fifo_depth
    frame, frame_before = frame_number(0), frame_number(3)
    at = (WindowPlace if cfg.images else Place)(nxt)
    column, last, source, weight = at.column, at.last, at.source, at.weight
    row, second, ahead = at.row, at.second, at.ahead
    high, mask = wrapping(len(nxt.base0)), bits(len(nxt.base0))
    line_last, pixel_last, op_end = True, True, op.end
    if cfg.images:
        line_last, pixel_last, op_end = at.line_last, at.pixel_last, bit()
    running, row_start, virgin = (bit() for _ in range(3))
    segment_end, row_end, row_over, op_over, pass_last = (bit() for _ in range(5))
    go, held, issue, turn, start, load, finish, zero, x_last = (bit() for _ in range(9))
    keeps, releases, possible = (bit() for _ in range(3))
    relaxed, all_streams = cfg.relaxed, (1 << cfg.streams) - 1
    inputs = Signal(intbv(0, min=0, max=4))  # complete, not started
    room = Signal(intbv(0, min=0, max=depth + 1))  # in the FIFO, less what is to come
    needed = Signal(intbv(0, min=0, max=depth + 1))
    offered = {"column": column, "high": high, "last": last, "mask": mask, "source": source}
    offered |= {"frame": frame, "frame_before": frame_before, "zero": zero, "weight": weight}
    offered |= {"row_start": row_start, "row_end": row_end, "pass_last": pass_last}
    offered |= {"keeps": keeps, "releases": releases, "end": op_end, "narrow": op.narrow}
    offered |= {"shift": op.shift, "groups": op.groups, "groups_last": op.groups_last}
    if cfg.images:
        offered |= {"edge_first": at.edge_first, "edge_last": at.edge_last}
    offer = SimpleNamespace(**offered)
    names, signals = zip(*offered.items(), strict=True)
    step = SimpleNamespace(**dict(zip(names, later(signals, relaxed), strict=True)))

    select = behind(column, mask, high, cfg.images)

    @always_comb
    def places():
        segment_end.next = high >= last
        pass_last.next = row == op.passes
        x_last.next = (row == op.passes and not (op.ahead and op.passes == 1)) or (
            row == 0 and op.ahead and op.passes == 1 and not ahead
        )

    @always_comb
    def row_ends():
        row_end.next = segment_end and (second or not op.two) and not ahead and line_last

    @(always(clk.posedge) if relaxed else always_comb)
    def ends():
        row_over.next = (second or not op.two) and not ahead and line_last
        op_over.next = (
            (second or not op.two) and not ahead and line_last and pass_last and pixel_last
        )

    @always_comb
    def uses():
        keeps.next = op.ahead and row == 0 and not ahead
        releases.next = (
            segment_end and source == INPUT and x_last and op.release and line_last and pixel_last
        )

    @always_comb
    def frame_end():
        finish.next = turn and op_over and op.end

    @(always(clk.posedge) if relaxed else always_comb)
    def may_start():
        possible.next = inputs != 0 and room > sizes.output_groups and cell_frame != frame_before

    @always_comb
    def next_frame():
        needed.next = sizes.output_groups + 1
        start.next = possible and program.valid and (finish or not running)

    @(always(clk.posedge) if relaxed else always_comb)
    def next_operation():
        load.next = (start or (turn and op_over and not op.end)) and not rst

    @always_comb
    def take():
        program.take.next = load

    @always(clk.posedge)
    def run():
        if rst:
            running.next = 0
        elif start:
            running.next = 1
        elif finish:
            running.next = 0

    @always(clk.posedge)
    def starts():
        if rst or load:
            row_start.next = 1
        elif turn:
            row_start.next = row_over or ahead
        elif issue:
            row_start.next = 0

    @always(clk.posedge)
    def frames():
        if rst:
            frame.next = 0
            frame_before.next = 3
            virgin.next = 1
        elif start:
            frame.next = frame + 1
            frame_before.next = frame
            virgin.next = 0

    @always(clk.posedge)
    def utterances():
        if start:
            if frame[0]:
                fresh.even.next = x_first.even
                if virgin:
                    fresh.even.next = all_streams
            else:
                fresh.odd.next = x_first.odd
                if virgin:
                    fresh.odd.next = all_streams

    @always(clk.posedge)
    def credits():
        if rst:
            inputs.next = 0
            room.next = depth
        else:
            if start and not x_complete:
                inputs.next = inputs - 1
            elif x_complete and not start:
                inputs.next = inputs + 1
            if start and popped:
                room.next = room - sizes.output_groups
            elif start:
                room.next = room - needed
            elif popped:
                room.next = room + 1

    @always_comb
    def state():
        if frame[0]:
            zero.next = source == PREVIOUS and fresh.odd[op.stream]
        else:
            zero.next = source == PREVIOUS and fresh.even[op.stream]

    @always(clk.posedge)
    def give():
        command.step.next = go and not rst
        command.first.next = step.row_start
        command.last.next = go and step.row_end and not rst
        command.keep.next = step.keeps
        command.weight.next = step.weight
        command.half.next = step.frame[0] != (step.source == PREVIOUS)
        release.next = go and step.releases and not rst

    if cfg.images:
        move = window_position(clk, load, turn, issue, nxt, op, high, op_end, at, relaxed)
    else:
        move = segment_position(clk, load, turn, issue, nxt, op, high, row_over, at)
    if relaxed:
        walk = [
            walk_relaxed(
                clk, rst, running, load, segment_end, op, op_over, program, go, issue, turn
            ),
            await_step(clk, rst, issue, offer, step, names, written, held, go),
        ]
    else:
        walk = walk_at_once(
            running, segment_end, op, op_over, program, written, step, held, go, issue, turn
        )
    lanes = [
        lane_command(clk, step, command.columns[n], command.clear[n], n, cfg.images)
        for n in range(cfg.fold)
    ]
    return (
        select,
        places,
        row_ends,
        ends,
        uses,
        walk,
        frame_end,
        may_start,
        next_frame,
        next_operation,
        take,
        run,
        move,
        starts,
        frames,
        utterances,
        credits,
        state,
        give,
        lanes,
        latch(clk, load, nxt, op, matrix_fields(cfg)),
        fold_mask(clk, load, nxt.fold, mask),
        drain(clk, rst, go, step, held, tags, cfg),
    )


@block
def segment_position(clk, load, turn, issue, nxt, op, high, row_over, at):
    """Move on: through the columns of a segment, to the next segment, row or operation.

    Ports
        load, turn, issue, nxt, op, high, row_over : of the sequencer
        at : Place
    """

    @always(clk.posedge)
    def position():
        if load:
            at.column.next = nxt.base0
            at.last.next = nxt.last0
            at.source.next = nxt.source0
            at.second.next = 0
            at.row.next = 0
            at.ahead.next = nxt.ahead
        elif turn:
            if at.ahead:
                at.ahead.next = 0
                at.column.next = op.base0
                at.last.next = op.last0
                at.source.next = op.source0
            elif row_over:
                at.row.next = at.row + 1
                if op.ahead and at.row == 0:
                    at.column.next = op.base1
                    at.last.next = op.last1
                    at.source.next = op.source1
                    at.second.next = 1
                else:
                    at.column.next = op.base0
                    at.last.next = op.last0
                    at.source.next = op.source0
                    at.second.next = 0
            else:
                at.column.next = op.base1
                at.last.next = op.last1
                at.source.next = op.source1
                at.second.next = 1
        elif issue:
            at.column.next = high + 1

    @always(clk.posedge)
    def weights():
        if load:
            at.weight.next = nxt.weight
        elif issue:
            at.weight.next = at.weight + 1

    return position, weights


@block
def window_position(clk, load, turn, issue, nxt, op, high, op_end, at, relaxed):
    """Move on as :func:`segment_position`; and from line to line and from window to window.

    Ports
        load, turn, issue, nxt, op, high : of the sequencer
        op_end : the operation is the frame's last, and this its last window
        at : WindowPlace
    """
    row_over = bit()
    counted = int(not relaxed)  # the step that turns counts its own word

    @always_comb
    def ends():
        at.line_last.next = at.line == op.lines
        at.pixel_last.next = at.pixel == op.pixels
        op_end.next = op.end and at.pixel == op.pixels
        row_over.next = (at.second or not op.two) and not at.ahead and at.line == op.lines

    @always(clk.posedge)
    def position():
        if load:
            at.column.next = nxt.base0
            at.last.next = nxt.last0
            at.source.next = nxt.source0
            at.second.next = 0
            at.row.next = 0
            at.ahead.next = nxt.ahead
            at.line.next = 0
            at.pixel.next = 0
            at.line_first.next = nxt.base0
            at.pixel_first.next = nxt.base0
            at.pixel_end.next = nxt.last0
            at.edge_first.next = nxt.edge_first
            at.edge_last.next = nxt.edge_last
        elif turn:
            if at.ahead:
                at.ahead.next = 0
                at.column.next = op.base0
                at.last.next = op.last0
                at.source.next = op.source0
            elif not row_over:
                if op.two:
                    at.column.next = op.base1
                    at.last.next = op.last1
                    at.source.next = op.source1
                    at.second.next = 1
                else:
                    at.line.next = at.line + 1
                    at.column.next = at.line_first + op.pitch
                    at.line_first.next = at.line_first + op.pitch
                    at.last.next = at.last + op.pitch
                    at.edge_first.next = at.edge_first + op.pitch
                    at.edge_last.next = at.edge_last + op.pitch
            else:
                at.line.next = 0
                at.edge_first.next = op.edge_first
                at.edge_last.next = op.edge_last
                if at.row == op.passes:
                    at.row.next = 0
                    at.pixel.next = at.pixel + 1
                    at.column.next = at.pixel_first + op.advance
                    at.line_first.next = at.pixel_first + op.advance
                    at.pixel_first.next = at.pixel_first + op.advance
                    at.last.next = at.pixel_end + op.advance
                    at.pixel_end.next = at.pixel_end + op.advance
                else:
                    at.row.next = at.row + 1
                    if op.ahead and at.row == 0:
                        at.column.next = op.base1
                        at.last.next = op.last1
                        at.source.next = op.source1
                        at.second.next = 1
                    else:
                        at.column.next = at.pixel_first
                        at.line_first.next = at.pixel_first
                        at.last.next = at.pixel_end
                        at.source.next = op.source0
                        at.second.next = 0
        elif issue:
            at.column.next = high + 1

    @always(clk.posedge)
    def weights():
        if load:
            at.weight.next = nxt.weight
        elif turn and row_over and at.row == op.passes:
            at.weight.next = op.weight
        elif turn and row_over:
            at.weight.next = at.weight + op.skip + counted
        elif issue:
            at.weight.next = at.weight + 1

    return ends, position, weights


@block
def walk_at_once(running, segment_end, op, op_over, program, written, step, held, go, issue, turn):
    """Offer a step and take it in one cycle; with a segment's last step, turn. No register.

    Ports
        running, segment_end, op, op_over, program, step, held : of the sequencer
        written : as of :func:`matrix_sequencer`
        go, issue : the step is taken
        turn : to the next segment, row or operation
    """
    here, taken = bit(), bit()

    @always_comb
    def decide():
        taken.next = (
            running
            and here
            and not (step.row_end and held)
            and not (segment_end and op_over and not op.end and not program.valid)
        )

    @always_comb
    def give():
        go.next = taken
        issue.next = taken
        turn.next = taken and segment_end

    return available(written, step, here), decide, give


@block
def walk_relaxed(clk, rst, running, load, segment_end, op, op_over, program, go, issue, turn):
    """Offer a step as soon as the one before is taken; the cycle after a segment's last, turn.

    Ports
        running, load, segment_end, op, op_over, program : of the sequencer
        go : the step that was offered is taken
        issue : a step is offered
        turn : to the next segment, row or operation
    """
    full, turning = bit(), bit()

    @always_comb
    def decide():
        issue.next = running and not load and not turning and (go or not full)
        turn.next = turning and not (op_over and not op.end and not program.valid)

    @always(clk.posedge)
    def remember():
        if rst:
            full.next = 0
            turning.next = 0
        else:
            full.next = issue or (full and not go)
            turning.next = (issue and segment_end) or (turning and not turn)

    return decide, remember


@block
def await_step(clk, rst, issue, offer, step, names, written, held, go):
    """Keep the step that was offered until its columns are there, and the row may end.

    Ports
        issue, offer : a step is offered
        step : the one that is kept; ``names`` of all that belongs to it
        written : as of :func:`matrix_sequencer`
        held : the row must not end
        go : the step is taken
    """
    full, here, here_soon, here_still = (bit() for _ in range(4))

    @always_comb
    def decide():
        go.next = full and here and not (step.row_end and held)

    @always(clk.posedge)
    def look():
        if rst:
            full.next = 0
        elif issue:
            full.next = 1
        elif go:
            full.next = 0
        if issue:
            here.next = here_soon
        else:
            here.next = here_still

    return (
        decide,
        look,
        available(written, offer, here_soon),
        available(written, step, here_still),
        latch(clk, issue, offer, step, names),
    )


@block
def available(written, step, here):
    """Whether a step's columns are there. No register."""
    below, behind, same = bit(), bit(), bit()

    @always_comb
    def places():
        same.next = written.frame == step.frame
        behind.next = written.frame == step.frame_before

    if hasattr(step, "edge_last"):

        @always_comb
        def compare():
            below.next = (
                step.high < written.place
                or step.last < written.place
                or step.edge_last < written.place
            )
    else:

        @always_comb
        def compare():
            below.next = step.high < written.place

    @always_comb
    def decide():
        if step.source == INPUT:
            here.next = True
        elif step.source == PREVIOUS:
            here.next = below or not behind
        else:
            here.next = not behind and (below or not same)

    return places, compare, decide


@block
def fold_mask(clk, enable, fold, mask):
    """The low bits of a column that the lanes supply, 2**fold - 1."""
    masks = tuple((1 << n) - 1 for n in range(1 << len(fold)))
    masks = tuple(m & ((1 << len(mask)) - 1) for m in masks)
    found = bits(len(mask))

    @always_comb
    def look_up():
        found.next = masks[fold]

    return look_up, store(clk, enable, found, mask)


@block
def lane_command(clk, step, lane_column, clear, lane, images):
    """A lane's column, and whether its spectrum counts as zero."""
    own, low = wrapping(len(step.column)), bits(len(step.column))

    @always_comb
    def mask_lane():
        low.next = step.mask & lane

    if images:

        @always(clk.posedge)
        def give():
            lane_column.next = own
            clear.next = (
                step.zero or own > step.last or own < step.edge_first or own > step.edge_last
            )
    else:

        @always(clk.posedge)
        def give():
            lane_column.next = own
            clear.next = step.zero or own > step.last

    return mask_lane, behind(step.column, low, own, images), give


@block
def behind(column, offset, end, images):
    """The column that is ``offset`` behind another. No register.

    Where columns are aligned, no bit of the offset is one of theirs.
    """
    if images:

        @always_comb
        def add():
            end.next = column + offset

        return add

    @always_comb
    def join():
        end.next = column | offset

    return join


@block
def drain(clk, rst, issue, step, held, tags, cfg):
    """The tags of what leaves the PEs, a group a cycle.

    Ports
        issue, step : the step that is taken
        held : the row must not end: the groups of the row before are still to leave
    """
    left = bits(address_bits(cfg.groups))
    place, all_places = bits(len(step.mask)), bits(len(step.mask))
    active, frame_last, last = (bit() for _ in range(3))

    @always_comb
    def compare():
        last.next = left == 0

    @always(clk.posedge)
    def hold():
        if rst:
            held.next = 0
        elif issue and step.row_end and step.pass_last:
            held.next = step.groups_last != 0
        elif issue and step.row_end:
            held.next = step.groups != 0
        else:
            held.next = active and left != 0 and left != 1

    @always(clk.posedge)
    def control():
        if rst:
            active.next = 0
        elif issue and step.row_end:
            active.next = 1
            if step.pass_last:
                left.next = step.groups_last
            else:
                left.next = step.groups
        elif last:
            active.next = 0
        else:
            left.next = left - 1

    @always(clk.posedge)
    def formats():
        if issue and step.row_end:
            place.next = 0
            all_places.next = step.mask
            tags.shift.next = step.shift
            tags.narrow.next = step.narrow
            frame_last.next = step.end and step.pass_last
        elif place == all_places:
            place.next = 0
        else:
            place.next = place + 1

    @always_comb
    def tag():
        tags.more.next = place != 0
        tags.done.next = active and place == all_places
        tags.end.next = frame_last and last

    return compare, hold, control, formats, tag
