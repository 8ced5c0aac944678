"""Operands, processing element and rounding against the integers of ernn.fixed."""

from dataclasses import replace

import numpy as np
import pytest
from checking import Case, check, packed, resources, vectors

from ernn import fixed
from ernn.fixed import CellFormats, FixedPoint
from ernn.quantize.integer import LayerFormats
from hdl.arith import bit, bits
from hdl.pe import (
    CAPTURE_DELAY,
    COMBINE_LATENCY,
    OPERANDS_LATENCY,
    WEIGHT_LEAD,
    combine,
    operand_bits,
    operands,
    pe,
    products,
    sums_bits,
)
from hdl.program import CoreConfig

COLUMNS = 5
ROWS = 4


PREACTIVATION = FixedPoint(14, 9)


def config(k, preactivation=PREACTIVATION):
    """A core of COLUMNS columns."""
    gate = FixedPoint(12, 10)
    formats = LayerFormats(
        input=gate,
        output=gate,
        weight_input=FixedPoint(10, 8),
        weight_recurrent=FixedPoint(10, 8),
        cell=CellFormats(preactivation, gate, FixedPoint(12, 8)),
    )
    hidden = k * ROWS
    return CoreConfig("lstm", k, 4, k * (COLUMNS - ROWS), hidden, formats)


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
    X = fixed.rfft(vectors((k,), cfg.activation_length))
    return Case(
        operands,
        {"spectrum": bits(k * length), "operand_bus": bits(operand_bits(cfg))},
        {"cfg": cfg},
        {"spectrum": packed(X, length)},
        {"operand_bus": packed(gauss(X), length)},
        OPERANDS_LATENCY,
    )


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
    x = vectors((cfg.columns, cfg.block_size), cfg.activation_length, 20)
    W = vectors((cfg.columns, cfg.block_size), cfg.weight_length, 20, seed=1)
    order = np.random.default_rng(2).permutation(len(W))
    W[12:] = W[order][12:]  # extremes meet as they are, and shuffled
    return fixed.rfft(x), W


def row_sums(X, W):
    """What a PE adds up for rows (..., q, k): (..., products(k))."""
    return (gauss(X) * gauss_weights(W)).sum(-2)


def pe_ports(cfg):
    address_length = (cfg.weight_words - 1).bit_length()
    return {
        "w_enable": bit(),
        "w_address": bits(address_length),
        "w_data": bits(cfg.block_size * cfg.weight_length),
        "r_address": bits(address_length),
        "operand_bus": bits(operand_bits(cfg)),
        "first": bit(),
        "enable": bit(),
        "capture": bit(),
        "chain_i": bits(sums_bits(cfg)),
        "chain_o": bits(sums_bits(cfg)),
    }


def pe_case(k, gaps):
    """One PE through all rows, without a gap or with idle cycles between the columns.

    A row's weights are written under the row before it, and the chain moves in every cycle in which
    it does not capture.
    """
    cfg = config(k)
    q, slots = cfg.columns, cfg.passes
    X, W = rows(cfg)
    rng = np.random.default_rng(3)
    idle = rng.integers(0, 3, (len(X), q)) if gaps else np.zeros((len(X), q), int)
    r_time = q + np.cumsum(idle + 1).reshape(-1, q)
    w_time = np.concatenate([[np.arange(q)], r_time[:-1]])
    cycles = int(r_time[-1, -1]) + WEIGHT_LEAD + CAPTURE_DELAY + 4
    address = (np.arange(len(X))[:, None] % slots * q + np.arange(q)).ravel()

    def stream(times, values, others=None):
        line = np.zeros(cycles, object) if others is None else np.array(others, object)
        line[np.ravel(times)] = values
        return line.tolist()

    def noise(length):
        return packed(rng.integers(-5, 6, (cycles, products(k))), length)

    operands_at = r_time + WEIGHT_LEAD
    capture_at = operands_at[:, -1] + CAPTURE_DELAY
    spectra = packed(gauss(X).reshape(-1, products(k)), cfg.input_spectrum_length)
    firsts = np.arange(operands_at.size) % q == 0
    chain = noise(cfg.accumulator_length)
    inputs = {
        "w_enable": stream(w_time, 1),
        "w_address": stream(w_time, address),
        "w_data": stream(w_time, packed(W.reshape(-1, k), cfg.weight_length)),
        "r_address": stream(r_time, address),
        "operand_bus": stream(operands_at, spectra, noise(cfg.input_spectrum_length)),
        "first": stream(operands_at, firsts.tolist(), rng.integers(0, 2, cycles)),
        "enable": stream(operands_at, 1),
        "capture": stream(capture_at, 1),
        "chain_i": chain,
    }
    sums = packed(row_sums(X, W), cfg.accumulator_length)
    expected = {"chain_o": stream(capture_at, sums, chain)[:-1]}
    return Case(pe, pe_ports(cfg), {"cfg": cfg}, inputs, expected, 1)


def test_pe(tmp_path):
    check([pe_case(4, True), pe_case(8, False), pe_case(8, True), pe_case(16, False)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_pe(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([pe_case(4, True)], tmp_path, [simulator])


def combine_case(k, preactivation):
    """With the sums of a PE, combining gives what ernn.fixed accumulates and rounds."""
    cfg = config(k, preactivation)
    X, W = rows(cfg)
    exact = np.stack([fixed.accumulate(x[None], w[None])[0, 0] for x, w in zip(X, W, strict=True)])
    Y = fixed.round_spectrum(exact, cfg.formats.accumulator_fraction, preactivation)
    return Case(
        combine,
        {"sums": bits(sums_bits(cfg)), "spectrum": bits(k * cfg.spectrum_length)},
        {"cfg": cfg},
        {"sums": packed(row_sums(X, W), cfg.accumulator_length)},
        {"spectrum": packed(Y, cfg.spectrum_length)},
        COMBINE_LATENCY,
    )


def test_operands_and_combine(tmp_path):
    nothing_to_round, to_the_left, nothing_to_saturate = (20, 18), (20, 20), (24, 4)
    cases = [operands_case(k) for k in (4, 8, 16)]
    cases += [combine_case(k, PREACTIVATION) for k in (4, 8, 16)]
    for fmt in nothing_to_round, to_the_left, nothing_to_saturate:
        cases.append(combine_case(8, FixedPoint(*fmt)))
    check(cases, tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small_combine(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([combine_case(4, PREACTIVATION)], tmp_path, [simulator])


def test_resources(tmp_path):
    """A PE: its multiplications in DSPs with their sums, its weights in block memories."""
    cfg = CoreConfig("lstm", 8, 32, 160, 256, config(8).formats)
    case = replace(pe_case(8, False), ports=pe_ports(cfg), parameters={"cfg": cfg})
    found = resources([case], tmp_path)
    assert found.dsp == 11
    assert found.bram36 == 1.5
    assert found.lut <= sums_bits(cfg) + 3 * (cfg.weight_length + 1)


def test_resources_of_sums(tmp_path):
    """Operands and rounding take no DSP."""
    assert resources([operands_case(8), combine_case(8, PREACTIVATION)], tmp_path).dsp == 0
