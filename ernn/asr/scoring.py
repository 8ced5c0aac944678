"""Phone error rate: edit distance an utterance, summed over the utterances.

Its interval is a bootstrap's (Bisani and Ney, *Bootstrap estimates for confidence intervals in ASR
performance evaluation*, ICASSP 2004). What is drawn are speakers where they are known, because the
errors of one speaker's utterances go together, and an interval that draws utterances is too narrow
for speakers to come (Liu and Peng, *Statistical testing on ASR performance via blockwise
bootstrap*, arXiv 1912.09508).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import kaldialign
import numpy as np
from numpy.typing import NDArray

from ernn.files import atomic

GAP = "***"  # stands where one side of an alignment has no phone
SILENCE = "sil"
DRAWS = 10_000  # of a bootstrap


class Interval(NamedTuple):
    """Where 95 % of the resamples lie."""

    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """Errors of a set of utterances and where they are.

    ``alignments`` holds for each utterance its pairs (reference, hypothesis), GAP on one side for
    an insertion or a deletion; ``speakers`` who spoke it, where that is known.
    """

    alignments: dict[str, list[tuple[str, str]]]
    speakers: Mapping[str, str] = field(default_factory=dict)

    @property
    def confusions(self) -> Counter[tuple[str, str]]:
        """How often each pair (reference, hypothesis) that differs occurs."""
        return Counter(
            pair for pairs in self.alignments.values() for pair in pairs if pair[0] != pair[1]
        )

    @property
    def insertions(self) -> int:
        """Phones of the hypotheses that stand against none."""
        return sum(ref == GAP for pairs in self.alignments.values() for ref, _ in pairs)

    @property
    def deletions(self) -> int:
        """Phones of the references that stand against none."""
        return sum(hyp == GAP for pairs in self.alignments.values() for _, hyp in pairs)

    @property
    def substitutions(self) -> int:
        """Phones that stand against another phone."""
        return self.errors - self.insertions - self.deletions

    @property
    def errors(self) -> int:
        """Sum of the utterances' edit distances."""
        return self.confusions.total()

    @property
    def tokens(self) -> int:
        """Phones of the references."""
        return sum(ref != GAP for pairs in self.alignments.values() for ref, _ in pairs)

    @property
    def per(self) -> float:
        """Phone error rate in percent of the reference phones."""
        return 100 * self.errors / self.tokens

    @property
    def interval(self) -> Interval:
        """95 % interval of the rate, by :func:`bootstrap`."""
        return _interval(bootstrap(self)[:, 0])

    @property
    def references(self) -> dict[str, list[str]]:
        """Phones of the reference of every utterance."""
        return {n: [r for r, _ in p if r != GAP] for n, p in self.alignments.items()}

    @property
    def hypotheses(self) -> dict[str, list[str]]:
        """Phones of the hypothesis of every utterance."""
        return {n: [h for _, h in p if h != GAP] for n, p in self.alignments.items()}

    def without(self, phone: str = SILENCE) -> "Score":
        """Score with a phone left out of references and hypotheses, aligned anew.

        Raises:
            ValueError: if the references hold no other phone.
        """
        references, hypotheses = (
            {name: [p for p in phones if p != phone] for name, phones in side.items()}
            for side in (self.references, self.hypotheses)
        )
        return score(references, hypotheses, self.speakers)

    def __str__(self) -> str:
        return (
            f"%PER {self.per:.1f} [ {self.errors} / {self.tokens}, {self.insertions} ins, "
            f"{self.deletions} del, {self.substitutions} sub ]"
        )

    def write_alignments(self, path: Path | str) -> None:
        """Write rate, rate without silence, alignments in columns, confusions by frequency.

        The rate without silence is left out where the references hold none.
        """
        low, high = self.interval
        drawn = "speakers" if self.speakers else "utterances"
        lines = [str(self), f"95 % interval [ {low:.1f}, {high:.1f} ], {drawn} drawn"]
        if {p for phones in self.references.values() for p in phones} > {SILENCE}:
            lines.append(f"{SILENCE} left out of both sides: {self.without(SILENCE)}")
        lines.append("")
        for name, pairs in self.alignments.items():
            widths = [max(map(len, pair)) for pair in pairs]
            for side, label in enumerate(("ref", "hyp")):
                cells = (pair[side].ljust(w) for pair, w in zip(pairs, widths, strict=True))
                lines.append(f"{name} {label}: {' '.join(cells)}".rstrip())
            lines.append("")
        lines.append("# count reference hypothesis")
        by_count = sorted(self.confusions.items(), key=lambda item: (-item[1], item[0]))
        lines += [f"{count:5d} {ref} {hyp}" for (ref, hyp), count in by_count]
        with atomic(path) as new:
            new.write_text("\n".join(lines) + "\n")


