"""Piece-wise linear units: a table of segments, one multiplication.

The table is read with the two's complement segment itself, so a negative input takes no
complement: from ``f(-x) = one - f(x)`` its segment begins at ``one`` minus the mirrored segment's
end, rises as that one does, and rounds half down instead of half up.

The fraction length of the input is chosen at run time. The table is that of the finest; a coarser
input is clipped where its own table ends and shifted to the finest, which scales product, start and
divisor alike: rounding half up stays what it is, and so does half down, since the smallest step of
the product stays larger than what separates the two.
"""

from dataclasses import dataclass

from myhdl import always, always_comb, block, concat

from ernn.activations import PiecewiseLinear
from ernn.fixed import ActivationTable, FixedPoint, activation_table
from hdl.arith import (
    bits,
    clip,
    clip_sum,
    constant,
    hold,
    later,
    multiply_in,
    raised_length,
    rom,
    shift_left_by,
    wire,
    word,
)
from hdl.config import Span


def activation_latency(relaxed):
    """Cycles from x to y of :func:`activation`: 4 or, relaxed, 8."""
    return 4 + 4 * relaxed


@dataclass(frozen=True)
class Unit:
    """A piece-wise linear unit; its input format, and its function of two, are chosen at run time.

    Attributes:
        functions: one, or the two that there are to choose from.
        word_length, fractions: of the input.
        output: format of the output.
    """

    functions: tuple[PiecewiseLinear, ...]
    word_length: int
    fractions: Span
    output: FixedPoint

    def table(self, choice: int, fraction_length: int) -> ActivationTable:
        """The table of a function for an input of that fraction length."""
        source = FixedPoint(self.word_length, fraction_length)
        return activation_table(self.functions[choice], source, self.output)

    @property
    def tables(self) -> list[ActivationTable]:
        """Of every function for the finest input."""
        return [self.table(n, self.fractions.high) for n in range(len(self.functions))]

    @property
    def offset_length(self) -> int:
        """Bits within a segment: of the function with the widest segments for the finest input."""
        at_least_a_half_step = 1  # below a segment of one step
        return max(at_least_a_half_step, *(table.offset_length for table in self.tables))

    def controls(self) -> dict[str, tuple[int, ...]]:
        """Values of each of the :class:`Controls` by choice and offset from the finest fraction."""
        rows = []
        for choice in range(len(self.functions)):
            for offset in range(1 << self.fractions.bits):
                fraction_length = max(self.fractions.high - offset, self.fractions.low)
                table = self.table(choice, fraction_length)
                in_range, limit = 1 << (self.word_length - 1), table.magnitude_limit
                lowest, highest = max(-in_range, -limit), min(in_range - 1, limit)
                rows.append((lowest, highest, self.offset_length - table.offset_length))
        names = "lowest", "highest", "shift"
        return dict(zip(names, zip(*rows, strict=True), strict=True))


class Controls:
    """A unit's format as it takes it; constants where there is nothing to choose.

    Attributes:
        lowest, highest: the range that its input is clipped to.
        shift: from the input to the finest one.
    """

    def __init__(self, unit):
        values = unit.controls()
        self.lowest, self.highest = (
            constant(values[name][0]) if len(set(values[name])) == 1 else word(unit.word_length)
            for name in ("lowest", "highest")
        )
        shifts = set(values["shift"])
        self.shift = shifts.pop() if len(shifts) == 1 else bits(max(shifts).bit_length())


@block
def controls(clk, offset, choice, o, unit):
    """The controls of a unit, one cycle later.

    Ports
        offset : from the finest fraction length down
        choice : the function of two; not read where there is one
        o : Controls(unit)
    """
    if len(unit.functions) == 1:
        address = bits(len(offset))
        logic = [wire(offset, address)]
    else:
        address = bits(1 + len(offset))

        @always_comb
        def join():
            address.next = concat(choice, offset)

        logic = [join]
    for name, content in unit.controls().items():
        if not isinstance(getattr(o, name), int):
            logic.append(rom(clk, address, getattr(o, name), content))
    return logic


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
def activation(clk, x, y, unit, control, choice=None, early=None, shift=0, relaxed=False):
    """Sigmoid or tanh of early + x / 2**shift, rounded half up; of x where there is no ``early``.

    Equals :func:`ernn.fixed.activation` of the sum saturated to ``unit.word_length`` bits in the
    table of the chosen function and fraction length, bit for bit.

    Latency, resources
        ``activation_latency(relaxed)`` cycles, a value a cycle: clip, look up, multiply, add; 1
        DSP, and for each bit of the table, which has two words a segment of every function, a LUT
        up to 64 words, 2 to 7 for 128 and 14 for 256.

    Ports
        x : a word of any length, before saturation
        early : a word of any length, one cycle before x
        control : Controls(unit)
        choice : the function of two
        y : unit.output

    Parameters
        shift : of x
        relaxed : clip, look up, and multiply, in two cycles each, and shift in one of its own
    """
    offset_length = unit.offset_length
    content = [segments(table, offset_length) for table in unit.tables]
    starts = tuple(start for some, _ in content for start in some)
    rises = tuple(rise for _, some in content for rise in some)

    segment_length = (len(starts) // len(unit.functions)).bit_length() - 1
    top = offset_length + segment_length
    clipped = word(unit.word_length)
    raised = word(max(top, raised_length(len(clipped), control.shift)))
    (fine,) = later([raised], relaxed)
    address = bits((len(starts) - 1).bit_length())
    start = word(max(map(abs, starts)).bit_length() + 1)
    rise = word(max(rises).bit_length() + 1)
    offset = word(offset_length + 1)
    start_late = word(len(start))
    product = word(len(rise) + len(offset))
    total = word(max(len(start), len(product)) + 1)
    end = min(len(total), offset_length + len(y))

    if early is None:
        clipping = clip(clk, x, clipped, control.lowest, control.highest, 1 + relaxed)
    else:
        ends = control.lowest, control.highest
        clipping = clip_sum(clk, early, x, clipped, *ends, shift, 1 + relaxed)

    if choice is None:

        @always_comb
        def find():
            address.next = fine[top:offset_length]
    else:

        @always_comb
        def find():
            address.next = concat(choice, fine[top:offset_length])

    within = offset if not relaxed else word(len(offset))

    @always(clk.posedge)
    def keep_offset():
        within.next = fine[offset_length:]

    @always_comb
    def add_start():
        total.next = start_late + product

    @always(clk.posedge)
    def store():
        y.next = total[end:offset_length].signed()

    return (
        clipping,
        shift_left_by(clipped, raised, control.shift),
        hold(clk, [raised], [fine], relaxed),
        find,
        rom(clk, address, start, starts, 1 + relaxed),
        rom(clk, address, rise, rises, 1 + relaxed),
        keep_offset,
        hold(clk, [within], [offset], relaxed),
        multiply_in(clk, rise, offset, product, 1 + relaxed),
        hold(clk, [start], [start_late], 1 + relaxed),
        add_start,
        store,
    )
