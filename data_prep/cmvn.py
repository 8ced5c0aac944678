"""Mean and variance normalisation of frames (CMVN): of a speaker's utterances, and of a stream."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.signal import lfilter

FLOOR = float(np.finfo(np.float32).eps)  # of a deviation

PRIOR = 12  # frames that the training set's statistics count as
FIRST = 100  # frames that are normalised together, where one waits for the results
MEMORY = 500  # frames after which what was counted counts 1/e
THRESHOLD = 1.5  # of a frame's level above that of the pauses: the frame is speech
HANGOVER = 20  # frames behind speech that are taken for it
RISE = 0.003  # of the level of the pauses, a frame


def statistics(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation, (D,) float32 each, of a speaker's utterances, (T, D) each."""
    x = np.concatenate(frames).astype(np.float64)
    deviation = np.maximum(x.std(axis=0), FLOOR)
    return x.mean(axis=0).astype(np.float32), deviation.astype(np.float32)


def pooled(parts: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation, (D,) float32 each, of all frames of several sets of them.

    Args:
        parts: of each set the number of its frames, their mean and their deviation.
    """
    counts, means, deviations = zip(*parts, strict=True)
    m, d = np.array(means, np.float64), np.array(deviations, np.float64)  # (sets, D)
    mean = np.average(m, axis=0, weights=counts)
    squares = d**2 + (m - mean) ** 2
    deviation = np.sqrt(np.average(squares, axis=0, weights=counts))
    return mean.astype(np.float32), deviation.astype(np.float32)


class RunningCmvn:
    """Bring a stream's frames to mean 0 and variance 1 by what has been heard of it.

        cmvn = RunningCmvn(mean, deviation, level)
        for frames in source:
            yield from cmvn.push(frames)
        yield from cmvn.finish()

    The statistics begin as the training set's, which count as ``PRIOR`` frames, and forget with a
    time constant of ``MEMORY`` frames, so that another speaker is followed. A frame is normalised
    as soon as it is there, by statistics that it is part of; but the ``first`` frames wait for one
    another and share theirs. Pauses do not count, for the mean of a long one is not that of
    speech: frames that are less than ``THRESHOLD`` above the lowest level so far, which is let rise
    by ``RISE`` a frame to follow louder noise, and are not within ``HANGOVER`` frames behind
    speech. What comes out does not depend on how the frames are cut, bit for bit.

    Args:
        mean, deviation: (D,) of all frames of the training set.
        level: (D,) weights of a frame's values; their sum is its log energy, mean over filters.
        first: the more, the better are those frames normalised, and the later do they come.
    """

    def __init__(
        self, mean: np.ndarray, deviation: np.ndarray, level: np.ndarray, first: int = FIRST
    ) -> None:
        self._mean, self._level, self._first = mean.astype(np.float64), level, first
        one = np.ones_like(self._mean)
        # (3, D): sums of weights, of differences from the prior mean, of their squares
        self._sums = PRIOR * np.stack((one, 0 * one, deviation.astype(np.float64) ** 2))
        self._lowest = np.inf  # level
        self._hangover = 0  # frames to come that are taken for speech
        self._waiting: np.ndarray | None = np.zeros((0, len(mean)))

    def push(self, frames: np.ndarray) -> np.ndarray:
        """Take frames (T, D); return those that wait no more, normalised, float32."""
        x = frames - self._mean
        if self._waiting is None:
            return self._normalise(x)
        self._waiting = np.concatenate((self._waiting, x))
        return self.finish() if len(self._waiting) >= self._first else self._normalise(x[:0])

    def finish(self) -> np.ndarray:
        """Return those that still wait, normalised, (T, D) float32."""
        if self._waiting is None:
            return self._normalise(np.zeros((0, len(self._mean))))
        x, self._waiting = self._waiting, None
        together, after = x[: self._first], x[self._first :]
        return np.concatenate((self._normalise(together, True), self._normalise(after)))

    def _normalise(self, x: np.ndarray, together: bool = False) -> np.ndarray:
        """Count ``x`` (T, D), differences from the prior mean, and normalise it."""
        if not len(x):
            return x.astype(np.float32)
        levels = (x * self._level).sum(axis=1)
        if together:
            self._lowest = levels.min()
        counted = np.array([self._speech(level) for level in levels.tolist()])
        sums = self._sums[None]
        if counted.any():
            terms = np.stack((np.ones_like(x), x, x * x), axis=1)[counted]
            kept = 1 - 1 / MEMORY
            after, _ = lfilter([1.0], [1.0, -kept], terms, axis=0, zi=kept * sums)
            sums = np.concatenate((sums, after))  # row n: n frames counted
        self._sums = sums[-1].copy()
        of_frame = np.full(len(x), -1) if together else np.cumsum(counted)
        weight, first, second = sums[of_frame].swapaxes(0, 1)
        mean = first / weight
        variance = np.maximum(second / weight - mean**2, FLOOR**2)
        return ((x - mean) / np.sqrt(variance)).astype(np.float32)

    def _speech(self, level: float) -> bool:
        """Whether the next frame counts."""
        self._lowest = min(self._lowest + RISE, level)
        if level > self._lowest + THRESHOLD:
            self._hangover = HANGOVER
            return True
        self._hangover -= 1
        return self._hangover >= 0
