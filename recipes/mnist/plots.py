"""The picture of the report: all methods, what they cost and how often they are right."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")


def draw(methods: dict[str, dict[str, float]], path: Path) -> None:
    """Write the picture.

    Args:
        methods: of each, by its name, the ``test`` accuracy in % and what it costs.
        path: of a PNG file.
    """
    from matplotlib import pyplot as plt

    costs = ("bytes", "multiplications", "model energy, nJ")
    figure, grid = plt.subplots(1, len(costs), figsize=(3.2 * len(costs), 3.6), sharey=True)
    for axes, cost in zip(grid, costs, strict=True):
        for name, method in methods.items():
            axes.plot(method[cost], method["test"], "o", label=name)
        axes.set(xlabel=cost, xscale="log")
        axes.grid(alpha=0.3)
    grid[0].set(ylabel="test accuracy, %")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
