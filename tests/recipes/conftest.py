from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernn.fixed import Integers
from hdl.program import Program
from hdl.simulate import Run
from recipes.experiment import hardware


class SoftwareSimulator:
    """Integer models in the place of the Verilated accelerator: 100 cycles a frame."""

    def __init__(self, cfg: Any, folder: Path) -> None:
        self.cfg = cfg

    def run(self, program: Program, utterances: Sequence[Integers]) -> Run:
        """What the accelerator should answer."""
        assert program.cfg == self.cfg
        outputs = [program.model.run(x[:, None])[:, 0] for x in utterances]
        frames = np.arange(sum(map(len, utterances)))
        return Run(outputs, frames, 100 * frames)


class NoReport:
    """In the place of what Yosys counts."""

    def to_json(self) -> dict[str, Any]:
        return {"total": {"dsp": 1, "lut": 2, "ff": 3, "bram36": 4.5}}


def write_no_accelerator(program: Program, utterances: Sequence[Integers], folder: Path) -> None:
    assert all(x.shape[1] == program.model.layers[0].input_size for x in utterances)
    (folder / "image.hex").write_text("")


@pytest.fixture(scope="session")
def no_tools() -> Iterator[None]:
    """Without conversion, Verilator and Yosys, which take a minute; the slow tests have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "Simulator", SoftwareSimulator)
        patch.setattr(hardware, "write_accelerator", write_no_accelerator)
        patch.setattr(hardware, "synthesize_folder", lambda folder: NoReport())
        yield
