"""Real FFT of a block and its inverse, fully pipelined: a block a cycle.

A spectrum is packed in k real words as :mod:`ernn.circulant` says: Re 0, Re k/2, Re 1, Im 1, ...
Both transforms recurse as their twins in :mod:`ernn.fixed` do: a stage of butterflies and two
transforms of half the size.

Source: Sorensen et al., Real-valued fast Fourier transform algorithms, IEEE Trans. ASSP 35, 1987.
"""

from myhdl import block

from ernn.fixed import TWIDDLE_FRACTION, twiddle
from hdl.arith import (
    add,
    delay,
    join,
    negate,
    register,
    round_sum,
    saturate,
    scale,
    shift_left,
    shift_round,
    split,
    subtract,
    word,
    words,
)
from hdl.program import BLOCK_SIZES

_ROTATE_LATENCY = 3


def check_block_size(block_size):
    """Raise ValueError unless the RTL has this block size."""
    if block_size not in BLOCK_SIZES:
        allowed = ", ".join(map(str, BLOCK_SIZES))
        raise ValueError(f"block size {block_size!r}: the RTL has {allowed}")


def _log2(block_size):
    return block_size.bit_length() - 1


def _hold(block_size):
    """Cycles of the rotations in a stage of butterflies; stages of 2 and 4 words have none."""
    return _ROTATE_LATENCY if block_size >= 8 else 0


def fft_latency(block_size):
    """Cycles from x to the spectrum of :func:`rfft`: 2, 6, 10 for k = 4, 8, 16."""
    return sum(1 + _hold(1 << stage) for stage in range(1, _log2(block_size) + 1))


def irfft_latency(block_size):
    """Cycles from the spectrum to y of :func:`irfft`: 4, 8, 12 for k = 4, 8, 16."""
    return fft_latency(block_size) + 2


@block
def rfft(clk, x, spectrum, block_size, word_length):
    """Real FFT of blocks of k words, with full bit growth.

    Equals :func:`ernn.fixed.rfft` bit for bit.

    Latency, resources
        ``fft_latency(k)`` cycles, a block a cycle; 0, 2, 12 DSPs for k = 4, 8, 16.

    Ports
        x : k words of ``word_length`` bits
        spectrum : k words of ``word_length`` + log2 k bits, the packed spectrum
    """
    check_block_size(block_size)
    samples = words(block_size, word_length)
    bins = words(block_size, word_length + _log2(block_size))
    return split(x, samples), forward(clk, samples, bins), join(bins, spectrum)


