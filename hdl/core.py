"""The circulant core: whole networks from a program, frame by frame.

    i -> FFT -> operands -> spectrum memory -> lanes -> PEs -> rows -> row memory -> cells -> o
          ^                                                                            |
          +----------------------------------------------------------------------------+

The PEs stand in groups along a chain of registers: a group works a cycle after the one before it,
and so the groups' sums leave one after another, without a queue. They are rounded, transformed back
and kept as rows; the cells take them from there when they have all that they need. What the cells
give goes through the FFT again, and out. :mod:`hdl.program` says what is where,
:mod:`hdl.sequencer` when.
"""

from types import SimpleNamespace

from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl.arith import (
    MEMORY_LATENCY,
    bit,
    bits,
    cut,
    cut_bits,
    hold,
    join,
    later,
    memory,
    ram,
    register,
    split,
    wire,
    word,
    words,
)
from hdl.cell import (
    BIAS_LEAD,
    STATE_LEAD,
    cell_state_latency,
    gru_lane,
    gru_latency,
    linear_lane,
    linear_latency,
    lstm_lane,
    lstm_latency,
)
from hdl.config import GATES, PEEPHOLES, address_bits
from hdl.fft import fft_latency, rfft
from hdl.formats import Format, limits
from hdl.module import module
from hdl.pe import (
    GROUP_LATENCY,
    OPERANDS_LATENCY,
    WEIGHT_LEAD,
    Bus,
    Load,
    gather,
    gather_latency,
    operands,
    pe_group,
    row,
    row_latency,
)
from hdl.program import (
    Kind,
    Units,
    cell_fields,
    load_address_bits,
    load_data_bits,
    matrix_fields,
    settings_fields,
)
from hdl.sequencer import (
    CellCommand,
    Fields,
    MatrixCommand,
    Position,
    RowTags,
    advance,
    cell_sequencer,
    delay_control,
    fetch,
    frame_number,
    intake,
    matrix_sequencer,
    settings,
)
from hdl.stream import Stream, fifo

# modules of their own where the core is converted
rfft, lstm_lane, gru_lane, linear_lane = (
    module(b.func) for b in (rfft, lstm_lane, gru_lane, linear_lane)
)

LINEAR, LSTM, GRU = int(Kind.LINEAR), int(Kind.LSTM), int(Kind.GRU)

ROWS_DELAY = MEMORY_LATENCY + STATE_LEAD
"""Cycles from a cell command to the pre-activations at the lanes."""


def bus_delay(cfg):
    """Cycles from a matrix command to the operand bus of the first group."""
    return MEMORY_LATENCY + cfg.relaxed


def row_lead(cfg):
    """Cycles from a cell command to the read of its rows."""
    return STATE_LEAD - cfg.relaxed


def load_delay(cfg):
    """Cycles from a loaded word to the last of the memories."""
    return cfg.groups + 4


def sums_delay(cfg):
    """Cycles from a row's last command to its sums, all groups together, at :func:`row`."""
    return bus_delay(cfg) + GROUP_LATENCY + gather_latency(cfg.groups)


def rows_delay(cfg):
    """Cycles from a row's last command to its write into the row memory."""
    return sums_delay(cfg) + row_latency(cfg)


def unit_latency(kind, cfg):
    """Cycles from pre-activations to what the lanes of a kind give."""
    return {LINEAR: linear_latency, LSTM: lstm_latency, GRU: gru_latency}[kind](cfg)


def lane_latency(kind, cfg):
    """Cycles from pre-activations to results: relaxed, the choice among the kinds takes one."""
    return unit_latency(kind, cfg) + cfg.relaxed


def kinds(cfg):
    """What the core has lanes for."""
    return [LINEAR] + [LSTM] * ("lstm" in cfg.cells) + [GRU] * ("gru" in cfg.cells)


def spectrum_delay(cfg):
    """Cycles from a block at the FFT to the write of its operands."""
    return fft_latency(cfg.block_size, cfg.relaxed) + OPERANDS_LATENCY


