"""Images, and the loader against their checker in Python, cycle by cycle."""

import random

import numpy as np
import pytest

from hdl.arith import bit, bits
from hdl.config import CoreConfig
from hdl.image import Error, build_image, check_image, payload_limit, signature
from hdl.loader import STATUS_BITS, Load, loader
from hdl.module import convert
from hdl.stream import AxiStream
from hdl.synth import synthesize
from hdl.tools import check_vhdl, lint, run_icarus, run_myhdl, run_vectors

SIGNATURE = 0xC0DE1234
TINY = (40, 2, 1)
"""Bits of data, unit and address."""
SECTIONS = [(1, [0x12_3456789A, 0xFF_00000001]), (3, [0x80_00000000])]
OUTPUTS = ["config_tready", "enable", "status", "load_valid", "load_unit", "load_address"]
OUTPUTS += ["load_data"]


def arguments(sizes):
    return {
        **{name: bit() for name in ("clk", "rst", "busy", "enable")},
        "config": AxiStream(32),
        "load": Load(*sizes),
        "status": bits(STATUS_BITS),
        **dict(zip(("data_bits", "unit_bits", "address_bits"), sizes, strict=True)),
        "signature": SIGNATURE,
    }


def image(sections=SECTIONS, sizes=TINY):
    return [int(word) for word in build_image(sections, sizes[0], SIGNATURE)]


def random_image(rng, sizes):
    data_bits, unit_bits, address_bits = sizes
    units = rng.sample(range(1 << unit_bits), rng.randint(1, 1 << unit_bits))
    counts = [rng.randint(1, 1 << address_bits) for _ in units]
    sections = [
        (unit, [rng.getrandbits(data_bits) for _ in range(count)])
        for unit, count in zip(units, counts, strict=True)
    ]
    return image(sections, sizes)


def flips(words):
    """The image with each single bit of it wrong."""
    for n in range(len(words)):
        for place in range(32):
            yield [*words[:n], words[n] ^ 1 << place, *words[n + 1 :]]


class Drive:
    """Vectors for the loader that keep the stream contract, and its answers in every cycle.

    In ``answers`` stand the ports but ``load_...``, and the entry or None.
    """

    def __init__(self, sizes=TINY, seed=0, idle=0.0, busy=0.0):
        self.sizes, self.rng = sizes, random.Random(seed)
        self.idle, self.busy = idle, busy
        self.inputs = {
            name: [] for name in ("rst", "config_tvalid", "config_tdata", "config_tlast", "busy")
        }
        self.answers = []
        self._reset()
        self.cycle(rst=1)
        self.answers[0] = None

    def _reset(self):
        self.enable, self.error, self.loading, self.quiet = False, Error.NONE, False, False
        self.entry = None

    def cycle(self, word=None, last=False, rst=0):
        """One cycle; return whether it took the word."""
        busy = self.rng.random() < self.busy
        vector = rst, word is not None, word or 0, last, busy
        for name, value in zip(self.inputs, vector, strict=True):
            self.inputs[name].append(int(value))
        status = self.error << 4 | self.loading << 1 | self.enable
        self.answers.append(((not self.quiet, self.enable, status), self.entry))
        self.entry = None
        taken = word is not None and not self.quiet
        if not busy:
            self.quiet = False
        if rst:
            self._reset()
        return taken

    def send(self, words, reset=None):
        """Send an image; cut it short by a reset before the word of that number."""
        verdict = check_image(words, *self.sizes, SIGNATURE)
        written = 0
        for n, word in enumerate(words):
            if n == reset:
                self.cycle(rst=1)
                return verdict
            while self.rng.random() < self.idle:
                self.cycle()
            last = n == len(words) - 1
            while not self.cycle(word, last):
                pass
            writes = check_image(words[: n + 1], *self.sizes, SIGNATURE).writes
            self.entry = writes[-1] if len(writes) > written else None
            written = len(writes)
            self.loading = not last
            if n == 2 and verdict.taken:
                self.enable, self.quiet = False, True
            if n + 1 == verdict.judged:
                self.error, self.enable = verdict.error, self.enable or not verdict.error
        return verdict

    def check(self, answer):
        """Compare what a simulator answered."""
        for t, (want, row) in enumerate(
            zip(self.answers, zip(*(answer[n] for n in OUTPUTS), strict=True), strict=True)
        ):
            if want is not None:
                ports, entry = want
                assert tuple(map(int, row[:3])) == tuple(map(int, ports)), f"cycle {t}"
                assert (row[4:] if row[3] else None) == entry, f"cycle {t}"


