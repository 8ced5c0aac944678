"""What training minimises: CTC or frame cross-entropy, and the distance to a teacher."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, kl_div, nll_loss

from ernn.asr.data import PADDING, Batch
from ernn.asr.model import BLANK, AcousticModel

Criterion = Literal["ctc", "frames"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Distillation:
    """How much a teacher counts: (1 - posterior) criterion + posterior KL + hidden MSE.

    KL is the divergence of the student's posteriors from the teacher's, both at a temperature t,
    times t^2, a frame (Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015,
    section 2). MSE is the mean squared difference of the outputs of the last recurrent layers.

    Raises:
        ValueError: if ``posterior`` is not from 0 to 1, ``temperature`` is not positive, or
            ``hidden`` is negative.
    """

    posterior: float = 0.5
    temperature: float = 2.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.posterior <= 1:
            raise ValueError(f"posterior is {self.posterior}: it must be from 0 to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}: it must be positive")
        if not self.hidden >= 0:
            raise ValueError(f"hidden is {self.hidden}: it must be at least 0")


class Objective(nn.Module):
    """The loss of a batch.

    Args:
        model: what is trained.
        criterion: ``"ctc"``, Graves et al., *Connectionist Temporal Classification*, ICML 2006, a
            phone: each utterance's loss divided by its phones, the mean over the utterances. Or
            ``"frames"``, the cross-entropy with the batch's alignment, a frame.
        precision: ``"bf16"`` runs the layers under torch.autocast; losses are always float32.
        teacher: a model whose posteriors and hidden outputs the student is drawn to; a copy of it
            is kept, in evaluation mode. It sees the features that the student sees.
        distillation: the weights, if there is a teacher.

    Raises:
        ValueError: if the teacher has other inputs or phones than the model, or, where hidden
            outputs are compared, another number of them.
    """

    def __init__(
        self,
        model: AcousticModel,
        criterion: Criterion,
        precision: Precision,
        teacher: AcousticModel | None,
        distillation: Distillation,
    ):
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.precision = precision
        self.distillation = distillation
        self.teacher = None
        if teacher is not None:
            _check_teacher(model, teacher, distillation)
            self.teacher = deepcopy(teacher).to(model.device).eval().requires_grad_(False)

    def forward(self, batch: Batch, utterances: int, frames: int) -> Tensor:
        """The batch's share of the loss: its sum over ``utterances`` or ``frames``.

        Args:
            batch: on the model's device; it may be a share of a batch, an empty one too.
            utterances: those of the whole batch.
            frames: those of the whole batch, without padding.

        Returns:
            A scalar; the shares of a batch add up to the mean over the whole batch.
        """
        if not batch.ids:
            return sum((p.sum() for p in self.model.parameters()), start=torch.tensor(0.0)) * 0
        hidden, log_probs = self._run(self.model, batch)
        if self.criterion == "ctc":
            loss = _ctc(log_probs, batch) / utterances
        else:
            loss = _cross_entropy(log_probs, batch) / frames
        if self.teacher is None:
            return loss
        with torch.no_grad():
            taught_hidden, taught = self._run(self.teacher, batch)
        d = self.distillation
        padding = torch.arange(len(hidden))[:, None] >= batch.lengths  # (T, B)
        padding = padding.to(hidden.device)
        divergence = _divergence(log_probs, taught, d.temperature).masked_fill(padding, 0)
        loss = (1 - d.posterior) * loss + d.posterior * divergence.sum() / frames
        if d.hidden:
            difference = (hidden - taught_hidden).square().mean(dim=-1).masked_fill(padding, 0)
            loss = loss + d.hidden * difference.sum() / frames
        return loss

    def _run(self, model: AcousticModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hidden outputs (T, B, H) and log posteriors (T, B, C), float32."""
        bf16 = self.precision == "bf16"
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            hidden = model.encode(batch.features, batch.lengths)
            log_probs = model.classify(hidden)
        return hidden.float(), log_probs


def _ctc(log_probs: Tensor, batch: Batch) -> Tensor:
    """CTC loss a phone, summed over the utterances."""
    losses = ctc_loss(
        log_probs,
        batch.targets,
        batch.lengths,
        batch.target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,  # an utterance with more phones than frames has no path
    )  # (B,)
    return (losses / batch.target_lengths.clamp(min=1).to(losses.device)).sum()


def _cross_entropy(log_probs: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the alignment, summed over the frames, padding left out."""
    assert batch.alignment is not None
    classes = batch.alignment.flatten()
    return nll_loss(log_probs.flatten(0, 1), classes, ignore_index=PADDING, reduction="sum")


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """t^2 KL(teacher || student) at temperature t of log posteriors (T, B, C): (T, B)."""
    flat_student, flat_teacher = (
        (log_probs / temperature).log_softmax(dim=-1) for log_probs in (student, teacher)
    )
    terms = kl_div(flat_student, flat_teacher, reduction="none", log_target=True)  # (T, B, C)
    return temperature**2 * terms.sum(dim=-1)


def _check_teacher(
    model: AcousticModel, teacher: AcousticModel, distillation: Distillation
) -> None:
    """Raise ValueError unless the teacher can teach the model."""
    pairs = {
        "inputs": (teacher.config.input_size, model.config.input_size),
        "phones": (teacher.config.num_phones, model.config.num_phones),
    }
    if distillation.hidden:
        pairs["hidden outputs"] = teacher.output.in_features, model.output.in_features
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise ValueError(f"the teacher has {theirs} {what}, the model {ours}")
