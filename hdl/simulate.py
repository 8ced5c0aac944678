"""A whole accelerator under Verilator, at speed: utterances in, results and their cycles out."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

    Converts and builds it on construction (kept by a hash of the Verilog), then runs whole
    utterances, each run from reset, with the image of a program of its own.

    Args:
        cfg: the core's configuration.
        folder: where built models are kept; :func:`hdl.tools.cache_folder` by default.
    """

    def __init__(self, cfg: CoreConfig, folder: Path | None = None):
        self.cfg = cfg
        with tempfile.TemporaryDirectory() as scratch:
            files = convert(accelerator, accelerator_arguments(cfg), scratch)
            self.ports = {p.name: p for p in read_ports(files, accelerator.__name__)}
            self.program = build(files, accelerator.__name__, "streams.cpp", {}, folder)

    def run(
        self,
        program: Program,
        utterances: Sequence[Integers],
        *,
        idle: float = 0.0,
        stall: float = 0.0,
        seed: int = 0,
        patience: int = 100_000,
    ) -> Run:
        """Load a program and stream utterances through it.

        Args:
            program: for this core. With S streams, each S utterances in a row must be of one length
                and are interleaved frame by frame.
            utterances: each (time, input_size), integers in the model's input format.
            idle: chance that no input is offered in a cycle.
            stall: chance that no output is taken in a cycle.
            seed: of those chances.
            patience: cycles without a transfer after which the accelerator is taken to hang.

        Raises:
            SimulationError: the accelerator hangs, breaks the stream contract, refuses the image or
                marks a wrong block as a frame's last.
        """
        words, S = image(program), program.streams
        first, last, blocks = blocks_in(program, utterances)
        records = {"s_axis_tuser": first, "s_axis_tlast": last, "s_axis_tdata": blocks}
        per_frame = program.input_blocks
        frames = len(blocks) // per_frame
        expected = frames * program.output_blocks
        chances = round(256 * idle), round(256 * stall), seed
        numbers = len(words), len(blocks), expected, *chances, patience
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch) / "in", Path(scratch) / "out"
            columns = [self.ports[n].pack(list(v), len(blocks)) for n, v in records.items()]
            with source.open("wb") as file:
                file.write(words.tobytes())
                file.write(np.hstack(columns).tobytes())
            status = subprocess.run([self.program, *map(str, numbers), source, target]).returncode
            if status:
                reasons = {
                    2: f"no transfer in {patience} cycles",
                    3: "m_axis changed before its transfer",
                    4: "the image was refused",
                }
                raise SimulationError(
                    f"accelerator: {reasons.get(status, f'exit status {status}')}"
                )
            answers = np.fromfile(target, "<u4")
        accepted, given = np.split(answers, [len(blocks)])
        given = given.reshape(expected, -1)  # cycle, last, data
        last = np.arange(1, expected + 1) % program.output_blocks == 0
        if not np.array_equal(given[:, 1], last):
            raise SimulationError("accelerator: TLAST is not in exactly each frame's last block")
        data = self.ports["m_axis_tdata"].unpack(given[:, 2:])
        results = program.unpack_frames(data, byte_bits(self.cfg.row_length))
        outputs = []
        for u in utterances[::S]:
            size = S * len(u)
            outputs += list(results[:size].reshape(-1, S, results.shape[1]).swapaxes(0, 1))
            results = results[size:]
        return Run(
            outputs,
            accepted[per_frame - 1 :: per_frame].astype(np.int64),
            given[last, 0].astype(np.int64),
        )
