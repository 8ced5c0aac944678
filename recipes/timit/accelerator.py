"""The accelerator's stages: Phase II and the hardware."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from settings import Settings
from speech import datasets, evaluate_scores
from stage import Result
from torch import Tensor

from data_prep.phones import PHONES_39
from ernn import bundle
from ernn.asr import AcousticModel, Dataset, greedy
from ernn.fixed import FixedPoint, Integers
from ernn.quantize import IntegerModel, Ranges, calibrate, convert
from ernn.quantize.integer import output_format
from hdl.convert import Options, export
from hdl.schedule import Schedule
from hdl.simulate import Simulator
from hdl.synth import synthesize_folder


def phase2(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Choose the formats on training data, build the integer model, score it."""
    train_set, dev_set, test_set = datasets(out)
    model = AcousticModel.load(chosen_model(out, results)).eval()
    count = min(settings.hardware.calibration_utterances, len(train_set))
    places = np.linspace(0, len(train_set) - 1, count).round().astype(int)
    ranges = calibrate(model.recurrent, [train_set.features[i] for i in places])
    integer = convert(model.recurrent, model.output, ranges, settings.quantize)
    bundle.save(integer, folder / "bundle")
    scores = evaluate_scores(Recogniser(integer), dev_set, test_set, folder)
    return scores | {"quantities": quantities(integer, ranges)}


def chosen_model(out: Path, results: dict[str, Result]) -> Path:
    """Return the file of the model that Phase I chose."""
    return out / "phase1" / f"k{results['phase1']['chosen']}" / "model.safetensors"


class Recogniser:
    """An integer model in the place of an acoustic model."""

    def __init__(self, model: IntegerModel) -> None:
        self.model = model

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Real features (T, B, D) to log posteriors (T, B, C), float64: the order of the scores."""
        scores = self.model.run(self.model.quantize(features.numpy()))
        return torch.from_numpy(output_format(self.model.layers[-1]).to_float(scores)).log_softmax(
            -1
        )


def quantities(model: IntegerModel, ranges: list[Ranges]) -> list[Result]:
    """Return what the formats hold beside what they have to."""

    def entry(name: str, fmt: FixedPoint, largest: float, rms: float) -> Result:
        return {
            "name": name,
            "format": str(fmt),
            "step": 2.0**-fmt.fraction_length,
            "limit": float(fmt.to_float(fmt.highest)),
            "largest": largest,
            "rms": rms,
        }

    entries = []
    for n, (layer, extents) in enumerate(zip(model.recurrent(), ranges, strict=True)):
        formats = layer.formats
        measured = {
            "input": (formats.input, extents.input),
            "pre-activation": (formats.cell.preactivation, extents.preactivation),
            "cell": (formats.cell.cell, extents.cell),
            "output": (formats.output, extents.output),
        }
        for name, (fmt, extent) in measured.items():
            entries.append(entry(f"{n} {name}", fmt, extent.largest, extent.power**0.5))
        for name, fmt, spectra in (
            ("input weights", formats.weight_input, layer.W),
            ("recurrent weights", formats.weight_recurrent, layer.U),
        ):
            values = fmt.to_float(spectra)
            rms = float(np.sqrt(np.square(values).mean()))
            entries.append(entry(f"{n} {name}", fmt, float(np.abs(values).max()), rms))
    return entries


def hardware(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Run whole test utterances through the RTL of the network; synthesize it.

    The accelerator runs all layers but the dense output layer, and must equal the integer model in
    every word.
    """
    model = bundle.load(out / "phase2" / "bundle")
    (test_set,) = datasets(out, ["test"])
    places = np.linspace(0, len(test_set) - 1, settings.hardware.utterances).round().astype(int)
    frames = [model.quantize(test_set.features[i].numpy()) for i in places]  # (time, input_size)
    program = export(
        Options(
            bundle=out / "phase2" / "bundle",
            out=folder / "rtl",
            n_pe=settings.hardware.n_pe,
            vectors=out / "features" / "test.safetensors",
        )
    )
    network = program.model
    run = Simulator(program.cfg, folder / "simulators").run(program, frames)
    integer = [network.run(x[:, None])[:, 0] for x in frames]
    resources = synthesize_folder(folder / "rtl").to_json()["total"]
    cycles = run.cycles_per_frame
    return {
        "n_pe": program.cfg.n_pe,
        "layers": len(network.layers),
        "utterances": len(frames),
        "frames": len(run.finished),
        "words": sum(y.size for y in integer),
        "mismatches": sum(int((a != b).sum()) for a, b in zip(run.outputs, integer, strict=True)),
        "block_products": program.block_products,
        "cycles_per_frame": cycles,
        "scheduled_cycles_per_frame": Schedule(program).cycles_per_frame,
        "utilization": program.limit / cycles,
        "resources": {name: resources[name] for name in ("dsp", "lut", "ff", "bram36")},
        "example": example(chosen_model(out, results), model, test_set, places[0], run.outputs[0]),
    }


def example(
    chosen: Path, model: IntegerModel, test_set: Dataset, place: int, rtl: Integers
) -> Result:
    """Return the phones of one utterance: reference, float, integer model, RTL.

    Args:
        chosen: file of the float model.
        model: the integer model.
        test_set: the utterances.
        place: the utterance's place in it.
        rtl: (time, hidden) what the RTL gave; the model's last layer is the host's.
    """
    features = test_set.features[place]
    float_model = AcousticModel.load(chosen).eval()
    with torch.inference_mode():
        scores = float_model(features[:, None])
    name = test_set.ids[place]
    return {
        "id": name,
        "reference": test_set.phones[name],
        "float": phones(scores),
        "integer": phones(torch.from_numpy(model.run(model.quantize(features.numpy())[:, None]))),
        "rtl": phones(torch.from_numpy(model.layers[-1].run(rtl[:, None]))),
    }


def phones(scores: Tensor) -> Sequence[str]:
    """Decode one utterance's scores (T, 1, C)."""
    return [PHONES_39[segment.label - 1] for segment in greedy(scores[:, 0].numpy())]
