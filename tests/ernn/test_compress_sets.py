"""Projections against every point of small sets."""

from collections.abc import Iterator
from itertools import combinations, product

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ernn.compress import (
    BlockCirculant,
    ConstraintSet,
    Levels,
    Patterns,
    Sparse,
    SparseLevels,
    Support,
)
from ernn.nn import CirculantConv2d

SEEDS = range(12)


def draw(seed: int, *shape: int) -> Tensor:
    """Normal entries, of which some are equal and some 0."""
    torch.manual_seed(seed)
    weight = torch.randn(shape, dtype=torch.float64)
    return weight.mul(4).round().div(4) if seed % 3 == 0 else weight


def error(weight: Tensor, point: Tensor) -> float:
    return float((weight - point).square().sum())


def masks(count: int, size: int) -> Iterator[Tensor]:
    """Every way to keep at most ``count`` of ``size``."""
    for n in range(count + 1):
        for kept in combinations(range(size), n):
            mask = torch.zeros(size, dtype=torch.float64)
            mask[list(kept)] = 1
            yield mask


def least(weight: Tensor, levels: tuple[float, ...], mask: Tensor) -> float:
    """The least error over every choice of levels, each with its own best scale."""
    a = weight.abs().flatten()
    best = float(a.square().sum()) if 0 in levels or not mask.any() else float("inf")
    for chosen in product(levels, repeat=len(a)):
        at = torch.tensor(chosen, dtype=torch.float64) * mask
        if at.any():
            scale = (a @ at) / (at @ at)
            best = min(best, error(a, scale * at))
    return best


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "levels",
    [Levels.equidistant(1), Levels.equidistant(3), Levels.powers_of_two(3), Levels((0.0, 1.0))],
)
def test_levels_have_the_best_scale_of_all(levels: Levels, seed: int) -> None:
    weight = draw(seed, 5)
    nearest = levels.project(weight)
    assert error(weight, nearest) == pytest.approx(least(weight, levels.levels, torch.ones(5)))
    scale = levels.scale(weight)
    on_levels = nearest.abs() / scale
    assert torch.isclose(on_levels[:, None], torch.tensor(levels.levels).double()).any(-1).all()
    assert not (nearest * weight < 0).any()
    assert_close(levels.project(nearest), nearest)


def test_levels_by_their_bits() -> None:
    assert Levels.equidistant(1).levels == (1,)
    assert Levels.equidistant(3).levels == (1, 2, 3, 4)
    assert Levels.powers_of_two(2).levels == (0, 1)
    assert Levels.powers_of_two(4).levels == (0, 1, 2, 4, 8, 16, 32, 64)
    for levels in ((), (0.0,), (2.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="must ascend, from 0 or above"):
            Levels(levels)


def test_a_weight_of_zeros_stays() -> None:
    for levels in (Levels.equidistant(2), Levels.powers_of_two(2)):
        assert torch.equal(levels.project(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_of_a_large_weight_no_scale_beside_the_best_is_better() -> None:
    weight, levels = draw(1, 300, 40), Levels.equidistant(4)
    at = torch.tensor(levels.levels, dtype=torch.float64)
    best = error(weight, levels.project(weight))
    for scale in torch.linspace(0.02, 2.0, 500):
        nearest = at[(weight.abs()[..., None] - scale * at).abs().argmin(-1)] * scale
        assert error(weight.abs(), nearest) >= best * (1 - 1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("together", [(), (0,), (1,)])
def test_sparse_prunes_the_smallest(together: tuple[int, ...], seed: int) -> None:
    weight = draw(seed, 3, 4)
    shape = [1 if d in together else size for d, size in enumerate(weight.shape)]
    size = torch.Size(shape).numel()
    for count in range(size + 1):
        nearest = Sparse(count, together).project(weight)
        allowed = [error(weight, weight * mask.view(shape)) for mask in masks(count, size)]
        assert error(weight, nearest) == pytest.approx(min(allowed))
        groups = nearest.abs().sum(together) if together else nearest
        assert int((groups != 0).sum()) <= count
    with pytest.raises(ValueError, match=f"count is {size + 1}; it must be from 0 to {size}"):
        Sparse(size + 1, together).project(weight)


def test_sparse_of_a_convolution_keeps_filters_or_kernels() -> None:
    weight = draw(1, 6, 5, 3, 3)
    filters = Sparse(2, (1, 2, 3)).project(weight)
    assert (filters.flatten(1) != 0).all(1).sum() == 2
    kernels = Sparse(7, (2, 3)).project(weight)
    assert (kernels.flatten(2) != 0).all(2).sum() == 7
    for pruned in (filters, kernels):
        assert torch.equal(pruned, weight.where(pruned != 0, 0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_what_is_pruned_and_rounded_is_nearest(count: int, seed: int) -> None:
    weight = draw(seed, 5)
    levels = Levels((0.0, 1.0, 2.0))
    nearest = SparseLevels(Sparse(count), levels).project(weight)
    allowed = [least(weight, levels.levels, mask) for mask in masks(count, 5)]
    assert error(weight, nearest) == pytest.approx(min(allowed))
    assert int((nearest != 0).sum()) <= count


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_pruned_stays_pruned(seed: int) -> None:
    mask = torch.tensor([1, 0, 1, 1, 0])
    support, weight = Support(mask), draw(seed, 5)
    assert torch.equal(support.project(weight), weight * mask)
    levels = Levels((0.0, 1.0, 2.0))
    nearest = SparseLevels(support, levels).project(weight)
    assert not nearest[mask == 0].any()
    assert error(weight, nearest) == pytest.approx(least(weight, levels.levels, mask.double()))
    with pytest.raises(ValueError, match=r"mask is \(5,\), the weight \(4,\); they must be equal"):
        support.project(weight[1:])


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kernel_has_the_best_of_the_patterns(seed: int) -> None:
    patterns = Patterns((((1, 1), (0, 0)), ((0, 0), (1, 1)), ((1, 0), (0, 1))))
    weight = draw(seed, 2, 3, 2, 2)
    nearest = patterns.project(weight)
    best = [
        min(error(kernel, kernel * torch.tensor(mask)) for mask in patterns.masks)
        for kernel in weight.flatten(0, 1)
    ]
    assert error(weight, nearest) == pytest.approx(sum(best))
    assert torch.equal(patterns.project(nearest), nearest)
    with pytest.raises(ValueError, match=r"patterns are \(2, 2\), kernels \(3, 3\)"):
        patterns.project(draw(seed, 2, 3, 3, 3))


def test_a_convolution_s_matrices_are_block_circulant() -> None:
    weight = draw(1, 6, 5, 3, 2)
    expected = nn.Conv2d(5, 6, (3, 2), dtype=torch.float64)
    expected.weight.data.copy_(weight)
    projected = CirculantConv2d.from_dense(expected, 4).to_dense()
    assert_close(BlockCirculant(4).project(weight), projected.weight.data)


@pytest.mark.parametrize(
    "constraints",
    [BlockCirculant(4), Sparse(9), Levels.equidistant(2), SparseLevels(Sparse(9), Levels((1.0,)))],
)
def test_a_projection_keeps_shape_and_type(constraints: ConstraintSet) -> None:
    weight = torch.randn(4, 8)
    nearest = constraints.project(weight)
    assert (nearest.shape, nearest.dtype) == (weight.shape, weight.dtype)
    assert_close(constraints.project(nearest), nearest)
