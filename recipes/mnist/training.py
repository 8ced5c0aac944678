"""Training an image classifier, and counting how often it is right."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor, nn, optim
from torch.nn import functional
from tqdm import tqdm

from data_prep.mnist import Images
from ernn.checkpoint import Checkpoint
from ernn.compress import ADMM, sizes
from ernn.files import atomic
from recipes.experiment.stage import Result

BATCH = 1000
"""Images at once where nothing is learnt."""
TRAINING = "training.safetensors"
"""The checkpoint of a stage with one training."""


@dataclass(frozen=True)
class Train:
    """The table ``[train]``."""

    epochs: int
    batch_size: int
    learning_rate: float  # the highest; see `rate`
    weight_decay: float
    shift: int  # pixels that an image is moved at most, to either side and up or down
    smoothing: float  # of the labels
    precision: Literal["fp32", "bf16"]  # bf16: the layers under autocast

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")


def tensors(images: Images) -> tuple[Tensor, Tensor]:
    """Pixels (N, 1, 28, 28) of 0 to 1, and digits (N,)."""
    pixels = torch.tensor(images.pixels, dtype=torch.get_default_dtype())
    return pixels.div_(255).unsqueeze(1), torch.tensor(images.digits)


def trained(
    model: nn.Sequential, data: dict[str, Images], config: Train, seed: int, path: Path
) -> Result:
    """Train a model, keep its weights, and score it."""
    fit(model, data["train"], config, seed, path.with_name(TRAINING))
    with atomic(path) as new:
        save_model(model, str(new))
    rows = sizes(model, tensors(data["dev"][:1])[0])
    return {
        "dev": accuracy(model, data["dev"]),
        "test": accuracy(model, data["test"]),
        "parameters": sum(row.parameters for row in rows),
        "multiplications": sum(row.multiplications for row in rows),
    }


def fit(
    model: nn.Module,
    images: Images,
    config: Train,
    seed: int,
    path: Path,
    admm: ADMM | None = None,
    rho_growth: float = 1.0,
) -> None:
    """Train a model in place; the same call goes on after an interruption.

    Args:
        model: classes (N, 10) of images (N, 1, 28, 28).
        images: to learn from.
        config: hyper-parameters.
        seed: of the batches and of how they are moved.
        path: the file of its checkpoint, after every epoch.
        admm: draws the weights into its sets: its Z and U step every epoch.
        rho_growth: factor on its rho after each of these steps.
    """
    x, y = tensors(images)
    optimizer = optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    checkpoint = Checkpoint(path, f"{config} {seed}", {"model": model, "admm": admm}, optimizer)
    epochs = checkpoint.restore()
    batches = -(-len(y) // config.batch_size)
    total = config.epochs * batches
    step = len(epochs) * batches
    model.train()
    label = f"{path.parent.name}/{path.stem}"
    with tqdm(total=total, initial=step, desc=label, unit="batch", disable=None) as bar:
        for epoch in range(len(epochs), config.epochs):
            drawn = np.random.SeedSequence((seed, epoch)).generate_state(1, "u8")
            random = torch.Generator().manual_seed(int(drawn[0]))
            losses = torch.zeros(())
            for places in torch.randperm(len(y), generator=random).split(config.batch_size):
                moved = shifted(x[places], config.shift, random)
                moved = moved.to(memory_format=torch.channels_last)  # torch's faster kernels
                with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                    scores = model(moved)
                loss = functional.cross_entropy(
                    scores.float(), y[places], label_smoothing=config.smoothing
                )
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate((step + 1) / total)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if admm is not None:
                    admm.step()
                losses += loss.detach()
                step += 1
                bar.update()
            if admm is not None:
                admm.update()
                admm.scale_rho(rho_growth)
            epochs.append(float(losses) / batches)
            checkpoint.save(epochs)
    model.eval()


def rate(share: float) -> float:
    """Of the highest learning rate, after a share of a training: it rises over a fifth of it.

    Then it falls to 0, both as cosines.
    """
    rise = 0.2
    turn = share / rise if share < rise else (1 - share) / (1 - rise)
    return (1 - math.cos(math.pi * turn)) / 2


def shifted(x: Tensor, most: int, random: torch.Generator) -> Tensor:
    """Move each image (N, 1, height, width) by up to ``most`` pixels; zeros come in."""
    count, _, *size = x.shape
    x = functional.pad(x, (most, most, most, most))
    rows, columns = (
        torch.randint(0, 2 * most + 1, (count, 1), generator=random) + torch.arange(length)
        for length in size
    )
    image = torch.arange(count)[:, None, None]
    return x[image, 0, rows[:, :, None], columns[:, None]].unsqueeze(1)


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Percent of the images that a model in evaluation mode recognises."""
    x, y = tensors(images)
    pairs = zip(x.split(BATCH), y.split(BATCH), strict=True)
    right = sum(int((model(part).argmax(1) == digits).sum()) for part, digits in pairs)
    return 100 * right / len(y)
