"""The PE of a layer of other compressed weights under Verilator, at speed: frames in, results out.

It is one of :mod:`hdl.sparse` or :mod:`hdl.shift_add`, with memories just as large as the layer.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernn.fixed import Integers
from ernn.quantize.shift_add import IntegerShiftAdd
from ernn.quantize.sparse import IntegerSparse
from hdl.module import convert
from hdl.shift_add import ShiftAddConfig, shift_add_arguments, shift_add_pe, shift_add_words
from hdl.sparse import SparseConfig, sparse_arguments, sparse_pe, sparse_words
from hdl.synth import Report, synthesize
from hdl.tools import build, read_ports, run_tool

PATIENCE = 1_000_000
"""Cycles without a result after which a PE is taken to hang."""

Layer = IntegerSparse | IntegerShiftAdd


@dataclass(frozen=True)
class Held:
    """A layer as its PE takes it.

    Attributes:
        pe: the block.
        arguments: signals for its ports, and its configuration.
        words: what its memories hold, by their ports; frames aside.
        stay: values of the ports that stay.
        columns, rows: words of a frame, and results.
    """

    pe: Callable[..., Any]
    arguments: dict[str, Any]
    words: Mapping[str, list[int]]
    stay: dict[str, int]
    columns: int
    rows: int

    @classmethod
    def of(cls, layer: Layer) -> "Held":
        """Return what holds a layer, and no more."""
        if isinstance(layer, IntegerSparse):
            cfg = SparseConfig.of(layer)
            pe, arguments, words = sparse_pe, sparse_arguments(cfg), sparse_words(layer)
            stay = {"scale": layer.scale}
        else:
            cfg = ShiftAddConfig.of(layer)
            pe, arguments, words = shift_add_pe, shift_add_arguments(cfg), shift_add_words(layer)
            stay = {}
        stay["last_entry"] = len(words["w"]) - 1
        return cls(pe, arguments, words, stay, cfg.columns, cfg.rows)

    @property
    def bits(self) -> int:
        """Of the weights in its memories: of the words that are used, biases aside."""
        return sum(
            len(content) * len(self.arguments[name].data)
            for name, content in self.words.items()
            if name != "bias"
        )


@dataclass(frozen=True)
class Products:
    """What a PE answered.

    Attributes:
        outputs: (frames, rows).
        cycles: (frames,) the cycle of each frame's last result, counted from that of start.
    """

    outputs: Integers
    cycles: Integers


class LayerPE:
    """The Verilog of a layer's PE: to simulate, and to synthesize.

        pe = LayerPE(layer, Path("rtl"))
        assert (pe.run(layer, x).outputs == layer.run(x)).all()

    Args:
        layer: what it is just large enough for.
        folder: where the Verilog is written.
    """

    def __init__(self, layer: Layer, folder: Path):
        held = Held.of(layer)
        self.top = held.pe.__name__
        self.files = convert(held.pe, held.arguments, folder)

    def synthesize(self) -> Report:
        """Return its resources, those of the memories among them."""
        return synthesize(self.files, self.top)

    def run(self, layer: Layer, frames: Integers, folder: Path | None = None) -> Products:
        """Load a layer and run frames (frames, in) one after another; their writing takes no part.

        Args:
            layer: that the PE was made for, or one of the same configuration.
            frames: integers in the layer's input format.
            folder: where built models are kept; :func:`ernn.files.cache_folder` by default.

        Raises:
            SimulationError: the PE hangs.
        """
        held = Held.of(layer)
        ports = {port.name: port for port in read_ports(self.files, self.top)}
        defines = {
            "STAY": "".join(f"put(top->{name}, in); " for name in held.stay),
            "FILL": "".join(f"WRITE({name}, *in++) " for name in held.words),
        }
        program = build(self.files, self.top, "products.cpp", defines, folder)
        parts = [ports[name].pack(value, 1) for name, value in held.stay.items()]
        for name, content in held.words.items():
            words = ports[f"{name}_data"].pack(content, len(content))
            parts += [np.array([len(content)], "<u4"), words]
        x = np.pad(frames, ((0, 0), (0, held.columns - frames.shape[1])))
        parts.append(ports["x_data"].pack(x.ravel().tolist(), x.size))
        stimulus = np.concatenate([part.ravel() for part in parts])
        result = replace(ports["o_data"], signed=True)
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch) / "in", Path(scratch) / "out"
            stimulus.tofile(source)
            sizes = stimulus.size, len(x), held.columns, held.rows, PATIENCE
            run_tool([program, *map(str, sizes), source, target])
            answers = np.fromfile(target, "<u4").reshape(len(x), -1)
        given = np.array(result.unpack(answers[:, 1:].ravel()), np.int64)
        return Products(given.reshape(len(x), held.rows), answers[:, 0].astype(np.int64))
