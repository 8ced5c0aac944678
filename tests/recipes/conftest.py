import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from standins import without_tools

from data_prep import manifest
from data_prep.manifest import Utterance
from ernn.asr import AcousticModel
from recipes.experiment.settings import read_settings, remember
from recipes.timit.run import Corpus

DEFAULT = Path(__file__).parents[2] / "recipes" / "timit" / "default.toml"


@pytest.fixture
def no_tools() -> Iterator[None]:
    """Without conversion, Verilator and Yosys."""
    with without_tools():
        yield


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """Small settings."""
    text = DEFAULT.read_text().replace("hidden_size = 256", "hidden_size = 16")
    text = text.replace("num_layers = 2", "num_layers = 1").replace("epochs = 16 ", "epochs = 5 ")
    path = tmp_path / "settings.toml"
    text = text.replace("block_sizes = [4, 8, 16]", "block_sizes = [4, 8]")
    path.write_text(text.replace("admm_epochs = 3", "admm_epochs = 1"))
    return path


@pytest.fixture
def small_runs(tmp_path: Path, small_config: Path) -> tuple[Path, ...]:
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
        _, settings = read_settings(small_config, seed, Corpus)
        AcousticModel(settings.model).save(out / "dense" / "lstm" / "model.safetensors")
        remember(out, small_config, settings)
        (out / "compress").mkdir()
        control = {"control": {"dev": 10.0, "test": 20.0 + seed}, "variants": {}}
        (out / "compress" / "result.json").write_text(json.dumps(control))
        folders.append(out)
    return tuple(folders)
