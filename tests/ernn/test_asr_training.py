import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ernn.asr import (
    AcousticModel,
    Dataset,
    ModelConfig,
    SpecAugment,
    TrainConfig,
    recognise,
    score,
    training,
)
from ernn.compress import ADMM, recurrent_sets

SYMBOLS = ["a", "b", "c", "d"]
CONFIG = TrainConfig(
    epochs=4,
    batch_size=8,
    learning_rate=3e-2,
    warmup_steps=5,
    spec_augment=SpecAugment(time_width=2, frequency_width=1, bands=8),
)


def corpus(num_utterances, seed):
    """Noisy utterances in which a phone lights its own two of eight bands for three frames."""
    rng = np.random.default_rng(seed)
    features, phones = {}, {}
    for i in range(num_utterances):
        sequence = rng.integers(1, 4, rng.integers(2, 7)).cumsum() % 4  # no phone twice in a row
        frames = np.zeros((3 * len(sequence) + 1, 8), np.float32)
        for n, phone in enumerate(sequence):
            frames[3 * n : 3 * n + 3, 2 * phone : 2 * phone + 2] = 1
        features[f"u{i}"] = frames + 0.1 * rng.standard_normal(frames.shape, dtype=np.float32)
        phones[f"u{i}"] = [SYMBOLS[p] for p in sequence]
    return Dataset(features, phones, SYMBOLS)


TRAIN, DEV = corpus(40, 0), corpus(10, 1)


def new_model(**shape):
    torch.manual_seed(0)
    return AcousticModel(ModelConfig(8, num_phones=4, hidden_size=16, dropout=0.2, **shape))


def new_admm(model):
    return ADMM(model, recurrent_sets(model, 4), rho=0.3)


def without_seconds(history):
    return [{**asdict(epoch), "seconds": None} for epoch in history.epochs]


def assert_same_run(folder, history, other_folder, other_history):
    for file in ("model.safetensors", "checkpoint.safetensors"):
        weights, others = load_file(folder / file), load_file(other_folder / file)
        assert weights.keys() == others.keys()
        for name, value in weights.items():
            assert torch.equal(value, others[name]), name
    assert without_seconds(history) == without_seconds(other_history)


def test_a_small_task_is_learned_and_the_best_weights_are_kept(tmp_path):
    model = new_model()
    before = score(DEV.phones, recognise(model, DEV)).per
    config = replace(CONFIG, epochs=25)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run", bar_row=1)
    assert before > 60
    assert history.best.dev_per < 10
    assert history.best.dev_per == min(epoch.dev_per for epoch in history.epochs)
    assert [epoch.epoch for epoch in history.epochs] == list(range(1, 26))
    assert history.epochs[-1].loss < 0.3 * history.epochs[0].loss
    for best in (model, AcousticModel.load(tmp_path / "run" / "model.safetensors")):
        assert score(DEV.phones, recognise(best, DEV)).per == history.best.dev_per
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(epoch) for epoch in history.epochs]


def test_an_early_epoch_that_was_better_is_kept(tmp_path):
    model = new_model()
    history = training.train(model, TRAIN, DEV, CONFIG, tmp_path / "run")  # too short to learn
    assert history.best.epoch < CONFIG.epochs
    assert history.best.dev_per < history.epochs[-1].dev_per
    assert not model.training
    assert score(DEV.phones, recognise(model, DEV)).per == history.best.dev_per


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("with_admm", [False, True])
@pytest.mark.parametrize(
    "where", ["a batch of the first epoch", "a batch of the third", "before the checkpoint"]
)
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, monkeypatch, where, with_admm):
    config = replace(CONFIG, admm_every=2 if with_admm else 1, rho_growth=1.5)

    def run(folder):
        model = new_model()
        admm = new_admm(model) if with_admm else None
        history = training.train(model, TRAIN, DEV, config, tmp_path / folder, admm=admm)
        return model, history

    whole, whole_history = run("whole")

    calls = 0

    def interrupt(real, at):
        def patched(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at:
                raise Killed
            return real(*args, **kwargs)

        return patched

    with monkeypatch.context() as patch:
        if where == "before the checkpoint":
            patch.setattr(training, "_save", interrupt(training._save, 2))
        else:
            at = 3 if "first" in where else 2 * 5 + 3
            patch.setattr(training, "ctc_loss", interrupt(training.ctc_loss, at))
        with pytest.raises(Killed):
            run("parts")
    parts, parts_history = run("parts")
    assert_same_run(tmp_path / "whole", whole_history, tmp_path / "parts", parts_history)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name])


