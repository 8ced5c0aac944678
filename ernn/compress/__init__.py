"""Training towards structured weights: constraint sets, and ADMM that draws a model into them."""

from ernn.compress.admm import ADMM
from ernn.compress.sets import (
    BlockCirculant,
    ConstraintSet,
    Levels,
    Patterns,
    Sparse,
    SparseLevels,
    recurrent_sets,
)

__all__ = [
    "ADMM",
    "BlockCirculant",
    "ConstraintSet",
    "Levels",
    "Patterns",
    "Sparse",
    "SparseLevels",
    "recurrent_sets",
]
