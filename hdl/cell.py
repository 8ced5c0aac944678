"""What a layer does after the matrix product: a cell a cycle.

k lanes beside each other take a cell block. A pre-activation goes to its activation unsaturated,
since that clips; a product is rounded within the sum that it enters.

Parameters and states come before the pre-activations z, so that the sum with a bias, and with a
product of the state before, is one addition when z comes.
"""

from myhdl import always, always_comb, block

from hdl.activation import activation, activation_latency
from hdl.arith import (
    add,
    add_scaled,
    bit,
    bits,
    clip_sum,
    cut,
    delay,
    multiply,
    multiply_in,
    raised_length,
    register,
    saturate,
    saturate_sum,
    shift_left,
    shift_left_by,
    shift_round,
    subtract,
    word,
)
from hdl.formats import units
from hdl.program import POOL_BITS

STATE_LEAD = 4
"""Cycles by which the state before, and peephole weights, come before z."""

BIAS_LEAD = 2
"""Cycles by which biases come before z."""


def cell_state_latency(cfg):
    """Cycles from z to c_o of :func:`lstm_lane`: 6 or, relaxed, 13."""
    return activation_latency(cfg.relaxed) + 2 + 3 * cfg.relaxed


def lstm_latency(cfg):
    """Cycles from z to h of :func:`lstm_lane`: 12 or, relaxed, 24; with peepholes 1 or 2 more."""
    tanh_c = cell_state_latency(cfg) + activation_latency(cfg.relaxed)
    return tanh_c + 2 + cfg.relaxed + ("peephole" in cfg.cells) * (1 + cfg.relaxed)


def gru_latency(cfg):
    """Cycles from z to h_o of :func:`gru_lane`: 12 or, relaxed, 22."""
    return 2 * activation_latency(cfg.relaxed) + 4 + 2 * cfg.relaxed


def linear_latency(cfg):
    """Cycles from z to y of :func:`linear_lane`: 1 or, relaxed, 2."""
    return 1 + cfg.relaxed


POOL_LATENCY = 1
"""Cycles of :func:`pool_lane`."""


class Pool:
    """What the lanes' pools do.

    Attributes:
        valid, first: a value of a window comes, the first one.
        average: the mean of 2**rounding values, else the largest; ``half`` of its last bit.
        rounding: bits that are dropped.
    """

    def __init__(self):
        self.valid, self.first, self.average = bit(), bit(), bit()
        self.half, self.rounding = bits(POOL_BITS), bits(POOL_BITS.bit_length())


