"""Phase I with a table of error rates for a trainer and a table of cores for the hardware."""

import json
from dataclasses import replace

import pytest

from ernn.asr import ModelConfig
from ernn.explore import Candidate, CannotBuildError, Core
from ernn.explore.phase1 import explore
from ernn.explore.trace import Trained
from ernn.quantize import WordLengths

BASE = Candidate(ModelConfig(input_size=40, hidden_size=64, peephole=True, proj_size=32))
CONTROL, BUDGET = 20.0, 1.0


def core(cost, bram36=50.0, dsp=100):
    return Core(
        size="8 PEs",
        n_pe=8,
        cycles=round(100 * cost),
        clock=200.0,
        memory_bytes=4096,
        dsp=dsp,
        lut=1000,
        bram36=bram36,
        share=0.01,
        scarcest="dsp",
        pe={"dsp": 5, "lut": 14, "bram36": 1.5},
        simulated=True,
    )


class Hardware:
    """Costs by cell and block size; a mapping of block sizes is named "mixed"."""

    device, holds, block_sizes = "toy", {"dsp": 500, "lut": 10_000, "bram36": 100.0}, (4, 8, 16, 32)

    def __init__(self, costs, refused=(), bram36=()):
        self.costs, self.refused, self.bram36 = costs, dict(refused), dict(bram36)
        self.asked = []

    def __call__(self, candidate, n_pe=None):
        k = candidate.model.block_size
        name = candidate.model.cell, k if isinstance(k, int) else "mixed"
        self.asked.append(name)
        if name[1] == "mixed" and name not in self.costs:
            raise CannotBuildError("a core has one block size")
        found = core(self.costs[name], self.bram36.get(name, 50.0))
        if name in self.refused:
            raise CannotBuildError(self.refused[name], found)
        return found


class Trainer:
    """Error rates by cell and block size; counts its trainings and can be killed in one."""

    def __init__(self, pers, killed_in=None):
        self.pers, self.killed_in, self.trained = pers, killed_in, []

    def __call__(self, candidate):
        k = candidate.model.block_size
        name = candidate.model.cell, k if isinstance(k, int) else "mixed"
        self.trained.append(name)
        if name == self.killed_in:
            raise KeyboardInterrupt
        return Trained(self.pers[name], {"parameters": 7})


COSTS = {
    **{("lstm", 4): 10.0, ("lstm", 8): 5.0, ("lstm", 16): 2.5, ("lstm", 32): 2.4},
    **{("gru", 4): 9.0, ("gru", 8): 4.0, ("gru", 16): 2.0, ("gru", 32): 2.0},
}
PERS = {
    **{("lstm", 4): 20.1, ("lstm", 8): 20.4, ("lstm", 16): 21.5, ("lstm", 32): 23.0},
    **{("gru", 4): 20.2, ("gru", 8): 20.6, ("gru", 16): 22.0},
}


def run(folder, hardware=None, trainer=None, **options):
    hardware, trainer = hardware or Hardware(COSTS), trainer or Trainer(PERS)
    result = explore(BASE, CONTROL, BUDGET, hardware, trainer, folder, **options)
    return result, trainer.trained


def test_the_whole_way(tmp_path):
    result, trained = run(tmp_path)
    assert (result.lower, result.upper) == (4, 16)
    assert trained == [("lstm", 8), ("lstm", 16), ("gru", 8)]
    assert [step.decision for step in result.steps] == ["taken", "left", "taken", "skipped"]
    assert result.steps[-1].reason == "cannot be built: a core has one block size"
    assert result.chosen == replace(
        BASE, model=ModelConfig(input_size=40, hidden_size=64, cell="gru", block_size=8)
    )
    assert result.verdict == "GRU 2 x 64, k = 8: dev PER 20.60, +0.60 against the control"


