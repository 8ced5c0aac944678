"""The accelerator: whole utterances through its RTL beside the integer model, and its resources."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ernn.asr import AcousticModel, Dataset, greedy
from ernn.files import atomic
from ernn.fixed import Integers
from ernn.quantize import IntegerModel, OfflineModel
from hdl import offline
from hdl.accelerator import image
from hdl.compiler import compile_model, on_host
from hdl.config import CoreConfig
from hdl.convert import write_accelerator, write_hex
from hdl.devices import find
from hdl.program import Program
from hdl.schedule import Schedule
from hdl.simulate import Simulator
from hdl.sizing import Design, choose
from hdl.synth import synthesize_folder
from recipes.experiment import phase2
from recipes.experiment.phase1 import model_file
from recipes.experiment.settings import Hardware, Settings
from recipes.experiment.speech import datasets
from recipes.experiment.stage import Result

BENCH_FRAMES = 4  # of each of two utterances, in the test bench that is written


def simulate(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Run whole test utterances through the RTL of the network; synthesize it.

    The accelerator runs all layers but the dense output layer, and must equal the integer model in
    every word that a program of it gives. Of a network for streams that is one program; of a
    bidirectional one it is one for each direction of each layer.
    """
    model = phase2.load(out, settings)
    (test_set,) = datasets(out, settings, ["test"])
    places = np.linspace(0, len(test_set) - 1, settings.hardware.utterances).round().astype(int)
    frames = [model.quantize(test_set.features[i].numpy()) for i in places]  # (time, input_size)
    stages = offline.stages_of(model)
    core = size(stages, settings.hardware)
    bench = Bench(core.cfg, folder / "simulators")
    outputs = through(stages, frames, bench)
    write_rtl(bench.programs, [x[:BENCH_FRAMES] for x in frames[:2]], folder / "rtl")
    resources = synthesize_folder(folder / "rtl").to_json()["total"]
    programs = list(bench.programs.values())
    return {
        "n_pe": core.cfg.n_pe,
        "core": core.text,
        "layers": sum(len(stage[0].layers) for stage in stages.stages if not on_host(stage[0])),
        "programs": len(programs),
        "utterances": len(frames),
        "frames": sum(map(len, frames)),
        "words": bench.words,
        "mismatches": bench.mismatches,
        "block_products": sum(program.block_products for program in programs),
        "cycles_per_frame": bench.cycles,
        "scheduled_cycles_per_frame": sum(Schedule(p).cycles_per_frame for p in programs),
        "utilization": sum(program.limit for program in programs) / bench.cycles,
        "resources": {name: resources[name] for name in ("dsp", "lut", "ff", "bram36")},
        "example": example(model_file(out, results), model, test_set, places[0], outputs[0]),
    }


def size(model: OfflineModel, table: Hardware) -> Design:
    """The smallest core that runs a model in time on its device.

    Raises:
        ValueError: there is no such device, or no such core.
    """
    device, models = find(table.device), offline.on_accelerator(model)
    return choose(models, device, device.family.clock, target_us=table.target_us)


class Bench:
    """An accelerator beside the integer model.

    Attributes:
        programs: what it ran, by name.
        words: how many results were compared.
        mismatches: how many differed.
        cycles: the sum over the programs of the cycles from frame to frame.
    """

    def __init__(self, cfg: CoreConfig, folder: Path) -> None:
        self.cfg = cfg
        self.simulator = Simulator(cfg, folder)
        self.programs: dict[str, Program] = {}
        self.words = self.mismatches = 0
        self.cycles = 0.0

    def run(self, name: str, model: IntegerModel, utterances: Sequence[Integers]) -> list[Integers]:
        """Run utterances (time, input_size) through a program of its own, or on the host."""
        expected = [model.run(x[:, None])[:, 0] for x in utterances]
        if on_host(model):
            return expected
        self.programs[name] = compile_model(model, self.cfg)
        run = self.simulator.run(self.programs[name], utterances)
        self.words += sum(y.size for y in expected)
        self.mismatches += sum(
            int((a != b).sum()) for a, b in zip(run.outputs, expected, strict=True)
        )
        self.cycles += run.cycles_per_frame
        return run.outputs


def through(model: OfflineModel, frames: Sequence[Integers], bench: Bench) -> list[Integers]:
    """Run utterances (time, input_size) through all stages, as :meth:`OfflineModel.run` does."""
    x = list(frames)
    for n, stage in enumerate(model.stages):
        sides = []
        for part, way, step in zip(stage, phase2.WAYS, (1, -1), strict=False):
            name = f"{n}-{way}" if len(stage) > 1 else f"{n}"
            y = bench.run(name, part, [u[::step] for u in x])
            sides.append([u[::step] for u in y])
        x = [np.concatenate(both, axis=-1) for both in zip(*sides, strict=True)]
    return x


def write_rtl(programs: dict[str, Program], utterances: Sequence[Integers], folder: Path) -> None:
    """Write the accelerator with the first program and its test bench; the others' images beside.

    Args:
        programs: by name; of one core.
        utterances: of the test bench, as the first program takes them.
        folder: is replaced.
    """
    first, *others = programs
    with atomic(folder) as new:
        new.mkdir()
        write_accelerator(programs[first], utterances, new)
        for name in others:
            words = ((word,) for word in image(programs[name]))
            write_hex(new / f"image-{name}.hex", words, 8)


def example(
    chosen: Path,
    model: IntegerModel | OfflineModel,
    test_set: Dataset,
    place: int,
    rtl: Integers,
) -> Result:
    """Return the phones of one utterance: reference, float, integer model, RTL.

    Args:
        chosen: file of the float model.
        model: the integer model.
        test_set: the utterances.
        place: the utterance's place in it.
        rtl: (time, classes) what the RTL and, for the last layer, the host gave.
    """
    features = test_set.features[place]
    float_model = AcousticModel.load(chosen).eval()
    with torch.inference_mode():
        scores = float_model(features[:, None])[:, 0]
    name = test_set.ids[place]
    integer = model.run(model.quantize(features.numpy())[:, None])[:, 0]

    def phones(scores: NDArray[Any]) -> list[str]:  # (T, C)
        return test_set.spell(segment.label for segment in greedy(scores))

    return {
        "id": name,
        "reference": test_set.phones[name],
        "float": phones(scores.numpy()),
        "integer": phones(integer),
        "rtl": phones(rtl),
    }
