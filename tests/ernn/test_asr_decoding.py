"""Decoders against exhaustive search on cases that are small enough for it."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernn.asr import (
    Dataset,
    Hybrid,
    NGram,
    PrefixBeam,
    decode,
    greedy,
    log_priors,
    posteriors,
    recognise,
    train_ngram,
    tune,
)
from ernn.asr.decoding import segments

SYMBOLS = ("a", "b", "c")
SPOKEN = [list(word) for word in ("abc", "abab", "cab", "b", "acbc", "ba")]


@pytest.fixture(scope="module")
def ngram(tmp_path_factory):
    path = tmp_path_factory.mktemp("ngram") / "phones.arpa"
    train_ngram(SPOKEN, SPOKEN[:2], SYMBOLS, path, orders=[3])
    return NGram(path, SYMBOLS)


def collapse(path):
    """Repeats to one, then blanks (0) out."""
    return tuple(c for i, c in enumerate(path) if c != 0 and (i == 0 or path[i - 1] != c))


def random_log_probs(seed, frames, classes=4, spread=2.0):
    logits = spread * np.random.default_rng(seed).standard_normal((frames, classes))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def of_ngram(ngram, labelling):
    return ngram.log_probability([SYMBOLS[c - 1] for c in labelling])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([0.0, 0.4, 1.5]))
def test_prefix_beam_finds_the_labelling_whose_paths_and_phones_are_best(
    ngram, seed, frames, lm_weight
):
    log_probs, penalty = random_log_probs(seed, frames), 0.3
    totals: dict[tuple[int, ...], float] = {}
    for path in product(range(4), repeat=frames):
        total = log_probs[np.arange(frames), path].sum() - penalty * path.count(0)
        totals[collapse(path)] = np.logaddexp(totals.get(collapse(path), -np.inf), total)
    best = max(totals, key=lambda one: totals[one] + lm_weight * of_ngram(ngram, one))
    found = PrefixBeam(ngram, lm_weight, penalty, beam=10_000)(log_probs)
    assert tuple(segment.label for segment in found) == best


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([0.0, 0.4, 1.2]))
def test_hybrid_finds_the_best_phones_and_their_times(ngram, seed, frames, lm_weight):
    log_probs, priors = random_log_probs(seed, frames), random_log_probs(seed + 1, 1)[0]
    scores = log_probs - 0.7 * priors

    def total(path):
        phones = collapse(path)
        acoustic = scores[np.arange(frames), path].sum()
        return acoustic + lm_weight * of_ngram(ngram, phones)

    best = max(product((1, 2, 3), repeat=frames), key=total)
    found = Hybrid(ngram, priors, 0.7, lm_weight, beam=10_000)(log_probs)
    assert found == segments(np.array(best))


def test_a_run_of_a_class_is_a_phone_with_its_frames():
    path = np.array([1, 1, 0, 1, 2, 2, 0])
    assert segments(path) == [(1, 0, 2), (1, 3, 4), (2, 4, 6)]
    assert segments(np.array([0, 0])) == []
    assert greedy(np.eye(4)[[0, 3, 3, 3, 0, 3]]) == [(3, 1, 4), (3, 5, 6)]


def test_the_beam_finds_a_labelling_that_the_best_path_misses(ngram):
    # Path "blank blank" has 0.36, but the three paths of label 1 have 0.64 in all.
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.6, 0.4, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0]])
    assert greedy(log_probs) == []
    (found,) = PrefixBeam(ngram, lm_weight=0.0, blank_penalty=0.0)(log_probs)
    assert found.label == 1


def test_priors_count_frames():
    labels = [np.array([1, 1, 2]), np.array([2, 2])]
    assert np.exp(log_priors(labels, 4)) == pytest.approx(np.array([1, 3, 4, 1]) / 9)


def test_what_does_not_fit_is_refused(ngram):
    for decoder in (PrefixBeam, lambda n, beam: Hybrid(n, np.zeros(4), beam=beam)):
        with pytest.raises(ValueError, match="beam is 0"):
            decoder(ngram, beam=0)
    with pytest.raises(ValueError, match="5 classes: the n-gram's phones and the blank are not"):
        PrefixBeam(ngram)(np.zeros((3, 5)))


def frames_as_posteriors(batch, lengths):
    padding = (batch == 0).all(dim=-1, keepdim=True)
    return (500 * batch + padding * torch.tensor([0, 1, 0])).log_softmax(dim=-1)


@pytest.mark.parametrize("beam", [False, True])
def test_recognise_names_the_phones_of_every_utterance(tmp_path, beam):
    rng = np.random.default_rng(0)
    features = {f"u{i}": rng.random((4 + i, 3), dtype=np.float32) for i in range(5)}
    dataset = Dataset(features, {name: ["a"] for name in features}, ["a", "b"])
    expected = {}
    for name, frames in features.items():  # the frame itself is the posterior
        expected[name] = ["_ab"[c] for c in collapse(tuple(frames.argmax(axis=1)))]
    decoder = greedy
    if beam:
        train_ngram([["a", "b"]], [["a"]], ["a", "b"], tmp_path / "2.arpa", orders=[2])
        decoder = PrefixBeam(NGram(tmp_path / "2.arpa", ["a", "b"]), lm_weight=0.1)
    assert recognise(frames_as_posteriors, dataset, decoder, batch_size=2) == expected
    folding = {"a": "vowel", "b": None}
    folded = Dataset(features, dataset.phones, ["a", "b"], folding=folding)
    assert recognise(frames_as_posteriors, folded, decoder, batch_size=2) == {
        name: ["vowel"] * said.count("a") for name, said in expected.items()
    }


def test_tune_takes_the_settings_of_least_dev_per(ngram):
    rng = np.random.default_rng(1)
    features = {f"u{i}": rng.random((9, 4), dtype=np.float32) for i in range(8)}
    said = {name: [SYMBOLS[c % 3] for c in range(n % 4 + 1)] for n, name in enumerate(features)}
    dev_set = Dataset(features, said, SYMBOLS)
    found = posteriors(lambda x, _: (8 * x).log_softmax(dim=-1), dev_set)
    grid = {"lm_weight": (0.0, 1.0), "blank_penalty": (-1.0, 0.0, 2.0)}
    decoder, trials = tune(PrefixBeam(ngram), found, dev_set, grid)
    assert [trial.settings for trial in trials] == [
        {"lm_weight": w, "blank_penalty": p} for w in (0.0, 1.0) for p in (-1.0, 0.0, 2.0)
    ]
    best = min(trials, key=lambda trial: trial.per)
    assert best.per < max(trial.per for trial in trials)
    assert (decoder.lm_weight, decoder.blank_penalty) == tuple(best.settings.values())
    assert decode(found, decoder, dev_set).keys() == said.keys()


# ------------------------------------------------------------------------------------------ n-gram


def test_an_ngram_is_a_distribution_after_every_history(tmp_path):
    for order in (2, 4):
        train_ngram(SPOKEN, SPOKEN, SYMBOLS, tmp_path / "n.arpa", orders=[order])
        model = NGram(tmp_path / "n.arpa", SYMBOLS)
        for length in range(5):
            for history in product(SYMBOLS, repeat=length):
                before = sum(_steps(model, history))
                ends = math.exp(model.log_probability(history) - before)
                goes_on = [math.exp(sum(_steps(model, (*history, s))) - before) for s in SYMBOLS]
                assert ends + sum(goes_on) == pytest.approx(1, abs=1e-4)


def _steps(model, phones):
    """Log probability of each phone, without the end."""
    state = model.model.start(False)
    for phone in phones:
        state, log10 = model.model.score(state, 1 + SYMBOLS.index(phone))
        yield log10 * math.log(10)


def test_the_order_of_least_perplexity_is_kept(tmp_path):
    dev = SPOKEN[:3]
    perplexities = train_ngram(SPOKEN, dev, SYMBOLS, tmp_path / "best.arpa", orders=range(2, 5))
    model = NGram(tmp_path / "best.arpa", SYMBOLS)
    assert model.perplexity(dev) == pytest.approx(min(perplexities.values()))
    total = sum(model.log_probability(phones) for phones in dev)
    counted = sum(len(phones) + 1 for phones in dev)
    assert model.perplexity(dev) == pytest.approx(math.exp(-total / counted))
    assert model.log_probability(list("abc")) > model.log_probability(list("ccc"))


def test_what_is_no_ngram_is_refused(tmp_path):
    path = tmp_path / "n.arpa"
    with pytest.raises(FileNotFoundError):
        NGram(path, SYMBOLS)
    path.write_bytes(b"\xff\x00mmap lm")
    with pytest.raises(ValueError, match="not an ARPA file"):
        NGram(path, SYMBOLS)
    train_ngram(SPOKEN, SPOKEN, SYMBOLS, path, orders=[2])
    with pytest.raises(ValueError, match="has no phone 'd'"):
        NGram(path, ("a", "d"))
    whole = path.read_text()
    path.write_text(whole.replace("ngram 2=", "ngram 2=1"))
    with pytest.raises(ValueError, match=r"n\.arpa: "):
        NGram(path, SYMBOLS)
    with pytest.raises(ValueError, match="'z' is not one of the 3 phones"):
        train_ngram([["z"]], SPOKEN, SYMBOLS, path)
    with pytest.raises(ValueError, match="order is 7: it must be from 2 to 6"):
        train_ngram(SPOKEN, SPOKEN, SYMBOLS, path, orders=[7])
    with pytest.raises(ValueError, match="needs training and dev utterances"):
        train_ngram([], SPOKEN, SYMBOLS, path)
    assert path.read_text() != whole  # what failed left the file as it was
    assert "ngram 2=1" in path.read_text()
