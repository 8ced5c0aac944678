import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from data_prep import manifest
from data_prep.manifest import Utterance
from ernn.asr import AcousticModel
from ernn.fixed import Integers
from hdl.products import Layer, Products
from hdl.program import Program
from hdl.simulate import Run
from hdl.synth import Report, Resources
from recipes.experiment import hardware
from recipes.experiment.settings import read_settings, remember
from recipes.mnist import engines, mlps
from recipes.mnist import hardware as mnist
from recipes.timit.run import Corpus

DEFAULT = Path(__file__).parents[2] / "recipes" / "timit" / "default.toml"


class SoftwareSimulator:
    """Integer models in the place of the Verilated accelerator: 100 cycles a frame."""

    def __init__(self, cfg: Any, folder: Path) -> None:
        self.cfg = cfg

    def run(self, program: Program, utterances: Sequence[Integers]) -> Run:
        """What the accelerator should answer."""
        assert program.cfg == self.cfg
        outputs = [program.model.run(x[:, None])[:, 0] for x in utterances]
        frames = np.arange(sum(map(len, utterances)))
        return Run(outputs, frames, 100 * frames)


class SoftwarePE:
    """An integer layer in the place of its Verilated PE: 100 cycles a frame."""

    def __init__(self, layer: Layer, folder: Path) -> None:
        self.layer = layer

    def run(self, layer: Layer, frames: Integers) -> Products:
        """What the PE should answer."""
        return Products(layer.run(frames), np.full(len(frames), 100))

    def synthesize(self) -> Report:
        """In the place of what Yosys counts."""
        return Report("pe", Resources(dsp=1))


class NoReport:
    """In the place of what Yosys counts."""

    def to_json(self) -> dict[str, Any]:
        return {"total": {"dsp": 1, "lut": 2, "ff": 3, "bram36": 4.5}}


def write_no_accelerator(program: Program, utterances: Sequence[Integers], folder: Path) -> None:
    assert all(x.shape[1] == program.model.layers[0].input_size for x in utterances)
    (folder / "image.hex").write_text("")


@pytest.fixture(scope="module")
def no_tools() -> Iterator[None]:
    """Without conversion, Verilator and Yosys, which take a minute; the slow tests have them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (hardware, mnist):
            patch.setattr(module, "Simulator", SoftwareSimulator)
            patch.setattr(module, "write_accelerator", write_no_accelerator)
            patch.setattr(module, "synthesize_folder", lambda folder: NoReport())
        for module in (engines, mlps):
            patch.setattr(module, "Simulator", SoftwareSimulator)
        patch.setattr(engines, "LayerPE", SoftwarePE)
        report = Report("accelerator", Resources(dsp=2))
        patch.setattr(engines, "synthesize_accelerator", lambda cfg: report)
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
