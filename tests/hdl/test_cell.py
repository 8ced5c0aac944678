"""The cell lanes against the integers of ernn.fixed, in every format that they can be given."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from checking import Case, check, resources, vectors
from myhdl import always, block

from ernn import fixed
from ernn.fixed import CellFormats, FixedPoint
from hdl.arith import bit, bits, word
from hdl.cell import (
    BIAS_LEAD,
    CELL_STATE_LATENCY,
    GRU_LATENCY,
    LINEAR_LATENCY,
    STATE_LEAD,
    gru_lane,
    linear_lane,
    lstm_lane,
    lstm_latency,
)
from hdl.config import CoreConfig, Span
from hdl.formats import Format, limits

CELLS = "lstm", "peephole", "gru"
CONFIGS = [
    CoreConfig(4, 4, cells=CELLS),
    CoreConfig(
        *(4, 4),
        cells=CELLS,
        **{"weight": 10, "activation": 12, "preactivation": 14, "cell": 13},
        **{"preactivation_fraction": Span(7, 9), "cell_fraction": Span(8, 10)},
        peephole_shift=Span(0, 5),
    ),
    CoreConfig(
        *(4, 4),
        cells=CELLS,
        **{"weight": 8, "activation": 12, "preactivation": 10, "cell": 12},
        **{"preactivation_fraction": Span(5, 5), "cell_fraction": Span(6, 6)},
        peephole_shift=Span(4, 4),
    ),
]
PLAIN = [replace(cfg, cells=("lstm", "gru")) for cfg in CONFIGS]
SIZE = 100
READY = 24
"""Cycles until the first answer, of every lane: by then no lane holds anything unknown."""


@block
def zero(clk, control):
    """Drive a control that the lane does not read."""

    @always(clk.posedge)
    def store():
        control.next = 0

    return store


@block
def lstm_alone(
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
    p0,
    p1,
    p2,
    preactivation,
    cell,
    peephole,
    sigmoid_g,
    h,
    c_o,
    cfg,
):
    """A lane whose format comes over ports."""
    fmt = Format(cfg)
    fmt.preactivation, fmt.cell, fmt.peephole = preactivation, cell, peephole
    fmt.sigmoid_g = sigmoid_g
    others = [zero(clk, control) for control in (fmt.reset_before, fmt.reset_only)]
    others += [zero(clk, control) for control in (fmt.relu, fmt.narrow)]
    ports = z0, z1, z2, z3, b0, b1, b2, b3, c_i, h, c_o, fmt, cfg
    if "peephole" in cfg.cells:
        return others, limits(clk, fmt, cfg), lstm_lane(clk, *ports, p0, p1, p2)
    return others, limits(clk, fmt, cfg), lstm_lane(clk, *ports)


@block
def gru_alone(
    clk,
    z0,
    z1,
    z2,
    z3,
    b0,
    b1,
    b2,
    b3,
    h_i,
    preactivation,
    reset_before,
    reset_only,
    h_o,
    cfg,
):
    """A lane whose format comes over ports."""
    fmt = Format(cfg)
    fmt.preactivation, fmt.reset_before, fmt.reset_only = preactivation, reset_before, reset_only
    others = fmt.cell, fmt.peephole, fmt.sigmoid_g, fmt.relu, fmt.narrow
    return (
        [zero(clk, control) for control in others],
        limits(clk, fmt, cfg),
        gru_lane(clk, z0, z1, z2, z3, b0, b1, b2, b3, h_i, h_o, fmt, cfg),
    )


@block
def linear_alone(clk, z, b, relu, narrow, y, cfg):
    """A lane whose format comes over ports."""
    fmt = Format(cfg)
    fmt.relu, fmt.narrow = relu, narrow
    others = fmt.preactivation, fmt.cell, fmt.peephole, fmt.sigmoid_g
    return (
        [zero(clk, control) for control in others],
        limits(clk, fmt, cfg),
        linear_lane(clk, z, b, y, fmt, cfg),
    )


def operands(*lengths):
    """Values for every operand, in orders of their own, so that extremes meet all others."""
    rng = np.random.default_rng(0)
    values = [vectors((1,), length, SIZE, seed) for seed, length in enumerate(lengths)]
    # the first 12 are the extremes of all; the rest is shuffled
    return [np.concatenate([v[:12], rng.permutation(v)])[:, 0] for v in values]


def case(function, ports, cfg, streams, lead, static, expected, latency):
    """A lane's case: streams of values that come so much before z, controls that stay."""
    size = len(next(iter(expected.values())))
    before = READY - latency
    inputs = {
        name: np.pad(values, (before - lead.get(name[0], 0), 0)) for name, values in streams.items()
    }
    inputs |= {name: np.full(size + READY, value) for name, value in static.items()}
    return Case(function, ports, {"cfg": cfg}, inputs, expected, READY)


