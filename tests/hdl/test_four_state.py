"""The accelerator under Icarus with X in everything that was never written."""

import re
from pathlib import Path

import pytest
from layers import expected, formats, random_frames, random_layer, random_linear
from networks import network

from ernn.fixed import FixedPoint
from hdl.accelerator import accelerator, accelerator_arguments, image
from hdl.axis import byte_bits
from hdl.compiler import compile_model, configure
from hdl.module import convert
from hdl.program import pack
from hdl.tools import run_tool

BENCH = Path(__file__).with_name("four_state.v")
OUTPUT = FixedPoint(8, 4)
MODELS = {
    "lstm": network(
        random_layer("lstm", 4, 5, 6, formats(peephole=True, projection=True), proj_size=3),
        random_linear(4, 3, 6, OUTPUT, FixedPoint(10, 5)),
    ),
    "gru": network(random_layer("gru", 4, 6, 5, formats(), amplitude=0.6)),
    "gru before": network(random_layer("gru", 4, 3, 6, formats(), reset_after=False)),
}


def hexadecimal(path, records, widths):
    """Records of fields, the last in the least significant bits, for $readmemh."""
    lines = []
    for record in records:
        word = 0
        for value, width in zip(record, widths, strict=True):
            word = word << width | int(value) & (1 << width) - 1
        lines.append(f"{word:x}\n")
    path.write_text("".join(lines))


def simulate(files, program, folder):
    """What the bench prints."""
    cfg, k = program.cfg, program.cfg.block_size
    word_in, word_out = byte_bits(cfg.activation), byte_bits(cfg.row_length)
    utterances = random_frames(program.model, [3, 1, 2])
    inputs, outputs = [], []
    for frames, results in zip(utterances, expected(program.model, utterances), strict=True):
        for n, block in enumerate(program.pack_frames(frames, word_in)):
            place = n % program.input_blocks
            inputs.append((n == 0, place == program.input_blocks - 1, block))
        for frame in results:
            for n in range(program.output_blocks):
                block = [*frame[n * k : (n + 1) * k]]
                block += [0] * (k - len(block))
                outputs.append((n == program.output_blocks - 1, pack(block, word_out)))
    words = image(program)
    hexadecimal(folder / "image.hex", words[:, None], [32])
    hexadecimal(folder / "input.hex", inputs, [1, 1, k * word_in])
    hexadecimal(folder / "output.hex", outputs, [1, k * word_out])
    parameters = {
        **{"WORDS": len(words), "BLOCKS_IN": len(inputs), "BLOCKS_OUT": len(outputs)},
        **{"WIDTH_IN": k * word_in, "WIDTH_OUT": k * word_out},
        "INTERRUPT": 2 * program.output_blocks + 1,
    }
    flags = [f"-Pfour_state.{name}={value}" for name, value in parameters.items()]
    simulation = folder / "four_state.vvp"
    run_tool(["iverilog", "-g2005", "-s", "four_state", *flags, "-o", simulation, BENCH, *files])
    return run_tool(["vvp", "-n", simulation], cwd=folder).splitlines()


@pytest.mark.parametrize("name", MODELS)
def test_no_unknown_reaches_an_output(name, icarus, tmp_path):
    cfg = configure(MODELS[name], 4)
    files = convert(accelerator, accelerator_arguments(cfg), tmp_path / "verilog")
    assert simulate(files, compile_model(MODELS[name], cfg), tmp_path) == ["DONE"]


@pytest.mark.parametrize(
    ("register", "reported"),
    [("frame_output0_valid", "m_axis_tvalid x"), ("core0_occupancy0_count", "no transfer")],
)
def test_a_register_without_reset_is_found(register, reported, icarus, tmp_path):
    cfg = configure(MODELS["gru"], 4)
    files = convert(accelerator, accelerator_arguments(cfg), tmp_path / "verilog")
    top = files[-1]
    reset = rf"^( *if \(\w+\) begin\n) *{register} <= 0;\n"
    text, count = re.subn(reset, r"\1", top.read_text(), count=1, flags=re.M)
    assert count == 1
    top.write_text(text)
    lines = simulate(files, compile_model(MODELS["gru"], cfg), tmp_path)
    assert any(reported in line for line in lines), lines
