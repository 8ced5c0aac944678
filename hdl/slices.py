"""The cells' side of the core: from the rows to what the cells give, in W slices of k lanes.

rows -> row memory -> rotation -> lanes of all kinds -> the operation's kind -> results
biases, peepholes, states -^
"""

from types import SimpleNamespace

from myhdl import always, always_comb, block, concat

from hdl.arith import (
    bit,
    bits,
    cut,
    delay_bit,
    delay_bits,
    join,
    later,
    low_bits,
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
    Pool,
    cell_state_latency,
    gru_lane,
    linear_lane,
    linear_latency,
    lstm_lane,
    pool_lane,
)
from hdl.cell_sequencer import CellCommand, cell_sequencer
from hdl.config import GATES, address_bits
from hdl.control import Fields, Position, advance, delay_control, fetch
from hdl.delays import (
    GRU,
    LINEAR,
    LSTM,
    ROWS_DELAY,
    kinds,
    lane_latency,
    row_lead,
    rows_delay,
    unit_latency,
)
from hdl.formats import Format, limits
from hdl.module import module
from hdl.program import cell_fields

# modules of their own where the core is converted
lstm_lane, gru_lane = module(lstm_lane.func), module(gru_lane.func)
linear_lane, pool_lane = module(linear_lane.func), module(pool_lane.func)


class Given:
    """A cell block in each slice, as the lanes give it: ``last`` of its operation.

    Relaxed, ``valid_soon`` and ``last_soon`` tell of it a cycle before; else they are the same.
    ``ragged_soon`` comes with them: it is the last of a vector or a pixel.
    """

    def __init__(self, cfg):
        self.valid, self.last = bit(), bit()
        self.valid_soon, self.last_soon = later([self.valid, self.last], cfg.relaxed)
        self.ragged_soon = bit() if cfg.images else self.last_soon
        self.blocks = [bits(cfg.row_bits) for _ in range(cfg.slices)]


@block
def cells(clk, rst, loaded, tags, rows, fresh, frame, op, given, cfg):
    """From the rows to what the cells give.

    Biases, peephole weights and states come before the rows that they meet.

    Ports
        loaded : biases and peephole weights
        tags, rows : as :func:`products` gives them
        fresh : as of :func:`hdl.matrix_sequencer.matrix_sequencer`
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
    raggeds = {kind: bit() for kind in used}
    pool = Pool()
    stores = {kind: bit() for kind in used if kind != LINEAR}
    control = []
    for kind in used:
        of_kind, last_of_kind = bit(), bit()
        latency = ROWS_DELAY + unit_latency(kind, cfg)
        if cfg.images:
            ragged = bit()
            control += [
                select_gives(command, op, of_kind, last_of_kind, ragged, kind),
                delay_control(clk, rst, ragged, raggeds[kind], latency),
            ]
        else:
            control.append(select_kind(command, op, of_kind, last_of_kind, kind))
        control += [
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
    if cfg.images:
        latency = ROWS_DELAY + linear_latency(cfg)
        control += [
            any_of(list(raggeds.values()), given.ragged_soon),
            delay_control(clk, rst, command.valid, pool.valid, latency),
            delay_bit(clk, command.first, pool.first, latency),
            pool_format(op, pool),
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
            given.ragged_soon,
            op,
            fmt,
            pool,
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
def select_gives(command, op, valid, last, ragged, kind):
    """As :func:`select_kind`, of what gives a result. No register."""

    @always_comb
    def compare():
        valid.next = command.valid and command.gives and op.kind == kind
        last.next = command.valid and command.last and op.kind == kind
        ragged.next = command.valid and command.gives and command.ragged and op.kind == kind

    return compare


@block
def pool_format(op, pool):
    """What an operation says about its pool. No register."""

    @always_comb
    def wire():
        pool.average.next = op.average
        pool.half.next = op.half
        pool.rounding.next = op.rounding

    return wire


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
    ragged,
    op,
    fmt,
    pool,
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
        ragged : the lanes give the last words of a vector or a pixel
        op, fmt, pool : the operation and its formats
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
        for bus, part in zip([*z, *biases, *peepholes], [*zs, *bs, *ps], strict=True)
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
                pool,
                partial,
                results[n],
                n,
                cfg,
            )
        )
    if cfg.cells:
        logic += [
            split(state, states),
            join(new_states, new_state),
            memory(clk, stored, w_state, new_state, command.state, state, depth, fresh),
        ]
    return logic, join(results, result), last_of_vector(ragged, op, partial, w)


@block
def last_of_vector(ragged, op, partial, w):
    """Whether a slice gives a vector's last block, which may be ragged. No register."""

    @always_comb
    def compare():
        partial.next = ragged and op.blocks == w

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
def lane(clk, gates, peepholes, state, new_state, op, fmt, pool, partial, result, n, cfg):
    """Word n of a cell block: the lanes of every kind beside each other, and the choice."""
    outputs, states, chosen = {LINEAR: word(cfg.row_length)}, {}, word(cfg.row_length)
    value = word(cfg.row_length) if cfg.images else outputs[LINEAR]
    logic = [linear_lane(clk, gates[0], gates[GATES], value, fmt, cfg)]
    if cfg.images:
        logic.append(pool_lane(clk, value, outputs[LINEAR], pool))
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
