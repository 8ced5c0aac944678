"""What short words cost: integer models against float, before and after training in their formats.

Takes folders of run.py, one for each seed, and quantizes every block size that they trained.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import tyro

from ernn.asr import AcousticModel, recognise, score
from ernn.asr.integer import IntegerAcousticModel
from ernn.explore.kept import kept
from ernn.files import atomic
from ernn.quantize import WordLengths
from recipes.experiment.compression import in_parallel
from recipes.experiment.phase2 import Quantizer
from recipes.experiment.settings import C, Settings, read_settings
from recipes.experiment.speech import datasets
from recipes.experiment.stage import Result

WORDS = {
    "12-bit weights, 16-bit activations": WordLengths(weight=12, activation=16),
    "8-bit weights and activations": WordLengths(weight=8, activation=8),
}
"""Pre-activations and cell states have 16 bits."""


@dataclass
class Arguments:
    """Quantize every block size of runs that differ in their seed."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of run.py."""
    config: Path
    """The settings that the runs were made with."""
    epochs: int = 4
    """Of quantization-aware training, where the words are 8 bits."""
    learning_rate: float = 1e-3
    """In the first of them; falls to 0."""


def run(arguments: Arguments, corpus: type[C]) -> str:
    """Quantize and train what is missing; return the table, which is kept beside each run too.

    Raises:
        ValueError, FileNotFoundError: a setting or a run is not as it must be.
    """
    if not arguments.runs:
        raise ValueError("no run: name the folders of one or more")
    tasks: list[tuple[int, Settings[C], Path]] = []
    for out in arguments.runs:
        stored = out / "results.json"
        if not stored.is_file():
            raise FileNotFoundError(f"{out}: no results.json; run.py --out {out} writes it")
        content = json.loads(stored.read_text())
        settings = read_settings(arguments.config, content["seed"], corpus)
        aware = replace(
            settings.quantize, aware_epochs=arguments.epochs, aware_rate=arguments.learning_rate
        )
        settings = replace(settings, quantize=aware)
        tasks += [(int(k), settings, out) for k in content["per"]["circulant"]]
    results = in_parallel(quantize, tasks)
    block_sizes = list(dict.fromkeys(k for k, *_ in tasks))
    by_size = {
        k: [r for (size, *_), r in zip(tasks, results, strict=True) if size == k]
        for k in block_sizes
    }
    text = table(by_size)
    for out in arguments.runs:
        with atomic(out / "words" / "words.md") as new:
            new.write_text(text)
    return text


def quantize(task: tuple[int, Settings[C], Path]) -> Result:
    """Dev and test PER of one block size's models, by name; what is there is read."""
    block_size, settings, out = task
    train_set, dev_set, test_set = datasets(out, settings)
    file = out / "phase1" / f"k{block_size}" / "model.safetensors"
    model = AcousticModel.load(file).eval()
    quantizer = Quantizer(model, train_set, dev_set, settings)
    folder = out / "words" / f"k{block_size}"

    def pers(words: WordLengths | None, trained: Path | None = None) -> Result:
        made = model if words is None else IntegerAcousticModel(quantizer.integer(words, trained))
        return {
            name: score(part.phones, recognise(made, part)).per
            for name, part in (("dev", dev_set), ("test", test_set))
        }

    def train(words: WordLengths, trained: Path) -> Result:
        quantizer.train_aware(words, trained)
        return pers(words, trained)

    results = {"float": kept(folder / "float.json", partial(pers, None))}
    for name, words in WORDS.items():
        own = folder / f"w{words.weight}a{words.activation}"
        results[name] = kept(own / "untrained.json", partial(pers, words))
        if words.weight < 12:
            aware = settings.quantize
            trained = own / f"epochs-{aware.aware_epochs}-rate-{aware.aware_rate}"
            result = kept(trained / "result.json", partial(train, words, trained))
            results[f"{name}, trained"] = result
    return results


def table(results: Mapping[int, Sequence[Result]]) -> str:
    """Return a Markdown table: a row an integer model, its points lost against float."""
    runs = " | ".join(f"test {n}" for n in range(1, len(next(iter(results.values()))) + 1))
    lines = [f"| k | points lost against float | {runs} | test | dev |"]
    lines.append("|---" * lines[0].count(" | ") + "|---|")
    for k, models in results.items():
        for name in models[0]:
            if name == "float":
                continue
            lost = {
                split: [model[name][split] - model["float"][split] for model in models]
                for split in ("dev", "test")
            }
            each = " | ".join(f"{points:+.2f}" for points in lost["test"])
            lines.append(
                f"| {k} | {name} | {each} | {mean(lost['test']):+.2f} | {mean(lost['dev']):+.2f} |"
            )
    return "\n".join([*lines, ""])
