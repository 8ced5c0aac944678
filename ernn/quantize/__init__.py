"""From a trained model to integers: calibrate ranges, choose formats, build the integer model.

Training in these formats is in :mod:`ernn.quantize.aware`.
"""

from ernn.quantize.calibrate import Ranges, calibrate
from ernn.quantize.convert import (
    Formats,
    LinearFormats,
    WordLengths,
    choose_formats,
    convert,
    convert_offline,
    to_integers,
)
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
    "Formats",
    "IntegerGRU",
    "IntegerLSTM",
    "IntegerLinear",
    "IntegerModel",
    "IntegerRecurrent",
    "LayerFormats",
    "LinearFormats",
    "OfflineModel",
    "Ranges",
    "WordLengths",
    "calibrate",
    "choose_formats",
    "convert",
    "convert_offline",
    "to_integers",
]
