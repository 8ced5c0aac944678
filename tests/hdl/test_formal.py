"""Proofs that piece-wise linear units equal ernn.fixed, for every input and from any state."""

import numpy as np
import pytest
from test_activation import SETTLED, unit_alone, unit_of

from ernn import fixed
from ernn.fixed import FixedPoint
from hdl.activation import activation_latency
from hdl.arith import bit, bits, word
from hdl.config import Span
from hdl.formal import ProofError, prove_equal
from hdl.module import convert

LATENCY = SETTLED - 1 + activation_latency(relaxed=False)
"""Cycles from controls to y of a unit with its controls."""

ONE_FORMAT = (11, Span(7, 7), FixedPoint(12, 10))
FORMATS = (8, Span(4, 6), FixedPoint(10, 8))

REFERENCE = """
module reference(input clk, input [{x}:0] x, input [{offset}:0] offset, input choice,
                 output reg [{y}:0] y);
reg [{x}:0] x1, x2, x3;
always @(posedge clk) begin
    {{x3, x2, x1}} <= {{x2, x1, x}};
    case (x3)
{cases}
    endcase
end
endmodule
"""


def write_reference(folder, length, offset_length, y, y_length):
    """A table of y for every two's complement word, ``activation_latency`` cycles later."""
    cases = "\n".join(f"        {n}: y <= {int(v) % (1 << y_length)};" for n, v in enumerate(y))
    path = folder / "reference.v"
    sizes = {"x": length - 1, "offset": offset_length - 1, "y": y_length - 1}
    path.write_text(REFERENCE.format(**sizes, cases=cases))
    return path


def prove(names, formats, choice, fraction_length, folder, wrong_at=None):
    """Prove a unit in one of its formats, against a table that may be wrong by one somewhere."""
    unit = unit_of(names, *formats)
    length = unit.word_length
    ports = {"x": word(length), "offset": bits(unit.fractions.bits), "choice": bit()}
    ports |= {"y": word(unit.output.word_length)}
    arguments = {"clk": bit(), **ports, "description": (names, *formats)}
    files = convert(unit_alone, arguments, folder)
    x = (np.arange(1 << length) ^ 1 << (length - 1)) - (1 << (length - 1))
    y = fixed.activation(x, unit.table(choice, fraction_length))
    if wrong_at is not None:
        y[wrong_at] += 1
    table = write_reference(folder, length, unit.fractions.bits, y, unit.output.word_length)
    static = {"choice": choice, "offset": unit.fractions.high - fraction_length}
    prove_equal([*files, table], "unit_alone", "reference", LATENCY, static)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_unit_is_its_table(name, tmp_path):
    prove((name,), ONE_FORMAT, 0, 7, tmp_path)


@pytest.mark.parametrize("choice", [0, 1])
@pytest.mark.parametrize("fraction_length", FORMATS[1].values)
def test_a_unit_is_its_table_in_every_format(choice, fraction_length, tmp_path):
    prove(("tanh", "sigmoid"), FORMATS, choice, fraction_length, tmp_path)


@pytest.mark.parametrize("wrong_at", [0, 700])
def test_one_wrong_step_is_found(wrong_at, tmp_path):
    with pytest.raises(ProofError, match="unit_alone is not reference") as caught:
        prove(("sigmoid",), ONE_FORMAT, 0, 7, tmp_path, wrong_at)
    assert caught.value.counterexample
