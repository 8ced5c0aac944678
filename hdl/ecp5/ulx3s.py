"""A bitstream for an ULX3S: an accelerator behind its USB serial port, clocked by a PLL.

    python -m hdl.ecp5.ulx3s --bitstream board.bit

Places and routes the accelerator ``CORE`` and prints its clocks and cells. What it runs is an image
for ``CORE``, which :mod:`hdl.client` sends.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from hdl import ecp5
from hdl.accelerator import accelerator
from hdl.arith import bit, bits
from hdl.axis import input_stream, output_stream
from hdl.board import board
from hdl.config import CoreConfig, Span
from hdl.tools import SimulationError

TOP = "ulx3s"
OSCILLATOR = 25.0
"""MHz of the board's clock."""
BAUD = 1_000_000
FREQUENCY = 150.0
"""MHz of the accelerator's clock."""
CONSTRAINTS = ecp5.HERE / "ulx3s.lpf"

CORE = CoreConfig(
    block_size=4,
    n_pe=8,
    weight=8,
    activation=10,
    preactivation=12,
    cell=12,
    accumulator_length=26,
    accumulator_shift=Span(7, 8),
    preactivation_fraction=Span(8, 8),
    cell_fraction=Span(8, 8),
    peephole_shift=Span(0, 0),
    weight_depth=256,
    column_depth=32,
    cell_depth=32,
    row_depth=32,
    program_depth=4,
    fifo_depth=32,
    relaxed=True,
)
"""A core for an LSTM of 64 cells between 40 inputs and 40 classes."""


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


def convert_core(
    cfg: CoreConfig, folder: str | Path, *, divider: int, depth: int = 1024
) -> list[Path]:
    """:func:`convert_board` of a whole accelerator."""
    words = input_stream(cfg).tdata, output_stream(cfg).tdata
    sizes = dict(zip(("input_bytes", "output_bytes"), (len(w) // 8 for w in words), strict=True))
    parameters = {"cfg": cfg}
    return convert_board(accelerator, parameters, folder, divider=divider, depth=depth, **sizes)


@dataclass(frozen=True)
class Options:
    """Make the bitstream of ``CORE``.

    Attributes:
        bitstream: the file.
        seed: of the placer.
        frequency: of the accelerator's clock in MHz.
        baud: bits a second of the serial port.
    """

    bitstream: Path
    seed: int = 1
    frequency: float = FREQUENCY
    baud: int = BAUD


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, description="Make the bitstream of an accelerator for an ULX3S.")
    try:
        cycles = divider(options.frequency, options.baud)
        with tempfile.TemporaryDirectory() as folder:
            files = convert_core(CORE, folder, divider=cycles)
            made = options.bitstream.resolve()
            timing = build(files, options.frequency, seed=options.seed, bitstream=made)
    except (OSError, ValueError, SimulationError) as error:
        print(f"hdl.ecp5.ulx3s: {error}", file=sys.stderr)
        return 2
    print(timing.to_markdown())
    print(timing.critical)
    if timing.slowest < options.frequency:
        print(f"hdl.ecp5.ulx3s: reaches only {timing.slowest:.1f} MHz", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
