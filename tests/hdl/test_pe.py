"""Operands, processing elements, their groups and the rows' ends against ernn.fixed's integers."""

import numpy as np
import pytest
from checking import Case, check, packed, take, vectors
from myhdl import block

from ernn import fixed
from ernn.fixed import FixedPoint
from hdl.arith import bit, bits
from hdl.config import CoreConfig, Span, address_bits
from hdl.module import convert
from hdl.pe import (
    CAPTURE_DELAY,
    GROUP_LATENCY,
    OPERANDS_LATENCY,
    OTHER_UNITS,
    Bus,
    Load,
    gather,
    gather_latency,
    operands,
    pe,
    pe_group,
    row,
    row_end,
    row_end_latency,
    row_latency,
    weight_lead,
)
from hdl.program import pack
from hdl.synth import synthesize

COLUMNS = 5
FULL_SIZE = {"n_pe": 128, "accumulator_length": 38}


def config(k, **options):
    """A core of short words."""
    short = {"n_pe": 8, "weight": 10, "activation": 12, "preactivation": 14, "weight_depth": 20}
    exact = fixed.accumulator_length(FixedPoint(10, 8), 12 + k.bit_length() - 1, COLUMNS)
    cells = {"accumulator_length": exact, "cell_fraction": Span(8, 9)}
    return CoreConfig(k, **{**short, **cells, **options})


