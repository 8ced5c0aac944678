"""The accelerator: a core between AXI4-Streams, with its configuration loader.

s_axis -> frame_input -> core -> frame_output -> m_axis
                          ^
config -> loader ---------+
"""

import numpy as np
from myhdl import always_comb, block, concat

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
from hdl.config import CoreConfig, address_bits
from hdl.control import delay_control
from hdl.core import core
from hdl.delays import load_delay
from hdl.image import build_image, signature
from hdl.loader import STATUS_BITS, Load, loader
from hdl.program import Program, Units, load_address_bits, load_data_bits
from hdl.stream import AxiStream


def image(program: Program):
    """The 32-bit words that configure an accelerator (uint32)."""
    cfg = program.cfg
    return build_image(program.sections(), load_data_bits(cfg), signature(cfg))


def blocks_in(program: Program, utterances):
    """TUSER, TLAST and TDATA of utterances (time, input_size) on ``s_axis``, a block each.

    With S streams, each S utterances in a row must be of one length: they are interleaved frame by
    frame.
    """
    per_frame = program.input_blocks
    starts = interleave([np.arange(len(u)) == 0 for u in utterances], program.streams)
    frames = interleave(utterances, program.streams)
    data = program.pack_inputs(frames, byte_bits(program.cfg.activation))
    place = np.arange(len(data)) % per_frame
    return starts.repeat(per_frame) & (place == 0), place == per_frame - 1, data


def blocks_out(program: Program, results):
    """TLAST and TDATA of results (time, output_size) on ``m_axis``, a block each."""
    frames = interleave(results, program.streams)
    data = program.pack_frames(frames, byte_bits(program.cfg.row_length))
    return np.arange(1, len(data) + 1) % program.output_blocks == 0, data


def interleave(utterances, streams):
    """Frames of utterances (time, ...) in the order in which ``streams`` take turns."""
    rounds = [utterances[n : n + streams] for n in range(0, len(utterances), streams)]
    return np.concatenate([np.stack(r, axis=1).reshape(-1, *r[0].shape[1:]) for r in rounds])


def load_bits(cfg):
    """Bits of data, unit and address of what is loaded."""
    return load_data_bits(cfg), address_bits(Units(cfg).count), load_address_bits(cfg)


@block
def accelerator(clk, rst, config, s_axis, m_axis, status, cfg):
    """Whole networks behind streams.

    Equals ``run`` of the integer model whose image was loaded bit for bit, utterance after
    utterance.

    Ports
        rst : synchronous, active high, at any time; the program must be loaded again
        config : AxiStream(32)          images, TLAST on their last word; the frames that came whole
            before an image's third word are run by the program before it, all others by the next;
            of several streams, frames without those of the other streams are dropped with it
        s_axis : input_stream(cfg)      frames: blocks of k words, each in whole bytes; TLAST on a
            frame's last block; TUSER on its first: an utterance starts
        m_axis : output_stream(cfg)     results likewise
        status : [0] a program is there, [1] an image is coming in, [2] a frame of a wrong length
            was dropped, [7:4] why the last image was refused (:class:`hdl.image.Error`)
    """
    data_bits, unit_bits, entry_bits = load_bits(cfg)
    load = Load(data_bits, unit_bits, entry_bits)
    i, o = BlockStream(cfg), GroupStream(cfg)
    enable, ready, missing, runs, coming, occupied, busy, dropped = (bit() for _ in range(8))
    frame_blocks = bits(address_bits(cfg.column_depth))
    of_loader = bits(STATUS_BITS)

    @always_comb
    def report():
        status.next = concat(of_loader[STATUS_BITS:3], dropped, of_loader[1], runs)
        missing.next = rst or not enable
        busy.next = occupied or coming

    @always_comb
    def run():
        runs.next = enable and ready

    return (
        report,
        run,
        loader(
            clk,
            rst,
            config,
            busy,
            enable,
            load,
            of_loader,
            data_bits,
            unit_bits,
            entry_bits,
            signature(cfg),
            cfg.relaxed,
        ),
        delay_control(clk, missing, enable, ready, load_delay(cfg)),
        frame_input(
            clk, rst, s_axis, i, runs, frame_blocks, dropped, coming, cfg, input_depth(cfg)
        ),
        core(clk, rst, load, runs, coming, occupied, frame_blocks, i, o, cfg),
        frame_output(clk, rst, o, m_axis, cfg),
    )


def input_depth(cfg: CoreConfig) -> int:
    """Blocks that :func:`hdl.axis.frame_input` keeps: two frames of the longest."""
    return 2 << address_bits(cfg.column_depth)


def accelerator_arguments(cfg):
    """The arguments of :func:`accelerator`: signals for its ports, and its configuration."""
    return {
        **{"clk": bit(), "rst": bit(), "config": AxiStream(32)},
        **{"s_axis": input_stream(cfg), "m_axis": output_stream(cfg)},
        **{"status": bits(STATUS_BITS), "cfg": cfg},
    }
