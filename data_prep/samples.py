"""The samples of a file or a pipe, block by block, at the rate that is asked for.

Samples are float32 in the range of 16-bit integers, whatever the file holds.
"""

import logging
import math
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import soundfile
import soxr

log = logging.getLogger(__name__)

CONTAINERS = b"RIFF", b"fLaC", b"OggS", b"NIST"
"""How files begin that are no plain samples."""


def read_file(
    path: Path | str, sample_rate: int, start: float = 0.0, duration: float = math.inf
) -> Iterator[np.ndarray]:
    """Yield the samples of a mono audio file, (n,) each, a second or less at a time.

    Args:
        path: any format that soundfile reads.
        sample_rate: Hz; a file of another rate is resampled.
        start: s, of the first sample.
        duration: s; up to the end of the file by default.

    Raises:
        ValueError: the file is not there, not audio, not mono, holds samples that are not finite,
            or ends before the duration does.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: cannot be read: there is no such file")
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            if channels != 1:
                raise ValueError(f"{path}: {channels} channels: only mono is allowed")
            resampler = None
            if rate != sample_rate:
                log.info("%s: resampled from %d Hz to %d Hz", path, rate, sample_rate)
                resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
            file.seek(round(start * rate))
            wanted = duration if duration == math.inf else round(duration * rate)
            count = 0
            while count < wanted:
                samples = file.read(int(min(rate, wanted - count)), dtype="float32")
                if not len(samples):
                    break
                if not np.isfinite(samples).all():
                    raise ValueError(f"{path}: holds samples that are not finite")
                count += len(samples)
                samples *= np.float32(2**15)
                yield resampler.resample_chunk(samples) if resampler else samples
            if count < wanted < math.inf:
                raise ValueError(f"{path}: truncated: {count} of {wanted} samples")
            if resampler:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: cannot be read: {error.error_string}") from None


def read_pipe(pipe: BufferedIOBase) -> Iterator[np.ndarray]:
    """Yield the samples of a pipe of 16-bit little-endian integers, (n,) each, as they arrive.

    Raises:
        ValueError: they are in a file format, or end within a sample.
    """
    data = pipe.read(4)
    if data in CONTAINERS:
        raise ValueError(
            f"begins with {data.decode()} as a file does: only plain samples are allowed"
        )
    while data:
        whole = len(data) // 2 * 2
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32)
        more = pipe.read1(1 << 16)
        if not more and len(data) > whole:
            raise ValueError("ends within a sample: they are of 16 bits")
        data = data[whole:] + more