def gauss(X):
    """The shared operands of spectra (..., k): (..., products(k))."""
    k = X.shape[-1]
    groups = [X[..., :2]]
    for f in range(1, k // 2):
        a, b = X[..., 2 * f], X[..., 2 * f + 1]
        groups.append(np.stack([a, a + b, b - a], axis=-1))
    return np.concatenate(groups, axis=-1)


def operands_case(k):
    cfg = config(k)
    length = cfg.input_spectrum_length
    X = fixed.rfft(vectors((k,), cfg.activation))
    return Case(
        operands,
        {"spectrum": bits(k * length), "operand_bus": bits(cfg.operand_bits)},
        {"cfg": cfg},
        {"spectrum": packed(X, length)},
        {"operand_bus": packed(gauss(X), length)},
        OPERANDS_LATENCY,
    )


def test_operands(tmp_path):
    check([operands_case(k) for k in (4, 8, 16, 32)], tmp_path)


@pytest.mark.parametrize("k", [4, 8, 16])
def test_operands_never_overflow(k):
    """|Re| + |Im| of a bin is at most k times the largest sample, whatever the block is."""
    length = 4
    corners = np.indices((2,) * k).reshape(k, -1).T * 15 - 8
    X = gauss(fixed.rfft(corners))
    half = 1 << (length + k.bit_length() - 2)
    assert X.min() >= -half
    assert X.max() < half


def gauss_weights(W):
    """The factors of the shared operands, of spectra (..., k): (..., products(k))."""
    k = W.shape[-1]
    groups = [W[..., :2]]
    for f in range(1, k // 2):
        c, d = W[..., 2 * f], W[..., 2 * f + 1]
        groups.append(np.stack([c + d, d, c], axis=-1))
    return np.concatenate(groups, axis=-1)


def rows(cfg):
    """Spectra of inputs and of weights for extreme and random rows: twice (rows, q, k)."""
    x = vectors((COLUMNS, cfg.block_size), cfg.activation, 20)
    W = vectors((COLUMNS, cfg.block_size), cfg.weight, 20, seed=1)
    order = np.random.default_rng(2).permutation(len(W))
    W[12:] = W[order][12:]  # extremes meet as they are, and shuffled
    return fixed.rfft(x), W


def row_products(X, W):
    """What a PE adds up for rows (..., q, k): (..., q, products)."""
    return gauss(X) * gauss_weights(W)


def added_up(sums, keep):
    """What comes of rows' sums (n, products) if with ``keep`` (n,) the row before is put aside."""
    aside, before, totals = 0, 0, []
    for total, kept in zip(sums, keep, strict=True):
        totals.append(aside + total)
        aside = before if kept else 0
        before = totals[-1]
    return np.array(totals)


def stream(cycles, times, values, others=0):
    """A value for each cycle: ``values`` at ``times``, at all other times ``others``."""
    line = np.full(cycles, others, object)
    line[np.ravel(times)] = values
    return line.tolist()


# ---------------------------------------------------------------------------------------------- PEs


def pe_ports(cfg):
    address_length = address_bits(cfg.weight_depth)
    return {
        "w_enable": bit(),
        "w_address": bits(address_length),
        "w_data": bits(cfg.block_size * cfg.weight),
        "r_address": bits(address_length),
        "operand_bus": bits(cfg.operand_bits),
        "first": bit(),
        "step": bit(),
        "keep": bit(),
        "clear": bit(),
        "hidden": bit(),
        "sums": bits(cfg.sums_bits),
    }


def pe_case(k, gaps, relaxed=False):
    """One PE through all rows, without a gap or with idle cycles between the columns.

    A row's weights are written under the row before it. Some rows are put aside for the next that
    is not; between the steps there is noise on the bus.
    """
    cfg = config(k, relaxed=relaxed)
    X, W = rows(cfg)
    n, q = X.shape[:2]
    rng = np.random.default_rng(3)
    idle = rng.integers(0, 3, (n, q)) if gaps else np.zeros((n, q), int)
    r_time = q + np.cumsum(idle + 1).reshape(-1, q)
    w_time = np.concatenate([[np.arange(q)], r_time[:-1]])
    cycles = int(r_time[-1, -1]) + weight_lead(cfg) + CAPTURE_DELAY + 4
    slots = cfg.weight_depth // q
    address = (np.arange(n)[:, None] % slots * q + np.arange(q)).ravel()
    keep = rng.integers(0, 3, n) == 0
    keep[:12] = False  # the extremes fill the accumulator

    def noise(times, values, highest=1):
        return stream(cycles, times, values, rng.integers(0, highest, cycles, endpoint=True))

    step_at = r_time + weight_lead(cfg)
    capture_at = step_at[:, -1] + CAPTURE_DELAY
    spectra = packed(gauss(X).reshape(-1, cfg.products), cfg.input_spectrum_length)
    inputs = {
        "w_enable": stream(cycles, w_time, 1),
        "w_address": stream(cycles, w_time, address),
        "w_data": stream(cycles, w_time, packed(W.reshape(-1, k), cfg.weight)),
        "r_address": stream(cycles, r_time, address),
        "operand_bus": noise(step_at, spectra, 1 << 20),
        "first": noise(step_at, (np.arange(n * q) % q == 0).astype(int)),
        "step": stream(cycles, step_at, 1),
        "keep": noise(step_at, np.where(np.arange(n * q) % q == 0, keep.repeat(q), 1).astype(int)),
        "clear": stream(cycles, 0, 1),
        "hidden": stream(cycles, capture_at, 0, 1),
    }
    sums = packed(added_up(row_products(X, W).sum(-2), keep), cfg.accumulator_length)
    expected = {"sums": stream(cycles, capture_at, sums)[:-1]}
    return Case(pe, pe_ports(cfg), {"cfg": cfg}, inputs, expected, 1)


def test_pe(tmp_path):
    cases = [pe_case(4, True), pe_case(8, False), pe_case(8, True), pe_case(16, False)]
    check([*cases, pe_case(8, True, relaxed=True)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_pe(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([pe_case(4, True)], tmp_path, [simulator])


@block
def array(
    clk, operands, first, step, last, keep, clear, address, valid, unit, w_address, data, total, cfg
):
    """All groups of PEs in their chain, and what gathers their sums."""
    buses = [Bus(cfg) for _ in range(cfg.groups + 1)]
    loads = [Load(cfg) for _ in range(cfg.groups + 1)]
    sums = [bits(cfg.drain * cfg.sums_bits) for _ in range(cfg.groups)]
    head, load = buses[0], loads[0]
    head.operands, head.address = operands, address
    head.first, head.step, head.last, head.keep, head.clear = first, step, last, keep, clear
    load.valid, load.unit, load.address, load.data = valid, unit, w_address, data
    groups = [
        pe_group(clk, buses[g], buses[g + 1], loads[g], loads[g + 1], sums[g], cfg)
        for g in range(cfg.groups)
    ]
    return groups, gather(clk, sums, total)


def array_case(k, n_pe, fold, slices=1):
    """Passes of rows through an array; F groups side by side share D rows.

    All weights are loaded before, words for units beyond the PEs among them. A row's columns are
    dealt to the lanes; the last step has fewer where F does not divide them.
    """
    cfg = config(k, n_pe=n_pe, fold=fold, slices=slices)
    q, steps, passes, teams = COLUMNS, -(-COLUMNS // fold), 3, cfg.groups // fold
    x = vectors((q, k), cfg.activation, passes)[-passes:]
    X = fixed.rfft(x)
    W = vectors((q, k), cfg.weight, passes * teams * cfg.drain, seed=1)
    W = W[-passes * teams * cfg.drain :].reshape(passes, teams, cfg.drain, q, k)
    rng = np.random.default_rng(4)
    writes = []
    for p, t, d, c in np.ndindex(passes, teams, cfg.drain, steps * fold):
        unit = (t * fold + c % fold) * cfg.drain + d
        weights = W[p, t, d, c] if c < q else rng.integers(-9, 10, k)
        writes.append((unit, p * steps + c // fold, pack(weights, cfg.weight)))
    for unit in range(cfg.n_pe, cfg.n_pe + OTHER_UNITS):
        writes.append((unit, int(rng.integers(passes * steps)), int(rng.integers(1 << 30))))
    start = len(writes) + cfg.groups + 4
    waits = rng.integers(1, 3, (passes, steps))
    waits[:, 0] += cfg.groups  # every group's sums have a cycle of their own
    step_at = start + weight_lead(cfg) + np.cumsum(waits).reshape(-1, steps)
    cycles = int(step_at[-1, -1]) + cfg.groups + 12
    lanes = np.zeros((passes, steps, fold, cfg.products), int)
    for c in range(q):
        lanes[:, c // fold, c % fold] = gauss(X)[:, c]
    lanes = lanes.reshape(passes * steps, -1)
    total = [0] * cycles
    for p, g in np.ndindex(passes, cfg.groups):
        mine = slice(g % fold, None, fold)
        sums = row_products(X[p, mine], W[p, g // fold, :, mine]).sum(-2)
        if p == 2:  # the second pass puts the first aside, the third goes on from it
            sums = sums + row_products(X[0, mine], W[0, g // fold, :, mine]).sum(-2)
        at = step_at[p, -1] + g + GROUP_LATENCY + gather_latency(cfg.groups)
        total[at] = pack(sums, cfg.accumulator_length)
    first, last = ((np.arange(passes * steps) % steps == s).astype(int) for s in (0, steps - 1))
    values = {
        "operands": (step_at, packed(lanes, cfg.input_spectrum_length)),
        "keep": (step_at, first * (np.arange(passes * steps) // steps == 1)),
        "clear": (0, 1),
        "first": (step_at, first),
        "step": (step_at, 1),
        "last": (step_at, last),
        "address": (step_at - weight_lead(cfg), np.arange(passes * steps)),
        "valid": (np.arange(len(writes)), 1),
        "unit": (np.arange(len(writes)), [w[0] for w in writes]),
        "w_address": (np.arange(len(writes)), [w[1] for w in writes]),
        "data": (np.arange(len(writes)), [w[2] for w in writes]),
    }
    bus, load = Bus(cfg), Load(cfg)
    ports = dict(vars(bus)) | {"valid": load.valid, "unit": load.unit, "w_address": load.address}
    ports |= {"data": load.data, "total": bits(cfg.drain * cfg.sums_bits)}
    inputs = {name: stream(cycles, *pair) for name, pair in values.items()}
    inputs["last"] = stream(cycles, step_at, last, 1)  # means nothing without a step
    settled = cfg.groups + 8
    return Case(array, ports, {"cfg": cfg}, inputs, {"total": total[settled:]}, settled)


@pytest.mark.parametrize("size", [(8, 8, 1), (4, 32, 4), (4, 16, 2, 2)])
def test_array(size, tmp_path):
    check([array_case(*size)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_array(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([array_case(4, 8, 2)], tmp_path, [simulator])


# ------------------------------------------------------------------------------------------- gather


@block
def gather_packed(clk, parts, total, count):
    """The block with its list in one port."""
    length = len(total)
    each = [bits(length) for _ in range(count)]
    return [take(parts, p, n * length, length) for n, p in enumerate(each)], gather(
        clk, each, total
    )


def gather_case(count):
    length = 40
    rng = np.random.default_rng(count)
    values = [int(v) for v in rng.integers(0, 1 << length, count + 20)]
    places = [*range(count), *rng.integers(0, count, 20)]
    values[-1] = 0
    return Case(
        gather_packed,
        {"parts": bits(count * length), "total": bits(length)},
        {"count": count},
        {"parts": [v << int(n) * length for v, n in zip(values, places, strict=True)]},
        {"total": values},
        gather_latency(count),
    )


def test_gather(tmp_path):
    assert [gather_latency(n) for n in (1, 2, 36, 37, 128)] == [0, 1, 1, 2, 2]
    check([gather_case(n) for n in (1, 2, 7, 36, 37, 80)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_gather(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([gather_case(40)], tmp_path, [simulator])


# --------------------------------------------------------------------------------------------- rows


def row_ports(cfg):
    return {
        "sums": bits(cfg.sums_bits),
        "more": bit(),
        "shift": bits(cfg.accumulator_shift.bits),
        "narrow": bit(),
    }


def row_case(function, k, **options):
    """Rows in F parts: in each cycle what is added up of a row so far is rounded."""
    cfg = config(k, **{"accumulator_shift": Span(5, 12), **options})
    X, W = rows(cfg)
    parts = [slice(n, None, cfg.fold) for n in range(cfg.fold)]
    sums = np.stack([row_products(X[:, p], W[:, p]).sum(-2) for p in parts], 1)
    exact = [
        [fixed.accumulate(x[p][None], w[p][None]) for p in parts] for x, w in zip(X, W, strict=True)
    ]
    exact = np.cumsum(np.reshape(exact, (*sums.shape[:2], k)), 1).reshape(-1, k)
    rng = np.random.default_rng(5)
    shift = rng.choice(cfg.accumulator_shift.values, len(X)).repeat(cfg.fold)
    narrow = rng.integers(0, 2, len(X)).repeat(cfg.fold)
    Y, y = [], []
    for total, s, n in zip(exact, shift, narrow, strict=True):
        output = FixedPoint(cfg.activation if n else cfg.preactivation, 4)
        Y.append(fixed.round_spectrum(total, output.fraction_length + int(s), output))
        y.append(fixed.inverse(Y[-1], output))
    outputs = {
        row_end: ("spectrum", packed(Y, cfg.spectrum_length), k * cfg.spectrum_length),
        row: ("y", packed(y, cfg.row_length), cfg.row_bits),
    }
    name, values, width = outputs[function]
    return Case(
        function,
        row_ports(cfg) | {name: bits(width)},
        {"cfg": cfg},
        {
            "sums": packed(sums.reshape(-1, cfg.products), cfg.accumulator_length),
            "more": (np.arange(len(exact)) % cfg.fold > 0).astype(int),
            "shift": shift - cfg.accumulator_shift.low,
            "narrow": narrow,
        },
        {name: values},
        row_end_latency(cfg) if function is row_end else row_latency(cfg),
    )


def test_row_end(tmp_path):
    cases = [row_case(row_end, k, n_pe=16, fold=f) for k, f in ((4, 1), (8, 2), (16, 4))]
    nothing_to_round, three_shifts = {"accumulator_shift": Span(0, 1)}, Span(7, 9)
    equal = {"activation": 12, "preactivation": 12, "accumulator_shift": Span(8, 8)}
    cases += [
        row_case(row_end, 8, **nothing_to_round),
        row_case(row_end, 8, accumulator_shift=three_shifts, preactivation=11),
        row_case(row_end, 8, **equal),
        row_case(row_end, 8, preactivation=24),
        row_case(row_end, 8, n_pe=16, fold=2, relaxed=True),
    ]
    check(cases, tmp_path)


def test_row(tmp_path):
    relaxed = row_case(row, 4, n_pe=16, fold=4, relaxed=True)
    check([row_case(row, 8, n_pe=8, fold=2), row_case(row, 16), relaxed], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_row(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([row_case(row, 4, fold=2)], tmp_path, [simulator])


def test_negative_shift():
    cfg = config(4, accumulator_shift=Span(-1, 2))
    with pytest.raises(ValueError, match="accumulator shift from -1"):
        row_end(None, **row_ports(cfg), spectrum=bits(4 * cfg.spectrum_length), cfg=cfg)


# ---------------------------------------------------------------------------------------- resources


def measured(function, ports, cfg, folder):
    """What Yosys makes of a block."""
    files = convert(function, {"clk": bit(), **ports, "cfg": cfg}, folder)
    return synthesize(files, function.__name__).total


@pytest.mark.parametrize("k", [8, 16])
def test_resources_of_a_pe(k, tmp_path):
    """Its multiplications in DSPs with their sums, its weights in block memories."""
    cfg = CoreConfig(k, **FULL_SIZE)
    found = measured(pe, pe_ports(cfg), cfg, tmp_path)
    assert found.dsp == cfg.products == 2 + 3 * (k // 2 - 1)
    assert found.bram36 == 1.5 * k / 8
    assert found.lut <= (k // 2 - 1) * (cfg.weight + 1) + 4
    assert found.ff <= cfg.sums_bits + cfg.products * cfg.weight


def test_resources_of_a_group(tmp_path):
    """D PEs, and beside them registers of the chain and hardly a LUT."""
    cfg = CoreConfig(8, **FULL_SIZE, fold=2)
    bus, load = Bus(cfg), Load(cfg)
    ports = {"bus_i": bus, "bus_o": Bus(cfg), "load_i": load, "load_o": Load(cfg)}
    found = measured(pe_group, ports | {"sums": bits(4 * cfg.sums_bits)}, cfg, tmp_path)
    chain = sum(map(len, (*vars(bus).values(), *vars(load).values())))
    assert found.dsp == 4 * cfg.products
    assert found.lut <= 4 * 45
    assert found.ff <= chain + 4 * (cfg.sums_bits + cfg.products * cfg.weight)


def test_resources_of_a_row_end(tmp_path):
    """One part of a row, one shift and one length: nothing chooses."""
    cfg = CoreConfig(8, **FULL_SIZE, accumulator_shift=Span(10, 10))
    ports = row_ports(cfg) | {"spectrum": bits(8 * cfg.spectrum_length)}
    found = measured(row_end, ports, cfg, tmp_path)
    assert found.dsp == 0
    assert found.lut <= 8 * (cfg.accumulator_length + cfg.spectrum_length)


def test_operands_take_no_dsp(tmp_path):
    assert measured(operands, operands_case(8).ports, config(8), tmp_path).dsp == 0
