"""results.json, RESULTS.md and the pictures."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ernn.asr import AcousticModel
from ernn.explore import Candidate
from ernn.files import atomic
from recipes.experiment import plots
from recipes.experiment.beam import table
from recipes.experiment.settings import Settings
from recipes.experiment.stage import Result


def write(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Write the report next to the stages; its text is returned too."""
    summary = summarise(settings, results)
    plots.draw(results, folder)
    text = markdown(settings, summary, results)
    with atomic(out / "results.json") as new:
        new.write_text(json.dumps(summary, indent=1) + "\n")
    with atomic(out / "RESULTS.md") as new:
        new.write_text(text)
    return {"text": text}


def summarise(settings: Settings, results: dict[str, Result]) -> dict[str, Any]:
    """Return every figure of the tables, in plain keys."""
    dense, trained = results["dense"], results["compress"]
    phase2, hardware = results["phase2"], results["hardware"]
    chosen = results["phase1"]["chosen"]
    return {
        "corpus": results["prepare"]["corpus"],
        "note": results["prepare"]["note"],
        "seed": settings.seed,
        "utterances": results["prepare"]["utterances"],
        "per": {
            "dense": dense["test"],
            "control": trained["control"]["test"],
            "circulant": {k: r["test"] for k, r in trained["variants"].items()},
            "chosen": chosen["test"],
            "integer": phase2["test"],
        },
        "per_dev": {
            "dense": dense["dev"],
            "control": trained["control"]["dev"],
            "circulant": {k: r["dev"] for k, r in trained["variants"].items()},
            "chosen": chosen["dev"],
            "integer": phase2["dev"],
        },
        "per_beam": {name: r["per"] for name, r in results["beam"]["test"]["beam"].items()},
        "model": {
            "cell": chosen["cell"],
            "hidden": settings.model.hidden_size,
            "layers": settings.model.num_layers,
            "bidirectional": settings.model.bidirectional,
            "block_size": chosen["block_size"],
            "words": phase2["words"],
        },
        "parameters": {
            "dense": dense["parameters"],
            "chosen": chosen["parameters"],
            "recurrent_dense": dense["recurrent_parameters"],
            "recurrent_chosen": chosen["recurrent_parameters"],
        },
        "rtl": {
            key: hardware[key]
            for key in (
                "n_pe",
                "core",
                "layers",
                "programs",
                "utterances",
                "frames",
                "words",
                "mismatches",
                "block_products",
                "cycles_per_frame",
                "scheduled_cycles_per_frame",
                "utilization",
            )
        },
        "resources": hardware["resources"],
        "seconds": {name: result["seconds"] for name, result in results.items()},
    }