@block
def forward(clk, x, spectrum):
    """Transform k words of n bits into k words of n + log2 k bits."""
    k, length = len(x), len(spectrum[0])
    if k == 2:
        return add(clk, x[0], x[1], spectrum[0]), subtract(clk, x[0], x[1], spectrum[1])

    even, odd = words(k // 2, length - 1), words(k // 2, length - 1)
    logic = [forward(clk, x[0::2], even), forward(clk, x[1::2], odd)]
    e, o = words(k // 2, length - 1), words(2, length - 1)  # held until the rotations are done
    logic += [delay(clk, a, b, _hold(k)) for a, b in zip([*even, *odd[:2]], [*e, *o], strict=True)]

    logic += [add(clk, e[0], o[0], spectrum[0]), subtract(clk, e[0], o[0], spectrum[1])]
    logic += [register(clk, e[1], spectrum[k // 2]), negate(clk, o[1], spectrum[k // 2 + 1])]
    for f in range(1, k // 4):
        cos, sin = twiddle(f, k)
        re, im = 2 * f, 2 * f + 1
        mirror_re, mirror_im = k - 2 * f, k - 2 * f + 1
        t_re, t_im = words(2, length)
        logic += [
            rotate(clk, odd[re], odd[im], t_re, t_im, cos, -sin),
            add(clk, e[re], t_re, spectrum[re]),
            add(clk, e[im], t_im, spectrum[im]),
            subtract(clk, e[re], t_re, spectrum[mirror_re]),
            subtract(clk, t_im, e[im], spectrum[mirror_im]),
        ]
    return logic


@block
def irfft(clk, spectrum, y, block_size, output):
    """Inverse real FFT of packed spectra, with its 1/k, one rounding and saturation.

    Equals :func:`ernn.fixed.inverse` bit for bit.

    Latency, resources
        ``irfft_latency(k)`` cycles, a block a cycle, two of them to round and to saturate; 0, 2, 12
        DSPs for k = 4, 8, 16.

    Ports
        spectrum : k words in the format ``ernn.fixed.output_spectrum(output, k)``
        y : k words in the format ``output``
    """
    check_block_size(block_size)
    spectrum_length = output.word_length + _log2(block_size)
    bins = words(block_size, spectrum_length + 1)
    samples = words(block_size, spectrum_length + 1 + _log2(block_size))
    rounded = words(block_size, spectrum_length + 2)
    saturated = words(block_size, output.word_length)
    return (
        split(spectrum, bins),
        inverse(clk, bins, samples),
        [shift_round(clk, a, b, _log2(block_size)) for a, b in zip(samples, rounded, strict=True)],
        [saturate(clk, a, b) for a, b in zip(rounded, saturated, strict=True)],
        join(saturated, y),
    )


@block
def inverse(clk, spectrum, y):
    """Transform k words of n bits, one of them spare, into k words of n + log2 k bits.

    A stage doubles a bin's magnitude |re + i im| at most, and the spare bit holds the square root
    of 2 by which that is larger than a word.
    """
    k, length = len(spectrum), len(spectrum[0])
    if k == 2:
        low, high = spectrum
        return add(clk, low, high, y[0]), subtract(clk, low, high, y[1])

    even, odd = words(k // 2, length + 1), words(k // 2, length + 1)
    e, o = words(k // 2, length + 1), words(2, length + 1)  # before they wait for the rotations
    logic = [inverse(clk, even, y[0::2]), inverse(clk, odd, y[1::2])]
    logic += [delay(clk, a, b, _hold(k)) for a, b in zip([*e, *o], [*even, *odd[:2]], strict=True)]

    twice_re, twice_im = words(2, length + 1)
    logic += [
        add(clk, spectrum[0], spectrum[1], e[0]),
        subtract(clk, spectrum[0], spectrum[1], o[0]),
    ]
    logic += [shift_left(spectrum[k // 2], twice_re, 1), register(clk, twice_re, e[1])]
    logic += [shift_left(spectrum[k // 2 + 1], twice_im, 1), negate(clk, twice_im, o[1])]
    for f in range(1, k // 4):
        cos, sin = twiddle(f, k)
        re, im = 2 * f, 2 * f + 1
        mirror_re, mirror_im = k - 2 * f, k - 2 * f + 1
        d_re, d_im = words(2, length + 1)
        logic += [
            add(clk, spectrum[re], spectrum[mirror_re], e[re]),
            subtract(clk, spectrum[im], spectrum[mirror_im], e[im]),
            subtract(clk, spectrum[re], spectrum[mirror_re], d_re),
            add(clk, spectrum[im], spectrum[mirror_im], d_im),
            rotate(clk, d_re, d_im, odd[re], odd[im], cos, sin),
        ]
    return logic


@block
def rotate(clk, re, im, rotated_re, rotated_im, cos, sin):
    """Multiply by (cos + i sin) / 2**TWIDDLE_FRACTION; each part is exact but for one rounding.

    Three multiplications: cos (re + im) - (cos + sin) im and cos (re + im) - (cos - sin) re; at 45
    degrees one of them is by 0 and goes away.
    """
    length = len(re)
    total, late_re, late_im = word(length + 1), word(length), word(length)
    both = word(length + 1 + TWIDDLE_FRACTION + 2)
    of_re, of_im = words(2, length + TWIDDLE_FRACTION + 2)
    return (
        add(clk, re, im, total),
        register(clk, re, late_re),
        register(clk, im, late_im),
        scale(clk, total, both, cos),
        scale(clk, late_im, of_im, -(cos + sin)),
        scale(clk, late_re, of_re, sin - cos),
        round_sum(clk, both, of_im, rotated_re, TWIDDLE_FRACTION),
        round_sum(clk, both, of_re, rotated_im, TWIDDLE_FRACTION),
    )
