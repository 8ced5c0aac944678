"""The core's control: which block goes where in which cycle.

Nothing here depends on data. Blocks carry no numbers: the places that they pass count them, since
they pass in order. Of the spectra there are two banks; a frame's input and the state that it gives
go to bank 0 and 1 in turn.
"""

from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl.arith import bit, bits
from hdl.program import address_bits


class Command:
    """What the core does in a cycle.

    ``enable``: there is a block product; ``first``, ``last``: of the first or last column of a row;
    ``fresh``: of a column of the state before an utterance, which is zero.
    """

    def __init__(self):
        self.enable, self.first, self.last, self.fresh = (bit() for _ in range(4))


class Tags:
    """What a block in the FFT is: of the input (``x``) or of the state (``h``) or nothing.

    ``first`` tells of a block of the input that its frame is the first of an utterance.
    """

    def __init__(self):
        self.x, self.h, self.first = (bit() for _ in range(3))


class Progress:
    """What is in the spectrum memory.

    ``x_complete``: the last spectrum of an input frame has come; ``x_first``: for both banks,
    whether the frame in it is the first of an utterance; ``h_column``, ``h_bank``: where the next
    spectrum of the state goes, those before it have come. Column c of bank b is at address
    ``concat(b, c)``.
    """

    def __init__(self, cfg):
        self.x_complete, self.h_bank = bit(), bit()
        self.x_first = bits(2)
        self.h_column = bits(address_bits(cfg.columns))


@block
def delay_control(clk, rst, d, q, cycles):
    """Delay a bit by ``cycles`` >= 1 cycles; a reset clears what is under way."""
    if cycles == 1:

        @always(clk.posedge)
        def register():
            q.next = d and not rst

        return register

    line = bits(cycles)
    top = cycles - 1

    @always(clk.posedge)
    def shift():
        if rst:
            line.next = 0
        else:
            line.next = concat(line[top:], d)

    @always_comb
    def tap():
        q.next = line[top]

    return shift, tap


@block
def counter(clk, rst, enable, count, last, period):
    """Count enabled cycles from 0 to ``period`` - 1, then again; ``last`` marks the last count."""
    top = period - 1

    @always_comb
    def compare():
        last.next = count == top

    @always(clk.posedge)
    def step():
        if rst:
            count.next = 0
        elif enable:
            if count == top:
                count.next = 0
            else:
                count.next = count + 1

    return compare, step


@block
def intake(clk, rst, i, h, release, x, tags, cfg):
    """Let blocks into the FFT: of the state when there are, else of the input if there is room.

    An input frame comes in when a bank is free: it takes one with its last block, and ``release``
    gives one back.

    Latency
        One cycle.

    Ports
        i : stream of the input's blocks with ``first``
        h : ``valid`` and ``data``: blocks of the state, which do not wait
        release : a bank is free for another frame
        x, tags : the block for the FFT, and what it is
    """
    free = Signal(intbv(2, min=0, max=3))
    accept, end, take = bit(), bit(), bit()
    place = bits(address_bits(cfg.input_blocks))

    @always_comb
    def decide():
        i.ready.next = free != 0 and not h.valid
        accept.next = i.valid and free != 0 and not h.valid

    @always_comb
    def end_of_frame():
        take.next = accept and end

    @always(clk.posedge)
    def control():
        tags.x.next = accept and not rst
        tags.h.next = h.valid and not rst
        if rst:
            free.next = 2
        elif take and not release:
            free.next = free - 1
        elif release and not take:
            free.next = free + 1

    @always(clk.posedge)
    def select():
        tags.first.next = i.first
        if h.valid:
            x.next = h.data
        else:
            x.next = i.data

    return (
        decide,
        end_of_frame,
        control,
        select,
        counter(clk, rst, accept, place, end, cfg.input_blocks),
    )


@block
def spectrum_writer(clk, rst, tags, write, address, progress, cfg):
    """Where the spectra that leave the FFT go, and which have come.

    Ports
        tags : what leaves the FFT in this cycle
        write, address : of the spectrum memory, in the same cycle
        progress : what the memory holds from this cycle on
    """
    first_h, last_h = cfg.input_blocks, cfg.columns - 1
    x_column = bits(address_bits(cfg.columns))
    x_bank, x_end = bit(), bit()

    @always_comb
    def select():
        write.next = tags.x or tags.h
        if tags.h:
            address.next = concat(progress.h_bank, progress.h_column)
        else:
            address.next = concat(x_bank, x_column)

    @always(clk.posedge)
    def inputs():
        progress.x_complete.next = tags.x and x_end and not rst
        if rst:
            x_bank.next = 0
        elif tags.x and x_end:
            x_bank.next = not x_bank
            if x_bank:
                progress.x_first.next[1] = tags.first
            else:
                progress.x_first.next[0] = tags.first

    @always(clk.posedge)
    def states():
        if rst:
            progress.h_column.next = first_h
            progress.h_bank.next = 0
        elif tags.h:
            if progress.h_column == last_h:
                progress.h_column.next = first_h
                progress.h_bank.next = not progress.h_bank
            else:
                progress.h_column.next = progress.h_column + 1

    return select, inputs, states, counter(clk, rst, tags.x, x_column, x_end, cfg.input_blocks)