class Fresh:
    """The streams that start an utterance, in the frames of even and of odd number."""

    def __init__(self, cfg):
        self.even, self.odd = bits(cfg.streams), bits(cfg.streams)


class Loaded:
    """What is loaded, registered: an enable for each memory, and the PEs' chain."""

    def __init__(self, cfg):
        units = Units(cfg)
        self.pes = Load(cfg)
        self.address = bits(load_address_bits(cfg))
        self.data = bits(load_data_bits(cfg))
        self.enables = [bit() for _ in range(cfg.n_pe, units.count)]
        self.biases = [
            [self.enables[units.bias(w, n) - cfg.n_pe] for n in range(GATES)]
            for w in range(cfg.slices)
        ]
        peepholes = PEEPHOLES if "peephole" in cfg.cells else 0
        self.peepholes = [
            [self.enables[units.peephole(w, n) - cfg.n_pe] for n in range(peepholes)]
            for w in range(cfg.slices)
        ]
        self.matrix = self.enables[units.matrix - cfg.n_pe]
        self.cell = self.enables[units.cell - cfg.n_pe]
        self.settings = self.enables[units.settings - cfg.n_pe]


class Rows:
    """A row group on its way into the row memory: a block for each of the 4 W lanes."""

    def __init__(self, cfg):
        self.enable = bit()
        self.address = bits(1 + address_bits(cfg.row_depth))
        self.blocks = [bits(cfg.row_bits) for _ in range(cfg.drain)]


class Given:
    """A cell block in each slice, as the lanes give it: ``last`` of its operation.

    Relaxed, ``valid_soon`` and ``last_soon`` tell of it a cycle before; else they are the same.
    """

    def __init__(self, cfg):
        self.valid, self.last = bit(), bit()
        self.valid_soon, self.last_soon = later([self.valid, self.last], cfg.relaxed)
        self.blocks = [bits(cfg.row_bits) for _ in range(cfg.slices)]


@block
def core(clk, rst, load, enable, coming, busy, frame_blocks, i, o, cfg):
    """A network, for as many frames as are streamed in.

    Equals ``run`` of the integer model that the program was compiled from bit for bit, utterance
    after utterance.

    Latency, resources
        :mod:`hdl.schedule` has the cycles. R PEs, 4 W row ends, W FFTs and W k cell lanes, whose
        DSPs are all that there are.

    Ports
        rst : synchronous, active high; what was loaded stays
        load : Load; words come while enable, coming and busy are low
        enable : a program is there, for :func:`load_delay` cycles at least
        coming : a frame is about to come; without a program none may
        busy : frames are inside
        i : BlockStream(cfg)
        o : GroupStream(cfg)
        frame_blocks : blocks of an input frame, less one
    """
    hold, entered, inside, popped = (bit() for _ in range(4))
    loaded, sizes = Loaded(cfg), Fields(settings_fields(cfg))
    command, tags, fresh, x_first = MatrixCommand(cfg), RowTags(cfg), Fresh(cfg), Fresh(cfg)
    written = Position(1 + address_bits(cfg.column_depth), 1)
    cell_frame, cell_op = frame_number(1), Fields(cell_fields(cfg))
    rows, given = Rows(cfg), Given(cfg)
    operand_bus = bits(cfg.fold * cfg.operand_bits)
    x_complete, release = bit(), bit()
    return (
        occupancy(clk, rst, enable, coming, entered, inside, popped, o, busy, hold, sizes, cfg),
        load_port(clk, load, loaded, cfg),
        wire(sizes.input_blocks, frame_blocks),
        settings(clk, loaded.settings, loaded.data, sizes, settings_fields(cfg)),
        spectra(
            clk,
            hold,
            i,
            given,
            cell_op,
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
        ),
        matrix(
            clk,
            hold,
            loaded,
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
        ),
        products(clk, hold, loaded, command, operand_bus, tags, rows, cfg),
        cells(clk, hold, loaded, tags, rows, fresh, cell_frame, cell_op, given, cfg),
        output(clk, hold, given, cell_op, o, popped, cfg),
    )


