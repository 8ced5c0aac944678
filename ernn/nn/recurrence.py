"""The loop over time of LSTM and GRU, compiled for the processor that trains."""

import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ernn.circulant import fold, unfold
from ernn.files import atomic, cache_folder, digest

SOURCE = Path(__file__).with_suffix(".cpp")
ARCHITECTURES = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
"""The compiler's name for what torch says the processor can do."""


def product_type(like: Tensor) -> torch.dtype:
    """Type of the factors of products with ``like``: autocast's where it is on."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def supports(weight: Tensor, hidden_size: int) -> bool:
    """Whether :class:`Recurrence` runs here, with a weight as this one.

    It does on x86 processors with AVX2, in bfloat16 with AVX512_BF16 and an even hidden size, where
    a C++ compiler is found. The first call compiles.
    """
    if weight.device.type != "cpu":
        return False
    dtype = product_type(weight)
    paired = dtype != torch.bfloat16 or hidden_size % 2 == 0
    return paired and load() and _runs(dtype)


@cache
def _runs(dtype: torch.dtype) -> bool:
    """Whether this processor computes products of this type: one is tried."""
    shapes = (1, 1, 1, 8), (1, 2), (1, 8, 2), 8
    u, h, W, bias = (torch.zeros(shape, dtype=dtype) for shape in shapes)
    s = h.double() if dtype == torch.float64 else h.float()
    try:
        torch.ops.ernn.recurrence("lstm", u, h, s, W, bias.to(s))
    except RuntimeError:
        return False
    return True


@cache
def load() -> bool:
    """Load the compiled loop; False if it is not for this processor or, with a warning, not made.

    It is kept in :func:`ernn.files.cache_folder`, by a hash of all that it is made of.
    """
    architecture = ARCHITECTURES.get(torch.backends.cpu.get_cpu_capability())
    if architecture is None:
        return False
    try:
        torch.ops.load_library(_compiled(architecture))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[0]
        warnings.warn(f"no C++ compiler, so training is slower: {reason}", stacklevel=4)
        return False
    return True


def _compiled(architecture: str) -> Path:
    torch_folder = Path(torch.__file__).parent
    flags = f"-std=c++20 -O3 -march={architecture} -fopenmp -shared -fPIC -DNDEBUG".split()
    for headers in ("include", "include/torch/csrc/api/include"):
        flags += ["-isystem", f"{torch_folder}/{headers}"]
    flags += [f"-L{torch_folder}/lib", "-ltorch_cpu", "-lc10"]
    version = _run_compiler("--version")
    name = digest(version, torch.__version__, *flags, SOURCE.read_text())
    library = cache_folder() / "recurrence" / f"{name}.so"
    if not library.exists():
        with atomic(library) as new:
            _run_compiler(str(SOURCE), *flags, "-o", str(new))
    return library


def _run_compiler(*arguments: str) -> str:
    return subprocess.run(["c++", *arguments], capture_output=True, text=True, check=True).stdout


class Recurrence(Function):
    """An LSTM or a GRU over time, and its gradient.

    The recurrent matrix has M parts: 1, itself, or 2, as :func:`ernn.circulant.to_halves` makes
    them of a block-circulant one; u is then folded, and all else, gate by gate, in the order of
    :func:`ernn.circulant.positions_first`.

    Arguments of ``apply``
        cell : "lstm", or "gru" with the reset after the matrix
        u : (M, time, batch, gates * hidden / M), the input's part of the pre-activations, with its
            bias
        h : (batch, hidden), the output before the first frame
        s : (batch, hidden), the state there: the cell of an LSTM, h itself of a GRU
        W : (M, gates * hidden / M, hidden / M), the recurrent matrix
        bias : (gates * hidden,) of the recurrent products

    Returns the outputs (time, batch, hidden) and the last state. Under autocast the products'
    factors, u and the outputs are of its type, sums and states of W's.
    """

    @staticmethod
    def forward(
        ctx: Any, cell: str, u: Tensor, h: Tensor, s: Tensor, W: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run, and keep what the gradient needs."""
        dtype = product_type(W)
        ctx.cell, ctx.dtypes = cell, [t.dtype for t in (u, h, s, W, bias)]
        s, bias = (t.to(W.dtype).contiguous() for t in (s, bias))
        W = W.to(dtype)
        y, states, kept = torch.ops.ernn.recurrence(
            cell, u.to(dtype).contiguous(), h.to(dtype), s, W, bias
        )
        ctx.save_for_backward(W, y, states, kept)
        return y[1:], states[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, ds: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of u, h, s, W and bias."""
        W, y, states, kept = ctx.saved_tensors
        d, dh, ds = torch.ops.ernn.recurrence_backward(
            ctx.cell, dy.to(W.dtype).contiguous(), ds.contiguous(), W, states, kept
        )
        of_sums = d[..., : W.shape[1]].flatten(1, 2)  # (M, time * batch, gates * hidden / M)
        h, dbias = y[:-1].flatten(0, 1), of_sums.sum(1)
        if len(W) == 1:
            h, dbias = h[None], dbias[0]
        else:
            h, dbias = fold(h), unfold(dbias.unflatten(-1, (-1, W.shape[2]))).flatten() / 2
        dW = torch.stack([a.T @ b for a, b in zip(of_sums, h, strict=True)])
        if ctx.cell == "gru":  # its n has two pre-activations: the sum's gradient, then u's
            rz = 2 * W.shape[2]
            d = torch.cat((d[..., :rz], d[..., W.shape[1] :]), dim=-1)
        gradients = (g.to(t) for g, t in zip((d, dh, ds, dW, dbias), ctx.dtypes, strict=True))
        return None, *gradients