def drive_tiny(**chances):
    """All that may happen to a tiny image, and a correct one after each of them."""
    drive, good = Drive(**chances), image()
    assert drive.send(good).writes == [
        (unit, address, entry)
        for unit, entries in SECTIONS
        for address, entry in enumerate(entries)
    ]
    wrong = [good[:n] for n in range(1, len(good))] + [[*good, 0], [*good, *good], [0], [1] * 5]
    for words in [*wrong, *flips(good)]:
        running, verdict = drive.enable, drive.send(words)
        assert verdict.error
        assert drive.enable == (running and not verdict.taken)
        if drive.rng.random() < 0.3:
            assert not drive.send(good).error
            assert drive.enable
            assert not drive.error
    for reset in range(1, len(good)):
        drive.send(good, reset)
        drive.send(good[reset:] if drive.rng.random() < 0.5 else good)
        assert not drive.send(good).error
    for _ in range(3):
        drive.cycle()
    return drive


def test_tiny_image(tmp_path):
    files = convert(loader, arguments(TINY), tmp_path)
    lint(files, "loader")
    for seed, chances in enumerate([{}, {"idle": 0.5}, {"busy": 0.8}, {"idle": 0.3, "busy": 0.5}]):
        drive = drive_tiny(seed=seed, **chances)
        drive.check(run_vectors(files, "loader", drive.inputs, OUTPUTS))
    drive.check(run_myhdl(loader, arguments(TINY), drive.inputs, OUTPUTS))


def test_relaxed(tmp_path):
    """The same images take or do not; a word every fourth cycle, and a verdict with the last."""
    files = convert(loader, arguments(TINY) | {"relaxed": True}, tmp_path)
    lint(files, "loader")
    rng, good = random.Random(0), image()
    sent = [good, good[:3], [*good, 0], *flips(good), good]
    inputs = {name: [] for name in ("rst", "config_tvalid", "config_tdata", "config_tlast", "busy")}

    def cycles(count, **values):
        for name, column in inputs.items():
            column += [values.get(name, 0)] * count

    cycles(2, rst=1)
    ends = []
    for words in sent:
        for n, word in enumerate(words):
            # busy after the third word, so that the fourth waits as long as it may last
            busy = rng.randrange(9) if n == 2 else 0
            last = {"config_tdata": word, "config_tlast": n == len(words) - 1}
            cycles(1, config_tvalid=1, busy=1, **last)
            cycles(3 + busy, busy=1)
            cycles(4)
        ends.append(len(inputs["rst"]) - 1)
    got = run_vectors(files, "loader", inputs, OUTPUTS)
    loads = zip(*(got[name][2:] for name in OUTPUTS[3:]), strict=True)
    writes = [load[1:] for load in loads if load[0] == 1]
    verdicts = [check_image(words, *TINY, SIGNATURE) for words in sent]
    assert writes == [write for verdict in verdicts for write in verdict.writes]
    assert [got["status"][end] >> 4 for end in ends] == [v.error for v in verdicts]
    running = False
    for end, verdict in zip(ends, verdicts, strict=True):
        running = not verdict.error if verdict.taken else running
        assert got["enable"][end] == running


