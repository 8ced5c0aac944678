"""What the tests of the data path share: vectors, and one check in all simulators."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from myhdl import Signal, always_comb, block

from hdl.arith import bit, bits, join
from hdl.module import convert
from hdl.program import pack
from hdl.synth import synthesize
from hdl.tools import find_verilator, lint, run_icarus, run_myhdl, run_tool, run_vectors


def extremes(shape, length):
    """All words lowest, highest, in turn, zero, and random corners: (12, *shape) integers."""
    low, high = -(1 << (length - 1)), (1 << (length - 1)) - 1
    turn = np.indices(shape).sum(0) % 2
    fixed = [np.full(shape, n) for n in (low, high, 0, -1)]
    fixed += [np.where(turn, low, high), np.where(turn, high, low)]
    corners = np.random.default_rng(1).choice([low, high], (6, *shape))
    return np.concatenate([fixed, corners])


def vectors(shape, length, count=100, seed=0):
    """Extreme vectors, then random ones of all magnitudes: (12 + count, *shape) integers."""
    half, rng = 1 << (length - 1), np.random.default_rng(seed)
    shift = rng.integers(0, length - 1, (count, *(1 for _ in shape)))
    return np.concatenate(
        [extremes(shape, length), rng.integers(-half, half, (count, *shape)) >> shift]
    )


def packed(values, length):
    """Rows of words (n, ...) as one packed integer each."""
    return [pack(row, length) for row in values]


@dataclass(frozen=True)
class Case:
    """A pipelined block, what to drive it with and what it must answer, ``latency`` cycles later.

    Attributes:
        function: the block.
        ports: a signal for each port but ``clk``.
        parameters: its other arguments.
        inputs, expected: for each input and output port a value for each cycle; wide ports packed;
            None where the answer does not matter.
        latency: cycles.
    """

    function: Callable
    ports: Mapping[str, Any]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Sequence[int]]
    expected: Mapping[str, Sequence[int]]
    latency: int

    @property
    def cycles(self):
        return len(next(iter(self.expected.values()))) + self.latency


@block
def bank(clk, i, o, units):
    """Blocks beside each other, their ports packed in i and o, so that one build tests them all.

    ``units`` are (function, ports, parameters, names of the inputs).
    """
    logic, outputs, low = [], [], 0
    for function, ports, parameters, inputs in units:
        signals = {name: Signal(port.val) for name, port in ports.items()}
        for name in inputs:
            logic.append(take(i, signals[name], low, len(signals[name])))
            low += len(signals[name])
        outputs += [signal for name, signal in signals.items() if name not in inputs]
        logic.append(function(clk, **signals, **parameters))
    return logic, join(outputs, o)


@block
def take(bus, part, low, length):
    """Cut a port of any type out of a packed vector."""
    high = low + length
    if isinstance(part.val, bool):

        @always_comb
        def cut_bit():
            part.next = bus[low]

        return cut_bit

    if part.min < 0:

        @always_comb
        def cut_signed():
            part.next = bus[high:low].signed()

        return cut_signed

    @always_comb
    def cut_bits():
        part.next = bus[high:low]

    return cut_bits


def bank_arguments(cases):
    """A bank of the cases' blocks."""
    ports = [(name in c.inputs, len(port)) for c in cases for name, port in c.ports.items()]
    return {
        "clk": bit(),
        "i": bits(sum(length for is_input, length in ports if is_input)),
        "o": bits(sum(length for is_input, length in ports if not is_input)),
        "units": tuple((c.function, c.ports, c.parameters, tuple(c.inputs)) for c in cases),
    }


def resources(cases, folder):
    """What Yosys makes of the cases' blocks, all together."""
    return synthesize(convert(bank, bank_arguments(cases), folder), "bank").total


BENCH = """
library ieee;
use ieee.std_logic_1164.all, ieee.numeric_std.all, std.textio.all;
entity bench is end;
architecture test of bench is
  signal clk: std_logic := '0';
  signal i: unsigned({i} - 1 downto 0);
  signal o: unsigned({o} - 1 downto 0);
begin
  dut: entity work.bank port map (clk, i, o);
  process
    file inputs: text open read_mode is "inputs";
    variable source, target: line;
    variable bits: std_logic_vector({i} - 1 downto 0);
  begin
    while not endfile(inputs) loop
      readline(inputs, source);
      read(source, bits);
      i <= unsigned(bits);
      wait for 5 ns;
      write(target, std_logic_vector(o));
      writeline(output, target);
      clk <= '1';
      wait for 5 ns;
      clk <= '0';
    end loop;
    wait;
  end process;
end;
"""


def run_ghdl(files, arguments, inputs, folder):
    """Drive a bank's VHDL under GHDL; as :func:`hdl.tools.run_icarus`."""
    widths = {name: len(arguments[name]) for name in "io"}
    (folder / "bench.vhd").write_text(BENCH.format(**widths))
    lines = (f"{value:0{widths['i']}b}\n" for value in inputs["i"])
    (folder / "inputs").write_text("".join(lines))
    run_tool(["ghdl", "-a", "--std=08", *files, "bench.vhd"], cwd=folder)
    answer = run_tool(
        ["ghdl", "--elab-run", "--std=08", "bench", "--ieee-asserts=disable"], cwd=folder
    )
    return [int(o, 2) if set(o) <= {"0", "1"} else None for o in answer.split()]


def check(cases, folder, simulators=("myhdl", "verilator")):
    """Every case answers what it must in every simulator, and its Verilog passes the linter."""
    cycles = max(case.cycles for case in cases)
    driven = [(c.ports[name], values) for c in cases for name, values in c.inputs.items()]
    answered = [(c, name) for c in cases for name in c.ports if name not in c.inputs]
    arguments = bank_arguments(cases)
    inputs = {"i": [0] * cycles}
    low = 0
    for port, values in driven:
        mask = (1 << len(port)) - 1
        for t, value in enumerate(values):
            inputs["i"][t] |= (int(value) & mask) << low
        low += len(port)

    for simulator in simulators:
        if simulator == "myhdl":
            answer = run_myhdl(bank, arguments, inputs, ["o"], cycles)["o"]
        else:
            language = "vhdl" if simulator == "ghdl" else "verilog"
            files = convert(bank, arguments, folder, language=language)
            if simulator == "ghdl":
                answer = run_ghdl(files, arguments, inputs, folder)
            else:
                lint(files, "bank")
                run = run_vectors if simulator == "verilator" else run_icarus
                answer = run(files, "bank", inputs, ["o"], cycles)["o"]
        low = 0
        for case, name in answered:
            length = len(case.ports[name])
            mask = (1 << length) - 1
            late = answer[case.latency : case.cycles]
            got = [None if word is None else word >> low & mask for word in late]
            expected = [v if v is None else int(v) & mask for v in case.expected[name]]
            wrong = [
                t
                for t, (is_there, must_be) in enumerate(zip(got, expected, strict=True))
                if must_be is not None and is_there != must_be
            ]
            what = f"{simulator}: {case.function.__name__} {name} {case.parameters}"
            assert not wrong, f"{what}: {len(wrong)} of {len(got)} wrong, the first at {wrong[0]}"
            low += length


def make(folder, target):
    """Run a target of a converted folder's Makefile."""
    tool, environment = find_verilator()
    return subprocess.run(
        ["make", "-C", folder, target, f"VERILATOR={tool}"],
        capture_output=True,
        text=True,
        env=environment,
    )
