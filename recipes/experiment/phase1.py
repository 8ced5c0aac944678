"""Phase I: the dense control and a model of each block size, trained alike; which one is taken."""

from dataclasses import replace
from pathlib import Path

from ernn.asr import AcousticModel, train
from recipes.experiment.compression import in_parallel, train_circulant
from recipes.experiment.settings import Settings
from recipes.experiment.speech import curve, datasets, device, evaluate
from recipes.experiment.stage import Result


def explore(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense control and every block size for as many epochs; choose by dev PER."""
    block_sizes = settings.compress.block_sizes
    tasks = [(k, folder, settings, out, n) for n, k in enumerate((1, *block_sizes))]
    control, *variants = in_parallel(train_variant, tasks)
    limit = control["dev"] + settings.compress.budget
    fitting = [k for k, r in zip(block_sizes, variants, strict=True) if r["dev"] <= limit]
    chosen = max(fitting) if fitting else min(block_sizes)
    reason = (
        f"the largest with a dev PER of at most {control['dev']:.2f} + {settings.compress.budget}"
        if fitting
        else f"the smallest; none has a dev PER of at most {limit:.2f}"
    )
    return {
        "control": control,
        "variants": {str(k): r for k, r in zip(block_sizes, variants, strict=True)},
        "chosen": chosen,
        "reason": reason,
    }


def model_file(out: Path, results: dict[str, Result]) -> Path:
    """Return the file of the model that was taken."""
    return out / "phase1" / f"k{results['phase1']['chosen']}" / "model.safetensors"


def train_variant(task: tuple[int, Path, Settings, Path, int]) -> Result:
    """Train the model of one block size from the dense baseline; 1 is the dense control."""
    block_size, folder, settings, out, row = task
    train_set, dev_set, test_set = datasets(out, settings)
    model = AcousticModel.load(out / "dense" / "model.safetensors").to(device())
    if block_size == 1:
        folder /= "control"
        config = replace(settings.train, epochs=settings.compress.epochs)
        epochs = train(model, train_set, dev_set, config, folder / "finetune", bar_row=row).epochs
    else:
        folder /= f"k{block_size}"
        data = train_set, dev_set, settings.train, settings.compress
        model, epochs = train_circulant(model, block_size, *data, folder, bar_row=row)
    return evaluate(model, dev_set, test_set, folder) | {"history": curve(epochs)}
