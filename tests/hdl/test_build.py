"""The whole build of a tiny model, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from checking import make
from layers import formats, random_layer, random_linear
from pictures import vgg

from ernn import bundle
from ernn.fixed import FixedPoint
from ernn.quantize import WordLengths
from ernn.quantize.integer import IntegerModel
from hdl import published
from hdl.build import Options, build, main
from hdl.compiler import compile_model, configure
from hdl.devices import DEVICES, find
from hdl.report import facts, operations, to_markdown
from hdl.schedule import Schedule, latency
from hdl.synth import Report, Resources
from hdl.vendor import Sources, write_project

MODEL = IntegerModel(
    (
        random_layer(
            "lstm", 4, 10, 14, formats(12, 16, 16, 16, peephole=True, projection=True), proj_size=9
        ),
        random_layer("gru", 4, 9, 12, formats(12, 16, 16, 16, source=FixedPoint(16, 12))),
        random_linear(4, 12, 5, FixedPoint(16, 14), FixedPoint(16, 10), weight=12),
    )
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "bundle"
    bundle.save(MODEL, folder)
    return folder


@pytest.fixture(scope="module")
def built(saved, tmp_path_factory):
    out = tmp_path_factory.mktemp("build") / "out"
    content = build(Options(saved, out, device="xc7a100t", n_pe=8, frames=2, synth=False))
    return out, content


def test_report_tells_what_the_schedule_says(built):
    out, content = built
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(content))
    core, cycles = content["core"], content["cycles"]
    size = {"slices": core["slices"], "fold": core["fold"]}
    program = compile_model(MODEL, configure(MODEL, 8, **size))
    schedule = Schedule(program)
    assert cycles["frame"] == schedule.cycles_per_frame
    assert cycles["latency"] == latency(program) >= cycles["frame"]
    assert cycles["limit"] == program.block_products / 8
    assert cycles["utilization"] == pytest.approx(program.block_products / 8 / cycles["frame"])
    assert sum(op["products"] for op in cycles["operations"]) == program.block_products
    assert sum(op["busy"] for op in cycles["operations"]) + cycles["unused"] == schedule.period
    assert content["speed"][0]["latency_us"] == pytest.approx(cycles["latency"] / 100)
    assert content["published"] == published.rows()


def test_operations_do_no_more_than_the_pes_have_time_for():
    for n_pe, slices, fold in ((8, 1, 1), (8, 1, 2), (16, 2, 2)):
        program = compile_model(MODEL, configure(MODEL, n_pe, slices=slices, fold=fold))
        for op in operations(program, Schedule(program).frames[-2].steps):
            assert 0 < op.products <= op.filled <= op.busy * n_pe
            assert op.idle >= 0


def test_report_is_readable(built):
    out, content = built
    text = (out / "report.md").read_text()
    assert f"| {content['cycles']['frame']:.1f} |" in text
    assert "| E-RNN LSTM FFT8 | both | 7.9 | 12 | 12.9-13.7 | 231-240k | recalled |" in text
    assert "![PEs busy in every cycle of a frame](timeline.png)" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") >= 5
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_report_has_what_yosys_counted_beside_the_estimate():
    program = compile_model(MODEL, configure(MODEL, 8))
    pe = Resources(dsp=7, lut=100, ff=200)
    synthesis = Report("accelerator", pe * 8, {"pe": (8, pe)}, {"pe": pe})
    content = facts(program, find("xc7a100t"), 150.0, synthesis)
    assert content["resources"]["yosys"]["dsp"] == 56
    assert content["resources"]["share"]["dsp"] == 56 / 240
    row = content["resources"]["modules"]["pe"]
    assert row["instances"] == 8
    assert row["yosys"]["lut"] == 800
    assert row["estimate"]["dsp"] == 8 * 5
    assert "| pe | 8 | yosys | 56 | 800 | 1,600 | 0 |" in to_markdown(content, picture=False)


def names_in(text, suffix):
    return re.findall(rf"\w+/\w+\.{suffix}\b", text)


def test_all_modules_are_in_the_projects(built):
    out, _ = built
    modules = {f"verilog/{p.name}" for p in (out / "verilog").iterdir()}
    entities = {f"vhdl/{p.name}" for p in (out / "vhdl").iterdir()}
    for name in ("vivado/create_project.tcl", "ernn_accelerator.core"):
        text = (out / name).read_text()
        assert set(names_in(text, "v")) == modules
        assert set(names_in(text, "vhd")) == entities
    assert len(modules) > 5


@pytest.mark.parametrize("language", ["verilog", "vhdl"])
def test_vivado_script_adds_files_that_are_there(built, language):
    """Run by Tcl, with stand-ins for Vivado's commands that note what they are given."""
    tkinter = pytest.importorskip("tkinter")
    out, _ = built
    tcl = tkinter.Tcl()
    log = []
    for command in (
        *("create_project", "add_files", "set_property", "launch_runs", "wait_on_run", "open_run"),
        *("report_utilization", "report_timing_summary", "get_files", "get_filesets", "get_runs"),
        "current_fileset",
    ):
        tcl.createcommand(command, lambda *a, name=command: log.append((name, *a)) or name)
    script = out / "vivado" / "create_project.tcl"
    tcl.eval(f"set argc 1; set argv {language}; info script {script}; source {script}")
    added = [Path(entry[-1]) for entry in log if entry[0] == "add_files"]
    assert all(path.is_file() for path in added)
    modules = {path for path in added if path.parent.name == language}
    assert modules == set((out.resolve() / language).iterdir())
    assert {"image.hex", "input.hex", "output.hex", "accelerator.xdc"} <= {p.name for p in added}
    (project,) = (entry for entry in log if entry[0] == "create_project")
    assert "xc7a100tcsg324-1" in project
    assert ("set_property", "top", "accelerator", "current_fileset") in log


