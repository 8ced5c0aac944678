"""Stand-ins for conversion, Verilator and Yosys, which take a minute; slow tests do without."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernn.fixed import Integers
from hdl.products import Layer, Products
from hdl.program import Program
from hdl.simulate import Run
from hdl.synth import Report, Resources
from recipes.experiment import hardware
from recipes.mnist import engines, mlps
from recipes.mnist import hardware as mnist


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


class SoftwarePE:
    """An integer layer in the place of its Verilated PE: 100 cycles a frame."""

    def __init__(self, layer: Layer, folder: Path) -> None:
        self.layer = layer

    def run(self, layer: Layer, frames: Integers) -> Products:
        """What the PE should answer."""
        return Products(layer.run(frames), np.full(len(frames), 100))

    def synthesize(self) -> Report:
        """In the place of what Yosys counts."""
        return Report("pe", Resources(dsp=1))


class NoReport:
    """In the place of what Yosys counts."""

    def to_json(self) -> dict[str, Any]:
        return {"total": {"dsp": 1, "lut": 2, "ff": 3, "bram36": 4.5}}


def write_no_accelerator(program: Program, utterances: Sequence[Integers], folder: Path) -> None:
    assert all(x.shape[1] == program.model.layers[0].input_size for x in utterances)
    (folder / "image.hex").write_text("")


@contextmanager
def without_tools() -> Iterator[None]:
    """Recipes take the stand-ins."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (hardware, mnist):
            patch.setattr(module, "Simulator", SoftwareSimulator)
            patch.setattr(module, "write_accelerator", write_no_accelerator)
            patch.setattr(module, "synthesize_folder", lambda folder: NoReport())
        for module in (engines, mlps):
            patch.setattr(module, "Simulator", SoftwareSimulator)
        patch.setattr(engines, "LayerPE", SoftwarePE)
        report = Report("accelerator", Resources(dsp=2))
        patch.setattr(engines, "synthesize_accelerator", lambda cfg: report)
        yield