@block
def sequencer(clk, rst, progress, o_taken, release, address, command, cfg):
    """The order of the block products: pass after pass, column after column.

    A frame starts when its input is complete and the output FIFO has room for all that it gives. A
    column of the state waits until its spectrum has come; nothing else waits.

    Ports
        progress : what the spectrum memory holds
        o_taken : a block has left the output FIFO
        release : a frame's input is being read for the last time; what comes in now comes later
            to the memory than the columns that it replaces have been read
        address : of the command's spectrum
        command : the command
    """
    last_column, last_pass = cfg.columns - 1, cfg.passes - 1
    first_h, depth = cfg.input_blocks, cfg.fifo_depth
    needed, needed_less_one = cfg.hidden_blocks, cfg.hidden_blocks - 1
    column, row = bits(address_bits(cfg.columns)), bits(address_bits(cfg.passes))
    running, bank, other_bank, utterance_start = (bit() for _ in range(4))
    issue, row_end, frame_end, start = (bit() for _ in range(4))
    frames = Signal(intbv(0, min=0, max=3))  # complete inputs that have not started
    room = Signal(intbv(0, min=0, max=depth + 1))  # in the output FIFO, less what is to come

    @always_comb
    def decide():
        other_bank.next = not bank
        issue.next = running and (column < progress.h_column or progress.h_bank == bank)
        row_end.next = column == last_column
        frame_end.next = column == last_column and row == last_pass

    @always_comb
    def next_frame():
        start.next = frames != 0 and room >= needed and (not running or (issue and frame_end))

    @always(clk.posedge)
    def position():
        if rst:
            column.next = 0
            row.next = 0
        elif issue:
            if row_end:
                column.next = 0
                if frame_end:
                    row.next = 0
                else:
                    row.next = row + 1
            else:
                column.next = column + 1

    @always(clk.posedge)
    def frame():
        if rst:
            running.next = 0
            bank.next = 1
        elif start:
            running.next = 1
            bank.next = not bank
        elif issue and frame_end:
            running.next = 0
        if start:
            if bank:
                utterance_start.next = progress.x_first[0]
            else:
                utterance_start.next = progress.x_first[1]

    @always(clk.posedge)
    def credits():
        if rst:
            frames.next = 0
            room.next = depth
        else:
            if start and not progress.x_complete:
                frames.next = frames - 1
            elif progress.x_complete and not start:
                frames.next = frames + 1
            if start and o_taken:
                room.next = room - needed_less_one
            elif start:
                room.next = room - needed
            elif o_taken:
                room.next = room + 1

    @always(clk.posedge)
    def give():
        command.enable.next = issue and not rst
        command.first.next = column == 0
        command.last.next = issue and row_end and not rst
        command.fresh.next = utterance_start and column >= first_h
        release.next = issue and column == 0 and row == last_pass and not rst
        if column >= first_h:
            address.next = concat(other_bank, column)
        else:
            address.next = concat(bank, column)

    return decide, next_frame, position, frame, credits, give


@block
def drain(clk, rst, capture, capture_fresh, valid, fresh, cfg):
    """When the sums of a cell block are at the heads of the drain chains.

    Ports
        capture : the PEs capture their sums in this cycle; the first are at the heads in the next
        capture_fresh : they are of the first frame of an utterance
        valid : sums of a cell block are at the heads
        fresh : they are of the first frame of an utterance
    """
    place, cell_block = bits(address_bits(cfg.drain)), bits(address_bits(cfg.hidden_blocks))
    pass_end, frame_end, restart = bit(), bit(), bit()

    @always_comb
    def reset_place():
        restart.next = rst or capture

    @always(clk.posedge)
    def control():
        if rst:
            valid.next = 0
        elif capture:
            valid.next = 1
        elif pass_end or frame_end:
            valid.next = 0
        if capture:
            fresh.next = capture_fresh

    places = counter(clk, restart, valid, place, pass_end, cfg.drain)
    cell_blocks = counter(clk, rst, valid, cell_block, frame_end, cfg.hidden_blocks)
    return reset_place, control, places, cell_blocks
