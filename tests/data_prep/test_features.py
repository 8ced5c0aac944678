import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import features, manifest, timit
from data_prep.features import FeatureConfig, OnlineFeatures, compute, extract, join, load
from data_prep.manifest import Utterance

FBANK = FeatureConfig()
MFCC = FeatureConfig(kind="mfcc")
RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 1000, 16000).astype(np.float32)


@pytest.fixture(scope="module")
def utterances(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """The test utterances of the built-in corpus: two speakers, four sentences each."""
    return manifest.read(timit.prepare(corpus, tmp_path_factory.mktemp("manifests"))["test"])


def real_audio() -> list[Utterance]:
    """Twenty clips of speechocean762."""
    if "ERNN_DATA" not in os.environ:
        pytest.skip("set ERNN_DATA to the folder that holds speechocean762")
    clips = sorted(Path(os.environ["ERNN_DATA"], "speechocean762", "train").glob("*.ogg"))[::125]
    assert len(clips) == 20
    return [whole(clip) for clip in clips]


def whole(path: Path) -> Utterance:
    """Return all of an audio file as an utterance."""
    return Utterance(path.stem, str(path), 0.0, soundfile.info(path).duration, "someone", "", ())


def tone(path: Path, rate: int, channels: int = 1) -> Utterance:
    """Write half a second of 440 Hz."""
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate, subtype="PCM_16")
    return whole(path)


@pytest.mark.parametrize(
    "config", [FBANK, MFCC, replace(FBANK, num_mels=80), replace(MFCC, deltas=0)]
)
@pytest.mark.parametrize("source", ["speechocean762", "built-in"])
def test_front_ends_agree(utterances: list[Utterance], source: str, config: FeatureConfig) -> None:
    for utterance in real_audio() if source == "speechocean762" else utterances:
        samples = features.read_audio(utterance, config.sample_rate)
        one = compute(samples, replace(config, backend="torchaudio"))
        other = compute(samples, replace(config, backend="librosa"))
        assert one.shape == other.shape == (1 + (len(samples) - 400) // 160, config.frame_size)
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("backend", features.BACKENDS)
def test_frames_are_kaldis(backend: str) -> None:
    """Against the definition, written out in float64 for one frame."""
    x = NOISE[160:560].astype(np.float64)
    x -= x.mean()
    x[1:] -= 0.97 * x[:-1].copy()
    x[0] -= 0.97 * x[0]
    x *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(x, 512)) ** 2
    mel = [1127 * np.log(1 + hz / 700) for hz in np.arange(257) * 16000 / 512]
    low, high = 1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700)
    width = (high - low) / 41
    energies = np.zeros(40)
    for j in range(40):
        centre = low + (j + 1) * width
        for m, p in zip(mel, power, strict=True):
            energies[j] += p * max(0, 1 - abs(m - centre) / width)
    logmel = np.log(energies)
    cepstrum = [
        (1 + 11 * np.sin(np.pi * i / 22))
        * np.sqrt((1 if i == 0 else 2) / 40)
        * np.sum(logmel * np.cos(np.pi * i * (np.arange(40) + 0.5) / 40))
        for i in range(13)
    ]
    for config, expected in ((FBANK, logmel), (MFCC, cepstrum)):
        got = features.static(NOISE, replace(config, backend=backend))[1]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


