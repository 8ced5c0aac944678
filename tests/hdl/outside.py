"""The outside of a core around the smallest of all cores, for the bench in bench_axis.py."""

from myhdl import always, always_comb, block

from hdl.arith import bit, bits
from hdl.axis import (
    BlockStream,
    GroupStream,
    frame_input,
    frame_output,
    input_stream,
    output_stream,
)
from hdl.config import CoreConfig
from hdl.image import signature
from hdl.loader import STATUS_BITS, Load, loader
from hdl.stream import AxiStream

CORE = CoreConfig(4, 4)
SIZES = {"data_bits": CORE.block_bits, "unit_bits": 1, "address_bits": 1}
DEPTH = 16


@block
def outside(clk, rst, config_axis, s_axis, m_axis, status, error):
    """Every block of a frame comes back with its bits turned where the program's key has ones.

    A program is two units of one entry: the key, and the number of blocks of a frame, minus 1.
    """
    enable, busy, running, start, given = (bit() for _ in range(5))
    key = bits(CORE.block_bits)
    frame_blocks = bits(4)
    load = Load(**SIZES)
    x, y = BlockStream(CORE), GroupStream(CORE)

    @always_comb
    def gate():
        start.next = running or enable
        busy.next = running or given

    @always_comb
    def core():
        y.valid.next = x.valid and start
        x.ready.next = y.ready and start
        y.data.next = x.data ^ key
        y.last.next = x.last
        y.count.next = 0

    @always_comb
    def watch():
        given.next = m_axis.tvalid

    @always(clk.posedge)
    def frame():
        if rst:
            running.next = 0
        elif x.valid and start and y.ready:
            running.next = not x.last

    @always(clk.posedge)
    def take():
        if load.valid:
            if load.unit == 0:
                key.next = load.data
            else:
                frame_blocks.next = load.data[4:]

    return (
        gate,
        core,
        watch,
        frame,
        take,
        loader(
            clk, rst, config_axis, busy, enable, load, status, signature=signature(CORE), **SIZES
        ),
        frame_input(clk, rst, s_axis, x, frame_blocks, error, CORE, DEPTH),
        frame_output(clk, rst, y, m_axis, CORE),
    )


def arguments():
    return {
        **{name: bit() for name in ("clk", "rst", "error")},
        "config_axis": AxiStream(32),
        "s_axis": input_stream(CORE),
        "m_axis": output_stream(CORE),
        "status": bits(STATUS_BITS),
    }
