"""What a study came to: its Pareto front as JSON, as a table and as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from ernn.files import atomic

OBJECTIVES = "dev PER, %", "latency, us", "DSP", "BRAM36"
"""Values of a trial; less is better."""


def write(study: Study, folder: Path) -> None:
    """Write ``study.json`` and ``pareto.png``."""
    content = {"objectives": OBJECTIVES, "front": front(study), "trials": rows(study)}
    with atomic(folder / "study.json") as new:
        new.write_text(json.dumps(content, indent=1) + "\n")
    draw(study, folder / "pareto.png")


def front(study: Study) -> list[int]:
    """Numbers of the trials on the front, the best dev PER first; of equal ones the first."""
    best: dict[tuple[float, ...], int] = {}
    for trial in sorted(study.best_trials, key=lambda trial: trial.number):
        best.setdefault(tuple(trial.values), trial.number)
    return [best[values] for values in sorted(best)]


def rows(study: Study) -> list[dict[str, Any]]:
    """Every trial in plain values."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "values": trial.values,
            **trial.params,
            **{name: trial.user_attrs.get(name) for name in ("core", "dev_per", "pruned")},
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def to_markdown(study: Study) -> str:
    """The front as a table."""
    head = ["trial", "model", "bits", "core", *OBJECTIVES]
    lines = [head, ["---"] * len(head)]
    for number in front(study):
        trial = study.trials[number]
        chosen, (per, latency, dsp, bram36) = trial.params, trial.values
        model = f"{chosen['cell'].upper()} {chosen['num_layers']} x {chosen['hidden_size']}"
        lines.append(
            [
                *(str(number), f"{model}, k = {chosen['block_size']}", str(chosen["weight_bits"])),
                *(trial.user_attrs["core"], f"{per:.2f}", f"{latency:.2f}"),
                *(f"{dsp:,.0f}", f"{bram36:g}"),
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


MARKERS = {"lstm": "o", "gru": "s"}


def draw(study: Study, path: Path) -> None:
    """Draw dev PER against the three figures of the hardware; filled is what is on the front."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = set(front(study))
    sizes = sorted({trial.params["block_size"] for trial in trials})
    colours = {k: pyplot.get_cmap("viridis")(n / max(1, len(sizes))) for n, k in enumerate(sizes)}
    figure, panels = pyplot.subplots(1, 3, sharey=True, figsize=(11, 4.5), layout="constrained")
    for n, axes in enumerate(panels, 1):
        for trial in trials:
            colour = colours[trial.params["block_size"]]
            on_front = trial.number in kept
            axes.plot(
                trial.values[n],
                trial.values[0],
                MARKERS[trial.params["cell"]],
                color=colour if on_front else "none",
                markeredgecolor=colour,
                alpha=1.0 if on_front else 0.5,
            )
        axes.step(
            *stairs([(trial.values[n], trial.values[0]) for trial in trials]),
            "k:",
            lw=1,
            where="post",
        )
        axes.set(xlabel=OBJECTIVES[n])
    panels[0].set(ylabel=OBJECTIVES[0], xscale="log")
    panels[0].xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panels[0].xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    panels[0].xaxis.set_minor_formatter(ticker.NullFormatter())
    for k, colour in colours.items():
        panels[-1].plot([], [], "o", color=colour, label=f"k = {k}")
    for cell, marker in MARKERS.items():
        panels[-1].plot([], [], marker, color="gray", label=cell.upper())
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside right center")
    pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    figure.suptitle(
        f"{len(trials)} trials, {pruned} more pruned; filled: on the front of all four values, "
        "dotted: best in the two shown"
    )
    with atomic(path) as new:
        figure.savefig(new, dpi=110, format="png", metadata={"Software": None})
    pyplot.close(figure)


def stairs(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The points (x, y) to which no other is equal or better in both, as x and y, x ascending."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not best or y < best[-1][1]:
            best.append((x, y))
    return [x for x, _ in best], [y for _, y in best]
