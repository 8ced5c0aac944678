"""The host's script against the simulated pins of a whole board."""

import os
import select
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from layers import expected, formats, random_frames, random_layer, random_linear
from pictures import random_convolution, vgg
from stub import stub

from ernn import bundle
from ernn.fixed import FixedPoint
from ernn.quantize import WordLengths
from ernn.quantize.feedforward import Geometry
from ernn.quantize.integer import IntegerModel
from hdl import client, ecp5
from hdl.accelerator import image
from hdl.client import BoardError, Client, Options, classify
from hdl.compiler import compile_model, configure
from hdl.ecp5 import ulx3s
from hdl.tools import build

DIVIDER = 16
INPUT_BYTES, OUTPUT_BYTES, DEPTH = 6, 6, 64


class Pins:
    """A transport: the line of a Verilated board."""

    def __init__(self, program, bit, jitter):
        self.process = subprocess.Popen(
            [program, str(bit), str(jitter)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def write(self, data):
        self.process.stdin.write(b"".join(bytes([0, byte]) for byte in data))
        self.process.stdin.flush()

    def read(self, count, patience=20.0):
        data, pipe = b"", self.process.stdout.fileno()
        while len(data) < count and select.select([pipe], [], [], patience)[0]:
            data += os.read(pipe, count - len(data))
        return data

    def reset(self):
        self.process.stdin.write(b"\1\0")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


def verilated(files):
    """The Verilated board, from pin to pin."""
    defines = {
        "CLOCK(level)": "top->clk_25mhz = level",
        "RESET(level)": "top->btn_pwrn = !(level)",
        "RX(level)": "top->ftdi_txd = level",
        "TX": "top->ftdi_rxd",
    }
    return build([*files, ecp5.PRIMITIVES], "ulx3s", "serial.cpp", defines)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    parameters = {"input_bytes": INPUT_BYTES, "output_bytes": OUTPUT_BYTES, "divider": DIVIDER}
    folder = tmp_path_factory.mktemp("board")
    return verilated(ulx3s.convert_board(stub, {}, folder, depth=DEPTH, **parameters))


@pytest.fixture(params=[(DIVIDER, 0), (DIVIDER * 1.02, 20)], ids=["exact", "off"])
def pins(program, request):
    transport = Pins(program, *request.param)
    yield transport
    transport.close()


def echo(frame, key, first):
    """What the stub makes of a frame."""
    words = np.frombuffer(frame, np.uint8).reshape(-1, INPUT_BYTES)
    values = [int.from_bytes(w.tobytes(), "little") ^ key ^ first for w in words]
    return b"".join(v.to_bytes(OUTPUT_BYTES, "little") for v in values)


def test_client(pins):
    """Images and frames longer than the board's room, and two utterances."""
    rng = np.random.default_rng(0)
    host = Client(pins)
    assert host.status == client.Status(0, 0, INPUT_BYTES, OUTPUT_BYTES, DEPTH)
    key = 0
    for count in 1, 2:
        image = rng.integers(0, 1 << 32, 50, dtype=np.uint32)
        key ^= int(np.bitwise_xor.reduce(image))
        assert host.load(image.astype("<u4").tobytes()).accelerator == count
        frames = [rng.bytes(INPUT_BYTES * n) for n in (1, 4, 25)]
        expected = [echo(frame, key, n == 0) for n, frame in enumerate(frames)]
        assert host.run(frames) == expected


def test_reset_forgets(pins):
    """A break in the middle of a packet starts all anew."""
    assert Client(pins).load(bytes(8)).accelerator == 1
    pins.write(b"\1\50\0\0\0\7")
    assert Client(pins).status.accelerator == 0


def test_script(program, tmp_path, capsys, monkeypatch):
    """The command line, its port replaced by the pins."""
    np.array([1, 0], "<u4").tofile(tmp_path / "image.bin")
    frames = np.array([[1, -2, 3, 4, 5], [6, 7, -8, 9, 10]])
    np.save(tmp_path / "frames.npy", frames)
    words = ["--image", str(tmp_path / "image.bin"), "--frames", str(tmp_path / "frames.npy")]
    monkeypatch.setattr(sys, "argv", ["hdl.client", "--port", "pins", *words])
    transport = Pins(program, DIVIDER, 0)
    monkeypatch.setattr(client, "SerialPort", lambda port, baud: transport)
    assert client.main() == 0
    transport.close()
    # words of three integers: the key is in the first of each, and the first frame's are 1 more
    assert capsys.readouterr().out == "1 -2 3 4 5 0\n7 7 -8 8 10 0\n"


def network(seed):
    """An LSTM and a fully connected layer that ``ulx3s.CORE`` runs."""
    fmt = formats(8, 10, 12, 12, source=FixedPoint(10, 7))
    lstm = random_layer("lstm", 4, 40, 64, fmt, seed=seed, amplitude=0.8)
    classes = random_linear(4, 64, 40, fmt.output, FixedPoint(12, 8), seed=seed)
    return IntegerModel((lstm, replace(classes, bias=classes.bias // 64)))


def send(model, frames, board, tmp_path, capsys, monkeypatch):
    """What the command line prints of frames for a Verilated board's accelerator: (time, words)."""
    words = image(compile_model(model, board.cfg))
    (tmp_path / "image.bin").write_bytes(words.astype("<u4").tobytes())
    np.save(tmp_path / "frames.npy", frames)
    bundle.save(model, tmp_path / "bundle")
    options = {"image": "image.bin", "frames": "frames.npy", "bundle": "bundle"}
    files = [word for name, file in options.items() for word in (f"--{name}", str(tmp_path / file))]
    monkeypatch.setattr(sys, "argv", ["hdl.client", "--port", "pins", *files])
    transport = Pins(board.program, DIVIDER * 1.01, 20)
    monkeypatch.setattr(client, "SerialPort", lambda port, baud: transport)
    assert client.main() == 0
    transport.close()
    return np.array([line.split() for line in capsys.readouterr().out.splitlines()], int)


def board_of(cfg, folder):
    """A Verilated board with a real accelerator, and the accelerator's configuration."""
    files = ulx3s.convert_core(cfg, folder, divider=DIVIDER)
    return SimpleNamespace(program=verilated(files), cfg=cfg)


@pytest.mark.slow
def test_classify(tmp_path, capsys, monkeypatch):
    """The command line, a board with a real accelerator, and the classes of the integer model.

    Two images one after the other, an utterance each.
    """
    board = board_of(ulx3s.CORE, tmp_path / "board")
    for seed in 0, 1:
        model = network(seed)
        (frames,) = random_frames(model, [12], seed)
        results = send(model, frames, board, tmp_path, capsys, monkeypatch)
        (wanted,) = expected(model, [frames])
        np.testing.assert_array_equal(results, wanted)
        assert len(set(results.argmax(axis=1))) > 3


@pytest.mark.slow
def test_classify_photographs(tmp_path, capsys, monkeypatch):
    """As above, of a network whose images get their padding on their way."""
    model, frames = vgg(4, 8, (5, 9), 14, WordLengths(8, 10, 12))
    board = board_of(replace(configure(model, 8, fold=2), relaxed=True), tmp_path / "board")
    results = send(model, frames, board, tmp_path, capsys, monkeypatch)
    (wanted,) = expected(model, [frames])
    np.testing.assert_array_equal(results, np.pad(wanted, ((0, 0), (0, 2))))  # to a whole block
    assert len(set(results.argmax(axis=1))) > 2


def test_images_get_their_padding(tmp_path):
    model = network(0)
    bundle.save(model, tmp_path / "recurrent")
    (frames,) = random_frames(model, [3])
    np.testing.assert_array_equal(client.padded(frames, tmp_path / "recurrent"), frames)
    geometry = Geometry((2, 1), (2, 3), padding=(0, 1))
    bundle.save(IntegerModel((random_convolution(4, (3, 4), geometry),)), tmp_path / "images")
    padded = client.padded(np.arange(1, 7)[None], tmp_path / "images")
    pixels = [0] * 4, [1, 2, 3, 0], [0] * 4, [0] * 4, [4, 5, 6, 0], [0] * 4
    np.testing.assert_array_equal(padded, np.concatenate(pixels)[None])
    with pytest.raises(ValueError, match="frames of 5 values: the model takes 6"):
        client.padded(np.zeros((1, 5), int), tmp_path / "images")


class Silence:
    """A transport that answers with fixed bytes."""

    def __init__(self, answer=b""):
        self.answer = answer

    def write(self, data):
        pass

    def read(self, count):
        data, self.answer = self.answer[:count], self.answer[count:]
        return data

    def reset(self):
        pass


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"", "the board does not answer"),
        (b"\2\0", "the board does not answer"),
        (b"\xff", "the board answered with a tag of 255: is the baud rate right?"),
        (b"\2\0\1\2\2\12", "the board lost a byte"),
        (b"\2\0\2\2\2\12", "unknown type"),
    ],
)
def test_what_goes_wrong_is_told(answer, line):
    with pytest.raises(BoardError, match=line):
        Client(Silence(answer))


def test_a_refused_image_is_told(tmp_path):
    (tmp_path / "image.bin").write_bytes(bytes(4))
    np.save(tmp_path / "frames.npy", np.zeros((1, 2), np.int16))
    options = Options("", tmp_path / "image.bin", tmp_path / "frames.npy")
    with pytest.raises(BoardError, match="refused the image: status 0x30"):
        classify(Silence(b"\2\0\0\2\2\12\2\x30\0\2\2\12"), options)


def test_parts_of_words_are_refused():
    host = Client(Silence(b"\2\0\0\4\2\12"))
    with pytest.raises(ValueError, match="image of 5 bytes: must be a multiple of 4"):
        host.load(bytes(5))
    with pytest.raises(ValueError, match="frame of 6 bytes: must be a multiple of 4"):
        host.run([bytes(6)])


def test_no_pyserial(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    words = ["--port", "none", "--image", "i", "--frames", "f"]
    monkeypatch.setattr(sys, "argv", ["hdl.client", *words])
    assert client.main() == 2
    assert capsys.readouterr().err == (
        "hdl.client: pyserial is missing: pip install 'ernn[board]'\n"
    )


@pytest.mark.parametrize("frequency", [50, 62.5, 100, 137.5, 150, 175])
def test_pll(frequency):
    dividers = ulx3s.pll(frequency)
    clock = 25 * dividers["CLKFB_DIV"] / dividers["CLKI_DIV"]
    assert clock == frequency
    assert 400 <= clock * dividers["CLKOP_DIV"] <= 800


def test_clocks_that_do_not_go():
    with pytest.raises(ValueError, match="clock of 141 MHz"):
        ulx3s.pll(141)
    with pytest.raises(ValueError, match="12000000 baud at 150 MHz"):
        ulx3s.divider(150, 12_000_000)
