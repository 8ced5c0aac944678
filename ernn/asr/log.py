"""What a training came to, epoch by epoch: in memory, as JSON lines and for TensorBoard."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ernn.files import atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    epoch: int  # from 1
    loss: float  # mean over the training batches as they were met
    dev_per: float  # percent
    learning_rate: float  # of the last batch
    gradient_norm: float  # before clipping, mean over the batches
    seconds: float
    residuals: dict[str, float] | None = None  # ADMM: |W - Z| / |W| of each layer, if it stepped
    average_per: float | None = None  # percent, of the averaged weights, in the last epoch

    @property
    def residual(self) -> float | None:
        """ADMM: the largest residual of a layer."""
        return max(self.residuals.values()) if self.residuals else None


@dataclass(frozen=True)
class History:
    """Epochs in order."""

    epochs: list[Epoch]

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest dev PER, the earliest of equals."""
        return min(self.epochs, key=lambda epoch: epoch.dev_per)

    @property
    def average_wins(self) -> bool:
        """Whether averaged weights were scored, and are no worse on dev than any epoch's."""
        average_per = self.epochs[-1].average_per
        return average_per is not None and average_per <= self.best.dev_per


class Log:
    """Files of a run: ``log.jsonl``, a line an epoch, and TensorBoard's events.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.events: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.events is not None:
            self.events.close()

    def write(self, epochs: list[Epoch]) -> None:
        """Log the last of these epochs; it supersedes what an interrupted run has logged of it."""
        scalars = asdict(epochs[-1])
        step, residuals = scalars.pop("epoch"), scalars.pop("residuals") or {}
        scalars |= {f"residual/{name}": value for name, value in residuals.items()}
        if self.events is None:
            from torch.utils.tensorboard import SummaryWriter  # importing it takes a second

            self.events = SummaryWriter(self.folder, purge_step=step)
        for name, value in scalars.items():
            if value is not None:
                self.events.add_scalar(name, value, step)
        self.events.flush()
        with atomic(self.folder / "log.jsonl") as new:
            new.write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))
