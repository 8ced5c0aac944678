import itertools
import json
import math
import multiprocessing
import os
import signal
from copy import copy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ernn import checkpoint
from ernn.asr import (
    AcousticModel,
    Dataset,
    Distillation,
    Epoch,
    History,
    ModelConfig,
    SpecAugment,
    TrainConfig,
    log,
    model,
    recognise,
    score,
    training,
)
from ernn.compress import ADMM, circulant_sets

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
    features, phones, alignments = {}, {}, {}
    for i in range(num_utterances):
        sequence = rng.integers(1, 4, rng.integers(2, 7)).cumsum() % 4  # no phone twice in a row
        frames = np.zeros((3 * len(sequence) + 1, 8), np.float32)
        for n, phone in enumerate(sequence):
            frames[3 * n : 3 * n + 3, 2 * phone : 2 * phone + 2] = 1
        features[f"u{i}"] = frames + 0.1 * rng.standard_normal(frames.shape, dtype=np.float32)
        phones[f"u{i}"] = [SYMBOLS[p] for p in sequence]
        alignments[f"u{i}"] = np.append(sequence.repeat(3) + 1, 0)
    return Dataset(features, phones, SYMBOLS, alignments=alignments)


TRAIN, DEV = corpus(41, 0), corpus(10, 1)  # the last batch is of one utterance


def new_model(**shape):
    torch.manual_seed(0)
    options = {"num_phones": 4, "hidden_size": 16, "dropout": 0.2} | shape
    return AcousticModel(ModelConfig(8, **options))


def new_admm(model):
    return ADMM(model, circulant_sets(model, {"recurrent": 4}), rho=0.03)


def read_log(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def without_seconds(epochs):
    return [{**epoch, "seconds": None} for epoch in epochs]


def dev_per(model):
    return score(DEV.phones, recognise(model, DEV)).per


def test_a_small_task_is_learned_and_the_best_weights_are_kept(tmp_path):
    model = new_model()
    before = dev_per(model)
    config = replace(CONFIG, epochs=20)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run", bar_row=1)
    assert before > 60
    assert history.best.dev_per < 10
    assert history.best.dev_per == min(epoch.dev_per for epoch in history.epochs)
    assert [epoch.epoch for epoch in history.epochs] == list(range(1, 21))
    assert history.epochs[-1].loss < 0.3 * history.epochs[0].loss
    for best in (model, AcousticModel.load(tmp_path / "run" / "model.safetensors")):
        assert dev_per(best) == history.best.dev_per
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(epoch) for epoch in history.epochs]


def test_an_early_epoch_that_was_better_is_kept(tmp_path):
    model = new_model()
    history = training.train(model, TRAIN, DEV, CONFIG, tmp_path / "run")  # too short to learn
    assert history.best.epoch < CONFIG.epochs
    assert history.best.dev_per < history.epochs[-1].dev_per
    assert not model.training
    assert dev_per(model) == history.best.dev_per


def test_the_mean_of_the_last_weights_is_kept_where_it_is_no_worse(tmp_path, monkeypatch):
    weights = []

    def recorded(model, dataset):
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return recognise(model, dataset)

    monkeypatch.setattr(training, "recognise", recorded)
    model = new_model()
    config = replace(CONFIG, epochs=20, average=3)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run")
    assert len(weights) == 21  # every epoch's and the mean
    for name, mean in weights[20].items():
        last = torch.stack([weights[n][name] for n in (17, 18, 19)])
        assert torch.allclose(mean, last.mean(dim=0), atol=1e-6)
        assert torch.equal(mean, model.state_dict()[name])
    average_per = history.epochs[-1].average_per
    assert [epoch.average_per for epoch in history.epochs[:-1]] == [None] * 19
    assert average_per == dev_per(model) <= history.best.dev_per
    assert history.average_wins


def test_the_mean_is_not_kept_where_it_is_worse(tmp_path):
    model = new_model()
    config = replace(CONFIG, epochs=12, average=12)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run")
    assert history.epochs[-1].average_per > history.best.dev_per
    assert not history.average_wins
    assert dev_per(model) == history.best.dev_per


@pytest.mark.parametrize(
    ("average_per", "wins"), [(None, False), (10.0, True), (9.0, True), (10.1, False)]
)
def test_the_mean_wins_by_being_no_worse_than_the_best_epoch(average_per, wins):
    epochs = [Epoch(n, 1.0, per, 0.1, 1.0, 1.0) for n, per in enumerate((20.0, 10.0, 11.0), 1)]
    history = History([*epochs[:2], replace(epochs[2], average_per=average_per)])
    assert history.average_wins == wins
    assert history.best.epoch == 2


