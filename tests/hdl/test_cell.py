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
    POOL_LATENCY,
    STATE_LEAD,
    Pool,
    cell_state_latency,
    gru_lane,
    gru_latency,
    linear_lane,
    linear_latency,
    lstm_lane,
    lstm_latency,
    pool_lane,
)
from hdl.config import CoreConfig, Span
from hdl.formats import Format, limits
from hdl.program import POOL_BITS

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
RELAXED = [replace(cfg, relaxed=True) for cfg in (CONFIGS[1], PLAIN[2])]
CUT = [replace(CONFIGS[2], segments=8), replace(PLAIN[1], segments=64)]
SIZE = 100
BEFORE, AFTER = 25, 30
"""Cycles before the first z and after the last: longer than any lane, so that they are empty."""


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


def run(streams, lead, static, expected, latency):
    """Inputs and answers of values that come so much before z, under controls that stay."""
    size = len(next(iter(streams.values())))
    cycles = BEFORE + size + AFTER
    inputs, answers = {}, {}
    for name, values in streams.items():
        first = BEFORE - lead.get(name[0], 0)
        inputs[name] = np.pad(values, (first, cycles - size - first)).tolist()
    for name, value in static.items():
        inputs[name] = [int(value)] * cycles
    for name, values in expected.items():
        first = BEFORE + latency[name]
        answers[name] = [None] * first + values.tolist() + [None] * (cycles - size - first)
    return inputs, answers


def case(function, ports, cfg, runs):
    """One lane under one format after the other."""
    inputs, answers = (
        {name: [value for part in parts for value in part[name]] for name in parts[0]}
        for parts in zip(*runs, strict=True)
    )
    return Case(function, ports, {"cfg": cfg}, inputs, answers, 0)


def lstm_run(cfg, f_preactivation, f_cell, shift, sigmoid_g=False, peephole=True):
    """Words of all operands through the LSTM lane; without a peephole its weights are zero."""
    peephole = peephole and "peephole" in cfg.cells
    formats = CellFormats(
        FixedPoint(cfg.preactivation, f_preactivation),
        cfg.gate,
        FixedPoint(cfg.cell, f_cell),
        FixedPoint(cfg.weight, shift + f_preactivation - f_cell),
        cfg.segments,
    )
    values = operands(*[cfg.preactivation] * 8, cfg.cell, *[cfg.weight] * 3)
    if not peephole:
        values[9:] = [np.zeros_like(p) for p in values[9:]]
    z, bias, c, p = np.stack(values[:4]), np.stack(values[4:8]), values[8], np.stack(values[9:])
    unit = "sigmoid" if sigmoid_g else "tanh"
    h, new = fixed.lstm_cell(z, bias, c, formats, p if peephole else None, unit)
    static = {
        "preactivation": cfg.preactivation_fraction.high - f_preactivation,
        "cell": cfg.cell_fraction.high - f_cell,
        "peephole": shift - cfg.peephole_shift.low,
        "sigmoid_g": sigmoid_g,
    }
    lead = {"b": BIAS_LEAD, "c": STATE_LEAD, "p": STATE_LEAD}
    latency = {"h": lstm_latency(cfg), "c_o": cell_state_latency(cfg)}
    return run(
        dict(zip(LSTM_STREAMS, values, strict=True)), lead, static, {"h": h, "c_o": new}, latency
    )


LSTM_STREAMS = "z0", "z1", "z2", "z3", "b0", "b1", "b2", "b3", "c_i", "p0", "p1", "p2"
GRU_STREAMS = *LSTM_STREAMS[:8], "h_i"


def lstm_case(cfg, *runs):
    lengths = [cfg.row_length] * 8 + [cfg.cell] + [cfg.weight] * 3
    ports = {name: word(length) for name, length in zip(LSTM_STREAMS, lengths, strict=True)}
    ports |= {
        "preactivation": bits(cfg.preactivation_fraction.bits),
        "cell": bits(cfg.cell_fraction.bits),
        "peephole": bits(cfg.peephole_shift.bits),
        "sigmoid_g": bit(),
        "h": word(cfg.activation),
        "c_o": word(cfg.cell),
    }
    return case(lstm_alone, ports, cfg, runs)


