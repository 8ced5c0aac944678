"""Models for streams and for whole utterances on the bench."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ernn.fixed import Integers
from ernn.nn import GRU, LSTM
from ernn.quantize import IntegerModel, OfflineModel, calibrate, convert, convert_offline
from hdl import offline
from hdl.program import Program
from hdl.simulate import Run
from hdl.sizing import NoRoomError
from recipes.experiment import hardware
from recipes.experiment.hardware import Bench, through, write_rtl
from recipes.experiment.phase2 import quantities, recurrent_layers
from recipes.experiment.settings import Hardware

INPUT, HIDDEN, CLASSES = 10, 9, 5
LENGTHS = [7, 3, 5]


def quantized(bidirectional: bool) -> IntegerModel | OfflineModel:
    torch.manual_seed(0)
    options = {"block_size": 4, "activation": "pwl", "bidirectional": bidirectional}
    lstm = LSTM(INPUT, HIDDEN, 2, **options)
    linear = torch.nn.Linear(HIDDEN * (1 + bidirectional), CLASSES)
    ranges = calibrate(lstm, torch.randn(2, 20, INPUT))
    return (convert_offline if bidirectional else convert)(lstm, linear, ranges)


@pytest.fixture
def utterances() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(length, INPUT) for length in LENGTHS]


def bench_of(stages: OfflineModel, tmp_path: Path) -> Bench:
    return Bench(offline.configure(stages, 4), tmp_path)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_goes_through_the_programs_is_the_integer_models(
    bidirectional: bool, utterances: list[torch.Tensor], no_tools: None, tmp_path: Path
) -> None:
    model = quantized(bidirectional)
    stages = offline.stages_of(model)
    bench = bench_of(stages, tmp_path)
    frames = [model.quantize(u.numpy()) for u in utterances]
    for got, x in zip(through(stages, frames, bench), frames, strict=True):
        np.testing.assert_array_equal(got, model.run(x[:, None])[:, 0])
    names = ["0-forward", "0-reverse", "1-forward", "1-reverse"] if bidirectional else ["0"]
    assert [*bench.programs] == names
    assert (bench.words, bench.mismatches) == (sum(LENGTHS) * HIDDEN * len(names), 0)
    assert bench.cycles == 100 * len(names)

    write_rtl(bench.programs, [frames[0], frames[1]], tmp_path / "rtl")
    images = {path.name for path in (tmp_path / "rtl").iterdir()}
    assert images == {"image.hex", *(f"image-{name}.hex" for name in names[1:])}
    assert all((tmp_path / "rtl" / name).stat().st_size > 99 for name in images - {"image.hex"})


def test_a_word_that_differs_is_counted(
    utterances: list[torch.Tensor], no_tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hardware.Simulator

    class Faulty(whole):  # type: ignore[misc, valid-type]
        def run(self, program: Program, utterances: Sequence[Integers]) -> Run:
            run = super().run(program, utterances)
            run.outputs[1][2, 3] ^= 1
            return run

    monkeypatch.setattr(hardware, "Simulator", Faulty)
    model = quantized(True)
    stages = offline.stages_of(model)
    bench = bench_of(stages, tmp_path)
    through(stages, [model.quantize(u.numpy()) for u in utterances], bench)
    assert bench.mismatches == len(bench.programs) == 4


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_accelerator_is_the_smallest_that_is_in_time(bidirectional: bool) -> None:
    stages = offline.stages_of(quantized(bidirectional))
    table = Hardware("xcku060", False, 4, 20.0, 1, 1)
    slow = hardware.size(stages, table)
    assert slow.cfg.n_pe == 4
    assert len(slow.programs) == (4 if bidirectional else 1)
    fast = hardware.size(stages, replace(table, target_us=0.9 * slow.latency / 200))
    assert fast.latency <= 0.9 * slow.latency
    with pytest.raises(NoRoomError, match=r"xcku060: no core takes 0.1 us at 200 MHz"):
        hardware.size(stages, replace(table, target_us=0.1))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_format_is_shown_beside_its_own_range(bidirectional: bool) -> None:
    torch.manual_seed(2)
    gru = GRU(INPUT, HIDDEN, 2, block_size=4, activation="pwl", bidirectional=bidirectional)
    linear = torch.nn.Linear(HIDDEN * (1 + bidirectional), CLASSES)
    ranges = calibrate(gru, torch.randn(2, 20, INPUT))
    model = (convert_offline if bidirectional else convert)(gru, linear, ranges)
    layers = dict(recurrent_layers(model))
    names = [*layers]
    expected = ["0 forward", "0 reverse", "1 forward", "1 reverse"] if bidirectional else ["0", "1"]
    assert names == expected
    entries = {entry["name"]: entry for entry in quantities(model, ranges)}
    assert len(entries) == 6 * len(names)
    for name, extents in zip(names, ranges, strict=True):
        assert entries[f"{name} pre-activation"]["largest"] == extents.preactivation.largest
        assert entries[f"{name} output"]["largest"] == extents.output.largest
        layer = layers[name]
        largest = np.abs(layer.formats.weight_recurrent.to_float(layer.U)).max()
        assert entries[f"{name} recurrent weights"]["largest"] == largest
    weights = [entries[f"{name} recurrent weights"]["largest"] for name in names]
    assert len({*weights}) == len(names)
