"""How long an audio file is, and whether it is whole."""

import re
from pathlib import Path

import soundfile


def length(path: Path) -> tuple[int, int]:
    """Return the number of samples and the sampling rate in Hz of a mono audio file.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: an empty file")
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not audio, or cut in its header: {error.error_string}") from None
    if info.channels != 1:
        raise ValueError(f"{path}: {info.channels} channels: only mono is allowed")
    if size < (expected := _expected_size(path)):
        raise ValueError(f"{path}: truncated: {size} of {expected} bytes")
    if info.frames == 0:
        raise ValueError(f"{path}: no samples")
    return info.frames, info.samplerate


def _expected_size(path: Path) -> int:
    """Return the bytes a SPHERE or RIFF file should have by its header; 0 for other formats."""
    with path.open("rb") as file:
        header = file.read(1024)
    if header.startswith(b"RIFF"):
        return 8 + int.from_bytes(header[4:8], "little")
    if header.startswith(b"NIST_1A"):
        fields = dict(re.findall(rb"(?m)^(sample_count|sample_n_bytes) -i (\d+)", header))
        samples = int(fields.get(b"sample_count", 0)) * int(fields.get(b"sample_n_bytes", 2))
        return int(header[8:16]) + samples
    return 0