def score(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, Sequence[str]],
    speakers: Mapping[str, str] | None = None,
) -> Score:
    """Align every hypothesis with its reference.

    Args:
        references: utterance -> its phones.
        hypotheses: the same utterances, as they were recognised.
        speakers: utterance -> its speaker, for the interval; of more utterances, if need be.

    Raises:
        ValueError: if the two do not hold the same utterances, the references hold no phone, or
            an utterance lacks its speaker.
    """
    for name in references.keys() ^ hypotheses.keys():
        side = "reference" if name in references else "hypothesis"
        raise ValueError(f"{name}: has a {side} alone; every utterance needs both")
    if not any(references.values()):
        raise ValueError("the references hold no phone: there is no rate")
    for name in references.keys() - speakers.keys() if speakers else ():
        raise ValueError(f"{name}: has no speaker, but others have")
    return Score(
        {
            name: kaldialign.align(list(reference), list(hypotheses[name]), GAP)
            for name, reference in references.items()
        },
        {name: speakers[name] for name in references} if speakers else {},
    )


def bootstrap(*systems: Score, seed: int = 0) -> NDArray[np.float64]:
    """Error rates of systems when as many speakers are drawn anew, with replacement.

    Every system is seen on the same draws. Without speakers each utterance counts as one.

    Args:
        systems: scores of the same references.
        seed: of the draws.

    Returns:
        (DRAWS, len(systems)) in percent; nan where a draw holds no phone.

    Raises:
        ValueError: if the systems differ in their references or speakers.
    """
    first = systems[0]
    for other in systems[1:]:
        if (other.references, other.speakers) != (first.references, first.speakers):
            raise ValueError("the systems were not scored on the same utterances")
    groups = sorted({first.speakers.get(name, name) for name in first.alignments})
    place = {group: n for n, group in enumerate(groups)}
    counts = np.zeros((len(groups), len(systems) + 1), dtype=np.int64)
    for name, reference in first.references.items():
        group = place[first.speakers.get(name, name)]
        errors = (sum(r != h for r, h in system.alignments[name]) for system in systems)
        counts[group] += (*errors, len(reference))
    rng = np.random.default_rng(seed)
    even = np.full(len(groups), 1 / len(groups))
    part = 1000  # for memory's sake
    sums = [rng.multinomial(len(groups), even, part) @ counts for _ in range(DRAWS // part)]
    drawn = np.concatenate(sums).astype(np.float64)  # (DRAWS, systems + 1)
    tokens = np.where(drawn[:, -1:] > 0, drawn[:, -1:], np.nan)
    return 100 * drawn[:, :-1] / tokens


def _interval(rates: NDArray[np.float64]) -> Interval:
    low, high = np.nanpercentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """What a system loses against a control, on the same utterances."""

    points: float  # of PER, the system's less the control's
    interval: Interval  # 95 %, of the points
    better: float  # fraction of the draws in which the system has fewer errors

    def __str__(self) -> str:
        return (
            f"{self.points:+.2f} points of PER, 95 % interval [ {self.interval.low:+.2f}, "
            f"{self.interval.high:+.2f} ], better in {100 * self.better:.0f} % of the draws"
        )


def compare(system: Score, control: Score) -> Comparison:
    """Paired bootstrap of the difference of two systems.

    Speakers are hard or easy for both alike, so that the difference is known better than either
    rate.

    Raises:
        ValueError: if the two differ in their references or speakers.
    """
    rates = bootstrap(system, control)
    points = rates[:, 0] - rates[:, 1]
    better = float(np.mean(points[~np.isnan(points)] < 0))
    return Comparison(system.per - control.per, _interval(points), better)
