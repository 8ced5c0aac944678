import numpy as np
import pytest

from data_prep import frames
from data_prep.features import FeatureConfig, join

CLASSES = {"h#": 1, "aa": 2, "b": 3}


def test_a_vector_shows_the_phone_at_its_centre():
    config = FeatureConfig(frame_length=25, frame_shift=10, stack=4, subsample=3)
    # A vector looks at 3 * 160 + 400 samples; the centres are at 440, 920, 1400, 1880, 2360, 2840.
    segments = [(0, 920, "h#"), (920, 1400, "aa"), (1400, 1401, "b"), (1500, 2361, "q")]
    labels = frames.label([*segments, (2700, 2840, "b")], 16000, 6, config, CLASSES)
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 2, 3, 0, 0, 0]  # q is not a class; the last is past the end


@pytest.mark.parametrize("stack", [1, 2, 5])
@pytest.mark.parametrize("subsample", [1, 3])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_centres_are_those_of_the_samples_behind_the_vectors(stack, subsample, rate):
    config = FeatureConfig(stack=stack, subsample=subsample, frame_length=20, num_mels=320)
    times = np.arange(40)[:, None] * config.hop + np.arange(config.window)  # of frames' samples
    vectors = join(times, config)  # (T, stack * window) sample numbers
    centres = (vectors.min(axis=1) + vectors.max(axis=1) + 1) / 2 / config.sample_rate
    names = [f"p{n}" for n in range(70)]
    segments = [(n * rate // 100, (n + 1) * rate // 100, name) for n, name in enumerate(names)]
    classes = {name: n for n, name in enumerate(names, 1)}
    labels = frames.label(segments, rate, len(vectors), config, classes)
    assert labels.tolist() == [int(centre * 100 + 1e-9) + 1 for centre in centres]


def test_before_the_first_phone_there_is_none():
    labels = frames.label([(600, 9999, "aa")], 16000, 3, FeatureConfig(), CLASSES)
    assert labels.tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    "segments", [[], [(0, 900, "aa"), (800, 1000, "b")], [(0, 10, "aa"), (30, 20, "b")]]
)
def test_segments_that_are_no_alignment_are_refused(segments):
    with pytest.raises(ValueError, match="one or more, in order, apart"):
        frames.label(segments, 16000, 3, FeatureConfig(), CLASSES)
