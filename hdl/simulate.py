"""A whole core under Verilator, at speed: utterances in, hidden states and their cycles out."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernn.fixed import Integers
from ernn.quantize.integer import IntegerGRU, IntegerLSTM
from hdl.core import core, core_arguments
from hdl.module import convert
from hdl.program import configure, load_image, pack_frames, unpack_frames
from hdl.tools import SimulationError, build, read_ports


@dataclass(frozen=True)
class Run:
    """What a core answered.

    Attributes:
        outputs: for each utterance (time, hidden_size).
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
    """The Verilated core of one recurrent layer.

    Converts and builds it on construction (kept by a hash of the Verilog), then runs whole
    utterances, each run from reset.

    Args:
        layer: the integer model of the layer.
        n_pe: R, the core's PEs.
        folder: where built models are kept; :func:`cache_folder` by default.

    Raises:
        ValueError: the core does not run such a layer.
    """

    def __init__(self, layer: IntegerLSTM | IntegerGRU, n_pe: int, folder: Path | None = None):
        self.layer = layer
        self.config = configure(layer, n_pe)
        with tempfile.TemporaryDirectory() as scratch:
            files = convert(core, core_arguments(self.config), scratch)
            self.ports = {p.name: p for p in read_ports(files, core.__name__)}
            self.program = build(files, core.__name__, "streams.cpp", {}, folder)

    def run(
        self,
        utterances: Sequence[Integers],
        *,
        idle: float = 0.0,
        stall: float = 0.0,
        seed: int = 0,
        patience: int = 100_000,
    ) -> Run:
        """Load the layer's image and stream utterances through the core.

        Args:
            utterances: each (time, input_size), integers in the layer's input format.
            idle: chance that no input is offered in a cycle.
            stall: chance that no output is taken in a cycle.
            seed: of those chances.
            patience: cycles without a transfer after which the core is taken to hang.

        Raises:
            SimulationError: the core hangs, breaks the stream contract, or marks a wrong block as a
                frame's last.
        """
        loads = load_image(self.layer, self.config)
        blocks = [
            (n < self.config.input_blocks, block)
            for u in utterances
            for n, block in enumerate(pack_frames(u, self.config))
        ]
        blocks_out = sum(map(len, utterances)) * self.config.hidden_blocks
        chances = round(256 * idle), round(256 * stall), seed
        numbers = len(loads), len(blocks), blocks_out, *chances, patience
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch) / "in", Path(scratch) / "out"
            with source.open("wb") as file:
                file.write(self._records(("load_address", "load_data"), loads))
                file.write(self._records(("i_first", "i_data"), blocks))
            status = subprocess.run([self.program, *map(str, numbers), source, target]).returncode
            if status:
                reasons = {
                    2: f"no transfer in {patience} cycles",
                    3: "o changed before its transfer",
                }
                raise SimulationError(f"core: {reasons.get(status, f'exit status {status}')}")
            answers = np.fromfile(target, "<u4")
        accepted, given = np.split(answers, [len(blocks)])
        given = given.reshape(blocks_out, -1)  # cycle, last, data
        last = np.arange(1, blocks_out + 1) % self.config.hidden_blocks == 0
        if not np.array_equal(given[:, 1], last):
            raise SimulationError("core: o_last is not high in exactly each frame's last block")
        h = unpack_frames(self.ports["o_data"].unpack(given[:, 2:]), self.config)
        per_frame = self.config.input_blocks
        return Run(
            np.split(h, np.cumsum([len(u) for u in utterances])[:-1]),
            accepted[per_frame - 1 :: per_frame].astype(np.int64),
            given[last, 0].astype(np.int64),
        )

    def _records(self, names: Sequence[str], values: Sequence[tuple[int, ...]]) -> bytes:
        """Values of some ports, a record of them after the other, as the harness reads them."""
        columns = zip(names, zip(*values, strict=True), strict=True)
        return np.hstack([self.ports[n].pack(c, len(c)) for n, c in columns]).tobytes()
