"""Frames in and groups out against twins in Python, cycle by cycle."""

import random
from collections import deque

import pytest
from streams import drive, shift

from hdl.arith import bit, bits
from hdl.axis import (
    BlockStream,
    GroupStream,
    byte_bits,
    frame_input,
    frame_output,
    input_stream,
    output_stream,
)
from hdl.config import CoreConfig, Span, address_bits
from hdl.module import convert
from hdl.program import pack, unpack
from hdl.synth import synthesize
from hdl.tools import check_vhdl, lint, run_icarus, run_myhdl, run_vectors

CORES = {
    "4-ragged": CoreConfig(4, 4, activation=12, preactivation=18, cell_fraction=Span(8, 10)),
    "4-relaxed": CoreConfig(4, 4, activation=12, cell_fraction=Span(8, 10), relaxed=True),
    "8-slices-2": CoreConfig(8, 8, slices=2),
    "4-slices-4": CoreConfig(4, 16, slices=4, activation=13, cell_fraction=Span(8, 11)),
}
STALLS = [(0, 0), (0, 0.7), (0.5, 0), (0.3, 0.5)]


class Frames:
    """The twin of frame_input; words are (data, first, last)."""

    def __init__(self, blocks, depth, registers=1):
        self.blocks, self.depth = blocks, depth
        self.coming, self.waiting, self.out = [], deque(), [None] * registers
        self.drop = self.anew = self.error = False
        self.relaxed, self.room = registers > 1, False

    def empty(self):
        return Frames(self.blocks, self.depth, len(self.out))

    def ports(self, o_ready):
        room = len(self.coming) + len(self.waiting) < self.depth
        ready = self.drop or (self.room if self.relaxed else room)
        return ready, self.out[0] is not None, self.out[0], self.error

    def clock(self, word, o_ready):
        i_ready, *_ = self.ports(o_ready)
        room = len(self.coming) + len(self.waiting) < self.depth
        self.room = room and not (word is not None and i_ready)
        shift(self.out, self.waiting, o_ready)
        if word is None or not i_ready:
            return
        data, first, last = word
        if self.drop:
            self.drop = not last
            return
        anew = self.coming[0][1] if self.coming else first or self.anew
        self.coming.append((data, anew, last))
        whole = len(self.coming) == self.blocks
        if whole and last:
            self.waiting += self.coming
            self.anew = False
        elif whole or last:
            self.anew, self.drop, self.error = anew, not last, True
        if whole or last:
            self.coming = []


class Groups:
    """The twin of frame_output; words in are (blocks, last, count), words out (block, last)."""

    def __init__(self):
        self.blocks = deque()

    def empty(self):
        return Groups()

    def ports(self, o_ready):
        i_ready = len(self.blocks) <= o_ready
        return i_ready, bool(self.blocks), self.blocks[0] if self.blocks else None

    def clock(self, word, o_ready):
        if o_ready and self.blocks:
            self.blocks.popleft()
        if word is not None and not self.blocks:
            blocks, last, count = word
            count = count if last else len(blocks) - 1
            self.blocks.extend((b, last and n == count) for n, b in enumerate(blocks[: count + 1]))


def input_arguments(cfg, depth):
    return {
        **{name: bit() for name in ("clk", "rst", "enable", "coming", "error")},
        "s": input_stream(cfg),
        "o": BlockStream(cfg),
        "frame_blocks": bits(address_bits(depth)),
        "cfg": cfg,
        "depth": depth,
    }


def output_arguments(cfg):
    return {"clk": bit(), "rst": bit(), "i": GroupStream(cfg), "m": output_stream(cfg), "cfg": cfg}


def random_frames(rng, cfg, blocks, count):
    """Frames of words of frame_input's twin; some have a block too few or many too many."""
    frames = []
    for _ in range(count):
        size = rng.choice([blocks] * 3 + [rng.randint(1, blocks), rng.randint(1, 3 * blocks)])
        first = rng.random() < 0.4
        frames.append(
            [
                # TUSER of the blocks after the first does not count
                (
                    rng.getrandbits(cfg.block_bits),
                    bool(first if n == 0 else rng.getrandbits(1)),
                    n == size - 1,
                )
                for n in range(size)
            ]
        )
    return frames


