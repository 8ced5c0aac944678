"""Stages of an experiment: each caches its result, says what it did, and can be interrupted.

A stage has a folder with ``key`` (a digest of what its result depends on: its settings and the
stages before it) and, once it is complete, ``result.json``. A stage whose key is another than the
one in its folder starts over; one that was interrupted goes on with what lies in its folder.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernn.files import atomic

Result = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A step of the experiment.

    Attributes:
        name: of the stage and of its folder.
        work: from its folder and the results of the stages before, by name, to its own.
        settings: what the result depends on besides the stages before.
        summary: a line that says what was done.
    """

    name: str
    work: Callable[[Path, dict[str, Result]], Result]
    settings: Any
    summary: Callable[[Result], str]


def run_stages(stages: Sequence[Stage], out: Path, start: str | None) -> dict[str, Result]:
    """Run what is missing below ``out``, from stage ``start`` on everything.

    Returns:
        The results by stage, each with the ``seconds`` it took.

    Raises:
        ValueError: a stage's folder is there and holds something else.
    """
    results: dict[str, Result] = {}
    digest, repeat = "", False
    width = 1 + max(len(stage.name) for stage in stages)
    for number, stage in enumerate(stages, 1):
        repeat |= stage.name == start
        depends = json.dumps([digest, stage.name, stage.settings], sort_keys=True, default=str)
        digest = hashlib.sha256(depends.encode()).hexdigest()
        folder = out / stage.name
        key, stored = folder / "key", folder / "result.json"
        if not key.is_file() and folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder}: is not a stage's folder; name another --out")
        if repeat or not key.is_file() or key.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            key.write_text(digest)
        label = f"[{number}/{len(stages)}] {stage.name:{width}}"
        kept = stored.is_file()
        if not kept:
            print(f"{label}...", flush=True)
            started = time.perf_counter()
            result = stage.work(folder, results)
            result["seconds"] = round(time.perf_counter() - started, 1)
            with atomic(stored) as new:
                new.write_text(json.dumps(result, indent=1) + "\n")
        results[stage.name] = json.loads(stored.read_text())
        end = "already there" if kept else f"{results[stage.name]['seconds']:.0f} s"
        print(f"{label}{stage.summary(results[stage.name])} ({end})", flush=True)
    return results
