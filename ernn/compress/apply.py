"""Any PyTorch model, its layers block-circulant by the patterns of their names, and back again."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ernn.compress.sets import BlockCirculant
from ernn.nn import GRU, LSTM, CirculantConv2d, CirculantLinear
from ernn.nn.base import CirculantModule
from ernn.nn.recurrent import BlockSize

CLASSES: dict[type[nn.Module], type[CirculantModule]] = {
    cls.dense_class: cls for cls in (CirculantLinear, CirculantConv2d, LSTM, GRU)
}
"""What each class of torch.nn becomes. Classes derived from them stay as they are."""

TORCHS = {"activation": "exact", "peephole": False, "cell_activation": "tanh", "reset_after": True}
"""Options that torch's classes do not have, with what these compute."""


@dataclass(frozen=True)
class LayerSize:
    """What a layer stores and computes.

    Attributes:
        name: in the model.
        kind: name of its class.
        shape: of its dense matrices, the gates stacked, without a name: torch's.
        block_size: as of the layer.
        parameters: numbers stored.
        multiplications: real ones of its matrices, FFTs with them: of the inputs, if they are
            known, else of one vector, output pixel or frame.
        bytes: of the numbers stored.
    """

    name: str
    kind: str
    shape: tuple[tuple[int, ...], ...]
    block_size: BlockSize
    parameters: int
    multiplications: int
    bytes: int


def apply(model: nn.Module, rules: Mapping[str, BlockSize]) -> nn.Module:
    """Return a copy of ``model`` whose layers are the nearest block-circulant ones.

        apply(model, {"features.0": 1, "features.*": 8, "classifier.*": 16})

    Args:
        model: holds layers of torch.nn (Linear, Conv2d, LSTM, GRU) or of :mod:`ernn.nn`. The
            layer's own module is replaced: what reads its weight has to know the new one.
        rules: block sizes by the pattern of a layer's name, in the manner of a shell; the first
            that fits counts. A layer that fits none, or one of block size 1, stays as it is.

    Raises:
        ValueError: a pattern fits no layer, or a layer cannot be compressed.
    """
    result = copy.deepcopy(model)
    for name, layer, block_size in _chosen(model, rules):
        try:
            circulant = _class_of(layer).from_dense(layer, block_size)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        result = _replaced(result, name, circulant)
    return result


def circulant_sets(model: nn.Module, rules: Mapping[str, BlockSize]) -> dict[str, BlockCirculant]:
    """Return the sets that :class:`ernn.compress.ADMM` draws a dense model into, by parameter.

    Args:
        model: as of :func:`apply`, of block size 1.
        rules: as of :func:`apply`, which takes the model over once it is there.

    Raises:
        ValueError: as of :func:`apply`, or a layer is block-circulant already.
    """
    sets = {}
    for name, layer, block_size in _chosen(model, rules):
        if getattr(layer, "block_size", 1) != 1:
            raise ValueError(f"layer {name!r} is of block size {layer.block_size}; it must be 1")
        cls = _class_of(layer)
        try:
            options = cls.options(layer)
            matrices = cls(**options, block_size=block_size, device="meta").matrices
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        for parameter, matrix in matrices.items():
            full_name = f"{name}.{parameter}".lstrip(".")
            sets[full_name] = BlockCirculant(matrix.block_size, matrix.gates)
    return sets


