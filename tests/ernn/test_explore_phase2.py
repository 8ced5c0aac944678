"""Phase II with a formula in the place of integer models."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ernn.explore import phase2
from ernn.explore.phase2 import SHORTEST, search
from ernn.quantize import WordLengths

LONGEST = WordLengths(weight=16, activation=16, preactivation=16, cell=16, segments=32)
NEEDED = WordLengths(weight=9, activation=11, preactivation=12, cell=10, segments=16)
REFERENCE = 20.0


class Errors:
    """A PER that rises by ``each`` for every bit, or halving, less than is needed."""

    def __init__(self, needed: WordLengths, each: float = 10.0, refused: int = 0) -> None:
        self.needed, self.each, self.refused = needed, each, refused
        self.asked: list[WordLengths] = []

    def __call__(self, words: WordLengths) -> float:
        self.asked.append(words)
        if words.weight < self.refused:
            raise ValueError("the weights have no format")
        missing = [
            max(0, getattr(self.needed, name) - getattr(words, name)) for name in phase2.QUANTITIES
        ]
        return REFERENCE + self.each * sum(missing)


def test_every_quantity_is_the_fewest_that_will_do(tmp_path: Path) -> None:
    errors = Errors(NEEDED)
    result = search(REFERENCE, 0.5, LONGEST, errors, tmp_path)
    assert result.chosen is not None
    assert result.chosen.words == NEEDED
    assert not result.trained
    assert len(errors.asked) <= 1 + 4 * 4 + 2  # bisections of 13 lengths or less
    assert len(set(errors.asked)) == len(errors.asked)


def test_the_budget_is_handed_out_in_equal_parts(tmp_path: Path) -> None:
    each = 0.2  # a bit costs what a quantity may spend
    result = search(REFERENCE, 1.0, LONGEST, Errors(NEEDED, each), tmp_path)
    assert result.chosen is not None
    bits = {"weight": 8, "activation": 10, "preactivation": 11, "cell": 9}
    assert result.chosen.words == replace(NEEDED, **bits)
    assert [round(step.limit, 6) for step in result.steps] == [20.2, 20.4, 20.6, 20.8, 21.0]


def test_what_one_leaves_the_next_may_spend(tmp_path: Path) -> None:
    needed = replace(NEEDED, weight=4)  # as short as it gets, for nothing
    result = search(REFERENCE, 1.0, LONGEST, Errors(needed, 0.4), tmp_path)
    assert result.chosen is not None
    assert result.chosen.words.weight == SHORTEST.weight
    assert result.chosen.words.activation == needed.activation - 1


def test_a_refusal_is_out_of_the_budget_and_stands_in_the_trace(tmp_path: Path) -> None:
    result = search(REFERENCE, 0.5, LONGEST, Errors(NEEDED, refused=13), tmp_path)
    assert result.chosen is not None
    assert result.chosen.words.weight == 13
    assert "the weights have no format" in (tmp_path / "phase2.md").read_text()


def test_a_start_beyond_the_budget_is_kept_and_said_to_be(tmp_path: Path) -> None:
    errors = Errors(replace(NEEDED, weight=17))
    result = search(REFERENCE, 0.5, LONGEST, errors, tmp_path)
    assert result.chosen is not None
    assert result.chosen.words == LONGEST
    assert errors.asked == [LONGEST]
    assert "NOT within the budget" in (tmp_path / "phase2.md").read_text()


def test_training_goes_on_bit_by_bit_while_the_budget_lasts(tmp_path: Path) -> None:
    trained = []

    def train(words: WordLengths, folder: Path) -> float:
        trained.append(words)
        return 20.4 if words.weight >= NEEDED.weight - 2 else 20.6

    result = search(REFERENCE, 0.5, LONGEST, Errors(NEEDED), tmp_path, train_aware=train)
    bits = [(8, 10, 11, 9, 16), (7, 9, 10, 8, 16), (6, 8, 9, 7, 16)]
    assert trained == [WordLengths(*words) for words in bits]
    assert result.trained
    assert result.chosen is not None
    assert result.chosen.words == WordLengths(*bits[1])
    assert "after quantization-aware training: dev PER 20.40, +0.40" in result.verdict


def test_training_ends_where_nothing_can_be_shorter(tmp_path: Path) -> None:
    result = search(
        REFERENCE, 0.5, SHORTEST, lambda words: 20.0, tmp_path, train_aware=lambda w, f: 20.0
    )
    assert result.trainings == []
    assert result.chosen is not None
    assert result.chosen.words == SHORTEST


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    errors = Errors(NEEDED)
    whole = search(REFERENCE, 0.5, LONGEST, errors, tmp_path / "whole")

    def killed(words: WordLengths) -> float:
        if words == errors.asked[6]:
            raise KeyboardInterrupt
        return Errors(NEEDED)(words)

    with pytest.raises(KeyboardInterrupt):
        search(REFERENCE, 0.5, LONGEST, killed, tmp_path / "cut")
    rest = Errors(NEEDED)
    assert search(REFERENCE, 0.5, LONGEST, rest, tmp_path / "cut") == whole
    assert rest.asked == errors.asked[6:]
    for name in ("phase2.json", "phase2.md"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    content = json.loads((tmp_path / "cut" / "phase2.json").read_text())
    assert content["chosen"]["words"]["weight"] == NEEDED.weight


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budget -1: must be 0 or more"):
        search(REFERENCE, -1, LONGEST, Errors(NEEDED), tmp_path)
    with pytest.raises(ValueError, match="the weights have no format"):
        search(REFERENCE, 1, LONGEST, Errors(NEEDED, refused=17), tmp_path)
