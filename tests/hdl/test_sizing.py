"""The estimate against Yosys, and the choice of a core."""

from dataclasses import replace

import numpy as np
import pytest
from layers import formats, random_frames, random_layer, random_linear, random_network

from ernn.fixed import FixedPoint
from ernn.quantize.integer import IntegerModel
from hdl.compiler import compile_model, configure
from hdl.config import CoreConfig, Span
from hdl.devices import DEVICES, ECP5, SERIES7, Device, find
from hdl.program import block_products
from hdl.schedule import latency
from hdl.simulate import Simulator
from hdl.sizing import (
    Memory,
    NoRoomError,
    choose,
    design,
    estimate,
    fastest,
    overuse,
    resized,
    sizes,
    smallest,
)
from hdl.synth import synthesize_accelerator

MARGIN, ECP5_MARGIN = 0.05, 0.25

LSTM = IntegerModel((random_layer("lstm", 8, 30, 100, formats(12, 16, 16, 16)),))

ONE = Span(10, 10)
SMALL = CoreConfig(
    **{"block_size": 4, "n_pe": 8, "fold": 2, "cells": ("gru",), "accumulator_length": 34},
    **{"accumulator_shift": ONE, "preactivation_fraction": ONE, "cell_fraction": ONE},
    **{"peephole_shift": ONE, "weight_depth": 256, "column_depth": 64, "cell_depth": 16},
    **{"row_depth": 16, "program_depth": 8, "fifo_depth": 16},
)
WIDE = replace(
    SMALL, block_size=8, n_pe=16, slices=2, cells=("lstm", "peephole"), accumulator_length=37
)


def assert_close(cfg, family, synthesized, margin=MARGIN):
    found = estimate(cfg, family).total
    assert found.dsp == synthesized.dsp
    assert found.bram36 == synthesized.bram36
    assert found.lut == pytest.approx(synthesized.lut, rel=margin)
    assert found.ff == pytest.approx(synthesized.ff, rel=margin)


def test_estimate_against_yosys():
    report = synthesize_accelerator(SMALL)
    assert_close(SMALL, SERIES7, report.total)
    modules = estimate(SMALL, SERIES7).modules
    assert {name: count for name, (count, _) in modules.items()} == {
        name: count for name, (count, _) in report.modules.items()
    }
    assert {name: one.dsp for name, (_, one) in modules.items()} == {
        name: one.dsp for name, one in report.own.items()
    }


@pytest.mark.slow
def test_estimate_of_a_core_for_images_against_yosys():
    cfg = replace(SMALL, images=True)
    assert_close(cfg, SERIES7, synthesize_accelerator(cfg).total)
    assert_close(cfg, ECP5, synthesize_accelerator(cfg, "ecp5").total, ECP5_MARGIN)


@pytest.mark.slow
@pytest.mark.parametrize("images", [False, True])
def test_estimate_of_a_core_without_recurrent_cells_against_yosys(images):
    """Three of the four slots, their biases with them, are no hardware there."""
    cfg = replace(SMALL, cells=(), cell_depth=128, images=images)
    assert_close(cfg, SERIES7, synthesize_accelerator(cfg).total)
    cfg = replace(cfg, block_size=8, accumulator_length=37)
    assert_close(cfg, SERIES7, synthesize_accelerator(cfg).total)
    assert_close(cfg, ECP5, synthesize_accelerator(cfg, "ecp5").total, ECP5_MARGIN)


@pytest.mark.slow
def test_estimate_of_a_wider_core_against_yosys():
    assert_close(WIDE, SERIES7, synthesize_accelerator(WIDE).total)


@pytest.mark.slow
def test_estimate_for_ecp5_against_yosys():
    assert_close(SMALL, ECP5, synthesize_accelerator(SMALL, "ecp5").total, ECP5_MARGIN)


@pytest.mark.slow
@pytest.mark.parametrize("segments", [4, 8, 16, 64])
def test_estimate_of_other_segments_against_yosys(segments):
    cfg = replace(SMALL, cells=("lstm", "gru"), segments=segments)
    assert_close(cfg, SERIES7, synthesize_accelerator(cfg).total)
    assert_close(cfg, ECP5, synthesize_accelerator(cfg, "ecp5").total, ECP5_MARGIN)


@pytest.mark.parametrize(
    ("width", "depth", "family", "bram36", "lut"),
    [
        (96, 512, SERIES7, 1.5, 0),  # 3 halves of 36 bits
        (48, 1024, SERIES7, 1.5, 0),  # 3 halves of 18 bits
        (96, 400, SERIES7, 1.5, 0),
        (64, 64, SERIES7, 0, 88),  # 22 of 64 x 3, 4 LUTs each
        (130, 16, SERIES7, 0, 88),  # 22 of 32 x 6
        (64, 64, ECP5, 1, 0),
        (66, 16, ECP5, 0, 102),  # 17 of 16 x 4, 6 LUTs each
    ],
)
def test_memories(width, depth, family, bram36, lut):
    found = Memory("", 2, width, depth).mapped(family)
    assert (found.bram36, found.lut) == (2 * bram36, 2 * lut)


