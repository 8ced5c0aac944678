"""Constraint sets: each says, by its projection, which weights hardware can hold."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from ernn.nn.base import Matrix
from ernn.nn.conv import Kernel


class ConstraintSet(Protocol):
    """A set of weights."""

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest point of the set; same shape."""


@dataclass(frozen=True)
class BlockCirculant:
    """The matrices of circulant blocks, the ``gates`` stacked in one weight cut apart.

    Of a convolution's weight (out, in, height, width) every pixel has such a matrix.
    Sources: Ding et al., CirCNN, MICRO 2017; Li et al., E-RNN, HPCA 2019.
    """

    block_size: int
    gates: int = 1

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest block-circulant weight, dense: (gates * rows, columns, ...)."""
        rows, columns, *window = weight.shape
        if rows % self.gates:
            raise ValueError(f"a weight has {rows} rows; they must be a multiple of {self.gates}")
        matrix = (
            Kernel(rows, columns, self.block_size, window=(window[0], window[1]))
            if window
            else Matrix(rows // self.gates, columns, self.block_size, self.gates)
        )
        return matrix.to_dense(matrix.project(weight))


@dataclass(frozen=True)
class Sparse:
    """At most ``count`` of a weight's groups are not zero: the others are pruned.

    ``together`` are the dimensions along which entries are pruned as one. By default every entry
    is a group; of a matrix (out, in) ``(1,)`` makes rows of them and ``(0,)`` columns, of a
    convolution's weight ``(1, 2, 3)`` filters and ``(2, 3)`` kernels.
    Source: Zhang et al., A Systematic DNN Weight Pruning Framework using ADMM, ECCV 2018.
    """

    count: int
    together: tuple[int, ...] = ()

    def project(self, weight: Tensor) -> Tensor:
        """Keep the groups of the largest norms."""
        energy = weight.square()
        if self.together:
            energy = energy.sum(self.together, keepdim=True)
        if not 0 <= self.count <= energy.numel():
            raise ValueError(f"count is {self.count}; it must be from 0 to {energy.numel()}")
        kept = torch.zeros(energy.numel(), dtype=torch.bool, device=weight.device)
        kept[energy.flatten().topk(self.count).indices] = True
        return weight.where(kept.view(energy.shape), 0)


@dataclass(frozen=True)
class Patterns:
    """Every kernel (height, width) of a convolution has one of a few patterns of zeros.

    ``masks`` are the patterns, rows of 0 and 1.
    Source: Niu et al., PatDNN, ASPLOS 2020.
    """

    masks: tuple[tuple[tuple[int, ...], ...], ...]

    def project(self, weight: Tensor) -> Tensor:
        """Give every kernel the pattern that keeps most of its energy."""
        masks = torch.tensor(self.masks, dtype=weight.dtype, device=weight.device)
        if masks.shape[1:] != weight.shape[2:]:
            shapes = f"{tuple(masks.shape[1:])}, kernels {tuple(weight.shape[2:])}"
            raise ValueError(f"the patterns are {shapes}; they must be equal")
        energy = torch.einsum("oihw,nhw->oin", weight.square(), masks)
        return weight * masks[energy.argmax(-1)]


@dataclass(frozen=True, eq=False)
class Support:
    """Zero wherever ``mask`` is 0: what was pruned stays so while the rest is trained again."""

    mask: Tensor

    def project(self, weight: Tensor) -> Tensor:
        """Set what is outside the support to 0."""
        if weight.shape != self.mask.shape:
            shapes = f"{tuple(self.mask.shape)}, the weight {tuple(weight.shape)}"
            raise ValueError(f"the mask is {shapes}; they must be equal")
        return weight.where(self.mask != 0, 0)


@dataclass(frozen=True)
class Levels:
    """Every entry is plus or minus one of ``levels``, times a scale that the whole weight shares.

    ``levels`` ascend from 0 or above. Source: Ren et al., ADMM-NN, ASPLOS 2019.
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        ascends = all(low < high for low, high in pairwise(self.levels))
        if not ascends or not self.levels or self.levels[0] < 0 or self.levels[-1] == 0:
            raise ValueError(f"levels are {self.levels}; they must ascend, from 0 or above")

    @classmethod
    def equidistant(cls, bits: int) -> "Levels":
        """Return the 2**bits levels +-1, +-2, ...: those of ADMM-NN, 0 is none of them."""
        return cls(tuple(float(n) for n in range(1, 2 ** (bits - 1) + 1)))

    @classmethod
    def powers_of_two(cls, bits: int) -> "Levels":
        """Return the 2**bits - 1 levels 0, +-1, +-2, +-4, ...: a product with them is a shift."""
        return cls((0.0, *(2.0**n for n in range(2 ** (bits - 1) - 1))))

    def scale(self, weight: Tensor) -> float:
        """Return the scale of the least squared error; the best of all, not of a search.

        As the scale falls from infinity, an entry of magnitude a steps from one level to the next
        where a / scale passes the middle m between them: at scale a / m. Between two such places
        nothing steps, and with l the levels that entries are at, the error is least at
        (sum a l) / (sum l l), where it is sum a a - (sum a l)^2 / (sum l l). So all places, sorted,
        and two running sums give every candidate.
        """
        a = weight.detach().abs().flatten().double()
        levels = torch.tensor(self.levels, dtype=torch.float64, device=a.device)
        middles = (levels[1:] + levels[:-1]) / 2
        order = (a / middles[:, None]).flatten().argsort(descending=True)
        steps_al = (a * levels.diff()[:, None]).flatten()[order]
        steps_ll = levels.square().diff().repeat_interleave(len(a))[order]
        al = torch.cat([(a * levels[0]).sum()[None], steps_al]).cumsum(0)
        ll = torch.cat([levels[:1].square() * len(a), steps_ll]).cumsum(0)
        best = (al.square() / ll).nan_to_num(0.0).argmax()
        return float(al[best] / ll[best].clamp(min=torch.finfo(ll.dtype).tiny))

    def project(self, weight: Tensor) -> Tensor:
        """Round every entry to the nearest level times the best scale."""
        scale = self.scale(weight)
        return (self.nearest(weight.double() / scale) * scale if scale else weight * 0).to(
            weight.dtype
        )

    def nearest(self, values: Tensor) -> Tensor:
        """Round every entry to plus or minus the nearest level, at scale 1."""
        levels = torch.tensor(self.levels, dtype=values.dtype, device=values.device)
        nearest = levels[torch.bucketize(values.abs(), (levels[1:] + levels[:-1]) / 2)]
        return torch.where(values < 0, -nearest, nearest)


@dataclass(frozen=True)
class SparseLevels:
    """Pruned, and what is left is on levels; with 0 among the levels it may be pruned further.

    Source: Ren et al., ADMM-NN, ASPLOS 2019.
    """

    sparse: Sparse | Patterns | Support
    levels: Levels

    def project(self, weight: Tensor) -> Tensor:
        """Prune, then round the survivors.

        It is the nearest point where entries are pruned one by one, for at any scale the larger of
        two gains more from being kept; and on a given support.
        """
        kept = self.sparse.project(weight)
        survivors = kept != 0
        return kept.masked_scatter(survivors, self.levels.project(kept[survivors]))
