"""Phone error rate: edit distance an utterance, summed over the utterances."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldialign

from ernn.files import atomic

GAP = "***"  # stands where one side of an alignment has no phone


@dataclass(frozen=True)
class Score:
    """Errors of a set of utterances and where they are.

    ``alignments`` holds for each utterance its pairs (reference, hypothesis), GAP on one side for
    an insertion or a deletion.
    """

    alignments: dict[str, list[tuple[str, str]]]

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

    def __str__(self) -> str:
        return (
            f"%PER {self.per:.1f} [ {self.errors} / {self.tokens}, {self.insertions} ins, "
            f"{self.deletions} del, {self.substitutions} sub ]"
        )

    def write_alignments(self, path: Path | str) -> None:
        """Write the rate, each utterance's alignment in columns, the confusions by frequency."""
        lines = [str(self), ""]
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
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]
) -> Score:
    """Align every hypothesis with its reference.

    Raises:
        ValueError: if the two do not hold the same utterances, or the references hold no phone.
    """
    for name in references.keys() ^ hypotheses.keys():
        side = "reference" if name in references else "hypothesis"
        raise ValueError(f"{name}: has a {side} alone; every utterance needs both")
    if not any(references.values()):
        raise ValueError("the references hold no phone: there is no rate")
    return Score(
        {
            name: kaldialign.align(list(reference), list(hypotheses[name]), GAP)
            for name, reference in references.items()
        }
    )