def test_sizes_are_cores():
    found = list(sizes(find("xc7a100t"), 8))
    assert len(set(found)) == len(found)
    for n_pe, slices, fold in found:
        CoreConfig(8, n_pe, slices, fold)
        assert 11 * n_pe <= 240
    assert sorted(n for n, _, _ in found) == [n for n, _, _ in found]
    assert {16, 20} <= {n for n, _, _ in found}


def room(dsp, lut=10**6, bram36=1000.0):
    return Device("toy", SERIES7, "toy", dsp, lut, bram36)


def test_the_fastest_fits_and_none_that_fits_is_faster():
    device = room(500)
    found = fastest([LSTM], device)
    assert overuse(found.resources, device)[0] <= 1
    others = (design([LSTM], SERIES7, *size, 1) for size in sizes(device, 8))
    latencies = [d.latency for d in others if overuse(d.resources, device)[0] <= 1]
    assert found.latency == min(latencies)


def test_the_smallest_meets_the_latency_and_none_smaller_does():
    device = room(1000)
    for cycles in (120, 200, 400):
        found = smallest([LSTM], device, cycles)
        assert found.latency <= cycles
        others = [design([LSTM], SERIES7, *size, 1) for size in sizes(device, 8) if size[0] <= 32]
        assert not [
            d for d in others if d.latency <= cycles and d.resources.dsp < found.resources.dsp
        ]


def test_a_target_takes_fewer_pes_than_the_fastest():
    device = room(1000)
    best = choose([LSTM], device, 100.0)
    relaxed = choose([LSTM], device, 100.0, target_us=2 * best.latency / 100)
    assert relaxed.cfg.n_pe < best.cfg.n_pe
    assert best.latency < relaxed.latency <= 2 * best.latency
    assert choose([LSTM], device, 100.0, n_pe=16).cfg.n_pe == 16


@pytest.mark.parametrize(
    ("device", "options", "message"),
    [
        (room(100), {}, r"not fit: at least 4 PEs \(W = 1, F = 1\) need 118 DSP, 1.18 times"),
        (room(1000), {"n_pe": 128}, r"128 PEs .* need 1,\d+ DSP, 1.\d+ times what it has \(1,000"),
        (
            room(1000),
            {"target_us": 0.1},
            r"no core takes 0.1 us at 100 MHz: the fastest that fits, .* PEs .*, takes .* us",
        ),
        (room(1000), {"n_pe": 6}, "n_pe 6: must be a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_told(device, options, message):
    with pytest.raises(ValueError, match=message):
        choose([LSTM], device, 100.0, **options)


def test_the_block_size_that_would_fit_is_told():
    device = room(1000, lut=60_000, bram36=28)
    model = IntegerModel((random_layer("lstm", 4, 60, 300, formats(12, 16, 16, 16)),))
    message = r"BRAM36, .* times what it has \(28\); block size (8|16) would, with \d+ PEs"
    with pytest.raises(NoRoomError, match=message):
        choose([model], device, 100.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_layers_with_another_block_size(seed):
    model = random_network(seed, 4, layers=3)
    for n_pe in (8, 16):
        program = compile_model(model, configure(model, n_pe))
        given = sum(int(op.rows.any(axis=-1).sum()) for op in program.matrix)
        assert program.block_products == given  # no block of random weights is zero
    larger = resized(model, 8)
    assert [layer.output_size for layer in larger.layers] == [
        layer.output_size for layer in model.layers
    ]
    assert block_products(larger) < block_products(model)
    configure(larger, 8)


def test_devices():
    for device in DEVICES.values():
        assert device.part.lower().startswith(device.name)
    with pytest.raises(ValueError, match="device 'xc1': known are xcku060, "):
        find("xc1")


LONE = {
    "lstm": (
        IntegerModel((random_layer("lstm", 4, 10, 14, formats(peephole=True)),)),
        {"n_pe": 4},
        1,
    ),
    "two-slices": (
        IntegerModel((random_layer("lstm", 4, 30, 40, formats(projection=True), proj_size=20),)),
        {"n_pe": 16, "slices": 2, "fold": 2},
        1,
    ),
    "two-streams": (
        IntegerModel(
            (
                random_layer("gru", 4, 10, 14, formats()),
                random_linear(4, 14, 9, FixedPoint(8, 6), FixedPoint(10, 5)),
            )
        ),
        {"n_pe": 8},
        2,
    ),
}


@pytest.mark.parametrize("name", LONE)
def test_latency_of_a_lone_frame_is_that_of_the_accelerator(name):
    model, size, streams = LONE[name]
    cfg = configure(model, **size, streams=streams)
    program = compile_model(model, cfg, streams)
    frames = random_frames(model, [1] * streams)
    run = Simulator(cfg).run(program, frames)
    for got, x in zip(run.outputs, frames, strict=True):
        np.testing.assert_array_equal(got, model.run(x[:, None])[:, 0])
    assert run.finished[-1] - run.accepted[-1] == latency(program)
