"""The accelerator's cycles and resources at full size, beside the published figures.

    python benchmarks/accelerator.py --json benchmark.json

Each configuration runs speech under Verilator, compared word for word with the integer model, once
alone and once interleaved with other streams, and is synthesized by Yosys for 7 series. Weights are
random (cycles and resources do not depend on them); the formats are calibrated. The features are
log-mel vectors of speechocean762 if $ERNN_DATA has it, and random else.

A configuration takes minutes: Verilator's builds are kept (:func:`ernn.files.cache_folder`).
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn
from tqdm import tqdm

from data_prep.features import FeatureConfig, compute, join, read_audio, statistics
from data_prep.manifest import Utterance
from ernn.files import atomic
from ernn.fixed import Integers
from ernn.nn import GRU, LSTM, CirculantLinear
from ernn.quantize import IntegerModel, calibrate, convert
from hdl import published
from hdl.compiler import compile_model, configure
from hdl.schedule import latency
from hdl.simulate import Simulator
from hdl.synth import synthesize_accelerator

FEATURES = FeatureConfig(num_mels=51, stack=3, subsample=3)
"""153 values a vector, the input of the published models."""
INPUTS, CLASSES = 153, 40
WARM_UP = 4
"""Frames a stream before the cycles are counted."""


@dataclass(frozen=True)
class Case:
    """A model on a core.

    Attributes:
        model: "lstm" (1024 cells, peepholes, projection to 512), "gru-after", "gru-before" (1024
            cells; where the reset is) or "network" (2 x 512 LSTM cells and 40 classes).
        block_size, n_pe, slices, fold: k, R, W and F.
        cycles: that a frame of one stream may take.
        utilization: that it is to reach.
    """

    model: str
    block_size: int
    n_pe: int
    slices: int = 1
    fold: int = 1
    cycles: int | None = None
    utilization: float | None = None

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return f"{self.model}-k{self.block_size}-r{self.n_pe}"


CASES = {
    case.name: case
    for case in (
        Case("lstm", 8, 128, 1, 2, 460, 0.85),
        Case("lstm", 8, 256, 2, 4, 260, 0.75),
        Case("lstm", 16, 64, 1, 2, 260, 0.75),
        Case("lstm", 16, 128, 2, 4, 160, 0.60),
        Case("gru-after", 8, 128, cycles=444 + 90),
        Case("gru-before", 8, 128, cycles=444 + 90),
        Case("gru-after", 16, 64),
        Case("gru-before", 16, 64),
        Case("network", 8, 64, 1, 2),
    )
}


@dataclass(frozen=True)
class Options:
    """Cycles and resources of the accelerator at full size.

    Attributes:
        cases: which configurations; all by default.
        frames: of each utterance.
        streams: interleaved streams of the second measurement, and utterances.
        synth: synthesize with Yosys.
        seed: of the weights, and of the features if there is no speech.
        json: a file to store the rows in.
    """

    cases: tuple[str, ...] = ()
    frames: int = 32
    streams: int = 3
    synth: bool = True
    seed: int = 0
    json: Path | None = None


def check(options: Options) -> None:
    """Raise ValueError if an option is out of its range."""
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        raise ValueError(f"cases {', '.join(unknown)}: there are {', '.join(CASES)}")
    if options.frames < 2 * WARM_UP:
        raise ValueError(f"frames {options.frames}: must be {2 * WARM_UP} or more")
    if options.streams < 1:
        raise ValueError(f"streams {options.streams}: must be 1 or more")


def features(options: Options) -> tuple[str, list[np.ndarray]]:
    """Where the vectors come from, and an utterance (frames, INPUTS) of them for each stream."""
    folder = Path(os.environ.get("ERNN_DATA", "")) / "speechocean762" / "train"
    if "ERNN_DATA" not in os.environ or not (folder / "utt2spk").is_file():
        rng = np.random.default_rng(options.seed)
        shape = options.frames, INPUTS
        return "random", [rng.standard_normal(shape, np.float32) for _ in range(options.streams)]
    return "speechocean762", speech(folder, options)


def speech(folder: Path, options: Options) -> list[np.ndarray]:
    """The first utterances that are long enough, each normalised over itself."""
    import soundfile

    vectors: list[np.ndarray] = []
    for line in (folder / "utt2spk").read_text().splitlines():
        name, speaker = line.split()
        path = str(folder / f"{name}.ogg")
        utterance = Utterance(name, path, 0.0, soundfile.info(path).duration, speaker, "", ())
        frames = compute(read_audio(utterance, FEATURES.sample_rate), FEATURES)
        mean, deviation = statistics([frames])
        x = join((frames - mean) / deviation, FEATURES)[: options.frames]
        if len(x) == options.frames:
            vectors.append(x)
        if len(vectors) == options.streams:
            return vectors
    raise ValueError(f"{folder}: not {options.streams} utterances of {options.frames} vectors")


def integer_model(case: Case, vectors: Sequence[np.ndarray], seed: int) -> IntegerModel:
    """A model with random weights in formats calibrated on the vectors."""
    torch.manual_seed(seed)
    common: dict[str, Any] = {"block_size": case.block_size, "activation": "pwl"}
    recurrent: LSTM | GRU
    if case.model == "lstm":
        recurrent = LSTM(INPUTS, 1024, proj_size=512, peephole=True, **common)
    elif case.model == "network":
        recurrent = LSTM(INPUTS, 512, 2, **common)
    else:
        recurrent = GRU(INPUTS, 1024, reset_after=case.model == "gru-after", **common)
    width = recurrent.proj_size or recurrent.hidden_size
    classes: nn.Linear | CirculantLinear = CirculantLinear(width, CLASSES, case.block_size)
    ranges = calibrate(recurrent, [torch.from_numpy(x) for x in vectors])
    model = convert(recurrent, classes, ranges)
    return model if case.model == "network" else IntegerModel(model.layers[:-1])


def measure(
    case: Case, vectors: Sequence[np.ndarray], options: Options, step: tqdm
) -> list[dict[str, Any]]:
    """The rows of a case: one stream, then all streams in turn."""
    step.set_description(f"{case.name}: model")
    model = integer_model(case, vectors, options.seed)
    frames = [model.quantize(x) for x in vectors]
    wanted = model.run(np.stack(frames, axis=1)).swapaxes(0, 1)
    streams = options.streams
    cfg = configure(model, case.n_pe, slices=case.slices, fold=case.fold, streams=streams)
    step.set_description(f"{case.name}: Verilator")
    simulator = Simulator(cfg)
    rows = []
    for count in sorted({1, streams}):
        program = compile_model(model, cfg, count)
        run = simulator.run(program, frames)
        cycles = steady_cycles(run.finished, count)
        differ = sum(
            int((got != want).any(axis=1).sum())
            for got, want in zip(run.outputs, wanted, strict=True)
        )
        rows.append(
            {
                "model": case.model,
                "k": case.block_size,
                "n_pe": case.n_pe,
                "slices": case.slices,
                "fold": case.fold,
                "streams": count,
                "cycles_per_frame": cycles,
                "limit": program.limit,
                "utilization": program.limit / cycles,
                "latency": latency(program),
                "frames_checked": len(run.finished),
                "mismatches": differ,
            }
        )
    step.set_description(f"{case.name}: Yosys")
    resources = asdict(synthesize_accelerator(cfg).total) if options.synth else {}
    for row in rows:
        row |= {name: resources.get(name) for name in ("dsp", "lut", "ff", "bram36")}
    return rows


def steady_cycles(finished: Integers, streams: int) -> float:
    """Mean cycles from frame to frame of any stream, without the first frames."""
    steady = finished[WARM_UP * streams - 1 :: streams]
    return float(steady[-1] - steady[0]) / (len(steady) - 1) / streams


def to_markdown(rows: Sequence[dict[str, Any]], source: str, streams: int) -> str:
    """The measured rows, what was wanted of them, and the published ones."""
    lines = [
        f"Frames: {source}. Cycles from frame to frame under Verilator; latency of a lone frame, "
        f"last input to last output word, by `hdl.schedule`, in us at 200 MHz; resources by Yosys "
        f"for 7 series of a core for up to {streams} streams.",
        "",
        "| model | k | PEs | streams | cycles/frame | limit | utilization | frames/s | latency us "
        "| DSP | LUT | BRAM36 | frames | mismatches | wanted |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cycles, resources = row["cycles_per_frame"], [row[n] for n in ("dsp", "lut", "bram36")]
        cells = [
            *(row[n] for n in ("model", "k", "n_pe", "streams")),
            *(f"{cycles:.1f}", f"{row['limit']:.0f}", f"{row['utilization']:.1%}"),
            *(f"{200e6 / cycles:,.0f}", f"{row['latency'] / 200:.2f}"),
            *("-" if value is None else f"{value:,g}" for value in resources),
            *(row["frames_checked"], row["mismatches"], verdict(row)),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + f"\n\nPublished, at 200 MHz:\n\n{published.to_markdown()}"


def verdict(row: dict[str, Any]) -> str:
    """What was wanted of one stream, and whether it is met."""
    case = CASES[f"{row['model']}-k{row['k']}-r{row['n_pe']}"]
    wanted = []
    if case.cycles is not None:
        wanted.append((f"<= {case.cycles}", row["cycles_per_frame"] <= case.cycles))
    if case.utilization is not None:
        wanted.append((f">= {case.utilization:.0%}", row["utilization"] >= case.utilization))
    if row["streams"] > 1 or not wanted:
        return ""
    text = ", ".join(text for text, _ in wanted)
    return f"{text}: {'met' if all(met for _, met in wanted) else 'MISSED'}"


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, print the tables, store the rows.

    Raises:
        ValueError: an option is out of its range, or speechocean762 has too few long utterances.
        ConversionError, SimulationError: a tool fails; its output.
    """
    check(options)
    source, vectors = features(options)
    rows: list[dict[str, Any]] = []
    with tqdm([CASES[name] for name in options.cases or CASES], disable=None) as step:
        for case in step:
            rows += measure(case, vectors, options, step)
            if options.json is not None:  # what is measured is kept, whatever comes
                content = {
                    "frames": source,
                    "rows": rows,
                    "published": published.rows(),
                }
                with atomic(options.json) as new:
                    new.write_text(json.dumps(content, indent=1) + "\n")
    print(to_markdown(rows, source, options.streams), end="")
    return rows


def main() -> int:
    """Run the command line; 1 if the accelerator differs from the integer model."""
    options = tyro.cli(Options, description="Cycles and resources of the accelerator at full size.")
    try:
        rows = run(options)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks/accelerator.py: {error}", file=sys.stderr)
        return 2
    return int(any(row["mismatches"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
