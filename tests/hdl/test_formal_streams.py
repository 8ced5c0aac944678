"""Proofs of the stream blocks and of the loader; planted errors are found."""

from pathlib import Path

import pytest

from hdl.arith import bit, bits
from hdl.axis import (
    BlockStream,
    GroupStream,
    frame_input,
    frame_output,
    input_stream,
    output_stream,
)
from hdl.config import CoreConfig, Span
from hdl.formal import ProofError, prove_assertions, prove_independent
from hdl.loader import STATUS_BITS, Load, loader
from hdl.module import convert
from hdl.stream import AxiStream, Stream, fifo, register_slice

HERE = Path(__file__).parent / "formal"
CORE = CoreConfig(4, 8, slices=2, activation=8, preactivation=8, cell_fraction=Span(4, 6))

PROBES = {
    fifo: {
        **{name: f"dut.{name}" for name in ("valid", "count", "write", "read")},
        **{f"word{n}": f"dut.words[{n}]" for n in range(4)},
    },
    register_slice: {name: f"dut.{name}" for name in ("valid", "full", "spare")},
    frame_input: {},
    frame_output: {},
    loader: {name: f"dut.{name}" for name in ("state", "crc")},
}
SCOREBOARD = fifo, register_slice


def arguments(function):
    ports = {"clk": bit(), "rst": bit()}
    match function.__name__:
        case "fifo":
            return {**ports, "i": Stream(3), "o": Stream(3), "depth": 4}
        case "register_slice":
            return {**ports, "i": Stream(3), "o": Stream(3)}
        case "frame_input":
            ports |= {"s": input_stream(CORE), "o": BlockStream(CORE), "frame_blocks": bits(2)}
            ports |= {name: bit() for name in ("enable", "error", "coming")}
            return {**ports, "cfg": CORE, "depth": 4}
        case "frame_output":
            return {**ports, "i": GroupStream(CORE), "m": output_stream(CORE), "cfg": CORE}
        case "loader":
            sizes = {"data_bits": 40, "unit_bits": 2, "address_bits": 1}
            ports |= {"config": AxiStream(32), "busy": bit(), "enable": bit()}
            ports |= {"load": Load(**sizes), "status": bits(STATUS_BITS)}
            return {**ports, **sizes, "signature": 0xC0DE1234}


def prove(function, files, steps=12):
    name = function.__name__
    checkers = [HERE / "contract.v"]
    if function in SCOREBOARD:
        checkers.append(HERE / "scoreboard.v")
    proof = HERE / f"{name}_proof.v"
    prove_assertions([*files, *checkers, proof], f"{name}_proof", PROBES[function], steps)


@pytest.mark.parametrize("function", PROBES, ids=lambda f: f.__name__)
def test_proof(function, tmp_path):
    prove(function, convert(function, arguments(function), tmp_path))


def planted(function, right, wrong, folder):
    """The block's Verilog with an error in it."""
    files = convert(function, arguments(function), folder)
    text = files[-1].read_text()
    assert right in text
    files[-1].write_text(text.replace(right, wrong))
    return files


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (fifo, "(o_ready || (!valid))", "1'b1"),  # a word that waits is overwritten
        (fifo, "else if (o_ready) begin", "else if (0) begin"),  # the last word is given twice
        (fifo, "space = (count != 4)", "space = (count != 3)"),  # a place stays empty
        (fifo, "space = (count != 4)", "space = 1"),  # words are lost
        (fifo, "read <= (read + 1)", "read <= (read + 1) & 1"),  # another word
        (fifo, "o_valid = valid", "o_valid = valid && o_ready"),  # valid waits for ready
        (register_slice, "o_data <= spare", "o_data <= i_data"),  # overtaken
        (register_slice, "if ((!full)) begin", "if (1) begin"),  # the spare word is overwritten
        (register_slice, "valid <= (i_valid || full)", "valid <= i_valid"),  # lost
        (register_slice, "o_valid = valid", "o_valid = valid && o_ready"),
        (frame_input, "(o_ready || (!valid))", "1'b1"),
        (frame_output, "else if (m_tready) begin", "else begin"),
        # runs while it changes
        (loader, "enabled <= 0;\n            state <= 3'b011", "state <= 3'b011"),
        (loader, "&& (!busy));", ");"),  # does not wait
        (loader, "else if (crc_wrong) begin", "else if (0) begin"),
    ],
)
def test_planted_error_is_found(function, right, wrong, tmp_path):
    files = planted(function, right, wrong, tmp_path)
    with pytest.raises(ProofError, match="a counterexample") as error:
        prove(function, files)
    assert error.value.counterexample


def test_too_few_steps(tmp_path):
    files = planted(fifo, "(o_ready || (!valid))", "1'b1", tmp_path)
    with pytest.raises(ProofError, match="no proof in 1 steps") as error:
        prove(fifo, files, steps=1)
    assert not error.value.counterexample


@pytest.mark.parametrize(
    ("function", "output", "source"),
    [
        (fifo, "o_valid", "o_ready"),
        (fifo, "i_ready", "i_valid"),
        (fifo, "i_ready", "o_ready"),
        (register_slice, "o_valid", "o_ready"),
        (register_slice, "o_data", "i_data"),
        (register_slice, "i_ready", "o_ready"),
        (frame_input, "o_valid", "o_ready"),
        (frame_input, "s_tready", "o_ready"),
        (frame_output, "m_tvalid", "m_tready"),
        (loader, "config_tready", "config_tvalid"),
        (loader, "enable", "config_tvalid"),
    ],
)
def test_no_path(function, output, source, tmp_path):
    files = convert(function, arguments(function), tmp_path)
    prove_independent(files, function.__name__, output, source)


def test_path_is_found(tmp_path):
    files = convert(frame_output, arguments(frame_output), tmp_path)
    with pytest.raises(ProofError, match="i_ready depends on m_tready"):
        prove_independent(files, "frame_output", "i_ready", "m_tready")