def lstm_case(cfg, f_preactivation, f_cell, shift, sigmoid_g=False, peephole=True):
    """Words of all operands through the LSTM lane; without a peephole its weights are zero."""
    has_peephole = "peephole" in cfg.cells
    f_peephole = shift + f_preactivation - f_cell
    formats = CellFormats(
        FixedPoint(cfg.preactivation, f_preactivation),
        cfg.gate,
        FixedPoint(cfg.cell, f_cell),
        FixedPoint(cfg.weight, f_peephole),
    )
    names = ["z0", "z1", "z2", "z3", "b0", "b1", "b2", "b3", "c_i", "p0", "p1", "p2"]
    values = operands(*[cfg.preactivation] * 8, cfg.cell, *[cfg.weight] * 3)
    if not (has_peephole and peephole):
        values[9:] = [np.zeros_like(p) for p in values[9:]]
    ahead = lstm_latency(cfg) - CELL_STATE_LATENCY  # of c_o before h
    z, bias, c, p = values[:4], values[4:8], values[8], values[9:]
    h, new = fixed.lstm_cell(
        *(np.pad(z, ((0, 0), (0, ahead))), np.pad(bias, ((0, 0), (0, ahead)))),
        np.pad(c, (0, ahead)),
        formats,
        np.pad(p, ((0, 0), (0, ahead))) if has_peephole and peephole else None,
        "sigmoid" if sigmoid_g else "tanh",
    )
    lengths = [cfg.row_length] * 8 + [cfg.cell] + [cfg.weight] * 3
    ports = {name: word(length) for name, length in zip(names, lengths, strict=True)}
    ports |= {
        "preactivation": bits(cfg.preactivation_fraction.bits),
        "cell": bits(cfg.cell_fraction.bits),
        "peephole": bits(cfg.peephole_shift.bits),
        "sigmoid_g": bit(),
        "h": word(cfg.activation),
        "c_o": word(cfg.cell),
    }
    static = {
        "preactivation": cfg.preactivation_fraction.high - f_preactivation,
        "cell": cfg.cell_fraction.high - f_cell,
        "peephole": shift - cfg.peephole_shift.low,
        "sigmoid_g": sigmoid_g,
    }
    streams = dict(zip(names, values, strict=True))
    lead = {"b": BIAS_LEAD, "c": STATE_LEAD, "p": STATE_LEAD}
    expected = {"h": h[: len(c)], "c_o": new[ahead:]}
    return case(lstm_alone, ports, cfg, streams, lead, static, expected, lstm_latency(cfg))


def gru_case(cfg, f_preactivation, reset_before=False, reset_only=False):
    """Words of all operands through the GRU lane."""
    formats = CellFormats(FixedPoint(cfg.preactivation, f_preactivation), cfg.gate, cfg.gate)
    names = ["z0", "z1", "z2", "z3", "b0", "b1", "b2", "b3", "h_i"]
    values = operands(*[cfg.preactivation] * 8, cfg.activation)
    z, bias, h = np.stack(values[:4]), np.stack(values[4:8]), values[8]
    if reset_only:
        r = fixed.gru_gate(z[0], bias[0], formats)
        new = fixed.shift_round(r * h, cfg.gate.fraction_length)
    elif reset_before:
        u = fixed.gru_gate(z[1], bias[1], formats)
        n = fixed.gru_candidate(z[2], bias[2] + bias[3], formats)
        new = fixed.gru_update(u, n, h, formats)
    else:
        new = fixed.gru_cell(z, bias, h, formats)
    ports = {name: word(cfg.row_length) for name in names} | {
        "h_i": word(cfg.activation),
        "preactivation": bits(cfg.preactivation_fraction.bits),
        "reset_before": bit(),
        "reset_only": bit(),
        "h_o": word(cfg.activation),
    }
    static = {
        "preactivation": cfg.preactivation_fraction.high - f_preactivation,
        "reset_before": reset_before,
        "reset_only": reset_only,
    }
    streams = dict(zip(names, values, strict=True))
    lead = {"b": BIAS_LEAD, "h": STATE_LEAD}
    return case(gru_alone, ports, cfg, streams, lead, static, {"h_o": new}, GRU_LATENCY)