def test_what_is_written_holds_every_decision_and_its_evidence(tmp_path):
    result, _ = run(tmp_path)
    content = json.loads((tmp_path / "phase1.json").read_text())
    assert (content["lower"], content["upper"], content["trials"]) == (4, 16, 3)
    assert content["limit"] == CONTROL + BUDGET
    assert content["answers"]["8"]["core"]["cycles"] == 500
    steps = content["steps"]
    assert [step["trained"] and step["trained"]["dev_per"] for step in steps] == [
        *(20.4, 21.5, 20.6),
        None,
    ]
    assert steps[0]["trained"]["report"] == {"parameters": 7}
    assert content["chosen"]["model"]["cell"] == "gru"
    text = (tmp_path / "phase1.md").read_text()
    assert (
        "| 8 | 8 PEs | 4 | 50 | 100 | 1,000 | 1.0% of DSP | 500 | 5.0 | 5 DSP, 14 LUT, 1.5 BRAM36 "
        "| 60 DSP, 888 LUT, 38 BRAM36 |\n"
    ) in text
    for line in [*result.bounds, *(step.reason for step in result.steps), result.verdict]:
        assert line in text


@pytest.mark.parametrize("largest", [None, 4, 8, 16, 32])
@pytest.mark.parametrize("upper", [4, 8, 16, 32])
def test_bisection_finds_the_largest_within_the_budget(tmp_path, largest, upper):
    costs = {**COSTS, ("lstm", 32): 1.0}
    refused = {("lstm", k): "too large" for k in (4, 8, 16, 32) if k > upper}
    pers = {(cell, k): 99.0 for cell in ("lstm", "gru") for k in (4, 8, 16, 32)}
    if largest:
        pers |= {("lstm", k): 20.5 for k in (4, 8, 16, 32) if k <= largest}
    result, trained = run(tmp_path, Hardware(costs, refused), Trainer(pers))
    assert result.chosen.model.block_size == min(largest or 4, upper)
    assert len(set(trained)) == len(trained) <= 5
    assert sum(cell == "lstm" for cell, _ in trained) <= 3
    assert ("NOT within the budget" in result.verdict) == (largest is None)


def test_all_five_trials(tmp_path):
    costs = {**COSTS, ("lstm", 32): 1.0, ("gru", 32): 0.9, ("gru", "mixed"): 0.8}
    pers = dict.fromkeys(costs, 20.5)
    result, trained = run(tmp_path, Hardware(costs), Trainer(pers))
    assert trained == [("lstm", 8), ("lstm", 16), ("lstm", 32), ("gru", 32), ("gru", "mixed")]
    assert result.chosen.model.block_size == {"input": 64, "recurrent": 32}
    assert result.trials == 5


def test_the_projection_is_outside_the_recurrence_too(tmp_path):
    costs = {**COSTS, ("gru", 8): 6.0, ("lstm", "mixed"): 4.0}
    pers = {**PERS, ("lstm", "mixed"): 20.9}
    result, _ = run(tmp_path, Hardware(costs), Trainer(pers))
    assert result.chosen.model.block_size == {"input": 16, "recurrent": 8, "projection": 16}
    assert result.chosen.model.cell == "lstm"


def test_a_dearer_gru_is_not_trained(tmp_path):
    result, trained = run(tmp_path, Hardware({**COSTS, ("gru", 8): 5.1}))
    assert ("gru", 8) not in trained
    assert result.chosen.model.cell == "lstm"
    (step,) = [step for step in result.steps if step.candidate.model.cell == "gru"]
    assert step.decision == "skipped"
    assert step.reason == ("its core is dearer than that of LSTM 2 x 64, k = 8: 5.1 against 5.0")


def test_a_gru_outside_the_budget_is_left(tmp_path):
    result, trained = run(tmp_path, trainer=Trainer({**PERS, ("gru", 8): 21.01}))
    assert trained[-1] == ("gru", 8)
    assert result.chosen.model.cell == "lstm"
    assert "dev PER 21.01 is above 21.00" in result.steps[-2].reason


def test_a_dearer_gru_is_taken_where_no_lstm_is_within_the_budget(tmp_path):
    pers = dict.fromkeys(PERS, 30.0) | {("gru", 4): 20.9}
    result, trained = run(tmp_path, Hardware({**COSTS, ("gru", 4): 11.0}), Trainer(pers))
    assert trained == [("lstm", 8), ("lstm", 4), ("gru", 4)]
    assert result.chosen.model.cell == "gru"


