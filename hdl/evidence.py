"""What the hardware says of a recogniser that is not trained yet: its core on a device.

:class:`DeviceHardware` is the hardware of :mod:`ernn.explore`. Cycles and resources do not depend
on weights, so a model with random ones stands for the candidate; its formats are calibrated on
random frames. Sizes come from :mod:`hdl.sizing`, cycles from :mod:`hdl.schedule`; measured, a core
is synthesized by Yosys and runs its frame under Verilator, which takes minutes.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from ernn.asr import AcousticModel
from ernn.explore import Candidate, CannotBuildError, Core
from ernn.quantize import IntegerModel, calibrate, convert, convert_offline
from hdl import synth
from hdl.compiler import on_core
from hdl.config import BLOCK_SIZES, GATES
from hdl.devices import Device
from hdl.offline import on_accelerator
from hdl.simulate import Simulator
from hdl.sizing import Design, design, memories, overuse, shortage, sizes
from hdl.synth import Resources, synthesize_accelerator

CALIBRATION_FRAMES = 8
"""Random frames for the formats."""

STEADY_FRAMES = 8
"""Frames after which the distance of two is that of all that follow."""


class DeviceHardware:
    """Cores for a device: the hardware of :mod:`ernn.explore`.

    Of the cores that fit, the one is taken whose cost is least: its cycles times its share of the
    device. That is a core whose PEs wait little; more PEs would take more of the device than they
    save in time.

    Args:
        device: the FPGA.
        clock: MHz; the family's usual one by default.
        measured: synthesize the core that is taken with Yosys and simulate its frame with
            Verilator. Else its resources are the estimate and its cycles the schedule's.
    """

    def __init__(self, device: Device, clock: float | None = None, *, measured: bool = True):
        self.device = device.name
        self.holds = {"dsp": device.dsp, "lut": device.lut, "bram36": device.bram36}
        self.block_sizes = BLOCK_SIZES
        self._device = device
        self._clock = clock or device.family.clock
        self._measured = measured

    def __call__(self, candidate: Candidate, n_pe: int | None = None) -> Core:
        """The core of the least cost that runs a candidate, of ``n_pe`` PEs if they are given.

        Raises:
            CannotBuildError: no core runs it, or none fits.
            ConversionError, SimulationError: a tool fails; its output.
        """
        try:
            models = programs_of(candidate)
            designs = [
                design(models, self._device.family, *size, 1) for size in self._sizes(models, n_pe)
            ]
        except ValueError as error:
            raise CannotBuildError(str(error)) from None
        fitting = [found for found in designs if self._share(found.resources) <= 1]
        if not fitting:
            nearest = min(designs, key=lambda found: self._share(found.resources))
            raise self._too_large(nearest, self._core(nearest))
        best = min(fitting, key=lambda found: found.latency * self._share(found.resources))
        return self._measure(best) if self._measured else self._core(best)

    def _sizes(
        self, models: Sequence[IntegerModel], n_pe: int | None
    ) -> list[tuple[int, int, int]]:
        block_size = models[0].layers[0].block_size
        if n_pe is None:
            return [(GATES, 1, 1), *sizes(self._device, block_size)]
        steps = [(w, f) for w in (1, 2, 4) for f in (1, 2, 4) if n_pe % (GATES * w * f) == 0]
        if not steps or n_pe < GATES:
            raise ValueError(f"{n_pe} PEs: must be a multiple of {GATES}")
        return [(n_pe, *step) for step in steps]

    def _share(self, resources: Resources) -> float:
        return overuse(resources, self._device)[0]

    def _too_large(self, found: Design, core: Core) -> CannotBuildError:
        return CannotBuildError(f"{self.device}: {shortage(found, self._device)}", core)

    def _core(self, found: Design) -> Core:
        cfg, used = found.cfg, found.resources
        share, scarcest = overuse(used, self._device)
        bits = sum(memory.count * memory.width * memory.depth for memory in memories(cfg))
        return Core(
            found.text,
            cfg.n_pe,
            found.latency,
            self._clock,
            -(-bits // 8),
            used.dsp,
            used.lut,
            used.bram36,
            share,
            scarcest,
        )

    def _measure(self, found: Design) -> Core:
        cfg = found.cfg
        family: synth.Family = "ecp5" if self._device.family.vendor == "lattice" else "xc7"
        report = synthesize_accelerator(cfg, family)
        found = replace(found, resources=report.total, latency=simulate(found))
        pe = {name: asdict(report.own["pe"])[name] for name in ("dsp", "lut", "bram36")}
        core = replace(self._core(found), pe=pe, simulated=True)
        if core.share > 1:  # by Yosys' count, though not by the estimate
            raise self._too_large(found, core)
        return core


def programs_of(candidate: Candidate) -> list[IntegerModel]:
    """Models like a candidate, each a program of the core: one, or for both directions several.

    Raises:
        ValueError: the integer model does not cover it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AcousticModel(candidate.model).eval()
        frames = torch.randn(CALIBRATION_FRAMES, candidate.model.input_size)
    ranges = calibrate(model.recurrent, [frames])
    if not candidate.model.bidirectional:
        return [on_core(convert(model.recurrent, model.output, ranges, candidate.words))]
    return on_accelerator(convert_offline(model.recurrent, model.output, ranges, candidate.words))


def simulate(found: Design) -> int:
    """The cycles of a frame on a core under Verilator.

    Raises:
        SimulationError: the accelerator fails, or gives other words than a model.
    """
    cfg = found.cfg
    simulator, cycles = Simulator(cfg), 0
    rng = np.random.default_rng(0)
    for program in found.programs:
        model, lone = program.model, len(found.programs) == 1
        frames = rng.standard_normal(
            (1 if lone else STEADY_FRAMES, model.layers[0].input_size), np.float32
        )
        x = model.quantize(frames)
        run = simulator.run(program, [x])
        if not np.array_equal(run.outputs[0], model.run(x[:, None])[:, 0]):
            raise synth.SimulationError("accelerator: its words are not those of the integer model")
        begin = run.accepted[-1] if lone else run.finished[-2]
        cycles += int(run.finished[-1] - begin)
    return cycles
