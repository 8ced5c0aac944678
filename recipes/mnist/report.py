"""results.json and RESULTS.md."""

import json
from pathlib import Path

from ernn.files import atomic
from recipes.experiment.report import provenance
from recipes.experiment.stage import Result
from recipes.mnist import engines
from recipes.mnist.energy import energies
from recipes.mnist.mlps import section
from recipes.mnist.plots import draw
from recipes.mnist.settings import Settings

NAMES = {
    "dense": "LeNet-5, dense",
    "circulant": "block-circulant",
    "control": "dense control",
    "pruned": "pruned (ADMM)",
    "joint": "pruned and on levels (ADMM-NN)",
    "decomposed": "decomposed, not trained (SmartDeal)",
    "smartdeal": "decomposed and trained (SmartDeal)",
    "spectral": "block-circulant, fully connected layers",
}
"""What the stages make."""
COMPRESSED = ("control", "pruned", "joint", "decomposed", "smartdeal", "spectral")
"""Those that go on from LeNet-5."""


def write(out: Path, settings: Settings, results: dict[str, Result]) -> Result:
    """Write the report next to the stages; its text is returned too."""
    methods = costs(settings, results)
    text = markdown(settings, results, methods)
    with atomic(out / "methods.png") as new:
        draw(methods, new)
    content = {"seed": settings.seed, **results, "methods": methods}
    with atomic(out / "results.json") as new:
        new.write_text(json.dumps(content, indent=1) + "\n")
    with atomic(out / "RESULTS.md") as new:
        new.write_text(text)
    return {"text": text}


def costs(settings: Settings, results: dict[str, Result]) -> dict[str, dict[str, float]]:
    """What every method stores and computes for an image, by its name, and its test accuracy.

    Dense and block-circulant weights are stored in the words of the integer model.
    """
    bits, found = settings.words.weight, {}
    for stage, work in energies(settings, results).items():
        result = results[stage]
        if stage in ("dense", "circulant"):
            size = result["parameters"] * bits / 8
        elif stage in ("pruned", "spectral"):  # their files have float32
            size = result["bytes"]["positions"] + sum(result["nonzero"].values()) * bits / 8
        else:
            size = result["bytes"]["positions"] + result["bytes"]["values"]
        found[NAMES[stage]] = {
            "test": result["test"],
            "bytes": round(size),
            "multiplications": sum(work.multiplications.values()),
            "model energy, nJ": work.energy / 1e3,
            "of it memory, nJ": work.memory / 1e3,
        }
    return found


def markdown(
    settings: Settings, results: dict[str, Result], methods: dict[str, dict[str, float]]
) -> str:
    """The report."""
    prepare, integer, rtl = (results[name] for name in ("prepare", "quantize", "hardware"))
    used, words = rtl["resources"], settings.words
    counts = " / ".join(f"{n:,}" for n in prepare["images"].values())
    k = settings.network.block_size
    rows = {"LeNet-5, dense": results["dense"], f"block-circulant, k = {k}": results["circulant"]}
    networks = [
        f"| {name} | {r['parameters']:,} | {r['multiplications']:,} | {accuracies(r)} |"
        for name, r in rows.items()
    ]
    lengths = f"weights of {words.weight} bits, activations of {words.activation}"
    seconds = ", ".join(f"{name} {r['seconds']:.0f}" for name, r in results.items())
    core = {
        "images": f"{rtl['images']:,}",
        "words compared": f"{rtl['words']:,}",
        "mismatches": rtl["mismatches"],
        "test": f"{rtl['test']:.2f}",
        "cycles an image": f"{rtl['cycles']:.0f}",
        "latency": rtl["latency"],
        "limit": f"{rtl['limit']:.0f}",
        "images/s at 200 MHz": f"{2e8 / rtl['cycles']:,.0f}",
        "DSP": used["dsp"],
        "BRAM36": f"{used['bram36']:g}",
        "LUT": f"{used['lut']:,}",
        "FF": f"{used['ff']:,}",
    }
    return "\n".join(
        [
            f"# Results: {prepare['corpus']}, seed {settings.seed}",
            "",
            provenance(),
            "",
            f"Images of train, dev and test: {counts}. Accuracies in %.",
            "",
            "| network | parameters | multiplications an image | dev | test |",
            "|---|---|---|---|---|",
            *networks,
            f"| the same in integers, {lengths} | | | {accuracies(integer)} |",
            "",
            f"## The accelerator: {rtl['n_pe']} PEs",
            "",
            "Cycles are simulated (Verilator), from image to image; latency is that of a lone one. "
            "Limit: block products by PEs. Resources are those of Yosys for xc7.",
            "",
            f"| {' | '.join(core)} |",
            "|---" * len(core) + "|",
            f"| {' | '.join(map(str, core.values()))} |",
            "",
            *section(settings.mlps, results["mlps"]),
            "",
            "## LeNet-5, compressed",
            "",
            f"The control is trained for {settings.admm_nn.epochs} epochs more, as what is pruned "
            "and on levels; points lost are those of test against it. Bytes are those of files, "
            "without the biases: the weights' values with their codebooks, and their positions. "
            "Times smaller: than float32, by the values alone and with the positions.",
            "",
            *compressed(results),
            "",
            *engines.table(results["engines"]),
            "",
            "## All methods",
            "",
            "Of an image. Energy is that of a model (45 nm, Horowitz 2014: operations and accesses "
            "to memories of the network's own size), not of a synthesized circuit: every weight is "
            "read, and by SmartDeal rebuilt, wherever a window lies. Weights not on levels "
            f"have {words.weight} bits, activations {words.activation}.",
            "",
            "| method | test | bytes | multiplications | model energy, nJ | of it memory |",
            "|---|---|---|---|---|---|",
            *(
                f"| {name} | {of['test']:.2f} | {of['bytes']:,} | {of['multiplications']:,} | "
                f"{of['model energy, nJ']:,.1f} | {of['of it memory, nJ']:,.1f} |"
                for name, of in methods.items()
            ),
            "",
            "![all methods](methods.png)",
            "",
            f"Seconds: {seconds}.",
            "",
        ]
    )


def compressed(results: dict[str, Result]) -> list[str]:
    """The table of LeNet-5's compressions."""
    control = results["control"]
    lines = [
        "| method | weights not zero | bytes of values | of positions | times smaller | "
        "with positions | dev | test | points lost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for stage in COMPRESSED:
        r = results[stage]
        cells = [NAMES[stage], f"{sum(r['nonzero'].values()):,}"]
        cells += [f"{r['bytes'][part]:,}" for part in ("values", "positions")]
        cells += [f"{r['values_ratio']:,.1f}", f"{r['ratio']:,.1f}", accuracies(r)]
        lines.append(f"| {' | '.join(cells)} | {control['test'] - r['test']:+.2f} |")
    return lines


def accuracies(result: Result) -> str:
    """The cells of dev and test."""
    return f"{result['dev']:.2f} | {result['test']:.2f}"
