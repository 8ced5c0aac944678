"""cocotb: the whole accelerator, with images and frames from a public AXI4-Stream model."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from networks import CORE, PROGRAMS, SYSTEM

from hdl.accelerator import image
from hdl.axis import byte_bits
from hdl.compiler import compile_model, configure
from hdl.image import Error

IMAGES = {name: image(program).tobytes() for name, program in PROGRAMS.items()}
BITS_IN, BITS_OUT = byte_bits(CORE.activation), byte_bits(CORE.row_length)
BYTES_IN, BYTES_OUT = (CORE.block_size * bits // 8 for bits in (BITS_IN, BITS_OUT))


class Bench:
    """An accelerator's three streams; ``chance``: that each of them pauses in a cycle."""

    def __init__(self, dut, chance=0.0, seed=1):
        self.dut, self.rng = dut, random.Random(seed)
        self.data = np.random.default_rng(seed)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.config, self.source = (
            AxiStreamSource(AxiStreamBus.from_prefix(dut, prefix), dut.clk, dut.rst)
            for prefix in ("config", "s_axis")
        )
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        for end in (self.config, self.source, self.sink):
            end.log.setLevel("WARNING")
            if chance:
                end.set_pause_generator(iter(lambda: self.rng.random() < chance, None))

    @property
    def status(self):
        return int(self.dut.status.value)

    @property
    def error(self):
        return Error(self.status >> 4)

    @property
    def runs(self):
        return bool(self.status & 1)

    @property
    def dropped(self):
        return bool(self.status & 4)

    async def wait(self, cycles):
        await ClockCycles(self.dut.clk, cycles)

    async def reset(self):
        """Reset in the middle of whatever is going on; nothing is left of it."""
        self.dut.rst.value = 1
        await self.wait(3)
        for end in (self.config, self.source, self.sink):
            end.clear()
        assert not int(self.dut.m_axis_tvalid.value)
        assert not int(self.dut.s_axis_tready.value)
        assert self.status == 0
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def load(self, words, after=1):
        """Send an image in so many cycles; return its error once it is there, or refused."""
        await self.wait(after)
        await self.config.send(bytearray(words))
        await self.config.wait()
        await self.wait(CORE.groups + 10)
        assert not self.status & 2
        return self.error

    def frames(self, name, count):
        """Random frames for a program, and what its model gives for them as one utterance."""
        model = PROGRAMS[name].model
        frames = self.data.integers(-128, 128, (count, model.layers[0].input_size))
        return frames, model.run(frames[:, None])[:, 0]

    async def send(self, name, frames, first=True):
        """Queue frames of a program; ``first``: the first of them starts an utterance."""
        for n, frame in enumerate(frames):
            blocks = PROGRAMS[name].pack_frames(frame[None], BITS_IN)
            await self.send_blocks(blocks, first and n == 0)

    async def send_blocks(self, blocks, first):
        """Queue a frame of any number of blocks; TUSER is random behind the first of them."""
        data = b"".join(block.to_bytes(BYTES_IN, "little") for block in blocks)
        user = [int(first)] * BYTES_IN
        for _ in blocks[1:]:
            user += [self.rng.getrandbits(1)] * BYTES_IN
        await self.source.send(AxiStreamFrame(bytearray(data), tuser=user))

    async def receive(self, name, count):
        """The next frames that come, as results of that program."""
        program, results = PROGRAMS[name], []
        for _ in range(count):
            data = bytes((await with_timeout(self.sink.recv(), 200, "us")).tdata)
            assert len(data) == program.output_blocks * BYTES_OUT
            blocks = [data[n : n + BYTES_OUT] for n in range(0, len(data), BYTES_OUT)]
            words = [int.from_bytes(block, "little") for block in blocks]
            results.append(program.unpack_frames(words, BITS_OUT)[0])
        return np.array(results)

    async def check(self, name, count=3):
        """Frames of a program give what they must."""
        frames, wanted = self.frames(name, count)
        await self.send(name, frames)
        np.testing.assert_array_equal(await self.receive(name, count), wanted)
        assert self.sink.empty()


@cocotb.test()
@cocotb.parametrize(chance=[0.0, 0.3])
async def programs(dut, chance):
    """One program after another, without a reset; each finishes the frames that it was given."""
    bench = Bench(dut, chance)
    await bench.reset()
    waiting = []
    for name in ("projected", "classifier", "stack", "projected"):
        assert await bench.load(IMAGES[name]) is Error.NONE
        assert bench.runs
        for old, wanted in waiting:  # frames that were inside when the image came
            np.testing.assert_array_equal(await bench.receive(old, len(wanted)), wanted)
        await bench.check(name)
        frames, wanted = bench.frames(name, 4)
        await bench.send(name, frames)
        await bench.source.wait()
        waiting = [(name, wanted)]
    assert not bench.dropped


