"""Talk to a board: load an image, send frames, print what it answers.

    python -m hdl.client --port /dev/ttyUSB0 --image image.bin --frames frames.npy

The image holds 32-bit words, the least significant byte first; the frames are an array (time,
size) of integers in the input's format, one utterance. A line a frame: its results as integers.
Images need the padding of their network's first layer, and so its bundle: ``--bundle DIR``.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tyro

from hdl.board import (
    CONFIG,
    FIRST_FRAME,
    FRAME,
    HEADER,
    LAST_RESULT,
    MORE,
    OVERRUN,
    QUERY,
    RESULT,
    STATUS,
    STATUS_BYTES,
    UNKNOWN,
)


class BoardError(RuntimeError):
    """The board does not answer, or says that something went wrong."""


class Transport(Protocol):
    """A line to a board."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, count: int) -> bytes:
        """Receive so many bytes; fewer if they do not come for a while."""

    def reset(self) -> None:
        """Send a break, which resets the board, and drop what was received."""


class SerialPort:
    """A transport over a serial port.

    Args:
        port: name of the device.
        baud: bits a second.
        timeout: seconds that an answer may take.

    Raises:
        BoardError: pyserial is not installed, or the port does not open.
    """

    def __init__(self, port: str, baud: int, timeout: float = 2.0):
        try:
            import serial
        except ModuleNotFoundError:
            raise BoardError("pyserial is missing: pip install 'ernn[board]'") from None
        try:
            self._serial = serial.Serial(port, baud, timeout=timeout)
        except serial.SerialException as error:
            raise BoardError(f"{port}: {error}") from None

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._serial.write(data)

    def read(self, count: int) -> bytes:
        """Receive so many bytes; fewer if they do not come in time."""
        return bytes(self._serial.read(count))

    def reset(self) -> None:
        """Send a break, which resets the board, and drop what was received."""
        self._serial.send_break(0.01)
        self._serial.reset_input_buffer()


@dataclass(frozen=True)
class Status:
    """A board's answer to a query.

    Attributes:
        accelerator: the accelerator's status.
        flags: ``OVERRUN``, ``UNKNOWN``.
        input_bytes, output_bytes: of a word of its streams.
        room: bytes that may be sent without a query.
    """

    accelerator: int
    flags: int
    input_bytes: int
    output_bytes: int
    room: int


class Client:
    """A board behind a transport, reset and asked for its geometry.

    Raises:
        BoardError: it does not answer.
    """

    def __init__(self, transport: Transport):
        self.transport = transport
        self._results: list[bytes] = []
        self._words: list[bytes] = []
        self._output_bytes = 0  # not known until the first answer; there are no results before it
        transport.reset()
        self.status = self.query()

    def query(self) -> Status:
        """Ask for the status: the answer comes when all that was sent has been taken in."""
        self._send(QUERY, b"")
        while (status := self._receive()) is None:
            pass
        if status.flags & OVERRUN:
            raise BoardError("the board lost a byte: there was no room for it")
        if status.flags & UNKNOWN:
            raise BoardError("the board met a packet of an unknown type")
        self.status = status
        self._output_bytes = status.output_bytes
        return status

    def load(self, image: bytes) -> Status:
        """Send an image of whole 32-bit words.

        Raises:
            ValueError: the image has part of a word.
            BoardError: see :meth:`query`.
        """
        if len(image) % 4:
            raise ValueError(f"image of {len(image)} bytes: must be a multiple of 4")
        return self._packet(CONFIG, image, 4)

    def run(self, frames: Iterable[bytes]) -> list[bytes]:
        """Send an utterance, and return its results, one for every frame.

        Args:
            frames: each of whole words of ``status.input_bytes``.

        Raises:
            ValueError: a frame has part of a word.
            BoardError: see :meth:`query`.
        """
        count = 0
        for frame in frames:
            if not frame or len(frame) % self.status.input_bytes:
                raise ValueError(
                    f"frame of {len(frame)} bytes: must be a multiple of {self.status.input_bytes}"
                )
            kind = FRAME if count else FIRST_FRAME
            self._packet(kind, frame, self.status.input_bytes)
            count += 1
        while len(self._results) < count:
            self._receive()
        results, self._results = self._results, []
        return results

    def _packet(self, kind: int, payload: bytes, unit: int) -> Status:
        """Send a payload in pieces of whole units that the board has room for."""
        piece = (self.status.room - 2 * HEADER) // unit * unit
        for at in range(0, len(payload), piece):
            more = MORE if at + piece < len(payload) else 0
            self._send(kind | more, payload[at : at + piece])
            self.query()
        return self.status

    def _send(self, kind: int, payload: bytes) -> None:
        self.transport.write(bytes([kind]) + len(payload).to_bytes(4, "little") + payload)

    def _receive(self) -> Status | None:
        """Take an answer: a status is returned, results are kept."""
        tag = self._read(1)[0]
        if tag == STATUS:
            accelerator, flags, input_bytes, output_bytes, room = self._read(STATUS_BYTES)
            return Status(accelerator, flags, input_bytes, output_bytes, 1 << room)
        if tag not in (RESULT, LAST_RESULT):
            raise BoardError(f"the board answered with a tag of {tag}: is the baud rate right?")
        self._words.append(self._read(self._output_bytes))
        if tag == LAST_RESULT:
            self._results.append(b"".join(self._words))
            self._words = []
        return None

    def _read(self, count: int) -> bytes:
        data = self.transport.read(count)
        if len(data) < count:
            raise BoardError("the board does not answer")
        return data


