"""Phase II: the formats, the integer model and its error rates."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.features import load_statistics
from ernn import bundle
from ernn.asr import AcousticModel, recogniser
from ernn.asr.integer import IntegerAcousticModel
from ernn.fixed import FixedPoint
from ernn.quantize import (
    IntegerGRU,
    IntegerLSTM,
    IntegerModel,
    OfflineModel,
    Ranges,
    calibrate,
    convert,
    convert_offline,
)
from recipes.experiment.phase1 import model_file
from recipes.experiment.settings import Settings
from recipes.experiment.speech import datasets, evaluate_scores
from recipes.experiment.stage import Result

WAYS = ("forward", "reverse")  # the directions of a bidirectional layer


def quantize(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Choose the formats on training data, build the integer model, score it.

    The recogniser that :mod:`ernn.asr.transcribe` takes is left in ``out / "recogniser"``.
    """
    mean, deviation = load_statistics(out / "features" / "train.safetensors")
    train_set, dev_set, test_set = datasets(out, settings)
    model = AcousticModel.load(model_file(out, results)).eval()
    count = min(settings.hardware.calibration_utterances, len(train_set))
    places = np.linspace(0, len(train_set) - 1, count).round().astype(int)
    ranges = calibrate(model.recurrent, [train_set.features[i] for i in places])
    quantized = convert_offline if model.config.bidirectional else convert
    integer = quantized(model.recurrent, model.output, ranges, settings.quantize)
    bundle.save(integer, folder / "bundle")
    symbols = settings.corpus.phone_set.symbols
    recogniser.Recogniser(model, settings.features, mean, deviation, symbols, integer).save(
        out / "recogniser"
    )
    scores = evaluate_scores(IntegerAcousticModel(integer), dev_set, test_set, folder)
    return scores | {"quantities": quantities(integer, ranges)}


def load(out: Path, settings: Settings) -> IntegerModel | OfflineModel:
    """Read the integer model."""
    folder = out / "phase2" / "bundle"
    return bundle.load_offline(folder) if settings.model.bidirectional else bundle.load(folder)


def quantities(model: IntegerModel | OfflineModel, ranges: list[Ranges]) -> list[Result]:
    """Return what the formats hold beside what they have to."""

    def entry(name: str, fmt: FixedPoint, largest: float, rms: float) -> Result:
        return {
            "name": name,
            "format": str(fmt),
            "step": 2.0**-fmt.fraction_length,
            "limit": float(fmt.to_float(fmt.highest)),
            "largest": largest,
            "rms": rms,
        }

    entries = []
    for (name, layer), extents in zip(recurrent_layers(model), ranges, strict=True):
        formats = layer.formats
        measured = {
            "input": (formats.input, extents.input),
            "pre-activation": (formats.cell.preactivation, extents.preactivation),
            "cell": (formats.cell.cell, extents.cell),
            "output": (formats.output, extents.output),
        }
        for what, (fmt, extent) in measured.items():
            entries.append(entry(f"{name} {what}", fmt, extent.largest, extent.power**0.5))
        for what, fmt, spectra in (
            ("input weights", formats.weight_input, layer.W),
            ("recurrent weights", formats.weight_recurrent, layer.U),
        ):
            values = fmt.to_float(spectra)
            rms = float(np.sqrt(np.square(values).mean()))
            entries.append(entry(f"{name} {what}", fmt, float(np.abs(values).max()), rms))
    return entries


def recurrent_layers(
    model: IntegerModel | OfflineModel,
) -> Iterator[tuple[str, IntegerLSTM | IntegerGRU]]:
    """Return the layers and their directions by name, in the order of their ranges."""
    if isinstance(model, IntegerModel):
        yield from ((str(n), layer) for n, layer in enumerate(model.recurrent()))
        return
    for n, stage in enumerate(model.stages):
        for way, part in zip(WAYS, stage, strict=False):
            yield from ((f"{n} {way}", layer) for layer in part.recurrent())
