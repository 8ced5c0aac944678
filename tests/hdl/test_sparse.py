"""The PE of pruned weights against its integer layer, in every cycle of its stream."""

import dataclasses

import numpy as np
import pytest
import torch
from checking import check
from myhdl import block
from products import Run, frames_of, product_case, show, shown, written

from ernn.compress import Levels, Sparse, SparseLevels
from ernn.fixed import FixedPoint
from ernn.quantize.sparse import IntegerSparse
from hdl.module import convert
from hdl.sparse import (
    SPARSE_LATENCY,
    SparseConfig,
    sparse_arguments,
    sparse_pe,
    sparse_words,
)
from hdl.stream import Stream
from hdl.synth import synthesize


def layer(levels, level_bits=4, gap_bits=4, scale=25000, bias=None, length=12, **formats):
    """A layer of these levels."""
    rng = np.random.default_rng(9)
    output = formats.pop("output", FixedPoint(length, 6))
    if bias is None:
        bias = rng.integers(output.lowest, output.highest + 1, len(levels))
    source = FixedPoint(length, 8)
    weight = FixedPoint(16, formats.pop("weight_fraction", 17))
    return IntegerSparse(levels, scale, bias, level_bits, gap_bits, source, weight, output)


def pruned(rows, columns, kept, level_bits, seed=0):
    """Levels of which a share is not zero, one row without."""
    rng = np.random.default_rng(seed)
    highest = 1 << (level_bits - 1)
    levels = rng.integers(1, highest + 1, (rows, columns)) * rng.choice([-1, 1], (rows, columns))
    levels *= rng.random((rows, columns)) < kept
    levels[rows // 2] = 0
    return levels


def config(*layers):
    """What holds any of the layers."""
    each = [dataclasses.asdict(SparseConfig.of(one)) for one in layers]
    return SparseConfig(**{name: max(cfg[name] for cfg in each) for name in each[0]})


def run(one, frames):
    words = sparse_words(one)
    last = [w >> (one.level_bits + one.gap_bits) for w in words["w"]]
    return Run(words, {"scale": one.scale}, last, frames, one.run(frames))


@block
def flat_sparse(
    clk, rst, start, last_entry, scale, w_enable, w_address, w_data, x_enable, x_address, x_data,
    bias_enable, bias_address, bias_data, o_ready, o_valid, o_data, cfg,
):  # fmt: skip
    """The PE with a port for each signal."""
    ports = locals()
    w, x, bias = (written(ports, name) for name in ("w", "x", "bias"))
    o = Stream(cfg.output)
    return show(o, o_ready, o_valid, o_data), sparse_pe(
        clk, rst, start, last_entry, scale, w, x, bias, o, cfg
    )


def case(*layers, stall=0.0):
    cfg = config(*layers)
    runs = [run(one, frames_of(cfg.activation, one.levels.shape[1])) for one in layers]
    return product_case(flat_sparse, cfg, cfg.memories(), runs, 1, SPARSE_LATENCY, stall)


def extremes(rows=4, columns=24):
    """All levels highest, all lowest, none, one a row at its end."""
    at_the_end = np.zeros((rows, columns), int)
    at_the_end[:, -1] = 8
    full = np.full((rows, columns), 8)
    return [full, -full, 0 * full, at_the_end]


SHAPES = [  # rows, columns, share that is kept, level bits, gap bits
    (5, 40, 0.2, 4, 4),
    (7, 33, 0.1, 3, 2),
    (3, 64, 0.5, 2, 1),
    (9, 10, 0.3, 5, 6),
    (6, 50, 0.3, 1, 3),
    (1, 1, 1.0, 4, 4),
]


def projected(rows, columns, kept):
    """A layer of a float matrix as ADMM-NN's projection makes it."""
    torch.manual_seed(0)
    sparse_levels = SparseLevels(Sparse(kept), Levels.equidistant(4))
    return IntegerSparse.of(
        sparse_levels.project(torch.randn(rows, columns)),
        torch.randn(rows),
        level_bits=4,
        gap_bits=4,
        scale_length=16,
        source=FixedPoint(12, 8),
        output=FixedPoint(12, 6),
    )


def test_equals_the_integer_layer(tmp_path):
    """PEs of several shapes, and one that has layers one after another, at several stalls."""
    wide = layer(pruned(4, 50, 0.2, 4), length=16, weight_fraction=24, scale=-32768)
    alone = *(layer(pruned(*shape[:4]), *shape[3:]) for shape in SHAPES), wide, projected(5, 60, 70)
    cases = [case(one, stall=0.3) for one in alone]
    longest = [
        layer(np.full((2, 32), sign << bits - 1), bits, 3) for bits in (1, 4) for sign in (1, -1)
    ]
    cases += [case(one) for one in longest]  # sums of 32 products: a power of two
    layers = [layer(levels) for levels in (*extremes(), pruned(12, 30, 0.1, 4))]
    cases += [case(*layers, stall=stall) for stall in (0.0, 0.5, 0.9)]
    check(cases, tmp_path, ["verilator"])


def test_simulates_in_myhdl(tmp_path):
    check([case(layer(pruned(5, 9, 0.3, 4)), stall=0.5)], tmp_path, ["myhdl"])


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    layers = [layer(pruned(3, 9, 0.3, 3), 3, 2), layer(np.full((2, 9), -4), 3, 2)]
    signs = layer(pruned(3, 9, 0.3, 1), 1, 2)
    check([case(*layers, stall=0.4), case(signs)], tmp_path, [simulator])


def test_the_extremes_saturate():
    full = layer(extremes()[0])
    y = full.run(frames_of(12, 24))
    assert (y[0] == full.output.lowest).all()
    assert (y[1] == full.output.highest).all()


def test_an_entry_takes_a_cycle():
    """What the PE is compared with, cycle by cycle, is what its docstring says."""
    last = run(projected(9, 60, 100), np.zeros((1, 60), int)).last
    cycles = list(shown(np.flatnonzero(last) + 1, 1, SPARSE_LATENCY, 0.0, 0))
    assert len(cycles) == len(last) + SPARSE_LATENCY
    assert cycles[-1] == (1, 8)


def measured(cfg, folder):
    """What Yosys makes of the PE."""
    return synthesize(convert(sparse_pe, sparse_arguments(cfg), folder), "sparse_pe").total


def sizes(activation, accumulator, level=4, gap=4):
    """A PE of memories that are each a block."""
    return SparseConfig(activation, 12, level, gap, 16, 16, accumulator, 2048, 512, 512)


@pytest.mark.parametrize(
    "cfg",
    [
        sizes(12, 25),
        pytest.param(sizes(12, 25, 6, 6), marks=pytest.mark.slow),
        pytest.param(sizes(12, 26), marks=pytest.mark.slow),
        pytest.param(sizes(18, 36), marks=pytest.mark.slow),
    ],
)
def test_resources(cfg, tmp_path):
    """A sum of up to 25 bits is scaled in one DSP with its bias; LUTs join what two give."""
    found = measured(cfg, tmp_path)
    two = cfg.accumulator > 25
    assert found.dsp == 2 + two
    scaled = cfg.accumulator + cfg.scale
    assert found.lut <= 3 * (cfg.output + 9) + cfg.level + cfg.gap + 2 * scaled * two
    assert found.ff <= 8 * cfg.output + cfg.level + cfg.gap + 2 * scaled * two
    entry = 1 if cfg.entry > 9 else 0.5
    assert found.bram36 == entry + 2 * 0.5
