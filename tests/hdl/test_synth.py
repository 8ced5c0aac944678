import json

import pytest
from layers import formats, random_layer
from myhdl import Signal, always, always_comb, block, intbv

from ernn.quantize.integer import IntegerModel
from hdl.accelerator import accelerator, accelerator_arguments
from hdl.compiler import configure
from hdl.module import convert, module
from hdl.synth import Resources, main, synthesize, synthesize_accelerator, tally
from hdl.tools import SimulationError


def bits(width):
    return Signal(intbv(0)[width:])


def word(width):
    return Signal(intbv(0, min=-(1 << (width - 1)), max=1 << (width - 1)))


@module
def accumulator(clk, first, a, b, total):
    """The multiply-accumulate that is one DSP and no LUT."""
    a_q, b_q = word(len(a)), word(len(b))
    product, before = word(len(a) + len(b)), word(len(total))

    @always(clk.posedge)
    def multiply():
        a_q.next = a
        b_q.next = b
        product.next = a_q * b_q

    @always_comb
    def feedback():
        if first:
            before.next = 0
        else:
            before.next = total

    @always(clk.posedge)
    def accumulate():
        total.next = before + product

    return multiply, feedback, accumulate


@block
def accumulators(clk, first, enable, address, a, b, word_in, word_out, totals):
    """Two accumulators with their sum, and a memory of 512 words of 96 bits."""
    words = [word(40) for _ in range(2)]
    store = [bits(96) for _ in range(512)]
    stored = bits(96)
    units = [accumulator(clk, first, a, b, w) for w in words]
    one, other = words

    @always(clk.posedge)
    def memory():
        if enable:
            store[address].next = word_in
        stored.next = store[address]
        word_out.next = stored

    @always(clk.posedge)
    def add():
        totals.next = one + other

    return units, memory, add


def test_hierarchy_is_multiplied(tmp_path):
    arguments = {
        **{name: Signal(bool(0)) for name in ("clk", "first", "enable")},
        **{"address": bits(9), "a": word(12), "b": word(15), "totals": word(41)},
        **{"word_in": bits(96), "word_out": bits(96)},
    }
    report = synthesize(convert(accumulators, arguments, tmp_path), "accumulators")
    assert report.modules["accumulator"] == (2, Resources(dsp=1))
    assert report.total.dsp == 2
    assert report.total.bram36 == 1.5
    assert 40 <= report.total.lut <= 60  # the adder of two words
    assert report.modules["accumulators"] == (1, report.total)
    assert next(iter(report.modules)) == "accumulators"
    assert report.to_json()["modules"]["accumulator"]["instances"] == 2
    assert report.to_json()["total"]["bram36"] == 1.5
    assert "| accumulator | 2 | 1 | 0 | 0 | 0 | 0 |" in report.to_markdown()


def test_cells_are_counted_by_what_they_take():
    cells = {
        "top": {"\\mid": 2, "LUT6": 3, "BUFG": 1, "RAMB36E1": 1, "MUXF7": 2},
        "mid": {"leaf": 2, "FDRE": 5, "FDSE": 1, "RAM32M": 1},
        "leaf": {"DSP48E1": 1, "SRL16E": 4, "INV": 1, "CARRY4": 7, "RAMB18E1": 3},
        "unused": {"DSP48E1": 99},
    }
    report = tally(cells, "top")
    leaf = Resources(dsp=1, lut=5, lutram=4, bram36=1.5, carry4=7)
    mid = Resources(dsp=2, lut=14, lutram=12, ff=6, bram36=3.0, carry4=14)
    assert report.modules["leaf"] == (4, leaf)
    assert report.modules["mid"] == (2, mid)
    assert report.total == Resources(dsp=4, lut=31, lutram=24, ff=12, bram36=7.0, carry4=28)
    assert set(report.modules) == {"top", "mid", "leaf"}


def test_an_accelerator():
    """Every group more costs its PEs' DSPs, and no more of them."""
    model = IntegerModel((random_layer("lstm", 4, 12, 8, formats()),))
    products = configure(model, 4).products
    four, eight = (synthesize_accelerator(configure(model, n_pe)) for n_pe in (4, 8))
    count, pe = eight.modules["pe"]
    assert count == 8
    assert pe.dsp == products
    assert eight.total.dsp - four.total.dsp == 4 * products


def test_the_same_verilog_is_synthesized_once(tmp_path, monkeypatch):
    path, kept = tmp_path / "inverter.v", tmp_path / "kept"
    path.write_text("module inverter (input a, output b); assign b = !a; endmodule")
    report = synthesize([path], "inverter", folder=kept)
    assert report.total == Resources(lut=1)

    def never(*_, **__):
        raise AssertionError("Yosys runs")

    monkeypatch.setattr("hdl.synth.run_tool", never)
    assert synthesize([path], "inverter", folder=kept) == report
    for options in ({"family": "ecp5"}, {"folder": tmp_path}):
        with pytest.raises(AssertionError, match="Yosys runs"):
            synthesize([path], "inverter", **{"folder": kept} | options)
    path.write_text("module inverter (input a, output b); assign b = a; endmodule")
    with pytest.raises(AssertionError, match="Yosys runs"):
        synthesize([path], "inverter", folder=kept)


def test_what_yosys_refuses_is_told(tmp_path):
    path = tmp_path / "broken.v"
    path.write_text("module broken (")
    with pytest.raises(SimulationError, match="syntax error"):
        synthesize([path], "broken")


def test_a_folder_of_hdl_convert_is_synthesized_into_a_report(tmp_path, capsys, monkeypatch):
    cfg = configure(IntegerModel((random_layer("gru", 4, 4, 4, formats()),)), 4)
    convert(accelerator, accelerator_arguments(cfg), tmp_path / "verilog")
    monkeypatch.setattr("sys.argv", ["hdl.synth", "--folder", str(tmp_path)])
    assert main() == 0
    total = json.loads((tmp_path / "resources.json").read_text())["total"]
    assert total["dsp"] > 4 * cfg.products
    table = (tmp_path / "resources.md").read_text()
    assert capsys.readouterr().out == table
    assert f"| accelerator | 1 | {total['dsp']} |" in table


def test_a_folder_without_verilog_gets_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["hdl.synth", "--folder", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err == (
        f"hdl.synth: {tmp_path}: no verilog/*.v; hdl.convert writes such a folder\n"
    )
