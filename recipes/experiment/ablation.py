"""What each part of the compression contributes: variations trained for as many epochs.

    python -m recipes.experiment.ablation exp/timit exp/seed1 exp/seed2 --block-size 16

Takes folders in which a recipe's run.py has trained the dense baseline and control, one for each
seed. Prints each variation's mean over the seeds, and what it loses against the control, and keeps
the table below each folder. What is there is not trained again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

from ernn.files import atomic
from recipes.experiment import command, runs
from recipes.experiment.compression import train_circulant
from recipes.experiment.settings import Compress, Settings
from recipes.experiment.speech import datasets, evaluate
from recipes.experiment.stage import Result
from recipes.experiment.training import baseline
from recipes.experiment.workers import in_parallel


@dataclass
class Arguments(runs.Arguments):
    """Compare ways to compress at one block size."""

    block_size: int = 16
    only: tuple[str, ...] = ()
    """Names of variations; by default all of them."""


def variations(compress: Compress) -> dict[str, Compress]:
    """Ways to compress, by name: plain, with one thing added to it, with two."""
    plain = replace(compress, admm_epochs=0, gradual=(), gradual_epochs=0, distillation=0.0)
    quarter = max(1, compress.epochs // 4)
    gradual = replace(plain, gradual=(4, 8), gradual_epochs=max(1, compress.epochs // 8))
    return {
        "projection, fine-tuning": plain,
        "ADMM": replace(plain, admm_epochs=quarter),
        "ADMM, twice as long": replace(plain, admm_epochs=2 * quarter),
        "ADMM, rho large at once": replace(
            plain, admm_epochs=quarter, admm_rho=compress.admm_rho_end
        ),
        "gradual block size": gradual,
        "distillation": replace(plain, distillation=0.5),
        "ADMM, distillation": replace(plain, admm_epochs=quarter, distillation=0.5),
        "gradual block size, distillation": replace(gradual, distillation=0.5),
    }


def run(arguments: Arguments) -> str:
    """Train what is missing; return the table, which is kept beside each run too.

    Raises:
        ValueError, FileNotFoundError: an argument or a run is not as it must be.
    """
    found = runs.settings_of(arguments.runs)
    ways = variations(found[0].compress)
    if unknown := set(arguments.only) - ways.keys():
        raise ValueError(f"no variation {min(unknown)!r}; there are {', '.join(map(repr, ways))}")
    ways = {name: way for name, way in ways.items() if name in (arguments.only or ways)}
    trained = [read_trained(out) for out in arguments.runs]
    tasks = [
        (name, way, arguments.block_size, settings, out, row)
        for row, (out, settings) in enumerate(zip(arguments.runs, found, strict=True))
        for name, way in ways.items()
    ]
    results: dict[str, list[Result]] = {name: [] for name in ways}
    for (name, *_), result in zip(tasks, in_parallel(train_variation, tasks), strict=True):
        results[name].append(result)
    text = table([run["control"] for run in trained], results, arguments.block_size)
    for out in arguments.runs:
        with atomic(out / "ablation" / f"k{arguments.block_size}.md") as new:
            new.write_text(text)
    return text


def read_trained(out: Path) -> Result:
    """Read the control and the block sizes of a run.

    Raises:
        FileNotFoundError: they are not trained yet.
    """
    stored = out / "compress" / "result.json"
    if not stored.is_file():
        raise FileNotFoundError(f"{out}: no dense control; run.py --out {out} trains it")
    result: Result = json.loads(stored.read_text())
    return result


def train_variation(task: tuple[str, Compress, int, Settings, Path, int]) -> Result:
    """Train one variation, or read it; that of the settings is a run's own model."""
    name, compress, block_size, settings, out, row = task
    variants = read_trained(out)["variants"]
    if compress == settings.compress and str(block_size) in variants:
        return variants[str(block_size)]
    slug = "".join(c if c.isalnum() else "-" for c in name)
    folder = out / "ablation" / f"k{block_size}" / slug
    depends = json.loads(json.dumps([asdict(compress), asdict(settings.train)]))
    stored = folder / "result.json"
    if stored.is_file():
        content = json.loads(stored.read_text())
        if content["settings"] != depends:
            raise ValueError(f"{folder}: was trained with other settings; remove it")
        return content["result"]
    train_set, dev_set, test_set = datasets(out, settings)
    dense = baseline(out, settings.model.cell)
    data = train_set, dev_set, settings.train, compress
    model, _ = train_circulant(dense, block_size, *data, folder, row)
    result = evaluate(model, dev_set, test_set, folder)
    with atomic(stored) as new:
        new.write_text(json.dumps({"settings": depends, "result": result}, indent=1) + "\n")
    return result


def table(controls: Sequence[Result], results: dict[str, list[Result]], block_size: int) -> str:
    """Return a Markdown table: a row a variation, dev and test PER by seed, means, points lost."""
    each = " | ".join(f"test {n}" for n in range(1, len(controls) + 1))
    lines = [
        f"| k = {block_size} | {each} | test | points lost, test | dev | points lost, dev |",
        "|---" * (len(controls) + 5) + "|",
    ]
    means = {split: mean(run[split] for run in controls) for split in ("dev", "test")}
    for name, trained in {"dense control": list(controls), **results}.items():
        dev, test = (mean(run[split] for run in trained) for split in ("dev", "test"))
        each = " | ".join(f"{run['test']:.2f}" for run in trained)
        lines.append(
            f"| {name} | {each} | {test:.2f} | "
            f"{test - means['test']:+.2f} | {dev:.2f} | {dev - means['dev']:+.2f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    command.main(Arguments, lambda arguments: print(run(arguments), end=""), "ablation")
