"""From frame posteriors to phones: the best path, and the best labelling by beam search."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ernn.asr.data import Dataset
from ernn.asr.model import BLANK


def greedy(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Classes on the most probable path: repeats collapsed, then blanks dropped.

    Args:
        log_probs: (T, B, C) log posteriors, or anything that has the same order within a frame.
        lengths: (B,) frames of each utterance.

    Returns:
        B lists of classes, none of them the blank.
    """
    paths = log_probs.argmax(dim=-1).T.cpu()  # (B, T)
    decoded = []
    for path, length in zip(paths, lengths.tolist(), strict=True):
        collapsed = path[:length].unique_consecutive()
        decoded.append(collapsed[collapsed != BLANK].tolist())
    return decoded


def prefix_beam(
    log_probs: NDArray[np.floating], beam: int = 16
) -> list[tuple[tuple[int, ...], float]]:
    """Most probable labellings, the probabilities of all their paths summed.

    Graves, *Supervised Sequence Labelling with Recurrent Neural Networks*, 2012, section 7.5: a
    prefix holds apart the probability of its paths that end in a blank and of those that end in
    its last label, because the same label again makes a new phone after the first and not after
    the second.

    Args:
        log_probs: (T, C) log posteriors of one utterance.
        beam: prefixes kept after each frame.

    Returns:
        At most ``beam`` pairs (classes, log probability), the most probable first. With a beam as
        wide as there are prefixes the probabilities are exact, otherwise lower bounds.

    Raises:
        ValueError: if ``beam`` is less than 1.
    """
    if beam < 1:
        raise ValueError(f"beam is {beam}: it must be at least 1")
    prefixes: list[tuple[int, ...]] = [()]
    in_blank, in_label = np.array([0.0]), np.array([-np.inf])  # (N,) log probabilities each
    for frame in np.asarray(log_probs, dtype=np.float64):  # (C,)
        # The blank column of `last` and `grown` stands for "no label yet" and "no new label".
        last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])  # (N,)
        rows = np.arange(len(prefixes))
        total = np.logaddexp(in_blank, in_label)
        grown = total[:, None] + frame  # (N, C): the prefix and one label more
        grown[rows, last] = in_blank + frame[last]
        grown[:, BLANK] = -np.inf
        stay_blank = total + frame[BLANK]
        stay_label = in_label + frame[last]
        place = {prefix: n for n, prefix in enumerate(prefixes)}
        for n, prefix in enumerate(prefixes):
            if prefix and (parent := place.get(prefix[:-1])) is not None:
                stay_label[n] = np.logaddexp(stay_label[n], grown[parent, prefix[-1]])
                grown[parent, prefix[-1]] = -np.inf

        scores = np.concatenate([np.logaddexp(stay_blank, stay_label), grown.ravel()])
        kept = np.argsort(-scores, kind="stable")[:beam]
        kept = kept[scores[kept] > -np.inf]
        parents, labels = np.divmod(kept - len(prefixes), len(frame))
        stays = kept < len(prefixes)
        in_blank = np.where(stays, stay_blank[kept * stays], -np.inf)
        in_label = np.where(stays, stay_label[kept * stays], scores[kept])
        prefixes = [
            prefixes[k] if stay else (*prefixes[parent], int(label))
            for k, stay, parent, label in zip(kept, stays, parents, labels, strict=True)
        ]
    totals = np.logaddexp(in_blank, in_label).tolist()
    return list(zip(prefixes, totals, strict=True))


def recognise(
    model: Callable[[Tensor, Tensor], Tensor],
    dataset: Dataset,
    *,
    beam: int = 0,
    batch_size: int = 64,
) -> dict[str, list[str]]:
    """Phones, as they are scored, of every utterance of a data set.

    Args:
        model: (T, B, D) features and (B,) lengths to (T, B, C) log posteriors: an acoustic model
            or any other form of it. A module is put in evaluation mode and left there.
        dataset: the utterances; its symbols name the classes.
        beam: 0 takes the best path, otherwise the beam of the prefix search.
        batch_size: utterances computed at once.
    """
    device = None
    if isinstance(model, torch.nn.Module):
        model.eval()
        device = next(model.parameters()).device
    hypotheses = {}
    with torch.inference_mode():
        for batch in dataset.batches(batch_size):
            log_probs = model(batch.features.to(device), batch.lengths)
            if beam:
                frames = log_probs.cpu().numpy()
                decoded = [
                    list(prefix_beam(frames[:length, b], beam)[0][0])
                    for b, length in enumerate(batch.lengths.tolist())
                ]
            else:
                decoded = greedy(log_probs, batch.lengths)
            for name, classes in zip(batch.ids, decoded, strict=True):
                hypotheses[name] = dataset.spell(classes)
    return hypotheses
