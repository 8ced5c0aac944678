"""A whole accelerator under Verilator, at speed: frames in, results and their cycles out."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from ernn.fixed import Integers
from hdl.accelerator import accelerator, accelerator_arguments, blocks_in, image
from hdl.axis import byte_bits
from hdl.config import CoreConfig
from hdl.module import convert
from hdl.program import Program
from hdl.tools import SimulationError, build, read_ports


@dataclass(frozen=True)
class Run:
    """What an accelerator answered.

    Attributes:
        outputs: for each utterance (time, output_size).
        accepted: (frames,) the cycle in which a frame's last block was taken in.
        finished: (frames,) the cycle in which a frame's last block was given out.
    """

    outputs: list[Integers]
    accepted: Integers
    finished: Integers

    @property
    def cycles_per_frame(self) -> float:
        """Mean distance of the frames (two or more) that were given out."""
        return float(self.finished[-1] - self.finished[0]) / (len(self.finished) - 1)


class Simulator:
    """A Verilated accelerator.

    Converts and builds it on construction (kept by a hash of the Verilog), then runs utterances,
    with the image of a program of its own.

    Args:
        cfg: the core's configuration.
        folder: where built models are kept; :func:`ernn.files.cache_folder` by default.
    """

    def __init__(self, cfg: CoreConfig, folder: Path | None = None):
        self.cfg = cfg
        with tempfile.TemporaryDirectory() as scratch:
            files = convert(accelerator, accelerator_arguments(cfg), scratch)
            self.ports = {p.name: p for p in read_ports(files, accelerator.__name__)}
            self.program = build(files, accelerator.__name__, "streams.cpp", {}, folder)

    def run(self, program: Program, utterances: Sequence[Integers], **options: Any) -> Run:
        """Load a program and stream whole utterances through it, from reset.

        Args:
            program: for this core.
            utterances: as of :meth:`Session.run`.
            options: of :class:`Session`.

        Raises:
            SimulationError: as of :class:`Session`.
        """
        with Session(self, program, **options) as session:
            return session.run(utterances)


class Session:
    """An accelerator that runs, its program loaded.

        with Session(simulator, program) as session:
            y = session.run([x]).outputs[0]
            more = session.run([x_after], goes_on=True).outputs[0]

    Args:
        simulator: the accelerator.
        program: for its core.
        idle: chance that no input is offered in a cycle.
        stall: chance that no output is taken in a cycle.
        seed: of those chances.
        patience: cycles without a transfer after which the accelerator is taken to hang.

    Raises:
        SimulationError: in any method: the accelerator hangs, breaks the stream contract, refuses
            the image or marks a wrong block as a frame's last.
    """

    def __init__(
        self,
        simulator: Simulator,
        program: Program,
        *,
        idle: float = 0.0,
        stall: float = 0.0,
        seed: int = 0,
        patience: int = 100_000,
    ):
        self.simulator, self.program, self.patience = simulator, program, patience
        words = image(program)
        numbers = len(words), round(256 * idle), round(256 * stall), seed, patience
        self._process = subprocess.Popen(
            [simulator.program, *map(str, numbers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._send(words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, utterances: Sequence[Integers], *, goes_on: bool = False) -> Run:
        """Stream utterances through the accelerator.

        Args:
            utterances: each (time, input_size), integers in the model's input format. With S
                streams, each S utterances in a row must be of one length and are interleaved frame
                by frame.
            goes_on: they are no utterances but what follows on those of the call before, one a
                stream.
        """
        program, ports = self.program, self.simulator.ports
        first, last, blocks = blocks_in(program, utterances)
        records = {
            "s_axis_tuser": first & (not goes_on),
            "s_axis_tlast": last,
            "s_axis_tdata": blocks,
        }
        columns = [ports[n].pack(list(v), len(blocks)) for n, v in records.items()]
        expected = len(blocks) // program.input_blocks * program.output_blocks
        self._send(np.array([len(blocks), expected], "<u4"))
        self._send(np.hstack(columns))
        accepted = self._receive(len(blocks))
        width = 2 + ports["m_axis_tdata"].words  # cycle, last, data
        given = self._receive(expected * width).reshape(expected, width)
        last = np.arange(1, expected + 1) % program.output_blocks == 0
        if not np.array_equal(given[:, 1], last):
            raise SimulationError("accelerator: TLAST is not in exactly each frame's last block")
        data = ports["m_axis_tdata"].unpack(given[:, 2:])
        results = program.unpack_frames(data, byte_bits(program.cfg.row_length))
        outputs, S = [], program.streams
        for u in utterances[::S]:
            size = S * len(u)
            outputs += list(results[:size].reshape(-1, S, results.shape[1]).swapaxes(0, 1))
            results = results[size:]
        return Run(
            outputs,
            accepted[program.input_blocks - 1 :: program.input_blocks].astype(np.int64),
            given[last, 0].astype(np.int64),
        )

    def _send(self, words: np.ndarray) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(words.tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _receive(self, count: int) -> np.ndarray:
        assert self._process.stdout is not None
        words = np.frombuffer(self._process.stdout.read(4 * count), "<u4")
        if len(words) < count:
            self._fail()
        return words

    def _fail(self) -> NoReturn:
        status = self._process.wait()
        reasons = {
            2: f"no transfer in {self.patience} cycles",
            3: "m_axis changed before its transfer",
            4: "the image was refused",
        }
        raise SimulationError(f"accelerator: {reasons.get(status, f'exit status {status}')}")
