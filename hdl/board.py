"""A board: an accelerator behind a UART, by packets.

    rx -> receiver -> byte_queue -> unpack -> accelerator -> pack -> transmitter -> tx

The host sends packets: a type, the number of bytes of the payload (4 bytes, the least significant
first), the payload. Types are ``CONFIG`` (an image, words of 32 bits, the least significant byte
first), ``FRAME`` and ``FIRST_FRAME`` (a frame, which continues an utterance or starts one) and
``QUERY`` (no payload). With ``MORE`` added, another packet continues the image or frame. A payload
of whole words is the sender's duty. The board answers a QUERY
after all packets before it were taken in, so that is how a host keeps from sending more than the
board has room for. An answer is a tag and a payload of a fixed length: ``RESULT`` and
``LAST_RESULT`` (a word of m_axis), ``STATUS`` (the accelerator's status; flags ``OVERRUN`` and
``UNKNOWN``; bytes of a word of s_axis and of m_axis; log2 of the bytes that there is room for).

A break on the line (rx low for longer than a byte) resets everything.
"""

from myhdl import Signal, always, always_comb, block, concat, intbv, modbv

from hdl.arith import MEMORY_LATENCY, bit, bits, memory
from hdl.stream import AxiStream, Stream

CONFIG, QUERY, FRAME, FIRST_FRAME = 1, 2, 4, 5
MORE = 128
HEADER = 5
"""Bytes of a packet before its payload."""
RESULT, LAST_RESULT, STATUS = 0, 1, 2
STATUS_BYTES = 5
OVERRUN, UNKNOWN = 1, 2
"""Flags: a byte came and there was no room; a packet's type is unknown and it was dropped."""


@block
def receiver(clk, rst, rx, o, broken, overrun, divider):
    """Bytes from a line: a start bit, 8 bits, the least significant first, a stop bit.

    The bits are sampled in their middles: a sender may be 4 % faster or slower.

    Ports
        rx : the line, not synchronous
        o : Stream(8)
        broken : for a cycle, there was no stop bit; then nothing comes until rx is high
        overrun : for a cycle, a byte came before o took the one before it, and replaced that
        divider : cycles of a bit, 8 or more
    """
    if divider < 8:
        raise ValueError(f"divider of {divider} cycles a bit: must be 8 or more")
    to_middle, to_next = divider // 2 - 2, divider - 1
    start, stop, stuck = 1, 10, 11
    early, line = bit(), bit()
    left = Signal(intbv(0, min=0, max=divider))
    place = bits(4)
    data = bits(8)

    @always(clk.posedge)
    def synchronise():
        early.next = rx
        line.next = early

    @always(clk.posedge)
    def receive():
        broken.next = 0
        overrun.next = 0
        if rst:
            place.next = 0
            o.valid.next = 0
        else:
            if o.ready:
                o.valid.next = 0
            if place == 0:
                left.next = to_middle
                if not line:
                    place.next = start
            elif place == stuck:
                if line:
                    place.next = 0
            elif left != 0:
                left.next = left - 1
            else:
                left.next = to_next
                if place == stop:
                    if line:
                        place.next = 0
                        o.data.next = data
                        o.valid.next = 1
                        if o.valid and not o.ready:
                            overrun.next = 1
                    else:
                        place.next = stuck
                        broken.next = 1
                elif place == start and line:
                    place.next = 0
                else:
                    place.next = place + 1
                    data.next = concat(line, data[8:1])

    return synchronise, receive


@block
def transmitter(clk, rst, i, tx, divider):
    """Bytes to a line, as :func:`receiver` takes them.

    Latency
        10 bits of ``divider`` cycles a byte; the start bit begins 2 cycles after the transfer.

    Ports
        i : Stream(8)
        tx : the line
    """
    to_next = divider - 1
    left = Signal(intbv(0, min=0, max=divider))
    waiting = bits(4)
    data = bits(9)
    ready = bit()

    @always_comb
    def accept():
        i.ready.next = ready

    @always(clk.posedge)
    def send():
        if rst:
            tx.next = 1
            waiting.next = 0
            left.next = 0
            ready.next = 0
        elif ready:
            if i.valid:
                ready.next = 0
                data.next = concat(i.data, intbv(0)[1:])
                waiting.next = 10
                left.next = 0
        elif left != 0:
            left.next = left - 1
        elif waiting == 0:
            ready.next = 1
        else:
            left.next = to_next
            waiting.next = waiting - 1
            tx.next = data[0]
            data.next = concat(intbv(1)[1:], data[9:1])

    return accept, send


