"""Shares of a budget: against ranking by hand, and what a user counts on."""

import pytest
import torch
from torch import Tensor

from ernn.compress import budget


def weights() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {"a": torch.randn(6, 5), "b": 100 * torch.randn(40, 10), "c": torch.randn(8)}


def score(weight: Tensor, entry: Tensor) -> float:
    return float(entry**2 / weight[weight.abs() >= entry.abs()].square().sum())


@pytest.mark.parametrize("total", [3, 4, 40, 200, 437, 438])
def test_the_best_scores_of_all_are_kept(total: int) -> None:
    given = weights()
    kept = budget.counts(given, total)
    assert sum(kept.values()) == total
    scores = {n: [(score(w, x), n) for x in w.double().flatten()] for n, w in given.items()}
    firsts = [max(s) for s in scores.values()]
    rest = sorted((s for all_ in scores.values() for s in all_ if s not in firsts), reverse=True)
    best = [n for _, n in firsts + rest[: total - len(given)]]
    assert kept == {name: best.count(name) for name in given}


def test_the_scale_of_a_weight_does_not_matter() -> None:
    given = weights()
    scaled = {name: w * 2.0**n for n, (name, w) in enumerate(given.items())}
    assert budget.counts(given, 100) == budget.counts(scaled, 100)


def test_what_is_dear_is_pruned_first() -> None:
    prices = {"a": 1.0, "b": 16.0, "c": 1.0}
    kept = budget.counts(weights(), 800, prices)
    plain = budget.counts(weights(), sum(kept.values()))
    assert sum(prices[name] * count for name, count in kept.items()) <= 800
    assert kept["b"] < plain["b"]
    assert kept["a"] > plain["a"]


def test_a_weight_that_is_pruned_too_little_is_kept_whole() -> None:
    given = weights()
    plain = budget.counts(given, 60)
    kept = budget.counts(given, 60, break_even=2.0)
    assert sum(kept.values()) == 60
    for name, weight in given.items():
        assert kept[name] == weight.numel() or 2 * kept[name] <= weight.numel()
    assert kept != plain
    assert list(kept) == list(given)
    assert budget.counts(given, 438, break_even=1.0) == {"a": 30, "b": 400, "c": 8}
    assert budget.counts(given, 438, break_even=5.0) == {"a": 30, "b": 400, "c": 8}


def test_a_budget_that_pays_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="2 is left for a, b, c; one of each is 3"):
        budget.counts(weights(), 2)
    with pytest.raises(ValueError, match="one of each"):
        budget.counts(weights(), 35, {"a": 1.0, "b": 9.0, "c": 4.0}, break_even=400.0)
    with pytest.raises(ValueError, match=r"break_even is 0\.5"):
        budget.counts(weights(), 60, break_even=0.5)
