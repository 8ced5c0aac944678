"""Phase II: how many bits, and how many segments, each the fewest that stay in the budget.

1. Weights, activations, pre-activations, the cell state and the segments of the piece-wise linear
   units, in this order and each by bisection on the dev PER of the integer model; what is not
   searched yet is as long as allowed. The budget is handed out in equal parts: after n of N
   quantities n / N of it may be spent, so that the first does not take it all.
2. Quantization-aware training. What was found is at its edge everywhere, so all words are made
   shorter by one bit and the model is trained in these formats; then by two, until one is out of
   the budget, or by four.

The budget is in points of dev PER against the float model. Source: Li et al., E-RNN, HPCA 2019,
Phase II, which searches the weights' word length alone.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ernn.explore.kept import kept
from ernn.files import atomic
from ernn.quantize import WordLengths

QUANTITIES = "weight", "activation", "preactivation", "cell", "segments"
"""What is searched, in order: the fields of :class:`ernn.quantize.WordLengths`."""

SHORTEST = WordLengths(weight=4, activation=4, preactivation=6, cell=6, segments=4)
"""Where the search ends."""

MOST_TRAININGS = 4

Evaluate = Callable[[WordLengths], float]
"""Dev PER of the integer model; ValueError, in one line, where there is none."""

TrainAware = Callable[[WordLengths, Path], float]
"""Trains in the formats, in a folder of its own; dev PER of the integer model."""


@dataclass(frozen=True)
class Trial:
    """An integer model.

    Attributes:
        words: its word lengths.
        dev_per: percent; None where it cannot be.
        refusal: why it cannot be, in one line.
    """

    words: WordLengths
    dev_per: float | None
    refusal: str | None = None

    def within(self, limit: float) -> bool:
        """Whether it is, and errs at most so much."""
        return self.dev_per is not None and self.dev_per <= limit


@dataclass(frozen=True)
class Step:
    """The search of one quantity.

    Attributes:
        quantity: of ``QUANTITIES``.
        limit: the largest dev PER that was allowed.
        trials: in the order in which they were tried.
        taken: what was found.
    """

    quantity: str
    limit: float
    trials: tuple[Trial, ...]
    taken: Trial


@dataclass
class Phase2:
    """The search so far, and when it is complete its result.

    Attributes:
        reference: dev PER of the float model, percent.
        budget: points of dev PER that may be lost against it.
        longest: where the search begins.
        steps: a quantity each.
        trainings: in the order in which they were done.
        chosen: the integer model to build.
        trained: whether its weights are those of the last training within the budget.
    """

    reference: float
    budget: float
    longest: Trial
    steps: list[Step] = field(default_factory=list)
    trainings: list[Trial] = field(default_factory=list)
    chosen: Trial | None = None
    trained: bool = False

    @property
    def limit(self) -> float:
        """The largest dev PER that is within the budget."""
        return self.reference + self.budget

    @property
    def verdict(self) -> str:
        """What is to be known of the result, in a line."""
        if self.chosen is None or self.chosen.dev_per is None:
            return "not yet"
        lost = self.chosen.dev_per - self.reference
        how = "after quantization-aware training" if self.trained else "post-training"
        over = "" if self.chosen.within(self.limit) else ": NOT within the budget, as nothing else"
        return (
            f"{describe(self.chosen.words)}, {how}: dev PER {self.chosen.dev_per:.2f}, "
            f"{lost:+.2f} against float{over}"
        )

    def write(self, folder: Path) -> None:
        """Write ``phase2.json`` and the readable ``phase2.md``."""
        content = asdict(self) | {"limit": self.limit, "verdict": self.verdict}
        texts = {"json": json.dumps(content, indent=1) + "\n", "md": to_markdown(self)}
        for suffix, text in texts.items():
            with atomic(folder / f"phase2.{suffix}") as new:
                new.write_text(text)


def search(
    reference: float,
    budget: float,
    longest: WordLengths,
    evaluate: Evaluate,
    folder: Path,
    *,
    train_aware: TrainAware | None = None,
) -> Phase2:
    """Choose word lengths and segments, and write every trial down.

    The folder then holds ``phase2.json`` and ``phase2.md``, and the trials (``trials/``,
    ``aware/``): the same call goes on after an interruption. It belongs to one model and one dev
    set, which it does not know.

    Args:
        reference: dev PER in percent of the float model.
        budget: points of dev PER that may be lost against it.
        longest: where the search begins.
        evaluate: the dev PER of an integer model of the float model's weights.
        folder: where everything is kept.
        train_aware: trains for shorter words; without it there is no second part.

    Raises:
        ValueError: the budget is negative, or there is no integer model of the longest words.
    """
    if budget < 0:
        raise ValueError(f"budget {budget}: must be 0 or more points of dev PER")

    def trial(words: WordLengths) -> Trial:
        return attempt(words, folder / "trials" / f"{key(words)}.json", lambda: evaluate(words))

    best = trial(longest)
    if best.refusal is not None:
        raise ValueError(best.refusal)
    result = Phase2(reference, budget, best)
    for done, quantity in enumerate(QUANTITIES, 1):
        limit = reference + budget * done / len(QUANTITIES)
        step = find_shortest(best, quantity, limit, trial)
        result.steps.append(step)
        best = step.taken
        result.write(folder)
    result.chosen = best
    if train_aware is not None:
        train_shorter(result, train_aware, folder)
    result.write(folder)
    return result


def find_shortest(
    best: Trial, quantity: str, limit: float, trial: Callable[[WordLengths], Trial]
) -> Step:
    """Bisect for the smallest value of a quantity within the limit, as if PER rose below it."""
    values = choices(quantity, getattr(SHORTEST, quantity), getattr(best.words, quantity))
    trials: list[Trial] = []
    low, high = -1, len(values) - 1  # places: beyond the limit, and best's own
    while best.within(limit) and high - low > 1:
        middle = (low + high) // 2
        trials.append(trial(replace(best.words, **{quantity: values[middle]})))
        if trials[-1].within(limit):
            best, high = trials[-1], middle
        else:
            low = middle
    return Step(quantity, limit, tuple(trials), best)


def choices(quantity: str, fewest: int, most: int) -> Sequence[int]:
    """Values that a quantity may have: bits one by one, segments a power of two."""
    if quantity != "segments":
        return range(min(fewest, most), most + 1)
    return [1 << n for n in range(most.bit_length()) if fewest <= 1 << n <= most]


def train_shorter(result: Phase2, train_aware: TrainAware, folder: Path) -> None:
    """Train in words that are shorter by one bit more each time, while the budget lasts."""
    assert result.chosen is not None
    words = result.chosen.words
    while len(result.trainings) < MOST_TRAININGS:
        longer, words = words, one_bit_shorter(words)
        if words == longer:
            return
        own = aware_folder(folder, words)
        found = attempt(words, own / "trial.json", partial(train_aware, words, own))
        result.trainings.append(found)
        if not found.within(result.limit):
            return
        result.chosen, result.trained = found, True
        result.write(folder)


def aware_folder(folder: Path, words: WordLengths) -> Path:
    """Where a search in ``folder`` keeps the training in these words."""
    return folder / "aware" / key(words)


def one_bit_shorter(words: WordLengths) -> WordLengths:
    """All words a bit shorter, those excepted that are as short as they may be."""
    bits = {
        name: max(getattr(SHORTEST, name), getattr(words, name) - 1)
        for name in QUANTITIES
        if name != "segments"
    }
    return replace(words, **bits)


def attempt(words: WordLengths, path: Path, dev_per: Callable[[], float]) -> Trial:
    """Ask for a dev PER, once; the answer may be that there is none."""

    def compute() -> dict[str, Any]:
        try:
            return {"dev_per": dev_per(), "refusal": None}
        except ValueError as error:
            return {"dev_per": None, "refusal": str(error)}

    return Trial(words, **kept(path, compute))


def key(words: WordLengths) -> str:
    """A name for files: no two word lengths share it."""
    content = json.dumps(asdict(words), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def describe(words: WordLengths) -> str:
    """Word lengths in words."""
    return (
        f"weights of {words.weight} bits, activations {words.activation}, pre-activations "
        f"{words.preactivation}, cell {words.cell}, {words.segments} segments"
    )


def to_markdown(result: Phase2) -> str:
    """The trace: every trial, and what was chosen."""
    lines = [
        "# Phase II",
        "",
        f"Float model: dev PER {result.reference:.2f}. Budget: {result.budget:g} points.",
        "",
        f"| searched | {' | '.join(QUANTITIES)} | dev PER | at most | |",
        "|---" * (len(QUANTITIES) + 4) + "|",
        _row("-", result.longest, result.limit, "the longest"),
    ]
    for step in result.steps:
        for trial in step.trials:
            verdict = "**taken**" if trial == step.taken else ""
            lines.append(_row(step.quantity, trial, step.limit, verdict))
        if not step.trials:
            why = "nothing to search" if step.taken.within(step.limit) else "no budget left"
            lines.append(_row(step.quantity, step.taken, step.limit, why))
    for trial in result.trainings:
        verdict = "**taken**" if trial == result.chosen else ""
        lines.append(_row("all, trained", trial, result.limit, verdict))
    return "\n".join([*lines, "", f"Chosen: {result.verdict}.", ""])


def _row(searched: str, trial: Trial, limit: float, verdict: str) -> str:
    words = " | ".join(str(getattr(trial.words, name)) for name in QUANTITIES)
    per = trial.refusal if trial.dev_per is None else f"{trial.dev_per:.2f}"
    return f"| {searched} | {words} | {per} | {limit:.2f} | {verdict} |"
