"""The whole accelerator against cocotbext-axi, in Verilator."""

import os
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from networks import CORE

from hdl.accelerator import accelerator, accelerator_arguments
from hdl.module import convert
from hdl.tools import find_verilator, lint

HERE = Path(__file__).parent
MAKEFLAGS = "-j2 OPT_FAST=-O1 CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread"


def test_programs_frames_and_resets(tmp_path, monkeypatch):
    for name, value in find_verilator()[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MAKEFLAGS", MAKEFLAGS)
    files = convert(accelerator, accelerator_arguments(CORE), tmp_path / "rtl")
    lint(files, "accelerator")
    runner = get_runner("verilator")
    runner.build(
        sources=files,
        hdl_toplevel="accelerator",
        build_dir=tmp_path / "build",
        build_args=["-Wno-WIDTHEXPAND", "--x-initial", "unique", "--inline-mult", "1"],
        always=True,
        timescale=("1ns", "1ps"),
    )
    results = runner.test(
        hdl_toplevel="accelerator",
        test_module="bench_system",
        build_dir=tmp_path / "build",
        test_dir=tmp_path,
        extra_env={"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
    )
    tests, failed = get_results(results)
    assert tests == 13
    assert not failed
