import numpy as np
import pytest
import torch

from ernn.asr import Dataset
from ernn.asr.data import PADDING

SYMBOLS = ["aa", "b", "sil"]


def make(lengths, width=4):
    rng = np.random.default_rng(0)
    features = {
        f"u{i}": rng.random((n, width), dtype=np.float32) + 1 for i, n in enumerate(lengths)
    }
    phones = {name: ["sil", "aa", "b"][: 1 + i % 3] for i, name in enumerate(features)}
    return features, phones


def test_batches_hold_every_utterance_once_and_pad_with_zeros():
    features, phones = make([7, 3, 9, 5, 4])
    dataset = Dataset(features, phones, SYMBOLS)
    seen = []
    for batch in dataset.batches(2):
        seen += batch.ids
        targets = batch.targets.split(batch.target_lengths.tolist())
        for b, name in enumerate(batch.ids):
            length = len(features[name])
            assert batch.lengths[b] == length
            assert np.array_equal(batch.features[:length, b], features[name])
            assert not batch.features[length:, b].any()
            assert [SYMBOLS[c - 1] for c in targets[b]] == phones[name]
    assert seen == ["u1", "u4", "u3", "u0", "u2"]


def test_shuffled_buckets_hold_every_utterance_once_and_little_padding():
    lengths = np.random.default_rng(1).integers(50, 200, 300).tolist()
    features, phones = make(lengths)
    dataset = Dataset(features, phones, SYMBOLS)
    torch.manual_seed(0)
    first, second = list(dataset.shuffled(16)), list(dataset.shuffled(16))
    assert sorted(name for batch in first for name in batch.ids) == sorted(features)
    assert [batch.ids for batch in first] != [batch.ids for batch in second]
    padded = sum(batch.features.shape[0] * len(batch.ids) for batch in first)
    assert padded < 1.12 * sum(lengths)
    torch.manual_seed(0)
    assert [batch.ids for batch in dataset.shuffled(16)] == [batch.ids for batch in first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, p: (f.clear(), p.clear()), "no utterance"),
        (lambda f, p: f.pop("u1"), "u1: has phones alone"),
        (lambda f, p: p.pop("u1"), "u1: has features alone"),
        (lambda f, p: p["u0"].append("zz"), "u0: 'zz' is not one of the 3 phones"),
        (lambda f, p: f.update(u1=f["u1"][:, :2]), r"u1: features are \(3, 2\), not \(T > 0, 4\)"),
        (lambda f, p: f.update(u1=f["u1"][:0]), r"u1: features are \(0, 4\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    features, phones = make([7, 3])
    change(features, phones)
    with pytest.raises(ValueError, match=message):
        Dataset(features, phones, SYMBOLS)


def test_what_is_scored_is_folded_from_what_is_trained():
    features, phones = make([7, 3, 9])
    folding = {"aa": "a", "b": None, "sil": "a"}
    plain, folded = (
        Dataset(features, phones, SYMBOLS),
        Dataset(features, phones, SYMBOLS, folding=folding),
    )
    assert plain.phones == phones
    assert phones["u2"] == ["sil", "aa", "b"]
    assert folded.phones == {"u0": ["a"], "u1": ["a", "a"], "u2": ["a", "a"]}
    assert list(folded.phones) == folded.ids
    for one, other in zip(plain.targets, folded.targets, strict=True):
        assert torch.equal(one, other)
    assert plain.spell([3, 1, 1]) == ["sil", "aa", "aa"]
    assert folded.spell([3, 2, 1, 1]) == ["a", "a", "a"]


def test_alignments_are_padded_with_what_no_loss_counts():
    features, phones = make([7, 3, 9])
    alignments = {name: np.arange(len(frames)) % 4 for name, frames in features.items()}
    dataset = Dataset(features, phones, SYMBOLS, alignments=alignments)
    (batch,) = dataset.batches(3)
    assert batch.ids == ["u1", "u0", "u2"]
    for b, name in enumerate(batch.ids):
        length = len(features[name])
        assert batch.alignment[:length, b].tolist() == alignments[name].tolist()
        assert (batch.alignment[length:, b] == PADDING).all()
    (without,) = Dataset(features, phones, SYMBOLS).batches(3)
    assert without.alignment is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("u1"), "u1: has features alone"),
        (lambda a: a.update(u5=a["u1"]), "u5: has an alignment alone"),
        (lambda a: a.update(u1=a["u1"][:2]), r"u1: the alignment is \(2,\), not \(3,\)"),
        (lambda a: a.update(u0=a["u0"] + 4), "u0: an aligned class is not from 0 to 3"),
        (lambda a: a.update(u0=a["u0"] - 1), "u0: an aligned class is not from 0 to 3"),
    ],
)
def test_an_alignment_that_does_not_fit_is_refused(change, message):
    features, phones = make([7, 3])
    alignments = {name: np.zeros(len(frames), int) for name, frames in features.items()}
    change(alignments)
    with pytest.raises(ValueError, match=message):
        Dataset(features, phones, SYMBOLS, alignments=alignments)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_make_up_the_batch(count):
    features, phones = make([7, 3, 9, 5])
    alignments = {name: np.arange(len(frames)) % 4 for name, frames in features.items()}
    dataset = Dataset(features, phones, SYMBOLS, alignments=alignments)
    (batch,) = dataset.batches(4)
    shares = [batch.share(number, count) for number in range(count)]
    assert sorted(name for share in shares for name in share.ids) == sorted(batch.ids)
    for share in shares:
        assert len(share.ids) in (4 // count, -(-4 // count))
        targets = share.targets.split(share.target_lengths.tolist())
        for b, name in enumerate(share.ids):
            place = batch.ids.index(name)
            assert torch.equal(share.features[:, b], batch.features[:, place])
            assert torch.equal(share.alignment[:, b], batch.alignment[:, place])
            assert share.lengths[b] == batch.lengths[place]
            assert torch.equal(targets[b], dataset.targets[place])


@pytest.mark.parametrize("multiple", [1, 4, 9])
def test_padding_to_a_multiple_changes_nothing_else(multiple):
    features, phones = make([7, 3, 9])
    alignments = {name: np.arange(len(frames)) % 4 for name, frames in features.items()}
    (batch,) = Dataset(features, phones, SYMBOLS, alignments=alignments).batches(3)
    padded = batch.padded(multiple)
    assert len(padded.features) == len(padded.alignment) == {1: 9, 4: 12, 9: 9}[multiple]
    assert torch.equal(padded.features[:9], batch.features)
    assert torch.equal(padded.alignment[:9], batch.alignment)
    assert not padded.features[9:].any()
    assert (padded.alignment[9:] == PADDING).all()
    assert torch.equal(padded.lengths, batch.lengths)
