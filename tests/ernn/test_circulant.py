"""The algebra against its definition, entry by entry."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ernn.circulant import (
    blocks_first,
    fold,
    matmul,
    matmul_reference,
    num_blocks,
    pack,
    positions_first,
    project,
    spectrum,
    to_dense,
    to_halves,
    unfold,
    unpack,
)

by_definition = settings(deadline=None, derandomize=True, max_examples=60)
block_sizes = st.sampled_from([1, 2, 4, 8, 16])
sizes = st.integers(1, 20)
seeds = st.integers(0, 2**31)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_blocks(seed: int, out: int, columns: int, k: int) -> Tensor:
    return random(seed, num_blocks(out, k), num_blocks(columns, k), k)


def dense_by_definition(blocks: Tensor, out: int, columns: int) -> Tensor:
    k = blocks.shape[-1]
    return torch.tensor(
        [[blocks[r // k, s // k, (r - s) % k].item() for s in range(columns)] for r in range(out)],
        dtype=blocks.dtype,
    )


@by_definition
@given(sizes, sizes, block_sizes, seeds)
def test_to_dense_is_the_definition(out: int, columns: int, k: int, seed: int) -> None:
    blocks = random_blocks(seed, out, columns, k)
    assert torch.equal(to_dense(blocks, (out, columns)), dense_by_definition(blocks, out, columns))


@by_definition
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4, 8]), seeds)
def test_project_is_the_nearest_point(out: int, columns: int, k: int, seed: int) -> None:
    """Least squares over all first columns, by brute force; lstsq's least norm is 0 if unused."""
    weight = random(seed, out, columns)
    shape = num_blocks(out, k), num_blocks(columns, k), k
    unit_blocks = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    basis = [dense_by_definition(unit, out, columns).flatten() for unit in unit_blocks]
    best = np.linalg.lstsq(torch.stack(basis, 1).numpy(), weight.flatten().numpy(), rcond=None)[0]
    assert_close(project(weight, k), torch.from_numpy(best).view(shape))


@by_definition
@given(sizes, sizes, block_sizes, seeds)
def test_project_is_idempotent(out: int, columns: int, k: int, seed: int) -> None:
    dense = to_dense(project(random(seed, out, columns), k), (out, columns))
    assert_close(to_dense(project(dense, k), (out, columns)), dense, rtol=1e-14, atol=1e-15)


@by_definition
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 4, 8, 16]), seeds)
def test_halves_multiply_as_the_whole(p: int, q: int, k: int, seed: int) -> None:
    stack = random(seed, 3, p, q, k)
    x = random(seed + 1, 2, q * k)
    halves = to_halves(stack)
    assert halves.shape == (2, 3, p * k // 2, q * k // 2)
    parts = fold(positions_first(x, k))  # (2, 2, q * k / 2)
    for n, blocks in enumerate(stack):
        y = blocks_first(unfold(parts @ halves[:, n].mT), k)
        assert_close(y, x @ to_dense(blocks, (p * k, q * k)).T, rtol=1e-12, atol=1e-13)


def test_halves_are_not_rounded_under_autocast() -> None:
    blocks = random(0, 3, 2, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        halves = to_halves(blocks)
    assert torch.equal(halves, to_halves(blocks))
    even, odd = halves
    plus, minus = (sign * blocks[..., 4:] + blocks[..., :4] for sign in (1, -1))
    assert torch.equal(even[::3, 0], plus[0, 0] / 2)  # the first block's first column
    assert torch.equal(odd[::3, 0], minus[0, 0] / 2)


def test_project_means_over_the_entries_that_exist() -> None:
    weight = torch.tensor([[1.0, 2.0, 7.0], [3.0, 5.0, 11.0], [4.0, 8.0, 13.0]])
    expected = [[[3.0, 2.5], [7.0, 11.0]], [[4.0, 8.0], [13.0, 0.0]]]
    assert project(weight, 2).tolist() == expected


@by_definition
@given(sizes, sizes, block_sizes, seeds)
def test_matmul_equals_the_dense_product(out: int, columns: int, k: int, seed: int) -> None:
    blocks = random_blocks(seed, out, columns, k).requires_grad_()
    x = random(seed + 1, 3, 2, columns).requires_grad_()
    upstream = random(seed + 2, 3, 2, out)
    results = []
    for product in (matmul, matmul_reference):
        y = product(x, blocks, out)
        results.append((y, *torch.autograd.grad(y, (x, blocks), upstream)))
    assert_close(results[0], results[1])
    dense = dense_by_definition(blocks.detach(), out, columns)
    assert_close(results[0][0], torch.einsum("abi,oi->abo", x, dense))


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_matmul_gradcheck(k: int) -> None:
    blocks = random_blocks(0, 7, 9, k).requires_grad_()
    x = random(1, 2, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: matmul(x, b, 7), (x, blocks))


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16, 32])
def test_spectrum_is_packed_in_the_stated_order(k: int) -> None:
    blocks = random(k, 2, 3, k)
    bins = np.fft.fft(blocks.numpy())
    words = [bins[..., 0].real]
    if k > 1:
        words.append(bins[..., k // 2].real)
    for n in range(1, k // 2):
        words += [bins[..., n].real, bins[..., n].imag]
    assert spectrum(blocks).shape == blocks.shape
    assert_close(spectrum(blocks), torch.from_numpy(np.stack(words, -1)))


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16, 32])
def test_unpack_inverts_pack(k: int) -> None:
    packed = random(k, 2, 3, k)
    assert torch.equal(pack(unpack(packed)), packed)
    assert_close(torch.fft.irfft(unpack(spectrum(packed)), n=k), packed)


@pytest.mark.parametrize("k", [0, -2, 3, 12, 4.0, "4"])
def test_block_size_must_be_a_power_of_two(k: object) -> None:
    with pytest.raises(ValueError, match=r"block_size is .*; it must be a power of two"):
        project(torch.zeros(4, 4), k)  # type: ignore[arg-type]


def test_blocks_must_cover_the_matrix() -> None:
    blocks = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="2 x 3 blocks of 4 do not cover a matrix of 8 x 13"):
        matmul(torch.zeros(13), blocks, 8)
    with pytest.raises(ValueError, match="2 x 3 blocks of 4 do not cover a matrix of 4 x 12"):
        to_dense(blocks, (4, 12))
    with pytest.raises(ValueError, match=r"\(2, 12\); it must be \(p, q, k\)"):
        to_dense(torch.zeros(2, 12), (8, 12))
