"""From audio to phones: streams, the recogniser's folder, the command."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file, save_file

from data_prep import synthetic
from data_prep.cmvn import statistics
from data_prep.features import FeatureConfig, compute, join
from data_prep.samples import read_file
from ernn.asr import AcousticModel, ModelConfig, greedy
from ernn.asr.recogniser import Recogniser
from ernn.asr.streaming import (
    IntegerStream,
    Phone,
    Runs,
    Stream,
    float_stream,
    integer_stream,
    transcribe,
)
from ernn.asr.transcribe import FIRST_OF_FILE, main
from ernn.quantize import IntegerModel, calibrate, convert, convert_offline
from hdl import online
from hdl.compiler import configure, on_core
from hdl.simulate import Simulator

PHONES = ("sil", "aa", "iy", "s", "k", "n")
CONFIG = FeatureConfig()
COMMAND = [sys.executable, "-W", "error", "-m", "ernn.asr.transcribe"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three sentences of espeak-ng."""
    root = tmp_path_factory.mktemp("corpus") / "builtin"
    synthetic.generate(root, train_speakers=1, dev_speakers=1, test_speakers=1, sentences=1)
    return sorted(root.glob("*/*/*/*.WAV"))


def read(path: Path) -> np.ndarray:
    return np.concatenate(list(read_file(path, CONFIG.sample_rate)))


def recogniser_of(speech: list[Path], **options: object) -> Recogniser:
    """A recogniser of random weights, large ones, with biases that let every phone win at times."""
    torch.manual_seed(0)
    frames = [compute(read(path), CONFIG) for path in speech]
    mean, deviation = statistics(frames)
    config = ModelConfig(CONFIG.size, len(PHONES), hidden_size=8, **{"block_size": 4} | options)  # type: ignore[arg-type]
    model = AcousticModel(config).eval()
    vectors = [torch.from_numpy(join((x - mean) / deviation, CONFIG)) for x in frames]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
        hidden = torch.cat([model.encode(x[:, None])[:, 0] for x in vectors])
        model.output.bias -= model.output(hidden).mean(dim=0)
    quantized = convert_offline if config.bidirectional else convert
    integer = quantized(model.recurrent, model.output, calibrate(model.recurrent, vectors))
    return Recogniser(model, CONFIG, mean, deviation, PHONES, integer)


@pytest.fixture(scope="module")
def recogniser(speech: list[Path]) -> Recogniser:
    return recogniser_of(speech, activation="pwl")


