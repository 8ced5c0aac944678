"""Put runs that differ in their seed side by side: error rates and their means.

python -m recipes.experiment.seeds exp/timit exp/seed1 exp/seed2
"""

import json
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from statistics import mean
from typing import Any

from recipes.experiment import command, runs


@dataclass
class Arguments(runs.Arguments):
    """Compare complete runs of a recipe that differ in their seed."""


def read(folder: Path) -> dict[str, Any]:
    """Return a run's results.

    Raises:
        FileNotFoundError: the run is not complete.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no results.json; run.py --out {folder} writes it")
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def run(arguments: Arguments) -> str:
    """Return the table of the runs.

    Raises:
        ValueError, FileNotFoundError: a run is not as it must be.
    """
    runs.settings_of(arguments.runs)
    return table([read(out) for out in arguments.runs])


def table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row a model, test PER by seed, means, points lost, those of dev.

    Raises:
        ValueError: the runs differ in their corpus.
    """
    if len({result["corpus"] for result in results}) > 1:
        raise ValueError("the runs differ in their corpus")
    models = {"dense baseline": ["dense"], "dense control": ["control"]}
    models |= {f"k = {k}": ["circulant", k] for k in results[0]["per"]["circulant"]}
    models |= {"chosen, float": ["chosen"], "chosen, integer model": ["integer"]}

    def rates(split: str, keys: list[str]) -> list[float]:
        return [reduce(getitem, keys, result[split]) for result in results]

    def row(name: str, test: list[float], control: list[float], dev: str = " | ") -> str:
        each = " | ".join(f"{per:.2f}" for per in test)
        return f"| {name} | {each} | {mean(test):.2f} | {mean(test) - mean(control):+.2f} | {dev} |"

    control, dev_control = (rates(split, ["control"]) for split in ("per", "per_dev"))
    seeds = " | ".join(f"seed {result['seed']}" for result in results)
    lines = [
        f"| test PER, % | {seeds} | mean | points lost | dev | points lost, dev |",
        "|---" * (len(results) + 5) + "|",
    ]
    for name, keys in models.items():
        dev = mean(rates("per_dev", keys))
        of_dev = f"{dev:.2f} | {dev - mean(dev_control):+.2f}"
        lines.append(row(name, rates("per", keys), control, of_dev))
    with_ngram = rates("per_beam", ["control"])
    for key, name in (("control", "dense control"), ("chosen", "chosen"), ("integer", "integer")):
        lines.append(row(f"{name}, with an n-gram", rates("per_beam", [key]), with_ngram))
    chosen = ", ".join(
        result["model"]["cell"].upper() + f" k = {result['model']['block_size']}"
        for result in results
    )
    mismatches = ", ".join(str(result["rtl"]["mismatches"]) for result in results)
    return "\n".join([*lines, "", f"Chosen: {chosen}. RTL mismatches: {mismatches}.", ""])


if __name__ == "__main__":
    command.main(Arguments, lambda arguments: print(run(arguments), end=""), "seeds")
