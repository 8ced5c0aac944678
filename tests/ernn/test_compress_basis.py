from itertools import product

import pytest
import torch
from torch import Tensor

from ernn.compress import Basis, Coefficients, Levels, Sparse, storage

EXACT = 24
"""Bits of bases whose rounding is not what is tested."""


def error(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().sum())


def least(weight: Tensor, bits: int) -> float:
    """The least error over all coefficients, each with the best basis."""
    rows, size = weight.shape
    levels = Levels.powers_of_two(bits).levels
    signed = sorted({sign * level for sign in (1, -1) for level in levels})
    every = torch.tensor(list(product(signed, repeat=rows * size)), dtype=torch.float64)
    coefficients = every.view(-1, rows, size)
    best = coefficients @ (torch.linalg.pinv(coefficients) @ weight)
    return float((weight - best).square().sum((1, 2)).min())


@pytest.mark.parametrize(
    ("rows", "size", "bits", "found"), [(4, 1, 3, 20), (6, 1, 3, 18), (2, 2, 3, 20), (3, 2, 2, 12)]
)
def test_the_search_finds_the_nearest_point_of_most_small_pieces(
    rows: int, size: int, bits: int, found: int
) -> None:
    nearest = 0
    for seed in range(20):
        torch.manual_seed(seed)
        weight = torch.randn(rows, size, dtype=torch.float64)
        point = Basis(size, bits, EXACT).project(weight.view(1, -1)).view(rows, size)
        least_error = least(weight, bits)
        assert error(weight, point) >= least_error - 1e-6
        nearest += error(weight, point) <= least_error + 1e-6
    assert nearest >= found  # of 20; which ones hangs on the last bits of LAPACK


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (6, 5, 5, 5), (7, 10), (2, 600), (3, 300, 3, 3)])
def test_a_weight_is_coefficients_times_bases(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight, basis = torch.randn(shape) / 10, Basis()
    factors = basis.decompose(weight)
    pieces, rows, size = factors.coefficients.shape
    assert factors.bases.shape == (pieces, 3, 3)
    assert size == 3
    assert rows <= 3 * 64
    assert pieces % shape[0] == 0
    allowed = torch.tensor([0.0, 1, 2, 4, 8, 16, 32, 64], dtype=torch.float64)
    assert torch.isin(factors.coefficients.abs(), allowed).all()
    step = 2.0 ** torch.frexp(factors.bases.abs().max() / 127).exponent
    assert torch.equal(factors.bases / step, (factors.bases / step).round())
    point = basis.compose(factors, shape)
    assert torch.equal(point.float(), basis.project(weight))
    assert basis.project(weight.double()).dtype == torch.float64
    assert point.shape == weight.shape
    assert error(weight, point) < error(weight, Levels.powers_of_two(4).project(weight))


def test_kernels_of_the_basis_s_width_are_its_rows() -> None:
    row = torch.tensor([0.5, -1.0, 0.25])
    weight = torch.zeros(2, 4, 3, 3)
    weight[0, 1, 2] = row
    factors = Basis().decompose(weight)
    assert torch.equal(factors.coefficients.abs().sum(-1).nonzero(), torch.tensor([[0, 5]]))
    assert (Basis().project(weight) - weight).abs().max() < 2**-6  # bases of 8 bits


def test_more_bits_are_nearer() -> None:
    torch.manual_seed(1)
    weight = torch.randn(8, 60)
    errors = [error(weight, Basis(bits=bits).project(weight)) for bits in (2, 3, 4)]
    assert errors == sorted(errors, reverse=True)


def test_pruned_rows_stay_and_the_file_has_no_room_for_them(tmp_path) -> None:
    torch.manual_seed(2)
    weight = Sparse(40, together=(3,)).project(torch.randn(16, 8, 3, 3))
    factors = Basis().decompose(weight)
    assert torch.equal(Basis().project(weight).abs().sum(3) == 0, weight.abs().sum(3) == 0)
    path = tmp_path / "factors.safetensors"
    storage.save({"c": factors.coefficients.float(), "b": factors.bases.float()}, path)
    sizes = storage.stored(path)
    assert sizes["c"].values <= 40 * 3 * 4 / 8
    assert sizes["b"].values <= 16 * 9 * 8 / 8
    read = storage.load(path)
    assert torch.equal(read["c"].double(), factors.coefficients)
    assert torch.equal(read["b"].double(), factors.bases)


def test_the_largest_rows_are_kept() -> None:
    torch.manual_seed(3)
    weight = torch.randn(6, 4, 3, 3)
    few = Basis(kept=0.25).project(weight)
    largest = Sparse(18, together=(3,)).project(weight)  # of 6 x 12 rows
    assert torch.equal(few.abs().sum(3) != 0, largest.abs().sum(3) != 0)
    assert torch.equal(few, Basis().project(largest))
    for kept in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"kept is {kept}; it must be above 0, at most 1"):
            Basis(kept=kept)


def test_bases_and_mask_stay_when_the_weight_moves() -> None:
    torch.manual_seed(4)
    weight, basis = torch.randn(5, 4, 3, 3), Basis(kept=0.5)
    factors = basis.decompose(weight)
    held = Coefficients(basis, factors)
    assert error(held.project(weight), weight) <= error(basis.project(weight), weight)
    moved = weight + torch.randn_like(weight) / 10
    near = held.decompose(moved)
    assert torch.equal(near.bases, factors.bases)
    assert not near.coefficients[factors.coefficients == 0].any()
    assert torch.isin(near.coefficients.abs(), torch.tensor(basis.levels.levels).double()).all()
    kept = moved.where(basis.project(weight) != 0, 0)
    assert error(held.project(moved), kept) < error(basis.project(weight), kept)
    assert torch.equal(held.project(moved), basis.compose(near, weight.shape).float())


def test_what_is_too_small_is_told() -> None:
    for name, least_value in (("size", 1), ("bits", 2), ("basis_bits", 2), ("rounds", 1)):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be at least {least_value}"):
            Basis(**{name: 0})