@block
def occupancy(clk, rst, enable, coming, entered, inside, popped, o, busy, hold, sizes, cfg):
    """Whether frames are inside; without a program and without frames the core is held in reset."""
    most = cfg.fifo_depth + 4 * cfg.streams
    count = Signal(intbv(0, min=0, max=most + 1))
    come, gone, waiting, empty = (bit() for _ in range(4))
    relaxed = cfg.relaxed

    @(always(clk.posedge) if cfg.relaxed else always_comb)
    def look():
        come.next = entered and not rst
        gone.next = popped and o.last and not rst
        empty.next = not enable and not coming and count == 0 and not inside and not waiting

    @always(clk.posedge)
    def track():
        if rst:
            count.next = 0
        elif come and gone:
            count.next = count + sizes.streams
        elif come:
            count.next = count + sizes.streams + 1
        elif gone:
            count.next = count - 1

    @always_comb
    def compare():
        waiting.next = relaxed and come  # not yet counted
        busy.next = count != 0 or inside or waiting
        hold.next = rst or empty

    return look, track, compare


@block
def load_port(clk, load, loaded, cfg):
    """Register what is loaded, and select the memory that takes it."""
    units = Units(cfg)
    valid, unit = bit(), bits(len(load.unit))
    address, data = bits(len(load.address)), bits(len(load.data))
    pes, n_pe = loaded.pes, cfg.n_pe
    pe_address_bits, pe_data_bits = len(pes.address), len(pes.data)

    @always(clk.posedge)
    def registers():
        valid.next = load.valid
        unit.next = load.unit
        address.next = load.address
        data.next = load.data
        loaded.address.next = address
        loaded.data.next = data

    @always(clk.posedge)
    def chain():
        pes.valid.next = valid and unit < n_pe
        pes.unit.next = unit
        pes.address.next = address[pe_address_bits:]
        pes.data.next = data[pe_data_bits:]

    selects = [
        select_unit(clk, valid, unit, enable, number)
        for number, enable in zip(range(n_pe, units.count), loaded.enables, strict=True)
    ]
    return registers, chain, selects


@block
def select_unit(clk, valid, unit, enable, number):
    """Enable follows a valid word of this unit by one cycle."""

    @always(clk.posedge)
    def compare():
        enable.next = valid and unit == number

    return compare


