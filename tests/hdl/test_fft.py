"""The FFT and its inverse against the integers of ernn.fixed, in every simulator."""

import numpy as np
import pytest
from checking import Case, check, packed, resources, vectors

from ernn import fixed
from ernn.fixed import FixedPoint
from hdl.arith import bits
from hdl.fft import fft_latency, irfft, irfft_latency, rfft

SIZES = [(4, 12), (8, 16), (16, 12)]  # block size, word length


def forward(k, length):
    grown = length + k.bit_length() - 1
    x = vectors((k,), length)
    return Case(
        rfft,
        {"x": bits(k * length), "spectrum": bits(k * grown)},
        {"block_size": k, "word_length": length},
        {"x": packed(x, length)},
        {"spectrum": packed(fixed.rfft(x), grown)},
        fft_latency(k),
    )


def inverse(k, length):
    output = FixedPoint(length, length - 4)
    grown = fixed.output_spectrum(output, k).word_length
    Y = vectors((k,), grown)
    return Case(
        irfft,
        {"spectrum": bits(k * grown), "y": bits(k * length)},
        {"block_size": k, "output": output},
        {"spectrum": packed(Y, grown)},
        {"y": packed(fixed.inverse(Y, output), length)},
        irfft_latency(k),
    )


def test_equals_fixed(tmp_path):
    check([transform(*size) for transform in (forward, inverse) for size in SIZES], tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "ghdl"])
@pytest.mark.parametrize("transform", [forward, inverse])
def test_small(transform, simulator, request, tmp_path):
    request.getfixturevalue(simulator)
    check([transform(8, 8)], tmp_path, [simulator])


def test_resources(tmp_path):
    cases = [forward(4, 16), forward(8, 16), inverse(4, 16), inverse(16, 16)]
    assert resources(cases, tmp_path).dsp == 0 + 2 + 0 + 12


def test_vectors():
    """The vectors saturate some words, and leave most of them alone."""
    output = FixedPoint(12, 8)
    Y = vectors((8,), fixed.output_spectrum(output, 8).word_length)
    y = fixed.inverse(Y, output)
    saturated = np.isin(y, [output.lowest, output.highest]).mean()
    assert 0.01 < saturated < 0.5


@pytest.mark.parametrize("k", [1, 2, 32])
def test_block_size(k):
    with pytest.raises(ValueError, match=f"block size {k}: the RTL has 4, 8, 16"):
        rfft(None, bits(k * 8), bits(k * 16), k, 8)