@block
def lstm_lane(
    clk,
    z0,
    z1,
    z2,
    z3,
    b0,
    b1,
    b2,
    b3,
    c_i,
    h,
    c_o,
    fmt,
    cfg,
    p0=None,
    p1=None,
    p2=None,
):
    """One LSTM cell after the matrix products.

    Equals :func:`ernn.fixed.lstm_cell` bit for bit, in any of the formats that ``cfg`` has.

    Latency, resources
        ``lstm_latency(cfg)`` cycles, a cell a cycle; 8 DSPs, 11 with peepholes.

    Ports
        z0, z1, z2, z3 : W x + U h of the gates i, f, g, o; words of cfg.row_length bits that hold
            cfg.preactivation bits
        b0, b1, b2, b3 : their biases, as z; ``BIAS_LEAD`` cycles before z
        c_i : the state before, cfg.cell bits; ``STATE_LEAD`` cycles before z
        h : the hidden state; cfg.gate
        c_o : the new state, cfg.cell bits; ``cell_state_latency(cfg)`` cycles after z
        fmt : Format(cfg), with what :func:`hdl.formats.limits` makes
        p0, p1, p2 : if ``cfg`` has peepholes, the weights of i, f and o, cfg.weight bits; zero in
            a layer without; as c_i
    """
    P, G, C = cfg.preactivation, cfg.activation, cfg.cell
    peephole = "peephole" in cfg.cells
    gate, unit = cfg.gate.fraction_length, units(cfg)
    relaxed = cfg.relaxed
    of_activation, of_state = activation_latency(relaxed), cell_state_latency(cfg)
    z, b = [word(P) for _ in range(4)], [word(P) for _ in range(4)]
    logic = [
        cut(long, short, 0, P)
        for long, short in zip((z0, z1, z2, z3, b0, b1, b2, b3), z + b, strict=True)
    ]

    # i and f see the state before; g and, until the new state is there, o do not
    if peephole:
        weight = raised_length(cfg.weight, fmt.peephole_rise)
        seen_length = max(P, weight + C - cfg.peephole_shift.high) + 2
        c_peek = word(C)
        p_i, p_f, p_o, p_late = (word(weight) for _ in range(4))
        early_i, early_f = word(seen_length), word(seen_length)
        logic += [
            register(clk, c_i, c_peek),
            raise_weight(clk, p0, p_i, fmt.peephole_rise),
            raise_weight(clk, p1, p_f, fmt.peephole_rise),
            raise_weight(clk, p2, p_o, fmt.peephole_rise),
            peek(clk, p_i, c_peek, b[0], early_i, cfg),
            peek(clk, p_f, c_peek, b[1], early_f, cfg),
        ]
    else:
        early_i, early_f = word(P), word(P)
        logic += [register(clk, b[0], early_i), register(clk, b[1], early_f)]
    early_g = word(P)
    logic.append(register(clk, b[2], early_g))

    i, f, g, o, tanh_c = (word(G) for _ in range(5))
    logic += [
        activation(clk, z[0], i, unit.gate, fmt.gate_unit, early=early_i, relaxed=relaxed),
        activation(clk, z[1], f, unit.gate, fmt.gate_unit, early=early_f, relaxed=relaxed),
        activation(clk, z[2], g, unit.g, fmt.g_unit, fmt.sigmoid_g, early=early_g, relaxed=relaxed),
    ]

    # c = f c + i g, with the fraction of f times the coarsest c; a finer c raises i g instead
    align = gate - cfg.cell_fraction.low
    c_late = word(C)
    kept, entered, aligned = word(G + C), word(2 * G), word(G + C + align)
    raised = word(raised_length(len(entered), fmt.cell_rise))
    logic += [
        delay(clk, c_i, c_late, STATE_LEAD + of_activation),
        multiply_in(clk, f, c_late, kept, 1 + relaxed),
        multiply_in(clk, i, g, entered, 1 + relaxed),
        shift_left(kept, aligned, align),
        shift_left_by(entered, raised, fmt.cell_rise),
        saturate_sum(clk, aligned, raised, c_o, gate + align, 1 + 2 * relaxed),
    ]

    # h = o tanh(c)
    o_late, tanh_late, product = word(G), word(G), word(2 * G)
    if peephole:
        seen = word(weight + C)
        b_late, sum_o, early_o = word(P), word(P + 1), word(P + 1)
        logic += [
            delay(clk, p_o, p_late, STATE_LEAD - 1 + of_state),
            multiply_in(clk, p_late, c_o, seen, 1 + relaxed),
            delay(clk, b[3], b_late, BIAS_LEAD),
            add(clk, z[3], b_late, sum_o),
            delay(clk, sum_o, early_o, of_state - 1 + relaxed),
            activation(
                clk,
                seen,
                o_late,
                unit.gate,
                fmt.gate_unit,
                early=early_o,
                shift=cfg.peephole_shift.high,
                relaxed=relaxed,
            ),
            activation(clk, c_o, tanh_c, unit.cell, fmt.cell_unit, relaxed=relaxed),
            delay(clk, tanh_c, tanh_late, 1 + relaxed),
        ]
    else:
        early_o = word(P)
        logic += [
            register(clk, b[3], early_o),
            activation(clk, z[3], o, unit.gate, fmt.gate_unit, early=early_o, relaxed=relaxed),
            delay(clk, o, o_late, of_state),
            activation(clk, c_o, tanh_late, unit.cell, fmt.cell_unit, relaxed=relaxed),
        ]
    logic += [
        multiply_in(clk, o_late, tanh_late, product, 1 + relaxed),
        shift_round(clk, product, h, gate),
    ]
    return logic


@block
def raise_weight(clk, weight, raised, rise):
    """Bring a peephole weight to where its product takes the largest shift, one cycle later."""
    shifted = word(len(raised))
    return shift_left_by(weight, shifted, rise), register(clk, shifted, raised)


@block
def peek(clk, weight, c, bias, seen, cfg):
    """Add a peephole's rounded product to a bias: two cycles after weight and c, one after it."""
    product = word(len(weight) + len(c))
    return (
        multiply(clk, weight, c, product),
        add_scaled(clk, bias, product, seen, cfg.peephole_shift.high),
    )