@cocotb.test()
async def image_and_frame_at_once(dut):
    """Whenever a frame's last block comes: it is run by the old program or by the new one."""
    bench, names = Bench(dut), ("projected", "others")
    await bench.reset()
    assert await bench.load(IMAGES[names[0]]) is Error.NONE
    by = []
    for n in range(8):
        old, new = names[n % 2], names[1 - n % 2]
        frames, by_old = bench.frames(old, 1)
        by_new = SYSTEM[new].run(frames[:, None])[:, 0]
        assert (by_old != by_new).any()
        coming = cocotb.start_soon(bench.load(IMAGES[new], after=4))
        await bench.wait(n + 1)
        await bench.send(old, frames)
        answer = await bench.receive(new, 1)
        by.append(bool((answer == by_new).all()))
        assert by[-1] or (answer == by_old).all()
        assert await coming is Error.NONE
    assert by == sorted(by)
    assert len(set(by)) == 2


@cocotb.test()
@cocotb.parametrize(seed=[0, 1])
async def resets(dut, seed):
    """Whatever is going on."""
    bench = Bench(dut, 0.2, seed)
    await bench.reset()
    for name, other in (("projected", "classifier"), ("classifier", "stack")):
        # in an image, and behind it
        await bench.config.send(bytearray(IMAGES[name]))
        await bench.wait(bench.rng.randrange(4, 400))
        await bench.reset()
        await bench.send(name, bench.frames(name, 1)[0])
        await bench.wait(200)
        assert not bench.runs
        assert bench.sink.empty()
        await bench.reset()
        # in frames, at any time
        assert await bench.load(IMAGES[name]) is Error.NONE
        await bench.send(name, bench.frames(name, 12)[0])
        await bench.wait(bench.rng.randrange(1, 500))
        await bench.reset()
        # while results wait
        assert await bench.load(IMAGES[other]) is Error.NONE
        bench.sink.clear_pause_generator()
        bench.sink.pause = True
        await bench.send(other, bench.frames(other, 6)[0])
        await with_timeout(RisingEdge(dut.m_axis_tvalid), 100, "us")
        await bench.wait(bench.rng.randrange(100))
        assert int(dut.m_axis_tvalid.value)
        await bench.reset()
        bench.sink.pause = False
        assert await bench.load(IMAGES[other]) is Error.NONE
        await bench.check(other)


@cocotb.test()
async def wrong_images(dut):
    """The status tells why an image was refused; no frame is lost over it."""
    bench, name = Bench(dut, 0.1), "stack"
    good = IMAGES[name]

    def flipped(word, mask=1 << 13):
        words = np.frombuffer(good, "<u4").copy()
        words[word] ^= mask
        return words.tobytes()

    foreign = configure(SYSTEM[name], 4)
    headers = {
        Error.MAGIC: flipped(0),
        Error.SIGNATURE: image(compile_model(SYSTEM[name], foreign)).tobytes(),
        Error.LENGTH: flipped(2, 1 << 31),
    }
    bodies = [
        (Error.SECTION, flipped(3, 1 << 31)),  # no such unit
        (Error.SECTION, flipped(3, 1 << 15)),  # more entries than the payload has
        (Error.CRC, flipped(5)),
        (Error.CRC, flipped(-1)),
        (Error.TRUNCATED, good[:-4]),
        (Error.TRUNCATED, good[:20]),
        (Error.OVERLONG, good + bytes(8)),
    ]
    await bench.reset()
    for error, words in headers.items():  # there is no program to go on with
        assert await bench.load(words) is error
        assert not bench.runs
    assert await bench.load(good) is Error.NONE
    for error, words in headers.items():  # the program goes on
        frames, wanted = bench.frames(name, 4)
        await bench.send(name, frames)
        assert await bench.load(words) is error
        assert bench.runs
        np.testing.assert_array_equal(await bench.receive(name, 4), wanted)
        await bench.check(name)
    for n, (error, words) in enumerate(bodies):  # the program is given up
        before, wanted_before = bench.frames(name, 2)
        await bench.send(name, before)
        await bench.source.wait()
        assert await bench.load(words) is error
        assert not bench.runs
        after, wanted_after = bench.frames(name, 2)
        await bench.send(name, after)
        np.testing.assert_array_equal(await bench.receive(name, 2), wanted_before)
        await bench.wait(100)
        assert not int(dut.s_axis_tready.value)
        assert bench.sink.empty()
        if n % 2:
            assert await bench.load(headers[Error.MAGIC]) is Error.MAGIC
            assert not bench.runs
        assert await bench.load(good) is Error.NONE
        np.testing.assert_array_equal(await bench.receive(name, 2), wanted_after)
    assert not bench.dropped