def passed(frames, blocks):
    """What frame_input makes of them, and whether it dropped one."""
    words, anew = [], False
    for frame in frames:
        anew = anew or frame[0][1]
        if len(frame) == blocks:
            words += [(data, anew, last) for data, _, last in frame]
            anew = False
    return words, any(len(frame) != blocks for frame in frames)


def on_bus(data, cfg, rng):
    """A block as it comes over AXI4-Stream: its words in whole bytes, with any bits above."""
    pitch, length = byte_bits(cfg.activation), cfg.activation
    fields = [n & ((1 << length) - 1) for n in unpack(data, length, cfg.block_size).tolist()]
    fields = [
        n | rng.getrandbits(pitch - length) << length if pitch > length else n for n in fields
    ]
    return sum(n << place * pitch for place, n in enumerate(fields))


def input_vectors(vectors, cfg, blocks):
    rng = random.Random(2)
    words = [word or (0, False, False) for _, word, _ in vectors]
    return {
        "rst": [rst for rst, *_ in vectors],
        "s_tvalid": [word is not None for _, word, _ in vectors],
        "s_tdata": [on_bus(data, cfg, rng) for data, _, _ in words],
        "s_tuser": [first for _, first, _ in words],
        "s_tlast": [last for *_, last in words],
        "o_ready": [ready for *_, ready in vectors],
        "frame_blocks": blocks - 1,
        "enable": 1,
    }


INPUT_ANSWERS = ["s_tready", "o_valid", "o_data", "o_first", "o_last", "error"]
OUTPUT_ANSWERS = ["i_ready", "m_tvalid", "m_tdata", "m_tlast"]


def input_answers(got):
    """A simulator's answers as the twin gives them; the first cycle is before the reset."""
    return [
        (ready, valid, (data, first, last) if valid else None, error)
        for ready, valid, data, first, last, error in zip(
            *(got[name] for name in INPUT_ANSWERS), strict=True
        )
    ][1:]


@pytest.mark.parametrize(
    ("core", "depth", "sizes"),
    [
        ("4-ragged", 2, [1, 2]),
        ("4-ragged", 8, [1, 4, 5, 8]),
        ("8-slices-2", 16, [8]),
        ("4-relaxed", 8, [1, 5, 8]),
    ],
)
def test_frame_input(core, depth, sizes, tmp_path):
    cfg = CORES[core]
    registers = 1 + cfg.relaxed
    files = convert(frame_input, input_arguments(cfg, depth), tmp_path)
    lint(files, "frame_input")
    for blocks in sizes:
        rng = random.Random(blocks)
        for idle, stall in STALLS:
            frames = random_frames(rng, cfg, blocks, 30)
            words = [word for frame in frames for word in frame]
            vectors, answers, received = drive(Frames(blocks, depth, registers), words, idle, stall)
            assert (received, answers[-1][-1]) == passed(frames, blocks)
            twin = Frames(blocks, depth, registers)
            vectors, answers, _ = drive(twin, words, idle, stall, reset=50)
            inputs = input_vectors(vectors, cfg, blocks)
            got = run_vectors(files, "frame_input", inputs, INPUT_ANSWERS)
            assert input_answers(got) == answers
        got = run_myhdl(frame_input, input_arguments(cfg, depth), inputs, INPUT_ANSWERS)
        assert input_answers(got) == answers


def test_frame_input_latency():
    words = [(n, n % 4 == 0, n % 4 == 3) for n in range(40)]
    _, answers, _ = drive(Frames(4, 8), words, 0, 0)
    valid = [o_valid for _, o_valid, *_ in answers]
    assert valid[:46] == [False] * (3 + 2) + [True] * 40 + [False]
    assert all(i_ready for i_ready, *_ in answers)