def gru_run(cfg, f_preactivation, reset_before=False, reset_only=False):
    """Words of all operands through the GRU lane."""
    preactivation = FixedPoint(cfg.preactivation, f_preactivation)
    formats = CellFormats(preactivation, cfg.gate, cfg.gate, segments=cfg.segments)
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
    static = {
        "preactivation": cfg.preactivation_fraction.high - f_preactivation,
        "reset_before": reset_before,
        "reset_only": reset_only,
    }
    streams = dict(zip(GRU_STREAMS, values, strict=True))
    lead = {"b": BIAS_LEAD, "h": STATE_LEAD}
    return run(streams, lead, static, {"h_o": new}, {"h_o": gru_latency(cfg)})


def gru_case(cfg, *runs):
    ports = {name: word(cfg.row_length) for name in GRU_STREAMS} | {
        "h_i": word(cfg.activation),
        "preactivation": bits(cfg.preactivation_fraction.bits),
        "reset_before": bit(),
        "reset_only": bit(),
        "h_o": word(cfg.activation),
    }
    return case(gru_alone, ports, cfg, runs)


def linear_run(cfg, relu, narrow):
    """Words of both operands through the linear lane."""
    z, b = operands(*[cfg.row_length] * 2)
    y = FixedPoint(cfg.activation if narrow else cfg.preactivation, 0).saturate(z + b)
    if relu:
        y = np.maximum(y, 0)
    static = {"relu": relu, "narrow": narrow}
    return run({"z": z, "b": b}, {"b": BIAS_LEAD}, static, {"y": y}, {"y": linear_latency(cfg)})


def linear_case(cfg, *runs):
    ports = {name: word(cfg.row_length) for name in "zby"} | {"relu": bit(), "narrow": bit()}
    return case(linear_alone, ports, cfg, runs)


@block
def pool_alone(clk, y, valid, first, average, half, rounding, pooled):
    """A pool whose controls come over ports."""
    pool = Pool()
    pool.valid, pool.first, pool.average = valid, first, average
    pool.half, pool.rounding = half, rounding
    return pool_lane(clk, y, pooled, pool)


