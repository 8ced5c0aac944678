import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.cmvn import FIRST, HANGOVER, MEMORY, RunningCmvn, pooled, statistics
from data_prep.features import FeatureConfig

D = 6
LEVEL = np.full(D, 1 / D)
RNG = np.random.default_rng(0)
MEAN, DEVIATION = (RNG.normal(9, 1, D).astype(np.float32), np.full(D, 2, np.float32))


def speech(count: int, mean: float = 8.0, deviation: float = 1.5) -> np.ndarray:
    """Frames (count, D) of which all but every eighth is far above the level of a pause."""
    x = np.random.default_rng(count).normal(mean, deviation, (count, D))
    x[::8] -= 8
    return x.astype(np.float32)


def pause(count: int) -> np.ndarray:
    return np.full((count, D), -9, np.float32)  # below all speech


def normalise(*parts: np.ndarray) -> np.ndarray:
    cmvn = RunningCmvn(MEAN, DEVIATION, LEVEL)
    return np.concatenate([*(cmvn.push(part) for part in parts), cmvn.finish()])


def test_statistics_of_parts_are_those_of_all() -> None:
    parts = [speech(n, mean) for n, mean in ((7, 1), (40, 5), (300, -3))]
    mean, deviation = pooled((len(x), *statistics([x])) for x in parts)
    expected = statistics(parts)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-6)


@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=40)
def test_cuts_change_nothing(data: st.DataObject) -> None:
    x = FRAMES[: data.draw(st.integers(0, len(FRAMES)), "length")]
    cuts = data.draw(st.lists(st.integers(0, len(x)), max_size=8), "cuts")
    y = normalise(*np.split(x, sorted(cuts)))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, normalise(x))
    np.testing.assert_array_equal(y, normalise(*x[:, None]))
    assert len(y) == len(x)


FRAMES = np.concatenate([speech(130), pause(60), speech(60, 12)])


@pytest.mark.parametrize("first", [1, 20, FIRST])
def test_only_the_first_frames_wait(first: int) -> None:
    cmvn = RunningCmvn(MEAN, DEVIATION, LEVEL, first)
    counts = [len(cmvn.push(frame[None])) for frame in speech(130)]
    assert counts == [0] * (first - 1) + [first] + [1] * (130 - first)
    assert len(cmvn.finish()) == 0


def test_a_speaker_is_brought_to_mean_0_and_variance_1_and_so_is_the_next() -> None:
    for first, second in ((8, 14), (14, 8)):
        y = normalise(speech(2000, first), speech(4 * MEMORY, second))
        for part in y[:2000], y[-2 * MEMORY :]:
            np.testing.assert_allclose(part.mean(axis=0), 0, atol=0.2)
            np.testing.assert_allclose(part.std(axis=0), 1, atol=0.15)


def test_of_a_short_utterance_the_training_set_counts() -> None:
    x = speech(4, mean=30)
    plain = (x - MEAN) / DEVIATION
    assert (np.abs(normalise(x)) < np.abs(plain)).all()
    assert normalise(x).mean() > 0.5


def test_pauses_do_not_count() -> None:
    before, after = speech(400), speech(100)
    short, long = (normalise(before, pause(n), after) for n in (HANGOVER + 5, 3000))
    np.testing.assert_array_equal(short[-100:], long[-100:])
    np.testing.assert_array_equal(short[:400], long[:400])


def test_louder_noise_becomes_the_pause() -> None:
    """Noise far above the old pauses is speech at first; a minute later it is not."""
    cmvn = RunningCmvn(MEAN, DEVIATION, LEVEL)
    cmvn.push(speech(400))
    noise = np.full((6000, D), 5, np.float32)
    y = cmvn.push(noise)
    assert not np.array_equal(y[0], y[100])
    assert np.array_equal(y[5000], y[-1])


def test_silence_stays_finite() -> None:
    assert np.isfinite(normalise(np.full((2000, D), -16, np.float32))).all()
    assert normalise(pause(0)).shape == (0, D)


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
def test_level_is_the_mean_over_the_filters(kind: str) -> None:
    from data_prep.features import compute

    samples = RNG.normal(0, 1000, 4000).astype(np.float32)
    fbank = compute(samples, FeatureConfig())
    config = FeatureConfig(kind=kind)
    level = compute(samples, config) @ config.level
    np.testing.assert_allclose(level, fbank.mean(axis=1), rtol=1e-3)
