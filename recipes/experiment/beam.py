"""Decoding with a phone n-gram: what the beam search finds that the best path does not."""

from pathlib import Path
from typing import Any

from data_prep import manifest
from ernn.asr import (
    AcousticModel,
    Dataset,
    Hybrid,
    NGram,
    PrefixBeam,
    Score,
    compare,
    decode,
    greedy,
    log_priors,
    posteriors,
    score,
    train_ngram,
    tune,
)
from ernn.asr.integer import IntegerAcousticModel
from recipes.experiment import phase2
from recipes.experiment.phase1 import model_file
from recipes.experiment.settings import Settings
from recipes.experiment.speech import datasets
from recipes.experiment.stage import Result


def search(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Tune a beam search for the dense control and for the chosen model on dev; score both sets.

    The n-gram is that of the training transcripts, its order that of least dev perplexity. The
    integer model is decoded with the settings of the float model that it came from.
    """
    train_set, dev_set, test_set = datasets(out, settings)
    arpa = folder / "phones.arpa"
    perplexity = train_ngram(said(train_set), said(dev_set), train_set.symbols, arpa)
    untuned = decoder_for(train_set, NGram(arpa, train_set.symbols))
    speakers = {
        u.id: u.speaker for u in manifest.read(out / "prepare" / "manifests" / "test.jsonl")
    }
    models = {
        "control": AcousticModel.load(out / "compress" / "control" / "model.safetensors"),
        "chosen": AcousticModel.load(model_file(out, results)),
    }
    systems = models | {"integer": IntegerAcousticModel(phase2.load(out, settings))}
    on_dev = {name: posteriors(system, dev_set) for name, system in systems.items()}
    beams = {name: tune(untuned, on_dev[name], dev_set)[0] for name in models}
    beams["integer"] = beams["chosen"]
    dev: dict[str, dict[str, float]] = {"greedy": {}, "beam": {}}
    test: dict[str, dict[str, Score]] = {"greedy": {}, "beam": {}}
    for name, system in systems.items():
        on_test = posteriors(system, test_set)
        for way, decoder in (("greedy", greedy), ("beam", beams[name])):
            dev[way][name] = score(dev_set.phones, decode(on_dev[name], decoder, dev_set)).per
            found = decode(on_test, decoder, test_set)
            test[way][name] = score(test_set.phones, found, speakers)
        test["beam"][name].write_alignments(folder / f"{name}.alignments.txt")
    return {
        "perplexity": {str(order): value for order, value in perplexity.items()},
        "settings": {
            name: {key: getattr(beam, key) for key in beam.GRID} for name, beam in beams.items()
        },
        "dev": dev,
        "test": {
            way: {name: figures(result, of["control"]) for name, result in of.items()}
            for way, of in test.items()
        },
    }


def decoder_for(train_set: Dataset, ngram: NGram) -> PrefixBeam | Hybrid:
    """The decoder of the criterion that was trained, to be tuned: CTC's, or that of frames."""
    if train_set.alignments is None:
        return PrefixBeam(ngram)
    labels = [alignment.numpy() for alignment in train_set.alignments]
    return Hybrid(ngram, log_priors(labels, len(train_set.symbols) + 1))


def said(dataset: Dataset) -> list[list[str]]:
    """The phones that are trained, utterance by utterance."""
    return [[dataset.symbols[c - 1] for c in target.tolist()] for target in dataset.targets]


def figures(result: Score, control: Score) -> dict[str, Any]:
    """Rate, interval, and what is lost against the control on the same speakers."""
    lost = compare(result, control)
    return {
        "per": result.per,
        "interval": result.interval,
        "score": str(result),
        "lost": lost.points,
        "lost_interval": lost.interval,
    }


def table(result: Result) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| decoding | model | PER dev | PER test | 95 % interval | points lost against the control "
        "| 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, of in result["test"].items():
        for name, found in of.items():
            low, high = found["interval"]
            lost_low, lost_high = found["lost_interval"]
            lines.append(
                f"| {way} | {name} | {result['dev'][way][name]:.2f} | {found['per']:.2f} | "
                f"{low:.1f} to {high:.1f} | "
                f"{found['lost']:+.2f} | {lost_low:+.2f} to {lost_high:+.2f} |"
            )
    return lines
