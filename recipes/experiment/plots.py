"""The pictures of the report."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ernn.activations import sigmoid_and_tanh
from ernn.fixed import FixedPoint, activation, activation_table
from ernn.quantize import WordLengths
from recipes.experiment.stage import Result

matplotlib.use("Agg")


def draw(results: dict[str, Result], folder: Path) -> None:
    """Write all pictures to ``folder``."""
    from matplotlib import pyplot as plt

    pictures = {
        "training": lambda axes: training(axes, results),
        "compression": lambda axes: compression(axes, results),
        "ranges": lambda axes: ranges(axes, results["phase2"]["quantities"]),
    }
    heights = {"ranges": max(4.5, 0.3 * len(results["phase2"]["quantities"]))}  # inches
    for name, picture in pictures.items():
        figure, axes = plt.subplots(figsize=(7, heights.get(name, 4.5)), layout="constrained")
        picture(axes)
        _save(figure, folder / f"{name}.png")
    figure, grid = plt.subplots(2, 2, figsize=(9, 5), layout="constrained", sharex="col")
    activations(grid, WordLengths(**results["phase2"]["words"]))
    _save(figure, folder / "activations.png")


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def training(axes: Axes, results: dict[str, Result]) -> None:
    """Dev PER by epoch of the baseline and of what was trained from it."""
    baseline = [epoch["dev_per"] for epoch in results["dense"]["history"]]
    axes.plot(range(1, len(baseline) + 1), baseline, label="dense baseline")
    runs = {"dense control": results["compress"]["control"]}
    runs |= {f"k = {k}": run for k, run in results["compress"]["variants"].items()}
    runs |= results["phase1"]["others"]
    for label, run in runs.items():
        pers = [epoch["dev_per"] for epoch in run["history"]]
        axes.plot(len(baseline) + np.arange(1, len(pers) + 1), pers, label=label)
    axes.set(xlabel="epoch", ylabel="dev PER, %", title="Training", ylim=(None, 60))
    axes.legend()


def compression(axes: Axes, results: dict[str, Result]) -> None:
    """Test and dev PER against the compression of the recurrent layers."""
    trained, phase1, phase2 = results["compress"], results["phase1"], results["phase2"]
    control = trained["control"]
    models = [control, *trained["variants"].values()]

    def saved(model: Result) -> float:
        return control["recurrent_parameters"] / model["recurrent_parameters"]

    ratio = [saved(m) for m in models]
    for split in ("dev", "test"):
        axes.plot(ratio, [m[split] for m in models], "o-", label=f"float, {split}")
    for marker, (name, m) in zip("sd^v", phase1["others"].items(), strict=False):
        axes.plot(saved(m), m["test"], f"C2{marker}", label=f"{name}, test")
    axes.plot(saved(phase1["chosen"]), phase2["test"], "kx", ms=10, label="integer model, test")
    for x, m, label in zip(ratio, models, ["dense", *trained["variants"]], strict=True):
        text = label if label == "dense" else f"k = {label}"
        axes.annotate(text, (x, m["test"]), (-6, 6), textcoords="offset points", ha="right")
    axes.set(
        xscale="log",
        xlabel="compression of the recurrent layers",
        ylabel="PER, %",
        title="Accuracy against compression (equal epochs)",
    )
    ticks = [round(r, 1) for r in ratio]
    axes.set_xlim(0.75, 1.1 * max(ratio))
    axes.set_xticks(ratio, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.legend()


def activations(grid: np.ndarray, words: WordLengths) -> None:
    """Each piece-wise linear unit in fixed point, and below it its error."""
    source, output = FixedPoint(words.preactivation, words.preactivation - 5), words.gate
    x = source.to_float(np.arange(source.lowest, source.highest + 1, 8))
    for column, unit in enumerate(sigmoid_and_tanh(words.segments)):
        y = output.to_float(activation(source.quantize(x), activation_table(unit, source, output)))
        exact = np.array([unit.function(v) for v in x])
        above, below = grid[:, column]
        above.plot(x, exact, "0.7", lw=4, label="exact")
        above.plot(x, y, label=f"{unit.segments} segments a side, {output}")
        above.set(title=unit.name, xlim=(-unit.limit * 1.25, unit.limit * 1.25))
        above.legend(loc="upper left", fontsize="small")
        below.plot(x, y - exact, lw=0.8)
        largest = np.abs(y - exact).max()
        below.axhline(largest, color="0.6", ls=":")
        below.axhline(-largest, color="0.6", ls=":")
        below.set(xlabel="x", ylabel="error", title=f"largest error {largest:.5f}")


def ranges(axes: Axes, quantities: list[Result]) -> None:
    """Step to limit of each format as a bar, with the mean and the largest magnitude seen."""
    for row, q in enumerate(quantities):
        axes.barh(
            row, np.log2(q["limit"] / q["step"]), left=np.log2(q["step"]), color="C0", alpha=0.3
        )
        axes.plot(np.log2(q["rms"]), row, "C1o", label=None if row else "root mean square")
        axes.plot(np.log2(q["largest"]), row, "C3|", ms=12, label=None if row else "largest")
    axes.set_yticks(range(len(quantities)), [f"{q['name']}  {q['format']}" for q in quantities])
    axes.invert_yaxis()
    axes.set_xlabel("log2 of the magnitude; the bar is what the format holds")
    axes.set_title("Formats", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize="small", frameon=False)
