"""From real speech to gates: phone recognition on speechocean762, and its accelerator.

Stages: prepare, features, dense baseline, block sizes, Phase I (which one), Phase II (formats),
hardware, beam search, report. Each keeps its result below ``--out``: a second run does only what is
missing, and a run that was interrupted goes on where it was.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.phones import ARPABET, PhoneSet
from recipes.experiment import command
from recipes.experiment.stage import Result, Stage

HERE = Path(__file__).parent


@dataclass
class Options(command.Options):
    """Phone recognition on free real speech, from audio to Verilog."""

    out: Path = Path("exp/speechocean762")
    config: Path = HERE / "default.toml"
    root: Path | None = None
    """Folder of the corpus, the one that holds train; default: $ERNN_DATA/speechocean762."""


@dataclass(frozen=True)
class Corpus:
    """Who is held out of the training half."""

    dev_speakers: int
    test_speakers: int  # where the official test half is not there
    seed: int  # of the choice; the seed of a training leaves them as they are

    @property
    def phone_set(self) -> PhoneSet:
        """What is trained and what is scored."""
        return ARPABET


def run(options: Options) -> None:
    """Run what is missing.

    Raises:
        ValueError, FileNotFoundError: an option or a file is not as it must be.
    """
    root = options.root
    if root is None:
        if "ERNN_DATA" not in os.environ:
            raise ValueError("name the corpus by --root, or the folder that holds it by ERNN_DATA")
        root = Path(os.environ["ERNN_DATA"], "speechocean762")
    from recipes.experiment import pipeline, speech  # when the options are parsed: torch is slow
    from recipes.experiment.settings import read_settings

    corpus, settings = read_settings(options.config, options.seed, Corpus)
    stage = Stage(
        "prepare",
        lambda folder, _: prepare(folder, corpus, root),
        [str(root), corpus],
        speech.summary,
    )
    pipeline.run(stage, settings, options)


def prepare(folder: Path, corpus: Corpus, root: Path) -> Result:
    """Manifests of the corpus."""
    from data_prep import manifest, speechocean762
    from recipes.experiment.speech import describe

    manifests = speechocean762.prepare(root, folder / "manifests", **asdict(corpus))
    splits = {split: manifest.read(path) for split, path in manifests.items()}
    test = "Test: held-out speakers of the training half, not the official test set"
    if speechocean762.has_official_test(root):
        test = "Test: the official test half"
    known = {s: speechocean762.overlap(splits[s], splits["train"]) for s in ("dev", "test")}
    note = (
        f"{test}. Dev: other held-out speakers of the training half. Sentences that training has "
        f"too: {known['dev']} of dev, {known['test']} of test."
    )
    return describe("speechocean762", note, splits)


if __name__ == "__main__":
    command.main(Options, run)
