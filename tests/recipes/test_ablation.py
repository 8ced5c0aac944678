"""The ablation on a few random utterances of two seeds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from data_prep import manifest
from data_prep.manifest import Utterance
from ernn.asr import AcousticModel
from recipes.experiment import ablation
from recipes.experiment.ablation import Arguments, table, variations
from recipes.experiment.settings import read_settings
from recipes.timit.run import Corpus

DEFAULT = Path(__file__).parents[2] / "recipes" / "timit" / "default.toml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Small settings."""
    text = DEFAULT.read_text().replace("hidden_size = 256", "hidden_size = 16")
    text = text.replace("num_layers = 2", "num_layers = 1").replace("epochs = 16 ", "epochs = 5 ")
    path = tmp_path / "settings.toml"
    path.write_text(text.replace("admm_epochs = 3", "admm_epochs = 1"))
    return path


@pytest.fixture
def runs(tmp_path: Path, config: Path) -> tuple[Path, ...]:
    """What run.py leaves, of two seeds."""
    folders = []
    for seed in (0, 1):
        rng, out = np.random.default_rng(seed), tmp_path / f"seed{seed}"
        for split, count in (("train", 8), ("dev", 3), ("test", 3)):
            names = [f"{split}{n}" for n in range(count)]
            phones = "h#", "aa", "t", "iy"
            utterances = [Utterance(name, "none", 0.0, 1.0, "s", "", phones) for name in names]
            manifest.write(utterances, out / "prepare" / "manifests" / f"{split}.jsonl")
            frames = {name: rng.standard_normal((9, 160), np.float32) for name in names}
            (out / "features").mkdir(exist_ok=True)
            save_file(frames, out / "features" / f"{split}.safetensors")
        torch.manual_seed(seed)
        model = AcousticModel(read_settings(config, seed, Corpus).model)
        model.save(out / "dense" / "model.safetensors")
        (out / "phase1").mkdir()
        control = {"control": {"dev": 10.0, "test": 20.0 + seed}}
        (out / "phase1" / "result.json").write_text(json.dumps(control))
        (out / "results.json").write_text(json.dumps({"seed": seed}))
        folders.append(out)
    return tuple(folders)


def test_every_variation_is_trained_once_for_each_seed(runs, config, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "in_parallel", lambda work, tasks: [work(t) for t in tasks])
    arguments = Arguments(runs, config, block_size=8)
    text = ablation.run(arguments, Corpus)
    lines = text.splitlines()
    settings = read_settings(config, None, Corpus)
    names = ["dense control", *variations(settings.compress)]
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]
    assert lines[2] == "| dense control | 20.00 | 21.00 | 20.50 | +0.00 | 10.00 | +0.00 |"
    for out in runs:
        assert (out / "ablation" / "k8.md").read_text() == text
        for folder in (out / "ablation" / "k8").iterdir():
            model = AcousticModel.load(folder / "model.safetensors")
            assert model.config.block_size == 8
        spent = {
            folder.name: sum(len(log.read_text().splitlines()) for log in folder.rglob("log.jsonl"))
            for folder in (out / "ablation" / "k8").iterdir()
        }
        assert set(spent.values()) == {5}  # all have as many epochs
        assert len(spent) == len(names) - 1

    def never(*_):
        raise AssertionError("it is there")

    monkeypatch.setattr(ablation, "train_circulant", never)
    assert ablation.run(arguments, Corpus) == text
    config.write_text(config.read_text().replace("learning_rate = 8e-3", "learning_rate = 7e-3"))
    with pytest.raises(ValueError, match="was trained with other settings; remove it"):
        ablation.run(arguments, Corpus)
    with pytest.raises(FileNotFoundError, match="absent: no dense control"):
        ablation.run(replace(arguments, runs=(Path("absent"),)), Corpus)
    with pytest.raises(ValueError, match="no run: name the folders"):
        ablation.run(replace(arguments, runs=()), Corpus)


def test_points_lost_are_means_against_the_control() -> None:
    controls = [{"dev": 10.0, "test": 20.0}, {"dev": 12.0, "test": 21.0}]
    runs = {"plain": [{"dev": 11.0, "test": 22.0}, {"dev": 12.0, "test": 22.0}]}
    assert table(controls, runs, 4).splitlines()[3] == (
        "| plain | 22.00 | 22.00 | 22.00 | +1.50 | 11.50 | +0.50 |"
    )
