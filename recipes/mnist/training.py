"""Training an image classifier, and counting how often it is right."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_model
from torch import Tensor, nn, optim
from torch.nn import functional
from tqdm import tqdm

from data_prep.mnist import Images
from ernn.compress import ADMM, sizes
from ernn.files import atomic
from recipes.experiment.stage import Result

BATCH = 1000
"""Images at once where nothing is learnt."""


@dataclass(frozen=True)
class Train:
    """The table ``[train]``."""

    epochs: int
    batch_size: int
    learning_rate: float  # the highest; rises over a fifth of the batches, then falls to 0
    weight_decay: float
    shift: int  # pixels that an image is moved at most, to either side and up or down
    smoothing: float  # of the labels

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
    fit(model, data["train"], config, seed, path.parent.name)
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
    label: str,
    admm: ADMM | None = None,
    rho_growth: float = 1.0,
) -> None:
    """Train a model in place; the seed draws the batches and how they are moved.

    Args:
        model: classes (N, 10) of images (N, 1, 28, 28).
        images: to learn from.
        config: hyper-parameters.
        seed: of everything that is random here.
        label: of the progress bar.
        admm: draws the weights into its sets: its Z and U step every epoch.
        rho_growth: factor on its rho after each of these steps.
    """
    x, y = tensors(images)
    random = torch.Generator().manual_seed(seed)
    optimizer = optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    batches = -(-len(y) // config.batch_size)
    total = config.epochs * batches
    rate = optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=total, pct_start=0.2
    )
    model.train()
    with tqdm(total=total, desc=label, unit="batch", disable=None) as bar:
        for _ in range(config.epochs):
            order = torch.randperm(len(y), generator=random)
            for places in order.split(config.batch_size):
                moved = shifted(x[places], config.shift, random)
                loss = functional.cross_entropy(
                    model(moved), y[places], label_smoothing=config.smoothing
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if admm is not None:
                    admm.step()
                rate.step()
                bar.update()
            if admm is not None:
                admm.update()
                admm.scale_rho(rho_growth)
    model.eval()


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
