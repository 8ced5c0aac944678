"""Weights as a small basis times coefficients that are zero or powers of two.

A weight is cut into pieces of ``size`` columns, W = C B: C has as many rows as the piece and
entries 0, +-1, +-2, +-4, ..., so that a row of W is rebuilt by shifts and additions; B is
``size`` x ``size``, of short words. What is stored is C, 4 bits an entry, and a B for each piece.

Source: Chen et al., SmartDeal, arXiv 2101.01163, and Zhao et al., SmartExchange, ISCA 2020.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ernn.compress.sets import Levels

TALLEST = 64
"""Rows of a piece, in multiples of ``size``."""

SCALES = tuple(2.0 ** (-n / 4) for n in range(4))
"""Of the bases that the search starts from; a power of two only moves the coefficients."""


@dataclass(frozen=True)
class Factors:
    """A weight in pieces.

    Attributes:
        coefficients: (pieces, rows, size), 0 or plus or minus a power of two.
        bases: (pieces, size, size), multiples of one power of two.
    """

    coefficients: Tensor
    bases: Tensor


@dataclass(frozen=True)
class Basis:
    """The weights whose pieces are of this form; rows that are zero stay zero.

    A row of the weight is an output: the rest of a convolution's weight (in, height, width) has
    ``size`` columns if that is its width, else, as a matrix's row, it is filled up with zeros. A
    piece has at most 64 ``size`` rows, all of one output.

    Attributes:
        size: columns of a piece, and of its basis.
        bits: of a coefficient; its levels are those of :meth:`Levels.powers_of_two`.
        basis_bits: of an entry of the bases, which share one scale.
        rounds: of the search, at most.
        kept: share of the pieces' rows that are not zero, at most; the largest ones are kept.
    """

    size: int = 3
    bits: int = 4
    basis_bits: int = 8
    rounds: int = 30
    kept: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("bits", 2), ("basis_bits", 2), ("rounds", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        if not 0 < self.kept <= 1:
            raise ValueError(f"kept is {self.kept}; it must be above 0, at most 1")

    def project(self, weight: Tensor) -> Tensor:
        """Return a point of the set that is near; to be sure of the nearest takes every one."""
        return self.compose(self.decompose(weight), weight.shape).to(weight.dtype)

    def decompose(self, weight: Tensor) -> Factors:
        """Search from several bases on, and keep the best for each piece.

        Each search takes turns: bases by least squares, then the coefficients one column after
        another, each at the level nearest to its best value. No turn makes the error larger.
        """
        pieces = self._without_small_rows(self.pieces(weight.detach().double()))
        found = [self._search(pieces, scale) for scale in SCALES]
        errors = torch.stack([_error(pieces, *factors) for factors in found])
        best = errors.argmin(0), torch.arange(len(pieces), device=pieces.device)
        coefficients, bases = (torch.stack(parts)[best] for parts in zip(*found, strict=True))
        bases = self._short(bases)
        return Factors(improved(coefficients, bases, pieces, self.levels), bases)

    @property
    def levels(self) -> Levels:
        """Of the coefficients."""
        return Levels.powers_of_two(self.bits)

    def _search(self, pieces: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return coefficients and bases, from a diagonal basis of this scale on."""
        tiny = torch.finfo(pieces.dtype).tiny
        unit = (
            scale * pieces.abs().amax((1, 2), keepdim=True).clamp(min=tiny) / self.levels.levels[-1]
        )
        coefficients = self.levels.nearest(pieces / unit)
        for _ in range(self.rounds):
            bases = _bases(coefficients, pieces)
            before = coefficients
            coefficients = improved(coefficients, bases, pieces, self.levels)
            if torch.equal(coefficients, before):
                break
        return coefficients, bases

    def compose(self, factors: Factors, shape: tuple[int, ...]) -> Tensor:
        """Return the weight of ``shape`` that the factors make up, exactly."""
        rows = (factors.coefficients @ factors.bases).unflatten(0, (shape[0], -1))
        return rows.flatten(1)[:, : torch.Size(shape[1:]).numel()].reshape(shape)

    def pieces(self, weight: Tensor) -> Tensor:
        """Cut a weight (out, ...) into pieces (out * pieces of each, rows, size)."""
        flat = weight.flatten(1)
        rows = -(-flat.shape[1] // self.size)
        tall = min(rows, TALLEST * self.size)
        each = -(-rows // tall)
        tall = -(-rows // each)
        return pad(flat, (0, each * tall * self.size - flat.shape[1])).view(-1, tall, self.size)

    def _without_small_rows(self, pieces: Tensor) -> Tensor:
        norms = pieces.square().sum(-1).flatten()
        small = norms.argsort(descending=True)[math.ceil(self.kept * len(norms)) :]
        return pieces.flatten(0, 1).index_fill(0, small, 0).view_as(pieces)

    def _short(self, bases: Tensor) -> Tensor:
        """Round the bases to multiples of the power of two that their words reach."""
        reach = 2 ** (self.basis_bits - 1) - 1
        step = torch.exp2(torch.ceil(torch.log2(bases.abs().amax() / reach)))
        return torch.round(bases / step) * step if step > 0 else bases


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The weights of given bases whose coefficients are zero where given ones are.

    What SmartDeal trains straight-through, the mask and the bases fixed. The nearest point takes
    every one; this is one turn over the columns of the given coefficients.

    Attributes:
        basis: how a weight is cut.
        factors: the bases, and where coefficients may be.
    """

    basis: Basis
    factors: Factors

    def project(self, weight: Tensor) -> Tensor:
        """Return a point of the set that is near."""
        return self.basis.compose(self.decompose(weight), weight.shape).to(weight.dtype)

    def decompose(self, weight: Tensor) -> Factors:
        """Return the coefficients of a near point, and the bases as they are."""
        given, bases = (t.to(weight) for t in (self.factors.coefficients, self.factors.bases))
        pieces = self.basis.pieces(weight.detach())
        near = improved(given, bases, pieces, self.basis.levels)
        return Factors(near.where(given != 0, 0), bases)


def _bases(coefficients: Tensor, pieces: Tensor) -> Tensor:
    """Return the bases of the least squared error: by the normal equations, which are small."""
    transposed = coefficients.mT
    return torch.linalg.pinv(transposed @ coefficients, hermitian=True) @ (transposed @ pieces)


def improved(coefficients: Tensor, bases: Tensor, pieces: Tensor, levels: Levels) -> Tensor:
    """Give every column of the coefficients its best level, the others as they are."""
    coefficients = coefficients.clone()
    rest = pieces - coefficients @ bases
    for n in range(coefficients.shape[-1]):
        base, before = bases[:, n : n + 1], coefficients[..., n].clone()  # (pieces, 1, size)
        norm = base.square().sum(-1).clamp(min=torch.finfo(base.dtype).tiny)
        coefficients[..., n] = levels.nearest(before + (rest @ base.mT)[..., 0] / norm)
        rest += (before - coefficients[..., n])[..., None] * base
    return coefficients


def _error(pieces: Tensor, coefficients: Tensor, bases: Tensor) -> Tensor:
    """Return the squared error of each piece."""
    return (pieces - coefficients @ bases).square().sum((1, 2))
