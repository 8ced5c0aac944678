"""Size an accelerator for a device, and write everything that a project for it needs.

    python -m hdl.build --bundle DIR --out DIR --device xcku060 [--n-pe N | --target-us T]

The folder holds ``verilog/`` and ``vhdl/`` (a file a module), the image, the test bench and its
Makefile (:mod:`hdl.convert`), a project of the device's vendor in ``vivado/`` or ``ecp5/`` and a
FuseSoC core (:mod:`hdl.vendor`), and the report as ``report.md`` and ``report.json``, with
``timeline.png`` where matplotlib is installed.
"""

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from ernn import bundle
from ernn.files import atomic
from ernn.fixed import Integers
from ernn.quantize.integer import IntegerModel, input_format
from hdl.accelerator import accelerator
from hdl.compiler import on_core
from hdl.devices import DEVICES, Device, find
from hdl.module import ConversionError
from hdl.report import describe, draw_timeline, facts, to_markdown
from hdl.sizing import Design, choose
from hdl.synth import Family, synthesize
from hdl.tools import SimulationError
from hdl.vendor import Sources, write_project

CORE = "ernn_accelerator.core"


@dataclass(frozen=True)
class Options:
    """Size an accelerator for a device and write its sources, projects and report.

    Attributes:
        bundle: the model's folder.
        out: the folder to write; one that an earlier build wrote is replaced.
        device: the FPGA.
        n_pe: R, the PEs; else as many as it takes.
        target_us: latency of a lone frame in us, from its last input word to its last output word,
            that the smallest design is to meet; else the fastest that fits is taken.
        clock: MHz; the family's usual one by default.
        streams: utterances that take turns, frame by frame.
        frames: of each of the test bench's utterances, two a stream.
        seed: of those frames, which are random.
        synth: let Yosys count the resources; else they are estimated.
    """

    bundle: Path
    out: Path
    device: str = "xcku060"
    n_pe: int | None = None
    target_us: float | None = None
    clock: float | None = None
    streams: int = 1
    frames: int = 4
    seed: int = 0
    synth: bool = True


def check(options: Options) -> None:
    """Raise ValueError if an option is out of its range."""
    if options.n_pe is not None and options.target_us is not None:
        raise ValueError("n_pe and target_us: only one of the two")
    for name in ("target_us", "clock", "streams", "frames"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} {value}: must be above 0")


def build(options: Options) -> dict[str, Any]:
    """Write the folder; return what the report tells.

    Raises:
        FileNotFoundError: there is no bundle.
        ValueError: an option is out of its range, the device is unknown or has no room, or no core
            runs the model.
        ConversionError, SimulationError: a tool fails; its output.
    """
    check(options)
    device = find(options.device)
    model = on_core(bundle.load(options.bundle))
    check_replaceable(options.out)
    clock = options.clock or device.family.clock
    with tqdm(total=4, disable=None, desc="sizing") as steps:
        design = choose(
            [model],
            device,
            clock,
            n_pe=options.n_pe,
            target_us=options.target_us,
            streams=options.streams,
        )
        with atomic(options.out) as new:
            new.mkdir()
            return write(new, design, device, clock, options, steps)


def write(
    folder: Path, design: Design, device: Device, clock: float, options: Options, steps: tqdm
) -> dict[str, Any]:
    """Fill the folder with everything."""
    from hdl.convert import write_accelerator

    program = design.program
    _next(steps, "converting")
    frames = test_frames(program.model, program.streams, options.frames, options.seed)
    verilog, vhdl = write_accelerator(program, frames, folder)
    relative = [
        [str(Path(f).resolve().relative_to(folder.resolve())) for f in files]
        for files in (verilog, vhdl)
    ]
    what = "; ".join(describe(program.model))
    write_project(Sources(folder, *relative), device, clock, what)
    _next(steps, "synthesizing")
    family: Family = "ecp5" if device.family.vendor == "lattice" else "xc7"
    synthesis = synthesize(verilog, accelerator.__name__, family) if options.synth else None
    _next(steps, "reporting")
    content = facts(program, device, clock, synthesis)
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    picture = find_spec("matplotlib") is not None
    if picture:
        draw_timeline(program, folder / "timeline.png")
    (folder / "report.md").write_text(to_markdown(content, picture))
    _next(steps, "done")
    return content


def _next(steps: tqdm, what: str) -> None:
    steps.set_description(what)
    steps.update()


def test_frames(model: IntegerModel, streams: int, length: int, seed: int) -> list[Integers]:
    """Two random utterances (length, input_size) a stream."""
    rng, fmt = np.random.default_rng(seed), input_format(model.layers[0])
    shape = length, model.layers[0].input_size
    return [rng.integers(fmt.lowest, fmt.highest + 1, shape) for _ in range(2 * streams)]


def check_replaceable(folder: Path) -> None:
    """Raise ValueError if the folder holds what :func:`build` did not write."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / CORE).is_file() or not (folder / "report.json").is_file():
        raise ValueError(f"{folder}: was not written by hdl.build; name another folder")


def summary(content: dict[str, Any], out: Path) -> str:
    """What was built, in two lines."""
    core, cycles, clock = content["core"], content["cycles"], content["clock_mhz"]
    shares = ", ".join(
        f"{share:.0%} of the {name.upper()}s"
        for name, share in content["resources"]["share"].items()
    )
    return (
        f"{content['device']['name']}: {core['n_pe']} PEs (W = {core['slices']}, "
        f"F = {core['fold']}), {shares}\n"
        f"{cycles['frame']:.1f} cycles a frame, utilization {cycles['utilization']:.1%}, latency "
        f"{cycles['latency'] / clock:.2f} us at {clock:g} MHz; {out / 'report.md'}\n"
    )


def main() -> int:
    """Run the command line."""
    description = (
        "Size an accelerator for a device and write its sources, projects and report. "
        f"Devices: {', '.join(DEVICES)}."
    )
    options = tyro.cli(Options, prog="python -m hdl.build", description=description)
    try:
        print(summary(build(options), options.out), end="")
    except (OSError, ValueError, ConversionError, SimulationError) as error:
        print(f"hdl.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
