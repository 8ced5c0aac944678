"""Block products in the frequency domain: the operands that all PEs share, a PE, its sums' end.

A complex product (a + ib)(c + id) takes three multiplications (Gauss): P1 = a (c + d), P2 = d (a +
b), P3 = c (b - a); its real part is P1 - P2, its imaginary part P1 + P3. The sums of a and b are
formed once for all PEs (:func:`operands`), the products are added up apart along a row
(:func:`pe`), and what a row gives is put together once, at its end (:func:`combine`).

A block has k real words, and so 2 + 3 (k/2 - 1) products: those of the bins 0 and k/2, which are
real, then P1, P2, P3 of the bins 1, 2, ... All configurations are ``cfg``, a
:class:`hdl.program.CoreConfig`.
"""

from myhdl import always, always_comb, block

from hdl.arith import (
    MEMORY_LATENCY,
    add,
    bit,
    bits,
    join,
    memory,
    register,
    saturate,
    shift_round,
    split,
    subtract,
    word,
    words,
)
from hdl.module import leaf

OPERANDS_LATENCY = 1
"""Cycles from spectrum to operand_bus of :func:`operands`."""

WEIGHT_LEAD = MEMORY_LATENCY
"""Cycles by which a column's r_address comes before its operand_bus at a :func:`pe`."""

CAPTURE_DELAY = 3
"""Cycles from the operand_bus of a row's last column to the ``capture`` of the row's sums."""

COMBINE_LATENCY = 3
"""Cycles from sums to spectrum of :func:`combine`."""