def pool_case(length, count=60):
    """Windows of all sizes, extreme contents among them, with pauses inside and between them."""
    rng, lowest, highest = np.random.default_rng(0), -(1 << (length - 1)), (1 << (length - 1)) - 1
    names = "y", "valid", "first", "average", "half", "rounding"
    inputs, expected = {name: [] for name in names}, []
    for n in range(count):
        average = bool(n % 2)
        size = 1 << rng.integers(0, POOL_BITS + 1) if average else rng.integers(1, 20)
        rounding = int(size).bit_length() - 1 if average else 0
        ends = (lowest, highest, None, None)[n // 2 % 4]
        values = rng.integers(lowest, highest + 1, size) if ends is None else np.full(size, ends)
        result = fixed.shift_round(values.sum(), rounding) if average else values.max()
        pauses = rng.integers(0, 3, size + 1)
        pauses[-1] += 1  # the controls stay until the result is out
        for place, pause in enumerate(pauses):
            for value_comes in (False,) * int(pause) + (True,) * int(place < size):
                what = rng.integers(lowest, highest + 1), False, rng.random() < 0.5
                if value_comes:
                    what = values[place], True, place == 0
                controls = average, (1 << rounding) >> 1, rounding
                for name, signal in zip(names, (*what, *controls), strict=True):
                    inputs[name].append(int(signal))
                expected.append(None)
        expected[-1 - int(pauses[-1])] = int(result)
    ports = {"y": word(length), "pooled": word(length), "half": bits(POOL_BITS)}
    ports |= {name: bit() for name in ("valid", "first", "average")}
    ports["rounding"] = bits(POOL_BITS.bit_length())
    return Case(pool_alone, ports, {}, inputs, {"pooled": expected}, POOL_LATENCY)


def lstm_settings(cfg):
    """All fraction lengths with each other; shifts and the unit of g in turn, all of them."""
    fractions = list(product(cfg.preactivation_fraction.values, cfg.cell_fraction.values))
    shifts = cfg.peephole_shift.values
    for n in range(2 * max(len(fractions), len(shifts))):
        yield *fractions[n % len(fractions)], shifts[n % len(shifts)], bool(n // len(shifts) % 2)


def in_every_format(cfg):
    """A case of each lane under all its settings."""
    modes = {}, {"reset_before": True}, {"reset_only": True}
    fractions = cfg.preactivation_fraction.values
    gru = [gru_run(cfg, f, **mode) for f in fractions for mode in modes]
    linear = [linear_run(cfg, *controls) for controls in product((False, True), repeat=2)]
    return [
        lstm_case(cfg, *(lstm_run(cfg, *setting) for setting in lstm_settings(cfg))),
        gru_case(cfg, *gru),
        linear_case(cfg, *linear),
    ]


def test_in_every_format(tmp_path):
    configs = CONFIGS + PLAIN + RELAXED + CUT
    cases = [c for cfg in configs for c in in_every_format(cfg)]
    check([*cases, pool_case(8), pool_case(16, 200)], tmp_path, ["verilator"])


def small():
    cfg, plain, one = CONFIGS[1], PLAIN[1], CONFIGS[2]
    return [
        lstm_case(
            cfg,
            lstm_run(cfg, 7, 9, 3),
            lstm_run(cfg, 8, 10, 0, sigmoid_g=True, peephole=False),
        ),
        lstm_case(plain, lstm_run(plain, 9, 8, 5, sigmoid_g=True), lstm_run(plain, 7, 10, 5)),
        lstm_case(one, lstm_run(one, 5, 6, 4)),
        gru_case(
            cfg,
            gru_run(cfg, 7),
            gru_run(cfg, 8, reset_before=True),
            gru_run(cfg, 9, reset_only=True),
        ),
        linear_case(cfg, linear_run(cfg, relu=True, narrow=True)),
        linear_case(one, linear_run(one, relu=False, narrow=False)),
        pool_case(10),
    ]


def test_small_in_myhdl(tmp_path):
    check(small(), tmp_path, ["myhdl"])


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check(small(), tmp_path, [simulator])


LANES = [  # of 16 bits, weights of 12, with what makes their controls: DSPs and LUTs
    (lambda: lstm_case(CONFIGS[0], lstm_run(CONFIGS[0], 12, 12, 15)), 11, 957),
    (lambda: lstm_case(PLAIN[0], lstm_run(PLAIN[0], 12, 12, 15)), 8, 818),
    (lambda: gru_case(CONFIGS[0], gru_run(CONFIGS[0], 12)), 5, 547),
    (lambda: linear_case(CONFIGS[0], linear_run(CONFIGS[0], relu=True, narrow=True)), 0, 84),
    (lambda: pool_case(16), 0, 129),
]


@pytest.mark.parametrize(
    ("make", "dsp", "lut"), LANES, ids=["peephole", "lstm", "gru", "linear", "pool"]
)
def test_resources(make, dsp, lut, tmp_path):
    found = resources([make()], tmp_path)
    assert found.dsp == dsp
    assert found.lut == pytest.approx(lut, rel=0.1)  # Yosys' versions differ


def test_latencies():
    assert [lstm_latency(cfg) for cfg in (CONFIGS[0], PLAIN[0], *RELAXED)] == [13, 12, 26, 24]
    others = cell_state_latency, gru_latency, linear_latency
    assert [latency(CONFIGS[0]) for latency in others] == [6, 12, 1]
    assert [latency(RELAXED[0]) for latency in others] == [13, 22, 2]


def test_words_too_long():
    """Constants beyond 32 bits, which MyHDL converts wrongly, are refused."""
    with pytest.raises(ValueError, match="the RTL takes 32 bits"):
        Format(CoreConfig(4, 4, preactivation=34, preactivation_fraction=Span(30, 30)))