@pytest.mark.parametrize("sizes", [(32, 1, 3), (7, 3, 1), (100, 2, 4)])
def test_random_images(sizes, tmp_path):
    files = convert(loader, arguments(sizes), tmp_path)
    lint(files, "loader")
    drive = Drive(sizes, idle=0.1, busy=0.5)
    for _ in range(40):
        words = random_image(drive.rng, sizes)
        assert not drive.send(words).error
        for _ in range(drive.rng.randint(0, 2)):
            words = random_image(drive.rng, sizes)
            words[drive.rng.randrange(3, len(words))] ^= 1 << drive.rng.randrange(32)
            assert drive.send(words).error
    drive.check(run_vectors(files, "loader", drive.inputs, OUTPUTS))
    drive.check(run_myhdl(loader, arguments(sizes), drive.inputs, OUTPUTS))


def test_icarus(icarus, tmp_path):
    drive, good = Drive(idle=0.2, busy=0.5), image()
    for words in [good, good[:5], good, [*good, 1], good]:
        drive.send(words)
    files = convert(loader, arguments(TINY), tmp_path)
    drive.check(run_icarus(files, "loader", drive.inputs, OUTPUTS))


def test_vhdl(ghdl, tmp_path):
    check_vhdl(convert(loader, arguments(TINY), tmp_path, language="vhdl"), "loader")


def test_resources(tmp_path):
    total = synthesize(convert(loader, arguments((192, 8, 9)), tmp_path), "loader").total
    assert total.lut <= 330
    assert total.ff <= 300
    assert total.dsp == total.bram36 == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({0: 0x45524E32}, Error.MAGIC),
        ({1: SIGNATURE ^ 1}, Error.SIGNATURE),
        ({2: 0}, Error.LENGTH),
        ({2: payload_limit(*TINY) + 1}, Error.LENGTH),
        ({2: 7}, Error.SECTION),
        ({2: 9}, Error.SECTION),
        ({3: 1 << 16}, Error.SECTION),
        ({3: 1 << 16 | 3}, Error.SECTION),
        ({3: 4 << 16 | 2}, Error.SECTION),
        ({3: 1 << 16 | 1}, Error.SECTION),
        ({4: 0}, Error.CRC),
        ({11: 0}, Error.CRC),
    ],
)
def test_error(change, error):
    words = image()
    for n, word in change.items():
        words[n] = word
    assert check_image(words, *TINY, SIGNATURE).error is error


def test_length_of_transfer():
    words = image()
    for n in range(1, len(words)):
        assert check_image(words[:n], *TINY, SIGNATURE).error is Error.TRUNCATED
    assert check_image([*words, 0], *TINY, SIGNATURE).error is Error.OVERLONG


def test_image_words():
    words = build_image([(2, [0x1_00000002])], 33, 5)
    assert words.dtype == np.uint32
    assert [int(w) for w in words[:6]] == [0x45524E31, 5, 3, 2 << 16 | 1, 2, 1]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([], "image of no section"),
        ([(0, [])], "unit 0 of 0 entries: takes 1 to 65535"),
        ([(0, range(1 << 16))], "unit 0 of 65536 entries"),
        ([(1 << 16, [1])], "unit 65536: must be below 65536"),
        ([(3, [1, 256])], "unit 3, entry 1: 256 is not a word of 8 bits"),
        ([(3, [-1])], "unit 3, entry 0: -1 is not a word of 8 bits"),
    ],
)
def test_refused(sections, message):
    with pytest.raises(ValueError, match=message):
        build_image(sections, 8, 0)


def test_signature_tells_cores_apart():
    others = {"weight": 11}, {"segments": 8}, {"segments": 16}
    cores = [CoreConfig(8, 4), CoreConfig(8, 8), *(CoreConfig(8, 4, **other) for other in others)]
    assert len({signature(cfg) for cfg in cores}) == 5
    assert signature(cores[0]) == signature(CoreConfig(8, 4))


def test_loader_refuses_sizes():
    with pytest.raises(ValueError, match="16 bits of unit"):
        loader(**arguments((8, 16, 1)))
