"""What short words cost: integer models against float, before and after training in their formats.

    python -m recipes.experiment.words exp/timit exp/seed1 exp/seed2

Takes folders of a recipe's run.py, one for each seed, and quantizes every block size that they
trained. Prints a table, and keeps it below each folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

from ernn.asr import AcousticModel, recognise, score
from ernn.asr.integer import IntegerAcousticModel
from ernn.explore.kept import kept
from ernn.files import atomic
from ernn.quantize import WordLengths
from recipes.experiment import command, runs
from recipes.experiment.phase2 import Quantizer
from recipes.experiment.settings import Settings
from recipes.experiment.speech import datasets
from recipes.experiment.stage import Result
from recipes.experiment.workers import in_parallel

WORDS = {
    "12-bit weights, 16-bit activations": WordLengths(weight=12, activation=16),
    "8-bit weights and activations": WordLengths(weight=8, activation=8),
}
"""Pre-activations and cell states have 16 bits."""


@dataclass
class Arguments(runs.Arguments):
    """Quantize every block size of runs that differ in their seed."""

    epochs: int = 4
    """Of quantization-aware training, where the words are 8 bits."""
    learning_rate: float = 1e-3
    """In the first of them; falls to 0."""


def run(arguments: Arguments) -> str:
    """Quantize and train what is missing; return the table, which is kept beside each run too.

    Raises:
        ValueError, FileNotFoundError: a run is not as it must be.
    """
    tasks: list[tuple[int, Settings, Path]] = []
    for out, settings in zip(arguments.runs, runs.settings_of(arguments.runs), strict=True):
        aware = replace(
            settings.quantize, aware_epochs=arguments.epochs, aware_rate=arguments.learning_rate
        )
        own = replace(settings, quantize=aware)
        tasks += [(k, own, out) for k in settings.compress.block_sizes]
    results = in_parallel(quantize, tasks)
    by_size: dict[int, list[Result]] = {}
    for (k, *_), result in zip(tasks, results, strict=True):
        by_size.setdefault(k, []).append(result)
    text = table(by_size)
    for out in arguments.runs:
        with atomic(out / "words" / "words.md") as new:
            new.write_text(text)
    return text


def quantize(task: tuple[int, Settings, Path]) -> Result:
    """Dev and test PER of one block size's models, by name; what is there is read."""
    block_size, settings, out = task
    train_set, dev_set, test_set = datasets(out, settings)
    file = out / "compress" / f"k{block_size}" / "model.safetensors"
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
    each = " | ".join(f"test {n}" for n in range(1, len(next(iter(results.values()))) + 1))
    lines = [f"| k | points lost against float | {each} | test | dev |"]
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


if __name__ == "__main__":
    command.main(Arguments, lambda arguments: print(run(arguments), end=""), "words")
