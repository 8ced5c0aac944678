"""From the blocks of the input and of the cells to the operands of the columns.

blocks -> FFT -> operands -> F copies of the spectrum memory, W banks each -> F lanes
"""

from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl.arith import bit, bits, cut_bits, hold, join, later, memory, ram
from hdl.config import address_bits
from hdl.control import Position, advance, delay_control
from hdl.delays import spectrum_delay
from hdl.fft import rfft
from hdl.module import module
from hdl.pe import operands

# a module of its own where the core is converted
rfft = module(rfft.func)


@block
def spectra(
    clk,
    rst,
    i,
    given,
    op,
    release,
    command,
    operand_bus,
    written,
    x_complete,
    x_first,
    entered,
    inside,
    sizes,
    cfg,
):
    """From the blocks of the input and of the cells to the operands of the columns.

    Ports
        i : the input stream
        given, op : what the cells give, and their operation
        release : the input has been read for the last time
        command : MatrixCommand
        operand_bus : of the command's columns, ``bus_delay(cfg)`` cycles after it
        written, x_complete, x_first : as of :func:`hdl.matrix_sequencer.matrix_sequencer`
        entered, inside : an input of all streams is in; a frame is half in
    """
    W, delay = cfg.slices, spectrum_delay(cfg)
    alignment, place_bits = max(W, cfg.fold), len(written.place)
    x_at, h_at = Position(place_bits, 1), Position(place_bits, 1)
    accepted, end, complete, whole, of_cells, produced = (bit() for _ in range(6))
    x, x_end, x_all, h, h_end, h_all = (bit() for _ in range(6))  # at the write
    h_soon, h_end_soon, h_all_soon = (bit() for _ in range(3))  # a cycle before
    entering = [bits(cfg.block_bits) for _ in range(W)]
    operand_words = [bits(cfg.operand_bits) for _ in range(W)]

    @always_comb
    def of_output():
        of_cells.next = given.valid and op.spectrum
        produced.next = given.last and op.produced
        whole.next = end and complete

    @always_comb
    def announce():
        x_complete.next = x and x_all
        entered.next = whole

    tags = [
        delay_control(clk, rst, accepted, x, 1 + delay),
        delay_control(clk, rst, end, x_end, 1 + delay),
        delay_control(clk, rst, whole, x_all, 1 + delay),
        delay_control(clk, rst, of_cells, h_soon, delay),
        delay_control(clk, rst, given.last, h_end_soon, delay),
        delay_control(clk, rst, produced, h_all_soon, delay),
        delay_control(clk, rst, h_soon, h, 1),
        delay_control(clk, rst, h_end_soon, h_end, 1),
        delay_control(clk, rst, h_all_soon, h_all, 1),
    ]
    counts = [
        advance(clk, rst, x, x_end, x_all, x_at, 0, 1, alignment),
        advance(clk, rst, h, h_end, h_all, h_at, sizes.first_column, W, alignment),
        advance(
            clk, rst, h_soon, h_end_soon, h_all_soon, written, sizes.first_column, W, alignment
        ),
    ]
    transforms = [
        transform(clk, given.valid, given.blocks[w], i, entering[w], operand_words[w], cfg)
        for w in range(W)
    ]
    stored = spectrum_memory(clk, x, x_at, h, h_at, operand_words, command, operand_bus, cfg)
    return (
        of_output,
        announce,
        tags,
        counts,
        transforms,
        stored,
        intake(
            clk,
            rst,
            i,
            given.valid_soon,
            release,
            accepted,
            end,
            complete,
            inside,
            x_first,
            sizes,
            cfg.relaxed,
        ),
    )


@block
def transform(clk, of_cells, h, i, x, operand_word, cfg):
    """A slice's way from a block to its operands: ``1 + spectrum_delay(cfg)`` cycles.

    Ports
        of_cells : take the cells' block h, else that of the input
        x : the block at the FFT
    """
    A, k = cfg.activation, cfg.block_size
    spectrum = bits(k * cfg.input_spectrum_length)
    words_h = [bits(A) for _ in range(k)]
    narrowed = bits(cfg.block_bits)

    @always(clk.posedge)
    def select():
        if of_cells:
            x.next = narrowed
        else:
            x.next = i.data

    return (
        [cut_bits(h, word, n * cfg.row_length, A) for n, word in enumerate(words_h)],
        join(words_h, narrowed),
        select,
        rfft(clk, x, spectrum, k, A, cfg.relaxed),
        operands(clk, spectrum, operand_word, cfg),
    )


@block
def spectrum_memory(clk, x, x_at, h, h_at, operand_words, command, operand_bus, cfg):
    """The operands of all columns: a copy for each lane, in W banks.

    Ports
        x, x_at, h, h_at : writes an input's column into its bank, or W columns into all
        operand_words : of each bank
        command : MatrixCommand
        operand_bus : of the command's columns, ``bus_delay(cfg)`` cycles after it
    """
    W, low = cfg.slices, cfg.slices.bit_length() - 1
    column_bits = address_bits(cfg.column_depth)
    length = max(1, column_bits - low)
    address = bits(1 + length)
    top = low + length
    enables = [bit() for _ in range(W)]

    @always_comb
    def place():
        if h:
            address.next = concat(h_at.frame[0], h_at.place[top:low])
        else:
            address.next = concat(x_at.frame[0], x_at.place[top:low])

    lanes = [bits(cfg.operand_bits) for _ in range(cfg.fold)]
    return (
        place,
        [bank_enable(x, x_at.place, h, enables[w], w, low) for w in range(W)],
        [
            spectrum_lane(
                clk,
                enables,
                address,
                operand_words,
                command.half,
                command.columns[n],
                command.clear[n],
                lanes[n],
                length,
                cfg,
            )
            for n in range(cfg.fold)
        ],
        join(lanes, operand_bus),
    )


