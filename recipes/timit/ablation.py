"""What each part of the compression contributes, on folders of run.py that differ in their seed.

    python recipes/timit/ablation.py exp/timit exp/seed1 exp/seed2 --block-size 16

Prints a table, and keeps it below each folder.
"""

from dataclasses import dataclass
from pathlib import Path

from recipes.experiment import ablation, command
from recipes.timit.run import Corpus


@dataclass
class Arguments(ablation.Arguments):
    """Compare ways to compress at one block size."""

    config: Path = Path(__file__).parent / "default.toml"
    """The settings that the runs were made with."""


def run(arguments: Arguments) -> None:
    """Print the table."""
    print(ablation.run(arguments, Corpus), end="")


if __name__ == "__main__":
    command.main(Arguments, run)