def test_the_lower_bound_is_the_memorys(tmp_path):
    hardware = Hardware(
        COSTS, {("lstm", 4): "toy: 4 PEs need 101 BRAM36"}, {("lstm", 4): 101, ("lstm", 8): 100}
    )
    result, trained = run(tmp_path, hardware)
    assert result.lower == 8
    assert ("lstm", 4) not in trained
    assert result.bounds[0] == (
        "Lower bound k = 8, the smallest whose memories toy holds: k = 4 needs 101 of 100 BRAM36 "
        "for 4 KiB; k = 8 needs 100 of 100 BRAM36 for 4 KiB."
    )


def test_the_upper_bound_is_where_the_cost_stops_falling(tmp_path):
    result, _ = run(tmp_path)
    assert result.upper == 16  # k = 32 is 1.04 times cheaper
    assert "k = 16 is 2.00 times cheaper than k = 8; k = 32 is 1.04" in result.bounds[1]
    assert run(tmp_path / "any", least_gain=1.04)[0].upper == 32
    rising = {**COSTS, ("lstm", 8): 11.0}  # the step after a bad one counts
    assert run(tmp_path / "rising", Hardware(rising))[0].upper == 16


@pytest.mark.parametrize("killed_in", [("lstm", 8), ("lstm", 16), ("gru", 8)])
def test_a_killed_run_goes_on_with_what_the_hardware_said(tmp_path, killed_in):
    whole, trials = run(tmp_path / "whole")
    hardware, trainer = Hardware(COSTS), Trainer(PERS, killed_in)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", hardware, trainer)
    again = Hardware(COSTS)
    result, trained = run(tmp_path / "killed", again)
    assert (result, trained) == (whole, trials)
    assert not set(again.asked) & set(hardware.asked)


def test_candidates_have_names_of_their_own():
    candidates = [
        BASE,
        BASE.shaped(block_size=8),
        BASE.shaped(block_size={"input": 8, "recurrent": 4}),
        BASE.shaped(block_size={"input": 4, "recurrent": 8}),
        replace(BASE, words=WordLengths(weight=8)),
        replace(BASE, model=replace(BASE.model, bidirectional=True)),
    ]
    assert len({candidate.key for candidate in candidates}) == len(candidates)
    assert BASE.key == Candidate(replace(BASE.model)).key
    assert candidates[2].name == "LSTM 2 x 64, k = 8 (input), k = 4 (recurrent)"
    assert candidates[5].name == "LSTM 2 x 64, both directions, k = 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": -1.0}, r"budget -1.0: must be 0 or more"),
        ({"least_gain": 0.5}, "least_gain 0.5: must be 1 or more"),
    ],
)
def test_bad_arguments_are_told(tmp_path, options, message):
    options = {"budget": BUDGET, **options}
    budget = options.pop("budget")
    with pytest.raises(ValueError, match=message):
        explore(BASE, CONTROL, budget, Hardware(COSTS), Trainer(PERS), tmp_path, **options)


def test_a_gru_may_be_the_base_and_is_not_tried_again(tmp_path):
    trainer = Trainer(PERS)
    result = explore(BASE.shaped(cell="gru"), CONTROL, BUDGET, Hardware(COSTS), trainer, tmp_path)
    assert {cell for cell, _ in trainer.trained} == {"gru"}
    assert result.chosen == BASE.shaped(cell="gru", block_size=8)


def test_all_cores_may_have_the_same_pes(tmp_path):
    class Fixed(Hardware):
        def __call__(self, candidate, n_pe=None):
            assert n_pe == 16
            return super().__call__(candidate)

    explore(BASE, CONTROL, BUDGET, Fixed(COSTS), Trainer(PERS), tmp_path, n_pe=16)
    assert all("-16-" in path.name for path in (tmp_path / "hardware").iterdir())


def test_a_device_without_room_is_told(tmp_path):
    refused = {("lstm", k): f"toy: lacks {k} DSP" for k in (4, 8, 16, 32)}
    line = "toy has no room for LSTM 2 x 64: k = 4: toy: lacks 4 DSP; k = 8: toy: lacks 8 DSP; "
    with pytest.raises(CannotBuildError, match=line):
        run(tmp_path, Hardware(COSTS, refused))