@block
def bank_enable(x, place, h, enable, bank, low):
    """Whether a bank is written. No register."""
    if low == 0:

        @always_comb
        def one():
            enable.next = x or h

        return one

    @always_comb
    def decide():
        enable.next = h or (x and place[low:] == bank)

    return decide


@block
def spectrum_lane(
    clk, enables, w_address, operand_words, half, column, clear, operand_word, length, cfg
):
    """A lane's copy of the spectrum memory: W banks, and the choice among them."""
    W, low = cfg.slices, cfg.slices.bit_length() - 1
    top = low + length
    wide = bits(top)
    r_address, zero = bits(1 + length), bit()
    banks = [bits(cfg.operand_bits) for _ in range(W)]

    @always_comb
    def extend():
        wide.next = column

    @always_comb
    def place():
        r_address.next = concat(half, wide[top:low])

    read = memory if cfg.relaxed else ram
    column_then, clear_then = later([column, clear], cfg.relaxed)

    @always(clk.posedge)
    def keep():
        zero.next = clear_then

    return (
        extend,
        place,
        hold(clk, [column, clear], [column_then, clear_then], cfg.relaxed),
        keep,
        [
            read(clk, enables[w], w_address, operand_words[w], r_address, banks[w], 2 << length)
            for w in range(W)
        ],
        choose(clk, banks, column_then, zero, operand_word, low),
    )


@block
def choose(clk, banks, column, zero, chosen, low):
    """The bank that the column of the cycle before is in, or zero, a cycle later."""
    if low == 0:
        (only,) = banks

        @always(clk.posedge)
        def pass_on():
            if zero:
                chosen.next = 0
            else:
                chosen.next = only

        return pass_on

    half = len(banks) // 2
    if half == 1:
        even, odd = banks
        bank = bits(low)

        @always(clk.posedge)
        def follow():
            bank.next = column[low:]

        @always(clk.posedge)
        def select():
            if zero:
                chosen.next = 0
            elif bank == 0:
                chosen.next = even
            else:
                chosen.next = odd

        return follow, select

    first, second, third, fourth = banks
    bank = bits(low)

    @always(clk.posedge)
    def follow_four():
        bank.next = column[low:]

    @always(clk.posedge)
    def select_four():
        if zero:
            chosen.next = 0
        elif bank == 0:
            chosen.next = first
        elif bank == 1:
            chosen.next = second
        elif bank == 2:
            chosen.next = third
        else:
            chosen.next = fourth

    return follow_four, select_four


@block
def intake(clk, rst, i, blocked, release, accepted, end, complete, inside, x_first, sizes, relaxed):
    """Let an input frame in when half a spectrum memory is free for it.

    Relaxed, a block comes every other cycle at most.

    Ports
        i : stream of blocks
        blocked : the FFT takes something else; relaxed, in the next cycle
        release : the PEs have read an input for the last time
        accepted, end : a block enters, a frame's last one
        complete : with ``end``, the frames of all streams are in
        inside : a frame is half in
        x_first : as of :func:`hdl.matrix_sequencer.matrix_sequencer`
        sizes : the settings
    """
    free = Signal(intbv(2, min=0, max=4))
    place, stream = bits(len(sizes.input_blocks)), bits(len(sizes.streams))
    is_open, stream_end, take, odd = (bit() for _ in range(4))

    if relaxed:

        @always(clk.posedge)
        def gate():
            is_open.next = free != 0 and not blocked and not rst and not accepted
    else:

        @always_comb
        def gate():
            is_open.next = free != 0 and not blocked and not rst

    @always_comb
    def handshake():
        i.ready.next = is_open
        accepted.next = i.valid and is_open

    @(always(clk.posedge) if relaxed else always_comb)
    def ends():
        stream_end.next = place == sizes.input_blocks
        complete.next = place == sizes.input_blocks and stream == sizes.streams

    @always_comb
    def whole():
        end.next = accepted and stream_end
        take.next = accepted and complete

    @always(clk.posedge)
    def count():
        if rst:
            place.next = 0
            stream.next = 0
            inside.next = 0
        elif accepted:
            inside.next = not stream_end
            if stream_end:
                place.next = 0
                if complete:
                    stream.next = 0
                else:
                    stream.next = stream + 1
            else:
                place.next = place + 1

    @always(clk.posedge)
    def utterances():
        if rst:
            odd.next = 1
        elif take:
            odd.next = not odd
        if end and odd:
            x_first.odd.next[stream] = i.first
        elif end:
            x_first.even.next[stream] = i.first

    @always(clk.posedge)
    def halves():
        if rst:
            free.next = 2
        elif take and not release:
            free.next = free - 1
        elif release and not take:
            free.next = free + 1

    return gate, handshake, ends, whole, count, utterances, halves
