"""From a trained model to integers: calibrate ranges, choose formats, build the integer model."""

from ernn.quantize.calibrate import Ranges, calibrate
from ernn.quantize.convert import WordLengths, convert
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLinear,
    IntegerLSTM,
    IntegerModel,
    IntegerRecurrent,
    LayerFormats,
)

__all__ = [
    "IntegerGRU",
    "IntegerLSTM",
    "IntegerLinear",
    "IntegerModel",
    "IntegerRecurrent",
    "LayerFormats",
    "Ranges",
    "WordLengths",
    "calibrate",
    "convert",
]
