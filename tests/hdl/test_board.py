"""The board's UART and packets, against random stalls and lines that are off."""

import random

import pytest
from myhdl import Simulation, StopSimulation, delay, instance

from hdl import board as uart
from hdl.arith import bit, bits
from hdl.board import byte_queue, pack, receiver, transmitter, unpack
from hdl.module import convert
from hdl.stream import AxiStream, Stream
from hdl.tools import lint, run_myhdl, run_vectors


def line_of(data, divider, rng, rate=1.0, jitter=0.0):
    """Levels of a line, a cycle each: bytes with pauses, edges off by ``jitter`` of a bit."""
    levels, time = [1] * 5, 5.0
    for byte in data:
        for symbol in [0, *(byte >> n & 1 for n in range(8)), 1]:
            time += divider * rate
            end = round(time + divider * jitter * rng.uniform(-1, 1))
            levels += [symbol] * (end - len(levels))
        pause = rng.choice([0, 0, 1, 3 * divider])
        levels += [1] * pause
        time += pause
    return levels + [1] * 2 * divider


@pytest.mark.parametrize(
    ("divider", "rate", "jitter"),
    [(8, 1, 0), (25, 1.02, 0.02), (151, 0.97, 0.05)],
)
def test_receiver(divider, rate, jitter, tmp_path):
    rng = random.Random(divider)
    data = [0, 255, 0x55, 0xAA, *rng.choices(range(256), k=20)]
    rx = line_of(data, divider, rng, rate, jitter)
    arguments = {"clk": bit(), "rst": bit(), "rx": bit(), "o": Stream(8), "divider": divider}
    arguments |= {"broken": bit(), "overrun": bit()}
    inputs = {"rst": [1, 1, 0], "rx": rx, "o_ready": 1}
    outputs = ["o_valid", "o_data", "broken", "overrun"]
    files = convert(receiver, arguments, tmp_path)
    lint(files, "receiver")
    got = run_vectors(files, "receiver", inputs, outputs)
    assert [d for v, d in zip(got["o_valid"], got["o_data"], strict=True) if v] == data
    assert not any(got["broken"][3:])
    assert not any(got["overrun"][3:])


def test_receiver_breaks_and_overruns():
    divider = 16
    arguments = {"clk": bit(), "rst": bit(), "rx": bit(), "o": Stream(8), "divider": divider}
    arguments |= {"broken": bit(), "overrun": bit()}
    outputs = ["o_valid", "o_data", "broken", "overrun"]
    rng = random.Random(0)
    rx = line_of([7], divider, rng) + [0] * 25 * divider + line_of([9, 11], divider, rng)
    got = run_myhdl(receiver, arguments, {"rst": [1, 0], "rx": rx, "o_ready": 1}, outputs)
    assert [d for v, d in zip(got["o_valid"], got["o_data"], strict=True) if v] == [7, 9, 11]
    assert sum(got["broken"]) == 1
    got = run_myhdl(receiver, arguments, {"rst": [1, 0], "rx": rx, "o_ready": 0}, outputs)
    assert sum(got["overrun"]) == 2
    assert got["o_data"][-1] == 11


