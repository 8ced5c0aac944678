"""The algebra of block-circulant matrices.

A matrix (out, in) is cut into p x q blocks of k x k, its ragged edges filled with zeros. A block is
the circulant of its FIRST COLUMN w, ``C[r, s] = w[(r - s) mod k]``: k numbers stand for k * k, and
a product with it is a circular convolution, one multiplication a bin of the real FFT:

    y_i = irfft(sum_j rfft(w_ij) * rfft(x_j))      q FFTs and p inverse FFTs a matrix, not p * q

The real FFT of k values has k/2 + 1 complex bins, of which the first and the last are real. A
*spectrum* is these k real words, packed as ``[Re 0, Re k/2, Re 1, Im 1, Re 2, Im 2, ...]``.

Sources: Ding et al., CirCNN, MICRO 2017 (the product); Li et al., E-RNN, HPCA 2019 (projection).
"""

from functools import cache

import torch
from torch import Tensor
from torch.fft import irfft, rfft
from torch.nn.functional import pad


def check_block_size(block_size: int) -> int:
    """Return ``block_size``; raise ValueError unless it is a power of two (1 is dense)."""
    if not isinstance(block_size, int) or block_size < 1 or block_size & (block_size - 1):
        raise ValueError(
            f"block_size is {block_size!r}; it must be a power of two: 1, 2, 4, 8, ..."
        )
    return block_size


