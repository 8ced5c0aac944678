"""Real FFT of a block and its inverse, fully pipelined: a block a cycle.

A spectrum is packed in k real words as :mod:`ernn.circulant` says: Re 0, Re k/2, Re 1, Im 1, ...
Both transforms recurse as their twins in :mod:`ernn.fixed` do: a stage of butterflies and two
transforms of half the size.

Source: Sorensen et al., Real-valued fast Fourier transform algorithms, IEEE Trans. ASSP 35, 1987.
"""

from myhdl import always, always_comb, block

from ernn.fixed import TWIDDLE_FRACTION, twiddle
from hdl.arith import (
    add,
    bit,
    constant,
    delay,
    delay_bit,
    join,
    negate,
    register,
    saturate_either,
    scale,
    shift_left,
    split,
    subtract,
    word,
    words,
)
from hdl.config import BLOCK_SIZES


def check_block_size(block_size):
    """Raise ValueError unless the RTL has this block size."""
    if block_size not in BLOCK_SIZES:
        allowed = ", ".join(map(str, BLOCK_SIZES))
        raise ValueError(f"block size {block_size!r}: the RTL has {allowed}")


def _log2(block_size):
    return block_size.bit_length() - 1


def _hold(block_size, relaxed):
    """Cycles of the rotations in a stage of butterflies; stages of 2 and 4 words have none."""
    return 2 + relaxed if block_size >= 8 else 0


def fft_latency(block_size, relaxed=False):
    """Cycles from x to the spectrum of :func:`rfft`: 2, 5, 8, 11 for k = 4, 8, 16, 32.

    Relaxed they are 2, 6, 10, 14.
    """
    return sum(1 + _hold(1 << stage, relaxed) for stage in range(1, _log2(block_size) + 1))


def irfft_latency(block_size, relaxed=False):
    """Cycles from the spectrum to y of :func:`irfft`: one more than the transform has."""
    return fft_latency(block_size, relaxed) + 1


@block
def rfft(clk, x, spectrum, block_size, word_length, relaxed=False):
    """Real FFT of blocks of k words, with full bit growth.

    Equals :func:`ernn.fixed.rfft` bit for bit.

    Latency, resources
        ``fft_latency(k, relaxed)`` cycles, a block a cycle; :func:`ernn.fixed.fft_products` DSPs.

    Ports
        x : k words of ``word_length`` bits
        spectrum : k words of ``word_length`` + log2 k bits, the packed spectrum
    """
    check_block_size(block_size)
    samples = words(block_size, word_length)
    bins = words(block_size, word_length + _log2(block_size))
    return split(x, samples), forward(clk, samples, bins, relaxed), join(bins, spectrum)


