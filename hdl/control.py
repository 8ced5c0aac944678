"""What the two sequencers and what they time are made of: programs, positions, delays.

Nothing in the core's control depends on data. Two sequencers run the two programs of
:mod:`hdl.program`: that of the matrix (:mod:`hdl.matrix_sequencer`) gives the PEs a step a cycle,
that of the cells (:mod:`hdl.cell_sequencer`) takes a cell block a cycle from the rows that come
out. Each waits for what the other gives, and for nothing else: how long everything takes from there
is fixed, so that what is on its way is announced before it arrives.

Frames are numbered modulo 4. What belongs to a frame (inputs, spectra, rows) is in half 0 or 1 of
its memory, by the parity of its number. The matrix is never more than a frame ahead of the cells.
"""

from myhdl import Signal, always, always_comb, block, concat, modbv

from hdl.arith import bit, bits, cut_bits, memory
from hdl.config import address_bits
from hdl.program import FLAGS


def frame_number(initial):
    """A signal of a frame's number."""
    return Signal(modbv(initial, min=0, max=4))


class Fields:
    """A signal for each field of an instruction."""

    def __init__(self, fields):
        for name, length in fields.items():
            setattr(self, name, bit() if name in FLAGS else bits(length))


class Position:
    """How far something that comes in order has come: a frame, and a place in it."""

    def __init__(self, length, frame):
        self.frame = frame_number(frame)
        self.place = bits(length)


@block
def delay_control(clk, rst, d, q, cycles):
    """Delay a bit by ``cycles`` cycles; a reset clears what is under way. 0 is a wire."""
    if cycles == 0:

        @always_comb
        def wire():
            q.next = d

        return wire

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
def decode(word, fields, lengths):
    """Cut an instruction into its fields. No register."""
    logic, low = [], 0
    for name, length in lengths.items():
        logic.append(cut_bits(word, getattr(fields, name), low, length))
        low += length
    return logic


@block
def fetch(clk, rst, w_enable, w_address, w_data, program, lengths, depth):
    """A program that is read instruction after instruction, over and over.

    Latency
        The next instruction is there three cycles after one was taken.

    Ports
        w_enable, w_address, w_data : writes an instruction; the program is at rest (``rst``)
        program : bundle of ``take``, ``op`` (the next instruction's fields) and ``valid`` (it is
            there); the program's last instruction has ``end``
    """
    word = bits(len(w_data))
    take, fields, valid = program.take, program.op, program.valid
    pc = bits(address_bits(depth))
    fetched, latched = bit(), bit()

    @always(clk.posedge)
    def step():
        if rst:
            pc.next = 0
        elif take:
            if fields.end:
                pc.next = 0
            else:
                pc.next = pc + 1

    @always(clk.posedge)
    def progress():
        fetched.next = not take and not rst
        latched.next = fetched and not take and not rst
        valid.next = latched and fetched and not take and not rst

    return (
        memory(clk, w_enable, w_address, w_data, pc, word, depth),
        decode(word, fields, lengths),
        step,
        progress,
    )


@block
def settings(clk, w_enable, w_data, fields, lengths):
    """The word of settings and its fields."""
    length = sum(lengths.values())
    word = bits(length)

    @always(clk.posedge)
    def keep():
        if w_enable:
            word.next = w_data[length:]

    return keep, decode(word, fields, lengths)


@block
def advance(clk, rst, valid, end, frame_end, position, first, step, alignment=1):
    """Count things that come in order.

    Ports
        valid : the next ``step`` places; ``end``: what comes then begins at a multiple of
            ``alignment``; ``frame_end``: they are the frame's last
        position : the place behind them, from the next cycle on
        first : a frame's first place
    """
    mask = max(alignment, step) - 1
    filled = bits(len(position.place))

    @always_comb
    def fill():
        filled.next = position.place | mask

    @always(clk.posedge)
    def count():
        if rst:
            position.frame.next = 1
            position.place.next = first
        elif valid:
            if frame_end:
                position.frame.next = position.frame + 1
                position.place.next = first
            elif end:
                position.place.next = filled + 1
            else:
                position.place.next = position.place + step

    return fill, count


@block
def latch(clk, enable, d, q, lengths):
    """Registers for all fields of an instruction."""
    return [store(clk, enable, getattr(d, name), getattr(q, name)) for name in lengths]


@block
def store(clk, enable, d, q):
    """A register with an enable."""

    @always(clk.posedge)
    def keep():
        if enable:
            q.next = d

    return keep
