"""Compressing a dense recogniser: ADMM, projection, fine-tuning, and what can join them."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from ernn.asr import AcousticModel, Dataset, Epoch, TrainConfig, train
from ernn.asr.objective import Distillation
from ernn.compress import ADMM, recurrent_sets
from recipes.experiment.settings import Compress

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def phases(
    config: TrainConfig, compress: Compress, block_size: int
) -> Iterator[tuple[str, int, TrainConfig]]:
    """The trainings one after another: name, block size, settings; one fall of the rate over all.

    The block size of the first, ADMM's, is 1: it trains dense weights.
    """
    on_the_way = [k for k in compress.gradual if k < block_size]
    rest = compress.epochs - compress.admm_epochs - len(on_the_way) * compress.gradual_epochs
    parts = [("admm", 1, compress.admm_epochs)]
    parts += [(f"k{k}", k, compress.gradual_epochs) for k in on_the_way]
    parts += [("finetune", block_size, rest)]
    growth = (compress.admm_rho_end / compress.admm_rho) ** (1 / max(1, compress.admm_epochs - 1))
    done = 0
    for name, k, epochs in parts:
        if epochs:
            rate, fallen = (
                compress.learning_rate * (1 - n / compress.epochs) for n in (done, done + epochs)
            )
            yield (
                name,
                k,
                replace(
                    config,
                    epochs=epochs,
                    learning_rate=rate,
                    final_rate=fallen,
                    warmup_steps=0 if done else config.warmup_steps,
                    average=config.average if k == block_size else 1,
                    distillation=Distillation(compress.distillation),
                    rho_growth=growth,
                ),
            )
        done += epochs


def train_circulant(
    dense: AcousticModel,
    block_size: int,
    train_set: Dataset,
    dev_set: Dataset,
    config: TrainConfig,
    compress: Compress,
    folder: Path,
    bar_row: int | None = None,
) -> tuple[AcousticModel, list[Epoch]]:
    """Compress a dense model; return the block-circulant one and its epochs, ADMM's first.

    Args:
        dense: where it starts, and, with distillation, the teacher; not changed.
        block_size: k, above 1.
        train_set: the utterances it learns from.
        dev_set: those that choose the epoch.
        config: the training, but for epochs and rates.
        compress: the compression.
        folder: each phase has a folder in it.
        bar_row: the line of the terminal for the progress bar.
    """
    teacher = dense if compress.distillation else None
    model, epochs = dense.compress(1), []
    for name, k, part in phases(config, compress, block_size):
        admm = None
        if k == 1:
            admm = ADMM(model, recurrent_sets(model, block_size), compress.admm_rho)
        else:
            model = model.compress(k)
        history = train(
            model,
            train_set,
            dev_set,
            part,
            folder / name,
            admm=admm,
            teacher=teacher,
            bar_row=bar_row,
        )
        epochs += history.epochs
    return model, epochs


def in_parallel(work: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
    """Work on the tasks in as many processes as there are cores; they end with this one."""
    context = multiprocessing.get_context("spawn")
    processes = min(os.cpu_count() or 1, len(tasks))
    with context.Pool(processes, _start_worker, (context.RLock(),)) as pool:
        results = pool.map(work, tasks, chunksize=1)
        pool.close()  # let the workers end by themselves
        pool.join()
    return results


def _start_worker(terminal: Any) -> None:
    """End this worker with its parent, which handles interrupts; share the lock of the bars."""
    torch.set_num_threads(1)
    tqdm.set_lock(terminal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
