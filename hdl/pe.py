"""Block products in the frequency domain, from the spectra of columns to the blocks of rows.

A complex product (a + ib)(c + id) takes three multiplications (Gauss): P1 = a (c + d), P2 = d (a +
b), P3 = c (b - a); its real part is P1 - P2, its imaginary part P1 + P3. The sums of a and b are
formed once for all PEs (:func:`operands`), the products are added up apart along a row
(:func:`pe`), and what a row gives is put together once, at its end (:func:`row_end`).

A block has k real words, and so cfg.products = 2 + 3 (k/2 - 1) products: those of the bins 0 and
k/2, which are real, then P1, P2, P3 of the bins 1, 2, ... All configurations are ``cfg``, a
:class:`hdl.config.CoreConfig`.

The PEs stand in groups of D along a systolic chain (:func:`pe_group`): each group hears the bus one
cycle after the group before it. If the last steps of two rows are as many cycles apart as there are
groups, or more, one group at most gives sums in a cycle, and the rows' ends get an OR of all
(:func:`gather`).
"""

from itertools import pairwise

from myhdl import always, always_comb, block, concat

from hdl.arith import (
    MEMORY_LATENCY,
    add,
    bit,
    bits,
    constant,
    delay_bit,
    hold,
    join,
    later,
    low_bits,
    memory,
    register,
    saturate_either,
    split,
    subtract,
    wire,
    word,
    words,
)
from hdl.config import address_bits
from hdl.fft import irfft, irfft_latency
from hdl.module import leaf, module

OPERANDS_LATENCY = 1
"""Cycles from spectrum to operand_bus of :func:`operands`."""

CAPTURE_DELAY = 3
"""Cycles from the operand_bus of a row's last column until ``hidden`` is low, to show its sums."""

GROUP_LATENCY = CAPTURE_DELAY + 1
"""Cycles from the operands of a row's last step on bus_i of :func:`pe_group` to its sums."""

GATHER_INPUTS = 36
"""What a register stage of :func:`gather` joins: two levels of six-input LUTs."""

OTHER_UNITS = 64
"""Units beside the PEs that the load chain may have."""


def weight_lead(cfg):
    """Cycles by which a column's weight address comes before its operands."""
    return MEMORY_LATENCY + cfg.relaxed


class Bus:
    """What the groups of PEs hear of a column.

    ``operands`` has a lane for each of the F columns of a ``step``, of which ``first`` begins and
    ``last`` ends a row. With ``keep`` a first step puts the sums of the row before it aside, and
    the next row without it goes on from them; ``clear`` forgets them. ``address`` is of the
    weights, ``weight_lead(cfg)`` cycles ahead of all others.
    """

    def __init__(self, cfg):
        self.operands = bits(cfg.fold * cfg.operand_bits)
        self.first, self.step, self.last, self.keep, self.clear = (bit() for _ in range(5))
        self.address = bits(address_bits(cfg.weight_depth))


class Load:
    """A word of weights for a PE; ``unit`` counts from the group that hears it."""

    def __init__(self, cfg):
        self.valid = bit()
        self.unit = bits(address_bits(cfg.n_pe + OTHER_UNITS))
        self.address = bits(address_bits(cfg.weight_depth))
        self.data = bits(cfg.block_size * cfg.weight)


# ------------------------------------------------------------------------------------------ columns


