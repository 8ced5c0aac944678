"""Acoustic features: log-mel filterbank or MFCC with deltas, normalised, stacked and subsampled.

There is one definition, Kaldi's: frames of 25 ms every 10 ms, DC removed, pre-emphasis 0.97, Povey
window, no dither, triangular filters on the mel scale. Two front ends compute it, torchaudio's
``compliance.kaldi`` and librosa; they agree to better than 1e-3.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from data_prep.cmvn import FLOOR, RunningCmvn, pooled, statistics
from data_prep.manifest import Utterance, atomic
from data_prep.samples import read_file

PREEMPHASIS = 0.97
LIFTER = 22.0  # of the cepstrum
REACH = 2  # frames on either side that a delta looks at


@dataclass(frozen=True)
class FeatureConfig:
    """What a feature vector is.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    kind: str = "fbank"  # or "mfcc"
    sample_rate: int = 16000  # Hz; other audio is resampled
    frame_length: float = 25.0  # ms
    frame_shift: float = 10.0  # ms
    num_mels: int = 40  # filters
    low_frequency: float = 20.0  # Hz, of the lowest filter; the highest ends at half the rate
    num_ceps: int = 13  # MFCC: coefficients, C0 included
    deltas: int = 2  # MFCC: orders of deltas
    cmvn: bool = True  # mean 0 and variance 1 over each speaker's frames
    stack: int = 4  # frames joined to a vector
    subsample: int = 3  # frames from one vector to the next
    backend: str = "torchaudio"  # or "librosa"

    def __post_init__(self) -> None:
        for name, allowed in (("kind", ("fbank", "mfcc")), ("backend", tuple(BACKENDS))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: allowed are {allowed}")
        for name in ("sample_rate", "num_mels", "num_ceps", "stack", "subsample", "window", "hop"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.deltas < 0:
            raise ValueError(f"deltas is {self.deltas}: it must be at least 0")
        if self.num_ceps > self.num_mels:
            raise ValueError(f"num_ceps is {self.num_ceps}: at most num_mels, {self.num_mels}")
        if not 0 <= self.low_frequency < self.sample_rate / 2:
            raise ValueError(f"low_frequency is {self.low_frequency}: from 0 to half the rate")

    @property
    def window(self) -> int:
        """Samples in a frame."""
        return int(self.sample_rate * self.frame_length / 1000)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift / 1000)

    @property
    def context(self) -> int:
        """Frames on either side that a frame's deltas depend on."""
        return REACH * self.deltas if self.kind == "mfcc" else 0

    @property
    def frame_size(self) -> int:
        """Dimensions of a frame."""
        return self.num_mels if self.kind == "fbank" else self.num_ceps * (1 + self.deltas)

    @property
    def level(self) -> np.ndarray:
        """Weights, (frame_size,), whose sum over a frame is its log energy, mean over filters."""
        if self.kind == "fbank":
            return np.full(self.frame_size, 1 / self.num_mels)
        return np.eye(1, self.frame_size)[0] / self.num_mels**0.5  # C0 is the sum / sqrt(num_mels)

    @property
    def size(self) -> int:
        """Dimensions D of a vector."""
        return self.frame_size * self.stack


def extract(utterances: Iterable[Utterance], config: FeatureConfig, path: Path | str) -> None:
    """Write the vectors of ``utterances`` to ``path``: safetensors, {id: (T, D) float32}.

    The metadata hold the configuration, and what :func:`load_statistics` reads.

    Raises:
        ValueError: there is no utterance, two have one id, or one has bad or too short audio.
    """
    speakers: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        speakers[utterance.speaker].append(utterance)
    if not speakers:
        raise ValueError(f"{path}: no utterances to extract features from")
    vectors: dict[str, np.ndarray] = {}
    parts = []
    for spoken in tqdm(speakers.values(), Path(path).stem, unit="speaker", disable=None):
        frames = [compute(read_audio(u, config.sample_rate), config) for u in spoken]
        mean, deviation = statistics(frames)
        parts.append((sum(map(len, frames)), mean, deviation))
        for utterance, x in zip(spoken, frames, strict=True):
            if len(x) < config.stack:
                raise ValueError(f"{utterance.id}: {len(x)} frames: {config.stack} are needed")
            if utterance.id in vectors:
                raise ValueError(f"{utterance.id}: two utterances have this id")
            normalised = (x - mean) / deviation if config.cmvn else x
            vectors[utterance.id] = join(normalised, config)
    names = "mean", "deviation"
    overall = {n: v.tolist() for n, v in zip(names, pooled(parts), strict=True)}
    metadata = {"config": json.dumps(asdict(config)), "statistics": json.dumps(overall)}
    with atomic(path) as new:
        save_file(vectors, new, metadata)


def load(path: Path | str) -> dict[str, np.ndarray]:
    """Read what :func:`extract` wrote: {id: (T, D) float32}.

    Raises:
        FileNotFoundError: there is no file ``path``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such features")
    return load_file(path)


def load_statistics(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation, (config.frame_size,) float32 each, of all that was extracted.

    They are those of the frames of all utterances before normalisation.

    Raises:
        FileNotFoundError: there is no file ``path``.
        ValueError: :func:`extract` did not write it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such features")
    with safe_open(path, "np") as file:
        metadata = file.metadata() or {}
    if "statistics" not in metadata:
        raise ValueError(f"{path}: has no statistics: extract the features again")
    found = json.loads(metadata["statistics"])
    return np.array(found["mean"], np.float32), np.array(found["deviation"], np.float32)


def read_audio(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Return the samples, (n,) float32 in the range of 16-bit integers, at ``sample_rate`` Hz.

    Raises:
        ValueError: the file is not audio, not mono, or shorter than the utterance.
    """
    parts = read_file(utterance.audio, sample_rate, utterance.start, utterance.duration)
    return np.concatenate([np.zeros(0, np.float32), *parts])


def compute(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the frames, (T, config.frame_size), of a whole utterance's ``samples`` (n,)."""
    frames = static(samples, config)
    if not len(frames):
        return np.zeros((0, config.frame_size), np.float32)
    padding = ((config.context, config.context), (0, 0))
    return with_deltas(np.pad(frames, padding, mode="edge"), config)


def static(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the whole frames in ``samples`` (n,): (T, num_mels or num_ceps), without deltas."""
    if len(samples) < config.window:
        size = config.num_mels if config.kind == "fbank" else config.num_ceps
        return np.zeros((0, size), np.float32)
    return BACKENDS[config.backend](samples, config)


def _torchaudio(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    import torch

    try:
        from torchaudio.compliance import kaldi
    except (ImportError, OSError) as error:
        raise ImportError(
            "torchaudio does not import; beside a CPU build of torch "
            "`python -m data_prep.torchaudio_cpu` mends it"
        ) from error
    waveform = torch.from_numpy(samples).double()[None]
    options = {
        "sample_frequency": config.sample_rate,
        "frame_length": config.frame_length,
        "frame_shift": config.frame_shift,
        "num_mel_bins": config.num_mels,
        "low_freq": config.low_frequency,
        "preemphasis_coefficient": PREEMPHASIS,
        "dither": 0.0,
    }
    if config.kind == "fbank":
        return kaldi.fbank(waveform, **options).float().numpy()
    options |= {"num_ceps": config.num_ceps, "cepstral_lifter": LIFTER}
    return kaldi.mfcc(waveform, **options).float().numpy()


def _librosa(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    import librosa

    x = librosa.util.frame(samples, frame_length=config.window, hop_length=config.hop, axis=0)
    x = x - x.mean(axis=1, keepdims=True, dtype=np.float64)  # (T, window)
    x = x - PREEMPHASIS * np.concatenate((x[:, :1], x[:, :-1]), axis=1)
    n_fft = 1 << (config.window - 1).bit_length()
    power = np.abs(np.fft.rfft(x * np.hanning(config.window) ** 0.85, n_fft)) ** 2  # (T, bins)

    bins = librosa.hz_to_mel(librosa.fft_frequencies(sr=config.sample_rate, n_fft=n_fft), htk=True)
    lowest, highest = librosa.hz_to_mel([config.low_frequency, config.sample_rate / 2], htk=True)
    edges = np.linspace(lowest, highest, config.num_mels + 2)[:, None]
    slopes = np.minimum(bins - edges[:-2], edges[2:] - bins) / (edges[1] - edges[0])
    logmel = np.log(np.maximum(power @ np.maximum(slopes, 0).T, FLOOR))  # (T, num_mels)
    if config.kind == "fbank":
        return logmel.astype(np.float32)
    ceps = librosa.feature.mfcc(S=logmel.T, n_mfcc=config.num_ceps).T  # (T, num_ceps)
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(config.num_ceps) / LIFTER)
    return (ceps * lifter).astype(np.float32)


BACKENDS: dict[str, Callable[[np.ndarray, FeatureConfig], np.ndarray]] = {
    "torchaudio": _torchaudio,
    "librosa": _librosa,
}


def with_deltas(frames: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return (T, config.frame_size): ``frames`` (context + T + context, D) and their deltas.

    Deltas are Kaldi's (add-deltas): the slope of the regression over 5 frames, order by order.
    """
    length = len(frames) - 2 * config.context
    parts = [frames]
    weights = np.arange(-REACH, REACH + 1, dtype=np.float32)
    weights /= np.sum(weights**2)
    for _ in range(config.context // REACH):
        x, count = parts[-1], len(parts[-1]) - 2 * REACH
        parts.append(np.sum([w * x[n : n + count] for n, w in enumerate(weights)], axis=0))
    return np.concatenate([x[(len(x) - length) // 2 :][:length] for x in parts], axis=1)


def join(frames: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the vectors, ((T - stack) // subsample + 1, config.size), of ``frames`` (T, ...)."""
    count = max(0, (len(frames) - config.stack) // config.subsample + 1)
    starts = np.arange(count)[:, None] * config.subsample
    return frames[starts + np.arange(config.stack)].reshape(count, config.size)


class OnlineFeatures:
    """The same vectors while the samples come in, but for the statistics of normalisation.

        online = OnlineFeatures(config, RunningCmvn(mean, deviation, config.level))
        for samples in source:
            yield from online.push(samples)
        yield from online.finish()

    A vector is returned as soon as the last sample it depends on is there.

    Args:
        config: what a vector is.
        cmvn: normalises the frames; without it they stay as they are.
    """

    def __init__(self, config: FeatureConfig, cmvn: RunningCmvn | None = None) -> None:
        self.config = config
        self._cmvn = cmvn
        self._samples = np.zeros(0, np.float32)  # of the next frame
        self._static: np.ndarray | None = None  # frames that the next deltas depend on
        self._frames = np.zeros((0, config.frame_size), np.float32)  # of the next vector
        self._skip = 0  # frames still to come that no vector wants

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples, (n,) float32 in the range of 16-bit integers; return vectors, (T, D)."""
        self._samples = np.concatenate((self._samples, samples))
        frames = static(self._samples, self.config)
        self._samples = self._samples[len(frames) * self.config.hop :]
        if self._static is None and len(frames):
            self._static = np.repeat(frames[:1], self.config.context, axis=0)
        return self._vectors(self._normalised(frames))

    def finish(self) -> np.ndarray:
        """End the utterance; return its last vectors, (T, D)."""
        frames = self._frames[:0]
        if self._static is not None:
            frames = self._normalised(np.repeat(self._static[-1:], self.config.context, axis=0))
        if self._cmvn is not None:
            frames = np.concatenate((frames, self._cmvn.finish()))
        return self._vectors(frames)

    def _normalised(self, frames: np.ndarray) -> np.ndarray:
        """Take frames without deltas; return the whole, normalised ones that they complete."""
        x = self._frames[:0]
        if self._static is not None:
            self._static = np.concatenate((self._static, frames))
            if len(self._static) > 2 * self.config.context:
                x = with_deltas(self._static, self.config)
                self._static = self._static[len(x) :]
        return x if self._cmvn is None else self._cmvn.push(x)

    def _vectors(self, frames: np.ndarray) -> np.ndarray:
        """Take whole frames; return the vectors that they complete."""
        self._frames = np.concatenate((self._frames, frames))
        vectors = join(self._frames[self._skip :], self.config)
        used = self._skip + len(vectors) * self.config.subsample
        self._skip = max(0, used - len(self._frames))
        self._frames = self._frames[used:]
        return vectors
