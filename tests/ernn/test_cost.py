"""The energy model against the figures it is made from, and against counting by hand."""

from collections import Counter

import pytest

from ernn.cost import (
    ACCESS,
    ADDITION,
    MULTIPLICATION,
    Machine,
    access,
    addition,
    multiplication,
)
from ernn.fixed import fft_products, spectral_products

MACHINE = Machine(12, 8, 24, 64 * 1024, 1024)


def test_the_model_is_near_every_published_figure() -> None:
    """The law that leads from one to the next is the model's own: within a quarter."""
    for bits, energy in ADDITION.items():
        assert addition(bits) == pytest.approx(energy, rel=0.25)
    for bits, energy in MULTIPLICATION.items():
        assert multiplication(bits, bits) == pytest.approx(energy, rel=0.25)
    for size, energy in ACCESS.items():
        assert 64 * access(size) == pytest.approx(energy, rel=0.25)


def test_energy_of_ten_products() -> None:
    work = MACHINE.products(10)
    assert work.arithmetic == pytest.approx(10 * (addition(24) + multiplication(12, 8)))
    assert work.memory == pytest.approx(10 * (12 * access(64 * 1024) + 8 * access(1024)))
    assert work.energy == work.arithmetic + work.memory
    assert (work + work).energy == pytest.approx(2 * work.energy)


def test_an_entry_of_a_sparse_weight_costs_its_index_more() -> None:
    more = MACHINE.sparse(7, 4).energy - MACHINE.products(7).energy
    assert more == pytest.approx(7 * (addition(16) + 4 * access(64 * 1024)))
    ratio = MACHINE.break_even(4)
    assert MACHINE.sparse(100, 4).energy == pytest.approx(MACHINE.products(1).energy * 100 * ratio)
    assert 1 < MACHINE.break_even(1) < ratio < MACHINE.break_even(8)


def test_a_row_of_coefficients_is_rebuilt_and_multiplied() -> None:
    work = MACHINE.shift_add(10, 3, 4, 8, 6)
    assert work.multiplications == {(12, 8): 30}
    assert work.additions == {12: 10 * 3 * 3 * 2, 16: 10, 24: 30}
    weights = 10 * (3 * 4 + 6) + 10 * 3 * 3 * 8
    assert work.accesses == {64 * 1024: weights, 1024: 30 * 8}


@pytest.mark.parametrize("k", [4, 8, 16])
def test_block_products_and_transforms(k: int) -> None:
    work = MACHINE.circulant(20, 3, k)
    assert work.multiplications == {(12, 8): 20 * spectral_products(k) + 3 * fft_products(k)}
    assert work.accesses == Counter({64 * 1024: 20 * k * 12, 1024: 20 * k * 8})
    assert MACHINE.circulant(0, 0, k).energy == 0
    assert work.energy < MACHINE.products(20 * k * k).energy