def markdown(settings: Settings, summary: dict[str, Any], results: dict[str, Result]) -> str:
    """Return RESULTS.md: what was run, the table as the papers print it, one utterance."""
    prepare, dense, trained = results["prepare"], results["dense"], results["compress"]
    phase1, phase2 = results["phase1"], results["phase2"]
    hardware, beam = results["hardware"], results["beam"]
    sizes = " / ".join(map(str, prepare["utterances"].values()))
    rtl, resources = summary["rtl"], summary["resources"]
    chosen = phase1["chosen"]

    def row(
        cell: str,
        what: str,
        k: int,
        run: Result,
        integer: str = "",
        core: str = " | | | | ",
        bold: str = "",
    ) -> str:
        shape = Candidate(settings.model).shaped(cell=cell, block_size=k)
        ratio = dense["recurrent_parameters"] / run["recurrent_parameters"]
        return (
            f"| {bold}{shape.shape}{what}{bold} | {k if k > 1 else '-'} | {run['parameters']:,} | "
            f"{ratio:.1f} | {AcousticModel(shape.model).recurrent.products:,} | "
            f"{run['dev']:.2f} | {run['test']:.2f} | {integer} | {core} |"
        )

    several = (
        " Each direction of a layer is a program of its own: cycles are the sum over the "
        f"{rtl['programs']} programs, without their loading."
    )
    core = (
        f"{rtl['cycles_per_frame']:.0f} | {100 * rtl['utilization']:.0f} % | {resources['dsp']} | "
        f"{resources['bram36']:g} | {resources['lut']:,}"
    )
    cell = settings.model.cell
    rows = [
        row(cell, ", dense baseline", 1, dense),
        row(cell, ", dense control", 1, trained["control"]),
    ]
    if cell != "gru":
        rows.append(row("gru", ", dense baseline", 1, dense["gru"]))
    for run in (*trained["variants"].values(), *phase1["others"].values()):
        taken = run["folder"] == chosen["folder"]
        extra = (f"{phase2['test']:.2f}", core, "**") if taken else ()
        rows.append(row(run["cell"], ", chosen" * taken, run["block_size"], run, *extra))
    frames = settings.train.criterion == "frames"
    search = "Viterbi search of the hybrid set-up" if frames else "prefix beam search"
    example = [f"{key:10}{' '.join(hardware['example'][key])}" for key in EXAMPLE]
    seconds = ", ".join(f"{stage} {value:.0f}" for stage, value in summary["seconds"].items())
    return "\n".join(
        [
            f"# Results: {summary['corpus']} corpus, seed {summary['seed']}",
            "",
            provenance(),
            "",
            f"{prepare['note']} Utterances of train, dev and test: {sizes}.".lstrip(),
            "",
            f"PER in %, greedy, {scoring(settings)}; chosen on dev. The dense control "
            f"and every block size are trained {settings.compress.epochs} epochs from the same "
            f"baseline ({settings.train.epochs} epochs). One seed: differences below 1.5 points "
            "say nothing. Cycles are simulated (Verilator), resources are those of Yosys for xc7.",
            "",
            "| model | k | parameters | compression | products | PER dev | PER test | "
            "PER test, integer | cycles a frame | utilization | DSP | BRAM36 | LUT |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Phase I chose {phase1['verdict']}. `phase1/explore/phase1.md` has its evidence. "
            "Compression is that of the recurrent layers; products are the real multiplications of "
            "a frame in their matrices, with those of the FFTs.",
            "",
            f"Phase II chose {phase2['verdict']}. `phase2/phase2.md` has every trial.",
            "",
            f"- dense baseline: test {dense['score']}",
            f"- dense control: test {trained['control']['score']}",
            *[f"- k = {k}: test {run['score']}" for k, run in trained["variants"].items()],
            *[f"- {other}: test {run['score']}" for other, run in phase1["others"].items()],
            f"- integer model: test {phase2['score']}",
            "",
            "## Decoding",
            "",
            f"Greedy, and {search} with a phone n-gram of the training transcripts (order "
            f"{min(beam['perplexity'], key=beam['perplexity'].get)}), tuned on dev. Intervals are "
            "those of a bootstrap over the test speakers.",
            "",
            *table(beam),
            "",
            f"## Hardware: one accelerator, {rtl['core']}",
            "",
            f"It is the smallest on {settings.hardware.device} whose frame takes "
            f"{settings.hardware.target_us:g} us at most, by the schedule. It runs the "
            f"{rtl['layers']} recurrent layers; the dense output layer is the host's. "
            f"{rtl['utterances']} whole test utterances went through its Verilog."
            f"{several * (rtl['programs'] > 1)}",
            "",
            "| frames | words compared | mismatches | block products a frame | cycles a frame | "
            "by the schedule | utilization | DSP | BRAM36 | LUT | FF |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            f"| {rtl['frames']} | {rtl['words']:,} | {rtl['mismatches']} | "
            f"{rtl['block_products']:,} | {rtl['cycles_per_frame']:.0f} | "
            f"{rtl['scheduled_cycles_per_frame']:.0f} | {100 * rtl['utilization']:.0f} % | "
            f"{resources['dsp']} | {resources['bram36']:g} | {resources['lut']:,} | "
            f"{resources['ff']:,} |",
            "",
            f"{hardware['example']['id']}, as the reference has it and as it is recognised:",
            "",
            "```",
            *example,
            "```",
            "",
            "![training](report/training.png)",
            "![compression](report/compression.png)",
            "![activations](report/activations.png)",
            "![ranges](report/ranges.png)",
            "",
            f"Seconds: {seconds}.",
            "",
        ]
    )


def scoring(settings: Settings) -> str:
    """Say which phones are trained and which are scored."""
    phones = settings.phones
    scored = {*phones.scored.values()} - {None}
    silence = "silence counts" if "sil" in scored else "there is no silence among them"
    return f"{len(phones.symbols)} phones trained, {len(scored)} scored, {silence}"


EXAMPLE = ("reference", "float", "integer", "rtl")


def provenance() -> str:
    """Return what a report says of itself: date, commit, machine and command."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {machine()}. "
        f"Command: `{' '.join(['python', *sys.argv])}`."
    )


def commit() -> str:
    """Return the commit that runs, or 'unknown' outside a checkout."""
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        name = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True, stderr=-3)
        dirty = subprocess.check_output([*git, "status", "--porcelain"], text=True, stderr=-3)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + (" with changes" if dirty else "")


def machine() -> str:
    """Return processor and cores."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    return f"{os.cpu_count()} cores of {model}"
