"""The core against the integer model, in MyHDL, Verilator and Icarus."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import expected, extreme_layers, formats, random_frames, random_layer
from myhdl import Signal, Simulation, StopSimulation, delay, instance

from ernn.fixed import FixedPoint
from ernn.quantize.integer import IntegerLinear
from hdl.core import core, core_arguments, frame_cycles, utilization
from hdl.module import convert
from hdl.pe import products
from hdl.program import configure, load_image, pack, pack_frames, unpack, unpack_frames
from hdl.simulate import Simulator
from hdl.synth import synthesize_core
from hdl.tools import cosimulation, lint

LENGTHS = [30, 1, 1, 70, 2]

CASES = {
    # ragged sizes; four passes
    "lstm-4-peephole": (
        random_layer("lstm", 4, 10, 14, formats(peephole=True)),
        4,
    ),
    # ragged sizes; the second pass is half empty
    "gru-8": (random_layer("gru", 8, 20, 21, formats(10, 12, 14)), 8),
    # sigmoid as the cell's unit; ragged hidden size, whose padding is then not zero by itself
    "lstm-16-sigmoid": (
        random_layer("lstm", 16, 24, 40, formats(12, 12, 16, 16), cell_activation="sigmoid"),
        8,
    ),
    # one block of cells, more PEs than rows; as many columns of the input as a frame has cycles
    "gru-4-narrow": (random_layer("gru", 4, 250, 3, formats()), 8),
    # no PE ever waits
    "lstm-8-full": (random_layer("lstm", 8, 240, 128, formats(12, 12, 16, 16), amplitude=0.05), 16),
}


@pytest.mark.parametrize("name", CASES)
def test_verilator_equals_integer_model(name):
    layer, n_pe = CASES[name]
    simulator = Simulator(layer, n_pe)
    utterances = random_frames(layer, LENGTHS)
    runs = [(layer, 0.0, 0.0), (layer, 0.95, 0.0), (layer, 0.0, 0.98), (layer, 0.5, 0.6)]
    runs += [(extreme, 0.0, 0.0) for extreme in extreme_layers(layer)]
    for seed, (layer, idle, stall) in enumerate(runs):
        simulator.layer = layer
        run = simulator.run(utterances, idle=idle, stall=stall, seed=seed)
        for got, want in zip(run.outputs, expected(layer, utterances), strict=True):
            np.testing.assert_array_equal(got, want)
        if not idle and not stall:
            assert set(np.diff(run.finished)) == {frame_cycles(simulator.config)}


def test_short_stalls_cost_nothing():
    """The output FIFO takes up stalls; no credit gets lost."""
    layer, n_pe = CASES["lstm-4-peephole"]
    simulator = Simulator(layer, n_pe)
    run = simulator.run(random_frames(layer, [1000]), stall=0.8)
    assert run.cycles_per_frame < frame_cycles(simulator.config) + 1


def test_a_core_that_never_waits():
    layer, n_pe = CASES["lstm-8-full"]
    cfg = configure(layer, n_pe)
    assert frame_cycles(cfg) == cfg.passes * cfg.columns == 4 * 16 * 46 // 16
    assert utilization(cfg) == 1.0


def stream(dut, ports, layer, cfg, utterances, *, idle=0.0, stall=0.0, interrupt=0):
    """Run utterances through a core, under MyHDL or as a cosimulation.

    With ``interrupt``, the core is reset after so many cycles, and all starts anew. Returns the
    cycle, ``o_last`` and ``o_data`` of the blocks that it gave.
    """
    rng, given = random.Random(0), []
    offers = [
        (block, t == 0)
        for frames in utterances
        for t, frame in enumerate(frames)
        for block in pack_frames(frame[None], cfg)
    ]
    wanted = sum(map(len, utterances)) * cfg.hidden_blocks
    patience = 20 * len(offers) + wanted * frame_cycles(cfg)

    def clock(level):
        ports["clk"].next = level
        return delay(5)

    @instance
    def bench():
        ports["rst"].next = 1
        yield clock(0)
        yield clock(1)
        ports["rst"].next = 0
        for address, word in load_image(layer, cfg):
            ports["load_valid"].next = 1
            ports["load_address"].next = address
            ports["load_data"].next = word
            yield clock(0)
            yield clock(1)
        ports["load_valid"].next = 0
        for limit in [interrupt, patience] if interrupt else [patience]:
            given.clear()
            waiting, offered = list(offers), False
            for cycle in range(limit):
                if waiting and not offered and rng.random() >= idle:
                    offered = True
                    ports["i_data"].next, ports["i_first"].next = waiting[0]
                ports["i_valid"].next = offered
                ports["o_ready"].next = rng.random() >= stall
                yield clock(0)
                for name in ("o_valid", "i_ready"):
                    assert not ports.get(f"unknown_{name}", 0), f"{name} is unknown"
                if offered and ports["i_ready"]:
                    offered = False
                    waiting.pop(0)
                if ports["o_valid"] and ports["o_ready"]:
                    assert not ports.get("unknown_o_data", 0), "o_data is unknown"
                    given.append((cycle, bool(ports["o_last"]), int(ports["o_data"])))
                if len(given) == wanted:
                    break
                yield clock(1)
            ports["rst"].next = 1
            ports["i_valid"].next = 0
            yield clock(0)
            yield clock(1)
            ports["rst"].next = 0
        raise StopSimulation

    simulation = Simulation(dut, bench)
    try:
        simulation.run(quiet=1)
    finally:
        if not simulation._finished:
            simulation.quit()
    return given


def check(given, layer, cfg, utterances):
    got = unpack_frames([block for _, _, block in given], cfg)
    np.testing.assert_array_equal(got, np.concatenate(expected(layer, utterances)))
    last = [last for _, last, _ in given]
    assert last == [n % cfg.hidden_blocks == cfg.hidden_blocks - 1 for n in range(len(last))]


@pytest.mark.parametrize(
    ("layer", "n_pe"),
    [
        (random_layer("lstm", 4, 3, 7, formats(peephole=True), amplitude=0.6), 4),
        (random_layer("gru", 4, 6, 8, formats(), amplitude=0.6), 12),
    ],
)
def test_myhdl_equals_integer_model(layer, n_pe):
    cfg = configure(layer, n_pe)
    ports = core_arguments(cfg)
    utterances = random_frames(layer, [2, 1, 3])
    traffic = {"idle": 0.4, "stall": 0.4, "interrupt": 130}
    check(stream(core(**ports), ports, layer, cfg, utterances, **traffic), layer, cfg, utterances)


def random_core(seed):
    """A small layer and a core for it, of all kinds and sizes that the core runs."""
    rng = random.Random(seed)
    k = rng.choice([4, 4, 8, 16])
    kind, peephole = rng.choice([("lstm", False), ("lstm", True), ("gru", False)])
    unit = {"cell_activation": rng.choice(["tanh", "sigmoid"])} if kind == "lstm" else {}
    fmt = formats(
        weight=rng.randint(6, 14),
        activation=rng.randint(6, 16),
        preactivation=rng.randint(8, 12 if peephole else 18),
        cell=rng.randint(8, 18),
        peephole=peephole,
    )
    sizes = [rng.randint(1, 5 * k) for _ in range(2)]
    layer = random_layer(kind, k, *sizes, fmt, seed=seed, amplitude=rng.choice([0.1, 0.5]), **unit)
    columns = sum(-(-size // k) for size in sizes)
    return layer, 4 * rng.randint(1, min(columns, 5))


@pytest.mark.parametrize("seed", range(8))
def test_random_cores_under_icarus(seed, icarus, tmp_path):
    """Four-state: what was never written must not reach an output, before and after a reset."""
    layer, n_pe = random_core(seed)
    cfg = configure(layer, n_pe)
    files = convert(core, core_arguments(cfg), tmp_path)
    lint(files, "core")
    ports = {name: s for name, s in core_arguments(cfg).items() if name != "cfg"}
    ports |= {f"unknown_{name}": Signal(bool(0)) for name in ("o_valid", "i_ready", "o_data")}
    utterances = random_frames(layer, [1, 2, 4], seed)
    traffic = {"idle": 0.4, "stall": 0.4, "interrupt": 100 + seed} if seed % 2 else {}
    dut = cosimulation(files, "core", ports, tmp_path)
    given = stream(dut, ports, layer, cfg, utterances, **traffic)
    check(given, layer, cfg, utterances)
    if not traffic:
        frames = [cycle for cycle, last, _ in given if last]
        assert set(np.diff(frames)) == {frame_cycles(cfg)}


def test_dsps_are_those_of_the_parts():
    """PEs, one FFT, four inverse FFTs, k lanes, as their blocks state them for k = 8."""
    layer = random_layer("lstm", 8, 16, 24, formats(12, 12, 16, 16))
    assert synthesize_core(layer, 8).total.dsp == 8 * products(8) + 2 + 4 * 2 + 8 * 8


LSTM, GRU = CASES["lstm-8-full"][0], CASES["gru-8"][0]
WIDE = random_layer("lstm", 8, 16, 16, formats(20, 24, 24, 24))
FORMAT = FixedPoint(8, 6)


@pytest.mark.parametrize(
    ("layer", "n_pe", "message"),
    [
        (WIDE, 8, "accumulator of 49 bits: the core has 48"),
        (LSTM, 6, "n_pe 6: must be a multiple of 4"),
        (LSTM, 0, "n_pe 0: must be a multiple of 4"),
        (GRU, 32, "at most 24 PEs"),
        (replace(LSTM, block_size=32), 8, "block_size 32: the core has"),
        (replace(LSTM, block_size=1), 8, "block_size 1: the core has"),
        (replace(LSTM, projection=np.zeros((2, 16, 8)), proj_size=16), 8, "proj_size 16"),
        (replace(GRU, reset_after=False), 8, "reset_after False"),
        (
            replace(LSTM, formats=replace(LSTM.formats, input=FixedPoint(10, 9))),
            8,
            "activations Q10.9 and Q12.10",
        ),
        (
            IntegerLinear(8, 8, 8, *[FORMAT] * 3, np.zeros((1, 1, 8)), np.zeros(8)),
            8,
            "linear layer: the core runs lstm and gru",
        ),
    ],
)
def test_layers_that_the_core_does_not_run(layer, n_pe, message):
    with pytest.raises(ValueError, match=message):
        configure(layer, n_pe)


@settings(deadline=None, derandomize=True)
@given(st.integers(2, 48), st.data())
def test_pack_unpack(word_length, data):
    half = 1 << (word_length - 1)
    words = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=20))
    packed = pack(words, word_length)
    assert 0 <= packed < 1 << word_length * len(words)
    assert unpack(packed, word_length, len(words)).tolist() == words
    assert packed & ((1 << word_length) - 1) == words[0] % (1 << word_length)


def test_load_image_fills_every_unit_once():
    layer, n_pe = CASES["gru-8"]
    cfg = configure(layer, n_pe)
    image = load_image(layer, cfg)
    units = [address >> cfg.unit_address_bits for address, _ in image]
    assert [units.count(n) for n in range(cfg.units)] == (
        [cfg.weight_words] * n_pe + [cfg.hidden_blocks] * 4
    )
    assert len({address for address, _ in image}) == len(image)
    assert max(address for address, _ in image) < 1 << cfg.load_address_bits
    assert max(word for _, word in image) < 1 << cfg.load_data_bits
