"""What is explored: a recogniser, and the core that would run it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from ernn.asr import ModelConfig
from ernn.quantize import WordLengths


@dataclass(frozen=True)
class Candidate:
    """A recogniser that could be trained and built.

    Attributes:
        model: its shape.
        words: its word lengths.
    """

    model: ModelConfig
    words: WordLengths = field(default_factory=WordLengths)

    def shaped(self, **shape: Any) -> "Candidate":
        """The same recogniser with some of its shape changed; a GRU has what a GRU can have."""
        if shape.get("cell", self.model.cell) == "gru":
            shape |= {"peephole": False, "proj_size": 0}
        return replace(self, model=replace(self.model, **shape))

    @property
    def shape(self) -> str:
        """Its cells in words, as in "LSTM 2 x 256"."""
        model = self.model
        both = ", both directions" if model.bidirectional else ""
        return f"{model.cell.upper()} {model.num_layers} x {model.hidden_size}{both}"

    @property
    def name(self) -> str:
        """Cells and block size in words, as in "LSTM 2 x 256, k = 8"."""
        k = self.model.block_size
        sizes = (
            ", ".join(f"k = {size} ({role})" for role, size in k.items())
            if isinstance(k, Mapping)
            else f"k = {k}"
        )
        return f"{self.shape}, {sizes}"

    @property
    def key(self) -> str:
        """A name for files: no two candidates share it."""
        content = json.dumps(asdict(self), sort_keys=True, default=dict)
        k = self.model.block_size
        size = "mixed" if isinstance(k, Mapping) else k
        return f"{self.model.cell}-k{size}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Core:
    """A core that runs a candidate on a device.

    Attributes:
        size: in words, as in "32 PEs (W = 1, F = 1)".
        n_pe: its PEs.
        cycles: of a frame: from its last input word to its last output word, of a lone one; for
            both directions from frame to frame, summed over the programs that a frame needs.
        clock: MHz that it is built for.
        memory_bytes: in all of its memories: weights, states, tables of parameters, spectra, rows.
        dsp, lut, bram36: what it takes of the device; distributed memories are among the LUTs.
        share: the part it takes, of what may be filled, of the resource that it takes most of.
        scarcest: that resource.
        pe: resources of one PE, where the core was synthesized and not estimated.
        simulated: ``cycles`` are the simulator's and not the schedule's.
    """

    size: str
    n_pe: int
    cycles: int
    clock: float
    memory_bytes: int
    dsp: int
    lut: int
    bram36: float
    share: float
    scarcest: str
    pe: Mapping[str, float] | None = None
    simulated: bool = False

    @property
    def latency_us(self) -> float:
        """Microseconds of a frame."""
        return self.cycles / self.clock

    @property
    def cost(self) -> float:
        """Cycles times the share of the device: what a frame takes of it."""
        return self.cycles * self.share


class CannotBuildError(ValueError):
    """There is no core for a candidate: one line that says why.

    Attributes:
        nearest: the core that comes nearest to fitting, if any core runs the candidate.
    """

    def __init__(self, line: str, nearest: Core | None = None):
        super().__init__(line)
        self.nearest = nearest


class Hardware(Protocol):
    """What the hardware says of a candidate."""

    @property
    def device(self) -> str:
        """Its name."""

    @property
    def holds(self) -> Mapping[str, float]:
        """What the device has: "dsp", "lut" and "bram36"."""

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Block sizes that there are cores for, ascending."""

    def __call__(self, candidate: Candidate, n_pe: int | None = None) -> Core:
        """The core of the least cost that runs a candidate, of ``n_pe`` PEs if they are given.

        Raises:
            CannotBuildError: there is none.
        """