@dataclass(frozen=True)
class Options:
    """Send an image and frames to a board, and print its results.

    Attributes:
        port: the serial port.
        image: 32-bit words, the least significant byte first.
        frames: an .npy file of integers (time, size), one utterance.
        baud: bits a second.
        word: bytes of an integer of a frame and of a result.
        bundle: the model's folder, if its frames are images: they get their padding.
    """

    port: str
    image: Path
    frames: Path
    baud: int = 1_000_000
    word: int = 2
    bundle: Path | None = None


def padded(frames: np.ndarray, folder: Path) -> np.ndarray:
    """Frames (time, input_size) for a bundle's network; images with their padding.

    Raises:
        FileNotFoundError: there is no bundle.
        ValueError: frames of another size.
    """
    from ernn import bundle  # brings torch, which other frames do without
    from hdl.layout import pad_frames

    first = bundle.load(folder).layers[0]
    if frames.shape[1] != first.input_size:
        raise ValueError(f"frames of {frames.shape[1]} values: the model takes {first.input_size}")
    return pad_frames(frames, first)


def classify(transport: Transport, options: Options) -> list[np.ndarray]:
    """Load the image, send the frames: the results of each, as integers.

    Raises:
        FileNotFoundError: there is no bundle, or another file is missing.
        ValueError: the image or the frames do not fit the board, or the frames the model.
        BoardError: the board does not answer, or refuses the image.
    """
    frames = np.load(options.frames)
    if frames.ndim != 2 or frames.dtype.kind not in "iu":
        raise ValueError(f"{options.frames}: must be integers (time, size)")
    if options.bundle is not None:
        frames = padded(frames, options.bundle)
    kind = np.dtype(f"<i{options.word}")
    client = Client(transport)
    status = client.load(options.image.read_bytes())
    if status.accelerator >> 4:
        raise BoardError(f"the accelerator refused the image: status {status.accelerator:#04x}")
    unit = status.input_bytes // options.word
    whole = np.pad(frames, ((0, 0), (0, -frames.shape[1] % unit))).astype(kind)
    return [np.frombuffer(result, kind) for result in client.run(f.tobytes() for f in whole)]


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, description="Send an image and frames to a board.")
    try:
        for result in classify(SerialPort(options.port, options.baud), options):
            print(*result)
    except (OSError, ValueError, BoardError) as error:
        print(f"hdl.client: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