KILLED_AT_THE_THIRD_CHECKPOINT = """
import itertools, os, signal, sys
sys.path.insert(0, {tests!r})
import torch
from test_asr_training import CONFIG, DEV, TRAIN, new_model, training
torch.set_num_threads({threads})
save_file, calls = training.save_file, itertools.count(1)

def killed(tensors, path, metadata):
    save_file(tensors, path, metadata)
    if next(calls) == 3:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

training.save_file = killed
training.train(new_model(), TRAIN, DEV, CONFIG, {folder!r})
"""


def test_a_process_killed_as_it_writes_goes_on_bit_for_bit(tmp_path):
    script = KILLED_AT_THE_THIRD_CHECKPOINT.format(
        tests=str(Path(__file__).parent),
        threads=torch.get_num_threads(),
        folder=str(tmp_path / "parts"),
    )
    process = subprocess.run([sys.executable, "-c", script], check=False, timeout=300)
    assert process.returncode == -signal.SIGKILL
    before = [
        json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    ]
    parts = training.train(new_model(), TRAIN, DEV, CONFIG, tmp_path / "parts")
    assert [asdict(epoch) for epoch in parts.epochs[:2]] == before[:2]  # read, not repeated
    whole = training.train(new_model(), TRAIN, DEV, CONFIG, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", whole, tmp_path / "parts", parts)


def test_a_complete_run_is_read_and_not_repeated(tmp_path, monkeypatch):
    first = new_model()
    history = training.train(first, TRAIN, DEV, CONFIG, tmp_path / "run")
    monkeypatch.setattr(training, "ctc_loss", None)
    second = new_model()
    assert training.train(second, TRAIN, DEV, CONFIG, tmp_path / "run") == history
    assert torch.equal(second.output.weight, first.output.weight)
    assert not second.training


@pytest.mark.parametrize("change", ["settings", "data", "weights", "admm"])
def test_another_run_in_the_folder_is_refused(tmp_path, change):
    config, train_set = replace(CONFIG, epochs=1), TRAIN
    training.train(new_model(), train_set, DEV, config, tmp_path / "run")
    model, admm = new_model(), None
    if change == "settings":
        config = replace(config, seed=1)
    elif change == "data":
        train_set = corpus(40, 2)
    elif change == "weights":
        model.output.bias.data[0] += 1
    else:
        admm = new_admm(model)
    with pytest.raises(ValueError, match="run: holds a run with other settings"):
        training.train(model, train_set, DEV, config, tmp_path / "run", admm=admm)


def test_seeds_differ_and_repeat(tmp_path):
    def last_loss(folder, seed):
        config = replace(CONFIG, epochs=1, seed=seed)
        return training.train(new_model(), TRAIN, DEV, config, tmp_path / folder).epochs[0].loss

    assert last_loss("a", 0) == last_loss("b", 0)
    assert last_loss("a2", 0) != last_loss("c", 1)


def test_the_learning_rate_climbs_and_falls_linearly():
    config = TrainConfig(learning_rate=1.0, warmup_steps=4)
    rates = [config.rate(step, 14) for step in range(14)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1] + [n / 10 for n in range(10, 0, -1)])
    assert max(TrainConfig(warmup_steps=100).rate(step, 10) for step in range(10)) < 1e-3


def test_admm_prepares_a_model_for_its_projection(tmp_path):
    model = new_model()
    training.train(model, TRAIN, DEV, replace(CONFIG, epochs=25), tmp_path / "dense")
    projected = score(DEV.phones, recognise(model.compress(4), DEV)).per
    config = replace(CONFIG, epochs=20, learning_rate=1e-2, rho_growth=1.3)
    admm = new_admm(model)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "admm", admm=admm)
    assert history.epochs[-1].residual < 0.5 * history.epochs[0].residual
    assert history.epochs[-1].residual == max(admm.residuals().values())
    assert projected > 50
    assert score(DEV.phones, recognise(model.compress(4), DEV)).per < 10


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_no_epoch_and_no_utterance_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0: it must be at least 1"):
        TrainConfig(**{name: 0})


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = new_model()
    model.output.bias.data[1] = float("nan")
    with pytest.raises(FloatingPointError, match="run: the loss of epoch 1 is not finite"):
        training.train(model, TRAIN, DEV, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()
