"""Frame labels: the phone that a feature vector shows, from the phones' boundaries."""

from collections.abc import Iterable, Mapping

import numpy as np

from data_prep.features import FeatureConfig

NO_PHONE = 0


def label(
    segments: Iterable[tuple[int, int, str]],
    sample_rate: int,
    count: int,
    config: FeatureConfig,
    classes: Mapping[str, int],
) -> np.ndarray:
    """Return the class of each vector of an utterance: that of the phone at its centre.

    A vector is made of ``config.stack`` frames; its centre is the middle of the samples that they
    look at, from the first frame's first to the last frame's last. A phone reaches from its start
    up to, and not including, its end.

    Args:
        segments: (start, end, phone) in samples from the utterance's start, in order, not
            overlapping.
        sample_rate: of the boundaries, in Hz.
        count: T, the vectors of the utterance.
        config: what a vector is.
        classes: class of each phone, from 1; of a phone that is not here it is 0, as where there is
            none.

    Returns:
        (T,) int64, as :class:`ernn.asr.Dataset` takes it.

    Raises:
        ValueError: there is no segment, or they are not in order, or overlap.
    """
    segments = list(segments)
    bounds = np.array([(start, end) for start, end, _ in segments]).reshape(-1, 2)
    if not len(bounds) or (np.diff(bounds.ravel()) < 0).any():
        raise ValueError(f"segments {segments}: they must be one or more, in order, apart")
    labels = np.array([classes.get(phone, NO_PHONE) for _, _, phone in segments], np.int64)
    span = (config.stack - 1) * config.hop + config.window  # samples that a vector looks at
    centres = np.arange(count) * config.subsample * config.hop + span / 2
    centres *= sample_rate / config.sample_rate
    last = np.searchsorted(bounds[:, 0], centres, side="right") - 1  # that has started; -1 is none
    return np.where((last >= 0) & (centres < bounds[last, 1]), labels[last], NO_PHONE)
