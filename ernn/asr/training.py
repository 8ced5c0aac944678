"""Training: one plain loop that can be killed anywhere and goes on as if it had not been."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ernn.asr import distributed
from ernn.asr.augment import Perturbation, SpecAugment
from ernn.asr.data import Dataset
from ernn.asr.decoding import recognise
from ernn.asr.identity import identity
from ernn.asr.log import Epoch, History, Log
from ernn.asr.model import AcousticModel
from ernn.asr.objective import Criterion, Distillation, Objective, Precision
from ernn.asr.scoring import score
from ernn.checkpoint import Checkpoint
from ernn.compress import ADMM

FRAMES = 16
"""Batches have a multiple of so many: for each length kernels are made and memory is kept."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The rate climbs from 0 over the warm-up, then falls linearly.

    Raises:
        ValueError: if ``epochs``, ``batch_size`` or ``average`` is less than 1, ``final_rate`` not
            from 0 to ``learning_rate``, or ``criterion`` or ``precision`` none of their names.
    """

    epochs: int = 16
    batch_size: int = 8  # utterances, of all processes together
    learning_rate: float = 5e-3  # at the end of the warm-up
    final_rate: float = 0.0  # what it falls to
    warmup_steps: int = 100  # batches
    weight_decay: float = 0.0
    clip: float = 1.0  # largest norm of the gradient
    perturbation: Perturbation | None = None
    spec_augment: SpecAugment | None = field(default_factory=SpecAugment)
    seed: int = 0
    criterion: Criterion = "ctc"
    precision: Precision = "fp32"  # bf16: the layers under autocast, weights and losses fp32
    average: int = 1  # last epochs whose weights are averaged; 1 is no averaging
    distillation: Distillation = field(default_factory=Distillation)  # if there is a teacher
    admm_every: int = 1  # epochs from one step of Z and U to the next
    rho_growth: float = 1.0  # factor on rho after each of these steps

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "average"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 <= self.final_rate <= self.learning_rate:
            allowed = f"from 0 to learning_rate, {self.learning_rate}"
            raise ValueError(f"final_rate is {self.final_rate}: it must be {allowed}")
        for name, names in (("criterion", Criterion), ("precision", Precision)):
            if getattr(self, name) not in get_args(names):
                allowed = " or ".join(map(repr, get_args(names)))
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be {allowed}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of batch ``step`` (from 0) of ``steps``."""
        rising = (step + 1) / max(1, self.warmup_steps)
        falling = min(1.0, (steps - step) / max(1, steps - self.warmup_steps))
        fallen = self.final_rate + (self.learning_rate - self.final_rate) * falling
        return min(self.learning_rate * rising, fallen)


