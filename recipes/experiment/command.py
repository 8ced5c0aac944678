"""The command line that the recipes share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

StageName = Literal[
    "prepare", "features", "dense", "compress", "phase1", "phase2", "hardware", "beam", "report"
]
Chosen = TypeVar("Chosen")


@dataclass
class Options:
    """What every recipe can be told."""

    out: Path
    """Folder of everything that is written."""
    config: Path
    """Settings: every hyper-parameter."""
    start: Annotated[StageName | None, tyro.conf.arg(name="from")] = None
    """Repeat this stage and all after it."""
    seed: int | None = None
    """Replaces the seed of the settings."""


def main(options: type[Chosen], run: Callable[[Chosen], None], module: str | None = None) -> None:
    """Parse the command line and run; what is wrong is told in one line, with exit code 2.

    Args:
        options: what can be told.
        run: is told it.
        module: of this package, where it is started as one and not as a script.
    """
    parsed = tyro.cli(options, prog=module and f"python -m recipes.experiment.{module}")
    try:
        run(parsed)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)
