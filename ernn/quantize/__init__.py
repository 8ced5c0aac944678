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
from ernn.quantize.feedforward import Geometry, IntegerConv2d, IntegerLinear, IntegerPool
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLSTM,
    IntegerModel,
    IntegerRecurrent,
    LayerFormats,
    OfflineModel,
)
from ernn.quantize.sequential import convert_sequential, to_frames

__all__ = [
    "Formats",
    "Geometry",
    "IntegerConv2d",
    "IntegerGRU",
    "IntegerLSTM",
    "IntegerLinear",
    "IntegerModel",
    "IntegerPool",
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
    "convert_sequential",
    "to_frames",
    "to_integers",
]
