"""A fully connected layer with a block-circulant matrix."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ernn.circulant import matmul
from ernn.nn.base import CirculantModule, Matrix


class CirculantLinear(CirculantModule):
    """y = C x + b through the spectra: (..., in_features) -> (..., out_features).

    ``weight`` is (p, q, k); with ``block_size`` 1 it is torch's (out, in), and torch.nn.Linear's
    own state dict loads. Source: Ding et al., CirCNN, MICRO 2017.
    """

    dense_class = nn.Linear
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        block_size: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.block_size = block_size
        shapes: dict[str, Matrix | tuple[int, ...]] = {
            "weight": Matrix(out_features, in_features, block_size)
        }
        if bias:
            shapes["bias"] = (out_features,)
        else:
            self.bias = None
        self.register(shapes, in_features, device, dtype)

    @classmethod
    def options(cls, module: Any) -> dict[str, Any]:
        """Return the keyword arguments that build ``module``, all but its block size."""
        return {
            "in_features": module.in_features,
            "out_features": module.out_features,
            "bias": module.bias is not None,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return C x + b."""
        if self.block_size == 1:
            return functional.linear(x, self.weight, self.bias)
        y = matmul(x, self.weight, self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Show sizes and block size."""
        return f"{self.in_features}, {self.out_features}, block_size={self.block_size}"
