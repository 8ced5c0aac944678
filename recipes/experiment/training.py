"""The stages that train: dense baselines, the dense control, a model of each block size.

All models of a recipe are trained as long as each other: the control and every block size go on
from the baseline for as many epochs.
"""

from dataclasses import replace
from pathlib import Path

import torch

from ernn.asr import AcousticModel, ModelConfig, train
from ernn.explore import Candidate
from recipes.experiment.compression import train_circulant
from recipes.experiment.settings import Settings
from recipes.experiment.speech import curve, datasets, device, evaluate
from recipes.experiment.stage import Result
from recipes.experiment.workers import in_parallel


def dense(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense baseline, and beside an LSTM the GRU that Phase I compresses."""
    models = {settings.model.cell: settings.model, "gru": gru(settings.model)}
    tasks = [(m, folder, settings, out, row) for row, m in enumerate(models.values())]
    results = dict(zip(models, in_parallel(train_baseline, tasks), strict=True))
    return results[settings.model.cell] | {"gru": results["gru"]}


def gru(model: ModelConfig) -> ModelConfig:
    """The GRU of a model's sizes."""
    return Candidate(model).shaped(cell="gru").model


def train_baseline(task: tuple[ModelConfig, Path, Settings, Path, int]) -> Result:
    """Train a dense model from scratch."""
    shape, folder, settings, out, row = task
    folder /= shape.cell
    train_set, dev_set, test_set = datasets(out, settings)
    torch.manual_seed(settings.seed)
    model = AcousticModel(shape).to(device())
    epochs = train(
        model, train_set, dev_set, settings.train, folder / "training", bar_row=row
    ).epochs
    return evaluate(model, dev_set, test_set, folder) | {"history": curve(epochs)}


def baseline(out: Path, cell: str) -> AcousticModel:
    """The dense baseline of a cell."""
    return AcousticModel.load(out / "dense" / cell / "model.safetensors").to(device())


def compress(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense control and every block size, for as many epochs."""
    sizes = settings.compress.block_sizes
    tasks = [(k, folder, settings, out, row) for row, k in enumerate((1, *sizes))]
    control, *rest = in_parallel(train_variant, tasks)
    return {"control": control, "variants": dict(zip(map(str, sizes), rest, strict=True))}


def summary(result: Result) -> str:
    """Say what :func:`compress` found."""
    pers = {"control": result["control"]["test"]}
    pers |= {f"k = {k}": variant["test"] for k, variant in result["variants"].items()}
    return "test %PER " + ", ".join(f"{name}: {per:.1f}" for name, per in pers.items())


def train_variant(task: tuple[int, Path, Settings, Path, int]) -> Result:
    """Train the model of one block size from the baseline; 1 is the dense control."""
    block_size, folder, settings, out, row = task
    cell = settings.model.cell
    if block_size > 1:
        return compressed(cell, block_size, folder / f"k{block_size}", settings, out, row)
    folder /= "control"
    train_set, dev_set, test_set = datasets(out, settings)
    model = baseline(out, cell)
    config = replace(settings.train, epochs=settings.compress.epochs)
    epochs = train(model, train_set, dev_set, config, folder / "finetune", bar_row=row).epochs
    return evaluate(model, dev_set, test_set, folder) | {"history": curve(epochs)}


def compressed(
    cell: str, block_size: int, folder: Path, settings: Settings, out: Path, row: int | None = None
) -> Result:
    """Compress the baseline of a cell, and score what comes of it."""
    train_set, dev_set, test_set = datasets(out, settings)
    data = train_set, dev_set, settings.train, settings.compress
    model, epochs = train_circulant(baseline(out, cell), block_size, *data, folder, row)
    return evaluate(model, dev_set, test_set, folder) | {
        "history": curve(epochs),
        "folder": str(folder.relative_to(out)),
        "cell": cell,
        "block_size": block_size,
    }
