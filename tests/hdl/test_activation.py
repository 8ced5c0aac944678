"""Piece-wise linear units against ernn.fixed: every input that there is."""

import numpy as np
import pytest
from checking import Case, check

from ernn import fixed
from ernn.activations import SIGMOID, TANH
from ernn.fixed import FixedPoint
from hdl.activation import ACTIVATION_LATENCY, activation
from hdl.arith import word

FORMATS = [  # source, output: ranges wide and narrow, segments of many steps, of two and of one
    (FixedPoint(11, 7), FixedPoint(12, 10)),
    (FixedPoint(11, 4), FixedPoint(16, 14)),
    (FixedPoint(9, 7), FixedPoint(16, 14)),
    (FixedPoint(8, 3), FixedPoint(8, 6)),
]


def case(unit, source, output, guard_bits):
    """Every word of ``guard_bits`` more than the source has."""
    table = fixed.activation_table(unit, source, output)
    length = source.word_length + guard_bits
    x = np.arange(-(1 << (length - 1)), 1 << (length - 1))
    return Case(
        activation,
        {"x": word(length), "y": word(output.word_length)},
        {"table": table, "word_length": source.word_length},
        {"x": x},
        {"y": fixed.activation(source.saturate(x), table)},
        ACTIVATION_LATENCY,
    )


def test_every_input(tmp_path):
    units = [(unit, *formats) for unit in (SIGMOID, TANH) for formats in FORMATS]
    check([case(*unit, guard_bits) for unit in units for guard_bits in (0, 1)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([case(TANH, *FORMATS[-1], 1)], tmp_path, [simulator])
