"""Streams: the one contract by which blocks that may wait pass words.

A word is transferred in a cycle in which ``valid`` and ``ready`` are both high. A source that has
raised ``valid`` holds it and ``data`` until the transfer; it never waits for ``ready`` before it
raises ``valid``. ``ready`` may change at any time. A block calls its streams ``i`` and ``o``.
"""

from myhdl import Signal, always, always_comb, block, intbv, modbv

from hdl.arith import queue_memory


class Stream:
    """A bundle of ``valid``, ``ready`` and ``data`` of ``width`` bits."""

    def __init__(self, width):
        self.valid = Signal(bool(0))
        self.ready = Signal(bool(0))
        self.data = Signal(intbv(0)[width:])


class AxiStream:
    """AXI4-Stream of ``width`` data and ``user`` user bits: the same contract under its names.

    There is neither TKEEP nor TSTRB: every byte of a word counts.
    """

    def __init__(self, width, user=0):
        self.tdata = Signal(intbv(0)[width:])
        self.tvalid, self.tready, self.tlast = (Signal(bool(0)) for _ in range(3))
        if user:
            self.tuser = Signal(intbv(0)[user:])


@block
def register_slice(clk, rst, i, o):
    """A register between two blocks: no path from an input to an output.

    Latency, resources
        One cycle, a word a cycle; two words of registers.

    Ports
        i, o : Stream of the same width
    """
    width = len(i.data)
    spare = Signal(intbv(0)[width:])
    valid, full, move = (Signal(bool(0)) for _ in range(3))

    @always_comb
    def transfers():
        i.ready.next = not full
        o.valid.next = valid
        move.next = o.ready or not valid

    @always(clk.posedge)
    def data():
        if move:
            if full:
                o.data.next = spare
            else:
                o.data.next = i.data
        if not full:
            spare.next = i.data

    @always(clk.posedge)
    def control():
        if rst:
            valid.next = 0
            full.next = 0
        elif move:
            valid.next = i.valid or full
            full.next = 0
        elif i.valid:
            full.next = 1

    return transfers, data, control


@block
def output_stage(clk, rst, i_valid, i_ready, move, o_valid, o_ready):
    """The valid bit of a stage of registers that take what comes where ``move`` is high."""
    valid = Signal(bool(0))

    @always_comb
    def transfers():
        i_ready.next = o_ready or not valid
        move.next = i_valid and (o_ready or not valid)
        o_valid.next = valid

    @always(clk.posedge)
    def control():
        if rst:
            valid.next = 0
        elif o_ready or not valid:
            valid.next = i_valid

    return transfers, control


@block
def fifo(clk, rst, i, o, depth, relaxed=False):
    """Words leave in the order in which they came.

    Latency, resources
        2 cycles from an input to an output transfer when empty, relaxed 3, a word a cycle; one
        memory of ``depth`` words (a power of two) with its output register, which holds one word
        more; relaxed, one after that holds another.

    Ports
        i, o : Stream of the same width
    """
    if depth < 2 or depth & (depth - 1):
        raise ValueError(f"fifo of {depth} words: the depth must be a power of two, 2 or more")
    width = len(i.data)
    words = [Signal(intbv(0)[width:]) for _ in range(depth)]
    write, read = (Signal(modbv(0, min=0, max=depth)) for _ in range(2))
    count = Signal(intbv(0, min=0, max=depth + 1))
    space, push, pop, valid = (Signal(bool(0)) for _ in range(4))
    out_ready, out_valid = (Signal(bool(0)) for _ in range(2)) if relaxed else (o.ready, o.valid)

    @always_comb
    def ready():
        space.next = count != depth

    @always_comb
    def transfers():
        i.ready.next = space
        out_valid.next = valid
        push.next = i.valid and space
        pop.next = (count != 0) and (out_ready or not valid)

    if relaxed:
        move = Signal(bool(0))
        memory = [
            queue_memory(clk, push, write, i.data, pop, read, move, o.data, depth),
            output_stage(clk, rst, out_valid, out_ready, move, o.valid, o.ready),
        ]
    else:

        @always(clk.posedge)
        def memory():
            if push:
                words[write].next = i.data
            if pop:
                o.data.next = words[read]

    @always(clk.posedge)
    def control():
        if rst:
            write.next = 0
            read.next = 0
            count.next = 0
            valid.next = 0
        else:
            if push:
                write.next = write + 1
            if pop:
                read.next = read + 1
                valid.next = 1
            elif out_ready:
                valid.next = 0
            if push and not pop:
                count.next = count + 1
            elif pop and not push:
                count.next = count - 1

    return ready, transfers, memory, control
