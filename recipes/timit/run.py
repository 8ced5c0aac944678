"""From speech to gates: phone recognition on TIMIT, or on the built-in corpus, and its accelerator.

Stages: prepare, features, dense baseline, block sizes, Phase I (which one), Phase II (formats),
hardware, beam search, report. Each keeps its result below ``--out``: a second run does only what is
missing, and a run that was interrupted goes on where it was.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from data_prep.phones import PhoneSet, timit_set
from recipes.experiment import command
from recipes.experiment.stage import Result, Stage

HERE = Path(__file__).parent


@dataclass
class Options(command.Options):
    """Phone recognition from audio to Verilog."""

    out: Path = Path("exp/timit")
    config: Path = HERE / "default.toml"
    corpus: Literal["builtin", "timit"] | None = None
    """Default: timit where --timit-root is given, else the built-in corpus."""
    timit_root: Path | None = None
    """Folder of a licensed TIMIT, the one that holds TRAIN and TEST."""


@dataclass(frozen=True)
class Corpus:
    """The phones that are trained, and the sizes of the built-in corpus."""

    phones: int  # 61, 48 or 39, of the built-in corpus; 39 are scored
    timit_phones: int  # of a licensed TIMIT
    train_speakers: int
    dev_speakers: int
    test_speakers: int
    sentences: int  # of each speaker

    def __post_init__(self) -> None:
        for count in (self.phones, self.timit_phones):
            timit_set(count)

    @property
    def phone_set(self) -> PhoneSet:
        """What is trained and what is scored."""
        return timit_set(self.phones)

    @property
    def sizes(self) -> dict[str, int]:
        """What :func:`data_prep.synthetic.generate` takes."""
        return {name: value for name, value in asdict(self).items() if "phones" not in name}


class Licensed(Corpus):
    """A licensed TIMIT, which has its own sizes."""

    @property
    def phone_set(self) -> PhoneSet:
        """What is trained and what is scored."""
        return timit_set(self.timit_phones)


def run(options: Options) -> None:
    """Run what is missing.

    Raises:
        ValueError, FileNotFoundError: an option or a file is not as it must be.
    """
    if options.corpus == "timit" and options.timit_root is None:
        raise ValueError("--corpus timit needs --timit-root, the folder of a licensed TIMIT")
    if options.corpus == "builtin" and options.timit_root is not None:
        raise ValueError("--corpus builtin takes no --timit-root")
    from recipes.experiment import pipeline, speech  # when the options are parsed: torch is slow
    from recipes.experiment.settings import read_settings

    root = options.timit_root
    kind = Corpus if root is None else Licensed
    corpus, settings = read_settings(options.config, options.seed, kind)
    stage = Stage(
        "prepare",
        lambda folder, _: prepare(folder, corpus, settings.seed, root),
        [str(root)] if root else [settings.seed, corpus.sizes],
        speech.summary,
    )
    pipeline.run(stage, settings, options)


def prepare(folder: Path, corpus: Corpus, seed: int, timit_root: Path | None) -> Result:
    """Manifests of TIMIT, or of the built-in corpus, which is made first."""
    from data_prep import manifest, synthetic, timit
    from recipes.experiment.speech import describe

    root = timit_root
    if root is None:
        root = folder / "corpus"
        if not root.is_dir():
            synthetic.generate(root, **corpus.sizes, seed=seed)
    manifests = timit.prepare(root, folder / "manifests")
    splits = {split: manifest.read(path) for split, path in manifests.items()}
    if timit_root is None:
        return describe("built-in", "Its PER is not comparable with TIMIT's.", splits)
    differences = timit.differences(splits)
    return describe("TIMIT", differences and f"It is {differences}.", splits)


if __name__ == "__main__":
    command.main(Options, run)