@block
def low_bits(wide, narrow):
    """Take the low bits of a vector. No register."""
    return cut_bits(wide, narrow, 0, len(narrow))


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
        written, x_complete, x_first : as of :func:`hdl.sequencer.matrix_sequencer`
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
def matrix(
    clk,
    rst,
    loaded,
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
    """The matrix program and its sequencer."""
    fields = matrix_fields(cfg)
    program = SimpleNamespace(take=bit(), valid=bit(), op=Fields(fields))
    address, word = bits(address_bits(cfg.program_depth)), bits(sum(fields.values()))
    return (
        low_bits(loaded.address, address),
        low_bits(loaded.data, word),
        fetch(clk, rst, loaded.matrix, address, word, program, fields, cfg.program_depth),
        matrix_sequencer(
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
        ),
    )


@block
def products(clk, rst, loaded, command, operand_bus, tags, rows, cfg):
    """From the commands to the rows: the PEs, the sums of all groups, and the rows' ends.

    Ports
        loaded : the weights
        command, tags : what to do, what comes out
        operand_bus : of the command's columns, ``bus_delay(cfg)`` cycles after it
        rows : Rows
    """
    buses = [Bus(cfg) for _ in range(cfg.groups + 1)]
    loads = [loaded.pes, *(Load(cfg) for _ in range(cfg.groups))]
    sums = [bits(cfg.drain * cfg.sums_bits) for _ in range(cfg.groups)]
    total = bits(cfg.drain * cfg.sums_bits)
    more, narrow, shift = bit(), bit(), bits(len(tags.shift))
    bus, delay, ahead = buses[0], sums_delay(cfg), bus_delay(cfg)
    (weight,) = later([command.weight], ahead - WEIGHT_LEAD)
    row_sums = [bits(cfg.sums_bits) for _ in range(cfg.drain)]

    @always_comb
    def first_bus():
        bus.operands.next = operand_bus
        bus.address.next = weight
        bus.clear.next = rst

    control = [
        delay_control(clk, rst, command.step, bus.step, ahead),
        delay_control(clk, rst, command.first, bus.first, ahead),
        delay_control(clk, rst, command.last, bus.last, ahead),
        delay_control(clk, rst, command.keep, bus.keep, ahead),
        delay_control(clk, rst, tags.more, more, delay),
        delay_control(clk, rst, tags.narrow, narrow, delay),
        delay_control(clk, rst, tags.done, rows.enable, rows_delay(cfg)),
        delay_bits(clk, tags.shift, shift, delay),
    ]
    return (
        first_bus,
        hold(clk, [command.weight], [weight], ahead - WEIGHT_LEAD),
        control,
        [
            pe_group(clk, buses[g], buses[g + 1], loads[g], loads[g + 1], sums[g], cfg)
            for g in range(cfg.groups)
        ],
        gather(clk, sums, total),
        [
            cut_bits(total, part, n * cfg.sums_bits, cfg.sums_bits)
            for n, part in enumerate(row_sums)
        ],
        [row(clk, row_sums[n], more, shift, narrow, rows.blocks[n], cfg) for n in range(cfg.drain)],
    )


@block
def cells(clk, rst, loaded, tags, rows, fresh, frame, op, given, cfg):
    """From the rows to what the cells give.

    Biases, peephole weights and states come before the rows that they meet.

    Ports
        loaded : biases and peephole weights
        tags, rows : as :func:`products` gives them
        fresh : as of :func:`hdl.sequencer.matrix_sequencer`
        frame, op : of the cells
        given : Given
    """
    fields = cell_fields(cfg)
    program = SimpleNamespace(take=bit(), valid=bit(), op=Fields(fields))
    address, word = bits(address_bits(cfg.program_depth)), bits(sum(fields.values()))
    at, soon = (Position(1 + address_bits(cfg.row_depth), 1) for _ in range(2))
    command, load, fmt = CellCommand(cfg), bit(), Format(cfg)
    end, end_soon, done_soon, stored = (bit() for _ in range(4))
    r_rows = [bits(len(rows.address)) for _ in range(GATES)]
    r_bias = bits(len(command.parameters))
    w_state, rotation = bits(len(command.state)), bits(2)
    no_bias, fresh_late = bit(), bit()
    place_bits = len(rows.address) - 1
    used = kinds(cfg)
    cooling = ROWS_DELAY + 1 + max(lane_latency(kind, cfg) for kind in used)
    before_read = row_lead(cfg) + 1
    before_write = rows_delay(cfg) - before_read  # so early is a row announced

    @always_comb
    def place():
        rows.address.next = concat(at.frame[0], at.place[place_bits:])

    @always(clk.posedge)
    def clear_memories():
        fresh_late.next = command.fresh
        no_bias.next = not op.biased

    valids = {kind: bit() for kind in used}
    lasts = {kind: bit() for kind in used}
    stores = {kind: bit() for kind in used if kind != LINEAR}
    control = []
    for kind in used:
        of_kind, last_of_kind = bit(), bit()
        latency = ROWS_DELAY + unit_latency(kind, cfg)
        control += [
            select_kind(command, op, of_kind, last_of_kind, kind),
            delay_control(clk, rst, of_kind, valids[kind], latency),
            delay_control(clk, rst, last_of_kind, lasts[kind], latency),
        ]
        if kind == LSTM:
            latency = ROWS_DELAY + cell_state_latency(cfg)
            control.append(delay_control(clk, rst, of_kind, stores[kind], latency))
        elif kind == GRU:
            control.append(delay_control(clk, rst, of_kind, stores[kind], latency))
    control += [
        any_of(list(valids.values()), given.valid_soon),
        any_of(list(lasts.values()), given.last_soon),
        delay_control(clk, rst, tags.end, end_soon, before_write),
        delay_control(clk, rst, tags.done, done_soon, before_write),
        delay_control(clk, rst, end_soon, end, before_read),
        advance(clk, rst, rows.enable, end, end, at, 0, 1),
        advance(clk, rst, done_soon, end_soon, end_soon, soon, 0, 1),
        delay_bits(clk, command.parameters, r_bias, STATE_LEAD - BIAS_LEAD),
        delay_bits(clk, command.rotation, rotation, STATE_LEAD + 1),
        [
            row_address(clk, command.half, command.rows[n], r_rows[n], row_lead(cfg))
            for n in range(GATES)
        ],
        limits(clk, fmt, cfg),
        formats(op, fmt),
    ]
    if cfg.relaxed:
        control += [
            delay_control(clk, rst, given.valid_soon, given.valid, 1),
            delay_control(clk, rst, given.last_soon, given.last, 1),
        ]
    if stores:
        control.append(
            state_writer(clk, load, program.op, list(stores.values()), op, stored, w_state)
        )
    slices = [
        cell_slice(
            clk,
            loaded,
            loaded.biases[w],
            loaded.peepholes[w],
            rows,
            w,
            r_rows,
            rotation,
            r_bias,
            no_bias,
            command,
            fresh_late,
            stored,
            w_state,
            given.last_soon,
            op,
            fmt,
            given.blocks[w],
            cfg,
        )
        for w in range(cfg.slices)
    ]
    return (
        low_bits(loaded.address, address),
        low_bits(loaded.data, word),
        fetch(clk, rst, loaded.cell, address, word, program, fields, cfg.program_depth),
        cell_sequencer(clk, rst, program, soon, fresh, frame, command, op, load, cooling, cfg),
        place,
        clear_memories,
        control,
        slices,
    )


@block
def formats(op, fmt):
    """An operation's formats, as the lanes take them. No register."""

    @always_comb
    def wire():
        fmt.preactivation.next = op.preactivation
        fmt.cell.next = op.cell
        fmt.peephole.next = op.peephole
        fmt.sigmoid_g.next = op.sigmoid_g
        fmt.reset_before.next = op.reset_before
        fmt.reset_only.next = op.reset_only
        fmt.relu.next = op.relu
        fmt.narrow.next = op.narrow

    return wire


@block
def select_kind(command, op, valid, last, kind):
    """Whether a command is of a kind. No register."""

    @always_comb
    def compare():
        valid.next = command.valid and op.kind == kind
        last.next = command.valid and command.last and op.kind == kind

    return compare


@block
def any_of(parts, whole):
    """Whether any of up to three bits is set. No register."""
    first, last = parts[0], parts[-1]
    middle = parts[len(parts) // 2]

    @always_comb
    def union():
        whole.next = first or middle or last

    return union


@block
def state_writer(clk, load, nxt, stores, op, stored, address):
    """Where the lanes' new states go: one after another, from the operation's first on."""
    given = bit()

    @always_comb
    def decide():
        stored.next = given and op.store

    @always(clk.posedge)
    def count():
        if load:
            address.next = nxt.state
        elif stored:
            address.next = address + 1

    return any_of(stores, given), decide, count


@block
def row_address(clk, half, row, address, cycles):
    """The half and the row of a lane, ``cycles`` later."""
    joined = bits(len(address))

    @always_comb
    def join_both():
        joined.next = concat(half, row)

    return join_both, delay_bits(clk, joined, address, cycles)


@block
def cell_slice(
    clk,
    loaded,
    bias_enables,
    peephole_enables,
    rows,
    w,
    r_rows,
    rotation,
    r_bias,
    no_bias,
    command,
    fresh,
    stored,
    w_state,
    last,
    op,
    fmt,
    result,
    cfg,
):
    """The memories and the k lanes of a slice.

    Ports
        loaded, bias_enables, peephole_enables : what is loaded
        rows : the row groups that come; lanes 4 w to 4 w + 3 are this slice's
        r_rows, rotation : which rows the lanes get, and how they lie
        r_bias, no_bias : which biases; whether they are zero
        command, fresh : which peepholes and states; whether these are zero, a cycle later
        stored, w_state : the lanes give new states
        last : the lanes give the words of the operation's last blocks
        op, fmt : the operation and its formats
        result : a block of k words of cfg.row_length bits
    """
    k, depth = cfg.block_size, cfg.cell_depth
    row_bits, row_words = cfg.row_bits, 2 << (len(rows.address) - 1)
    lanes, z = [bits(row_bits) for _ in range(GATES)], [bits(row_bits) for _ in range(GATES)]
    biases = [bits(row_bits) for _ in range(GATES)]
    peepholes = [bits(k * cfg.weight) for _ in peephole_enables]
    w_parameters = bits(len(command.parameters))
    w_bias, w_peephole = bits(row_bits), bits(k * cfg.weight)
    state_length = cfg.state_length
    state, new_state = bits(k * state_length), bits(k * state_length)
    read = memory if cfg.relaxed else ram
    logic = [
        low_bits(loaded.address, w_parameters),
        low_bits(loaded.data, w_bias),
        low_bits(loaded.data, w_peephole),
        [
            read(
                clk,
                rows.enable,
                rows.address,
                rows.blocks[4 * w + n],
                r_rows[n],
                lanes[n],
                row_words,
            )
            for n in range(GATES)
        ],
        [
            rotate(clk, *(lanes[(s + t) % GATES] for t in range(GATES)), rotation, z[s])
            for s in range(GATES)
        ],
        [
            memory(clk, enable, w_parameters, w_bias, r_bias, bias, depth, no_bias)
            for enable, bias in zip(bias_enables, biases, strict=True)
        ],
        [
            memory(clk, enable, w_parameters, w_peephole, command.parameters, peephole, depth)
            for enable, peephole in zip(peephole_enables, peepholes, strict=True)
        ],
    ]
    zs, bs = ([words(k, cfg.row_length) for _ in range(GATES)] for _ in range(2))
    ps = [words(k, cfg.weight) for _ in peepholes]
    states = words(k, state_length)
    new_states = words(k, state_length)
    logic += [
        split(bus, part)
        for bus, part in zip([*z, *biases, *peepholes, state], [*zs, *bs, *ps, states], strict=True)
    ]
    results = words(k, cfg.row_length)
    partial = bit()
    for n in range(k):
        gates = [part[n] for part in (*zs, *bs)]
        logic.append(
            lane(
                clk,
                gates,
                [p[n] for p in ps],
                states[n],
                new_states[n],
                op,
                fmt,
                partial,
                results[n],
                n,
                cfg,
            )
        )
    if set(cfg.cells):
        logic += [
            join(new_states, new_state),
            memory(clk, stored, w_state, new_state, command.state, state, depth, fresh),
        ]
    return logic, join(results, result), last_of_frame(last, op, partial, w)


@block
def last_of_frame(last, op, partial, w):
    """Whether a slice gives a vector's last block, which may be ragged. No register."""

    @always_comb
    def compare():
        partial.next = last and op.blocks == w

    return compare


@block
def rotate(clk, lane0, lane1, lane2, lane3, turn, slot):
    """The lane that a slot is in, a cycle later."""

    @always(clk.posedge)
    def select():
        if turn == 0:
            slot.next = lane0
        elif turn == 1:
            slot.next = lane1
        elif turn == 2:
            slot.next = lane2
        else:
            slot.next = lane3

    return select


@block
def lane(clk, gates, peepholes, state, new_state, op, fmt, partial, result, n, cfg):
    """Word n of a cell block: the lanes of every kind beside each other, and the choice."""
    outputs, states, chosen = {LINEAR: word(cfg.row_length)}, {}, word(cfg.row_length)
    logic = [
        linear_lane(clk, gates[0], gates[GATES], outputs[LINEAR], fmt, cfg),
    ]
    if "lstm" in cfg.cells:
        outputs[LSTM], states[LSTM] = word(cfg.activation), word(cfg.cell)
        c_i = word(cfg.cell)
        extra = dict(zip(("p0", "p1", "p2"), peepholes, strict=False))
        logic += [
            cut(state, c_i, 0, cfg.cell),
            lstm_lane(clk, *gates, c_i, outputs[LSTM], states[LSTM], fmt, cfg, **extra),
        ]
    if "gru" in cfg.cells:
        outputs[GRU], h_i = word(cfg.activation), word(cfg.activation)
        states[GRU] = outputs[GRU]
        logic += [
            cut(state, h_i, 0, cfg.activation),
            gru_lane(clk, *gates, h_i, outputs[GRU], fmt, cfg),
        ]
    return (
        logic,
        choose_result(op, outputs, chosen),
        keep(clk, op, partial, chosen, result, n, cfg.relaxed),
        choose_state(op, states, new_state) if states else (),
    )


@block
def choose_result(op, outputs, result):
    """The lane's result of the operation's kind. No register."""
    linear = outputs[LINEAR]
    others = [(kind, output) for kind, output in outputs.items() if kind != LINEAR]
    if not others:
        return wire(linear, result)
    (first_kind, first), (_, last) = others[0], others[-1]

    @always_comb
    def choose():
        if op.kind == LINEAR:
            result.next = linear
        elif op.kind == first_kind:
            result.next = first
        else:
            result.next = last

    return choose


@block
def keep(clk, op, partial, word_n, kept, n, relaxed):
    """Word n of a block if it belongs to the vector, else zero. A register if relaxed."""
    if n == 0:
        return register(clk, word_n, kept) if relaxed else wire(word_n, kept)
    before = n - 1

    @(always(clk.posedge) if relaxed else always_comb)
    def clear():
        if partial and op.used <= before:
            kept.next = 0
        else:
            kept.next = word_n

    return clear


@block
def choose_state(op, states, state):
    """The new state of the operation's kind. No register."""
    if len(states) == 1:
        (only,) = states.values()
        return wire(only, state)
    lstm, gru = states[LSTM], states[GRU]

    @always_comb
    def two():
        if op.kind == LSTM:
            state.next = lstm
        else:
            state.next = gru

    return two


@block
def output(clk, rst, given, op, o, popped, cfg):
    """Queue the results; the sequencer starts no frame that finds no room.

    Ports
        given, op : as :func:`cells` gives them
        o : GroupStream(cfg)
        popped : a group leaves
    """
    length, count_bits = len(o.data), len(o.count)
    queue_i, queue_o = Stream(length + count_bits + 1), Stream(length + count_bits + 1)
    queue_o.valid, queue_o.ready = o.valid, o.ready
    blocks, real, most = bits(length), bits(count_bits), cfg.slices - 1
    last = top = length + count_bits

    @always_comb
    def push():
        queue_i.valid.next = given.valid and op.output
        real.next = most
        if given.last:
            real.next = op.blocks

    @always_comb
    def pack():
        queue_i.data.next = concat(given.last, real, blocks)

    @always_comb
    def unpack():
        o.data.next = queue_o.data[length:]
        o.count.next = queue_o.data[top:length]
        o.last.next = queue_o.data[last]
        popped.next = o.valid and o.ready

    return (
        push,
        pack,
        unpack,
        join(given.blocks, blocks),
        fifo(clk, rst, queue_i, queue_o, cfg.fifo_depth, cfg.relaxed),
    )


@block
def delay_bits(clk, d, q, cycles):
    """Delay a vector by ``cycles`` cycles; 0 is a wire."""
    if cycles == 0:
        return wire(d, q)
    if cycles == 1:
        return register(clk, d, q)
    middle = bits(len(d))
    return register(clk, d, middle), delay_bits(clk, middle, q, cycles - 1)