def output_vectors(vectors, cfg):
    words = [word or ([0], False, 0) for _, word, _ in vectors]
    return {
        "rst": [rst for rst, *_ in vectors],
        "i_valid": [word is not None for _, word, _ in vectors],
        "i_data": [
            sum(block << n * cfg.row_bits for n, block in enumerate(blocks)) for blocks, *_ in words
        ],
        "i_last": [last for _, last, _ in words],
        "i_count": [count for *_, count in words],
        "m_tready": [ready for *_, ready in vectors],
    }


def output_answers(got, cfg):
    """A simulator's answers as the twin gives them; the first cycle is before the reset."""

    def row_block(data):
        rows = unpack(data, byte_bits(cfg.row_length), cfg.block_size)
        low = -1 << (cfg.row_length - 1)
        assert all(low <= n < -low for n in rows.tolist())
        return pack(rows, cfg.row_length)

    return [
        (ready, valid, (row_block(data), last) if valid else None)
        for ready, valid, data, last in zip(*(got[n] for n in OUTPUT_ANSWERS), strict=True)
    ][1:]


@pytest.mark.parametrize("core", CORES)
def test_frame_output(core, tmp_path):
    cfg = CORES[core]
    files = convert(frame_output, output_arguments(cfg), tmp_path)
    lint(files, "frame_output")
    rng = random.Random(0)
    groups = [
        (
            [rng.getrandbits(cfg.row_bits) for _ in range(cfg.slices)],
            rng.random() < 0.5,
            rng.randrange(cfg.slices),
        )
        for _ in range(60)
    ]
    for idle, stall in STALLS:
        vectors, answers, received = drive(Groups(), groups, idle, stall)
        assert received == [
            (block, last and n == count)
            for blocks, last, count in groups
            for n, block in enumerate(blocks)
            if n <= count or not last
        ]
        if not idle and not stall:
            assert all(o_valid for _, o_valid, _ in answers[1 : len(received) + 1])
        vectors, answers, _ = drive(Groups(), groups, idle, stall, reset=50)
        inputs = output_vectors(vectors, cfg)
        got = run_vectors(files, "frame_output", inputs, OUTPUT_ANSWERS)
        assert output_answers(got, cfg) == answers
    got = run_myhdl(frame_output, output_arguments(cfg), inputs, OUTPUT_ANSWERS)
    assert output_answers(got, cfg) == answers


def test_icarus(icarus, tmp_path):
    cfg = CORES["4-ragged"]
    rng = random.Random(0)
    words = [word for frame in random_frames(rng, cfg, 2, 20) for word in frame]
    vectors, answers, _ = drive(Frames(2, 4), words, 0.3, 0.3)
    files = convert(frame_input, input_arguments(cfg, 4), tmp_path)
    got = run_icarus(files, "frame_input", input_vectors(vectors, cfg, 2), INPUT_ANSWERS)
    assert input_answers(got) == answers


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (frame_input, input_arguments(CORES["4-ragged"], 4)),
        (frame_output, output_arguments(CORES["4-ragged"])),
        (frame_output, output_arguments(CORES["8-slices-2"])),
    ],
)
def test_vhdl(function, arguments, ghdl, tmp_path):
    check_vhdl(convert(function, arguments, tmp_path, language="vhdl"), function.__name__)


def test_resources(tmp_path):
    files = convert(frame_input, input_arguments(CORES["8-slices-2"], 64), tmp_path)
    total = synthesize(files, "frame_input").total
    assert total.lut <= 220
    assert total.ff <= 165


def test_refused():
    cfg = CORES["4-ragged"]
    with pytest.raises(ValueError, match="frames in 6 blocks: the depth must be a power of two"):
        frame_input(**input_arguments(cfg, 6))
    with pytest.raises(ValueError, match="frame_blocks of 4 bits: 8 blocks take 3"):
        frame_input(**input_arguments(cfg, 8) | {"frame_blocks": bits(4)})