@block
def forward(clk, x, spectrum, relaxed):
    """Transform k words of n bits into k words of n + log2 k bits."""
    k, length = len(x), len(spectrum[0])
    if k == 2:
        return add(clk, x[0], x[1], spectrum[0]), subtract(clk, x[0], x[1], spectrum[1])

    even, odd = words(k // 2, length - 1), words(k // 2, length - 1)
    logic = [forward(clk, part, t, relaxed) for part, t in ((x[0::2], even), (x[1::2], odd))]
    hold = _hold(k, relaxed)
    e, o = words(k // 2, length - 1), words(2, length - 1)  # held until the rotations are done
    logic += [delay(clk, a, b, hold) for a, b in zip([*even, *odd[:2]], [*e, *o], strict=True)]

    logic += [add(clk, e[0], o[0], spectrum[0]), subtract(clk, e[0], o[0], spectrum[1])]
    logic += [register(clk, e[1], spectrum[k // 2]), negate(clk, o[1], spectrum[k // 2 + 1])]
    for f in range(1, k // 4):
        cos, sin = twiddle(f, k)
        re, im = 2 * f, 2 * f + 1
        mirror_re, mirror_im = k - 2 * f, k - 2 * f + 1
        t_re, t_im = words(2, length)
        logic += [
            rotate(clk, odd[re], odd[im], t_re, t_im, cos, -sin, relaxed),
            add(clk, e[re], t_re, spectrum[re]),
            add(clk, e[im], t_im, spectrum[im]),
            subtract(clk, e[re], t_re, spectrum[mirror_re]),
            subtract(clk, t_im, e[im], spectrum[mirror_im]),
        ]
    return logic


@block
def irfft(clk, spectrum, narrow, y, cfg):
    """Inverse real FFT of packed spectra, with its 1/k, one rounding and saturation.

    Equals :func:`ernn.fixed.inverse` bit for bit. The half of the rounding is k/2 on the real bin
    0: it goes through additions alone and reaches every word.

    Latency, resources
        ``irfft_latency(k, cfg.relaxed)`` cycles, a block a cycle, the last of them to saturate;
        :func:`ernn.fixed.fft_products` DSPs. If A = P, ``narrow`` takes nothing.

    Ports
        spectrum : k words of cfg.spectrum_length bits
        narrow : with its spectrum: the words saturate to A bits, else to P
        y : k words of cfg.row_length bits
    """
    check_block_size(cfg.block_size)
    k, growth = cfg.block_size, _log2(cfg.block_size)
    length = cfg.spectrum_length + 1
    bins, samples = words(k, length), words(k, length + growth)
    raised, raised_bins = word(length), list(bins)
    raised_bins[0] = raised
    scaled, saturated = words(k, length), words(k, cfg.row_length)
    narrow_late = bit()
    half = k // 2

    @always_comb
    def add_half():
        raised.next = bins[0] + half

    return (
        split(spectrum, bins),
        add_half,
        inverse(clk, raised_bins, samples, cfg.relaxed),
        [drop_low(a, b, growth) for a, b in zip(samples, scaled, strict=True)],
        delay_bit(clk, narrow, narrow_late, fft_latency(k, cfg.relaxed)),
        [
            saturate_either(clk, a, narrow_late, b, cfg.preactivation, cfg.activation)
            for a, b in zip(scaled, saturated, strict=True)
        ],
        join(saturated, y),
    )


@block
def inverse(clk, spectrum, y, relaxed):
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
    logic = [inverse(clk, part, t, relaxed) for part, t in ((even, y[0::2]), (odd, y[1::2]))]
    hold = _hold(k, relaxed)
    logic += [delay(clk, a, b, hold) for a, b in zip([*e, *o], [*even, *odd[:2]], strict=True)]

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
            rotate(clk, d_re, d_im, odd[re], odd[im], cos, sin, relaxed),
        ]
    return logic


@block
def rotate(clk, re, im, rotated_re, rotated_im, cos, sin, relaxed):
    """Multiply by (cos + i sin) / 2**TWIDDLE_FRACTION; each part is exact but for one rounding.

    re cos - im sin and re sin + im cos: four products, the half of the rounding in one of each
    part; at 45 degrees two products serve both parts. Relaxed, that half has a cycle of its own.
    """
    length = len(re) + TWIDDLE_FRACTION + 1
    half = constant(1 << (TWIDDLE_FRACTION - 1))
    of_re, of_im = words(2, length)
    if sin == cos:
        return (
            product(clk, re, of_re, cos, half, relaxed),
            product(clk, im, of_im, cos, 0, relaxed),
            drop_difference(clk, of_re, of_im, rotated_re),
            drop_sum(clk, of_re, of_im, rotated_im),
        )
    if sin == -cos:
        return (
            product(clk, re, of_re, cos, 0, relaxed),
            product(clk, im, of_im, cos, half, relaxed),
            drop_sum(clk, of_re, of_im, rotated_re),
            drop_difference(clk, of_im, of_re, rotated_im),
        )
    crossed_re, crossed_im = words(2, length)
    return (
        product(clk, re, of_re, cos, half, relaxed),
        product(clk, im, crossed_im, -sin, 0, relaxed),
        drop_sum(clk, of_re, crossed_im, rotated_re),
        product(clk, im, of_im, cos, half, relaxed),
        product(clk, re, crossed_re, sin, 0, relaxed),
        drop_sum(clk, of_im, crossed_re, rotated_im),
    )


@block
def product(clk, a, total, factor, offset, relaxed):
    """Total is the constant ``factor`` times a, plus another: in one cycle, or relaxed in two."""
    if not relaxed:
        return scale(clk, a, total, factor, offset)
    exact = word(len(total))
    return scale(clk, a, exact, factor), add_constant(clk, exact, total, offset)


@block
def add_constant(clk, a, total, offset):
    """Total is a plus a constant, one cycle later."""

    @always(clk.posedge)
    def store():
        total.next = a + offset

    return store


@block
def drop_sum(clk, a, b, part):
    """Divide a + b by 2**TWIDDLE_FRACTION, rounding down, one cycle later."""
    total = word(len(a) + 1)
    low, high = TWIDDLE_FRACTION, TWIDDLE_FRACTION + len(part)

    @always_comb
    def add_up():
        total.next = a + b

    @always(clk.posedge)
    def store():
        part.next = total[high:low].signed()

    return add_up, store


@block
def drop_difference(clk, a, b, part):
    """Divide a - b by 2**TWIDDLE_FRACTION, rounding down, one cycle later."""
    total = word(len(a) + 1)
    low, high = TWIDDLE_FRACTION, TWIDDLE_FRACTION + len(part)

    @always_comb
    def take_away():
        total.next = a - b

    @always(clk.posedge)
    def store():
        part.next = total[high:low].signed()

    return take_away, store


@block
def drop_low(a, part, count):
    """Take a without its ``count`` low bits. No register."""
    whole = len(a)

    @always_comb
    def take():
        part.next = a[whole:count].signed()

    return take
