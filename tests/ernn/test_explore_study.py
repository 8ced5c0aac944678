"""The study with formulas for hardware and trainer; workers are real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import toy_study
from optuna.trial import TrialState, create_trial
from toy_study import SPACE, Trainer, run

from ernn.explore.pareto import front, stairs, to_markdown
from ernn.explore.study import Pruning, Space, overtaken

TRIALS = 20
HERE = Path(toy_study.__file__).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of one worker, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, TRIALS)


def test_every_trial_has_its_values_or_a_reason(whole):
    _, study = whole
    assert len(study.trials) == TRIALS
    for trial in study.trials:
        if trial.state is TrialState.COMPLETE:
            assert len(trial.values) == 4
            assert trial.values[1:] == trial.user_attrs["hardware"]
        else:
            assert trial.state is TrialState.PRUNED
            assert "cannot be built: toy: 16" in trial.user_attrs["pruned"] or (
                "points after" in trial.user_attrs["pruned"]
            )
    reasons = [trial.user_attrs.get("pruned", "") for trial in study.trials]
    assert any("cannot be built" in reason for reason in reasons)


def test_no_trial_is_drawn_twice_while_there_are_others(whole, tmp_path):
    _, study = whole
    chosen = [tuple(sorted(t.params.items())) for t in study.trials]
    assert len(set(chosen)) == TRIALS
    space = Space(("lstm",), (32,), (1, 2), (4, 8), (8,), (4, 8, 16))
    study = run(tmp_path, 16, space=space)
    chosen = [tuple(sorted(t.params.items())) for t in study.trials]
    assert len(chosen) == 16
    assert len(set(chosen)) == 12


def test_nothing_on_the_front_is_beaten(whole):
    _, study = whole
    values = [t.values for t in study.trials if t.state is TrialState.COMPLETE]
    kept = front(study)
    assert len(kept) > 3
    for number in kept:
        mine = study.trials[number].values
        assert not [
            v for v in values if v != mine and all(a <= b for a, b in zip(v, mine, strict=True))
        ]
    assert len({tuple(study.trials[n].values) for n in kept}) == len(kept)
    pers = [study.trials[n].values[0] for n in kept]
    assert pers == sorted(pers)


def test_what_is_written(whole):
    folder, study = whole
    content = json.loads((folder / "study.json").read_text())
    assert content["front"] == front(study)
    assert len(content["trials"]) == TRIALS
    complete = [t for t in content["trials"] if t["state"] == "complete"]
    assert all(t["core"] == f"{t['n_pe']} PEs" and len(t["values"]) == 4 for t in complete)
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    table = to_markdown(study)
    assert len(table.splitlines()) == 2 + len(front(study))


def test_a_recogniser_is_trained_once_whatever_its_core(tmp_path):
    trainer = Trainer()
    study = run(tmp_path, TRIALS, trainer, pruning=Pruning(first_epochs=99))
    keys = [candidate.key for candidate in trainer.trained]
    assert len(set(keys)) == len(keys)
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert len(complete) > len(keys)


def test_an_interrupted_study_goes_on_to_the_same_end(tmp_path, whole):
    _, study = whole
    run(tmp_path, 7)
    run(tmp_path, 15)
    again = run(tmp_path, TRIALS)
    assert [t.params for t in again.trials] == [t.params for t in study.trials]
    assert [t.values for t in again.trials] == [t.values for t in study.trials]
    trainer = Trainer()
    run(tmp_path, TRIALS, trainer)
    assert not trainer.trained


def test_the_seed_changes_the_choices(tmp_path, whole):
    _, study = whole
    other = run(tmp_path, 3, seed=1)
    assert [t.params for t in other.trials] != [t.params for t in study.trials[:3]]


def test_ctrl_c_queues_the_trial_again(tmp_path):
    class Interrupted(Trainer):
        def __call__(self, candidate, watch):
            if len(self.trained) == 2:
                raise KeyboardInterrupt
            return super().__call__(candidate, watch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 5, Interrupted())
    study = run(tmp_path, 5)
    failed = [t for t in study.trials if t.state is TrialState.FAIL]
    assert len(failed) == 1
    assert study.trials[failed[0].number + 1].params == failed[0].params
    assert len(study.trials) == 6


def test_a_diverging_training_is_pruned(tmp_path):
    def trainer(candidate, watch):
        raise FloatingPointError("the loss of epoch 2 is not finite")

    study = run(tmp_path, 3, trainer)
    assert {t.state for t in study.trials} == {TrialState.PRUNED}
    assert "not finite" in {t.user_attrs["pruned"].split(" is ")[-1] for t in study.trials}


def other(dev_per, hardware, number=7):
    trial = create_trial(
        state=TrialState.RUNNING, user_attrs={"dev_per": dev_per, "hardware": hardware}
    )
    trial.number = number
    return trial


@pytest.mark.parametrize(
    ("dev_per", "hardware", "better"),
    [
        ([50.0, 30.0], (1.0, 10.0, 5.0), 7),
        ([50.0, 30.1], (1.0, 10.0, 5.0), None),  # behind by no more than the margin
        ([50.0, 30.0], (1.0, 10.0, 5.5), None),  # takes more of one thing
        ([50.0, 30.0], (0.5, 10.0, 5.0), 7),
        ([30.0], (1.0, 10.0, 5.0), None),  # not known after as many epochs
        ([10.0, 40.0, 10.0], (1.0, 10.0, 5.0), None),  # the same epoch counts
    ],
)
def test_when_a_trial_is_hopeless(dev_per, hardware, better):
    pruning = Pruning(first_epochs=2, margin=5.0)
    mine = [50.0, 35.05]
    assert overtaken(mine, (1.0, 10.0, 5.0), [other(dev_per, hardware)], pruning) == better
    assert overtaken(mine[:1], (1.0, 10.0, 5.0), [other([1.0], hardware)], pruning) is None


def test_stairs():
    points = [(3.0, 1.0), (1.0, 4.0), (2.0, 4.0), (2.0, 2.0), (4.0, 1.5), (1.0, 5.0)]
    assert stairs(points) == ([1.0, 2.0, 3.0], [4.0, 2.0, 1.0])


def test_another_study_in_the_folder_is_told(tmp_path):
    run(tmp_path, 1)
    with pytest.raises(ValueError, match="'toy': was begun with another pruning, seed; name"):
        run(tmp_path, 2, seed=1, pruning=Pruning(margin=1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space(cells=()), "cells is empty"),
        (lambda: Pruning(first_epochs=0), "first_epochs 0: must be 1 or more"),
        (lambda: Pruning(margin=-1.0), "margin -1.0: must be 0 or more"),
        (lambda: run("nowhere", 0), "trials 0: must be 1 or more"),
    ],
)
def test_bad_settings_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def worker(folder, trials, seconds):
    return subprocess.Popen(
        [sys.executable, HERE / "toy_study.py", folder, str(trials), str(seconds)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )


def test_a_killed_worker_loses_its_own_trial_alone(tmp_path):
    """Two begin at once on a fresh database; one is killed in a trial, the other does it again."""
    victim, survivor = worker(tmp_path, 10, 600), worker(tmp_path, 10, 0.6)
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def trials():
        try:
            return optuna.load_study(study_name="toy", storage=url).trials
        except Exception:  # it is being made
            return []

    def in_training():  # what the slow one is in: the fast one's have epochs
        return [t for t in trials() if t.state is TrialState.RUNNING and "hardware" in t.user_attrs]

    deadline = time.monotonic() + 120
    while len(in_training()) < 2 and time.monotonic() < deadline:
        assert survivor.poll() is None
        time.sleep(0.2)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert survivor.wait(120) == 0
    found = trials()
    (lost,) = [t for t in found if t.state is TrialState.FAIL]
    assert not [t for t in found if t.state is TrialState.RUNNING]
    again = [t for t in found if t.number > lost.number and t.params == lost.params]
    assert again[0].state in (TrialState.COMPLETE, TrialState.PRUNED)
    finished = [t for t in found if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(finished) == 10
    assert {t.params["cell"] for t in finished} <= set(SPACE.cells)