def test_a_network_of_images(tmp_path):
    """Built as any other; its own test bench compares what its Verilog gives of padded images."""
    model, _ = vgg(4, 8, (5, 9), 14, WordLengths(8, 10, 12))
    bundle.save(model, tmp_path / "bundle")
    out = tmp_path / "out"
    content = build(
        Options(tmp_path / "bundle", out, device="xc7a100t", n_pe=4, frames=2, synth=False)
    )
    result = make(out, "verilator")
    assert "\nPASS\n" in result.stdout, result.stdout + result.stderr
    core, cycles = content["core"], content["cycles"]
    cfg = configure(model, 4, slices=core["slices"], fold=core["fold"])
    program = compile_model(model, cfg)
    assert core["images"]
    assert cycles["frame"] == Schedule(program).cycles_per_frame
    assert sum(op["products"] for op in cycles["operations"]) == program.block_products
    assert len((out / "input.hex").read_text().splitlines()) == 4 * program.input_blocks
    assert "| layer 0: y = W x | 2 x 9 |" in (out / "report.md").read_text()


def test_constraints_are_the_clock(built):
    out, _ = built
    lines = (out / "vivado" / "accelerator.xdc").read_text().splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert commands == ["create_clock -name clk -period 5.000 [get_ports clk]"]


def test_fusesoc_core_names_files_that_are_there(built):
    out, _ = built
    text = (out / "ernn_accelerator.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    files = [f for s in core["filesets"].values() for f in s["files"]]
    for file in files:
        (name,) = file if isinstance(file, dict) else (file,)
        assert (out / name).is_file()
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
    assert core["targets"]["synth"]["flow_options"]["part"] == find("xc7a100t").part


@pytest.mark.parametrize("device", [d for d in DEVICES if d.startswith("lfe5u")])
def test_ecp5_project(tmp_path, device):
    sources = Sources(tmp_path, ["verilog/accelerator.v"], ["vhdl/accelerator.vhd"])
    write_project(sources, find(device), 90.0, "a model")
    assert (tmp_path / "ecp5" / "accelerator.lpf").read_text() == 'FREQUENCY PORT "clk" 90 MHZ;\n'
    makefile = (tmp_path / "ecp5" / "Makefile").read_text()
    assert f"--{device[6:8]}k " in makefile
    assert "../verilog/accelerator.v" in makefile
    core = yaml.safe_load((tmp_path / "ernn_accelerator.core").read_text())
    assert core["targets"]["synth"]["flow"] == "trellis"


def test_a_build_replaces_an_earlier_one_and_nothing_else(built, saved, tmp_path, monkeypatch):
    out, _ = built

    def stop(*_args, **_options):
        raise ValueError("sized")

    monkeypatch.setattr("hdl.build.choose", stop)
    with pytest.raises(ValueError, match="sized"):
        build(Options(saved, out))
    (tmp_path / "mine").write_text("")
    with pytest.raises(ValueError, match=r"was not written by hdl\.build; name another folder"):
        build(Options(saved, tmp_path))
    assert (out / "report.md").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "xc1"}, "device 'xc1': known are xcku060"),
        ({"n-pe": "6"}, "n_pe 6: must be a multiple of 4"),
        ({"n-pe": "8", "target-us": "1"}, "n_pe and target_us: only one of the two"),
        ({"clock": "0"}, "clock 0.0: must be above 0"),
        ({"target-us": "-1"}, "target_us -1.0: must be above 0"),
        ({"bundle": "nowhere"}, "nowhere: no bundle.json; a bundle is a folder that has one"),
        ({"device": "lfe5u-25f"}, "lfe5u-25f: the model does not fit: at least 4 PEs"),
        ({"n-pe": "1024"}, r"xcku060: 1024 PEs \(W = 1, F = 1\) need 5,\d+ DSP, 1.\d+ times"),
        ({"target-us": "0.01"}, "xcku060: no core takes 0.01 us at 200 MHz: the fastest that fit"),
    ],
)
def test_a_line_says_what_is_wrong(saved, tmp_path, monkeypatch, capsys, options, message):
    out = tmp_path / "out"
    arguments = {"bundle": str(saved), "out": str(out), **options}
    flags = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    monkeypatch.setattr("sys.argv", ["hdl.build", *flags])
    assert main() == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("hdl.build")]
    assert re.match(f"hdl.build: {message}", line)
    assert not out.exists()


def test_devices_hold_the_published_boards():
    assert (find("xcku060").dsp, find("xcku060").lut, find("xcku060").bram36) == (
        *(2760, 331_680),
        1080,
    )
    assert np.isclose(find("lfe5u-85f").bram36 * 2, 208)
