"""Other utterances out of those there are, for training: masked, said faster, by another voice."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernn.asr.data import PADDING, Batch


@dataclass(frozen=True)
class Perturbation:
    """Each utterance at another speed, by a speaker with another vocal tract.

    Time and frequency are stretched by factors that are drawn for each utterance on its own,
    uniform from 1 - ``speed`` to 1 + ``speed`` and from 1 - ``warp`` to 1 + ``warp``; between
    frames and between bands the features are interpolated, which takes next to no time; the audio
    is not touched. Sources: Ko et al., *Audio Augmentation for Speech Recognition*, Interspeech
    2015; Jaitly and Hinton, *Vocal Tract Length Perturbation*, 2013, here on the mel axis.

    Raises:
        ValueError: if a factor could be 0, or ``subsample`` or ``bands`` is less than 1.
    """

    speed: float = 0.1
    warp: float = 0.06
    bands: int = 40  # bands in each of the stacked frames
    subsample: int = 3  # frames from one vector to the next

    def __post_init__(self) -> None:
        for name in ("speed", "warp"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be from 0 to below 1")
        for name in ("bands", "subsample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """Perturb a batch on the CPU. Draws from ``generator``, by default torch's global one.

        Raises:
            ValueError: if the vectors are no stacked frames of ``bands``, or leave frames out.
        """
        stack, rest = divmod(batch.features.shape[2], self.bands)
        if rest or not stack:
            width = batch.features.shape[2]
            raise ValueError(f"features are {width} wide: not a multiple of {self.bands} bands")
        if stack < self.subsample:
            raise ValueError(f"{stack} frames in a vector, {self.subsample} from one to the next")
        count = (batch.lengths - 1) * self.subsample + stack  # frames of each utterance
        slower, longer = (
            1 + width * (2 * torch.rand(len(batch.ids), generator=generator) - 1)
            for width in (self.speed, self.warp)
        )
        lengths = ((count * slower).round().long() - stack).div(
            self.subsample, rounding_mode="floor"
        )
        lengths = (lengths + 1).clamp(min=1)
        num_vectors = int(lengths.max())

        frames = self._unstack(batch, stack)  # (F, B, bands)
        time = torch.arange((num_vectors - 1) * self.subsample + stack)
        frames = _interpolate(frames, time[:, None] / slower, count - 1)
        bands = torch.arange(self.bands)[:, None] / longer  # (bands, B)
        warped = _interpolate(
            frames.permute(2, 1, 0), bands, torch.full_like(count, self.bands - 1)
        )
        windows = warped.permute(2, 1, 0).unfold(0, stack, self.subsample)  # (T, B, bands, stack)
        vectors = windows.transpose(2, 3).flatten(2)

        at = torch.arange(num_vectors)[:, None]
        outside = at >= lengths
        alignment = None
        if batch.alignment is not None:
            source = (at / slower).long().minimum(batch.lengths - 1)
            alignment = batch.alignment.gather(0, source).masked_fill(outside, PADDING)
        return batch._replace(
            features=vectors.masked_fill(outside[..., None], 0.0),
            lengths=lengths,
            alignment=alignment,
        )

    def _unstack(self, batch: Batch, stack: int) -> Tensor:
        """The frames (F, B, bands) of a batch, after an utterance's last one any."""
        apart = batch.features.unflatten(2, (stack, self.bands)).transpose(1, 2)
        number = torch.arange((len(apart) - 1) * self.subsample + stack)[:, None]
        vector = (number // self.subsample).minimum(batch.lengths - 1)  # the last that begins there
        within = (number - vector * self.subsample).clamp(max=stack - 1)
        return _take(apart.flatten(0, 1), vector * stack + within)


def _take(values: Tensor, places: Tensor) -> Tensor:
    """Values (N, B, M) at places (P, B): (P, B, M)."""
    return values.gather(0, places[..., None].expand(-1, -1, values.shape[2]))


def _interpolate(values: Tensor, places: Tensor, last: Tensor) -> Tensor:
    """Values (N, B, M) at real places (P, B) from 0 to ``last`` (B,), beyond it the last one's."""
    places = places.minimum(last)
    before = places.long()
    after = (before + 1).minimum(last)
    weight = (places - before)[..., None]
    return torch.lerp(_take(values, before), _take(values, after), weight)


@dataclass(frozen=True)
class SpecAugment:
    """Masks of time and frequency in training: Park et al., *SpecAugment*, Interspeech 2019.

    Each mask is drawn for each utterance on its own, its width uniform from 0 to the one given,
    and sets what it covers to zero, which is the mean of normalised features.
    """

    time_masks: int = 2
    time_width: int = 5  # frames after stacking and subsampling
    frequency_masks: int = 2
    frequency_width: int = 5  # bands
    bands: int = 40  # bands in each of the stacked frames

    def __call__(
        self, features: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mask (T, B, D) features, D a multiple of ``bands``.

        Draws from ``generator``, by default torch's global one.
        """
        num_frames, batch, width = features.shape
        if width % self.bands:
            raise ValueError(f"features are {width} wide: not a multiple of {self.bands} bands")
        times = _masks(num_frames, lengths, self.time_masks, self.time_width, generator)  # (B, T)
        whole = torch.full((batch,), self.bands)
        bands = _masks(self.bands, whole, self.frequency_masks, self.frequency_width, generator)
        bands = bands.repeat(1, width // self.bands)  # (B, D)
        masked = times.T[:, :, None] | bands[None]  # (T, B, D)
        return features.masked_fill(masked.to(features.device), 0.0)


def _masks(
    size: int, lengths: Tensor, count: int, widest: int, generator: torch.Generator | None
) -> Tensor:
    """Union of ``count`` random spans within [0, length) of each row: (B, size) bool."""
    shape = len(lengths), count
    width = torch.randint(widest + 1, shape, generator=generator).minimum(lengths[:, None])
    start = (torch.rand(shape, generator=generator) * (lengths[:, None] - width + 1)).long()
    at = torch.arange(size)
    return ((at >= start[..., None]) & (at < (start + width)[..., None])).any(dim=1)
