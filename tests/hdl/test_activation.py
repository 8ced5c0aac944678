"""Piece-wise linear units against ernn.fixed: every input that there is, in every format."""

import numpy as np
import pytest
from checking import Case, check, resources
from myhdl import block

from ernn import fixed
from ernn.activations import sigmoid_and_tanh
from ernn.fixed import FixedPoint
from hdl.activation import Controls, Unit, activation, activation_latency, controls
from hdl.arith import bit, bits, word
from hdl.config import Span

UNITS = [
    (names, word_length, Span(*fractions), output)
    for names in (("sigmoid",), ("tanh",), ("tanh", "sigmoid"))
    for word_length, fractions, output in (
        # ranges wide and narrow, segments of many steps, of two and of one; one format only
        (11, (5, 8), FixedPoint(12, 10)),
        (9, (6, 7), FixedPoint(16, 14)),
        (8, (3, 5), FixedPoint(16, 14)),
        (8, (3, 3), FixedPoint(8, 6)),
    )
]
CUT = [  # segments of many steps and of one
    (names, 8, Span(4, 6), FixedPoint(12, 10), segments)
    for names in (("sigmoid",), ("tanh",), ("tanh", "sigmoid"))
    for segments in (4, 8, 16, 64)
]
SETTLED = 2
"""Cycles until the controls are there."""


def unit_of(names, word_length, fractions, output, segments=32):
    named = {unit.name: unit for unit in sigmoid_and_tanh(segments)}
    return Unit(tuple(named[name] for name in names), word_length, fractions, output)


@block
def unit_alone(clk, x, offset, choice, y, description, relaxed=False):
    """A unit and its controls; the offset and the choice stay as they are."""
    unit = unit_of(*description)
    control = Controls(unit)
    choose = None if len(unit.functions) == 1 else choice
    return (
        controls(clk, offset, choice, control, unit),
        activation(clk, x, y, unit, control, choose, relaxed=relaxed),
    )


def case(description, choice, fraction_length, guard_bits, relaxed):
    """Every word of ``guard_bits`` more than the source has."""
    unit = unit_of(*description)
    table = unit.table(choice, fraction_length)
    length, latency = unit.word_length + guard_bits, activation_latency(relaxed)
    x = np.arange(-(1 << (length - 1)), 1 << (length - 1))
    ports = {
        "x": word(length),
        "offset": bits(unit.fractions.bits),
        "choice": bit(),
        "y": word(unit.output.word_length),
    }
    inputs = {
        "x": np.pad(x, (SETTLED, latency)),
        "offset": np.full(SETTLED + len(x) + latency, unit.fractions.high - fraction_length),
        "choice": np.full(SETTLED + len(x) + latency, choice),
    }
    source = FixedPoint(unit.word_length, fraction_length)
    y = fixed.activation(source.saturate(x), table)
    parameters = {"description": description, "relaxed": relaxed}
    return Case(unit_alone, ports, parameters, inputs, {"y": y}, SETTLED + latency)


def cases(description, guard_bits, relaxed=False):
    unit = unit_of(*description)
    return [
        case(description, choice, fraction_length, guard_bits, relaxed)
        for choice in range(len(unit.functions))
        for fraction_length in unit.fractions.values
    ]


@pytest.mark.parametrize(
    ("guard_bits", "simulators"), [(0, ["myhdl", "verilator"]), (2, ["verilator"])]
)
def test_every_input(guard_bits, simulators, tmp_path):
    units = [c for unit in UNITS for c in cases(unit, guard_bits)]
    check([*units, *cases(UNITS[-2], guard_bits, relaxed=True)], tmp_path, simulators)


def test_every_input_of_other_segments(tmp_path):
    units = [c for unit in CUT for c in cases(unit, 0)]
    fewest, most = CUT[0], CUT[-1]
    check([*units, *cases(fewest, 0, relaxed=True), *cases(most, 0, relaxed=True)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check(cases(UNITS[-2], 1), tmp_path, [simulator])


@pytest.mark.parametrize(("segments", "lut"), [(8, 47), (16, 46), (32, 45), (64, 97)])
def test_resources(segments, lut, tmp_path):
    """Of a sigmoid of one format: a LUT a bit up to 64 words."""
    description = ("sigmoid",), 16, Span(11, 11), FixedPoint(16, 14), segments
    found = resources([case(description, 0, 11, 0, relaxed=False)], tmp_path)
    assert found.dsp == 1
    assert found.lut == pytest.approx(lut, rel=0.1)  # Yosys' versions differ


def test_one_format_costs_nothing():
    """The controls of one format are constants; a function that can be chosen moves the range."""
    sigmoid, either = Controls(unit_of(*UNITS[3])), Controls(unit_of(*UNITS[-1]))
    assert vars(sigmoid) == {"lowest": -63, "highest": 63, "shift": 0}
    assert all(not isinstance(control, int) for control in vars(either).values())
