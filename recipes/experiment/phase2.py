"""Phase II: the formats, the integer model and its error rates."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from data_prep.features import load_statistics
from ernn import bundle
from ernn.asr import AcousticModel, Dataset, recognise, recogniser, score, train
from ernn.asr.integer import IntegerAcousticModel
from ernn.explore import phase2
from ernn.fixed import FixedPoint
from ernn.quantize import (
    IntegerGRU,
    IntegerLSTM,
    IntegerModel,
    OfflineModel,
    Ranges,
    WordLengths,
    calibrate,
    convert,
    convert_offline,
)
from ernn.quantize.aware import convert_prepared, prepare
from hdl import offline
from recipes.experiment.phase1 import model_file
from recipes.experiment.settings import Settings
from recipes.experiment.speech import datasets, evaluate_scores
from recipes.experiment.stage import Result

WAYS = ("forward", "reverse")  # the directions of a bidirectional layer


def quantize(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Search the word lengths on dev (:mod:`ernn.explore.phase2`); score the integer model.

    The recogniser that :mod:`ernn.asr.transcribe` takes is left in ``out / "recogniser"``.
    """
    train_set, dev_set, test_set = datasets(out, settings)
    model = AcousticModel.load(model_file(out, results)).eval()
    quantizer = Quantizer(model, train_set, dev_set, settings)
    table = settings.quantize
    found = phase2.search(
        score(dev_set.phones, recognise(model, dev_set)).per,
        table.budget,
        table.longest,
        quantizer.dev_per,
        folder,
        train_aware=quantizer.train_aware if table.aware_epochs else None,
    )
    assert found.chosen is not None
    words = found.chosen.words
    trained = phase2.aware_folder(folder, words) if found.trained else None
    integer = quantizer.integer(words, trained)
    bundle.save(integer, folder / "bundle")
    mean, deviation = load_statistics(out / "features" / "train.safetensors")
    symbols = settings.phones.symbols
    recogniser.Recogniser(model, settings.features, mean, deviation, symbols, integer).save(
        out / "recogniser"
    )
    scores = evaluate_scores(IntegerAcousticModel(integer), dev_set, test_set, folder)
    return scores | {
        "words": asdict(words),
        "verdict": found.verdict,
        "quantities": quantities(integer, quantizer.ranges),
    }


class Quantizer:
    """Integer models of a float model, scored on dev.

    Args:
        model: the float model.
        train_set: its ranges are measured on utterances of it; what is trained learns from it.
        dev_set: what is scored.
        settings: of the recipe.
    """

    def __init__(
        self, model: AcousticModel, train_set: Dataset, dev_set: Dataset, settings: Settings
    ) -> None:
        self.model, self.train_set, self.dev_set, self.settings = (
            model,
            train_set,
            dev_set,
            settings,
        )
        count = min(settings.hardware.calibration_utterances, len(train_set))
        places = np.linspace(0, len(train_set) - 1, count).round().astype(int)
        self.ranges = calibrate(model.recurrent, [train_set.features[i] for i in places])

    def dev_per(self, words: WordLengths) -> float:
        """The dev PER of the integer model of these words.

        Raises:
            ValueError: there is none, or no core runs it.
        """
        return self._score(self.integer(words))

    def train_aware(self, words: WordLengths, folder: Path) -> float:
        """Train in these words; the dev PER of the integer model.

        Raises:
            ValueError: there is none, or no core runs it.
        """
        aware = prepare(self.model, self.ranges, words)
        config = replace(
            self.settings.train,
            epochs=self.settings.quantize.aware_epochs,
            learning_rate=self.settings.quantize.aware_rate,
            warmup_steps=0,
            precision="fp32",  # the integers of the formats are exact in it
        )
        train(aware, self.train_set, self.dev_set, config, folder)
        return self._score(self.integer(words, folder))

    def integer(
        self, words: WordLengths, trained: Path | None = None
    ) -> IntegerModel | OfflineModel:
        """The integer model: of the float model's weights, or of those of a training's folder."""
        if trained is None:
            quantized = convert_offline if self.model.config.bidirectional else convert
            return quantized(self.model.recurrent, self.model.output, self.ranges, words)
        aware = prepare(self.model, self.ranges, words)
        weights = AcousticModel.load(trained / "model.safetensors").state_dict()
        aware.load_state_dict(weights)
        return convert_prepared(aware)

    def _score(self, integer: IntegerModel | OfflineModel) -> float:
        offline.configure(offline.stages_of(integer), self.settings.hardware.n_pe)
        heard = recognise(IntegerAcousticModel(integer), self.dev_set)
        return score(self.dev_set.phones, heard).per


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