@block
def byte_queue(clk, rst, i, o, depth):
    """Bytes leave in the order in which they came, one in 4 cycles: a line is slower than that.

    Ports
        i, o : Stream(8)
        depth : a power of two; there is room for depth bytes
    """
    if depth < 2 or depth & (depth - 1):
        raise ValueError(f"queue of {depth} bytes: the depth must be a power of two, 2 or more")
    index = depth.bit_length() - 1
    write, read = (Signal(modbv(0)[index + 1 :]) for _ in range(2))
    w_address, r_address = bits(index), bits(index)
    full, empty, push, valid = (bit() for _ in range(4))
    pause = Signal(intbv(0, min=0, max=MEMORY_LATENCY + 1))

    @always_comb
    def compare():
        empty.next = write == read
        full.next = (write[index:] == read[index:]) and (write[index] != read[index])

    @always_comb
    def transfers():
        i.ready.next = not full
        push.next = i.valid and not full
        o.valid.next = valid
        w_address.next = write[index:]
        r_address.next = read[index:]

    @always(clk.posedge)
    def control():
        if rst:
            write.next = 0
            read.next = 0
            pause.next = MEMORY_LATENCY
            valid.next = 0
        else:
            if push:
                write.next = write + 1
            if valid:
                if o.ready:
                    valid.next = 0
                    read.next = read + 1
                    pause.next = MEMORY_LATENCY
            elif not empty:
                if pause == 0:
                    valid.next = 1
                else:
                    pause.next = pause - 1

    storage = memory(clk, push, w_address, i.data, r_address, o.data, depth)
    return compare, transfers, control, storage


@block
def unpack(clk, rst, i, config, s_axis, query, answered, unknown):
    """Packets to the accelerator's streams; takes a packet when those before it were taken.

    Ports
        i : Stream(8)
        config : AxiStream(32)
        s_axis : AxiStream of whole bytes, TUSER of a bit: FIRST_FRAME
        query : high until ``answered`` is, for a cycle
        unknown : since the reset there was a packet of an unknown type
    """
    frame_bytes, word_bytes = len(s_axis.tdata) // 8, 4
    frame_line, word_line = 8 * frame_bytes + 8, 8 * word_bytes + 8
    length, payload = 1, 5
    place = bits(3)
    kind = bits(7)
    left = bits(32)
    last, more, ends = bit(), bit(), bit()
    count = Signal(intbv(0, min=0, max=max(word_bytes, frame_bytes)))
    word, beat = bits(word_line), bits(frame_line)  # a byte longer, so that a word may be a byte
    word_full, beat_full, word_valid, beat_valid, asks = (bit() for _ in range(5))
    ready, took, waits = bit(), bit(), bit()

    @always_comb
    def ports():
        config.tdata.next = word[word_line:8]
        config.tvalid.next = word_valid
        config.tlast.next = ends
        s_axis.tdata.next = beat[frame_line:8]
        s_axis.tvalid.next = beat_valid
        s_axis.tlast.next = ends
        s_axis.tuser.next = kind[1:]
        query.next = asks
        i.ready.next = ready
        waits.next = took or word_valid or beat_valid or asks

    @always(clk.posedge)
    def take():
        # after a byte comes a cycle, `took`, in which `last` is found; then what it completed
        last.next = left == 0
        ends.next = (left == 0) and not more
        ready.next = 0
        took.next = 0
        word_full.next = 0
        beat_full.next = 0
        if rst:
            place.next = 0
            word_valid.next = 0
            beat_valid.next = 0
            asks.next = 0
            unknown.next = 0
        elif ready and i.valid:
            took.next = 1
            if place == 0:
                kind.next = i.data[7:]
                more.next = i.data[7]
                place.next = length
                count.next = 0
            elif place != payload:
                left.next = concat(i.data, left[32:8])
                place.next = place + 1
            else:
                left.next = left - 1
                if kind == CONFIG:
                    word.next = concat(i.data, word[word_line:8])
                    if count == word_bytes - 1:
                        count.next = 0
                        word_full.next = 1
                    else:
                        count.next = count + 1
                elif kind == FRAME or kind == FIRST_FRAME:
                    beat.next = concat(i.data, beat[frame_line:8])
                    if count == frame_bytes - 1:
                        count.next = 0
                        beat_full.next = 1
                    else:
                        count.next = count + 1
        else:
            if word_full:
                word_valid.next = 1
            elif config.tready:
                word_valid.next = 0
            if beat_full:
                beat_valid.next = 1
            elif s_axis.tready:
                beat_valid.next = 0
            if answered:
                asks.next = 0
            if not waits:
                if place == payload and last:
                    place.next = 0
                    if kind == QUERY:
                        asks.next = 1
                    elif kind != CONFIG and kind != FRAME and kind != FIRST_FRAME:
                        unknown.next = 1
                else:
                    ready.next = not ready

    return ports, take


