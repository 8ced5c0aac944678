"""A bitstream for an ULX3S: an accelerator behind its USB serial port, clocked by a PLL."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdl import ecp5
from hdl.arith import bit, bits
from hdl.board import board

TOP = "ulx3s"
OSCILLATOR = 25.0
"""MHz of the board's clock."""
BAUD = 1_000_000
CONSTRAINTS = ecp5.HERE / "ulx3s.lpf"


def pll(frequency: float) -> dict[str, int]:
    """Dividers of the PLL that come nearest to a frequency in MHz.

    Raises:
        ValueError: it makes none within 1 % of it.
    """
    best: tuple[float, dict[str, int]] | None = None
    for reference in range(1, 3):  # the phase detector takes 10 MHz or more
        feedback = round(frequency * reference / OSCILLATOR)
        if not 1 <= feedback <= 80:
            continue
        clock = OSCILLATOR * feedback / reference
        output = round(600 / clock)  # the oscillator in it runs at 400 to 800 MHz
        if not 1 <= output <= 128 or not 400 <= clock * output <= 800:
            continue
        error = abs(clock - frequency)
        if best is None or error < best[0]:
            best = error, {"CLKI_DIV": reference, "CLKFB_DIV": feedback, "CLKOP_DIV": output}
    if best is None or best[0] > frequency / 100:
        raise ValueError(f"clock of {frequency:g} MHz: the PLL makes multiples of 12.5 MHz")
    return best[1]


def divider(frequency: float, baud: int = BAUD) -> int:
    """Cycles of a bit.

    Raises:
        ValueError: the line would be more than 2 % off.
    """
    cycles = round(frequency * 1e6 / baud)
    if cycles < 8 or abs(frequency * 1e6 / baud / cycles - 1) > 0.02:
        raise ValueError(f"{baud} baud at {frequency:g} MHz: more than 2 % off")
    return cycles


def convert_board(
    accelerator: Callable[..., Any],
    parameters: dict[str, Any],
    folder: str | Path,
    *,
    input_bytes: int,
    output_bytes: int,
    divider: int,
    depth: int = 1024,
) -> list[Path]:
    """Convert an accelerator with its board to Verilog; the top is ``TOP``.

    All but the folder, where the files go, is for :func:`hdl.board.board`.
    """
    ports = {name: bit() for name in ("clk", "reset_n", "rx", "tx")} | {"leds": bits(8)}
    arguments = {"accelerator": accelerator, "parameters": parameters, "divider": divider}
    arguments |= {"input_bytes": input_bytes, "output_bytes": output_bytes, "depth": depth}
    files = ecp5.convert(board, ports | arguments, folder)
    return [*files, Path(shutil.copy(ecp5.HERE / f"{TOP}.v", folder)).resolve()]


def build(
    files: list[Path], frequency: float, *, seed: int = 1, bitstream: Path | None = None
) -> ecp5.Timing:
    """Place and route what :func:`convert_board` wrote, for an 85F of speed grade 6.

    Args:
        files: its files.
        frequency: of the accelerator's clock in MHz, which :func:`pll` makes.
        seed: of the placer.
        bitstream: a file to write the bitstream to.

    Raises:
        ValueError: the PLL does not make the frequency.
        SimulationError: a tool failed.
    """
    return ecp5.place_and_route(
        files,
        TOP,
        parameters=pll(frequency),
        frequency=frequency,
        seed=seed,
        constraints=CONSTRAINTS,
        bitstream=bitstream,
    )
