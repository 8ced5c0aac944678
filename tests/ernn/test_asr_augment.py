import numpy as np
import pytest
import torch

from ernn.asr import Dataset, Perturbation, SpecAugment
from ernn.asr.data import PADDING

BANDS, STACK, SUBSAMPLE = 6, 4, 3


def dataset(frames, alignments=None):
    """Stacked vectors of utterances of (F, BANDS) frames."""
    features = {
        f"u{n}": np.stack(
            [x[t : t + STACK].ravel() for t in range(0, len(x) - STACK + 1, SUBSAMPLE)]
        ).astype(np.float32)
        for n, x in enumerate(frames)
    }
    return Dataset(features, {name: ["aa"] for name in features}, ["aa"], alignments=alignments)


def perturbation(**factors):
    return Perturbation(**factors, bands=BANDS, subsample=SUBSAMPLE)


def frames_of(vectors):
    """The frames of vectors (T, STACK * BANDS); those that two vectors share must agree."""
    apart = vectors.view(len(vectors), STACK, BANDS)
    assert torch.equal(apart[:-1, SUBSAMPLE:], apart[1:, : STACK - SUBSAMPLE])
    return torch.cat((apart[:, :SUBSAMPLE].flatten(0, 1), apart[-1, SUBSAMPLE:]))


def test_factors_of_one_leave_a_batch_as_it_is():
    rng = np.random.default_rng(0)
    batch = dataset([rng.normal(size=(n, BANDS)) for n in (40, 31, 4)]).batch(range(3))
    same = perturbation(speed=0.0, warp=0.0)(batch)
    assert torch.equal(same.features, batch.features)
    assert torch.equal(same.lengths, batch.lengths)


def test_time_is_stretched_and_alignments_with_it():
    ramps = [np.arange(n)[:, None] * np.ones(BANDS) for n in [301] * 20 + [61] * 20]
    alignments = {f"u{n}": np.arange((len(x) - 1) // 3) % 2 for n, x in enumerate(ramps)}
    data = dataset(ramps, alignments)
    batch = data.batch(range(len(data)))
    perturbed = perturbation(speed=0.2, warp=0.0)(batch, torch.Generator().manual_seed(0))
    rates = []
    for b, (before, after) in enumerate(zip(batch.lengths, perturbed.lengths, strict=True)):
        frames = frames_of(perturbed.features[:after, b])[:, 0]
        last = 3.0 * before  # the ramp's last frame
        rate = frames[1]
        torch.testing.assert_close(frames, (torch.arange(len(frames)) * rate).clamp(max=last))
        assert abs(len(frames) * rate - (last + 1)) < 4  # less than a vector is lost
        rates.append(float(rate))
        assert not perturbed.features[after:, b].any()
        source = (torch.arange(int(after)) * rate).long().clamp(max=before - 1)
        assert torch.equal(perturbed.alignment[:after, b], source % 2)
        assert (perturbed.alignment[after:, b] == PADDING).all()
    assert 1 / 1.2 <= min(rates) < 0.87
    assert 1.17 < max(rates) <= 1 / 0.8
    assert torch.equal(perturbed.targets, batch.targets)


def test_frequency_is_stretched():
    batch = dataset([np.ones((40, 1)) * np.arange(BANDS) for _ in range(50)]).batch(range(50))
    perturbed = perturbation(speed=0.0, warp=0.1)(batch, torch.Generator().manual_seed(0))
    ratios = []
    for b in range(50):
        bands = frames_of(perturbed.features[:, b])
        ratio = bands[0, 1]
        torch.testing.assert_close(bands[0], (torch.arange(BANDS) * ratio).clamp(max=BANDS - 1))
        assert torch.equal(bands, bands[:1].expand_as(bands))
        ratios.append(float(ratio))
    assert 1 / 1.1 <= min(ratios) < 0.93
    assert 1.08 < max(ratios) <= 1 / 0.9


def test_an_utterance_of_one_vector_stays_one():
    batch = dataset([np.ones((STACK, BANDS))] * 20).batch(range(20))
    perturbed = perturbation(speed=0.2)(batch, torch.Generator().manual_seed(0))
    assert (perturbed.lengths == 1).all()
    torch.testing.assert_close(perturbed.features, batch.features)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1.0}, "speed is 1.0: it must be from 0 to below 1"),
        ({"warp": -0.1}, "warp is -0.1: it must be from 0 to below 1"),
        ({"bands": 0}, "bands is 0: it must be at least 1"),
        ({"subsample": 0}, "subsample is 0: it must be at least 1"),
    ],
)
def test_factors_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        Perturbation(**values)


def test_vectors_must_hold_every_frame():
    batch = dataset([np.ones((40, BANDS))]).batch([0])
    with pytest.raises(ValueError, match="24 wide: not a multiple of 40 bands"):
        Perturbation()(batch)
    with pytest.raises(ValueError, match="4 frames in a vector, 5 from one to the next"):
        Perturbation(bands=BANDS, subsample=5)(batch)


def test_a_generator_repeats_everything_whatever_else_is_drawn():
    rng = np.random.default_rng(0)
    data = dataset([rng.normal(size=(n, BANDS)) for n in (40, 31, 22, 50, 28)])
    augment, perturb = SpecAugment(bands=BANDS), perturbation()

    def drawn(others):
        generator = torch.Generator().manual_seed(7)
        for batch in data.shuffled(2, generator=generator):
            torch.rand(others)
            perturbed = perturb(batch, generator)
            yield batch.ids, augment(perturbed.features, perturbed.lengths, generator)

    for (ids, masked), (same_ids, same_masked) in zip(drawn(1), drawn(2), strict=True):
        assert ids == same_ids
        assert torch.equal(masked, same_masked)


def test_masks_lie_within_each_utterance_and_repeat_over_stacked_frames():
    augment = SpecAugment(
        time_masks=1, time_width=5, frequency_masks=1, frequency_width=3, bands=10
    )
    lengths = torch.tensor([20] * 50 + [8] * 50)
    features = torch.ones(20, 100, 30)  # three frames of 10 bands stacked
    torch.manual_seed(0)
    masked = augment(features, lengths) == 0
    widths = []
    for b, length in enumerate(lengths.tolist()):
        bands = masked[:, b].all(dim=0).view(3, 10)
        times = masked[:, b].all(dim=1)
        assert (bands == bands[0]).all()
        assert torch.equal(masked[:, b], times[:, None] | bands.flatten())
        for mask, widest in ((bands[0], 3), (times, 5)):
            at = mask.nonzero().flatten()
            assert len(at) <= widest
            assert len(at) == 0 or at[-1] - at[0] == len(at) - 1  # one span
        assert not times[length:].any()
        widths.append((int(times.sum()), int(bands[0].sum())))
    assert {t for t, _ in widths} == set(range(6))
    assert {f for _, f in widths} == set(range(4))
    assert features.all()  # the original is untouched


def test_masks_want_whole_stacked_frames():
    with pytest.raises(ValueError, match="30 wide: not a multiple of 40"):
        SpecAugment()(torch.ones(2, 1, 30), torch.tensor([2]))
