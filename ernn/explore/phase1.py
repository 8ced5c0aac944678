"""Phase I: which cell and which block size, decided on evidence with at most five trainings.

1. Bounds. From below: the smallest block size k whose network fits in the device's memory. From
   above: the largest k whose core is at least ``least_gain`` times cheaper than that of the block
   size before; beyond it a larger k costs accuracy and saves next to nothing.
2. LSTM: the largest k between the bounds whose dev PER is within the budget, by bisection.
3. GRU at that k, if its core is not dearer: taken if its dev PER is within the budget. An
   exploration may begin with a GRU, and then has no such step.
4. The input's (and the projection's) matrices at 2k, whose errors do not add up through time.

The budget is in points of dev PER against a dense control that was trained as long; the control is
given, and is none of the five. What cannot be built, or could not be taken for its cost, is not
trained. Cost is cycles of a frame times the share of the device (:class:`ernn.explore.Core`).

Source: Li et al., E-RNN, HPCA 2019, Phase I. There the upper bound is a count of multiplications;
here it is that of real cores.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from ernn.explore.candidate import Candidate, CannotBuildError, Core, Hardware
from ernn.explore.kept import kept
from ernn.explore.trace import MOST_TRIALS, Answer, Decision, Phase1, Step, Trained


class Trainer(Protocol):
    """Trains candidates, each for as long as the dense control, and keeps what it has trained."""

    def __call__(self, candidate: Candidate) -> Trained:
        """Train a candidate, or find it trained."""


def explore(
    base: Candidate,
    control: float,
    budget: float,
    hardware: Hardware,
    trainer: Trainer,
    folder: Path,
    *,
    n_pe: int | None = None,
    least_gain: float = 1.1,
) -> Phase1:
    """Choose the recogniser to build, and write every decision with its evidence.

    The folder then holds ``phase1.json`` and ``phase1.md``. It also keeps what the hardware said
    (``hardware/``), and belongs to one hardware, whose settings it does not know: the same call
    goes on after an interruption.

    Args:
        base: the recogniser; its block size does not matter.
        control: dev PER in percent of the dense control.
        budget: points of dev PER that may be lost against it.
        hardware: what can be built.
        trainer: trains a candidate.
        folder: where everything is kept.
        n_pe: PEs of all cores; by default a block size has those that cost least.
        least_gain: how many times cheaper a block size must be than the one before it.

    Raises:
        ValueError: a figure is out of its range.
        CannotBuildError: the device has no room for any block size.
    """
    if budget < 0:
        raise ValueError(f"budget {budget}: must be 0 or more points of dev PER")
    if least_gain < 1:
        raise ValueError(f"least_gain {least_gain}: must be 1 or more")
    holds = dict(hardware.holds)
    result = Phase1(base, hardware.device, holds, control, budget, least_gain)
    explorer = _Explorer(result, hardware, n_pe, trainer, folder)
    explorer.find_bounds()
    best = explorer.find_block_size()
    if base.model.cell == "lstm":
        best = explorer.try_gru(best)
    best = explorer.try_larger_inputs(best)
    explorer.conclude(best)
    return result


@dataclass(frozen=True)
class _Best:
    """What would be chosen if there were no step more."""

    candidate: Candidate
    core: Core
    dev_per: float


class _Explorer:
    """The steps of the exploration; ``result`` grows as they are taken."""

    def __init__(
        self,
        result: Phase1,
        hardware: Hardware,
        n_pe: int | None,
        trainer: Trainer,
        folder: Path,
    ):
        self.result = result
        self.hardware = hardware
        self.n_pe = n_pe
        self.trainer = trainer
        self.folder = folder

    # ------------------------------------------------------------------------------------- asking

    def answer(self, candidate: Candidate) -> Answer:
        """Ask the hardware, once."""
        name = self.hardware.device if self.n_pe is None else f"{self.hardware.device}-{self.n_pe}"
        path = self.folder / "hardware" / f"{name}-{candidate.key}.json"

        def ask() -> dict[str, Any]:
            try:
                return asdict(Answer(self.hardware(candidate, self.n_pe)))
            except CannotBuildError as error:
                return asdict(Answer(error.nearest, str(error)))

        content = kept(path, ask)
        core = content["core"]
        return Answer(core and Core(**core), content["refusal"])

    def add(self, step: Step) -> None:
        """Write a step down."""
        self.result.steps.append(step)
        self.result.write(self.folder)

    # -------------------------------------------------------------------------------------- steps

    def find_bounds(self) -> None:
        """Ask the hardware about every block size."""
        result, base = self.result, self.result.base
        with tqdm(self.hardware.block_sizes, disable=None, desc="hardware") as bar:
            for k in bar:
                bar.set_postfix(k=k)
                result.answers[k] = self.answer(base.shaped(block_size=k))
        result.lower, line = lower_bound(result)
        result.bounds.append(line)
        result.upper, line = upper_bound(result)
        result.bounds.append(line)
        result.write(self.folder)

    def find_block_size(self) -> _Best:
        """The largest block size of the LSTM that is within the budget, by bisection."""
        result = self.result
        sizes = buildable(result, result.lower, result.upper)
        within, beyond = -1, len(sizes)  # places of a size that is, and of one that is not
        best: _Best | None = None
        while beyond - within > 1:
            middle = (within + beyond) // 2
            k, core = sizes[middle]
            candidate = result.base.shaped(block_size=k)
            trained = self.trainer(candidate)
            fits = trained.dev_per <= result.limit
            within, beyond = (middle, beyond) if fits else (within, middle)
            smallest = not fits and middle == 0
            reason = self.against_limit(trained) + ", but there is no smaller k" * smallest
            if fits or smallest:
                best = _Best(candidate, core, trained.dev_per)
            decision: Decision = "taken" if fits or smallest else "left"
            self.add(Step(candidate, decision, reason, result.answers[k], trained))
        assert best is not None  # a size was within, or the smallest was tried
        return best

    def try_gru(self, best: _Best) -> _Best:
        """A GRU of the same sizes at the same block size."""
        return self.better(best.candidate.shaped(cell="gru"), best)

    def try_larger_inputs(self, best: _Best) -> _Best:
        """The matrices outside the recurrence at twice the block size."""
        k = best.candidate.model.block_size
        assert isinstance(k, int)
        roles = {"input": 2 * k, "recurrent": k}
        if best.candidate.model.proj_size:
            roles["projection"] = 2 * k
        return self.better(best.candidate.shaped(block_size=roles), best)

    def better(self, candidate: Candidate, best: _Best) -> _Best:
        """A candidate if it is within the budget and no dearer than one that is, else the best."""
        result, answer = self.result, self.answer(candidate)

        def skip(reason: str) -> _Best:
            self.add(Step(candidate, "skipped", reason, answer))
            return best

        if answer.core is None or answer.refusal is not None:
            return skip(f"cannot be built: {answer.refusal}")
        dearer = answer.core.cost > best.core.cost
        cost = f"its core is {'dearer' if dearer else 'no dearer'} than that of "
        cost += f"{best.candidate.name}: {answer.core.cost:.1f} against {best.core.cost:.1f}"
        if dearer and best.dev_per <= result.limit:
            return skip(cost)
        if result.trials == MOST_TRIALS:
            return skip(f"{MOST_TRIALS} trials are done")
        trained = self.trainer(candidate)
        fits = trained.dev_per <= result.limit
        reason = f"{self.against_limit(trained)}; {cost}"
        self.add(Step(candidate, "taken" if fits else "left", reason, answer, trained))
        return _Best(candidate, answer.core, trained.dev_per) if fits else best

    def against_limit(self, trained: Trained) -> str:
        """Say whether a dev PER is within the budget."""
        per, limit = trained.dev_per, self.result.limit
        if per <= limit:
            return f"dev PER {per:.2f} is within {limit:.2f}"
        return f"dev PER {per:.2f} is above {limit:.2f}"

    def conclude(self, best: _Best) -> None:
        """Name the chosen candidate."""
        result = self.result
        result.chosen = best.candidate
        over = "" if best.dev_per <= result.limit else ": NOT within the budget, as nothing else is"
        result.verdict = (
            f"{best.candidate.name}: dev PER {best.dev_per:.2f}, "
            f"{best.dev_per - result.control:+.2f} against the control{over}"
        )
        result.write(self.folder)


def buildable(result: Phase1, lower: int, upper: int) -> list[tuple[int, Core]]:
    """The block sizes between two, both included, that can be built, with their cores."""
    return [
        (k, answer.core)
        for k, answer in result.answers.items()
        if lower <= k <= upper and answer.core is not None and answer.refusal is None
    ]


def lower_bound(result: Phase1) -> tuple[int, str]:
    """The smallest block size whose network fits in the device's memory, and how it was found.

    Raises:
        CannotBuildError: none can be built.
    """
    holds = result.holds["bram36"]
    fitting = [
        (k, answer.core)
        for k, answer in result.answers.items()
        if answer.core is not None and answer.core.bram36 <= holds
    ]
    if not buildable(result, 0, max(result.answers)):
        refusals = (f"k = {k}: {answer.refusal}" for k, answer in result.answers.items())
        raise CannotBuildError(
            f"{result.device} has no room for {result.base.shape}: " + "; ".join(refusals)
        )
    lower, core = fitting[0]
    smaller = [(k, answer.core) for k, answer in result.answers.items() if k < lower]
    line = f"Lower bound k = {lower}, the smallest whose memories {result.device} holds: "
    return lower, line + "; ".join(
        f"k = {k} needs {core.bram36:g} of {holds:g} BRAM36 for {core.memory_bytes / 1024:,.0f} KiB"
        for k, core in [*smaller, (lower, core)]
        if core is not None
    ) + "."


def upper_bound(result: Phase1) -> tuple[int, str]:
    """The largest block size that is worth its step, and how it was found."""
    costs = {k: core.cost for k, core in buildable(result, result.lower, max(result.answers))}
    upper, gains = min(costs), []
    for before, k in pairwise(costs):
        gain = costs[before] / costs[k]
        gains.append(f"k = {k} is {gain:.2f} times cheaper than k = {before}")
        if gain >= result.least_gain:
            upper = k
    refused = [
        f"k = {k} cannot be built: {answer.refusal}"
        for k, answer in result.answers.items()
        if k > result.lower and answer.refusal is not None
    ]
    line = f"Upper bound k = {upper}"
    if gains:
        line += f", the largest that is {result.least_gain:g} times cheaper than the one before"
    return upper, f"{line}: {'; '.join([*gains, *refused])}."
