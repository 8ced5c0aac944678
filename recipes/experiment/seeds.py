"""Put runs that differ in their seed side by side: mean and spread of their error rates.

python -m recipes.experiment.seeds exp/timit exp/seed1 exp/seed2
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import tyro


@dataclass
class Arguments:
    """Compare runs of the recipe that differ in their seed."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of complete runs."""


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


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row a model, test PER by seed, mean, and mean less the control's.

    Raises:
        ValueError: there is no run, two have one seed, or they differ in corpus or block sizes.
    """
    if not runs:
        raise ValueError("no run: name the folders of one or more")
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {seeds}: each run must have its own")
    kinds = {(run["corpus"], *run["per"]["circulant"]) for run in runs}
    if len(kinds) > 1:
        raise ValueError("the runs differ in their corpus or block sizes")
    rows = {
        "dense baseline": [run["per"]["dense"] for run in runs],
        "dense control": [run["per"]["control"] for run in runs],
    }
    rows |= {
        f"k = {k}": [run["per"]["circulant"][k] for run in runs]
        for k in runs[0]["per"]["circulant"]
    }
    rows["chosen, float"] = [run["per"]["chosen"] for run in runs]
    rows["chosen, integer model"] = [run["per"]["integer"] for run in runs]
    control = mean(rows["dense control"])
    lines = [
        f"| test PER, % | {' | '.join(f'seed {n}' for n in seeds)} | mean | against control |",
        "|---" * (len(runs) + 3) + "|",
        *(
            f"| {name} | {' | '.join(f'{per:.2f}' for per in pers)} | {mean(pers):.2f} | "
            f"{mean(pers) - control:+.2f} |"
            for name, pers in rows.items()
        ),
    ]
    chosen = ", ".join(str(run["model"]["block_size"]) for run in runs)
    mismatches = ", ".join(str(run["rtl"]["mismatches"]) for run in runs)
    return "\n".join(
        [*lines, "", f"Chosen block size: {chosen}. RTL mismatches: {mismatches}.", ""]
    )


def main() -> None:
    """Run the command line."""
    arguments = tyro.cli(Arguments, prog="python -m recipes.experiment.seeds")
    try:
        print(table([read(folder) for folder in arguments.runs]), end="")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
