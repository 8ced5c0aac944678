"""Networks of convolutions and pools under Verilator: results and cycles, on several cores.

The same cores run recurrent networks too.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from checking import make
from layers import expected, extreme_models, random_frames
from networks import SYSTEM, network
from pictures import ACTIVATION, RESULT, random_convolution, random_images, vgg

from ernn.fixed import FixedPoint
from ernn.quantize import WordLengths
from ernn.quantize.feedforward import Geometry, IntegerLinear, IntegerPool
from ernn.quantize.integer import IntegerModel
from hdl.compiler import compile_model, configure
from hdl.config import covering
from hdl.convert import write_accelerator
from hdl.program import block_products
from hdl.report import describe, draw_timeline, operations
from hdl.schedule import Schedule, latency
from hdl.simulate import Simulator
from hdl.tools import lint

K = 4


def pooled():
    """A pool at the end, and a mean of 16 pixels that overlap."""
    return network(
        random_convolution(K, (3, 9), Geometry((7, 7), (2, 2))),
        IntegerPool(9, K, Geometry((6, 6), (4, 4), stride=(2, 1)), ACTIVATION, "average"),
        random_convolution(K, (9, 5), Geometry((2, 3), (1, 3)), output=RESULT),
        IntegerPool(5, K, Geometry((2, 1), (2, 1)), RESULT, "max"),
    )


def margins():
    """An image that reaches further to the left than there were columns before it."""
    return network(
        random_convolution(K, (1, 50), Geometry((4, 4), (1, 1))),
        random_convolution(K, (50, 9), Geometry((4, 4), (4, 4), padding=(0, 2), stride=(1, 5))),
    )


def classified():
    """Both kinds of layers: a fully connected one reads the last pixel."""
    rng = np.random.default_rng(0)
    weight, pixel = FixedPoint(8, 8), Geometry((4, 4), (4, 4))
    return network(
        random_convolution(K, (9, 21), Geometry((4, 4), (3, 3), padding=(1, 1))),
        random_convolution(K, (21, 10), pixel),
        IntegerLinear(
            *(10, 6, K, ACTIVATION, weight, RESULT),
            W=rng.integers(-70, 71, (2, 3, K)),
            bias=rng.integers(-100, 100, 6),
        ),
    )


SMALL_VGG, PHOTOGRAPHS = vgg(K, 16, (5, 9), 14, WordLengths(8, 8, 10))
NETWORKS = {f"random {seed}": random_images(seed) for seed in range(12)}
NETWORKS |= {"pooled": pooled(), "classified": classified(), "margins": margins()}
NETWORKS |= {"vgg": SMALL_VGG} | SYSTEM
SHAPES = {
    "one slice": {"n_pe": 8, "fold": 2},
    "two slices": {"n_pe": 16, "slices": 2, "fold": 2},
    "folded": {"n_pe": 16, "fold": 4, "streams": 2},
    "relaxed": {"n_pe": 16, "slices": 2, "fold": 2},
}


@cache
def simulator(core):
    cfg = covering([configure(model, **SHAPES[core]) for model in NETWORKS.values()])
    return Simulator(replace(cfg, relaxed=core == "relaxed"))


def run(core, model, frames, **traffic):
    """A run whose results are right, and its program."""
    streams = SHAPES[core].get("streams", 1)
    program = compile_model(model, simulator(core).cfg, streams)
    utterances = random_frames(model, [frames] * streams)
    result = simulator(core).run(program, utterances, patience=20000, **traffic)
    for got, want in zip(result.outputs, expected(model, utterances), strict=True):
        np.testing.assert_array_equal(got, want)
    return result, program


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("core", SHAPES)
def test_results_and_cycles(core, name):
    result, program = run(core, NETWORKS[name], 16)
    streams = program.streams
    schedule = Schedule(program, 16)
    periods = np.diff(result.finished[streams - 1 :: streams])[8:].tolist()
    assert periods == np.diff([frame.output for frame in schedule.frames])[8:].tolist()
    assert program.limit < schedule.cycles_per_frame


def assert_photographs_are_classified(simulator, model, frames):
    """Results and cycles of a network like VGG; return its schedule."""
    program = compile_model(model, simulator.cfg)
    schedule = Schedule(program, 4)
    result = simulator.run(program, [frames])
    (want,) = expected(model, [frames])
    np.testing.assert_array_equal(result.outputs[0], want)
    assert len(set(want.argmax(1))) > 2
    outputs = [frame.output for frame in schedule.frames]
    assert set(np.diff(result.finished[2:])) == {schedule.period} == set(np.diff(outputs[1:]))
    lone = simulator.run(program, [frames[:1]])
    assert lone.finished[0] - lone.accepted[0] == latency(program)
    return schedule


@pytest.mark.parametrize("core", ["one slice", "two slices"])
def test_photographs(core):
    assert_photographs_are_classified(simulator(core), SMALL_VGG, PHOTOGRAPHS)


@pytest.mark.slow
def test_photographs_in_a_network_of_the_size_for_cifar():
    """Frames of 3 x 32 x 32 values.

    With k = 16 they take 16 PEs 40 thousand cycles, which Verilator runs in a second; k = 8 would
    be four times as many. Four-fold, the PEs are busy where a layer has but 4 block rows.
    """
    model, frames = vgg(16, 32, (64, 128, 256), 512, WordLengths(12, 16, 16))
    core = Simulator(configure(model, 16, fold=4))
    schedule = assert_photographs_are_classified(core, model, frames)
    assert schedule.program.block_products == 573_936
    assert schedule.utilization > 0.9


@pytest.mark.parametrize("name", ["random 1", "random 4", "random 8", "pooled", "classified"])
@pytest.mark.parametrize("core", SHAPES)
def test_pauses_and_extreme_contents(core, name):
    for seed, (idle, stall) in enumerate([(0.9, 0.0), (0.0, 0.9), (0.5, 0.5)]):
        run(core, NETWORKS[name], 5, idle=idle, stall=stall, seed=seed)
    for model in extreme_models(NETWORKS[name]):
        run(core, model, 4)


def test_results_are_not_all_alike():
    """The networks are good for something: what is compared takes many values."""
    for name in NETWORKS.keys() - SYSTEM.keys():
        model = NETWORKS[name]
        (results,) = expected(model, random_frames(model, [50]))
        assert len(np.unique(results)) > 12, name


def test_block_products_are_those_of_pixels_in_the_image():
    """Counted window by window: what is beyond the edge is left out."""
    geometry = Geometry((4, 5), (3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 1))
    model = network(random_convolution(K, (9, 10), geometry))
    inside = np.ones((1, 4, 5), np.int64)
    assert geometry.seen == geometry.windows(inside).sum()
    assert block_products(model) == geometry.seen * 3 * 3


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([IntegerPool(3, K, Geometry((4, 4), (4, 4)), ACTIVATION)], "layer 0 .pool.: it must be b"),
        ([random_convolution(K, (3, 4), Geometry((4, 4), (3, 3)))], "gives 2 x 2 pixels: it must"),
        (
            [random_convolution(K, (3, 4), Geometry((4, 4), (2, 2), padding=(2, 0)))],
            r"layer 0 \(conv2d\): padding \(2, 0\): a window is above or below the image",
        ),
        (
            [random_convolution(K, (3, 4), Geometry((4, 4), (2, 2), dilation=(3, 3)))],
            r"layer 0 \(conv2d\): dilation \(3, 3\); the core has 1 along a row",
        ),
        (
            [random_convolution(K, (1, 4), Geometry((17, 1), (17, 1)))],
            r"layer 0 \(conv2d\): window \(17, 1\); the core has 16 x 16",
        ),
        (
            [
                random_convolution(K, (3, 4), Geometry((4, 4), (3, 3))),
                IntegerLinear(
                    *(16, 4, K, ACTIVATION, FixedPoint(8, 8), RESULT),
                    W=np.zeros((1, 4, K), np.int64),
                    bias=np.zeros(4, np.int64),
                ),
            ],
            "linear behind an image of 2 x 2 pixels: a convolution with a window of that size",
        ),
        (
            [
                random_convolution(K, (3, 4), Geometry((2, 8), (1, 1))),
                random_convolution(K, (4, 4), Geometry((4, 4), (4, 4))),
            ],
            r"conv2d of an image \(4, 4\): the layer before gives another",
        ),
    ],
)
def test_what_the_core_does_not_run_is_refused(layers, message):
    model = IntegerModel(tuple(layers))
    with pytest.raises(ValueError, match=message) as raised:
        configure(model, 8)
    assert "\n" not in str(raised.value)


def test_a_core_without_images_refuses_them():
    with pytest.raises(ValueError, match=r"layer 0 \(conv2d\): the core has no images"):
        compile_model(NETWORKS["pooled"], replace(simulator("one slice").cfg, images=False))


def test_verilog_and_vhdl_of_a_whole_accelerator(tmp_path, icarus, ghdl):
    """The converted test benches, that of VHDL too, with folds, slices and two streams."""
    model = NETWORKS["pooled"]
    program = compile_model(model, configure(model, 16, slices=2, fold=2, streams=2), streams=2)
    verilog, _ = write_accelerator(program, random_frames(model, [2, 2]), tmp_path)
    lint(verilog, "accelerator")
    for target in ("iverilog", "ghdl"):
        result = make(tmp_path, target)
        assert "\nPASS\n" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("streams", [1, 2])
def test_a_report_tells_of_each_layer(streams, tmp_path):
    model = NETWORKS["classified"]
    program = compile_model(model, configure(model, 8, fold=2, streams=streams), streams)
    layers = operations(program, Schedule(program).frames[-2].steps)
    assert len(layers) == 3 * streams
    assert sum(op.products for op in layers) == streams * program.block_products
    for op in layers:
        assert 0 < op.products <= op.filled <= op.busy * 8
    draw_timeline(program, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert describe(model)[0] == "conv2d 144 -> 336, activation relu"