def train(
    model: AcousticModel,
    train_set: Dataset,
    dev_set: Dataset,
    config: TrainConfig,
    folder: Path | str,
    *,
    admm: ADMM | None = None,
    teacher: AcousticModel | None = None,
    bar_row: int | None = None,
    watch: Callable[[list[Epoch]], None] | None = None,
) -> History:
    """Train a model in place, where it is, and leave it with the weights that are best on dev.

    These are the weights of the epoch with the lowest dev PER, or, with ``config.average`` above 1,
    the mean of those after the last so many epochs if its dev PER is no higher. Dev PER is that of
    the best path, repeats collapsed and class 0 dropped, by either criterion, in float32.

    The folder then holds ``model.safetensors`` (these weights), ``log.jsonl`` (a line an epoch),
    TensorBoard's events and ``checkpoint.safetensors``, from which the same call goes on after an
    interruption, on one machine's CPU to the same weights bit for bit: every epoch draws from
    generators that it seeds for itself. A run that is complete is read, not repeated.

    With ``admm`` its penalty follows every batch, its Z and U step every ``admm_every`` epochs, and
    the last epoch's weights are kept, for they are nearest the constraint; nothing is averaged.
    With a ``teacher`` the loss is that of :class:`ernn.asr.objective.Distillation`. ``bar_row`` is
    the line of the terminal for the progress bar, for trainings that run side by side. ``watch``
    is called after every epoch, when its checkpoint is written, with all epochs so far; what it
    raises ends the training.

    In several processes (:mod:`ernn.asr.distributed`) all call this alike. Each takes its share of
    every batch, and the first alone scores and writes, to a folder that all can read. Their number
    changes the result by rounding, and by dropout, whose masks each process draws for its share.

    Raises:
        ValueError: if the folder holds a run with other settings, data or initial weights, if
            frames are to be classified and ``train_set`` has no alignments, if the teacher does
            not fit, or if the processes' arguments differ.
        FloatingPointError: if the loss is no longer finite.
    """
    if config.criterion == "frames" and train_set.alignments is None:
        raise ValueError("criterion is 'frames': the training set needs alignments, it has none")
    folder = Path(folder)
    rank, ranks = distributed.rank(), distributed.count()
    run = identity(
        [asdict(config), asdict(model.config), teacher and asdict(teacher.config)],
        [model, teacher, admm],
        [train_set, dev_set],
    )
    if not distributed.agree(run):
        raise ValueError("the processes were given different settings, data or initial weights")

    objective = distributed.parallel(
        Objective(model, config.criterion, config.precision, teacher, config.distillation)
    )
    optimizer = optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    average = AveragedModel(model) if config.average > 1 and admm is None else None
    parts = {"model": model, "average": average, "admm": admm}
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", run, parts, optimizer)
    epochs = [Epoch(**epoch) for epoch in checkpoint.restore()]

    batches = -(-len(train_set) // config.batch_size)  # an epoch
    steps = config.epochs * batches
    step = len(epochs) * batches
    bar = tqdm(
        total=steps,
        initial=step,
        desc="/".join(folder.parts[-2:]),
        unit="batch",
        position=bar_row,
        disable=None if rank == 0 else True,
    )
    with Log(folder) as log, bar:
        for number in range(len(epochs) + 1, config.epochs + 1):
            started = time.perf_counter()
            seeds = np.random.SeedSequence((config.seed, number)).generate_state(1 + ranks, "u8")
            for_data, for_dropout = int(seeds[0]), int(seeds[1 + rank])
            generator = torch.Generator().manual_seed(for_data)  # draws alike in every process
            torch.manual_seed(for_dropout)
            model.train()
            losses, norms = torch.zeros(2, device=model.device)
            for batch in train_set.shuffled(config.batch_size, generator=generator):
                if config.perturbation is not None:
                    batch = config.perturbation(batch, generator)
                if config.spec_augment is not None:
                    masked = config.spec_augment(batch.features, batch.lengths, generator)
                    batch = batch._replace(features=masked)
                share = batch.padded(FRAMES).share(rank, ranks).to(model.device)
                loss = ranks * objective(share, len(batch.ids), int(batch.lengths.sum()))

                for group in optimizer.param_groups:
                    group["lr"] = config.rate(step, steps)
                optimizer.zero_grad()
                loss.backward()
                norms += nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                if admm is not None:
                    admm.step()
                step += 1
                losses += loss.detach()
                bar.update()

            mean_loss = float(distributed.mean(losses)) / batches
            if not math.isfinite(mean_loss):
                raise FloatingPointError(f"{folder.name}: the loss of epoch {number} is not finite")
            residuals = None
            if admm is not None and number % config.admm_every == 0:
                residuals = admm.update()
                admm.scale_rho(config.rho_growth)
            if average is not None and number > config.epochs - config.average:
                average.update_parameters(model)

            if rank == 0:
                dev_per = score(dev_set.phones, recognise(model, dev_set)).per
                average_per = None
                if average is not None and number == config.epochs:
                    average_per = score(dev_set.phones, recognise(average.module, dev_set)).per
                epochs.append(
                    Epoch(
                        number,
                        mean_loss,
                        dev_per,
                        learning_rate=config.rate(step - 1, steps),
                        gradient_norm=float(norms) / batches,
                        seconds=time.perf_counter() - started,
                        residuals=residuals,
                        average_per=average_per,
                    )
                )
                bar.set_postfix(loss=f"{mean_loss:.3f}", dev_per=f"{dev_per:.1f}")
                history = History(epochs)
                if average is not None and history.average_wins:
                    cast(AcousticModel, average.module).save(folder / "model.safetensors")
                elif admm is not None or history.best.epoch == number:
                    model.save(folder / "model.safetensors")
                log.write(epochs)
                checkpoint.save([asdict(epoch) for epoch in epochs])
            epochs = distributed.from_first(epochs)
            if watch is not None:
                watch(epochs)
    model.load_state_dict(AcousticModel.load(folder / "model.safetensors").state_dict())
    model.eval()
    return History(epochs)
