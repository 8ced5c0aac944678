"""How far each layer is pruned, for a model that may keep so much in all.

Entries of all layers are ranked by one score, their magnitude among what their layer would have
left: the square of an entry by the sum of the squares of all that are at least as large. It is the
entry's share of the output's energy if all below it were gone, so that no layer is cut through
before the others are as thin (LAMP: Lee et al., Layer-adaptive Sparsity, ICLR 2021).

With prices the ranking is by score per price. If a price is how often an entry is used, layers of
many uses are pruned first, which is the computation-first order of ADMM-NN for convolutions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def counts(
    weights: Mapping[str, Tensor],
    budget: float,
    prices: Mapping[str, float] | None = None,
    break_even: float = 1.0,
) -> dict[str, int]:
    """Return how many entries each weight keeps, at least one.

    Args:
        weights: dense, by name.
        budget: sum of the prices of all that is kept, at most.
        prices: of an entry of each weight; by default 1, the budget is then a number of entries.
        break_even: a weight of which more than 1 / break_even would be kept is kept whole, for
            pruned so little it costs more than dense; what that takes is taken from the others
            (Ren et al., ADMM-NN, ASPLOS 2019, section 5).

    Raises:
        ValueError: the budget does not pay for that, or ``break_even`` is below 1.
    """
    if break_even < 1:
        raise ValueError(f"break_even is {break_even}; it must be at least 1")
    price = dict.fromkeys(weights, 1.0) if prices is None else prices
    pruned, whole = dict(weights), dict[str, int]()
    while pruned:
        kept = _ranked(pruned, budget - sum(whole[n] * price[n] for n in whole), price)
        fullest = max(pruned, key=lambda name: kept[name] / pruned[name].numel())
        if kept[fullest] * break_even <= pruned[fullest].numel():
            return {name: (kept | whole)[name] for name in weights}
        whole[fullest] = pruned.pop(fullest).numel()
    return whole


def _ranked(
    weights: Mapping[str, Tensor], budget: float, price: Mapping[str, float]
) -> dict[str, int]:
    """Keep the entries of the highest score by price that the budget pays."""
    scores, prices = [], []
    for name, weight in weights.items():
        squares = weight.detach().double().square().flatten().sort(descending=True).values
        score = squares / squares.cumsum(0).clamp(min=torch.finfo(torch.float64).tiny) / price[name]
        score[0] = torch.inf
        scores.append(score)
        prices.append(torch.full_like(score, price[name]))
    order = torch.cat(scores).argsort(descending=True, stable=True)
    spent = torch.cat(prices)[order].cumsum(0)
    if budget < spent[len(weights) - 1]:
        least = float(spent[len(weights) - 1])
        raise ValueError(f"{budget:g} is left for {', '.join(weights)}; one of each is {least:g}")
    owners = torch.arange(len(scores)).repeat_interleave(torch.tensor([len(s) for s in scores]))
    kept = owners[order[spent <= budget].to(owners.device)].bincount(minlength=len(scores))
    return dict(zip(weights, kept.tolist(), strict=True))
