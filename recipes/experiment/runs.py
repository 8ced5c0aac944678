"""Folders of a recipe's run.py that differ in their seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from recipes.experiment.settings import Settings, remembered


@dataclass
class Arguments:
    """What every command on runs is told."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of run.py, which differ in their seed."""


def settings_of(runs: Sequence[Path]) -> list[Settings]:
    """Read the settings of runs.

    Raises:
        FileNotFoundError: one is no run.
        ValueError: there is none, two have one seed, or they differ in more than that.
    """
    if not runs:
        raise ValueError("no run: name the folders of one or more")
    found = [remembered(out) for out in runs]
    seeds = [settings.seed for settings in found]
    if len({*seeds}) < len(seeds):
        raise ValueError(f"seeds are {seeds}: each run must have its own")
    alike = [replace(s, seed=0, train=replace(s.train, seed=0)) for s in found]
    for out, settings in zip(runs, alike, strict=True):
        if settings != alike[0]:
            raise ValueError(f"{out}: its settings are not those of {runs[0]}")
    return found
