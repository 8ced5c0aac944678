"""The PE of powers of two times bases against its integer layer, in every cycle of its stream."""

import dataclasses

import numpy as np
import pytest
import torch
from checking import check
from myhdl import block
from products import Run, frames_of, product_case, show, shown, written

from ernn.compress import Basis, Sparse
from ernn.fixed import FixedPoint
from ernn.quantize.shift_add import IntegerShiftAdd, largest_shift, weight_length
from hdl.module import convert
from hdl.shift_add import (
    SHIFT_ADD_LATENCY,
    ShiftAddConfig,
    shift_add_arguments,
    shift_add_pe,
    shift_add_words,
)
from hdl.stream import Stream
from hdl.synth import synthesize


def layer(coefficients, bases, input_size, bits=4, gap_bits=3, basis_bits=8, length=12):
    """A layer of these factors."""
    source, output = FixedPoint(length, 8), FixedPoint(length, 6)
    bias = np.random.default_rng(9).integers(output.lowest, output.highest + 1, len(bases))
    weight = FixedPoint(basis_bits, basis_bits + 3)
    return IntegerShiftAdd(
        coefficients, bases, bias, input_size, bits, gap_bits, source, weight, output
    )


def factors(out, pieces, rows, size, bits=4, basis_bits=8, kept=0.6):
    """Random coefficients, some rows of them zero and one output, and bases."""
    rng = np.random.default_rng(size)
    C = rng.choice([-1, 1], (out, pieces, rows, size)) << rng.integers(
        0, largest_shift(bits) + 1, (out, pieces, rows, size)
    )
    C *= rng.random(C.shape) < 0.8
    C *= rng.random((out, pieces, rows, 1)) < kept
    C[out // 2] = 0
    half = 1 << (basis_bits - 1)
    return C, rng.integers(-half, half, (out, pieces, size, size))


def config(*layers):
    """What holds any of the layers."""
    each = [dataclasses.asdict(ShiftAddConfig.of(one)) for one in layers]
    return ShiftAddConfig(**{name: max(cfg[name] for cfg in each) for name in each[0]})


def run(one, cfg):
    frames = frames_of(cfg.activation, one.input_size)
    content = shift_add_words(one)
    last = [w >> (one.size * one.bits + one.gap_bits + 1) for w in content["w"]]
    filled = np.pad(frames, ((0, 0), (0, -one.input_size % one.size)))
    return Run(content, {}, last, filled, one.run(frames))


@block
def flat_shift_add(
    clk, rst, start, last_entry, w_enable, w_address, w_data, basis_enable, basis_address,
    basis_data, x_enable, x_address, x_data, bias_enable, bias_address, bias_data, o_ready,
    o_valid, o_data, cfg,
):  # fmt: skip
    """The PE with a port for each signal."""
    ports = locals()
    w, basis, x, bias = (written(ports, name) for name in ("w", "basis", "x", "bias"))
    o = Stream(cfg.output)
    return show(o, o_ready, o_valid, o_data), shift_add_pe(
        clk, rst, start, last_entry, w, basis, x, bias, o, cfg
    )


def case(*layers, stall=0.0):
    cfg = config(*layers)
    runs = [run(one, cfg) for one in layers]
    steps, latency = cfg.size, SHIFT_ADD_LATENCY
    return product_case(flat_shift_add, cfg, cfg.memories(), runs, steps, latency, stall)


def extremes(out=3, pieces=2, rows=5, size=3):
    """All products highest, all lowest, none."""
    C, B = np.full((out, pieces, rows, size), 64), np.full((out, pieces, size, size), -128)
    return [(C, B), (-C, B), (0 * C, B)]


SHAPES = [  # outputs, pieces, rows, size, bits, basis bits, gap bits, columns less than there are
    (5, 2, 6, 3, 4, 8, 3, 2),
    (4, 1, 9, 2, 3, 6, 1, 1),
    (3, 3, 4, 4, 4, 8, 2, 0),
    (3, 2, 5, 5, 2, 4, 4, 3),
    (4, 1, 20, 1, 4, 8, 2, 0),
]


def of_shape(out, pieces, rows, size, bits, basis_bits, gap_bits, less):
    C, B = factors(out, pieces, rows, size, bits, basis_bits)
    return layer(C, B, pieces * rows * size - less, bits, gap_bits, basis_bits)


def projected(rows, columns):
    """A layer of a float matrix, pruned and as SmartDeal's projection makes it."""
    torch.manual_seed(0)
    weight = Sparse(rows * columns // 4).project(torch.randn(rows, columns)) / 16
    formats = {"source": FixedPoint(12, 8), "output": FixedPoint(12, 6)}
    given = Basis(3).decompose(weight), columns, torch.randn(rows), Basis(3)
    return IntegerShiftAdd.of(*given, gap_bits=3, **formats)


def test_equals_the_integer_layer(tmp_path):
    """PEs of several shapes, and one that has layers one after another, at several stalls."""
    alone = *(of_shape(*shape) for shape in SHAPES), projected(2, 601)
    cases = [case(one, stall=0.3) for one in alone]
    layers = [layer(*some, 30) for some in (*extremes(), factors(7, 2, 5, 3, kept=0.2))]
    cases += [case(*layers, stall=stall) for stall in (0.0, 0.5, 0.9)]
    check(cases, tmp_path, ["verilator"])


def test_simulates_in_myhdl(tmp_path):
    check([case(layer(*factors(3, 2, 3, 3), 17), stall=0.5)], tmp_path, ["myhdl"])


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_small(simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    layers = [layer(*factors(3, 1, 4, 2), 8), layer(*extremes(2, 1, 4, 2)[0], 8)]
    check([case(*layers, stall=0.4)], tmp_path, [simulator])


def test_the_extremes_saturate():
    full = layer(*extremes()[0], 30)
    y = full.run(frames_of(12, 30))
    assert (y[0] == full.output.highest).all()
    assert (y[1] == full.output.lowest).all()


def test_an_entry_takes_as_many_cycles_as_it_has_coefficients():
    """What the PE is compared with, cycle by cycle, is what its docstring says."""
    one = projected(2, 601)
    last = run(one, ShiftAddConfig.of(one)).last
    cycles = list(shown(np.flatnonzero(last) + 1, 3, SHIFT_ADD_LATENCY, 0.0, 0))
    assert len(cycles) == 3 * len(last) + SHIFT_ADD_LATENCY
    assert cycles[-1] == (1, 1)


def measured(cfg, folder):
    """What Yosys makes of the PE."""
    files = convert(shift_add_pe, shift_add_arguments(cfg), folder)
    return synthesize(files, "shift_add_pe").total


def sizes(size, coefficient=4, basis=8, activation=12):
    """A PE of short memories."""
    accumulator = weight_length(size, coefficient, basis) + activation + 10
    fixed = {"output": 12, "gap": 4, "shift": 13, "columns": 512, "rows": 512}
    depths = {"entries": 2048, "bases": 512}
    words = {"activation": activation, "coefficient": coefficient, "basis": basis}
    return ShiftAddConfig(size=size, accumulator=accumulator, **words, **fixed, **depths)


@pytest.mark.parametrize(
    "cfg",
    [
        sizes(3),
        *(pytest.param(sizes(size), marks=pytest.mark.slow) for size in (1, 2, 4, 6)),
        pytest.param(sizes(3, 3), marks=pytest.mark.slow),
        pytest.param(sizes(3, 4, 6), marks=pytest.mark.slow),
        pytest.param(sizes(4, activation=16), marks=pytest.mark.slow),
    ],
)
def test_resources(cfg, tmp_path):
    """The one multiplication is in a DSP, with its sum and the bias."""
    found = measured(cfg, tmp_path)
    assert found.dsp == 1
    term = cfg.basis + largest_shift(cfg.coefficient) + 1
    skip = (1 << cfg.gap) if cfg.size & (cfg.size - 1) else 0
    assert found.lut <= 4 * cfg.size * term + 2 * (cfg.output + 9) + skip
    assert found.ff <= 2 * cfg.size * term + 6 * (cfg.output + cfg.activation)