@cocotb.test()
@cocotb.parametrize(name=["projected", "classifier"])
async def utterances(dut, name):
    """The state goes on from frame to frame until TUSER says that another utterance starts."""
    bench = Bench(dut, 0.2)
    await bench.reset()
    assert await bench.load(IMAGES[name]) is Error.NONE
    for start in (False, True, True):  # the first frames of all start from zero by themselves
        frames, wanted = bench.frames(name, 9)
        await bench.send(name, frames[:1], first=start)
        for part in (frames[1:2], frames[2:5], frames[5:]):
            await bench.send(name, part, first=False)
            await bench.wait(bench.rng.randrange(300))
        np.testing.assert_array_equal(await bench.receive(name, 9), wanted)
    anew = bench.frames(name, 9)[1]
    assert (anew != wanted).any()


@cocotb.test()
async def wrong_frames(dut):
    """A frame of a wrong length is dropped and reported; what it started, the next one starts."""
    bench, name = Bench(dut, 0.2), "classifier"
    await bench.reset()
    assert await bench.load(IMAGES[name]) is Error.NONE
    blocks = PROGRAMS[name].input_blocks
    await bench.check(name)
    assert not bench.dropped
    for length in (blocks - 1, blocks + 1, 1, 100):
        junk = [bench.rng.getrandbits(8 * BYTES_IN) for _ in range(length)]
        frames, wanted = bench.frames(name, 5)
        # in the middle of an utterance it makes no difference
        await bench.send(name, frames[:2])
        await bench.send_blocks(junk, first=False)
        await bench.send(name, frames[2:], first=False)
        np.testing.assert_array_equal(await bench.receive(name, 5), wanted)
        assert bench.dropped
        # one that starts an utterance
        frames, wanted = bench.frames(name, 3)
        await bench.send_blocks(junk, first=True)
        await bench.send(name, frames, first=False)
        np.testing.assert_array_equal(await bench.receive(name, 3), wanted)
    await bench.reset()
    assert not bench.dropped


@cocotb.test()
@cocotb.parametrize(chance=[0.0, 0.3])
async def interleaved_streams(dut, chance):
    """Frames of two streams take turns; each stream's utterances start when they like."""
    bench, name = Bench(dut, chance), "interleaved"
    await bench.reset()
    assert await bench.load(IMAGES[name]) is Error.NONE
    lengths = [3, 1, 4, 6], [5, 7, 2]
    streams = [[bench.frames(name, n) for n in lengths[s]] for s in range(2)]
    starts = [{sum(of[:n]) for n in range(len(of))} for of in lengths]
    frames, wanted = (
        [np.concatenate([pair[which] for pair in of]) for of in streams] for which in range(2)
    )
    for t in range(sum(lengths[0])):
        for s in range(2):
            await bench.send(name, frames[s][t : t + 1], first=t in starts[s])
    answers = await bench.receive(name, 2 * sum(lengths[0]))
    for s in range(2):
        np.testing.assert_array_equal(answers[s::2], wanted[s])
    # another program behind it, and this one once more
    for other in ("stack", "classifier"):
        assert await bench.load(IMAGES[other]) is Error.NONE
        await bench.check(other)


@cocotb.test()
async def half_a_frame_under_a_new_image(dut):
    """A frame that is half in when the program changes counts as the new program's."""
    bench = Bench(dut)
    await bench.reset()
    for old, new, extra in (
        ("projected", "others", 0),
        ("projected", "classifier", 0),
        ("classifier", "projected", 0),
        ("classifier", "stack", 100),
    ):
        assert await bench.load(IMAGES[old]) is Error.NONE
        frames, _ = bench.frames(old, 1)
        blocks = PROGRAMS[old].pack_frames(frames, BITS_IN)
        await bench.send_blocks([*blocks, *[0] * extra], first=True)
        while not int(dut.s_axis_tvalid.value):
            await RisingEdge(dut.clk)
        bench.source.pause = True
        assert await bench.load(IMAGES[new]) is Error.NONE
        assert bench.source.active
        bench.source.pause = False
        if new == "others":
            answer = await bench.receive(new, 1)
            np.testing.assert_array_equal(answer, SYSTEM[new].run(frames[:, None])[:, 0])
        await bench.check(new)
        assert bench.dropped is (new != "others")
        await bench.reset()


@cocotb.test()
async def a_stream_missing(dut):
    """A frame whose round is not complete when another image comes goes with its program."""
    bench = Bench(dut)
    await bench.reset()
    for name in ("projected", "interleaved"):
        assert await bench.load(IMAGES["interleaved"]) is Error.NONE
        frames, wanted = bench.frames("interleaved", 3)
        for frame in frames[:2]:
            for _ in range(2):
                await bench.send("interleaved", [frame], first=frame is frames[0])
        await bench.send("interleaved", frames[2:], first=False)
        await bench.source.wait()
        assert await bench.load(IMAGES[name]) is Error.NONE
        answer = await bench.receive("interleaved", 4)
        np.testing.assert_array_equal(answer, wanted[:2].repeat(2, axis=0))
        if name == "projected":
            await bench.check(name)
    frames, wanted = bench.frames("interleaved", 1)
    await bench.send("interleaved", frames.repeat(2, axis=0))
    np.testing.assert_array_equal(await bench.receive("interleaved", 2), wanted.repeat(2, axis=0))