def test_deltas_are_kaldis() -> None:
    x = features.static(NOISE, MFCC).astype(np.float64)  # (T, 13)
    last = len(x) - 1
    first = np.arange(-2, 3) / 10
    scales = [np.ones(1), first, np.convolve(first, first)]
    expected = [
        np.concatenate(
            [
                sum(s * x[np.clip(t + j - len(scale) // 2, 0, last)] for j, s in enumerate(scale))
                for scale in scales
            ]
        )
        for t in range(len(x))
    ]
    np.testing.assert_allclose(compute(NOISE, MFCC), expected, rtol=0, atol=1e-4)


def test_vectors_join_frames() -> None:
    for length in range(12):
        frames = np.arange(length * 40, dtype=np.float32).reshape(length, 40)
        vectors = join(frames, FBANK)
        expected = [frames[t : t + 4].ravel() for t in range(0, length - 3, 3)]
        assert vectors.shape == (len(expected), 160)
        assert all((a == b).all() for a, b in zip(vectors, expected, strict=True))


@pytest.mark.parametrize("config", [FBANK, MFCC])
def test_speakers_have_mean_0_and_variance_1(
    utterances: list[Utterance], tmp_path: Path, config: FeatureConfig
) -> None:
    plain = replace(config, stack=1, subsample=1)
    extract(utterances, plain, tmp_path / "plain.safetensors")
    vectors = load(tmp_path / "plain.safetensors")
    assert [*vectors] == sorted(utterance.id for utterance in utterances)
    for speaker in {utterance.speaker for utterance in utterances}:
        x = np.concatenate([vectors[u.id] for u in utterances if u.speaker == speaker])
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-3)

    extract(utterances, config, tmp_path / "joined.safetensors")
    for name, joined in load(tmp_path / "joined.safetensors").items():
        assert joined.shape[1] == config.size
        assert (joined == join(vectors[name], config)).all()


@pytest.mark.parametrize("backend", features.BACKENDS)
@pytest.mark.parametrize("config", [FBANK, MFCC, replace(MFCC, deltas=1, stack=1, subsample=2)])
@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=10)
def test_online_is_offline(config: FeatureConfig, backend: str, data: st.DataObject) -> None:
    config = replace(config, backend=backend)
    samples = NOISE[: data.draw(st.integers(0, len(NOISE)), "length")]
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=8), "cuts")
    online = OnlineFeatures(config)
    parts = [online.push(part) for part in np.split(samples, sorted(cuts))]
    vectors = np.concatenate([*parts, online.finish()])
    np.testing.assert_array_equal(vectors, join(compute(samples, config), config))


def test_online_waits_for_no_more_than_it_needs() -> None:
    """Frame by frame: vector t is there when its last frame, 3 t + 3, is."""
    online = OnlineFeatures(FBANK)
    counts = [len(online.push(NOISE[:400]))]
    counts += [len(online.push(NOISE[400 + 160 * i : 560 + 160 * i])) for i in range(20)]
    assert counts == [int(frame >= 3 and frame % 3 == 0) for frame in range(21)]


def test_a_part_of_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", NOISE / 2**15, 16000, subtype="FLOAT")
    utterance = replace(whole(tmp_path / "a.wav"), start=0.25, duration=0.5)
    np.testing.assert_array_equal(features.read_audio(utterance, 16000), NOISE[4000:12000])


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_resampled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rate: int
) -> None:
    caplog.set_level(logging.INFO)
    samples = features.read_audio(tone(tmp_path / "a.wav", rate), 16000)
    expected = 0.3 * 2**15 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert len(samples) == len(expected)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples[200:-200], expected[200:-200], atol=60)
    assert caplog.messages == [f"{tmp_path / 'a.wav'}: resampled from {rate} Hz to 16000 Hz"]


def test_bad_audio_is_named(tmp_path: Path) -> None:
    out = tmp_path / "features.safetensors"
    good = tone(tmp_path / "good.wav", 16000)
    (tmp_path / "text.wav").write_text("not audio")
    bad = {
        r"stereo\.wav: 2 channels: only mono is allowed": tone(tmp_path / "stereo.wav", 16000, 2),
        r"good\.wav: truncated: 8000 of 9600 samples": replace(good, duration=0.6),
        r"text\.wav: cannot be read": replace(good, audio=str(tmp_path / "text.wav")),
        r"missing\.wav: cannot be read": replace(good, audio=str(tmp_path / "missing.wav")),
        r"good: 3 frames: 4 are needed": replace(good, duration=0.05),
        r"good: two utterances have this id": replace(good, speaker="another"),
    }
    for message, utterance in bad.items():
        with pytest.raises(ValueError, match=message) as error:
            extract([good, utterance], FBANK, out)
        assert "\n" not in str(error.value)
        assert not out.exists()
    with pytest.raises(ValueError, match="no utterances"):
        extract([], FBANK, out)
    with pytest.raises(FileNotFoundError, match="no such features"):
        load(out)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "plp"}, r"kind is 'plp': allowed are \('fbank', 'mfcc'\)"),
        ({"backend": "kaldi"}, r"backend is 'kaldi': allowed are \('torchaudio', 'librosa'\)"),
        ({"stack": 0}, "stack is 0: it must be at least 1"),
        ({"frame_shift": 0.01}, "hop is 0: it must be at least 1"),
        ({"deltas": -1}, "deltas is -1: it must be at least 0"),
        ({"num_ceps": 41}, "num_ceps is 41: at most num_mels, 40"),
        ({"low_frequency": 8000.0}, "low_frequency is 8000.0: from 0 to half the rate"),
    ],
)
def test_config_is_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**fields)  # type: ignore[arg-type]


def test_threads_do_not_change_features() -> None:
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(compute(NOISE, FBANK))
    torch.set_num_threads(threads)
    assert (results[0] == results[1]).all()
