"""Training inside a set: what is used is in it, what learns is latent."""

import pytest
import torch
from torch import nn, optim
from torch.nn import functional

from ernn.compress import Levels, Sparse, SparseLevels, Support, inside


def test_the_gradient_goes_straight_through() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    latent = model.weight.detach().clone()
    with inside(model, {"weight": Sparse(5)}):
        assert torch.equal(model.weight, Sparse(5).project(latent))
        x, upstream = torch.randn(3, 6), torch.randn(3, 4)
        model(x).backward(upstream)
        assert torch.allclose(model.parametrizations.weight.original.grad, upstream.T @ x)
    assert torch.equal(model.weight, Sparse(5).project(latent))
    assert [name for name, _ in model.named_parameters()] == ["bias", "weight"]


def test_what_is_used_is_the_projection_to_the_last_bit() -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    latent = nn.init.normal_(model.weight).detach().pow_(3)  # far from their level, many of them
    rule = SparseLevels(Sparse(2000), Levels.equidistant(1))
    projected = rule.project(latent)
    with inside(model, {"weight": rule}):
        assert torch.equal(model.weight, projected)
    assert torch.equal(model.weight, projected)
    assert len(projected.unique()) == 3


def test_masks_stay_and_levels_are_learnt() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 12)
    teacher = nn.Linear(12, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    mask = Sparse(18).project(teacher.weight.detach()) != 0
    rule = SparseLevels(Support(mask), Levels.equidistant(3))
    y = teacher(x).detach()

    def loss() -> torch.Tensor:
        return functional.mse_loss(model(x), y)

    with torch.no_grad():
        model[1].weight.copy_(rule.project(model[1].weight))
        before = loss()
    with inside(model, {"1.weight": rule}):
        optimizer = optim.AdamW(model.parameters(), 0.02)
        for _ in range(200):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    weight = model[1].weight.detach()
    assert not weight[~mask].any()
    assert len(weight[mask].abs().unique()) <= 4
    assert loss() < before / 4


def test_an_error_inside_leaves_plain_weights() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(KeyError), inside(model, {"weight": Sparse(2)}):
        raise KeyError
    assert isinstance(model.weight, nn.Parameter)
    assert int((model.weight != 0).sum()) == 2
    with (
        pytest.raises(ValueError, match="no parameters named weigth"),
        inside(model, {"weigth": Sparse(2)}),
    ):
        pass
