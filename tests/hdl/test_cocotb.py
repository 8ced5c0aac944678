"""The outside of a core against cocotbext-axi, in Icarus and Verilator."""

import os
from pathlib import Path

import outside
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hdl.module import convert
from hdl.tools import find_verilator, lint

HERE = Path(__file__).parent
VERILATOR_FLAGS = ["-Wno-WIDTHEXPAND", "-MAKEFLAGS"]
VERILATOR_FLAGS += ["OPT_FAST=-O1 CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread"]


def run(simulator, folder, flags=()):
    files = convert(outside.outside, outside.arguments(), folder / "rtl")
    lint(files, "outside")
    runner = get_runner(simulator)
    runner.build(
        sources=files,
        hdl_toplevel="outside",
        build_dir=folder / "build",
        build_args=list(flags),
        always=True,
        timescale=("1ns", "1ps"),
    )
    results = runner.test(
        hdl_toplevel="outside",
        test_module="bench_axis",
        build_dir=folder / "build",
        test_dir=folder,
        extra_env={"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
    )
    tests, failed = get_results(results)
    assert tests == 2
    assert not failed


def test_icarus(icarus, tmp_path):
    run("icarus", tmp_path)


def test_verilator(tmp_path, monkeypatch):
    for name, value in find_verilator()[1].items():
        monkeypatch.setenv(name, value)
    run("verilator", tmp_path, VERILATOR_FLAGS)
