"""Constraint sets: each says, by its projection, which weights hardware can hold."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from ernn.nn.base import Matrix
from ernn.nn.recurrent import BlockSize, Recurrent


class ConstraintSet(Protocol):
    """A set of weights."""

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest point of the set; same shape."""


@dataclass(frozen=True)
class BlockCirculant:
    """The matrices of circulant blocks, the ``gates`` stacked in one weight cut apart.

    Source: Li et al., E-RNN, HPCA 2019.
    """

    block_size: int
    gates: int = 1

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest block-circulant matrix; (gates * rows, columns), dense."""
        rows, columns = weight.shape
        if rows % self.gates:
            raise ValueError(f"a weight has {rows} rows; they must be a multiple of {self.gates}")
        matrix = Matrix(rows // self.gates, columns, self.block_size, self.gates)
        return matrix.to_dense(matrix.project(weight))


def recurrent_sets(model: nn.Module, block_size: BlockSize) -> dict[str, BlockCirculant]:
    """Return the set of every matrix of the dense LSTM and GRU layers of ``model``, by its name.

    Args:
        model: any module that holds layers of :mod:`ernn.nn`.
        block_size: as of :class:`ernn.nn.LSTM`.

    Raises:
        ValueError: the model holds no such layer, or one that is not dense.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, Recurrent)}
    if not layers:
        raise ValueError(f"{type(model).__name__} holds no LSTM or GRU of ernn.nn")
    for name, layer in layers.items():
        if any(matrix.block_size > 1 for matrix in layer.matrices.values()):
            raise ValueError(f"layer {name!r} is of block size {layer.block_size}; it must be 1")
    return {
        f"{prefix}.{name}".lstrip("."): BlockCirculant(matrix.block_size, matrix.gates)
        for prefix, layer in layers.items()
        for name, matrix in layer.layout(block_size).items()
        if isinstance(matrix, Matrix)
    }
