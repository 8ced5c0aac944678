"""Phase I: the dense control and a model of each block size, trained alike; which one is taken."""

import ctypes
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ernn.asr import AcousticModel, TrainConfig, train
from ernn.compress import ADMM, recurrent_sets
from recipes.experiment.settings import Compress, Settings
from recipes.experiment.speech import curve, datasets, device, evaluate
from recipes.experiment.stage import Result


def explore(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense control and every block size for as many epochs; choose by dev PER."""
    block_sizes = settings.compress.block_sizes
    tasks = [(k, folder, settings, out, n) for n, k in enumerate((1, *block_sizes))]
    context = multiprocessing.get_context("spawn")
    processes = min(os.cpu_count() or 1, len(tasks))
    with context.Pool(processes, _start_worker, (context.RLock(),)) as pool:
        results = pool.map(train_variant, tasks, chunksize=1)
        pool.close()  # let the workers end by themselves
        pool.join()
    control, *variants = results
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


def _start_worker(terminal: Any) -> None:
    """End this worker with its parent, which handles interrupts; share the lock of the bars."""
    tqdm.set_lock(terminal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def model_file(out: Path, results: dict[str, Result]) -> Path:
    """Return the file of the model that was taken."""
    return out / "phase1" / f"k{results['phase1']['chosen']}" / "model.safetensors"


def train_variant(task: tuple[int, Path, Settings, Path, int]) -> Result:
    """Train the model of one block size from the dense baseline; 1 is the dense control."""
    block_size, folder, settings, out, row = task
    torch.set_num_threads(1)
    folder = folder / (f"k{block_size}" if block_size > 1 else "control")
    train_set, dev_set, test_set = datasets(out, settings)
    model = AcousticModel.load(out / "dense" / "model.safetensors").to(device())
    compress, admm_curve = settings.compress, []
    config = replace(settings.train, epochs=compress.epochs)
    if block_size > 1:
        config = replace(config, learning_rate=compress.learning_rate)
        if compress.admm_epochs:
            drawing, config = divide(config, compress)
            admm = ADMM(model, recurrent_sets(model, block_size), compress.admm_rho)
            admm_curve = curve(
                train(model, train_set, dev_set, drawing, folder / "admm", admm=admm, bar_row=row)
            )
        model = model.compress(block_size)
    history = train(model, train_set, dev_set, config, folder / "finetune", bar_row=row)
    return evaluate(model, dev_set, test_set, folder) | {"history": admm_curve + curve(history)}


def divide(config: TrainConfig, compress: Compress) -> tuple[TrainConfig, TrainConfig]:
    """The epochs before the projection and those after it; one fall of the rate over both."""
    before, after = compress.admm_epochs, compress.epochs - compress.admm_epochs
    rate = compress.learning_rate * after / compress.epochs
    growth = (compress.admm_rho_end / compress.admm_rho) ** (1 / max(1, before - 1))
    return (
        replace(config, epochs=before, final_rate=rate, rho_growth=growth),
        replace(config, epochs=after, learning_rate=rate, warmup_steps=0),
    )
