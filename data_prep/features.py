"""Acoustic features: log-mel filterbank or MFCC with deltas, normalised, stacked and subsampled.

There is one definition, Kaldi's: frames of 25 ms every 10 ms, DC removed, pre-emphasis 0.97, Povey
window, no dither, triangular filters on the mel scale. Two front ends compute it, torchaudio's
``compliance.kaldi`` and librosa; they agree to better than 1e-3.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import load_file, save_file
from scipy.signal import resample_poly
from tqdm import tqdm

from data_prep.manifest import Utterance, atomic

log = logging.getLogger(__name__)

PREEMPHASIS = 0.97
LIFTER = 22.0  # of the cepstrum
REACH = 2  # frames on either side that a delta looks at
FLOOR = float(np.finfo(np.float32).eps)  # of a filter's energy and of a deviation


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
    def size(self) -> int:
        """Dimensions D of a vector."""
        return self.frame_size * self.stack


def extract(utterances: Iterable[Utterance], config: FeatureConfig, path: Path | str) -> None:
    """Write the vectors of ``utterances`` to ``path``: safetensors, {id: (T, D) float32}.

    Raises:
        ValueError: there is no utterance, two have one id, or one has bad or too short audio.
    """
    speakers: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        speakers[utterance.speaker].append(utterance)
    if not speakers:
        raise ValueError(f"{path}: no utterances to extract features from")
    vectors: dict[str, np.ndarray] = {}
    for spoken in tqdm(speakers.values(), Path(path).stem, unit="speaker", disable=None):
        frames = [compute(read_audio(u, config.sample_rate), config) for u in spoken]
        mean, deviation = statistics(frames) if config.cmvn else (np.float32(0), np.float32(1))
        for utterance, x in zip(spoken, frames, strict=True):
            if len(x) < config.stack:
                raise ValueError(f"{utterance.id}: {len(x)} frames: {config.stack} are needed")
            if utterance.id in vectors:
                raise ValueError(f"{utterance.id}: two utterances have this id")
            vectors[utterance.id] = join((x - mean) / deviation, config)
    with atomic(path) as new:
        save_file(vectors, new, metadata={"config": json.dumps(asdict(config))})


def load(path: Path | str) -> dict[str, np.ndarray]:
    """Read what :func:`extract` wrote: {id: (T, D) float32}.

    Raises:
        FileNotFoundError: there is no file ``path``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such features")
    return load_file(path)


def read_audio(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Return the samples, (n,) float32 in the range of 16-bit integers, at ``sample_rate`` Hz.

    Raises:
        ValueError: the file is not audio, not mono, or shorter than the utterance.
    """
    try:
        with soundfile.SoundFile(utterance.audio) as file:
            rate, channels = file.samplerate, file.channels
            file.seek(round(utterance.start * rate))
            count = round(utterance.duration * rate)
            samples = file.read(count, dtype="float32") * np.float32(2**15)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{utterance.audio}: cannot be read: {error.error_string}") from None
    if channels != 1:
        raise ValueError(f"{utterance.audio}: {channels} channels: only mono is allowed")
    if len(samples) < count:
        raise ValueError(f"{utterance.audio}: truncated: {len(samples)} of {count} samples")
    if rate != sample_rate:
        log.info("%s: resampled from %d Hz to %d Hz", utterance.audio, rate, sample_rate)
        common = math.gcd(rate, sample_rate)
        samples = resample_poly(samples, sample_rate // common, rate // common)
    return samples


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
    for _ in range(config.context // REACH):
        x = parts[-1]
        window = np.lib.stride_tricks.sliding_window_view(x, 2 * REACH + 1, axis=0)  # (., D, 5)
        weights = np.arange(-REACH, REACH + 1, dtype=np.float32)
        parts.append(window @ (weights / np.sum(weights**2)))
    return np.concatenate([x[(len(x) - length) // 2 :][:length] for x in parts], axis=1)


def statistics(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation, (D,) float32 each, of a speaker's utterances, (T, D) each."""
    x = np.concatenate(frames).astype(np.float64)
    deviation = np.maximum(x.std(axis=0), FLOOR)
    return x.mean(axis=0).astype(np.float32), deviation.astype(np.float32)


def join(frames: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the vectors, ((T - stack) // subsample + 1, config.size), of ``frames`` (T, ...)."""
    count = max(0, (len(frames) - config.stack) // config.subsample + 1)
    starts = np.arange(count)[:, None] * config.subsample
    return frames[starts + np.arange(config.stack)].reshape(count, config.size)


class OnlineFeatures:
    """The same vectors while the samples come in, given the speaker's statistics.

        online = OnlineFeatures(config, mean, deviation)
        for samples in source:
            yield from online.push(samples)
        yield from online.finish()

    A vector is returned as soon as the last sample it depends on is there.
    """

    def __init__(self, config: FeatureConfig, mean: np.ndarray, deviation: np.ndarray) -> None:
        self.config = config
        self._mean, self._deviation = mean, deviation
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
        return self._advance(frames)

    def finish(self) -> np.ndarray:
        """End the utterance; return its last vectors, (T, D)."""
        if self._static is None:
            return join(self._frames, self.config)
        return self._advance(np.repeat(self._static[-1:], self.config.context, axis=0))

    def _advance(self, frames: np.ndarray) -> np.ndarray:
        if self._static is not None:
            self._static = np.concatenate((self._static, frames))
            if len(self._static) > 2 * self.config.context:
                x = with_deltas(self._static, self.config)
                self._static = self._static[len(x) :]
                self._frames = np.concatenate((self._frames, (x - self._mean) / self._deviation))
        vectors = join(self._frames[self._skip :], self.config)
        used = self._skip + len(vectors) * self.config.subsample
        self._skip = max(0, used - len(self._frames))
        self._frames = self._frames[used:]
        return vectors
