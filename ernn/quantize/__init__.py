"""From a trained model to integers: calibrate ranges, choose formats, build the integer model."""

from ernn.quantize.calibrate import Ranges, calibrate
from ernn.quantize.convert import WordLengths, convert, convert_offline
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLinear,
    IntegerLSTM,
    IntegerModel,
    IntegerRecurrent,
    LayerFormats,
    OfflineModel,
)

__all__ = [
    "IntegerGRU",
    "IntegerLSTM",
    "IntegerLinear",
    "IntegerModel",
    "IntegerRecurrent",
    "LayerFormats",
    "OfflineModel",
    "Ranges",
    "WordLengths",
    "calibrate",
    "convert",
    "convert_offline",
]
