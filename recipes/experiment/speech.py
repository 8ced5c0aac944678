"""Speech as the stages take it: features, data sets, scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep import features, frames, manifest
from data_prep.manifest import SPLITS
from ernn.asr import AcousticModel, Dataset, Epoch, recognise, score
from recipes.experiment.settings import Settings
from recipes.experiment.stage import Result


def describe(corpus: str, note: str, splits: Mapping[str, Sequence[manifest.Utterance]]) -> Result:
    """The result of a stage ``prepare``: what the report says of the corpus.

    Args:
        corpus: its name.
        note: what else a reader must know, in sentences; nothing if there is nothing.
        splits: the utterances of train, dev and test.
    """
    return {
        "corpus": corpus,
        "note": note,
        "utterances": {split: len(part) for split, part in splits.items()},
        "minutes": {
            split: round(sum(u.duration for u in part) / 60, 1) for split, part in splits.items()
        },
    }


def summary(result: Result) -> str:
    """Say what a stage ``prepare`` did."""
    sizes = " / ".join(map(str, result["utterances"].values()))
    return f"{result['corpus']} corpus, {sizes} utterances"


def extract(folder: Path, settings: Settings, manifests: Path) -> Result:
    """Features of every utterance."""
    for split in SPLITS:
        path = folder / f"{split}.safetensors"
        if not path.is_file():
            features.extract(manifest.read(manifests / f"{split}.jsonl"), settings.features, path)
    return {"size": settings.features.size}


def datasets(out: Path, settings: Settings, splits: Sequence[str] = SPLITS) -> list[Dataset]:
    """Features and phones of the splits, from the stages ``prepare`` and ``features``.

    Where frames are classified, the training set has the class of each of them.

    Raises:
        ValueError: frames are to be classified, and the corpus has no boundaries.
    """
    phones = settings.phones
    sets = []
    for split in splits:
        vectors = features.load(out / "features" / f"{split}.safetensors")
        utterances = manifest.read(out / "prepare" / "manifests" / f"{split}.jsonl")
        alignments = None
        if settings.train.criterion == "frames" and split == "train":
            alignments = {u.id: align(u, len(vectors[u.id]), settings) for u in utterances}
        targets = {u.id: phones.targets(u.phones) for u in utterances}
        sets.append(
            Dataset(vectors, targets, phones.symbols, folding=phones.scored, alignments=alignments)
        )
    return sets


def align(utterance: manifest.Utterance, count: int, settings: Settings) -> np.ndarray:
    """The class of each of the ``count`` vectors of an utterance, from its phones' boundaries.

    Raises:
        ValueError: it has none.
    """
    if utterance.boundaries is None:
        raise ValueError(
            f"criterion is 'frames': {utterance.id} has no boundaries; without them it is 'ctc'"
        )
    phones = settings.phones
    classes = {symbol: n for n, symbol in enumerate(phones.symbols, 1)}
    bounds = zip(utterance.boundaries, utterance.phones, strict=True)
    segments = [(start, end, phones.target[phone] or "") for (start, end), phone in bounds]
    return frames.label(segments, utterance.sample_rate, count, settings.features, classes)


def device() -> torch.device:
    """Where models are trained: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def evaluate(model: AcousticModel, dev_set: Dataset, test_set: Dataset, folder: Path) -> Result:
    """Score a float model and keep it, with its alignments on test."""
    model.save(folder / "model.safetensors")
    result = evaluate_scores(model, dev_set, test_set, folder)
    return result | {
        "parameters": model.parameter_count,
        "recurrent_parameters": model.recurrent_parameters,
    }


def evaluate_scores(model: Any, dev_set: Dataset, test_set: Dataset, folder: Path) -> Result:
    """Greedy phone error rates on dev and test of anything :func:`ernn.asr.recognise` takes."""
    dev = score(dev_set.phones, recognise(model, dev_set))
    test = score(test_set.phones, recognise(model, test_set))
    test.write_alignments(folder / "test.alignments.txt")
    return {"dev": dev.per, "test": test.per, "score": str(test)}


def curve(epochs: Sequence[Epoch]) -> list[dict[str, float | None]]:
    """What the plots need of a training."""
    return [{"loss": e.loss, "dev_per": e.dev_per, "residual": e.residual} for e in epochs]
