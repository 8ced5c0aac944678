"""Training: one plain loop that can be killed anywhere and goes on as if it had not been."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import ctc_loss
from tqdm import tqdm

from ernn.asr.data import Dataset, SpecAugment
from ernn.asr.decoding import recognise
from ernn.asr.model import BLANK, AcousticModel, read_tensors
from ernn.asr.scoring import score
from ernn.compress import ADMM
from ernn.files import atomic


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The rate climbs from 0 over the warm-up, then falls linearly to 0.

    Raises:
        ValueError: if ``epochs`` or ``batch_size`` is less than 1.
    """

    epochs: int = 16
    batch_size: int = 8  # utterances
    learning_rate: float = 5e-3  # at the end of the warm-up
    warmup_steps: int = 100  # batches
    weight_decay: float = 0.0
    clip: float = 1.0  # largest norm of the gradient
    spec_augment: SpecAugment | None = field(default_factory=SpecAugment)
    seed: int = 0
    admm_every: int = 1  # epochs from one step of Z and U to the next
    rho_growth: float = 1.0  # factor on rho after each of these steps

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of batch ``step`` (from 0) of ``steps``."""
        rising = (step + 1) / max(1, self.warmup_steps)
        falling = (steps - step) / max(1, steps - self.warmup_steps)
        return self.learning_rate * min(1.0, rising, falling)


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    epoch: int  # from 1
    loss: float  # mean CTC loss a phone, of training batches as they were met
    dev_per: float  # percent
    learning_rate: float  # of the last batch
    seconds: float
    residual: float | None = None  # ADMM: largest |W - Z| / |W| of a layer


@dataclass(frozen=True)
class History:
    """Epochs in order."""

    epochs: list[Epoch]

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest dev PER, the earliest of equals."""
        return min(self.epochs, key=lambda epoch: epoch.dev_per)


def train(
    model: AcousticModel,
    train_set: Dataset,
    dev_set: Dataset,
    config: TrainConfig,
    folder: Path | str,
    *,
    admm: ADMM | None = None,
    bar_row: int | None = None,
    watch: Callable[[list[Epoch]], None] | None = None,
) -> History:
    """Train a model in place and leave it with the weights that were best on the dev set.

    The folder then holds ``model.safetensors`` (these weights), ``log.jsonl`` (a line an epoch) and
    ``checkpoint.safetensors``, from which the same call goes on after an interruption, to the
    same weights bit for bit on one machine: every epoch seeds torch's global generator for
    itself. A run that is complete is read, not repeated.

    With ``admm`` its penalty joins the loss, its Z and U step every ``admm_every`` epochs, and
    the last epoch's weights are kept, for they are nearest the constraint. ``bar_row`` is the
    line of the terminal for the progress bar, for trainings that run side by side.
    ``watch`` is called after every epoch, when its checkpoint is written, with all epochs so far;
    what it raises ends the training.

    Raises:
        ValueError: if the folder holds a run with other settings, data or initial weights.
        FloatingPointError: if the loss is no longer finite.
    """
    folder = Path(folder)
    identity = _identity(model, train_set, dev_set, config, admm)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    checkpoint = folder / "checkpoint.safetensors"
    epochs = _restore(checkpoint, identity, model, optimizer, admm) if checkpoint.exists() else []

    batches = -(-len(train_set) // config.batch_size)  # an epoch
    steps = config.epochs * batches
    step = len(epochs) * batches
    bar = tqdm(
        total=steps,
        initial=step,
        desc="/".join(folder.parts[-2:]),
        unit="batch",
        position=bar_row,
        disable=None,
    )
    for number in range(len(epochs) + 1, config.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(config.seed * 1_000_003 + number)
        model.train()
        losses = 0.0
        for batch in train_set.shuffled(config.batch_size):
            features = batch.features.to(model.device)  # (T, B, D)
            if config.spec_augment is not None:
                features = config.spec_augment(features, batch.lengths)
            log_probs = model(features, batch.lengths)  # (T, B, C)
            loss = ctc_loss(
                log_probs,
                batch.targets,
                batch.lengths,
                batch.target_lengths,
                blank=BLANK,
                zero_infinity=True,  # an utterance with more phones than frames has no path
            )
            objective = loss if admm is None else loss + admm.penalty()

            for group in optimizer.param_groups:
                group["lr"] = config.rate(step, steps)
            optimizer.zero_grad()
            objective.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            step += 1
            losses += loss.item()
            bar.update()

        if not math.isfinite(losses):
            raise FloatingPointError(f"{folder.name}: the loss of epoch {number} is not finite")
        residual = None
        if admm is not None and number % config.admm_every == 0:
            residual = max(admm.update().values())
            admm.scale_rho(config.rho_growth)
        dev_per = score(dev_set.phones, recognise(model, dev_set)).per
        rate, seconds = config.rate(step - 1, steps), time.perf_counter() - started
        epochs.append(Epoch(number, losses / batches, dev_per, rate, seconds, residual))
        bar.set_postfix(loss=f"{losses / batches:.3f}", dev_per=f"{dev_per:.1f}")

        if admm is not None or History(epochs).best.epoch == number:
            model.save(folder / "model.safetensors")
        with atomic(folder / "log.jsonl") as new:
            new.write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))
        _save(checkpoint, identity, epochs, model, optimizer, admm)
        if watch is not None:
            watch(epochs)
    bar.close()
    model.load_state_dict(AcousticModel.load(folder / "model.safetensors").state_dict())
    model.eval()
    return History(epochs)


def _identity(
    model: AcousticModel,
    train_set: Dataset,
    dev_set: Dataset,
    config: TrainConfig,
    admm: ADMM | None,
) -> str:
    """Digest of everything that a run's result depends on."""
    digest = hashlib.sha256(json.dumps([asdict(model.config), asdict(config)]).encode())
    tensors = list(model.state_dict().values())
    for dataset in (train_set, dev_set):
        digest.update(json.dumps([dataset.symbols, dataset.phones]).encode())
        tensors += dataset.features
    if admm is not None:
        tensors += admm.state_dict().values()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _save(
    path: Path,
    identity: str,
    epochs: list[Epoch],
    model: AcousticModel,
    optimizer: torch.optim.Optimizer,
    admm: ADMM | None,
) -> None:
    """Write all that the next epoch needs."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    if admm is not None:
        tensors |= {f"admm.{name}": value for name, value in admm.state_dict().items()}
    metadata = {
        "identity": identity,
        "epochs": json.dumps([asdict(epoch) for epoch in epochs]),
    }
    with atomic(path) as new:
        save_file({name: value.contiguous() for name, value in tensors.items()}, new, metadata)


def _restore(
    path: Path,
    identity: str,
    model: AcousticModel,
    optimizer: torch.optim.Optimizer,
    admm: ADMM | None,
) -> list[Epoch]:
    """Take up what :func:`_save` wrote."""
    tensors, metadata = read_tensors(path)
    if metadata["identity"] != identity:
        raise ValueError(
            f"{path.parent}: holds a run with other settings, data or initial weights; "
            "remove it or name another folder"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer.").items():
        index, moment = name.split(".")
        state.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    if admm is not None:
        admm.load_state_dict(part("admm."))
    return [Epoch(**epoch) for epoch in json.loads(metadata["epochs"])]
