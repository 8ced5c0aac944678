"""LSTM and GRU lanes against the integers of ernn.fixed."""

import numpy as np
import pytest
from checking import Case, check, resources, vectors

from ernn import fixed
from ernn.fixed import CellFormats, FixedPoint
from hdl.arith import bit, word
from hdl.cell import GRU_LATENCY, gru_lane, lstm_lane, lstm_latency

FORMATS = [
    CellFormats(FixedPoint(12, 8), FixedPoint(12, 10), FixedPoint(12, 8), FixedPoint(12, 10)),
    CellFormats(FixedPoint(16, 11), FixedPoint(16, 14), FixedPoint(16, 12), FixedPoint(12, 8)),
    CellFormats(FixedPoint(12, 10), FixedPoint(8, 6), FixedPoint(10, 6), FixedPoint(8, 4)),
    CellFormats(FixedPoint(18, 6), FixedPoint(12, 8), FixedPoint(12, 4), FixedPoint(8, 6)),
]


SIZE = 300


def operands(*lengths):
    """Values for every operand, in orders of their own, so that extremes meet all others."""
    rng = np.random.default_rng(0)
    values = [vectors((1,), length, SIZE, seed) for seed, length in enumerate(lengths)]
    # the first 12 are the extremes of all; the rest is shuffled
    return [np.concatenate([v[:12], rng.permutation(v)])[:, 0] for v in values]


def lstm_case(formats, peephole, cell_activation="tanh"):
    P, C = formats.preactivation.word_length, formats.cell.word_length
    names = ["z0", "z1", "z2", "z3", "b0", "b1", "b2", "b3", "c_i"]
    lengths = [P] * 8 + [C]
    if peephole:
        names += ["p0", "p1", "p2"]
        lengths += [formats.peephole.word_length] * 3
    values = operands(*lengths)
    z, bias, p = np.stack(values[:4]), np.stack(values[4:8]), values[9:]  # (4, n), (4, n)
    h, c = fixed.lstm_cell(z, bias, values[8], formats, np.stack(p) if p else None, cell_activation)
    ports = {name: word(length) for name, length in zip(names, lengths, strict=True)}
    return Case(
        lstm_lane,
        ports | {"h": word(formats.gate.word_length), "c_o": word(C)},
        {"formats": formats, "cell_activation": cell_activation},
        dict(zip(names, values, strict=True)),
        {"h": h, "c_o": c},
        lstm_latency(peephole),
    )


def gru_case(formats):
    P, G = formats.preactivation.word_length, formats.gate.word_length
    names = ["z0", "z1", "z2", "z3", "b0", "b1", "b2", "b3", "h_i"]
    lengths = [P] * 8 + [G]
    values = operands(*lengths)
    h = fixed.gru_cell(np.stack(values[:4]), np.stack(values[4:8]), values[8], formats)
    ports = {name: word(length) for name, length in zip(names, lengths, strict=True)}
    return Case(
        gru_lane,
        ports | {"h_o": word(G)},
        {"formats": formats},
        dict(zip(names, values, strict=True)),
        {"h_o": h},
        GRU_LATENCY,
    )


def test_equals_fixed(tmp_path):
    cases = [lstm_case(FORMATS[0], False, "sigmoid")]
    for formats in FORMATS:
        cases += [lstm_case(formats, False), lstm_case(formats, True), gru_case(formats)]
    check(cases, tmp_path)


def test_resources(tmp_path):
    lanes = [lstm_case(FORMATS[1], False), lstm_case(FORMATS[1], True), gru_case(FORMATS[1])]
    assert resources(lanes, tmp_path).dsp == 8 + 11 + 5


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
@pytest.mark.parametrize("make", [lambda f: lstm_case(f, True), gru_case], ids=["lstm", "gru"])
def test_small(make, simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([make(FORMATS[0])], tmp_path, [simulator])


def test_words_too_long():
    """Constants beyond 32 bits, which MyHDL converts wrongly, are refused."""
    formats = CellFormats(FixedPoint(30, 24), FixedPoint(30, 28), FixedPoint(30, 26))
    with pytest.raises(ValueError, match="the RTL takes 32 bits"):
        gru_lane(bit(), *(word(30) for _ in range(10)), formats)