def to_dense(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` of the same function, in layers of torch.nn.

    A layer that torch does not have (peepholes, piece-wise linear units, the reset before the
    matrix) becomes the one of :mod:`ernn.nn` of block size 1.
    """
    result = copy.deepcopy(model)
    for name, layer in _layers(result).items():
        if isinstance(layer, CirculantModule):
            result = _replaced(result, name, _torchs(layer.to_dense()))
    return result


def sizes(model: nn.Module, *inputs: Tensor) -> list[LayerSize]:
    """Return the size of every layer that can be compressed, in the order of the model.

    With ``inputs`` a copy of the model runs on them, and the multiplications are those of the run.
    """
    layers = _layers(model)
    positions = _positions(model, inputs) if inputs else dict.fromkeys(layers, 1)
    rows = []
    for name, layer in layers.items():
        stored = list(layer.parameters())
        if isinstance(layer, CirculantModule):
            shapes = [matrix.dense_shape for matrix in layer.matrices.values()]
            products = layer.products
        else:
            shapes = [tuple(p.shape) for p in stored if p.dim() > 1]
            products = sum(map(math.prod, shapes))
        rows.append(
            LayerSize(
                name,
                type(layer).__name__,
                tuple(shapes),
                getattr(layer, "block_size", 1),
                sum(p.numel() for p in stored),
                positions[name] * products,
                sum(p.numel() * p.element_size() for p in stored),
            )
        )
    return rows


def summary(rows: Sequence[LayerSize]) -> str:
    """Return a Markdown table of :func:`sizes`, with a line of sums."""
    lines = [
        "| layer | | shape | k | parameters | multiplications | bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shape = ", ".join(" x ".join(map(str, size)) for size in row.shape)
        if isinstance(row.block_size, int):
            k = str(row.block_size)
        else:
            k = ", ".join(f"{value} {role}" for role, value in row.block_size.items())
        lines.append(
            f"| {row.name} | {row.kind} | {shape} | {k} | {row.parameters:,} | "
            f"{row.multiplications:,} | {row.bytes:,} |"
        )
    total = [
        sum(getattr(row, n) for row in rows) for n in ("parameters", "multiplications", "bytes")
    ]
    lines.append("| all | | | | " + " | ".join(f"{value:,}" for value in total) + " |")
    return "\n".join([*lines, ""])


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of torch.nn that can be compressed, and those of ernn.nn, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) in CLASSES or isinstance(module, CirculantModule)
    }


def _chosen(
    model: nn.Module, rules: Mapping[str, BlockSize]
) -> list[tuple[str, nn.Module, BlockSize]]:
    """Return the layers that the rules compress: name, layer, block size.

    Raises:
        ValueError: a pattern fits no layer.
    """
    layers = _layers(model)
    for pattern in rules:
        if not any(fnmatchcase(name, pattern) for name in layers):
            names = ", ".join(layers) or "none"
            raise ValueError(f"pattern {pattern!r} fits no layer; there are: {names}")
    chosen = []
    for name, layer in layers.items():
        fitting = (k for pattern, k in rules.items() if fnmatchcase(name, pattern))
        if (block_size := next(fitting, 1)) != 1:
            chosen.append((name, layer, block_size))
    return chosen


def _class_of(layer: nn.Module) -> type[CirculantModule]:
    """Return the class of ernn.nn that ``layer`` is of, or becomes."""
    return type(layer) if isinstance(layer, CirculantModule) else CLASSES[type(layer)]


def _replaced(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """Put ``layer`` where ``name`` is; return the model, which is the layer if it has no name."""
    if not name:
        return layer
    model.set_submodule(name, layer)
    return model


def _torchs(layer: CirculantModule) -> nn.Module:
    """Return the layer of torch.nn that computes what this one of block size 1 does, or this."""
    options = layer.options(layer)
    own = {name: options.pop(name) for name in TORCHS if name in options}
    if any(value != TORCHS[name] for name, value in own.items()):
        return layer
    like = next(layer.parameters())
    result = layer.dense_class(**options, device=like.device, dtype=like.dtype)
    result.load_state_dict(layer.state_dict())
    return result.train(layer.training)


@torch.no_grad()
def _positions(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, int]:
    """Run a copy of the model; return how many vectors, pixels or frames each layer computes."""
    model = copy.deepcopy(model).eval()
    found = dict.fromkeys(_layers(model), 0)

    def count(name: str, layer: nn.Module, output: Tensor | tuple[Tensor, ...]) -> None:
        y = output if isinstance(output, Tensor) else output[0]
        channels = -3 if isinstance(layer, nn.Conv2d | CirculantConv2d) else -1
        found[name] += y.numel() // y.shape[channels]

    for name, layer in _layers(model).items():
        layer.register_forward_hook(lambda m, _, y, name=name: count(name, m, y))
    model(*inputs)
    return found
