"""The circulant core: whole networks from a program, frame by frame.

    i -> FFT -> operands -> spectrum memory -> lanes -> PEs -> rows -> row memory -> cells -> o
          ^                                                                            |
          +----------------------------------------------------------------------------+

The PEs stand in groups along a chain of registers: a group works a cycle after the one before it,
and so the groups' sums leave one after another, without a queue. They are rounded, transformed back
and kept as rows; the cells take them from there when they have all that they need. What the cells
give goes through the FFT again, and out. :mod:`hdl.program` says what is where,
:mod:`hdl.control` when.
"""

from types import SimpleNamespace

from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl.arith import bit, bits, cut_bits, delay_bits, join, low_bits, wire
from hdl.config import GATES, PEEPHOLES, address_bits
from hdl.control import Fields, Position, delay_control, fetch, frame_number, settings
from hdl.delays import bus_delay, rows_delay, sums_delay
from hdl.matrix_sequencer import MatrixCommand, RowTags, matrix_sequencer
from hdl.pe import Bus, Load, gather, pe_group, row
from hdl.program import (
    Units,
    cell_fields,
    load_address_bits,
    load_data_bits,
    matrix_fields,
    settings_fields,
)
from hdl.slices import Given, cells
from hdl.spectra import spectra
from hdl.stream import Stream, fifo


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
    row_sums = [bits(cfg.sums_bits) for _ in range(cfg.drain)]

    @always_comb
    def first_bus():
        bus.operands.next = operand_bus
        bus.address.next = command.weight
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