@block
def gru_lane(clk, z0, z1, z2, z3, b0, b1, b2, b3, h_i, h_o, fmt, cfg):
    """One GRU cell after the matrix products.

    Equals bit for bit :func:`ernn.fixed.gru_cell`, reset after the matrix; in ``fmt.reset_only``
    shift_round(r h), and in ``fmt.reset_before`` the cell after the matrix took that:
    :func:`ernn.fixed.gru_update` of u and gru_candidate(z2, b2 + b3).

    Latency, resources
        ``gru_latency(cfg)`` cycles, a cell a cycle; 5 DSPs.

    Ports
        z0, z1, z2, z3 : W x + U h of r and u, W x of n, U h of n; words of cfg.row_length bits that
            hold cfg.preactivation bits
        b0, b1, b2, b3 : their biases, as z; ``BIAS_LEAD`` cycles before z
        h_i : the state before, cfg.gate; ``STATE_LEAD`` cycles before z
        h_o : the new state; cfg.gate
        fmt : Format(cfg), with what :func:`hdl.formats.limits` makes
    """
    P, G = cfg.preactivation, cfg.activation
    gate, unit = cfg.gate.fraction_length, units(cfg)
    relaxed, of_activation = cfg.relaxed, activation_latency(cfg.relaxed)
    z, b = [word(P) for _ in range(4)], [word(P) for _ in range(4)]
    logic = [
        cut(long, short, 0, P)
        for long, short in zip((z0, z1, z2, z3, b0, b1, b2, b3), z + b, strict=True)
    ]

    # r, u and the saturated U h + b, which a reset before the matrix does not have
    early_r, early_u, b_recurrent = word(P), word(P), word(P)
    r, u = word(G), word(G)
    sum_h, recurrent, recurrent_used, recurrent_late = word(P + 1), word(P), word(P), word(P)
    logic += [
        register(clk, b[0], early_r),
        register(clk, b[1], early_u),
        activation(clk, z[0], r, unit.gate, fmt.gate_unit, early=early_r, relaxed=relaxed),
        activation(clk, z[1], u, unit.gate, fmt.gate_unit, early=early_u, relaxed=relaxed),
        delay(clk, b[3], b_recurrent, BIAS_LEAD),
        add(clk, z[3], b_recurrent, sum_h),
        saturate(clk, sum_h, recurrent),
        unless(recurrent, fmt.reset_before, recurrent_used),
        delay(clk, recurrent_used, recurrent_late, of_activation - 2),
    ]

    # n = tanh(W x + b + r (U h + b)); b + b if reset before
    b_moved, b_sum, b_n = word(P), word(P + 1), word(P + 1)
    sum_n, early_n = word(P + 2), word(P + 2)
    reset, n, n_used = word(G + P), word(G), word(G)
    logic += [
        only_if(b[3], fmt.reset_before, b_moved),
        add(clk, b[2], b_moved, b_sum),
        register(clk, b_sum, b_n),
        add(clk, z[2], b_n, sum_n),
        delay(clk, sum_n, early_n, of_activation - 1 + relaxed),
        multiply_in(clk, r, recurrent_late, reset, 1 + relaxed),
        activation(
            clk,
            reset,
            n,
            unit.candidate,
            fmt.candidate_unit,
            early=early_n,
            shift=gate,
            relaxed=relaxed,
        ),
        unless(n, fmt.reset_only, n_used),
    ]

    # h = n + u (h - n): between n and h, so it needs no saturation; r h as 0 + r (h - 0)
    part, part_late, h_late, n_late = word(G), word(G), word(G), word(G)
    step, update = word(G + 1), word(2 * G + 1)
    n_ready = 2 * of_activation + 1 + relaxed
    logic += [
        choose(clk, fmt.reset_only, u, r, part),
        delay(clk, part, part_late, n_ready - of_activation),
        delay(clk, h_i, h_late, STATE_LEAD + n_ready),
        subtract(clk, h_late, n_used, step),
        multiply_in(clk, part_late, step, update, 1 + relaxed),
        delay(clk, n_used, n_late, 2 + relaxed),
        add_scaled(clk, n_late, update, h_o, gate),
    ]
    return logic


@block
def choose(clk, other, a, b, chosen):
    """Chosen is b if ``other``, else a, one cycle later."""

    @always(clk.posedge)
    def store():
        if other:
            chosen.next = b
        else:
            chosen.next = a

    return store


@block
def only_if(a, enable, masked):
    """Masked is a if ``enable``, else zero. No register."""

    @always_comb
    def mask():
        if enable:
            masked.next = a
        else:
            masked.next = 0

    return mask


@block
def unless(a, disable, masked):
    """Masked is zero if ``disable``, else a. No register."""

    @always_comb
    def mask():
        if disable:
            masked.next = 0
        else:
            masked.next = a

    return mask


@block
def linear_lane(clk, z, b, y, fmt, cfg):
    """One output of a fully connected layer after the matrix product.

    Equals :func:`ernn.quantize.feedforward.activate` bit for bit: z + b saturated to
    cfg.preactivation bits, or in ``fmt.narrow`` to cfg.activation bits, and in ``fmt.relu`` zero
    where it is negative.

    Latency, resources
        ``linear_latency(cfg)`` cycles, a value a cycle; no DSP.

    Ports
        z, b, y : words of cfg.row_length bits; b ``BIAS_LEAD`` cycles before z
        fmt : Format(cfg), with what :func:`hdl.formats.limits` makes
    """
    early, ends = word(cfg.row_length), (fmt.linear_lowest, fmt.linear_highest)
    return (
        register(clk, b, early),
        clip_sum(clk, early, z, y, *ends, stages=1 + cfg.relaxed),
    )


@block
def pool_lane(clk, y, pooled, pool):
    """The largest value of a window, or the mean, value after value.

    Equals a channel of :meth:`ernn.quantize.feedforward.IntegerPool.run` bit for bit.

    Latency, resources
        ``POOL_LATENCY`` cycles from a window's last value; no DSP.

    Ports
        y, pooled : words of one length
        pool : Pool, with y
    """
    total, kept = word(len(y) + POOL_BITS), word(len(y) + POOL_BITS)
    half = word(POOL_BITS + 1)

    @always_comb
    def extend():
        half.next = pool.half

    @always(clk.posedge)
    def collect():
        if pool.valid:
            if pool.first:
                total.next = y + half
            elif pool.average:
                total.next = total + y
            elif y > total:
                total.next = y

    @always_comb
    def drop():
        kept.next = total >> pool.rounding

    return extend, collect, drop, cut(kept, pooled, 0, len(y))
