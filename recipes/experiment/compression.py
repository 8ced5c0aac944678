"""Compressing a dense recogniser: ADMM, projection, fine-tuning, and what can join them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ernn.asr import AcousticModel, Dataset, Epoch, TrainConfig, train
from ernn.asr.objective import Distillation
from ernn.compress import ADMM, circulant_sets
from recipes.experiment.settings import Compress


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
    highest = compress.learning_rate * block_size**compress.rate_exponent
    done = 0
    for name, k, epochs in parts:
        if epochs:
            rate, fallen = (highest * (1 - n / compress.epochs) for n in (done, done + epochs))
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
            sets = circulant_sets(model, {"recurrent": block_size})
            admm = ADMM(model, sets, compress.admm_rho)
        else:
            model = model.compress(k)
            if compress.dropout is not None:
                model = model.with_dropout(compress.dropout)
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
