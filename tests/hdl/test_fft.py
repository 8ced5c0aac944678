"""The FFT and its inverse against the integers of ernn.fixed, in every simulator."""

import numpy as np
import pytest
from checking import Case, check, packed, resources, vectors

from ernn import fixed
from ernn.fixed import FixedPoint, fft_products
from hdl.arith import bit, bits
from hdl.config import BLOCK_SIZES, CoreConfig, Span
from hdl.fft import fft_latency, irfft, irfft_latency, rfft

SIZES = [(4, 12), (8, 16), (16, 12), (32, 12)]  # block size, word length


def forward(k, length, relaxed=False):
    grown = length + k.bit_length() - 1
    x = vectors((k,), length)
    return Case(
        rfft,
        {"x": bits(k * length), "spectrum": bits(k * grown)},
        {"block_size": k, "word_length": length, "relaxed": relaxed},
        {"x": packed(x, length)},
        {"spectrum": packed(fixed.rfft(x), grown)},
        fft_latency(k, relaxed),
    )


def inverse(k, length, activation=None, relaxed=False):
    """P is ``length`` bits; A too, or another: the spectra then are for both by turns."""
    activation = activation or length
    lengths = {"activation": activation, "preactivation": length, "cell_fraction": Span(2, 3)}
    cfg = CoreConfig(k, 4, **lengths, relaxed=relaxed)
    Y = vectors((k,), cfg.spectrum_length)
    narrow = np.arange(len(Y)) // 2 % 2
    y = [
        fixed.inverse(block, FixedPoint(activation if n else length, 2))
        for block, n in zip(Y, narrow, strict=True)
    ]
    return Case(
        irfft,
        {"spectrum": bits(k * cfg.spectrum_length), "narrow": bit(), "y": bits(cfg.row_bits)},
        {"cfg": cfg},
        {"spectrum": packed(Y, cfg.spectrum_length), "narrow": narrow},
        {"y": packed(y, cfg.row_length)},
        irfft_latency(k, relaxed),
    )


def test_equals_fixed(tmp_path):
    cases = [transform(*size) for transform in (forward, inverse) for size in SIZES]
    cases += [transform(k, 10, relaxed=True) for transform in (forward, inverse) for k in (4, 16)]
    check([*cases, inverse(8, 12, 9), inverse(4, 9, 12)], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
@pytest.mark.parametrize("case", [forward(8, 8), inverse(8, 8), inverse(8, 8, 7)])
def test_small(case, simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([case], tmp_path, [simulator])


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
def test_rotations(simulator, request, tmp_path):
    """Blocks of 16 have rotations by other angles than 45 degrees."""
    request.getfixturevalue(simulator)
    check([forward(16, 6), inverse(16, 6)], tmp_path, [simulator])


def test_latency():
    assert [fft_latency(k) for k in BLOCK_SIZES] == [2, 5, 8, 11]
    assert [irfft_latency(k) for k in BLOCK_SIZES] == [3, 6, 9, 12]
    assert [fft_latency(k, relaxed=True) for k in BLOCK_SIZES] == [2, 6, 10, 14]


def test_dsps(tmp_path):
    assert [fft_products(k) for k in BLOCK_SIZES] == [0, 2, 14, 54]
    cases = [transform(k, 16) for transform in (forward, inverse) for k in (4, 8, 16)]
    assert resources(cases, tmp_path).dsp == 2 * (0 + 2 + 14)


def test_narrow_takes_nothing_where_lengths_are_equal(tmp_path):
    """Flip-flops of ``narrow``'s delay are there only where it chooses."""
    equal, other = (resources([inverse(4, 12, a)], tmp_path / str(a)) for a in (12, 11))
    assert equal.dsp == other.dsp == 0
    assert equal.ff + equal.lut < other.ff + other.lut


def test_vectors():
    """The vectors saturate some words, and leave most of them alone."""
    output = FixedPoint(12, 8)
    Y = vectors((8,), fixed.output_spectrum(output, 8).word_length)
    y = fixed.inverse(Y, output)
    saturated = np.isin(y, [output.lowest, output.highest]).mean()
    assert 0.01 < saturated < 0.5


@pytest.mark.parametrize("k", [1, 2, 64])
def test_block_size(k):
    with pytest.raises(ValueError, match=f"block size {k}: the RTL has 4, 8, 16, 32"):
        rfft(None, bits(k * 8), bits(k * 16), k, 8)
