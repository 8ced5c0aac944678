"""From frame posteriors to phones with times: best path, CTC beam search, hybrid decoding.

A decoder takes one utterance's (T, C) log posteriors and gives its :class:`Segment` list. Those of
an integer model are the log softmax of its scores times 2**-fraction_length.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from flashlight.lib.text.decoder import (
    CriterionType,
    LexiconFreeDecoder,
    LexiconFreeDecoderOptions,
)
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ernn.asr.data import Dataset
from ernn.asr.model import BLANK
from ernn.asr.ngram import NGram
from ernn.asr.scoring import score

IMPOSSIBLE = -1e4  # a log probability that is as good as none, and that sums stay exact beside
CLASSES_TRIED = 10  # of a frame, the most probable: all 40 give the same phones in thrice the time


class Segment(NamedTuple):
    """A phone in time."""

    label: int  # class, not the blank
    start: int  # its first frame
    end: int  # the frame after its last


Decoder = Callable[[NDArray[Any]], list[Segment]]
"""(T, C) log posteriors of an utterance to its phones."""


def segments(path: NDArray[np.integer]) -> list[Segment]:
    """Collapse a path (T,) of classes: runs of one class become one phone, blanks none.

    On a CTC path a phone's run is where the network is sure of it, which is shorter than the phone.
    """
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1)).tolist()
    runs = itertools.pairwise(edges)
    return [Segment(int(path[a]), a, b) for a, b in runs if path[a] != BLANK]


def greedy(log_probs: NDArray[Any]) -> list[Segment]:
    """Phones on the most probable path.

    Args:
        log_probs: (T, C) log posteriors, or anything that has the same order within a frame.
    """
    return segments(log_probs.argmax(axis=1))


@dataclass(frozen=True)
class PrefixBeam:
    """CTC prefix beam search with a phone n-gram, by flashlight-text.

    Maximises ln P(labelling | frames) + lm_weight * ln P_ngram(labelling), where P sums all paths
    of a labelling (Graves, *Supervised Sequence Labelling with Recurrent Neural Networks*, 2012,
    section 7.5), each of them less ``blank_penalty`` for every frame of blank. The penalty keeps
    insertions and deletions in balance, as a bonus a phone would; KenLM takes no bonus.

    Raises:
        ValueError: if ``beam`` is less than 1.
    """

    ngram: NGram
    lm_weight: float = 0.5
    blank_penalty: float = 1.0
    beam: int = 32  # prefixes kept after a frame: those that end in blank and in a phone apart

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "lm_weight": (0.3, 0.6, 0.9, 1.2, 1.5),
        "blank_penalty": (0.0, 1.0, 2.0, 3.0),
    }

    def __post_init__(self) -> None:
        _check_beam(self.beam)

    def __call__(self, log_probs: NDArray[Any]) -> list[Segment]:
        """Phones of an utterance from its (T, C) log posteriors."""
        scores = np.array(log_probs, dtype=np.float32)
        scores[:, BLANK] -= self.blank_penalty
        return _search(scores, self.ngram, self.lm_weight, self.beam, CriterionType.CTC)


@dataclass(frozen=True)
class Hybrid:
    """Viterbi beam search over phones and n-gram: for models trained with frame cross-entropy.

    Bourlard and Morgan, *Connectionist Speech Recognition: A Hybrid Approach*, 1994, chapter 7:
    posteriors divided by the classes' priors are likelihoods but for a factor. Maximises, over the
    phones and their times, the sum of ln P(phone | frame) - prior_scale * ln P(phone) over the
    frames, plus lm_weight * ln P_ngram(phones). A phone lasts a frame or more. Class 0, a frame
    without a phone, is never taken, and a phone that follows itself is one phone. The search is
    flashlight-text's for ASG.

    Raises:
        ValueError: if ``beam`` is less than 1.
    """

    ngram: NGram
    log_priors: NDArray[np.float64] = field(repr=False)  # (C,), of :func:`log_priors`
    prior_scale: float = 0.5
    lm_weight: float = 1.0
    beam: int = 32  # phone sequences kept after a frame

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "prior_scale": (0.0, 0.5, 1.0),
        "lm_weight": (0.5, 1.0, 1.5, 2.0),
    }

    def __post_init__(self) -> None:
        _check_beam(self.beam)

    def __call__(self, log_probs: NDArray[Any]) -> list[Segment]:
        """Phones of an utterance from its (T, C) log posteriors."""
        scores = (log_probs - self.prior_scale * self.log_priors).astype(np.float32)
        scores[:, BLANK] = IMPOSSIBLE
        return _search(scores, self.ngram, self.lm_weight, self.beam, CriterionType.ASG)


def log_priors(labels: Iterable[NDArray[np.integer]], count: int) -> NDArray[np.float64]:
    """Logarithms of how often each class occurs in the training frames, each once more.

    Args:
        labels: (T,) the class of each frame, utterance by utterance.
        count: C, classes with class 0.
    """
    frames = 1 + np.sum([np.bincount(x, minlength=count) for x in labels], axis=0)
    return np.log(frames / frames.sum())


def _check_beam(beam: int) -> None:
    if beam < 1:
        raise ValueError(f"beam is {beam}: it must be at least 1")


def _search(
    scores: NDArray[np.float32],
    ngram: NGram,
    lm_weight: float,
    beam: int,
    criterion: CriterionType,
) -> list[Segment]:
    """Best phones by flashlight's beam search.

    For CTC a hypothesis is a prefix and whether it ends in blank, and the probabilities of the
    paths to it add up; for ASG it is a prefix, and the best path counts.
    """
    num_frames, count = scores.shape
    if count != len(ngram.symbols) + 1:
        raise ValueError(f"{count} classes: the n-gram's phones and the blank are not as many")
    scores = np.ascontiguousarray(np.maximum(scores, IMPOSSIBLE))
    options = LexiconFreeDecoderOptions(
        beam_size=beam,
        beam_size_token=min(CLASSES_TRIED, count),
        beam_threshold=math.inf,
        lm_weight=lm_weight * math.log(10),  # KenLM's logarithms are to base 10
        sil_score=0.0,
        log_add=criterion == CriterionType.CTC,
        criterion_type=criterion,
    )
    # The class given as silence stands before the first frame; the blank there changes nothing.
    decoder = LexiconFreeDecoder(options, ngram.model, BLANK, BLANK, [0.0] * count**2)
    best = decoder.decode(scores.ctypes.data, num_frames, count)[0]
    return segments(np.array(best.tokens[1:-1]))


def posteriors(
    model: Callable[[Tensor, Tensor], Tensor], dataset: Dataset, *, batch_size: int = 64
) -> dict[str, NDArray[Any]]:
    """What a model gives for every utterance of a data set: (T, C) each.

    Args:
        model: (T, B, D) features and (B,) lengths to (T, B, C) log posteriors: an acoustic model
            or any other form of it. A module is put in evaluation mode and left there.
        dataset: the utterances.
        batch_size: utterances computed at once.
    """
    device = None
    if isinstance(model, torch.nn.Module):
        model.eval()
        device = next(model.parameters()).device
    result = {}
    with torch.inference_mode():
        for batch in dataset.batches(batch_size):
            log_probs = model(batch.features.to(device), batch.lengths).cpu().numpy()
            for n, (name, length) in enumerate(zip(batch.ids, batch.lengths, strict=True)):
                result[name] = log_probs[:length, n]
    return result


def decode(
    utterances: Mapping[str, NDArray[Any]], decoder: Decoder, dataset: Dataset
) -> dict[str, list[str]]:
    """Phones, as they are scored, of utterances of a data set, from their (T, C) log posteriors."""
    return {
        name: dataset.spell(segment.label for segment in decoder(log_probs))
        for name, log_probs in utterances.items()
    }


def recognise(
    model: Callable[[Tensor, Tensor], Tensor],
    dataset: Dataset,
    decoder: Decoder = greedy,
    *,
    batch_size: int = 64,
) -> dict[str, list[str]]:
    """Phones of every utterance, as they are scored; see :func:`posteriors` for the model."""
    return decode(posteriors(model, dataset, batch_size=batch_size), decoder, dataset)


class Trial(NamedTuple):
    """Settings of a decoder that were tried, and the PER on the dev set."""

    settings: dict[str, Any]
    per: float


D = TypeVar("D", bound=PrefixBeam | Hybrid)


def tune(
    decoder: D,
    utterances: Mapping[str, NDArray[Any]],
    dev_set: Dataset,
    grid: Mapping[str, Sequence[float]] | None = None,
) -> tuple[D, list[Trial]]:
    """Try a grid of settings on the dev set.

    Args:
        decoder: what is tuned.
        utterances: (T, C) log posteriors of the dev set, of :func:`posteriors`.
        dev_set: the dev set.
        grid: values to try of each setting, those of the decoder's class if not given; every
            combination is tried.

    Returns:
        The decoder with the settings of least PER, the first of equals, and all trials.
    """
    grid = decoder.GRID if grid is None else grid
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    trials = []
    for settings in tqdm(points, desc="tune", unit="setting", disable=None):
        candidate = replace(decoder, **settings)
        hypotheses = decode(utterances, candidate, dev_set)
        trials.append(Trial(settings, score(dev_set.phones, hypotheses).per))
    best = min(trials, key=lambda trial: trial.per)
    return replace(decoder, **best.settings), trials
