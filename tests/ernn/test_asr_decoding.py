from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernn.asr import Dataset, greedy, prefix_beam, recognise


def collapse(path):
    """Repeats to one, then blanks (0) out."""
    return tuple(c for i, c in enumerate(path) if c != 0 and (i == 0 or path[i - 1] != c))


def brute_force(log_probs):
    """Probability of every labelling: the sum over all C**T paths."""
    total = defaultdict(float)
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        total[collapse(path)] += np.exp(log_probs[np.arange(len(path)), path].sum())
    return total


def random_log_probs(seed, frames, classes, spread=2.0):
    logits = spread * np.random.default_rng(seed).standard_normal((frames, classes))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 6), classes=st.integers(2, 4))
def test_a_wide_beam_gives_the_probability_of_every_labelling(seed, frames, classes):
    log_probs = random_log_probs(seed, frames, classes)
    expected = brute_force(log_probs)
    found = dict(prefix_beam(log_probs, beam=classes ** (frames + 1)))
    assert found.keys() == expected.keys()
    for labelling, log_prob in found.items():
        assert log_prob == pytest.approx(np.log(expected[labelling]), abs=1e-9)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_best_labelling_comes_first_and_greedy_is_never_better(seed):
    log_probs = random_log_probs(seed, 6, 4)
    expected = brute_force(log_probs)
    found = prefix_beam(log_probs, beam=1000)
    assert found[0][0] == max(expected, key=expected.get)
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    [best_path] = greedy(torch.from_numpy(log_probs)[:, None], torch.tensor([6]))
    assert best_path == list(collapse(log_probs.argmax(axis=1)))
    assert expected[tuple(best_path)] <= expected[found[0][0]]


def test_a_narrow_beam_keeps_as_many_prefixes_and_bounds_them_from_below():
    log_probs = random_log_probs(3, 6, 4)
    expected = brute_force(log_probs)
    found = prefix_beam(log_probs, beam=3)
    assert len(found) == 3
    assert all(p <= np.log(expected[labelling]) + 1e-9 for labelling, p in found)


def test_the_beam_finds_a_labelling_that_the_best_path_misses():
    # Path "blank blank" has 0.36, but the three paths of label 1 have 0.64 in all.
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(torch.from_numpy(log_probs)[:, None], torch.tensor([2])) == [[]]
    [(labels, log_prob), _] = prefix_beam(log_probs, beam=2)
    assert labels == (1,)
    assert np.exp(log_prob) == pytest.approx(0.64)


def test_probabilities_of_zero_are_no_trouble():
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert prefix_beam(log_probs, beam=50) == [((1, 1), 0.0)]


def test_a_beam_of_none_is_refused():
    with pytest.raises(ValueError, match="beam is 0"):
        prefix_beam(np.zeros((2, 2)), beam=0)


def test_greedy_stops_at_each_length():
    path = torch.tensor([[1, 1, 0, 1, 2, 2], [0, 3, 3, 3, 0, 3]]).T  # (T, B)
    log_probs = torch.nn.functional.one_hot(path, 4).float()
    assert greedy(log_probs, torch.tensor([6, 6])) == [[1, 1, 2], [3, 3]]
    assert greedy(log_probs, torch.tensor([3, 1])) == [[1], []]


@pytest.mark.parametrize("beam", [0, 4])
def test_recognise_names_the_phones_of_every_utterance(beam):
    rng = np.random.default_rng(0)
    features = {f"u{i}": rng.random((4 + i, 3), dtype=np.float32) for i in range(5)}
    dataset = Dataset(features, {name: ["a"] for name in features}, ["a", "b"])
    expected = {}
    for name, frames in features.items():  # the frame itself is the posterior
        path = tuple(frames.argmax(axis=1))
        expected[name] = ["_ab"[c] for c in collapse(path)]

    def model(batch, lengths):
        padding = (batch == 0).all(dim=-1, keepdim=True)
        return (500 * batch + padding * torch.tensor([0, 1, 0])).log_softmax(dim=-1)

    assert recognise(model, dataset, beam=beam, batch_size=2) == expected
    folding = {"a": "vowel", "b": None}
    folded = Dataset(features, dataset.phones, ["a", "b"], folding=folding)
    assert recognise(model, folded, beam=beam, batch_size=2) == {
        name: ["vowel"] * said.count("a") for name, said in expected.items()
    }
