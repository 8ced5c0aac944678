import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep.samples import read_file, read_pipe

RATE = 16000
NOISE = np.random.default_rng(0).integers(-9000, 9000, 40000).astype(np.int16)


class Dribble(io.BytesIO):
    """A pipe that gives a few bytes at a time, odd numbers of them too."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(7)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "au"])
def test_files_come_in_blocks_of_a_second(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, NOISE, RATE)
    blocks = list(read_file(path, RATE))
    assert [len(block) for block in blocks] == [16000, 16000, 8000]
    assert all(block.dtype == np.float32 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), NOISE)
    part = np.concatenate(list(read_file(path, RATE, 0.5, 1.25)))
    np.testing.assert_array_equal(part, NOISE[8000:28000])


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_blocks_are_resampled_as_one(tmp_path: Path, rate: int) -> None:
    """A tone stays one where the blocks meet."""
    time = np.arange(3 * rate) / rate
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * time), rate, "PCM_24")
    samples = np.concatenate(list(read_file(tmp_path / "a.wav", RATE)))
    assert len(samples) == 3 * RATE
    expected = 0.3 * 2**15 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / RATE)
    np.testing.assert_allclose(samples[400:-400], expected[400:-400], atol=5)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((99, 2)), RATE)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan]), RATE, "FLOAT")
    for name, what in {
        "text.wav": "cannot be read: ",
        "missing.wav": "cannot be read: there is no such file",
        "stereo.wav": "2 channels: only mono is allowed",
        "nan.wav": "holds samples that are not finite",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: {what}") as error:
            list(read_file(tmp_path / name, RATE))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("pipe", [io.BytesIO, Dribble])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5000])
def test_pipes(pipe: type[io.BytesIO], count: int) -> None:
    blocks = list(read_pipe(pipe(NOISE[:count].astype("<i2").tobytes())))
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, NOISE[:count])


@pytest.mark.parametrize("pipe", [io.BytesIO, Dribble])
@pytest.mark.parametrize("size", [1, 3, 5, 1001])
def test_half_a_sample_is_refused(pipe: type[io.BytesIO], size: int) -> None:
    with pytest.raises(ValueError, match="ends within a sample: they are of 16 bits"):
        list(read_pipe(pipe(NOISE.tobytes()[:size])))


def test_a_file_in_the_pipe_is_refused() -> None:
    whole = io.BytesIO()
    soundfile.write(whole, NOISE, RATE, format="WAV")
    whole.seek(0)
    with pytest.raises(ValueError, match="begins with RIFF as a file does"):
        list(read_pipe(whole))
