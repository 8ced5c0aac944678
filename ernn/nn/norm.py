"""Batch normalisation that a block-circulant layer takes into its weights for inference.

A gain for each channel scales the rows of a matrix, and a circulant block whose rows have different
gains is none any more. Here the k channels of a block share variance and gain, while each keeps
mean and offset of its own, which go into the bias: so inference costs nothing.

Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (there every channel by itself: k = 1).
"""

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ernn.circulant import check_block_size, num_blocks
from ernn.nn.conv import CirculantConv2d
from ernn.nn.linear import CirculantLinear


class BlockBatchNorm(nn.Module):
    """Batch normalisation of blocks of channels: (N, channels, ...) -> the same.

    With ``block_size`` 1 it computes what torch.nn's BatchNorm1d and 2d do, and has their state.

    Args:
        num_features: channels.
        block_size: k of the layer before it; the last block may be ragged.
        eps: added to the variance.
        momentum: share of the batch in the running mean and variance.
    """

    weight: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, num_features: int, block_size: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.num_features, self.block_size = num_features, check_block_size(block_size)
        self.eps, self.momentum = eps, momentum
        blocks = num_blocks(num_features, block_size)
        self.weight = nn.Parameter(torch.ones(blocks))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(blocks))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the batch, else by the running mean and variance."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            others = [d for d in range(x.dim()) if d != 1]
            mean = x.mean(others)
            squares = (x - _along_channels(mean, x)).square().mean(others)
            variance = torch.stack([block.mean() for block in squares.split(self.block_size)])
            self._track(mean, variance, x.numel() // self.num_features)
        gain, offset = self._affine(mean, variance)
        return x * _along_channels(gain, x) + _along_channels(offset, x)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return what inference multiplies each channel by, and what it adds: (channels,) each."""
        return self._affine(self.running_mean, self.running_var)

    def extra_repr(self) -> str:
        """Show sizes."""
        return f"{self.num_features}, block_size={self.block_size}"

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running mean and variance, the latter without bias, as torch does."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        self.num_batches_tracked += 1

    def _affine(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and offset of the channels; mean (channels,), variance (blocks,)."""
        gains = self.weight * (variance + self.eps).rsqrt()
        gain = gains.repeat_interleave(self.block_size)[: self.num_features]
        return gain, self.bias - mean * gain


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    """Shape (channels,) so that it meets dimension 1 of ``x``."""
    return values.view(-1, *[1] * (x.dim() - 2))


Layer = TypeVar("Layer", bound=CirculantLinear | CirculantConv2d)


@torch.no_grad()
def fold(layer: Layer, norm: BlockBatchNorm) -> Layer:
    """Return a layer that computes what ``layer`` and then ``norm`` do at inference.

    Raises:
        ValueError: the two are of different block sizes or channels.
    """
    gain, offset = norm.affine()
    matrix = layer.matrices["weight"]
    ours, theirs = (matrix.block_size, matrix.rows), (norm.block_size, norm.num_features)
    if ours != theirs:
        raise ValueError(f"block size and channels are {ours} of the layer, {theirs} of the norm")
    options = layer.options(layer) | {"bias": True}
    like = layer.weight
    folded = type(layer)(
        **options, block_size=layer.block_size, device=like.device, dtype=like.dtype
    )
    k = matrix.block_size
    rows = 0 if k == 1 else layer.weight.dim() - 3  # the dimension of the block rows
    gains = gain[::k].view(-1, *[1] * (layer.weight.dim() - rows - 1))
    folded.weight.copy_(layer.weight * gains)
    bias = offset if layer.bias is None else layer.bias * gain + offset
    cast(Tensor, folded.bias).copy_(bias)
    return cast(Layer, folded.train(layer.training))
