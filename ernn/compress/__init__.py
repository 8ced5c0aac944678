"""Structured weights: models in compressed form, constraint sets, ADMM that draws a model there."""

from ernn.compress import storage
from ernn.compress.admm import ADMM
from ernn.compress.apply import LayerSize, apply, circulant_sets, sizes, summary, to_dense
from ernn.compress.basis import Basis, Factors
from ernn.compress.sets import (
    BlockCirculant,
    ConstraintSet,
    Levels,
    Patterns,
    Sparse,
    SparseLevels,
    Support,
)

__all__ = [
    "ADMM",
    "Basis",
    "BlockCirculant",
    "ConstraintSet",
    "Factors",
    "LayerSize",
    "Levels",
    "Patterns",
    "Sparse",
    "SparseLevels",
    "Support",
    "apply",
    "circulant_sets",
    "sizes",
    "storage",
    "summary",
    "to_dense",
]