def products(block_size):
    """Real multiplications of a block product: 2 + 3 (k/2 - 1), as many as DSPs in a PE."""
    return 2 + 3 * (block_size // 2 - 1)


def operand_bits(cfg):
    """Width of the bus from :func:`operands` to all PEs."""
    return products(cfg.block_size) * cfg.input_spectrum_length


def sums_bits(cfg):
    """Width of a PE's sums on its drain chain."""
    return products(cfg.block_size) * cfg.accumulator_length


@block
def operands(clk, spectrum, operand_bus, cfg):
    """The input side of the Gauss products of a block: a, a + b and b - a of every bin.

    |a| + |b| is at most k times the block's largest sample, so the sums are no longer than a word.

    Latency, resources
        ``OPERANDS_LATENCY`` cycles, a block a cycle; no DSP.

    Ports
        spectrum : k words of cfg.input_spectrum_length bits, what :func:`hdl.fft.rfft` gives
        operand_bus : ``products(k)`` words of cfg.input_spectrum_length bits
    """
    length = cfg.input_spectrum_length
    X = words(cfg.block_size, length)
    shared = words(products(cfg.block_size), length)
    logic = [split(spectrum, X), join(shared, operand_bus)]
    logic += [register(clk, X[n], shared[n]) for n in range(2)]
    for f in range(1, cfg.block_size // 2):
        a, b = X[2 * f], X[2 * f + 1]
        of_p1, of_p2, of_p3 = shared[3 * f - 1 : 3 * f + 2]
        logic += [register(clk, a, of_p1), add(clk, a, b, of_p2), subtract(clk, b, a, of_p3)]
    return logic


@block
def pe(
    clk,
    w_enable,
    w_address,
    w_data,
    r_address,
    operand_bus,
    first,
    enable,
    capture,
    chain_i,
    chain_o,
    cfg,
):
    """A processing element: the products of a block row, a block a cycle, added up in its DSPs.

    With :func:`operands` before and :func:`combine` after it, it equals
    :func:`ernn.fixed.accumulate` bit for bit.

    Latency, resources
        A column's r_address comes ``WEIGHT_LEAD`` cycles before its operand_bus, first and enable;
        capture comes ``CAPTURE_DELAY`` cycles after those of the row's last column, and the sums
        are on chain_o in the next cycle. Rows follow each other without a gap. ``products(k)``
        DSPs, a weight memory of cfg.weight_words spectra, and a LUT for each bit of the chain.

    Ports
        w_enable, w_address, w_data : writes a spectrum of k weights of cfg.weight_length bits
        r_address : the column's word in the weight memory
        operand_bus : the column's input, from :func:`operands`
        first, enable : the column is the first of its row; it counts
        capture : takes the row's sums into the chain; else the chain moves on by one PE
        chain_i, chain_o : ``products(k)`` sums of cfg.accumulator_length bits
    """
    k = cfg.block_size
    stored = bits(k * cfg.weight_length)
    W = words(k, cfg.weight_length)
    factors = words(products(k), cfg.weight_length)
    for f in range(1, k // 2):
        factors[3 * f - 1] = word(cfg.weight_length + 1)
    shared = words(products(k), cfg.input_spectrum_length)
    totals = words(products(k), cfg.accumulator_length)
    sums = bits(sums_bits(cfg))
    first_late, enable_late, starts, counts = bit(), bit(), bit(), bit()

    logic = [
        memory(clk, w_enable, w_address, w_data, r_address, stored, cfg.weight_words),
        split(stored, W),
        split(operand_bus, shared),
        join(totals, sums),
    ]
    logic += [register(clk, W[n], factors[n]) for n in range(2)]
    for f in range(1, k // 2):
        c, d = W[2 * f], W[2 * f + 1]
        of_p1, of_p2, of_p3 = factors[3 * f - 1 : 3 * f + 2]
        logic += [add(clk, c, d, of_p1), register(clk, d, of_p2), register(clk, c, of_p3)]
    for operand, factor, total in zip(shared, factors, totals, strict=True):
        logic.append(multiply_accumulate(clk, operand, factor, starts, counts, total))

    @always(clk.posedge)
    def follow_products():
        first_late.next = first
        enable_late.next = enable
        starts.next = first_late
        counts.next = enable_late

    @always(clk.posedge)
    def shift():
        if capture:
            chain_o.next = sums
        else:
            chain_o.next = chain_i

    return logic, follow_products, shift


@leaf
def multiply_accumulate(clk, operand, factor, first, enable, total):
    """Sum of products in one DSP: registers for its inputs (``factor``'s is outside), product, sum.

    first and enable belong to the product: they come two cycles after its operand.
    """
    a = word(len(operand))
    product = word(len(operand) + len(factor))
    base = word(len(total))

    @always(clk.posedge)
    def multiply():
        a.next = operand
        product.next = a * factor

    @always_comb
    def feedback():
        if first:
            base.next = 0
        else:
            base.next = total

    @always(clk.posedge)
    def accumulate():
        if enable:
            total.next = base + product

    return multiply, feedback, accumulate


@block
def combine(clk, sums, spectrum, cfg):
    """Put the sums of a row together, round them once and saturate them.

    Equals :func:`ernn.fixed.round_spectrum` bit for bit.

    Latency, resources
        ``COMBINE_LATENCY`` cycles, a row a cycle; no DSP.

    Ports
        sums : ``products(k)`` sums of cfg.accumulator_length bits, what a :func:`pe` gives
        spectrum : k words of cfg.spectrum_length bits
    """
    k, length = cfg.block_size, cfg.accumulator_length
    shift = cfg.formats.accumulator_fraction - cfg.formats.cell.preactivation.fraction_length
    totals = words(products(k), length)
    exact = words(k, length)
    rounded = words(k, max(length + 1 - shift, cfg.spectrum_length))
    Y = words(k, cfg.spectrum_length)
    logic = [split(sums, totals), join(Y, spectrum)]
    logic += [register(clk, totals[n], exact[n]) for n in range(2)]
    for f in range(1, k // 2):
        p1, p2, p3 = totals[3 * f - 1 : 3 * f + 2]
        logic += [subtract(clk, p1, p2, exact[2 * f]), add(clk, p1, p3, exact[2 * f + 1])]
    logic += [shift_round(clk, a, b, shift) for a, b in zip(exact, rounded, strict=True)]
    logic += [saturate(clk, a, b) for a, b in zip(rounded, Y, strict=True)]
    return logic
