"""Piece-wise linear units: a table of segments, one multiplication.

The table is read with the two's complement segment itself, so a negative input takes no
complement: from ``f(-x) = one - f(x)`` its segment begins at ``one`` minus the mirrored segment's
end, rises as that one does, and rounds half down instead of half up.
"""

from myhdl import always, always_comb, block

from hdl.arith import bits, clip, constant, multiply, register, shift_left, word

ACTIVATION_LATENCY = 4
"""Cycles from x to y of :func:`activation`."""


def segments(table, offset_length):
    """The words that a segment adds to the product, and its rise, in the order of its address.

    Returns:
        starts, rises: tuples of integers; y = (start + rise * offset) >> offset_length.
    """
    half = 1 << (offset_length - 1)
    count = 1 << (len(table.intercepts) - 1).bit_length()
    starts, rises = [0] * (2 * count), [0] * (2 * count)
    pairs = zip(table.intercepts, table.differences, strict=True)
    for segment, (intercept, difference) in enumerate(pairs):
        mirrored = table.one - intercept - difference
        starts[segment] = constant((intercept << offset_length) + half)
        starts[-segment - 1] = constant((mirrored << offset_length) + half - 1)
        rises[segment] = rises[-segment - 1] = difference
    return tuple(starts), tuple(rises)


@block
def activation(clk, x, y, table, word_length):
    """Sigmoid or tanh of a table, of x saturated to ``word_length`` bits.

    Equals :func:`ernn.fixed.activation` of the saturated x bit for bit.

    Latency, resources
        ``ACTIVATION_LATENCY`` cycles, a value a cycle: clip, look up, multiply, add; 1 DSP, and for
        32 segments a LUT a bit of the table.

    Ports
        x : a word of any length in the table's source format, before saturation
        y : table.output
    """
    offset_length = max(1, table.offset_length)  # at least a half step, below a segment of one step
    starts, rises = segments(table, offset_length)
    in_range = 1 << (word_length - 1)
    lowest = max(-in_range, -table.magnitude_limit)
    highest = min(in_range - 1, table.magnitude_limit)

    address_length = len(starts).bit_length() - 1
    top = offset_length + address_length
    spare = offset_length - table.offset_length
    clipped, fine = word(top - spare), word(top)
    segment = bits(address_length)
    start = word(max(map(abs, starts)).bit_length() + 1)
    rise = word(max(rises).bit_length() + 1)
    offset = word(offset_length + 1)
    start_late = word(len(start))
    product = word(len(rise) + len(offset))
    total = word(max(len(start), len(product)) + 1)
    end = min(len(total), offset_length + len(y))

    @always_comb
    def address():
        segment.next = fine[top:offset_length]

    @always(clk.posedge)
    def look_up_start():
        start.next = starts[segment]

    @always(clk.posedge)
    def look_up_rise():
        rise.next = rises[segment]

    @always(clk.posedge)
    def keep_offset():
        offset.next = fine[offset_length:]

    @always_comb
    def add_start():
        total.next = start_late + product

    @always(clk.posedge)
    def store():
        y.next = total[end:offset_length].signed()

    return (
        clip(clk, x, clipped, lowest, highest),
        shift_left(clipped, fine, spare),
        address,
        look_up_start,
        look_up_rise,
        keep_offset,
        multiply(clk, rise, offset, product),
        register(clk, start, start_late),
        add_start,
        store,
    )