def num_blocks(size: int, block_size: int) -> int:
    """Blocks of ``block_size`` that cover ``size`` rows or columns; the last one may be ragged."""
    return -(-size // block_size)


def project(weight: Tensor, block_size: int) -> Tensor:
    """Return the nearest block-circulant matrix, as the first columns of its blocks.

    It is the Euclidean projection: each value is the mean along one cyclic diagonal of one block,
    over the entries that exist in ``weight``. A diagonal of which nothing exists is 0.

    Args:
        weight: (out, in), of any size.
        block_size: k, a power of two.

    Returns:
        (p, q, k) with p = ceil(out / k), q = ceil(in / k).
    """
    k = check_block_size(block_size)
    exists = _diagonals(torch.ones_like(weight), k).sum(-1)  # (p, q, k)
    return _diagonals(weight, k).sum(-1) / exists.clamp(min=1)


def to_dense(blocks: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the matrix of ``shape`` (out, in) of the first columns ``blocks`` (p, q, k)."""
    _check_blocks(blocks, *shape)
    return _toeplitz(blocks, blocks)[: shape[0], : shape[1]]


def to_halves(blocks: Tensor) -> Tensor:
    """Return the two matrices, half as high and half as wide, that a block-circulant one acts by.

    Of ``C = to_dense(blocks)``, x and y of whole blocks, they make y = C x with half the products:

        unfold(to_halves(blocks) @ fold(positions_first(x, k))) = positions_first(y, k)

    This is the first step of an FFT, decimation in frequency: the even bins are those of a
    circulant of k / 2, the odd ones those of a skew-circulant, whose upper triangle is negative.

    Args:
        blocks: (..., p, q, k) first columns, k at least 2.

    Returns:
        (2, ..., p * k / 2, q * k / 2), rows and columns in the order of :func:`positions_first`.
    """
    *stack, p, q, k = blocks.shape
    with torch.autocast(blocks.device.type, enabled=False):  # products with 1/2, 0 and -1/2
        halves = _halves_of_units(k).to(blocks) @ blocks.reshape(-1, k).T
    halves = halves.view(2, k // 2, k // 2, -1, p, q).permute(0, 3, 1, 4, 2, 5)
    return halves.reshape(2, *stack, p * k // 2, q * k // 2)


@cache
def _halves_of_units(k: int) -> Tensor:
    """What each number of a first column adds to a block's halves: (2 * k / 2 * k / 2, k)."""
    with torch.inference_mode(False):  # it is kept: the next caller may train
        low, high = torch.eye(k).unsqueeze(1).chunk(2, dim=-1)
        even, odd = (low + high) / 2, (low - high) / 2
        halves = [_toeplitz(*of).view(k, -1) for of in ((even, even), (-odd, odd))]
        return torch.cat(halves, dim=1).T.contiguous()


def positions_first(x: Tensor, block_size: int) -> Tensor:
    """Order the last axis, of whole blocks, anew: the first number of every block, the second."""
    return x.unflatten(-1, (-1, block_size)).mT.flatten(-2)


def blocks_first(x: Tensor, block_size: int) -> Tensor:
    """Undo :func:`positions_first`."""
    return x.unflatten(-1, (block_size, -1)).mT.flatten(-2)


def fold(x: Tensor) -> Tensor:
    """Return sum and difference of the halves of the last axis: (..., n) -> (2, ..., n / 2)."""
    low, high = x.chunk(2, dim=-1)
    return torch.stack((low + high, low - high))


def unfold(x: Tensor) -> Tensor:
    """Put sum and difference side by side: (2, ..., n) -> (..., 2 n); of ``fold(x)`` it is 2 x."""
    return torch.cat((x[0] + x[1], x[0] - x[1]), dim=-1)


def spectrum(blocks: Tensor) -> Tensor:
    """Return the packed real FFT of every first column, (p, q, k) -> (p, q, k), not normalised."""
    return pack(rfft(blocks))


def pack(bins: Tensor) -> Tensor:
    """Pack the complex bins of a real FFT, (..., k/2 + 1), in k real words."""
    if bins.shape[-1] == 1:
        return bins.real
    ends = bins[..., [0, -1]].real
    inner = torch.view_as_real(bins[..., 1:-1].resolve_conj()).flatten(-2)
    return torch.cat((ends, inner), dim=-1)


def unpack(packed: Tensor) -> Tensor:
    """Return the complex bins (..., k/2 + 1) of a packed spectrum (..., k)."""
    if packed.shape[-1] == 1:
        return torch.complex(packed, torch.zeros_like(packed))
    ends = torch.complex(packed[..., :2], torch.zeros_like(packed[..., :2]))
    inner = torch.view_as_complex(packed[..., 2:].unflatten(-1, (-1, 2)).contiguous())
    return torch.cat((ends[..., :1], inner, ends[..., 1:]), dim=-1)


def matmul(x: Tensor, blocks: Tensor, out_features: int) -> Tensor:
    """Return ``x @ to_dense(blocks).T`` through the spectra.

    Args:
        x: (..., in).
        blocks: (p, q, k) first columns.
        out_features: the rows that exist of the p * k.

    Returns:
        (..., out_features).
    """
    _check_blocks(blocks, out_features, x.shape[-1])
    _, q, k = blocks.shape
    x = pad(x, (0, q * k - x.shape[-1]))
    X = rfft(x.unflatten(-1, (q, k)))  # (..., q, k/2 + 1)
    Y = torch.einsum("...qf,pqf->...pf", X, rfft(blocks))  # (..., p, k/2 + 1)
    return irfft(Y, n=k).flatten(-2)[..., :out_features]


def matmul_reference(x: Tensor, blocks: Tensor, out_features: int) -> Tensor:
    """Return what :func:`matmul` returns, by the dense matrix."""
    return x @ to_dense(blocks, (out_features, x.shape[-1])).T


def _diagonals(weight: Tensor, k: int) -> Tensor:
    """Sort a matrix (out, in) by block and cyclic diagonal: (p, q, diagonal, position along it)."""
    rows, columns = weight.shape
    p, q = num_blocks(rows, k), num_blocks(columns, k)
    weight = pad(weight, (0, q * k - columns, 0, p * k - rows))
    cells = weight.unflatten(1, (q, k)).unflatten(0, (p, k)).transpose(1, 2)  # (p, q, row, column)
    s = torch.arange(k, device=weight.device)
    return cells[..., (s[:, None] + s) % k, s]


def _toeplitz(upper: Tensor, lower: Tensor) -> Tensor:
    """Expand blocks (p, q, k), of ``lower`` on and below their diagonals: (p * k, q * k)."""
    p, q, k = lower.shape
    turned = torch.cat((upper, lower), dim=-1).flip(-1)  # (p, q, 2 k): row r begins at k - 1 - r
    rows = [turned[..., k - 1 - r : 2 * k - 1 - r] for r in range(k)]  # each (p, q, k)
    return torch.stack(rows, dim=1).reshape(p * k, q * k)


def _check_blocks(blocks: Tensor, rows: int, columns: int) -> None:
    """Raise ValueError unless ``blocks`` (p, q, k) covers a matrix (rows, columns) exactly."""
    if blocks.dim() != 3:
        raise ValueError(f"blocks have the shape {tuple(blocks.shape)}; it must be (p, q, k)")
    p, q, k = blocks.shape
    check_block_size(k)
    if (p, q) != (num_blocks(rows, k), num_blocks(columns, k)):
        raise ValueError(f"{p} x {q} blocks of {k} do not cover a matrix of {rows} x {columns}")
