"""What Phase I writes down: what was asked, what was answered, what was decided and why."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ernn.explore.candidate import Candidate, Core
from ernn.files import atomic

MOST_TRIALS = 5


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        dev_per: percent.
        report: anything else that is to stand in the trace, in plain values.
    """

    dev_per: float
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the hardware said of a candidate.

    Attributes:
        core: the core; of a candidate that cannot be built the one that comes nearest, if any.
        refusal: why it cannot be built, in one line.
    """

    core: Core | None
    refusal: str | None = None


Decision = Literal["taken", "left", "skipped"]
"""Skipped is what was not trained."""


@dataclass(frozen=True)
class Step:
    """A candidate and what was decided about it.

    Attributes:
        candidate: the candidate.
        decision: of ``Decision``.
        reason: why.
        answer: what the hardware said of it.
        trained: what its training came to.
    """

    candidate: Candidate
    decision: Decision
    reason: str
    answer: Answer
    trained: Trained | None = None


@dataclass
class Phase1:
    """The exploration so far, and when it is complete its result.

    Attributes:
        base: the recogniser whose block size is chosen.
        device, holds: the device, and what it has.
        control: dev PER of the dense control, percent.
        budget: points of dev PER that the chosen one may lose against it.
        least_gain: how many times cheaper a block size must be than the one before.
        answers: block size -> what the hardware said.
        lower, upper: the bounds of the block size.
        bounds: how they were found, a line each.
        steps: the candidates in the order in which they were decided about.
        chosen: the recogniser to build.
        verdict: what is to be known of it, in a line.
    """

    base: Candidate
    device: str
    holds: dict[str, float]
    control: float
    budget: float
    least_gain: float
    answers: dict[int, Answer] = field(default_factory=dict)
    lower: int = 0
    upper: int = 0
    bounds: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    chosen: Candidate | None = None
    verdict: str = ""

    @property
    def limit(self) -> float:
        """The largest dev PER that is within the budget."""
        return self.control + self.budget

    @property
    def trials(self) -> int:
        """Candidates that were trained."""
        return sum(step.trained is not None for step in self.steps)

    def write(self, folder: Path) -> None:
        """Write ``phase1.json`` and the readable ``phase1.md``."""
        content = asdict(self) | {"limit": self.limit, "trials": self.trials}
        texts = {
            "json": json.dumps(content, indent=1, default=dict) + "\n",
            "md": to_markdown(self),
        }
        for suffix, text in texts.items():
            with atomic(folder / f"phase1.{suffix}") as new:
                new.write_text(text)


# ---------------------------------------------------------------------------------------- Markdown


def to_markdown(result: Phase1) -> str:
    """The trace: bounds, trials, and what was chosen."""
    holds = result.holds
    lines = [
        f"# Phase I on {result.device}",
        "",
        f"Dense control: dev PER {result.control:.2f}. Budget: {result.budget:g} points, so at "
        f"most {result.limit:.2f}. The device has {holds['dsp']:,} DSP, {holds['lut']:,} LUT and "
        f"{holds['bram36']:g} BRAM36.",
        "",
        f"## Cores for {result.base.shape} by block size",
        "",
        "| k | core | memories, KiB | BRAM36 | DSP | LUT | share | cycles | cost | a PE "
        "| besides the PEs |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(str(k), answer) for k, answer in result.answers.items()),
        "",
        _sources([answer.core for answer in result.answers.values()]),
        *(f"\n{line}" for line in result.bounds),
        "",
        f"## Trials ({result.trials} of at most {MOST_TRIALS})",
        "",
        "| candidate | dev PER | cost | | why |",
        "|---|---|---|---|---|",
    ]
    for step in result.steps:
        per = f"{step.trained.dev_per:.2f}" if step.trained else "-"
        cost = f"{step.answer.core.cost:.1f}" if step.answer.core else "-"
        name = step.candidate.name
        lines.append(f"| {name} | {per} | {cost} | {step.decision} | {step.reason} |")
    lines += ["", "## Chosen", "", result.verdict or "Not yet."]
    return "\n".join(lines) + "\n"


def _row(k: str, answer: Answer) -> str:
    core = answer.core
    if core is None:
        return f"| {k} | {answer.refusal} |" + " |" * 9
    pe = rest = "-"
    if core.pe is not None:
        pe = _resources(core.pe)
        rest = _resources({n: getattr(core, n) - core.n_pe * core.pe[n] for n in core.pe})
    figures = (
        *(f"{core.memory_bytes / 1024:,.0f}", f"{core.bram36:g}", f"{core.dsp:,}"),
        *(f"{core.lut:,}", f"{core.share:.1%} of {core.scarcest.upper()}", f"{core.cycles:,}"),
        *("does not fit" if answer.refusal else f"{core.cost:.1f}", pe, rest),
    )
    return " | ".join([f"| {k}", core.size, *figures]) + " |"


def _resources(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,g} {name.upper()}" for name, value in resources.items())


def _sources(cores: list[Core | None]) -> str:
    """Say where the figures come from."""
    measured = [core for core in cores if core is not None and core.simulated]
    others = [core for core in cores if core is not None and not core.simulated]
    parts = []
    if measured:
        parts.append(
            "Cores with a PE's resources were synthesized by Yosys, and their cycles are those of "
            "a frame under Verilator."
        )
    if others:
        what = "All others are" if measured else "Resources and cycles are"
        parts.append(f"{what} the estimate's and the schedule's.")
    parts.append(
        "The core is the one of the least cost: cycles of a frame times the share of what may be "
        "filled of the scarcest resource."
    )
    return " ".join(parts)