@block
def operands(clk, spectrum, operand_bus, cfg):
    """The input side of the Gauss products of a block: a, a + b and b - a of every bin.

    |a| + |b| is at most k times the block's largest sample, so the sums are no longer than a word.

    Latency, resources
        ``OPERANDS_LATENCY`` cycles, a block a cycle; no DSP.

    Ports
        spectrum : k words of cfg.input_spectrum_length bits, what :func:`hdl.fft.rfft` gives
        operand_bus : cfg.products words of cfg.input_spectrum_length bits
    """
    length = cfg.input_spectrum_length
    X = words(cfg.block_size, length)
    shared = words(cfg.products, length)
    logic = [split(spectrum, X), join(shared, operand_bus)]
    logic += [register(clk, X[n], shared[n]) for n in range(2)]
    for f in range(1, cfg.block_size // 2):
        a, b = X[2 * f], X[2 * f + 1]
        of_p1, of_p2, of_p3 = shared[3 * f - 1 : 3 * f + 2]
        logic += [register(clk, a, of_p1), add(clk, a, b, of_p2), subtract(clk, b, a, of_p3)]
    return logic


# ---------------------------------------------------------------------------------------------- PEs


@module
def pe(
    clk,
    w_enable,
    w_address,
    w_data,
    r_address,
    operand_bus,
    first,
    step,
    keep,
    clear,
    hidden,
    sums,
    cfg,
):
    """A processing element: the products of a block row, a block a cycle, added up in its DSPs.

    With :func:`operands` before and :func:`row_end` after it, it equals
    :func:`ernn.fixed.accumulate` bit for bit.

    Latency, resources
        A column's r_address comes ``weight_lead(cfg)`` cycles before its operand_bus, first, step
        and keep; hidden is low ``CAPTURE_DELAY`` cycles after those of the row's last column, and
        the row's sums are there in the next cycle, zeros in all others. Rows follow each other
        without a gap. cfg.products DSPs, a weight memory of cfg.weight_depth spectra, and LUTs for
        the k/2 - 1 sums of two weights.

    Ports
        w_enable, w_address, w_data : writes a spectrum of k weights of cfg.weight bits
        r_address : the column's word in the weight memory
        operand_bus : the column's input, from :func:`operands`
        first, step, keep, clear : as of :class:`Bus`; a cycle without a step changes no sum
        hidden : the row is not complete
        sums : cfg.products sums of cfg.accumulator_length bits
    """
    k = cfg.block_size
    stored = bits(k * cfg.weight)
    (weights,) = later([stored], cfg.relaxed)
    W = words(k, cfg.weight)
    factors = words(cfg.products, cfg.weight)
    for f in range(1, k // 2):
        factors[3 * f - 1] = word(cfg.weight + 1)
    shared = words(cfg.products, cfg.input_spectrum_length)
    totals = words(cfg.products, cfg.accumulator_length)
    row = bits(cfg.sums_bits)
    starts, counts, keeps, forgets = (bit() for _ in range(4))

    logic = [
        memory(clk, w_enable, w_address, w_data, r_address, stored, cfg.weight_depth),
        hold(clk, [stored], [weights], cfg.relaxed),
        split(weights, W),
        split(operand_bus, shared),
        join(totals, row),
        register(clk, first, starts),
        delay_bit(clk, step, counts, 2),
        put_aside(clk, first, step, keep, clear, keeps, forgets),
    ]
    logic += [wire(W[n], factors[n]) for n in range(2)]
    for f in range(1, k // 2):
        c, d = W[2 * f], W[2 * f + 1]
        of_p1, of_p2, of_p3 = factors[3 * f - 1 : 3 * f + 2]
        logic += [add_at_once(c, d, of_p1), wire(d, of_p2), wire(c, of_p3)]
    for operand, factor, total in zip(shared, factors, totals, strict=True):
        logic.append(
            multiply_accumulate(clk, operand, factor, starts, counts, keeps, forgets, total)
        )

    @always(clk.posedge)
    def give():
        if hidden:
            sums.next = 0
        else:
            sums.next = row

    return logic, give


@block
def add_at_once(a, b, total):
    """Total is a + b. No register."""

    @always_comb
    def both():
        total.next = a + b

    return both


@block
def put_aside(clk, first, step, keep, clear, keeps, forgets):
    """Whether a step puts the sums before it aside or forgets what was, two cycles later."""
    wanted, unwanted = bit(), bit()

    @always(clk.posedge)
    def decide():
        wanted.next = first and step and keep
        unwanted.next = clear or (first and step and not keep)
        keeps.next = wanted
        forgets.next = unwanted

    return decide


@leaf
def multiply_accumulate(clk, operand, factor, starts, counts, keeps, forgets, total):
    """Sum of products in one DSP: registers for its inputs, product, sum.

    The sum put aside is in the DSP too. The four bits belong to the product: they come two cycles
    after its operand, ``starts`` one.
    """
    a, b = word(len(operand)), word(len(factor))
    product = word(len(operand) + len(factor))
    base, aside, starting = word(len(total)), word(len(total)), bit()

    @always(clk.posedge)
    def multiply():
        starting.next = starts
        a.next = operand
        b.next = factor
        product.next = a * b

    @always_comb
    def feedback():
        if starting:
            base.next = aside
        else:
            base.next = total

    @always(clk.posedge)
    def accumulate():
        if counts:
            total.next = base + product

    @always(clk.posedge)
    def keep():
        if forgets:
            aside.next = 0
        elif keeps:
            aside.next = total

    return multiply, feedback, accumulate, keep


@module
def pe_group(clk, bus_i, bus_o, load_i, load_o, sums, cfg):
    """D PEs that work in the same cycles, and the registers that pass the bus and the load on.

    All groups are this module: it hears lane 0, and passes the bus on turned by one lane, so that
    group g hears lane g mod F.

    Latency, resources
        A cycle from bus_i to bus_o and from load_i to load_o; ``GROUP_LATENCY`` cycles from the
        operands of a row's last step to sums.

    Ports
        bus_i, bus_o : Bus(cfg); last is set in the last step of a row
        load_i, load_o : Load(cfg); units 0 to D - 1 are the PEs of this group
        sums : the sums of PEs 0, 1, ...; zeros in all cycles but one of a row
    """
    operand_bus, ends, late, hidden = bits(cfg.operand_bits), bit(), bit(), bit()
    o_operands = bits(len(bus_i.operands))
    parts = [bits(cfg.sums_bits) for _ in range(cfg.drain)]
    logic = [
        low_bits(bus_i.operands, operand_bus),
        end_of_row(bus_i.step, bus_i.last, ends),
        delay_bit(clk, ends, late, CAPTURE_DELAY - 1),
        register_not(clk, late, hidden),
        turn(bus_i.operands, o_operands, cfg.operand_bits),
        register(clk, o_operands, bus_o.operands),
        pass_on(clk, load_i, load_o, cfg.drain),
        join(parts, sums),
    ]
    for name in ("first", "step", "last", "keep", "clear", "address"):
        logic.append(register(clk, getattr(bus_i, name), getattr(bus_o, name)))
    for unit, part in enumerate(parts):
        write = bit()
        logic += [
            select(load_i.valid, load_i.unit, write, unit),
            pe(
                clk,
                write,
                load_i.address,
                load_i.data,
                bus_i.address,
                operand_bus,
                bus_i.first,
                bus_i.step,
                bus_i.keep,
                bus_i.clear,
                hidden,
                part,
                cfg,
            ),
        ]
    return logic


@block
def register_not(clk, d, q):
    """A register of what d is not: a flip-flop's reset takes no inverter then."""

    @always(clk.posedge)
    def store():
        q.next = not d

    return store


@block
def end_of_row(step, last, ends):
    """The step is the last of a row. No register."""

    @always_comb
    def both():
        ends.next = step and last

    return both


@block
def select(valid, unit, write, number):
    """Write into the unit of that number. No register."""

    @always_comb
    def compare():
        write.next = valid and (unit == number)

    return compare


@block
def pass_on(clk, i, o, count):
    """The load one cycle later, for the units from ``count`` on, which count from 0 there."""
    i_valid, i_unit, i_address, i_data = i.valid, i.unit, i.address, i.data
    o_valid, o_unit, o_address, o_data = o.valid, o.unit, o.address, o.data

    @always(clk.posedge)
    def store():
        o_valid.next = i_valid and (i_unit >= count)
        if i_unit >= count:
            o_unit.next = i_unit - count
        o_address.next = i_address
        o_data.next = i_data

    return store


@block
def turn(lanes, turned, length):
    """Lane l of ``turned`` is lane l + 1 of ``lanes``, around. No register."""
    whole = len(lanes)
    if whole == length:
        return wire(lanes, turned)

    @always_comb
    def rotate():
        turned.next = concat(lanes[length:], lanes[whole:length])

    return rotate


# ------------------------------------------------------------------------------------------- gather


def gather_latency(count):
    """Cycles from parts to total of :func:`gather`: 1 for up to 36 parts, 2 for up to 1296."""
    stages, joined = 0, 1
    while joined < count:
        stages, joined = stages + 1, joined * GATHER_INPUTS
    return stages


@block
def gather(clk, parts, total):
    """Total is the OR of vectors of which at most one is not zero.

    Latency, resources
        ``gather_latency(n)`` cycles for n parts, each stage two levels of LUTs.

    Ports
        parts : a list of vectors
        total : a vector of their length
    """
    if len(parts) == 1:
        return wire(parts[0], total)
    before = GATHER_INPUTS ** (gather_latency(len(parts)) - 1)
    gathered, logic = [], []
    for share in shares(parts, -(-len(parts) // before)):
        gathered.append(bits(len(total)))
        logic.append(gather(clk, share, gathered[-1]))
    joined = bits(len(total))
    return logic, any_of(gathered, joined), register(clk, joined, total)


def shares(parts, count):
    """Cut a list into ``count`` lists of equal length, or one longer."""
    cuts = [n * len(parts) // count for n in range(count + 1)]
    return [parts[low:high] for low, high in pairwise(cuts)]


@block
def any_of(parts, total):
    """Total is the OR of up to 36 vectors, in two levels of six. No register."""
    if len(parts) > 6:
        halfway, logic = [], []
        for share in shares(parts, -(-len(parts) // 6)):
            halfway.append(bits(len(total)))
            logic.append(any_of(share, halfway[-1]))
        return logic, any_of(halfway, total)
    a, b, c, d, e, f = (parts * 6)[:6]  # twice the same part is once

    @always_comb
    def join_all():
        total.next = a | b | c | d | e | f

    return join_all


# --------------------------------------------------------------------------------------------- rows


def row_end_latency(cfg):
    """Cycles from sums to spectrum of :func:`row_end`: 2 or, relaxed, 4."""
    return 2 + 2 * cfg.relaxed


def row_latency(cfg):
    """Cycles from sums to y of :func:`row`."""
    return row_end_latency(cfg) + irfft_latency(cfg.block_size, cfg.relaxed)


@module
def row(clk, sums, more, shift, narrow, y, cfg):
    """From the sums of a block row to its words: a row a cycle, ``row_latency(cfg)`` cycles later.

    Equals :func:`ernn.fixed.round_spectrum` and then :func:`ernn.fixed.inverse` bit for bit.

    Ports
        sums, more, shift, narrow : as :func:`row_end` takes them
        y : k words of cfg.row_length bits
    """
    spectrum, narrow_late = bits(cfg.block_size * cfg.spectrum_length), bit()
    return (
        row_end(clk, sums, more, shift, narrow, spectrum, cfg),
        delay_bit(clk, narrow, narrow_late, row_end_latency(cfg)),
        irfft(clk, spectrum, narrow_late, y, cfg),
    )


@block
def row_end(clk, sums, more, shift, narrow, spectrum, cfg):
    """Put the sums of a row together, add up its F parts, round once and saturate.

    Equals :func:`ernn.fixed.round_spectrum` bit for bit.

    Latency, resources
        ``row_end_latency(cfg)`` cycles, a row or a part of one a cycle; no DSP. The half of the
        rounding is where the addition begins. If F = 1, ``more`` takes nothing; if the shift has
        one value, ``shift`` takes nothing; if A = P, ``narrow`` takes nothing.

    Ports
        sums : cfg.products sums of cfg.accumulator_length bits, what a :func:`pe` gives
        more : they are to be added to those of the cycle before
        shift : by how much the rounding drops more than cfg.accumulator_shift.low fraction bits
        narrow : the spectrum saturates to A + log2 k bits, else to P + log2 k
        spectrum : k words of cfg.spectrum_length bits
    """
    if cfg.accumulator_shift.low < 0:
        raise ValueError(f"accumulator shift from {cfg.accumulator_shift.low}: the RTL drops bits")
    k, length, growth = cfg.block_size, cfg.accumulator_length, cfg.block_size.bit_length() - 1
    limits = cfg.preactivation + growth, cfg.activation + growth
    totals, exact, start = (words(n, length) for n in (cfg.products, k, k))
    scaled, Y = words(k, length - cfg.accumulator_shift.low), words(k, cfg.spectrum_length)
    half, shift_late, narrow_late = word(length), bits(len(shift)), bit()
    relaxed = cfg.relaxed
    more_then, shift_then = later([more, shift], relaxed)
    (narrow_then,) = later([narrow], relaxed)
    real, dropped = later(totals[:2], relaxed), later(scaled, relaxed)
    logic = [
        hold(clk, [more, shift, *totals[:2]], [more_then, shift_then, *real], relaxed),
        hold(clk, [narrow], [narrow_then], 2 * relaxed),
        hold(clk, scaled, dropped, relaxed),
        split(sums, totals),
        rounding_half(shift_then, half, cfg.accumulator_shift),
        register(clk, shift_then, shift_late),
        register(clk, narrow_then, narrow_late),
        join(Y, spectrum),
    ]
    for n in range(k):
        logic += [
            wire(half, start[n]) if cfg.fold == 1 else choose(more_then, exact[n], half, start[n]),
            shift_right(exact[n], shift_late, scaled[n], cfg.accumulator_shift),
            saturate_either(clk, dropped[n], narrow_late, Y[n], *limits),
        ]
    logic += [add(clk, real[n], start[n], exact[n]) for n in range(2)]
    for f in range(1, k // 2):
        re, im = 2 * f, 2 * f + 1
        p1, p2, p3 = totals[3 * f - 1 : 3 * f + 2]
        logic.append(add_difference(clk, p1, p2, start[re], exact[re], 1 + relaxed))
        logic.append(add_sum(clk, p1, p3, start[im], exact[im], 1 + relaxed))
    return logic


@block
def rounding_half(shift, half, span):
    """Half of what the rounding drops. No register."""
    halves = [constant((1 << n) >> 1) for n in span.values]
    halves += [halves[-1]] * ((1 << len(shift)) - len(halves))
    table = tuple(halves)

    @always_comb
    def look_up():
        half.next = table[shift]

    return look_up


@block
def choose(condition, yes, no, q):
    """Q is ``yes`` if the condition holds, else ``no``. No register."""

    @always_comb
    def multiplex():
        if condition:
            q.next = yes
        else:
            q.next = no

    return multiplex


@block
def add_sum(clk, a, b, start, total, stages):
    """Total is start + (a + b), one cycle after start; with two stages a and b come one before."""
    if stages == 2:
        part = word(len(total))
        return add(clk, a, b, part), add(clk, part, start, total)

    @always(clk.posedge)
    def store():
        total.next = start + a + b

    return store


@block
def add_difference(clk, a, b, start, total, stages):
    """Total is start + (a - b), one cycle after start; with two stages a and b come one before."""
    if stages == 2:
        part = word(len(total))
        return subtract(clk, a, b, part), add(clk, part, start, total)

    @always(clk.posedge)
    def store():
        total.next = start + a - b

    return store


@block
def shift_right(a, shift, shifted, span):
    """Drop span.low + shift low bits of a. No register."""
    low, whole = span.low, len(a)
    dropped = word(whole - low)

    @always_comb
    def drop():
        dropped.next = a[whole:low].signed()

    if span.low == span.high:
        return drop, wire(dropped, shifted)

    @always_comb
    def move():
        shifted.next = dropped >> shift

    return drop, move
