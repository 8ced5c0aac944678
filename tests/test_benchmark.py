import numpy as np
import pytest

from benchmarks.accelerator import (
    CASES,
    INPUTS,
    Options,
    check,
    features,
    integer_model,
    steady_cycles,
    to_markdown,
)
from hdl.compiler import compile_model, configure

ROW = {
    **{"model": "lstm", "k": 8, "n_pe": 128, "streams": 1, "cycles_per_frame": 413.0},
    **{
        "limit": 400.0,
        "utilization": 400 / 413,
        "latency": 522,
        "dsp": 1506,
        "lut": 35255,
        "bram36": 256.0,
    },
    **{"frames_checked": 96, "mismatches": 0},
}


def test_cycles_are_counted_where_they_are_steady():
    one = np.cumsum([0, 300, 120, 100, 100, 100, 100])
    assert steady_cycles(one, 1) == 100
    three = np.cumsum([0, 20, 20, 300, 20, 20] + 12 * [260 / 3 + 13.3])
    assert steady_cycles(three, 3) == pytest.approx(100, abs=0.1)


def test_table_says_whether_what_was_wanted_is_met():
    text = to_markdown([ROW, ROW | {"cycles_per_frame": 470.0}, ROW | {"streams": 3}], "random", 3)
    met, missed, several = [line for line in text.splitlines() if line.startswith("| lstm")]
    assert met == (
        "| lstm | 8 | 128 | 1 | 413.0 | 400 | 96.9% | 484,262 | 2.61 | 1,506 | 35,255 | 256 | 96 "
        "| 0 | <= 460, >= 85%: met |"
    )
    assert missed.endswith("MISSED |")
    assert several.endswith("| 0 |  |")
    assert "| ESE | KU060 |" in text


def test_every_case_has_a_core(monkeypatch):
    monkeypatch.delenv("ERNN_DATA", raising=False)
    source, vectors = features(Options(frames=8, streams=1))
    assert source == "random"
    assert vectors[0].shape == (8, INPUTS)
    for case in CASES.values():
        model = integer_model(case, vectors, seed=0)
        cfg = configure(model, case.n_pe, slices=case.slices, fold=case.fold)
        assert compile_model(model, cfg).input_blocks == -(-INPUTS // case.block_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(cases=("lstm",)), "cases lstm: there are lstm-k8-r128, "),
        (Options(frames=4), "frames 4: must be 8 or more"),
        (Options(streams=0), "streams 0: must be 1 or more"),
    ],
)
def test_what_is_out_of_range_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        check(options)
