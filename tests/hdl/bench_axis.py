"""cocotb: images and frames through the ports of outside.py, from a public AXI4-Stream model."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from outside import CORE

from hdl.image import Error, build_image, signature


def image(key, blocks):
    words = build_image([(0, [key]), (1, [blocks - 1])], CORE.block_bits, signature(CORE))
    return bytearray(words.tobytes())


def keyed(frame, key):
    turn = key.to_bytes(8, "little") * (len(frame) // 8)
    return bytes(a ^ b for a, b in zip(frame, turn, strict=True))


class Bench:
    def __init__(self, dut, chance):
        self.dut, self.rng = dut, random.Random(1)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.config, self.source = (
            AxiStreamSource(AxiStreamBus.from_prefix(dut, prefix), dut.clk, dut.rst)
            for prefix in ("config_axis", "s_axis")
        )
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        for end in (self.config, self.source, self.sink):
            end.log.setLevel("WARNING")
            if chance:
                end.set_pause_generator(iter(lambda: self.rng.random() < chance, None))

    async def reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def load(self, words):
        """Send an image; return its error once it is in."""
        await self.config.send(words)
        await self.config.wait()
        await ClockCycles(self.dut.clk, 2)
        assert not int(self.dut.status.value) & 2
        return Error(int(self.dut.status.value) >> 4)

    async def send(self, blocks):
        frame = self.rng.randbytes(8 * blocks)
        await self.source.send(AxiStreamFrame(bytearray(frame), tuser=0))
        return frame

    async def receive(self):
        frame = await with_timeout(self.sink.recv(), 100, "us")
        return bytes(frame.tdata)

    @property
    def enabled(self):
        return bool(int(self.dut.status.value) & 1)


@cocotb.test()
@cocotb.parametrize(chance=[0.0, 0.4])
async def images_and_frames(dut, chance):
    bench = Bench(dut, chance)
    await bench.reset()
    assert not bench.enabled
    keys = [bench.rng.getrandbits(64) for _ in range(10)]

    # frames of the right length come back, the others do not
    assert await bench.load(image(keys[0], 5)) is Error.NONE
    assert bench.enabled
    frames = [await bench.send(5) for _ in range(6)]
    for blocks in (4, 6, 20, 1):
        await bench.send(blocks)
    frames.append(await bench.send(5))
    for frame in frames:
        assert await bench.receive() == keyed(frame, keys[0])
    assert int(dut.error.value) == 1

    # new images under frames: each of them by one program
    assert await bench.load(image(keys[0], 12)) is Error.NONE
    frames = [await bench.send(12) for _ in range(60)]
    for key in keys:
        await ClockCycles(dut.clk, bench.rng.randrange(20, 40))
        assert await bench.load(image(key, 12)) is Error.NONE
    answers = [await bench.receive() for _ in frames]
    by = [
        next(n for n, key in enumerate(keys) if keyed(frame, key) == answer)
        for frame, answer in zip(frames, answers, strict=True)
    ]
    assert by == sorted(by)
    assert len(set(by)) > 5

    # an image of another core changes nothing, a wrong one stops the core, a right one starts it
    wrong = image(keys[-2], 5)
    wrong[4] ^= 1
    assert await bench.load(wrong) is Error.SIGNATURE
    assert bench.enabled
    wrong = image(keys[-2], 5)
    wrong[-9] ^= 0x10
    assert await bench.load(wrong) is Error.CRC
    assert not bench.enabled
    frame = await bench.send(5)
    await ClockCycles(dut.clk, 100)
    assert bench.sink.empty()
    assert await bench.load(image(keys[-2], 5)[:-4]) is Error.TRUNCATED
    assert await bench.load(image(keys[-2], 5) + bytes(4)) is Error.OVERLONG
    await ClockCycles(dut.clk, 100)
    assert bench.sink.empty()
    assert not bench.enabled
    assert await bench.load(image(keys[-2], 5)) is Error.NONE
    assert await bench.receive() == keyed(frame, keys[-2])

    # after a reset there is no program
    await bench.reset()
    assert not bench.enabled
    await bench.send(1)
    await ClockCycles(dut.clk, 50)
    assert bench.sink.empty()
