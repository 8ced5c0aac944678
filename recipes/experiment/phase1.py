"""Phase I: the dense control, a model of each block size trained alike, and which one is taken.

The block sizes of the settings are the curve of accuracy against compression. What is decided, and
what else is trained for it (a GRU, a block size that the settings do not name), is up to
:mod:`ernn.explore.phase1`, which finds those of the curve trained already.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ernn.asr import AcousticModel, train
from ernn.explore import Candidate, phase1
from ernn.explore.kept import kept
from ernn.explore.trace import Trained
from hdl.devices import find
from hdl.evidence import DeviceHardware
from recipes.experiment.compression import in_parallel, train_circulant
from recipes.experiment.settings import Hardware, Settings
from recipes.experiment.speech import curve, datasets, device, evaluate
from recipes.experiment.stage import Result


def explore(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense control and every block size for as many epochs; choose on evidence."""
    sizes, table = settings.compress.block_sizes, settings.hardware
    hardware = DeviceHardware(find(table.device), measured=table.measured)
    tasks = [(k, folder, settings, out, n) for n, k in enumerate((1, *sizes))]
    control, *rest = in_parallel(train_variant, tasks)
    variants = {str(k): result for k, result in zip(sizes, rest, strict=True)}
    trainer = Trainer(variants, settings, out)
    trace = folder / "explore"
    found = phase1.explore(
        Candidate(settings.model, settings.quantize.longest),
        control["dev"],
        settings.compress.budget,
        hardware,
        trainer,
        trace,
        n_pe=table.n_pe,
    )
    tried = {
        step.candidate: trainer.result(step.candidate, phase1.trial_folder(trace, step.candidate))
        for step in found.steps
        if step.trained is not None
    }
    assert found.chosen is not None
    return {
        "control": control,
        "variants": variants,
        "others": {c.name: r for c, r in tried.items() if r not in variants.values()},
        "chosen": {"name": found.chosen.name} | tried[found.chosen],
        "verdict": found.verdict,
    }


def evidence(table: Hardware) -> tuple[str, bool, int]:
    """What the choice depends on of ``[hardware]``."""
    return table.device, table.measured, table.n_pe


def model_file(out: Path, results: dict[str, Result]) -> Path:
    """Return the file of the model that was taken."""
    return out / results["phase1"]["chosen"]["folder"] / "model.safetensors"


class Trainer:
    """Trains what :func:`ernn.explore.phase1.explore` asks for.

    Args:
        variants: results by block size, of the settings' own model.
        settings: every hyper-parameter.
        out: folder of the recipe.
    """

    def __init__(self, variants: Mapping[str, Result], settings: Settings, out: Path) -> None:
        self.variants, self.settings, self.out = variants, settings, out

    def __call__(self, candidate: Candidate, folder: Path) -> Trained:
        """Train a candidate, or find it trained."""
        result = self.result(candidate, folder)
        return Trained(result["dev"], {name: result[name] for name in ("test", "parameters")})

    def result(self, candidate: Candidate, folder: Path) -> Result:
        """What :func:`train_variant` has of a candidate."""
        shape = candidate.model
        if shape.cell == self.settings.model.cell and str(shape.block_size) in self.variants:
            return self.variants[str(shape.block_size)]
        return kept(folder / "result.json", lambda: self._train(candidate, folder))

    def _train(self, candidate: Candidate, folder: Path) -> Result:
        shape, settings = candidate.model, self.settings
        assert isinstance(shape.block_size, int)  # no core has several
        dense = None
        if shape.cell != settings.model.cell:
            train_set, dev_set, _ = datasets(self.out, settings)
            torch.manual_seed(settings.seed)
            dense = AcousticModel(replace(shape, block_size=1)).to(device())
            train(dense, train_set, dev_set, settings.train, folder / "dense")
        return compressed(shape.block_size, folder, settings, self.out, dense=dense)


def train_variant(task: tuple[int, Path, Settings, Path, int]) -> Result:
    """Train the model of one block size from the dense baseline; 1 is the dense control."""
    block_size, folder, settings, out, row = task
    if block_size > 1:
        return compressed(block_size, folder / f"k{block_size}", settings, out, row=row)
    folder /= "control"
    train_set, dev_set, test_set = datasets(out, settings)
    model = baseline(out)
    config = replace(settings.train, epochs=settings.compress.epochs)
    epochs = train(model, train_set, dev_set, config, folder / "finetune", bar_row=row).epochs
    return evaluate(model, dev_set, test_set, folder) | {"history": curve(epochs)}


def compressed(
    block_size: int,
    folder: Path,
    settings: Settings,
    out: Path,
    *,
    dense: AcousticModel | None = None,
    row: int | None = None,
) -> Result:
    """Compress the dense baseline, or another dense model, and score what comes of it."""
    train_set, dev_set, test_set = datasets(out, settings)
    data = train_set, dev_set, settings.train, settings.compress
    model, epochs = train_circulant(dense or baseline(out), block_size, *data, folder, bar_row=row)
    return evaluate(model, dev_set, test_set, folder) | {
        "history": curve(epochs),
        "folder": str(folder.relative_to(out)),
        "cell": model.config.cell,
        "block_size": block_size,
    }


def baseline(out: Path) -> AcousticModel:
    """The dense baseline."""
    return AcousticModel.load(out / "dense" / "model.safetensors").to(device())
