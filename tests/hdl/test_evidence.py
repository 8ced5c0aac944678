"""The hardware of explorations: what it says of candidates, against the modules that it asks."""

from dataclasses import replace

import pytest
import torch

from ernn.asr import ModelConfig
from ernn.explore import Candidate, CannotBuildError
from ernn.explore.phase1 import explore
from ernn.explore.trace import Trained
from ernn.quantize import WordLengths
from hdl import sizing
from hdl.devices import ECP5, SERIES7, Device, find
from hdl.evidence import DeviceHardware, programs_of
from hdl.sizing import design, overuse, sizes

SMALL = find("xc7a100t")
LSTM = Candidate(ModelConfig(input_size=20, hidden_size=32, num_layers=1, block_size=8))
BOTH = replace(LSTM, model=replace(LSTM.model, bidirectional=True, num_layers=2))


def hardware(device=SMALL):
    return DeviceHardware(device, measured=False)


def test_the_core_is_the_one_of_the_least_cost_that_fits():
    device = replace(SMALL, dsp=400)
    core = hardware(device)(LSTM)
    costs = {}
    for size in sizes(device, 8):
        found = design(programs_of(LSTM), SERIES7, *size, 1)
        share, _ = overuse(found.resources, device)
        if share <= 1:
            costs[found.text] = found.latency * share
    assert core.size == min(costs, key=costs.get)
    assert core.cost == costs[core.size]
    assert len(costs) > 5
    assert core.latency_us == core.cycles / 200


def test_a_core_of_so_many_pes():
    core = hardware()(LSTM, n_pe=8)
    assert core.n_pe == 8
    assert core.cost >= hardware()(LSTM).cost
    with pytest.raises(CannotBuildError, match="6 PEs: must be a multiple of 4"):
        hardware()(LSTM, n_pe=6)
    with pytest.raises(CannotBuildError, match=r"64 PEs .* need .* DSP, .* it has \(240\)"):
        hardware()(LSTM, n_pe=64)


def test_what_takes_less_memory():
    sizes = [hardware()(LSTM.shaped(block_size=k), n_pe=4).memory_bytes for k in (4, 8)]
    narrow = replace(LSTM, words=WordLengths(weight=8))
    assert sizes[1] < sizes[0]
    assert hardware()(narrow, n_pe=4).memory_bytes < sizes[1]


@pytest.mark.parametrize(
    ("block_size", "line"),
    [
        (1, "block_size 1: the core has"),
        (32, r"xc7a100t: 4 PEs \(W = 1, F = 1\) need \d+ DSP, .* times what it has \(240\)"),
        ({"input": 16, "recurrent": 8}, "one for all matrices is needed"),
    ],
)
def test_what_cannot_be_built_is_told_in_the_hardwares_words(block_size, line):
    with pytest.raises(CannotBuildError, match=line) as caught:
        hardware()(LSTM.shaped(block_size=block_size))
    nearest = caught.value.nearest
    assert (nearest is None) == (block_size != 32)
    assert nearest is None or nearest.share > 1


def test_both_directions_are_programs_of_one_core():
    programs = programs_of(BOTH)
    assert [m.layers[0].input_size for m in programs] == [20, 20, 64, 64]
    both = design(programs, SERIES7, 4, 1, 1, 1)
    parts = [design([model], SERIES7, 4, 1, 1, 1) for model in programs]
    assert both.latency > 4 * min(part.program.block_products / 4 for part in parts)
    assert both.cfg.weight_depth == max(p.cfg.weight_depth for p in parts)
    assert hardware()(BOTH).cycles > hardware()(LSTM).cycles


def test_a_small_lattice():
    device = Device("toy", ECP5, "toy", 60, 40_000, 60)
    assert hardware(device)(LSTM.shaped(block_size=4)).clock == ECP5.clock


def test_asking_draws_no_random_number():
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    hardware()(LSTM)
    assert torch.rand(1) == wanted


def test_phase1_on_a_real_device(tmp_path):
    """On the small device k = 16 and 32 lack DSPs, and k = 4 costs more than k = 8."""

    def trainer(candidate):
        return Trained(10.0)

    base = replace(LSTM, model=replace(LSTM.model, hidden_size=128))
    result = explore(base, 10.0, 0.5, hardware(), trainer, tmp_path)
    assert (result.lower, result.upper) == (4, 8)
    assert all(f"k = {k} cannot be built: xc7a100t" in result.bounds[1] for k in (16, 32))
    assert "one for all matrices is needed" in result.steps[-1].reason
    assert result.chosen.model.block_size == 8


@pytest.mark.slow
@pytest.mark.parametrize("candidate", [LSTM, BOTH], ids=["one", "both"])
def test_measured_is_what_is_estimated(candidate):
    candidate = candidate.shaped(block_size=4)
    estimated = hardware()(candidate)
    measured = DeviceHardware(SMALL)(candidate)
    assert measured.simulated
    assert not estimated.simulated
    assert (measured.size, measured.cycles) == (estimated.size, estimated.cycles)
    assert (measured.dsp, measured.bram36) == (estimated.dsp, estimated.bram36)
    assert measured.lut == pytest.approx(estimated.lut, rel=0.25)
    assert measured.pe["dsp"] == 5
    assert 0 < measured.pe["lut"] < measured.lut / measured.n_pe


@pytest.mark.slow
def test_what_yosys_finds_too_large_cannot_be_built(monkeypatch):
    """The estimate forgets the LUTs of all modules but one; the device holds what is left."""
    whole = sizing.estimate

    def forgetful(cfg, family):
        found = whole(cfg, family)
        left = {name: (n, replace(r, lut=r.lut // n)) for name, (n, r) in found.modules.items()}
        return replace(found, modules=left)

    monkeypatch.setattr(sizing, "estimate", forgetful)
    estimated = hardware()(LSTM.shaped(block_size=4))
    device = replace(SMALL, lut=round(estimated.lut / 0.8) + 1, dsp=estimated.dsp)
    with pytest.raises(CannotBuildError, match="LUT") as caught:
        DeviceHardware(device)(LSTM.shaped(block_size=4))
    assert caught.value.nearest.pe is not None
