"""What short words cost, on folders of run.py that differ in their seed.

    python recipes/speechocean762/words.py exp/speechocean762 exp/seed1 exp/seed2

Prints a table, and keeps it below each folder.
"""

from dataclasses import dataclass
from pathlib import Path

from recipes.experiment import command, words
from recipes.speechocean762.run import Corpus


@dataclass
class Arguments(words.Arguments):
    """Quantize every block size of runs that differ in their seed."""

    config: Path = Path(__file__).parent / "default.toml"
    """The settings that the runs were made with."""


def run(arguments: Arguments) -> None:
    """Print the table."""
    print(words.run(arguments, Corpus), end="")


if __name__ == "__main__":
    command.main(Arguments, run)
