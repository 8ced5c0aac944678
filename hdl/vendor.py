"""Projects for the vendors' tools and for FuseSoC around an accelerator's Verilog and VHDL.

An accelerator is a block of a larger design: its streams have more bits than a package has pins, so
all projects implement it out of context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hdl.devices import Device

TOP = "accelerator"

XDC = """\
# {frequency:g} MHz. rst is synchronous to clk, and the streams are registered by whoever drives
# them: what else is to be constrained depends on the design around the accelerator.
create_clock -name clk -period {period:.3f} [get_ports clk]
"""

TCL = """\
# vivado -mode batch -source create_project.tcl [-tclargs vhdl]
# Makes project/, synthesizes and implements the accelerator alone for {part}, and writes
# utilization.rpt and timing.rpt beside this file.
set here [file dirname [file normalize [info script]]]
set root [file dirname $here]
set language [expr {{$argc > 0 ? [lindex $argv 0] : "verilog"}}]

create_project {top} [file join $here project] -part {part} -force
if {{$language eq "vhdl"}} {{
    foreach name {{
{vhdl}
    }} {{
        add_files -norecurse [file join $root $name]
    }}
    set_property file_type {{VHDL 2008}} [get_files *.vhd]
    add_files -fileset sim_1 -norecurse [file join $root testbench.vhd]
    set_property file_type {{VHDL 2008}} [get_files testbench.vhd]
}} else {{
    foreach name {{
{verilog}
    }} {{
        add_files -norecurse [file join $root $name]
    }}
    add_files -fileset sim_1 -norecurse [file join $root testbench.v]
}}
add_files -fileset constrs_1 -norecurse [file join $here {top}.xdc]
foreach name {{{data}}} {{
    add_files -fileset sim_1 -norecurse [file join $root $name]
}}
set_property top {top} [current_fileset]
set_property top testbench [get_filesets sim_1]
set_property -name {{STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS}} -value {{-mode out_of_context}} \\
    -objects [get_runs synth_1]

launch_runs impl_1 -jobs 4
wait_on_run impl_1
open_run impl_1
report_utilization -hierarchical -file [file join $here utilization.rpt]
report_timing_summary -file [file join $here timing.rpt]
"""

CORE = """\
CAPI=2:
name: "::ernn_accelerator:0.1.0"
description: "{description}"

filesets:
  verilog:
    files:
{verilog}
    file_type: verilogSource
  vhdl:
    files:
{vhdl}
    file_type: vhdlSource-2008
  testbench:
    files:
      - testbench.v
    file_type: verilogSource
  testbench_vhdl:
    files:
      - testbench.vhd
    file_type: vhdlSource-2008
  data:
    files:
{data}
    file_type: user
{constraints}
targets:
  default:
    filesets: [verilog]
    toplevel: {top}
  vhdl:
    filesets: [vhdl]
    toplevel: {top}
  sim: # prints PASS or FAIL
    flow: sim
    flow_options:
      tool: icarus
    filesets: [verilog, testbench, data]
    toplevel: testbench
  sim_vhdl: # likewise
    flow: sim
    flow_options:
      tool: ghdl
      sim_options: ["--ieee-asserts=disable"]
    filesets: [vhdl, testbench_vhdl, data]
    toplevel: testbench
  synth:
    flow: {flow}
    flow_options:
{options}
    filesets: [verilog, constraints]
    toplevel: {top}
"""

CONSTRAINTS = """\
  constraints:
    files:
      - {file}
    file_type: {kind}
"""

LPF = """\
FREQUENCY PORT "clk" {frequency:g} MHZ;
"""

MAKEFILE = """\
# make: {top}.routed.json, placed and routed out of context, and timing.json
YOSYS ?= yosys
NEXTPNR ?= nextpnr-ecp5

VERILOG = {verilog}

{top}.routed.json: {top}.json {top}.lpf
\t$(NEXTPNR) {options} --out-of-context --json $< --lpf {top}.lpf --write $@ --report timing.json

{top}.json: $(VERILOG)
\t$(YOSYS) -q -p "read_verilog $(VERILOG); synth_ecp5 -top {top} -json $@"

.PHONY: clean
clean:
\trm -f {top}.json {top}.routed.json timing.json
"""

NEXTPNR = {
    "lfe5u-25f": "--25k",
    "lfe5u-45f": "--45k",
    "lfe5u-85f": "--85k",
}
DATA = "image.hex", "input.hex", "output.hex"


@dataclass(frozen=True)
class Sources:
    """What an accelerator was converted to.

    Attributes:
        folder: where all of it is; the other paths are relative to it.
        verilog, vhdl: the modules in the order in which they are to be read.
    """

    folder: Path
    verilog: Sequence[str]
    vhdl: Sequence[str]


def write_project(sources: Sources, device: Device, clock: float, description: str) -> list[Path]:
    """Write the projects of a device into the folder of its sources.

    Args:
        sources: what to build.
        device: for which FPGA.
        clock: MHz.
        description: one line about the model.

    Returns:
        The files.
    """
    if device.family.vendor == "xilinx":
        files = _vivado(sources, device, clock)
    else:
        files = _ecp5(sources, device, clock)
    files[f"ernn_{TOP}.core"] = _fusesoc(sources, device, description)
    for name, text in files.items():
        path = sources.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return [sources.folder / name for name in files]


def _lines(names: Sequence[str], before: str) -> str:
    return "\n".join(before + name for name in names)


def _vivado(sources: Sources, device: Device, clock: float) -> dict[str, str]:
    tcl = TCL.format(
        part=device.part,
        top=TOP,
        verilog=_lines(sources.verilog, " " * 8),
        vhdl=_lines(sources.vhdl, " " * 8),
        data=" ".join(DATA),
    )
    xdc = XDC.format(frequency=clock, period=1000 / clock)
    return {"vivado/create_project.tcl": tcl, f"vivado/{TOP}.xdc": xdc}


def _nextpnr_options(device: Device) -> list[str]:
    part = [NEXTPNR[device.name], "--package", "CABGA381", "--speed", "6"]
    return [*part, "--lpf-allow-unconstrained", "--placer", "static"]


def _ecp5(sources: Sources, device: Device, clock: float) -> dict[str, str]:
    makefile = MAKEFILE.format(
        top=TOP,
        verilog=" ".join(f"../{name}" for name in sources.verilog),
        options=" ".join(_nextpnr_options(device)),
    )
    return {f"ecp5/{TOP}.lpf": LPF.format(frequency=clock), "ecp5/Makefile": makefile}


def _fusesoc(sources: Sources, device: Device, description: str) -> str:
    if device.family.vendor == "xilinx":
        constraints = CONSTRAINTS.format(file=f"vivado/{TOP}.xdc", kind="xdc")
        flow, options = "vivado", [f"part: {device.part}", "pnr: none"]
    else:
        constraints = CONSTRAINTS.format(file=f"ecp5/{TOP}.lpf", kind="LPF")
        words = ", ".join(f'"{word}"' for word in _nextpnr_options(device))
        flow, options = "trellis", [f"nextpnr_options: [{words}]"]
    return CORE.format(
        description=description,
        top=TOP,
        verilog=_lines(sources.verilog, " " * 6 + "- "),
        vhdl=_lines(sources.vhdl, " " * 6 + "- "),
        data=_lines([f"{name}: {{copyto: {name}}}" for name in DATA], " " * 6 + "- "),
        constraints=constraints,
        flow=flow,
        options=_lines(options, " " * 6),
    )
