"""The accelerator's stages: Phase II and the hardware."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from settings import Settings
from speech import datasets, evaluate_scores
from stage import Result
from torch import Tensor
from tqdm import tqdm

from data_prep.phones import PHONES_39
from ernn import bundle
from ernn.asr import AcousticModel, Dataset, greedy
from ernn.fixed import FixedPoint, Integers
from ernn.quantize import IntegerModel, Ranges, calibrate, convert
from hdl.convert import Options, export
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
        """Real features (T, B, D) to integer scores (T, B, C)."""
        return torch.from_numpy(self.model.run(self.model.quantize(features.numpy())))


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
    """Run whole test utterances through the RTL of every recurrent layer; synthesize it.

    Each layer takes what the RTL of the layer before gave, and must equal the integer model in
    every word.
    """
    model = bundle.load(out / "phase2" / "bundle")
    (test_set,) = datasets(out, ["test"])
    places = np.linspace(0, len(test_set) - 1, settings.hardware.utterances).round().astype(int)
    rtl = [model.quantize(test_set.features[i].numpy()) for i in places]  # (time, input_size) each
    integer = rtl
    n_pe = settings.hardware.n_pe
    folders = export(
        Options(
            bundle=out / "phase2" / "bundle",
            out=folder / "rtl",
            n_pe=n_pe,
            vectors=out / "features" / "test.safetensors",
        )
    )
    layers = []
    pairs = zip(model.recurrent(), folders, strict=True)
    for layer, layer_folder in tqdm(pairs, "hardware", len(folders), unit="layer", disable=None):
        simulator = Simulator(layer, n_pe, folder / "simulators")
        run = simulator.run(rtl)
        rtl, integer = run.outputs, [layer.run(x[:, None])[:, 0] for x in integer]
        report = synthesize_folder(layer_folder)
        cycles = run.cycles_per_frame
        layers.append(
            {
                "cycles_per_frame": cycles,
                "utilization": simulator.config.block_products / (n_pe * cycles),
                "block_products": simulator.config.block_products,
                "frames": len(run.finished),
                "mismatches": sum(int((a != b).sum()) for a, b in zip(rtl, integer, strict=True)),
                **report.to_json()["total"],
            }
        )
    cycles = sum(layer["cycles_per_frame"] for layer in layers)
    products = sum(layer["block_products"] for layer in layers)
    return {
        "n_pe": n_pe,
        "utterances": len(rtl),
        "frames": layers[0]["frames"],
        "mismatches": sum(layer["mismatches"] for layer in layers),
        "cycles_per_frame": cycles,
        "utilization": products / (n_pe * cycles),
        "layers": layers,
        "resources": {
            name: sum(layer[name] for layer in layers) for name in ("dsp", "lut", "ff", "bram36")
        },
        "example": example(chosen_model(out, results), model, test_set, places[0], rtl[0]),
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
        rtl: (time, hidden) what the RTL of the last recurrent layer gave.
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
    (classes,) = greedy(scores, torch.tensor([len(scores)]))
    return [PHONES_39[c - 1] for c in classes]
