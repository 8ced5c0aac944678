"""The stages of a recipe, one after another."""

from dataclasses import replace

import torch

from ernn.files import locked
from recipes.experiment import beam, hardware, phase1, phase2, report, speech, training
from recipes.experiment.command import Options
from recipes.experiment.settings import Settings, remember
from recipes.experiment.stage import Stage, run_stages


def run(prepare: Stage, settings: Settings, options: Options) -> None:
    """Run what is missing and print the report.

    Args:
        prepare: the recipe's own first stage; it writes ``manifests/train.jsonl``, dev and test,
            and its result is that of :func:`recipes.experiment.speech.describe`.
        settings: every hyper-parameter.
        options: where they were read, what is written where, what is repeated.

    Raises:
        ValueError, FileNotFoundError: a setting or a file is not as it must be.
        BlockingIOError: another run writes there.
    """
    out = options.out
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    stages = [
        prepare,
        Stage(
            "features",
            lambda folder, _: speech.extract(folder, settings, out / "prepare" / "manifests"),
            settings.features,
            lambda r: f"{r['size']} values a frame",
        ),
        Stage(
            "dense",
            lambda folder, _: training.dense(folder, settings, out),
            [settings.model, training.gru(settings.model), settings.train],
            lambda r: f"test {r['score']}",
        ),
        Stage(
            "compress",
            lambda folder, _: training.compress(folder, settings, out),
            replace(settings.compress, budget=0),
            training.summary,
        ),
        Stage(
            "phase1",
            lambda folder, results: phase1.explore(folder, settings, out, results),
            [
                settings.compress.budget,
                settings.quantize.longest,
                phase1.evidence(settings.hardware),
            ],
            lambda r: r["verdict"],
        ),
        Stage(
            "phase2",
            lambda folder, results: phase2.quantize(folder, settings, out, results),
            [settings.quantize, settings.hardware.calibration_utterances],
            lambda r: f"integer model, test {r['score']}",
        ),
        Stage(
            "hardware",
            lambda folder, results: hardware.simulate(folder, settings, out, results),
            settings.hardware,
            lambda r: f"{r['frames']} frames, {r['mismatches']} mismatches",
        ),
        Stage(
            "beam",
            lambda folder, results: beam.search(folder, settings, out, results),
            None,
            lambda r: f"integer model with an n-gram, test {r['test']['beam']['integer']['score']}",
        ),
        Stage(
            "report",
            lambda folder, results: report.write(folder, settings, out, results),
            None,
            lambda r: f"see {out / 'RESULTS.md'}",
        ),
    ]
    with locked(out, wait=False):
        remember(out, options.config, settings)
        results = run_stages(stages, out, options.start)
    print(results["report"]["text"])