@pytest.fixture(scope="module")
def folder(recogniser: Recogniser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recogniser") / "model"
    recogniser.save(path)
    return path


class Recorder:
    """A stream that keeps what goes through it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.vectors: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def push(self, vectors: np.ndarray) -> np.ndarray:
        self.vectors.append(vectors)
        self.scores.append(self.stream.push(vectors))
        return self.scores[-1]

    def finish(self) -> np.ndarray:
        self.scores.append(self.stream.finish())
        return self.scores[-1]


def through(
    recogniser: Recogniser, stream: Stream, blocks: list[np.ndarray]
) -> tuple[list, np.ndarray, np.ndarray]:
    """Return the phones of an utterance, its vectors and its scores."""
    recorder = Recorder(stream)
    phones = list(transcribe(recogniser, blocks, recorder))
    scores = [y for y in recorder.scores if len(y)]
    return phones, np.concatenate(recorder.vectors), np.concatenate(scores)


def pieces(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(samples, range(size, len(samples), size))


# ------------------------------------------------------------------------------------------ streams


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "pwl"},
        {"activation": "exact"},
        {"cell": "gru", "reset_after": False},
        {"peephole": True, "proj_size": 4},
        {"bidirectional": True},
    ],
)
@pytest.mark.parametrize("start", [float_stream, integer_stream])
def test_cuts_change_no_bit(speech: list[Path], start: object, options: dict) -> None:
    recogniser = recogniser_of(speech, **options)
    samples = read(speech[0])
    whole, vectors, scores = through(recogniser, start(recogniser), [samples])  # type: ignore[operator]
    assert len({phone.symbol for phone in whole}) > 2
    assert len(whole) > 5
    for size in (37, 160, 4001, 16000):
        blocks = pieces(samples, size)
        phones, same, also = through(recogniser, start(recogniser), blocks)  # type: ignore[operator]
        assert phones == whole
        np.testing.assert_array_equal(same, vectors)
        np.testing.assert_array_equal(also, scores)


def test_streams_are_the_models(speech: list[Path]) -> None:
    for options in ({}, {"cell": "gru"}, {"bidirectional": True}):
        recogniser = recogniser_of(speech, **options)
        samples = read(speech[1])
        model, integer = recogniser.model, recogniser.integer
        assert integer is not None

        _, vectors, scores = through(recogniser, integer_stream(recogniser), pieces(samples, 999))
        x = integer.quantize(vectors)[:, None]
        np.testing.assert_array_equal(scores, integer.run(x)[:, 0])

        _, vectors, scores = through(recogniser, float_stream(recogniser), pieces(samples, 999))
        with torch.inference_mode():
            wanted = model(torch.from_numpy(vectors)[:, None])[:, 0]
        got = torch.from_numpy(scores).log_softmax(-1)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


def test_phones_are_the_best_path_s(speech: list[Path], recogniser: Recogniser) -> None:
    phones, _, scores = through(recogniser, integer_stream(recogniser), [read(speech[0])])
    segments = greedy(scores)
    assert segments
    assert phones == [(PHONES[c - 1], start * 0.03, end * 0.03) for c, start, end in segments]


def test_runs() -> None:
    path = np.array([0, 3, 3, 0, 3, 1, 1, 0, 0, 2])
    scores = np.eye(4)[path]
    wanted = [(3, 1, 3), (3, 4, 5), (1, 5, 7), (2, 9, 10)]
    for cuts in ([], [2], [1, 2, 6], list(range(1, 10))):
        runs = Runs()
        found = [run for part in np.split(scores, cuts) for run in runs.push(part)]
        assert found == wanted[:-1]
        assert [*found, *runs.finish()] == wanted


def test_a_phone_comes_a_vector_after_its_end(speech: list[Path], recogniser: Recogniser) -> None:
    """Every 10 ms a block, as from a microphone; past the first second nothing waits longer."""
    fed = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal fed
        for block in pieces(np.concatenate([read(path) for path in speech]), 160):
            fed += len(block)
            yield block

    stream = integer_stream(recogniser)
    phones = [(fed / 16000, p) for p in transcribe(recogniser, blocks(), stream)]
    delays = [time - phone.end for time, phone in phones if phone.end > 1.1]
    assert len(delays) > 10
    # the next vector ends 4 frames, of 10 ms every but the last of 25 ms, after its begin
    assert max(delays[:-1]) <= 0.055 + 0.01


def test_what_is_kept_does_not_grow(recogniser: Recogniser) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1000, 16000).astype(np.float32)
    kept = {}
    for seconds in (5, 50):
        tracemalloc.start()
        for _ in transcribe(
            recogniser, (noise for _ in range(seconds)), integer_stream(recogniser)
        ):
            pass
        kept[seconds] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert kept[50] < 1.1 * kept[5]


@pytest.mark.parametrize("start", [float_stream, integer_stream])
def test_the_shortest_utterance(recogniser: Recogniser, start: object) -> None:
    """A vector takes 25 + 3 * 10 ms."""
    _, vectors, _ = through(recogniser, start(recogniser), [np.ones(880, np.float32)])  # type: ignore[operator]
    assert vectors.shape == (1, 160)
    with pytest.raises(ValueError, match=r"too short: 0\.055 s, 0\.055 s are needed"):
        through(recogniser, start(recogniser), [np.ones(879, np.float32)])  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"too short: 0\.000 s"):
        list(transcribe(recogniser, [], start(recogniser)))  # type: ignore[operator]


def test_without_cmvn_frames_stay_as_they_are(speech: list[Path], recogniser: Recogniser) -> None:
    plain = replace(CONFIG, cmvn=False)
    other = replace(recogniser, features=plain)
    samples = read(speech[0])
    _, vectors, _ = through(other, integer_stream(other), pieces(samples, 1000))
    np.testing.assert_array_equal(vectors, join(compute(samples, plain), plain))


# ----------------------------------------------------------------------------------------- states


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"peephole": True, "proj_size": 4}])
def test_states_carry_the_integer_model_on(speech: list[Path], options: dict) -> None:
    model = recogniser_of(speech, num_layers=3, **options).integer
    assert isinstance(model, IntegerModel)
    x = model.quantize(np.random.default_rng(0).normal(size=(12, 2, 160)))
    states, parts = model.zero_states(2), []
    for part in np.split(x, [1, 5, 11]):
        y, states = model.advance(part, states)
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts), model.run(x))


# ------------------------------------------------------------------------------------------ folder


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_folder_gives_back_what_was_saved(
    speech: list[Path], tmp_path: Path, bidirectional: bool
) -> None:
    saved = recogniser_of(speech, bidirectional=bidirectional)
    saved.save(tmp_path / "model")
    loaded = Recogniser.load(tmp_path / "model")
    assert (loaded.features, loaded.phones) == (saved.features, saved.phones)
    samples = [read(speech[0])]
    for start in (float_stream, integer_stream):
        for a, b in zip(
            through(saved, start(saved), samples),
            through(loaded, start(loaded), samples),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)

    replace(saved, integer=None).save(tmp_path / "model")  # the bundle of before is gone
    loaded = Recogniser.load(tmp_path / "model")
    assert loaded.integer is None
    with pytest.raises(ValueError, match="has no integer model"):
        integer_stream(loaded)


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "recogniser.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_bad_folders_are_told(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"

    def fails(error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message) as caught:
            Recogniser.load(bad)
        assert "bad" in str(caught.value)
        assert "\n" not in str(caught.value)
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(folder, bad)

    fails(FileNotFoundError, "no recogniser.json")
    (bad / "model.safetensors").unlink()
    fails(FileNotFoundError, "no model.safetensors")
    (bad / "recogniser.json").write_text("{")
    fails(ValueError, "Expecting")
    (bad / "recogniser.json").write_text("[]")
    fails(ValueError, "list indices")
    (bad / "model.safetensors").write_bytes(b"pickle")
    fails(ValueError, "not a saved acoustic model")
    rewrite(bad, version=9)
    fails(ValueError, "ernn-recogniser 9; this reads ernn-recogniser 1")
    rewrite(bad, phones=PHONES[:-1])
    fails(ValueError, "5 phones: the model takes 6")
    rewrite(bad, phones=["a b", *PHONES[1:]])
    fails(ValueError, "a phone is 'a b': it must be a word")
    rewrite(bad, mean=[0.0])
    fails(ValueError, "1 means: the model takes 40")
    rewrite(bad, deviation=[0.0] * 40)
    fails(ValueError, "a deviation is not above 0")
    rewrite(bad, features={"stack": 2})
    fails(ValueError, "80 values in a feature vector: the model takes 160")
    rewrite(bad, features={"dither": 2})
    fails(ValueError, "dither")
    (bad / "bundle" / "weights.safetensors").unlink()
    fails(FileNotFoundError, r"no weights\.safetensors")
    weights = load_file(bad / "bundle" / "weights.safetensors")
    del weights["layers.0.W"]
    save_file(weights, bad / "bundle" / "weights.safetensors")
    fails(ValueError, "W")


def test_an_integer_model_of_another_size_is_refused(recogniser: Recogniser) -> None:
    assert isinstance(recogniser.integer, IntegerModel)
    layers = recogniser.integer.layers[:-1]
    with pytest.raises(ValueError, match="8 outputs of the integer model: the model takes 7"):
        replace(recogniser, integer=IntegerModel(layers))


# ----------------------------------------------------------------------------------------- command


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, list[str], list[str]]:
    """Run the command here."""
    monkeypatch.setattr(sys, "argv", ["transcribe", *map(str, arguments)])
    code = main()
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def ctm(name: str, phones: Iterable[Phone]) -> list[str]:
    return [f"{name} 1 {p.start:.3f} {p.end - p.start:.3f} {p.symbol}" for p in phones]


@pytest.mark.parametrize("backend", ["float", "integer"])
def test_lines_are_ctm(
    speech: list[Path],
    folder: Path,
    recogniser: Recogniser,
    backend: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "a b.flac"
    soundfile.write(copy, read(speech[1]) / 2**15, 16000)
    files = speech[0], copy
    code, out, err = call(capsys, monkeypatch, *files, "--model", folder, "--backend", backend)
    assert (code, err) == (0, [])
    wanted = []
    for file, name in zip(files, (str(speech[0]), str(copy).replace(" ", "_")), strict=True):
        stream = {"float": float_stream, "integer": integer_stream}[backend](recogniser)
        wanted += ctm(name, transcribe(recogniser, [read(file)], stream, FIRST_OF_FILE))
    assert out == wanted
    assert all(re.fullmatch(r"\S+ 1 \d+\.\d{3} \d+\.\d{3} \S+", line) for line in out)


def test_a_bad_file_is_told_and_the_others_are_done(
    speech: list[Path],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "short.wav", np.zeros(800), 16000)
    soundfile.write(tmp_path / "stereo.wav", np.zeros((8000, 2)), 16000)
    bad = [tmp_path / name for name in ("missing.wav", "text.wav", "short.wav", "stereo.wav")]
    files = bad[0], speech[0], *bad[1:], speech[1]
    code, out, err = call(capsys, monkeypatch, *files, "--model", folder)
    assert code == 2
    assert {line.split()[0] for line in out} == {str(speech[0]), str(speech[1])}
    assert [line.split(": ")[:2] for line in err] == [["ernn.asr.transcribe", str(b)] for b in bad]
    for line, what in zip(
        err,
        ("there is no such file", "cannot be read", "too short: 0.050 s", "2 channels"),
        strict=True,
    ):
        assert what in line


def test_bad_options_are_told(
    speech: list[Path],
    recogniser: Recogniser,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace(recogniser, integer=None).save(tmp_path / "float")
    for arguments, message in (
        (("--model", folder), "no files: name one or more, or - for standard input"),
        ((speech[0], "--model", tmp_path), f"{tmp_path}: no recogniser.json"),
        ((speech[0], "--model", tmp_path / "float", "--backend", "integer"), "no integer model"),
        ((speech[0], "--model", tmp_path / "float", "--backend", "rtl"), "no integer model"),
    ):
        code, out, (line,) = call(capsys, monkeypatch, *arguments)
        assert (code, out) == (2, [])
        assert line.startswith("ernn.asr.transcribe: ")
        assert message in line


def test_standard_input(
    speech: list[Path],
    folder: Path,
    recogniser: Recogniser,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def piped(data: bytes) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return call(capsys, monkeypatch, "-", "--model", folder)

    samples = read(speech[0]).astype("<i2").tobytes()
    code, out, err = piped(samples)
    assert (code, err) == (0, [])
    assert out == ctm("-", transcribe(recogniser, [read(speech[0])], float_stream(recogniser)))
    assert len(out) > 5

    for data, message in (
        (samples[:-1], "ends within a sample: they are of 16 bits"),
        (speech[0].read_bytes(), "begins with NIST as a file does: only plain samples are allowed"),
        (b"", "too short: 0.000 s, 0.055 s are needed"),
    ):
        code, _, err = piped(data)
        assert (code, err) == (2, [f"ernn.asr.transcribe: -: {message}"])


def started(folder: Path) -> subprocess.Popen[bytes]:
    """The command with standard input, in a session of its own."""
    return subprocess.Popen(
        [*COMMAND, "-", "--model", str(folder)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_lines_come_while_the_audio_does_and_ctrl_c_ends_quietly(
    speech: list[Path], folder: Path
) -> None:
    with started(folder) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(read(speech[0]).astype("<i2").tobytes())
        assert process.stdout.readline().startswith(b"- 1 ")  # and the input has not ended
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


def test_a_closed_pipe_ends_it_quietly(speech: list[Path], folder: Path) -> None:
    samples = read(speech[0]).astype("<i2").tobytes()
    with started(folder) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(samples)
        process.stdout.readline()
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            process.stdin.writelines([samples] * 100)
        assert process.stderr.read() == b""
    assert process.returncode == 0


# -------------------------------------------------------------------------------------- accelerator


@pytest.fixture(scope="module")
def clips(speech: list[Path]) -> list[Path]:
    """Two clips of speechocean762; without it, of espeak-ng."""
    if "ERNN_DATA" in os.environ:
        return sorted(Path(os.environ["ERNN_DATA"], "speechocean762", "train").glob("*.ogg"))[:2]
    return speech[:2]


def test_the_accelerator_s_phones_and_scores_are_the_integer_model_s(
    clips: list[Path], recogniser: Recogniser
) -> None:
    """One session, utterance after utterance, in blocks of any size; some are broken off."""
    model = recogniser.integer
    assert isinstance(model, IntegerModel)
    network = on_core(model)
    assert network is not model  # its last layer is left to the host
    x = np.random.default_rng(0).normal(size=(9, CONFIG.size)).astype(np.float32)
    with online.start(model, Simulator(configure(network, 4))) as session:
        for path, size in zip([*clips, clips[0]], (16000, 1000, 5000), strict=True):
            samples = read(path)
            wanted, _, scores = through(recogniser, integer_stream(recogniser), [samples])
            stream = online.AcceleratorStream(model, session)
            phones, _, same = through(recogniser, stream, pieces(samples, size))
            assert len({phone.symbol for phone in phones}) > 2
            assert phones == wanted
            np.testing.assert_array_equal(same, scores)

            alone = online.AcceleratorStream(network, session)  # nothing is left to the host
            got = np.concatenate([alone.push(part) for part in np.split(x, [1, 4])])
            np.testing.assert_array_equal(got, IntegerStream(network).push(x))
            assert alone.finish().shape == got[:0].shape


@pytest.mark.parametrize("bidirectional", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rtl_writes_what_integer_writes(
    clips: list[Path],
    speech: list[Path],
    bidirectional: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recogniser_of(speech, activation="pwl", bidirectional=bidirectional).save(tmp_path / "model")
    monkeypatch.setattr("ernn.asr.transcribe.N_PE", 4)
    arguments = clips[0], "missing.wav", clips[1], "--model", tmp_path / "model", "--backend"
    code, out, err = call(capsys, monkeypatch, *arguments, "integer")
    assert (code, len(err)) == (2, 1)
    assert {line.split()[0] for line in out} == {str(clip) for clip in clips}
    code, same, (building, built, *also) = call(capsys, monkeypatch, *arguments, "rtl")
    assert (code, same, also) == (2, out, err)
    assert building == "building the accelerator: 4 PEs, k = 4"
    assert re.fullmatch(r"built in \d+ s", built)


def test_what_no_core_runs_is_told(
    speech: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recogniser_of(speech, block_size=1).save(tmp_path / "model")
    arguments = speech[0], "--model", tmp_path / "model", "--backend", "rtl"
    assert call(capsys, monkeypatch, *arguments) == (
        2,
        [],
        ["ernn.asr.transcribe: block_size 1: the core has (4, 8, 16, 32)"],
    )
