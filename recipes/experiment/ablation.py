"""What each part of the compression contributes: variations trained for as many epochs.

Takes folders in which run.py has trained the dense baseline and control, one for each seed. The
table has each variation's mean over the seeds, and what it loses against the control. What is there
is not trained again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import tyro

from ernn.asr import AcousticModel
from ernn.files import atomic
from recipes.experiment.compression import in_parallel, train_circulant
from recipes.experiment.settings import C, Compress, Settings, read_settings
from recipes.experiment.speech import datasets, device, evaluate
from recipes.experiment.stage import Result


@dataclass
class Arguments:
    """Compare ways to compress at one block size."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of run.py, which differ in their seed."""
    config: Path
    """The settings that the runs were made with."""
    block_size: int = 16
    only: tuple[str, ...] = ()
    """Names of variations; by default all of them."""


def variations(compress: Compress) -> dict[str, Compress]:
    """Ways to compress, by name; the first is plain, each of the others adds one thing to it."""
    plain = replace(compress, admm_epochs=0, gradual=(), gradual_epochs=0, distillation=0.0)
    quarter = max(1, compress.epochs // 4)
    return {
        "projection, fine-tuning": plain,
        "ADMM": replace(plain, admm_epochs=quarter),
        "ADMM, twice as long": replace(plain, admm_epochs=2 * quarter),
        "ADMM, rho large at once": replace(
            plain, admm_epochs=quarter, admm_rho=compress.admm_rho_end
        ),
        "gradual block size": replace(
            plain, gradual=(4, 8), gradual_epochs=max(1, compress.epochs // 8)
        ),
        "distillation": replace(plain, distillation=0.5),
        "ADMM, distillation": replace(plain, admm_epochs=quarter, distillation=0.5),
    }


def run(arguments: Arguments, corpus: type[C]) -> str:
    """Train what is missing; return the table, which is kept beside each run too.

    Raises:
        ValueError, FileNotFoundError: a setting or a run is not as it must be.
    """
    if not arguments.runs:
        raise ValueError("no run: name the folders of one or more")
    known = variations(read_settings(arguments.config, None, corpus).compress)
    if unknown := set(arguments.only) - known.keys():
        raise ValueError(f"no variation {min(unknown)!r}; there are {', '.join(map(repr, known))}")
    tasks, controls = [], []
    for row, out in enumerate(arguments.runs):
        control = out / "phase1" / "result.json"
        if not control.is_file():
            raise FileNotFoundError(f"{out}: no dense control; run.py --out {out} trains it")
        result = json.loads(control.read_text())
        controls.append(result["control"])
        seed = json.loads((out / "results.json").read_text())["seed"]
        settings = read_settings(arguments.config, seed, corpus)
        tasks += [
            (name, compress, arguments.block_size, settings, out, row)
            for name, compress in variations(settings.compress).items()
            if name in (arguments.only or known)
        ]
    results = in_parallel(train_variation, tasks)
    names = list(dict.fromkeys(name for name, *_ in tasks))
    by_name = {
        name: [r for (n, *_), r in zip(tasks, results, strict=True) if n == name] for name in names
    }
    text = table(controls, by_name, arguments.block_size)
    for out in arguments.runs:
        with atomic(out / "ablation" / f"k{arguments.block_size}.md") as new:
            new.write_text(text)
    return text


def train_variation(task: tuple[str, Compress, int, Settings[C], Path, int]) -> Result:
    """Train one variation, or read it; that of the settings is a run's own model."""
    name, compress, block_size, settings, out, row = task
    variants = json.loads((out / "phase1" / "result.json").read_text())["variants"]
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
    dense = AcousticModel.load(out / "dense" / "model.safetensors").to(device())
    data = train_set, dev_set, settings.train, compress
    model, _ = train_circulant(dense, block_size, *data, folder, bar_row=row)
    result = evaluate(model, dev_set, test_set, folder)
    with atomic(stored) as new:
        new.write_text(json.dumps({"settings": depends, "result": result}, indent=1) + "\n")
    return result


def table(controls: Sequence[Result], results: dict[str, list[Result]], block_size: int) -> str:
    """Return a Markdown table: a row a variation, dev and test PER by seed, means, points lost."""
    runs = " | ".join(f"test {n}" for n in range(1, len(controls) + 1))
    lines = [
        f"| k = {block_size} | {runs} | test | points lost, test | dev | points lost, dev |",
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
