"""The format controls of the cell lanes, chosen by the program.

They stay as they are while an operation is in the lanes, so that they need no delay lines; what the
lanes take is made of them once for all lanes.
"""

from types import SimpleNamespace

from myhdl import always_comb, block, concat

from ernn.activations import sigmoid_and_tanh
from hdl.activation import Controls, Unit, controls
from hdl.arith import bit, bits, constant, rom, word

LIMITS_LATENCY = 1
"""Cycles from a format's controls to what :func:`limits` makes of them."""


def units(cfg):
    """The piece-wise linear units: of gates, the LSTM's g, the GRU's n, and the cell state."""
    sigmoid, tanh = sigmoid_and_tanh(cfg.segments)
    before, gate = (cfg.preactivation, cfg.preactivation_fraction), cfg.gate
    return SimpleNamespace(
        gate=Unit((sigmoid,), *before, gate),
        candidate=Unit((tanh,), *before, gate),
        g=Unit((tanh, sigmoid), *before, gate),
        cell=Unit((tanh,), cfg.cell, cfg.cell_fraction, gate),
    )


class Format:
    """What a program says about an operation's formats, and what is made of that.

    Attributes:
        preactivation, cell: the fraction length is this much below ``cfg.preactivation_fraction``'s
            and ``cfg.cell_fraction``'s highest.
        peephole: the shift is this much above ``cfg.peephole_shift``'s lowest.
        sigmoid_g: the unit of the LSTM's g is the sigmoid, else tanh.
        reset_before: GRU: the reset gate is left out, and U h + b with it, but for its bias.
        reset_only: GRU: gives r h.
        relu: linear: negative results become zero.
        narrow: linear: saturate to an activation's word length, not to a pre-activation's.
        gate_unit, candidate_unit, g_unit, cell_unit: of :func:`limits`, Controls of :func:`units`.
        cell_rise, peephole_rise: of :func:`limits`, from the coarsest cell fraction and the largest
            peephole shift; zero where there is one.
        linear_lowest, linear_highest: of :func:`limits`, the range of the linear lane.
    """

    def __init__(self, cfg):
        self.preactivation = bits(cfg.preactivation_fraction.bits)
        self.cell = bits(cfg.cell_fraction.bits)
        self.peephole = bits(cfg.peephole_shift.bits)
        self.sigmoid_g, self.reset_before, self.reset_only = bit(), bit(), bit()
        self.relu, self.narrow = bit(), bit()

        for name, unit in vars(units(cfg)).items():
            setattr(self, f"{name}_unit", Controls(unit))
        self.cell_rise = rise(cfg.cell_fraction)
        self.peephole_rise = rise(cfg.peephole_shift)
        self.linear_lowest, self.linear_highest = word(cfg.row_length), word(cfg.row_length)


def rise(span):
    """A signal for how far a span's value is from its end; zero where there is one value."""
    return 0 if span.low == span.high else bits(span.bits)


@block
def limits(clk, fmt, cfg):
    """Make what the lanes take of a format, ``LIMITS_LATENCY`` cycles later.

    Ports
        fmt : Format(cfg)
    """
    logic = [
        controls(
            clk,
            fmt.cell if name == "cell" else fmt.preactivation,
            fmt.sigmoid_g,
            getattr(fmt, f"{name}_unit"),
            unit,
        )
        for name, unit in vars(units(cfg)).items()
    ]
    for span, offset, o in (
        (cfg.cell_fraction, fmt.cell, fmt.cell_rise),
        (cfg.peephole_shift, fmt.peephole, fmt.peephole_rise),
    ):
        if span.low < span.high:
            last = span.high - span.low
            content = tuple(max(0, last - value) for value in range(1 << span.bits))
            logic.append(rom(clk, offset, o, content))

    address = bits(2)
    relu, narrow = fmt.relu, fmt.narrow
    ranges = [1 << (length - 1) for length in (cfg.preactivation, cfg.activation)]

    @always_comb
    def join():
        address.next = concat(relu, narrow)

    lowest = (*(constant(-n) for n in ranges), 0, 0)
    highest = tuple(constant(n - 1) for n in ranges) * 2
    return (
        logic,
        join,
        rom(clk, address, fmt.linear_lowest, lowest),
        rom(clk, address, fmt.linear_highest, highest),
    )