@pytest.mark.parametrize("divider", [8, 33])
def test_transmitter(divider, tmp_path):
    """What it sends is a line of exact bits: start, data, stop."""
    data = [0, 255, 0x55, 0xA1]
    arguments = {"clk": bit(), "rst": bit(), "i": Stream(8), "tx": bit(), "divider": divider}
    files = convert(transmitter, arguments, tmp_path)
    lint(files, "transmitter")
    sent = []
    for byte in data:
        inputs = {"rst": [1, 1, 0], "i_valid": [0, 0, 0, 0, 0, 1, 0], "i_data": byte}
        tx = run_vectors(files, "transmitter", inputs, ["tx", "i_ready"], 14 * divider)
        start = tx["tx"].index(0, 2)
        assert start == 5 + 2
        middles = [tx["tx"][start + n * divider + divider // 2] for n in range(10)]
        assert tx["tx"][start - 1] == 1
        assert all(tx["tx"][start + 9 * divider :])
        assert tx["i_ready"][start + 10 * divider + 2] == 1
        sent.append(sum(b << n for n, b in enumerate(middles[1:9])))
    assert sent == data


# ------------------------------------------------------------------------------------------ packets


def packet(kind, payload=b""):
    return bytes([kind]) + len(payload).to_bytes(4, "little") + payload


class Source:
    """Words of a stream for a test bench: offered at random times, held until they are taken."""

    def __init__(self, words, idle, rng):
        self.words, self.idle, self.rng, self.offered = list(words), idle, rng, False

    def offer(self):
        self.offered = self.offered or bool(self.words and self.rng.random() >= self.idle)
        return self.offered

    def clock(self, ready):
        if self.offered and ready:
            self.words.pop(0)
            self.offered = False


def bench(dut, clk, rst, step, cycles):
    """Run a block: ``step(False)`` sets its inputs, ``step(True)`` looks before the edge."""

    @instance
    def drive():
        rst.next = 1
        for cycle in range(cycles):
            clk.next = 0
            if cycle == 2:
                rst.next = 0
            if cycle > 2:
                step(False)
            yield delay(1)
            if cycle > 2:
                step(True)
            clk.next = 1
            yield delay(1)
        raise StopSimulation

    simulation = Simulation(dut, drive)
    simulation.run(quiet=1)
    simulation.quit()


@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.5, 0), (0, 0.7), (0.3, 0.3)])
@pytest.mark.parametrize("width", [8, 48])
def test_unpack(width, idle, stall):
    rng = random.Random(width)
    sent, words, frames, queries = b"", [], [], 0
    for _ in range(25):
        kind = rng.choice([uart.CONFIG, uart.QUERY, uart.FRAME, uart.FIRST_FRAME, 77])
        more = rng.choice([0, uart.MORE])
        count = rng.randrange(1, 4)
        if kind == uart.CONFIG:
            values = [rng.getrandbits(32) for _ in range(count)]
            words += [(v, n == count - 1 and not more) for n, v in enumerate(values)]
            sent += packet(kind | more, b"".join(v.to_bytes(4, "little") for v in values))
        elif kind == uart.QUERY:
            queries += 1
            sent += packet(kind)
        elif kind == 77:
            sent += packet(kind, bytes(count))
        else:
            values = [rng.getrandbits(width) for _ in range(count)]
            user = kind == uart.FIRST_FRAME
            frames += [(v, n == count - 1 and not more, user) for n, v in enumerate(values)]
            payload = b"".join(v.to_bytes(width // 8, "little") for v in values)
            sent += packet(kind | more, payload)
    clk, rst, query, answered, unknown = (bit() for _ in range(5))
    i, config, s_axis = Stream(8), AxiStream(32), AxiStream(width, user=1)
    source = Source(sent, idle, rng)
    got_words, got_frames, got_queries, flags = [], [], [], []

    def step(edge):
        if not edge:
            i.valid.next = source.offer()
            i.data.next = source.words[0] if source.words else 0
            config.tready.next = rng.random() >= stall
            s_axis.tready.next = rng.random() >= stall
            answered.next = query and rng.random() >= stall
            return
        source.clock(i.ready)
        flags.append(bool(unknown))
        if config.tvalid and config.tready:
            got_words.append((int(config.tdata), bool(config.tlast)))
        if s_axis.tvalid and s_axis.tready:
            got_frames.append((int(s_axis.tdata), bool(s_axis.tlast), bool(s_axis.tuser)))
        if query and answered:
            got_queries.append(len(got_words) + len(got_frames))

    bench(
        unpack(clk, rst, i, config, s_axis, query, answered, unknown),
        clk,
        rst,
        step,
        60 * len(sent) // 8,
    )
    assert got_words == words
    assert got_frames == frames
    assert len(got_queries) == queries
    assert flags == sorted(flags)
    assert flags[-1]
    assert not flags[0]


@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.5, 0), (0, 0.7), (0.3, 0.3)])
@pytest.mark.parametrize("width", [8, 48])
def test_pack(width, idle, stall):
    rng = random.Random(width)
    words = [(rng.getrandbits(width), rng.getrandbits(1)) for _ in range(20)]
    clk, rst, query, answered = (bit() for _ in range(4))
    m_axis, o, facts = AxiStream(width), Stream(8), bits(8 * uart.STATUS_BYTES)
    report = rng.getrandbits(len(facts))
    facts.next = report
    source = Source(words, idle, rng)
    got, taken = [], []

    def step(edge):
        if not edge:
            m_axis.tvalid.next = source.offer()
            if source.words:
                m_axis.tdata.next, m_axis.tlast.next = source.words[0]
            facts.next = report
            query.next = query or rng.random() < 0.01
            o.ready.next = rng.random() >= stall
            return
        if m_axis.tvalid and m_axis.tready:
            value, last = source.words[0]
            taken.extend([uart.LAST_RESULT if last else uart.RESULT])
            taken.extend(value.to_bytes(width // 8, "little"))
        source.clock(m_axis.tready)
        if answered:
            taken.extend([uart.STATUS, *report.to_bytes(uart.STATUS_BYTES, "little")])
            query.next = 0
        if o.valid and o.ready:
            got.append(int(o.data))

    bench(pack(clk, rst, m_axis, query, answered, facts, o), clk, rst, step, 2500)
    assert not source.words
    assert got == taken[: len(got)]
    assert len(taken) - len(got) <= width // 8 + 1 + uart.STATUS_BYTES
    assert uart.STATUS in got


@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.8, 0), (0, 0.9)])
def test_byte_queue(idle, stall):
    rng = random.Random(0)
    data = rng.choices(range(256), k=100)
    clk, rst, i, o = bit(), bit(), Stream(8), Stream(8)
    source, got, inside = Source(data, idle, rng), [], []

    def step(edge):
        if not edge:
            i.valid.next = source.offer()
            i.data.next = source.words[0] if source.words else 0
            o.ready.next = rng.random() >= stall
            return
        source.clock(i.ready)
        if o.valid and o.ready:
            got.append(int(o.data))
        inside.append(len(data) - len(source.words) - len(got))

    bench(byte_queue(clk, rst, i, o, 8), clk, rst, step, 4000)
    assert got == data
    assert max(inside) <= 8
    assert max(inside) == 8 or idle