def test_frames_are_learned_from_alignments(tmp_path):
    model = new_model()
    config = replace(CONFIG, epochs=15, criterion="frames")
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run")
    assert history.epochs[0].loss == pytest.approx(math.log(5), abs=0.3)
    assert history.best.dev_per < 10
    with torch.no_grad():
        (batch,) = DEV.batches(len(DEV))
        classes = model(batch.features, batch.lengths).argmax(dim=-1)
    within = batch.alignment >= 0
    assert (classes == batch.alignment)[within].float().mean() > 0.9


def test_frames_need_alignments(tmp_path):
    features = dict(zip(TRAIN.ids, (f.numpy() for f in TRAIN.features), strict=True))
    bare = Dataset(features, TRAIN.phones, SYMBOLS)
    config = replace(CONFIG, criterion="frames")
    with pytest.raises(ValueError, match="the training set needs alignments"):
        training.train(new_model(), bare, DEV, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_student_learns_from_its_teacher_alone(tmp_path):
    teacher = new_model()
    config = replace(CONFIG, epochs=20)
    training.train(teacher, TRAIN, DEV, config, tmp_path / "teacher")
    wrong = Dataset(  # phones that say nothing
        dict(zip(TRAIN.ids, (f.numpy() for f in TRAIN.features), strict=True)),
        {name: ["a"] for name in TRAIN.ids},
        SYMBOLS,
    )
    torch.manual_seed(1)
    student = AcousticModel(replace(teacher.config, hidden_size=12))
    config = replace(config, distillation=Distillation(posterior=1.0))
    training.train(student, wrong, DEV, config, tmp_path / "student", teacher=teacher)
    assert dev_per(student) < dev_per(teacher) + 5


def test_bf16_learns_and_is_scored_in_float32(tmp_path):
    model = new_model()
    config = replace(CONFIG, epochs=20, precision="bf16")
    history = training.train(model, TRAIN, DEV, config, tmp_path / "run")
    assert history.best.dev_per < 10
    assert dev_per(model) == history.best.dev_per
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


def run_variant(folder, variant):
    """A run of four epochs with all that has a state."""
    torch.set_num_threads(1)
    new, options = new_model(bidirectional=variant == "average"), {}
    config = replace(CONFIG, average=2, precision="bf16")
    if variant == "admm":
        config = replace(CONFIG, admm_every=2, rho_growth=1.5, criterion="frames")
        options = {"admm": new_admm(new), "teacher": new_model(hidden_size=12)}
    training.train(new, TRAIN, DEV, config, folder, **options)


BATCHES = 6
KILLS = [  # a function, the call of it after which the process dies, and whether as it writes
    (torch.nn.utils, "clip_grad_norm_", 2, False),  # in the first epoch
    (model, "save_file", 1, True),
    (log.Log, "write", 1, False),  # the first epoch is logged, and not in the checkpoint
    (checkpoint, "save_file", 1, True),
    (torch.nn.utils, "clip_grad_norm_", BATCHES + 3, False),  # in the second epoch
    (os, "replace", 1, False),
    (checkpoint.Checkpoint, "save", 1, False),  # the second epoch is complete
    (checkpoint, "save_file", 2, True),  # in the fourth
    (log.Log, "write", 1, False),
]


def run_until_killed(folder, variant, kill):
    where, name, calls, writing = KILLS[kill]
    real, count = getattr(where, name), itertools.count(1)

    def patched(*args, **kwargs):
        result = real(*args, **kwargs)
        if next(count) == calls:
            if writing:
                os.truncate(args[1], 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(where, name, patched)
    run_variant(folder, variant)


def in_a_process(function, *args):
    """Exit code of a process of its own, forked from one in which all is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch.utils.tensorboard", "torch._dynamo", "ernn.asr.training"]
    )
    process = context.Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("variant", ["average", "admm"])
def test_a_run_killed_again_and_again_ends_bit_for_bit_as_one_that_is_not(tmp_path, variant):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert in_a_process(run_variant, whole, variant) == 0
    for kill in range(len(KILLS)):
        assert in_a_process(run_until_killed, parts, variant, kill) == -signal.SIGKILL
    assert in_a_process(run_variant, parts, variant) == 0
    for file in ("model.safetensors", "checkpoint.safetensors"):
        weights, others = load_file(whole / file), load_file(parts / file)
        assert weights.keys() == others.keys()
        for name, value in weights.items():
            assert torch.equal(value, others[name]), name
    assert without_seconds(read_log(whole)) == without_seconds(read_log(parts))
    assert_events_are_the_log(whole)
    assert_events_are_the_log(parts)


def assert_events_are_the_log(folder):
    """TensorBoard shows each figure of the log once."""
    events = EventAccumulator(str(folder)).Reload()
    shown = {
        tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }
    counts = {tag: len(events.Scalars(tag)) for tag in shown}
    expected = {}
    for line in read_log(folder):
        step, residuals = line.pop("epoch"), line.pop("residuals") or {}
        line |= {f"residual/{name}": value for name, value in residuals.items()}
        for tag, value in line.items():
            if value is not None:
                expected.setdefault(tag, {})[step] = pytest.approx(value, rel=1e-6)
    assert shown == expected
    assert counts == {tag: len(points) for tag, points in expected.items()}


def test_a_complete_run_is_read_and_not_repeated(tmp_path, monkeypatch):
    first = new_model()
    history = training.train(first, TRAIN, DEV, CONFIG, tmp_path / "run")
    monkeypatch.setattr(training.Objective, "forward", None)
    monkeypatch.setattr(training, "recognise", None)
    second = new_model()
    assert training.train(second, TRAIN, DEV, CONFIG, tmp_path / "run") == history
    assert torch.equal(second.output.weight, first.output.weight)
    assert not second.training


@pytest.mark.parametrize("change", ["settings", "data", "alignment", "weights", "admm", "teacher"])
def test_another_run_in_the_folder_is_refused(tmp_path, change):
    config, train_set, options = replace(CONFIG, epochs=1), TRAIN, {}
    training.train(new_model(), train_set, DEV, config, tmp_path / "run")
    model = new_model()
    if change == "settings":
        config = replace(config, distillation=Distillation(temperature=1.0))
    elif change == "data":
        train_set = corpus(41, 2)
    elif change == "alignment":
        train_set = copy(TRAIN)
        train_set.alignments = [classes.clone() for classes in TRAIN.alignments]
        train_set.alignments[3][1] = 0
    elif change == "weights":
        model.output.bias.data[0] += 1
    elif change == "admm":
        options["admm"] = new_admm(model)
    else:
        options["teacher"] = new_model()
    with pytest.raises(ValueError, match="run: holds a run with other settings"):
        training.train(model, train_set, DEV, config, tmp_path / "run", **options)


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
    first = TrainConfig(learning_rate=1.0, final_rate=0.6, warmup_steps=4)
    second = TrainConfig(learning_rate=0.6, warmup_steps=0)
    joined = [first.rate(step, 8) for step in range(8)] + [second.rate(n, 6) for n in range(6)]
    assert joined == pytest.approx(rates)


def test_admm_prepares_a_model_for_its_projection(tmp_path):
    model = new_model()
    training.train(model, TRAIN, DEV, replace(CONFIG, epochs=20), tmp_path / "dense")
    projected = dev_per(model.compress(4))
    config = replace(CONFIG, epochs=20, learning_rate=1e-2, rho_growth=1.3)
    admm = new_admm(model)
    history = training.train(model, TRAIN, DEV, config, tmp_path / "admm", admm=admm)
    assert history.epochs[-1].residual < 0.5 * history.epochs[0].residual
    assert history.epochs[-1].residuals == admm.residuals()
    assert history.epochs[-1].residual == max(admm.residuals().values())
    assert dev_per(model.compress(4)) < projected - 10


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs is 0: it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0: it must be at least 1"),
        ({"average": 0}, "average is 0: it must be at least 1"),
        ({"final_rate": 0.1}, "final_rate is 0.1: it must be from 0 to learning_rate, 0.005"),
        ({"criterion": "mmi"}, "criterion is 'mmi': it must be 'ctc' or 'frames'"),
        ({"precision": "fp16"}, "precision is 'fp16': it must be 'fp32' or 'bf16'"),
    ],
)
def test_settings_that_are_none_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**setting)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = new_model()
    model.output.bias.data[1] = float("nan")
    with pytest.raises(FloatingPointError, match="run: the loss of epoch 1 is not finite"):
        training.train(model, TRAIN, DEV, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()
