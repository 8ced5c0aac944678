"""From speech to gates: phone recognition on TIMIT, or on the built-in corpus, and its accelerator.

Stages: prepare, features, dense baseline, Phase I (block size), Phase II (formats), hardware,
report. Each keeps its result below ``--out``: a second run does only what is missing, and a run
that was interrupted goes on where it was.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

StageName = Literal["prepare", "features", "dense", "phase1", "phase2", "hardware", "report"]
HERE = Path(__file__).parent


@dataclass
class Arguments:
    """Phone recognition from audio to Verilog."""

    out: Path = Path("exp/timit")
    """Folder of everything that is written."""
    corpus: Literal["builtin", "timit"] | None = None
    """Default: timit where --timit-root is given, else the built-in corpus."""
    timit_root: Path | None = None
    """Folder of a licensed TIMIT, the one that holds TRAIN and TEST."""
    start: Annotated[StageName | None, tyro.conf.arg(name="from")] = None
    """Repeat this stage and all after it."""
    seed: int | None = None
    """Replaces the seed of the settings."""
    config: Path = HERE / "default.toml"
    """Settings: every hyper-parameter."""


def run(arguments: Arguments) -> None:
    """Run what is missing.

    Raises:
        ValueError, FileNotFoundError: an argument or a file is not as it must be.
    """
    if arguments.corpus == "timit" and arguments.timit_root is None:
        raise ValueError("--corpus timit needs --timit-root, the folder of a licensed TIMIT")
    if arguments.corpus == "builtin" and arguments.timit_root is not None:
        raise ValueError("--corpus builtin takes no --timit-root")
    import accelerator  # after the arguments are parsed: torch takes seconds
    import report
    import speech
    import torch
    from settings import read_settings
    from stage import Stage, run_stages

    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    settings = read_settings(arguments.config, arguments.seed)
    out, root = arguments.out, arguments.timit_root
    corpus = "built-in" if root is None else "TIMIT"
    stages = [
        Stage(
            "prepare",
            lambda folder, _: speech.prepare(folder, settings, root),
            [settings.seed, str(root) if root else settings.corpus],
            lambda r: (
                f"{corpus} corpus, {' / '.join(map(str, r['utterances'].values()))} utterances"
            ),
        ),
        Stage(
            "features",
            lambda folder, _: speech.extract(folder, settings, out / "prepare" / "manifests"),
            settings.features,
            lambda r: f"{r['size']} values a frame",
        ),
        Stage(
            "dense",
            lambda folder, _: speech.dense(folder, settings, out),
            [settings.model, settings.train],
            lambda r: f"test {r['score']}",
        ),
        Stage(
            "phase1",
            lambda folder, _: speech.phase1(folder, settings, out),
            settings.compress,
            lambda r: f"block size {r['chosen']}, {r['reason']}",
        ),
        Stage(
            "phase2",
            lambda folder, results: accelerator.phase2(folder, settings, out, results),
            [settings.quantize, settings.hardware.calibration_utterances],
            lambda r: f"integer model, test {r['score']}",
        ),
        Stage(
            "hardware",
            lambda folder, results: accelerator.hardware(folder, settings, out, results),
            settings.hardware,
            lambda r: f"{r['frames']} frames, {r['mismatches']} mismatches",
        ),
        Stage(
            "report",
            lambda folder, results: report.write(folder, settings, out, corpus, results),
            corpus,
            lambda r: f"see {out / 'RESULTS.md'}",
        ),
    ]
    results = run_stages(stages, out, arguments.start)
    print(results["report"]["text"])


def main() -> None:
    """Parse the command line and run."""
    arguments = tyro.cli(Arguments)
    try:
        run(arguments)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