def linear_case(cfg, relu, narrow):
    """Words of both operands through the linear lane."""
    z, b = operands(*[cfg.row_length] * 2)
    y = FixedPoint(cfg.activation if narrow else cfg.preactivation, 0).saturate(z + b)
    if relu:
        y = np.maximum(y, 0)
    ports = {name: word(cfg.row_length) for name in "zb"}
    ports |= {"relu": bit(), "narrow": bit(), "y": word(cfg.row_length)}
    static = {"relu": relu, "narrow": narrow}
    streams = {"z": z, "b": b}
    lead = {"b": BIAS_LEAD}
    return case(linear_alone, ports, cfg, streams, lead, static, {"y": y}, LINEAR_LATENCY)


def lstm_settings(cfg):
    """All fraction lengths with each other; shifts and the unit of g in turn, all of them."""
    fractions = list(product(cfg.preactivation_fraction.values, cfg.cell_fraction.values))
    shifts = cfg.peephole_shift.values
    if "peephole" not in cfg.cells:
        shifts = shifts[-1:]
    for n in range(max(len(fractions), len(shifts))):
        yield *fractions[n % len(fractions)], shifts[n % len(shifts)], bool(n // len(shifts) % 2)


def lstm_cases(cfg):
    return [lstm_case(cfg, *setting) for setting in lstm_settings(cfg)]


def gru_cases(cfg):
    modes = {}, {"reset_before": True}, {"reset_only": True}
    return [gru_case(cfg, f, **mode) for f in cfg.preactivation_fraction.values for mode in modes]


def linear_cases(cfg):
    return [linear_case(cfg, relu, narrow) for relu in (False, True) for narrow in (False, True)]


@pytest.mark.parametrize("cfg", CONFIGS + PLAIN, ids=lambda cfg: f"{cfg.preactivation}{cfg.cells}")
def test_lstm_in_every_format(cfg, tmp_path):
    check(lstm_cases(cfg), tmp_path, ["verilator"])


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: f"{cfg.preactivation}")
def test_gru_and_linear_in_every_format(cfg, tmp_path):
    check(gru_cases(cfg) + linear_cases(cfg), tmp_path, ["verilator"])


SMALL = [
    lambda: lstm_case(CONFIGS[1], 7, 9, 3),
    lambda: lstm_case(CONFIGS[1], 8, 10, 4, sigmoid_g=True, peephole=False),
    lambda: lstm_case(PLAIN[1], 9, 8, 5, sigmoid_g=True),
    lambda: lstm_case(CONFIGS[2], 5, 6, 4),
    lambda: gru_case(CONFIGS[1], 7),
    lambda: gru_case(CONFIGS[1], 8, reset_before=True),
    lambda: gru_case(CONFIGS[1], 9, reset_only=True),
    lambda: linear_case(CONFIGS[1], relu=True, narrow=True),
    lambda: linear_case(CONFIGS[2], relu=False, narrow=False),
]


def test_small_in_myhdl(tmp_path):
    check([make() for make in SMALL], tmp_path, ["myhdl"])


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([make() for make in SMALL], tmp_path, [simulator])


LANES = [  # of 16 bits, weights of 12; DSPs and the most LUTs that each may take
    (lambda: lstm_case(CONFIGS[0], 12, 12, 15), 11, 0),
    (lambda: lstm_case(PLAIN[0], 12, 12, 15), 8, 0),
    (lambda: gru_case(CONFIGS[0], 12), 5, 0),
    (lambda: linear_case(CONFIGS[0], relu=True, narrow=True), 0, 0),
]


@pytest.mark.parametrize(("make", "dsp", "lut"), LANES, ids=["peephole", "lstm", "gru", "linear"])
def test_resources(make, dsp, lut, tmp_path):
    found = resources([make()], tmp_path)
    print(found)
    assert found.dsp == dsp
    assert lut * 0.9 <= found.lut <= lut
