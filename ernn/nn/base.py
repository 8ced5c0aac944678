"""What the block-circulant layers share: how weights are stored, initialised and projected."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ernn.circulant import check_block_size, num_blocks, project, to_dense, to_halves
from ernn.fixed import fft_products, spectral_products


@dataclass(frozen=True)
class Matrix:
    """How a stack of ``gates`` matrices (rows, columns) lies in one parameter.

    With ``block_size`` 1 the parameter is dense, (gates * rows, columns), as in torch. Else it
    holds first columns, (gates * p, q, k): every gate and every side is padded on its own, so that
    no block reaches from one gate into the next.
    """

    rows: int
    columns: int
    block_size: int
    gates: int = 1

    def __post_init__(self) -> None:
        check_block_size(self.block_size)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """Shape of the dense matrix."""
        return self.gates * self.rows, self.columns

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        if self.block_size == 1:
            return self.dense_shape
        p, q = (num_blocks(size, self.block_size) for size in (self.rows, self.columns))
        return self.gates * p, q, self.block_size

    @property
    def products(self) -> int:
        """Real multiplications of a product with a vector: of FFT, spectra and inverse FFT."""
        if self.block_size == 1:
            return math.prod(self.dense_shape)
        p, q, k = self.shape
        return p * q * spectral_products(k) + (p + q) * fft_products(k)

    def to_dense(self, parameter: Tensor) -> Tensor:
        """Return the dense matrix (gates * rows, columns) of ``parameter``."""
        if self.block_size == 1:
            return parameter
        p, q, k = self.shape
        padded = to_dense(parameter, (p * k, q * k)).unflatten(0, (self.gates, -1))
        return padded[:, : self.rows, : self.columns].flatten(0, 1)

    def project(self, weight: Tensor) -> Tensor:
        """Return the parameter nearest to the dense ``weight`` (gates * rows, columns)."""
        if weight.shape != self.dense_shape:
            raise ValueError(f"a weight is {tuple(weight.shape)}; it must be {self.dense_shape}")
        if self.block_size == 1:
            return weight
        return torch.cat([project(gate, self.block_size) for gate in weight.chunk(self.gates)])


class CirculantModule(nn.Module):
    """Base of the layers: owns their parameters, in torch's names, and every way to and from dense.

    A subclass calls :meth:`register` once and lists in :meth:`options` what it is built from.
    ``matrices`` says of every weight matrix, by the name of its parameter, how it is stored.
    """

    dense_class: ClassVar[type[nn.Module]]
    """The class of torch.nn whose dense form this is."""

    matrices: dict[str, Matrix]

    def register(
        self,
        shapes: Mapping[str, Matrix | tuple[int, ...]],
        fan_in: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Create the parameters ``shapes``, uniform in +-1 / sqrt(``fan_in``) as torch's are.

        A first column repeats in its block, so that the dense matrix has torch's variance too.
        """
        self.names = tuple(shapes)
        self.matrices = {name: m for name, m in shapes.items() if isinstance(m, Matrix)}
        self._bound = fan_in**-0.5
        for name, shape in shapes.items():
            size = shape.shape if isinstance(shape, Matrix) else shape
            parameter = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
            self.register_parameter(name, parameter)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for name, parameter in self.named_parameters():
            parameter.uniform_(-self._bound, self._bound)
            if matrix := self.matrices.get(name):  # what a ragged edge leaves unused becomes 0
                parameter.copy_(matrix.project(matrix.to_dense(parameter)))

    @classmethod
    @abstractmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size."""

    def dense_parameters(self) -> dict[str, Tensor]:
        """Return all parameters with the matrices expanded to (out, in); differentiable."""
        parameters = {name: getattr(self, name) for name in self.names}
        dense = {name: m.to_dense(parameters[name]) for name, m in self.matrices.items()}
        return parameters | dense

    def halved_parameters(self) -> dict[str, Tensor]:
        """Return all parameters with the matrices as their two halves; differentiable.

        Of a matrix that is (2, gates * rows / 2, columns / 2), see
        :func:`ernn.circulant.to_halves`; rows are of whole blocks, columns are filled up.
        """
        parameters = {name: getattr(self, name) for name in self.names}
        for name, matrix in self.matrices.items():
            gates = parameters[name].unflatten(0, (matrix.gates, -1))
            parameters[name] = to_halves(gates).flatten(1, 2)
        return parameters

    @classmethod
    def from_dense(cls, module: nn.Module, block_size: int | Mapping[str, int]) -> Self:
        """Project ``module``, one of this class or of torch's, on blocks of ``block_size``.

        Raises:
            TypeError: ``module`` is of another class.
        """
        if isinstance(module, cls):
            dense = module.dense_parameters()
        elif isinstance(module, cls.dense_class):
            dense = dict(module.named_parameters())
        else:
            allowed = " or ".join(f"{c.__module__}.{c.__name__}" for c in (cls, cls.dense_class))
            raise TypeError(f"cannot project a {type(module).__name__}; it must be {allowed}")
        like = next(module.parameters())
        result = cls(
            **cls.options(module), block_size=block_size, device=like.device, dtype=like.dtype
        )
        with torch.no_grad():
            for name, parameter in result.named_parameters():
                matrix = result.matrices.get(name)
                parameter.copy_(matrix.project(dense[name]) if matrix else dense[name])
        return result.train(module.training)

    def to_dense(self) -> Self:
        """Return the layer of block size 1 with the same function."""
        return self.from_dense(self, 1)

    @property
    def compression(self) -> float:
        """Weights of the dense matrices per weight stored; biases left out, as the papers do."""
        dense = sum(math.prod(m.dense_shape) for m in self.matrices.values())
        stored = sum(math.prod(m.shape) for m in self.matrices.values())
        return dense / stored

    @property
    def products(self) -> int:
        """Real multiplications of a vector, or of a frame, with all matrices."""
        return sum(matrix.products for matrix in self.matrices.values())