@block
def pack(clk, rst, m_axis, query, answered, facts, o):
    """Results and, first, answers to queries as tagged bytes.

    Ports
        m_axis : AxiStream of whole bytes
        query, answered : asks for the facts; they are taken
        facts : ``STATUS_BYTES`` bytes
        o : Stream(8)
    """
    width, facts_bits = len(m_axis.tdata), len(facts)
    words = width // 8 + 1
    line = bits(8 + max(width, facts_bits))
    total = len(line)
    left = Signal(intbv(0, min=0, max=total // 8 + 1))
    idle, taken, valid, shift = (bit() for _ in range(4))

    @always_comb
    def ports():
        o.valid.next = valid
        o.data.next = line[8:]

    @always_comb
    def choose():
        answered.next = query and idle
        taken.next = m_axis.tvalid and idle and not query
        m_axis.tready.next = idle and not query

    @always(clk.posedge)
    def send():
        shift.next = 0
        if rst:
            left.next = 0
            valid.next = 0
            idle.next = 0
        elif answered:
            line.next = concat(facts, intbv(STATUS)[8:])
            left.next = STATUS_BYTES + 1
            idle.next = 0
        elif taken:
            line.next = concat(m_axis.tdata, intbv(0)[7:], m_axis.tlast)
            left.next = words
            idle.next = 0
        elif valid:
            if o.ready:
                valid.next = 0
                shift.next = 1
        elif shift:
            line.next = line[total:8]
            left.next = left - 1
        elif left != 0:
            valid.next = 1
        else:
            idle.next = 1

    return ports, choose, send


@block
def board(
    clk,
    reset_n,
    rx,
    tx,
    leds,
    accelerator,
    parameters,
    input_bytes,
    output_bytes,
    divider,
    depth=1024,
):
    """An accelerator behind a UART.

    Ports
        reset_n : not synchronous, active low
        rx, tx : the line, 8N1
        leds : 8 bits, the accelerator's status

    Parameters
        accelerator : a block (clk, rst, config, s_axis, m_axis, status, **parameters) as
            :func:`hdl.accelerator.accelerator`
        input_bytes, output_bytes : of a word of s_axis and m_axis
        divider : cycles of a bit of the line
        depth : bytes that may wait, a power of two
    """
    config = AxiStream(32)
    s_axis, m_axis = AxiStream(8 * input_bytes, user=1), AxiStream(8 * output_bytes)
    status = bits(8)
    received, queued, answers = (Stream(8) for _ in range(3))
    early, off, rst, broken, overrun, lost, unknown = (bit() for _ in range(7))
    query, answered = bit(), bit()
    facts = bits(8 * STATUS_BYTES)
    geometry = (depth.bit_length() - 1) << 16 | output_bytes << 8 | input_bytes

    @always(clk.posedge)
    def reset():
        early.next = not reset_n
        off.next = early
        rst.next = off or broken

    @always(clk.posedge)
    def remember():
        if rst:
            lost.next = 0
        elif overrun:
            lost.next = 1

    @always_comb
    def collect():
        facts.next = concat(intbv(geometry)[24:], intbv(0)[6:], unknown, lost, status)

    @always(clk.posedge)
    def show():
        leds.next = status

    return (
        reset,
        remember,
        collect,
        show,
        receiver(clk, off, rx, received, broken, overrun, divider),
        byte_queue(clk, rst, received, queued, depth),
        unpack(clk, rst, queued, config, s_axis, query, answered, unknown),
        accelerator(clk, rst, config, s_axis, m_axis, status, **parameters),
        pack(clk, rst, m_axis, query, answered, facts, answers),
        transmitter(clk, rst, answers, tx, divider),
    )
