"""Frames between AXI4-Stream and the core.

On the outside a frame is a run of words of one block each, TLAST on the last. A block's words take
whole bytes there.
"""

from myhdl import Signal, always, always_comb, block, concat, modbv

from hdl.arith import bit, bits, cut, join, queue_memory, split, wire, words
from hdl.config import address_bits
from hdl.stream import AxiStream, output_stage


def byte_bits(length):
    """Bits of the whole bytes that hold a word of ``length`` bits."""
    return -(-length // 8) * 8


def input_stream(cfg):
    """The stream that :func:`frame_input` takes."""
    return AxiStream(cfg.block_size * byte_bits(cfg.activation), user=1)


def output_stream(cfg):
    """The stream that :func:`frame_output` gives."""
    return AxiStream(cfg.block_size * byte_bits(cfg.row_length))


class BlockStream:
    """A stream of blocks of activations: ``first`` of all of a frame whose state starts anew."""

    def __init__(self, cfg):
        self.valid, self.ready, self.first, self.last = (bit() for _ in range(4))
        self.data = bits(cfg.block_bits)


class GroupStream:
    """A stream of groups of W blocks of rows; ``count`` + 1 of a frame's last group are real."""

    def __init__(self, cfg):
        self.valid, self.ready, self.last = (bit() for _ in range(3))
        self.count = bits(address_bits(cfg.slices))
        self.data = bits(cfg.slices * cfg.row_bits)


@block
def frame_input(clk, rst, s, o, enable, frame_blocks, error, coming, cfg, depth):
    """Pass whole frames of the right number of blocks to the core; drop all others.

    Latency, resources
        A frame's first block is offered 2 cycles after the transfer of its last, relaxed 3; a block
        a cycle, relaxed every other cycle. One memory of ``depth`` blocks (a power of two) with its
        output register. Frames of ``depth`` / 2 blocks at most do not wait for each other.

    Ports
        s : input_stream(cfg)   word n of a block at bits n * byte_bits(A), what is above its A
            bits does not count; TUSER[0], on a frame's first block: the state starts anew
        o : BlockStream(cfg)
        enable : words are taken; frames that came whole go on without it
        frame_blocks : blocks of a frame, minus 1, below ``depth``; it may change while ``enable``
            is low, and counts for a frame that is half in
        coming : whole frames are waiting
        error : a frame was dropped since the reset; if one was ``first``, the next frame is
    """
    if depth < 2 or depth & (depth - 1):
        raise ValueError(f"frames in {depth} blocks: the depth must be a power of two, 2 or more")
    index = address_bits(depth)
    if len(frame_blocks) > index:
        raise ValueError(f"frame_blocks of {len(frame_blocks)} bits: {depth} blocks take {index}")
    width = cfg.block_bits
    pitch = byte_bits(cfg.activation)
    parts = words(cfg.block_size, cfg.activation)
    data = bits(width)
    logic = [cut(s.tdata, part, n * pitch, cfg.activation) for n, part in enumerate(parts)]
    logic.append(join(parts, data))

    storage = [bits(width + 2) for _ in range(depth)]
    fetched, coming_in = bits(width + 2), bits(width + 2)
    # a pointer is an address, and above it the parity of its rounds
    write, written, read = (Signal(modbv(0)[index + 1 :]) for _ in range(3))
    place = Signal(modbv(0)[index:])
    room, taken, push, pop, valid = (bit() for _ in range(5))
    out_ready, out_valid = (bit(), bit()) if cfg.relaxed else (o.ready, o.valid)
    at_end, past, drop, anew, first, kept, failed = (bit() for _ in range(7))

    if cfg.relaxed:

        @always(clk.posedge)
        def places():
            at_end.next = place == frame_blocks
            past.next = place >= frame_blocks
            room.next = ((write[index:] != read[index:]) or (write[index] == read[index])) and not (
                taken or rst
            )
    else:

        @always_comb
        def places():
            at_end.next = place == frame_blocks
            past.next = place >= frame_blocks
            room.next = (write[index:] != read[index:]) or (write[index] == read[index])

    @always_comb
    def transfers():
        pop.next = (written != read) and (out_ready or not valid)
        out_valid.next = valid
        coming.next = o.valid or valid or (written != read)
        error.next = failed

    @always_comb
    def accept():
        s.tready.next = enable and (room or drop)
        taken.next = s.tvalid and enable and (room or drop)
        push.next = s.tvalid and enable and room and not drop

    @always_comb
    def frame():
        if place == 0:
            first.next = s.tuser[0] or anew
        else:
            first.next = kept

    @always_comb
    def pack():
        coming_in.next = concat(s.tlast, first, data)

    if cfg.relaxed:
        move, w_address, r_address = bit(), bits(index), bits(index)

        @always_comb
        def addresses():
            w_address.next = write[index:]
            r_address.next = read[index:]

        memory = [
            addresses,
            queue_memory(clk, push, w_address, coming_in, pop, r_address, move, fetched, depth),
            output_stage(clk, rst, out_valid, out_ready, move, o.valid, o.ready),
        ]
    else:

        @always(clk.posedge)
        def memory():
            if push:
                storage[write[index:]].next = coming_in
            if pop:
                fetched.next = storage[read[index:]]

    @always_comb
    def unpack():
        o.data.next = fetched[width:]
        o.first.next = fetched[width]
        o.last.next = fetched[width + 1]

    @always(clk.posedge)
    def give():
        if rst:
            read.next = 0
            valid.next = 0
        elif pop:
            read.next = read + 1
            valid.next = 1
        elif out_ready:
            valid.next = 0

    @always(clk.posedge)
    def take():
        if rst:
            write.next = 0
            written.next = 0
            place.next = 0
            drop.next = 0
            anew.next = 0
            failed.next = 0
        elif taken and drop:
            drop.next = not s.tlast
        elif taken and at_end and s.tlast:
            write.next = write + 1
            written.next = write + 1
            place.next = 0
            anew.next = 0
        elif taken and (past or s.tlast):
            write.next = written
            place.next = 0
            drop.next = not s.tlast
            anew.next = first
            failed.next = 1
        elif taken:
            write.next = write + 1
            place.next = place + 1

    @always(clk.posedge)
    def keep():
        if push:
            kept.next = first

    return logic, places, transfers, accept, frame, pack, memory, unpack, give, take, keep


@block
def frame_output(clk, rst, i, m, cfg):
    """Give the blocks of groups one by one; a word of a block is sign-extended to whole bytes.

    Latency, resources
        One cycle, a block a cycle; a register of a group.

    Ports
        i : GroupStream(cfg)        block 0 in the least significant bits
        m : output_stream(cfg)      TLAST on a frame's last block
    """
    length = cfg.row_bits
    whole = cfg.slices * length
    held = bits(whole)
    shifted = bits(whole)
    left, most = bits(len(i.count)), cfg.slices - 1
    valid, last, move, at_end = (bit() for _ in range(4))
    rows = words(cfg.block_size, cfg.row_length)
    extended = words(cfg.block_size, byte_bits(cfg.row_length))
    block_data = bits(length)

    @always_comb
    def transfers():
        at_end.next = left == 0
        move.next = not valid or (m.tready and (left == 0))

    @always_comb
    def ports():
        i.ready.next = move
        m.tvalid.next = valid
        m.tlast.next = last and at_end

    @always_comb
    def tap():
        block_data.next = held[length:]

    @always(clk.posedge)
    def control():
        if rst:
            valid.next = 0
        elif move:
            valid.next = i.valid
            last.next = i.last
            if i.last:
                left.next = i.count
            else:
                left.next = most
        elif m.tready:
            left.next = left - 1

    @always(clk.posedge)
    def data():
        if move:
            held.next = i.data
        elif m.tready:
            held.next = shifted

    if cfg.slices == 1:
        down = wire(held, shifted)
    else:

        @always_comb
        def down():
            shifted.next = held[whole:length]

    logic = [split(block_data, rows), join(extended, m.tdata)]
    logic += [wire(row, wide) for row, wide in zip(rows, extended, strict=True)]
    return logic, transfers, ports, tap, control, data, down
