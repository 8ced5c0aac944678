"""Utterances for training: length buckets, padding, shares of a batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

PADDING = -100  # class of a frame that is none; torch's losses leave it out


class Batch(NamedTuple):
    """Utterances of similar length, padded with zeros (the mean of normalised features)."""

    ids: list[str]
    features: Tensor  # (T, B, D)
    lengths: Tensor  # (B,) frames
    targets: Tensor  # (sum of target_lengths,) classes, one utterance after the other
    target_lengths: Tensor  # (B,) phones
    alignment: Tensor | None = None  # (T, B) classes, PADDING past an utterance's length

    def share(self, number: int, count: int) -> Self:
        """Share ``number`` of ``count``: every ``count``-th utterance; the padding stays."""
        owner = torch.arange(len(self.ids)).repeat_interleave(self.target_lengths)
        return self._replace(
            ids=self.ids[number::count],
            features=self.features[:, number::count],
            lengths=self.lengths[number::count],
            targets=self.targets[owner % count == number],
            target_lengths=self.target_lengths[number::count],
            alignment=None if self.alignment is None else self.alignment[:, number::count],
        )

    def padded(self, multiple: int) -> Self:
        """The batch with more padding, up to a multiple of so many frames."""
        padding = 0, 0, 0, -len(self.features) % multiple
        return self._replace(
            features=pad(self.features, (0, 0, *padding)),
            alignment=None
            if self.alignment is None
            else pad(self.alignment, padding, value=PADDING),
        )

    def to(self, device: torch.device) -> Self:
        """The batch on a device; lengths stay on the CPU, where they are read."""
        return self._replace(
            features=self.features.to(device),
            targets=self.targets.to(device),
            alignment=None if self.alignment is None else self.alignment.to(device),
        )


class Dataset:
    """Features and phones of the same utterances, kept in order of length.

    Args:
        features: utterance -> (T, D) float32.
        phones: utterance -> its phones; the order of ``features`` does not matter.
        symbols: the phone set; phone ``symbols[i]`` is class i + 1, for class 0 is no phone.
        folding: symbol -> the phone that is scored for it, None for none; by default itself.
        alignments: utterance -> (T,) the class of each frame, for training by frames; see
            :func:`data_prep.frames.label`.

    Attributes:
        phones: utterance -> the phones that are scored.

    Raises:
        ValueError: if there is no utterance, if an utterance lacks its features, phones or
            alignment, if a phone is not in the set, if utterances differ in width, or if an
            alignment is not a class for each frame.
    """

    def __init__(
        self,
        features: Mapping[str, NDArray[np.float32]],
        phones: Mapping[str, Sequence[str]],
        symbols: Sequence[str],
        *,
        folding: Mapping[str, str | None] | None = None,
        alignments: Mapping[str, NDArray[np.integer]] | None = None,
    ):
        if not features:
            raise ValueError("no utterance: a data set needs at least one")
        for name in features.keys() ^ phones.keys():
            raise ValueError(f"{name}: has {'features' if name in features else 'phones'} alone")
        classes = {symbol: i for i, symbol in enumerate(symbols, 1)}
        for name, sequence in phones.items():
            if unknown := set(sequence) - classes.keys():
                raise ValueError(
                    f"{name}: {min(unknown)!r} is not one of the {len(classes)} phones"
                )
        self.width = next(iter(features.values())).shape[-1]
        for name, frames in features.items():
            if frames.ndim != 2 or len(frames) == 0 or frames.shape[1] != self.width:
                raise ValueError(f"{name}: features are {frames.shape}, not (T > 0, {self.width})")
        if alignments is not None:
            _check_alignments(alignments, features, len(classes))
        self.symbols = tuple(symbols)
        self.ids = sorted(features, key=lambda name: (len(features[name]), name))
        self.features = [torch.tensor(features[name]) for name in self.ids]
        self.targets = [
            torch.tensor([classes[p] for p in phones[name]], dtype=torch.long) for name in self.ids
        ]
        self._scored = [None, *(folding[s] if folding else s for s in symbols)]  # by class
        self.phones = {
            name: self.spell(target.tolist())
            for name, target in zip(self.ids, self.targets, strict=True)
        }
        self.alignments = (
            None
            if alignments is None
            else [torch.tensor(alignments[name], dtype=torch.long) for name in self.ids]
        )

    def __len__(self) -> int:
        return len(self.ids)

    def spell(self, classes: Iterable[int]) -> list[str]:
        """The phones that are scored for a sequence of classes; repeats stay."""
        return [phone for c in classes if (phone := self._scored[c]) is not None]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The utterances at these places as one batch."""
        features = [self.features[i] for i in indices]
        targets = [self.targets[i] for i in indices]
        alignment = None
        if self.alignments is not None:
            alignment = pad_sequence([self.alignments[i] for i in indices], padding_value=PADDING)
        return Batch(
            [self.ids[i] for i in indices],
            pad_sequence(features),  # (T, B, D)
            torch.tensor([len(f) for f in features]),
            torch.cat(targets),
            torch.tensor([len(t) for t in targets]),
            alignment,
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Every utterance once, shortest first."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))))

    def shuffled(
        self, size: int, jitter: float = 0.1, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Every utterance once, in buckets of similar length, in random order.

        Lengths are stretched by up to ``jitter`` before the buckets are cut, so that an utterance
        meets others from epoch to epoch. Draws from ``generator``, by default torch's global one.
        """
        lengths = torch.tensor([len(f) for f in self.features])
        order = (lengths * (1 + jitter * torch.rand(len(self), generator=generator))).argsort(
            stable=True
        )
        buckets = order.split(size)
        for bucket in torch.randperm(len(buckets), generator=generator).tolist():
            yield self.batch(buckets[bucket].tolist())


def _check_alignments(
    alignments: Mapping[str, NDArray[np.integer]],
    features: Mapping[str, NDArray[np.float32]],
    num_phones: int,
) -> None:
    """Raise ValueError unless each utterance has one class from 0 to ``num_phones`` a frame."""
    for name in alignments.keys() ^ features.keys():
        raise ValueError(f"{name}: has {'features' if name in features else 'an alignment'} alone")
    for name, classes in alignments.items():
        if classes.shape != (len(features[name]),):
            raise ValueError(
                f"{name}: the alignment is {classes.shape}, not ({len(features[name])},)"
            )
        if classes.min() < 0 or classes.max() > num_phones:
            raise ValueError(f"{name}: an aligned class is not from 0 to {num_phones}")
