"""The accelerator: a core between AXI4-Streams, with its configuration loader.

    s_axis -> frame_input -> core -> frame_output -> m_axis
                              ^
    config -> loader ---------+
"""

from myhdl import Signal, always_comb, block, concat, intbv

from hdl.arith import bit, bits
from hdl.config import address_bits
from hdl.core import InputPort, OutputPort, core
from hdl.image import signature
from hdl.loader import STATUS_BITS, Load, loader
from hdl.program import Units, load_address_bits, load_data_bits
from hdl.stream import AxiStream, frame_input, frame_output, word_bytes


def load_bits(cfg):
    """Bits of data, unit and address of what is loaded."""
    return load_data_bits(cfg), address_bits(Units(cfg).count), load_address_bits(cfg)


@block
def accelerator(clk, rst, config, s_axis, m_axis, status, cfg):
    """Whole networks behind streams; the integer model's ``run``, bit for bit.

    Ports
        rst : synchronous, active high, at any time; what was loaded is lost
        config : AxiStream(32)    images of :func:`hdl.program.Program.image`, TLAST at their end
        s_axis : AxiStream        frames: blocks of k words, each in whole bytes, TLAST at a frame's
            end; TUSER on its first block: the utterance starts
        m_axis : AxiStream        results, a block of k words at a time, TLAST at a frame's end
        status : [0] a program is there, [1] one is being loaded, [2] a frame of a wrong length was
            dropped, [7:4] why the last image was refused (:class:`hdl.image.Error`)
    """
    data_bits, unit_bits, entry_bits = load_bits(cfg)
    load = Load(data_bits, unit_bits, entry_bits)
    i, o = InputPort(cfg), OutputPort(cfg)
    enable, busy, error = bit(), bit(), bit()
    frame_blocks = bits(address_bits(cfg.column_depth))
    of_loader = bits(STATUS_BITS)

    @always_comb
    def report():
        status.next = concat(of_loader[8:3], error, of_loader[2:])

    return (
        report,
        loader(
            clk, rst, config, busy, enable, load, of_loader,
            data_bits, unit_bits, entry_bits, signature(cfg),
        ),
        frame_input(clk, rst, s_axis, i, frame_blocks, error, cfg),
        core(clk, rst, load, enable, busy, frame_blocks, i, o, cfg),
        frame_output(clk, rst, o, m_axis, cfg),
    )


def accelerator_arguments(cfg):
    """The arguments of :func:`accelerator`: signals for its ports, and its configuration."""
    k = cfg.block_size
    return {
        **{"clk": bit(), "rst": bit(), "config": AxiStream(32)},
        "s_axis": AxiStream(8 * k * word_bytes(cfg.activation), user=1),
        "m_axis": AxiStream(8 * k * word_bytes(cfg.row_length)),
        "status": Signal(intbv(0)[STATUS_BITS:]),
        "cfg": cfg,
    }
