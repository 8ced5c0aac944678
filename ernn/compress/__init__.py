"""Structured weights: models in compressed form, constraint sets, ADMM that draws a model there."""

from ernn.compress import budget, storage
from ernn.compress.admm import ADMM
from ernn.compress.apply import LayerSize, apply, circulant_sets, sizes, summary, to_dense
from ernn.compress.basis import Basis, Coefficients, Factors
from ernn.compress.sets import (
    BlockCirculant,
    ConstraintSet,
    Levels,
    Patterns,
    Sparse,
    SparseLevels,
    Support,
)
from ernn.compress.straight_through import StraightThrough, inside

__all__ = [
    "ADMM",
    "Basis",
    "BlockCirculant",
    "Coefficients",
    "ConstraintSet",
    "Factors",
    "LayerSize",
    "Levels",
    "Patterns",
    "Sparse",
    "SparseLevels",
    "StraightThrough",
    "Support",
    "apply",
    "budget",
    "circulant_sets",
    "inside",
    "sizes",
    "storage",
    "summary",
    "to_dense",
]
