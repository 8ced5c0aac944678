"""What a core is configured to, what it refuses, and what it loads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import cut, formats, random_layer, random_linear
from networks import CORE, GATE, INPUT, PROGRAMS, SYSTEM, network

from ernn.fixed import FixedPoint
from hdl.compiler import compile_model, configure
from hdl.config import CoreConfig, Span, covering
from hdl.program import Units, load_address_bits, load_data_bits, pack, unpack

LSTM = network(random_layer("lstm", 4, 7, 9, formats()))
GRU = network(random_layer("gru", 4, 7, 9, formats()))
CFG = configure(LSTM, 8)
WIDE = network(random_layer("lstm", 8, 16, 16, formats(20, 24, 24, 24)))


def test_a_core_of_every_shape_runs_its_model():
    for model in SYSTEM.values():
        for sizes in ({}, {"slices": 2}, {"fold": 2}, {"streams": 3}):
            cfg = configure(model, 8, **sizes)
            program = compile_model(model, cfg, sizes.get("streams", 1))
            assert program.limit <= sum(op.cycles(cfg) for op in program.matrix)
            assert covering([cfg]) == cfg
            smaller = replace(cfg, weight_depth=cfg.weight_depth - 1)
            with pytest.raises(ValueError, match="words of weights a PE: the model needs"):
                compile_model(model, smaller, program.streams)


def test_layers_without_state_alone():
    """The widest output makes the pre-activations' word length."""
    model = network(
        random_linear(4, 9, 7, INPUT, GATE), random_linear(4, 7, 9, GATE, FixedPoint(10, 6))
    )
    assert configure(model, 4).preactivation == 10
    compile_model(model, configure(model, 4))


def test_segments_are_those_of_the_model():
    coarse, linear = cut(LSTM, 8), network(random_linear(4, 9, 7, INPUT, GATE))
    cfg = covering([configure(linear, 8), configure(coarse, 8)])  # linear has none of its own
    assert cfg.segments == configure(coarse, 8).segments == 8
    for model in (coarse, linear):
        compile_model(model, cfg)
    mixed = network(coarse.layers[0], random_layer("lstm", 4, 9, 9, formats(source=GATE)))
    with pytest.raises(ValueError, match=r"layer 1 \(lstm\): segments 32; the core has 8"):
        compile_model(mixed, configure(mixed, 8))


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (lambda: configure(WIDE, 8), "accumulator of 49 bits: the core has 48"),
        (lambda: configure(LSTM, 6), "n_pe 6: must be a multiple of 4"),
        (lambda: configure(LSTM, 0), "n_pe 0: must be a multiple of 4"),
        (lambda: configure(LSTM, 12, slices=2), "n_pe 12: must be a multiple of 8"),
        (lambda: configure(LSTM, 12, fold=3), "fold 3: must be a power of two"),
        (lambda: configure(LSTM, 12, slices=3), "slices 3: must be a power of two"),
        (lambda: CoreConfig(64, 8), "block_size 64: the core has"),
        (lambda: CoreConfig(4, 8, cells=("rnn",)), "cells .'rnn'.: the core has"),
        (lambda: CoreConfig(4, 8, segments=12), "segments 12: must be one of 4, 8, 16, 32, 64"),
        (
            lambda: covering([CFG, configure(cut(LSTM, 8), 8)]),
            "numbers of segments 8 and 32: a core has one",
        ),
        (lambda: Span(3, 2), "range from 3 to 2: must not be empty"),
    ],
)
def test_cores_that_there_are_not(configuration, message):
    with pytest.raises(ValueError, match=message) as raised:
        configuration()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (GRU, {}, r"layer 0 \(gru\): the core has no lanes for gru"),
        (LSTM, {"block_size": 8}, r"layer 0 \(lstm\): block size 4; the core has 8"),
        (LSTM, {"activation": 9}, r"layer 0 \(lstm\): input Q8.5; the core has 9 bits"),
        (LSTM, {"cell": 12}, r"layer 0 \(lstm\): cell Q10.6; the core has 12 bits"),
        (LSTM, {"segments": 16}, r"layer 0 \(lstm\): segments 32; the core has 16"),
        (LSTM, {"preactivation": 12}, "pre-activation Q10.6; the core has 12 bits"),
        (LSTM, {"preactivation_fraction": Span(4, 5)}, "fraction 6; the core has 4 to 5"),
        (LSTM, {"accumulator_shift": Span(2, 4)}, "accumulator's shift 7: the core has 2 to 4"),
        (LSTM, {"accumulator_length": 20}, "accumulator of 2. bits: the core has 20"),
        (LSTM, {"cell_depth": 2}, "words of parameters: the model needs 3, the core has 2"),
        (LSTM, {"row_depth": 2}, "row groups a frame: the model needs 3, the core has 2"),
        (LSTM, {"column_depth": 4}, "spectra a frame: the model needs 5, the core has 4"),
        (SYSTEM["projected"], {}, "the core has no lanes for peephole"),
    ],
)
def test_models_that_a_core_does_not_run(model, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        compile_model(model, replace(CFG, **changes))
    assert "\n" not in str(raised.value)


def test_streams_that_a_core_does_not_have():
    with pytest.raises(ValueError, match="streams: the model needs 2, the core has 1"):
        compile_model(LSTM, CFG, 2)


@settings(deadline=None, derandomize=True)
@given(st.integers(2, 48), st.data())
def test_pack_unpack(word_length, data):
    half = 1 << (word_length - 1)
    words = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=20))
    packed = pack(words, word_length)
    assert 0 <= packed < 1 << word_length * len(words)
    assert unpack(packed, word_length, len(words)).tolist() == words
    assert packed & ((1 << word_length) - 1) == words[0] % (1 << word_length)


@pytest.mark.parametrize("name", PROGRAMS)
def test_sections_fit_the_units(name):
    sections = PROGRAMS[name].sections()
    units = [unit for unit, _ in sections]
    assert len(set(units)) == len(units)
    assert set(range(CORE.n_pe)) < set(units)
    assert max(units) < Units(CORE).count
    for _, words in sections:
        assert len(words) <= 1 << load_address_bits(CORE)
        assert max(words) < 1 << load_data_bits(CORE)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_weight_is_loaded_once(name):
    program = PROGRAMS[name]
    loaded = np.concatenate(
        [op.weights(CORE).reshape(-1, 4) for op in program.matrix if op.stream == 0]
    )
    of_layers = [
        m.reshape(-1, 4)
        for layer in program.model.layers
        for which in ("W", "U", "projection")
        if (m := getattr(layer, which, None)) is not None
    ]
    blocks = [
        sorted(b.tolist() for b in part if b.any()) for part in (loaded, np.concatenate(of_layers))
    ]
    assert blocks[0] == blocks[1]
