"""The recogniser's stages: features, dense baseline, Phase I."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from data_prep import features, manifest
from data_prep.manifest import SPLITS
from data_prep.phones import PHONES_39, to39
from ernn.asr import AcousticModel, Dataset, History, recognise, score, train
from ernn.compress import ADMM, recurrent_sets
from recipes.experiment.settings import Settings
from recipes.experiment.stage import Result


def describe(manifests: Mapping[str, Path]) -> Result:
    """The sizes of the splits, by their manifests."""
    utterances = {split: manifest.read(path) for split, path in manifests.items()}
    return {
        "utterances": {split: len(part) for split, part in utterances.items()},
        "minutes": {
            split: round(sum(u.duration for u in part) / 60, 1)
            for split, part in utterances.items()
        },
    }


def extract(folder: Path, settings: Settings, manifests: Path) -> Result:
    """Features of every utterance."""
    for split in SPLITS:
        utterances = manifest.read(manifests / f"{split}.jsonl")
        features.extract(utterances, settings.features, folder / f"{split}.safetensors")
    return {"size": settings.features.size}


def datasets(out: Path, splits: Sequence[str] = SPLITS) -> list[Dataset]:
    """Features and the 39 phones of the splits, from the stages ``prepare`` and ``features``."""
    return [
        Dataset(
            features.load(out / "features" / f"{split}.safetensors"),
            {
                u.id: to39(u.phones)
                for u in manifest.read(out / "prepare" / "manifests" / f"{split}.jsonl")
            },
            PHONES_39,
        )
        for split in splits
    ]


def dense(folder: Path, settings: Settings, out: Path) -> Result:
    """Train the dense baseline."""
    train_set, dev_set, test_set = datasets(out)
    torch.manual_seed(settings.seed)
    model = AcousticModel(settings.model)
    history = train(model, train_set, dev_set, settings.train, folder / "training")
    return evaluate(model, dev_set, test_set, folder) | {"history": curve(history)}


def evaluate(model: AcousticModel, dev_set: Dataset, test_set: Dataset, folder: Path) -> Result:
    """Score a float model and keep it, with its alignments on test."""
    model.save(folder / "model.safetensors")
    result = evaluate_scores(model, dev_set, test_set, folder)
    return result | {
        "parameters": model.parameter_count,
        "recurrent_parameters": model.recurrent_parameters,
    }


def evaluate_scores(model: Any, dev_set: Dataset, test_set: Dataset, folder: Path) -> Result:
    """Greedy phone error rates on dev and test of anything :func:`ernn.asr.recognise` takes."""
    dev = score(dev_set.phones, recognise(model, dev_set))
    test = score(test_set.phones, recognise(model, test_set))
    test.write_alignments(folder / "test.alignments.txt")
    return {"dev": dev.per, "test": test.per, "score": str(test)}


def curve(history: History) -> list[dict[str, float | None]]:
    """What the plots need of a training."""
    return [{"loss": e.loss, "dev_per": e.dev_per, "residual": e.residual} for e in history.epochs]


def phase1(folder: Path, settings: Settings, out: Path) -> Result:
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


def train_variant(task: tuple[int, Path, Settings, Path, int]) -> Result:
    """Train the model of one block size from the dense baseline; 1 is the dense control."""
    block_size, folder, settings, out, row = task
    torch.set_num_threads(1)
    folder = folder / (f"k{block_size}" if block_size > 1 else "control")
    train_set, dev_set, test_set = datasets(out)
    model = AcousticModel.load(out / "dense" / "model.safetensors")
    compress = settings.compress
    admm_curve = []
    epochs = compress.epochs
    if block_size > 1:
        admm = ADMM(model, recurrent_sets(model, block_size), compress.admm_rho)
        config = replace(
            settings.train,
            epochs=compress.admm_epochs,
            learning_rate=compress.admm_learning_rate,
            rho_growth=compress.admm_rho_growth,
        )
        admm_curve = curve(
            train(model, train_set, dev_set, config, folder / "admm", admm=admm, bar_row=row)
        )
        model = model.compress(block_size)
    else:
        epochs += compress.admm_epochs
    config = replace(settings.train, epochs=epochs, learning_rate=compress.learning_rate)
    history = train(model, train_set, dev_set, config, folder / "finetune", bar_row=row)
    return evaluate(model, dev_set, test_set, folder) | {"history": admm_curve + curve(history)}
