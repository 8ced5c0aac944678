"""What a build tells: cycles, occupancy, resources and speed, as JSON, Markdown and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ernn.quantize.feedforward import IntegerConv2d, IntegerLinear, IntegerPool
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLayer,
    IntegerLSTM,
    IntegerModel,
)
from hdl import published
from hdl.devices import Device
from hdl.program import Kind, Program, block_products
from hdl.schedule import Schedule, latency
from hdl.sizing import Estimate, estimate, memories
from hdl.synth import Report, Resources

CLOCKS = 0.5, 0.75, 1.0, 1.25, 1.5
"""Of the family's clock: where latency and frames a second are told."""


@dataclass(frozen=True)
class Operation:
    """A matrix operation of a frame.

    Attributes:
        name: layer and matrix.
        rows, columns: of blocks, without padding.
        busy: cycles of its steps.
        idle: cycles between its first and its last step in which no step is taken.
        filled: block products that the PEs have time for in its steps.
        products: block products of the model that they do.
    """

    name: str
    rows: int
    columns: int
    busy: int
    idle: int
    filled: int
    products: int


def layer_products(layer: IntegerLayer, first: bool) -> list[tuple[str, int, int]]:
    """Name, block rows and block columns of a layer's products in the program's order."""
    k = layer.block_size
    x = -(-layer.input_size // k)
    if isinstance(layer, IntegerPool):
        return []
    if isinstance(layer, IntegerLinear | IntegerConv2d):
        return [("y = W x", len(layer.W), layer.W.shape[1])]
    p, h = layer.hidden_blocks, -(-layer.output_size // k)
    if isinstance(layer, IntegerLSTM):
        gates = [("i, f, g, o", 4 * p, x + h)]
        return gates + ([] if layer.projection is None else [("projection", h, p)])
    if not layer.reset_after:
        return [("r, u", 2 * p, x + p), ("candidate", p, x + p)]
    parts = [("candidate of x", p, x), ("r, u", 2 * p, x + p), ("candidate of h", p, p)]
    return parts if first else parts[::-1]


def describe(model: IntegerModel) -> list[str]:
    """A line for each layer."""
    lines = []
    for layer in model.layers:
        sizes = f"{layer.input_size} -> {layer.output_size}"
        match layer:
            case IntegerLSTM():
                extras = [f"{layer.hidden_size} cells"]
                extras += ["peepholes"] * (layer.peephole is not None)
                extras += ["projection"] * (layer.projection is not None)
                lines.append(f"LSTM {sizes}, {', '.join(extras)}")
            case IntegerGRU():
                where = "after" if layer.reset_after else "before"
                lines.append(f"GRU {sizes}, reset {where} the matrix")
            case IntegerPool():
                lines.append(f"pool {sizes}, {layer.pool}")
            case _:
                lines.append(f"{layer.kind} {sizes}, activation {layer.activation}")
    return lines


def operations(program: Program, steps: Sequence[Sequence[int]]) -> list[Operation]:
    """The matrix operations of a frame whose steps are these cycles."""
    cfg, rows, done = program.cfg, [], 0
    for name, p, q, of_model, count in products(program):
        ops = program.matrix[done : done + count]
        cycles = np.concatenate(steps[done : done + count])
        done += count
        filled = sum(
            op.steps * groups * op.fold * cfg.drain for op in ops for groups in op.drains(cfg)
        )
        idle = int(cycles[-1] - cycles[0]) + 1 - len(cycles)
        rows.append(Operation(name, p, q, len(cycles), idle, filled, of_model))
    return rows


def products(program: Program) -> list[tuple[str, int, int, int, int]]:
    """Name, block rows, columns and products, and matrix operations of every matrix product."""
    found = []
    for n, layer in enumerate(program.model.layers):
        for name, p, q in layer_products(layer, n == 0):
            count, operations = p * q, 1
            if isinstance(layer, IntegerConv2d):
                count = block_products(IntegerModel((layer,)))
                operations = layer.geometry.output[0]
            for stream in range(program.streams):
                of_stream = f", stream {stream}" * (program.streams > 1)
                found.append((f"layer {n}: {name}{of_stream}", p, q, count, operations))
    return found


def facts(
    program: Program, device: Device, clock: float, synthesis: Report | None
) -> dict[str, Any]:
    """Everything that the report tells, in plain values.

    Args:
        program: what the accelerator runs.
        device: the FPGA.
        clock: MHz that it is built for.
        synthesis: what Yosys made of it, if it was asked.
    """
    schedule, cfg = Schedule(program), program.cfg
    matrix = operations(program, schedule.frames[-2].steps)
    lone = latency(program)
    sized = estimate(cfg, device.family)
    used = sized.total if synthesis is None else synthesis.total
    holds = {"dsp": device.dsp, "lut": device.lut, "bram36": device.bram36}
    clocks = sorted({clock, *(device.family.clock * times for times in CLOCKS)})
    return {
        "model": describe(program.model),
        "device": {"name": device.name, "part": device.part, **holds},
        "clock_mhz": clock,
        "core": {"groups": cfg.groups, **asdict(cfg)},
        "cycles": {
            "frame": schedule.cycles_per_frame,
            "latency": lone,
            "limit": program.limit,
            "utilization": schedule.utilization,
            "streams": program.streams,
            "operations": [asdict(op) for op in matrix],
            "unused": schedule.period - sum(op.busy for op in matrix),
        },
        "resources": {
            "share": {name: getattr(used, name) / holds[name] for name in holds},
            "estimate": asdict(sized.total),
            "yosys": None if synthesis is None else asdict(synthesis.total),
            "modules": modules(sized, synthesis),
            "memories": [asdict(m) | asdict(m.mapped(device.family)) for m in memories(cfg)],
        },
        "speed": [
            {
                "clock_mhz": mhz,
                "latency_us": lone / mhz,
                "frame_us": schedule.cycles_per_frame / mhz,
                "frames_per_s": 1e6 * mhz / schedule.cycles_per_frame,
            }
            for mhz in clocks
        ],
        "published": published.rows(),
    }


def modules(sized: Estimate, synthesis: Report | None) -> dict[str, dict[str, Any]]:
    """Instances, and the resources of all of them: estimated, and by Yosys."""
    rows: dict[str, dict[str, Any]] = {}
    found = {} if synthesis is None else synthesis.own
    for name in sorted({*sized.modules, *found}, key=lambda n: (n == "accelerator", n)):
        count, one = sized.modules.get(name, (0, Resources()))
        rows[name] = {"instances": count, "estimate": asdict(one * count), "yosys": None}
        if synthesis is not None and name in found:
            instances = synthesis.modules[name][0]
            rows[name] |= {"instances": instances, "yosys": asdict(found[name] * instances)}
    return rows


# ---------------------------------------------------------------------------------------- Markdown


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines) + "\n"


def to_markdown(content: dict[str, Any], picture: bool) -> str:
    """The report of :func:`facts`; ``picture``: timeline.png lies beside it."""
    device, core, cycles = content["device"], content["core"], content["cycles"]
    resources = content["resources"]
    synthesized = resources["yosys"] is not None
    source = "Yosys" if synthesized else "estimate"
    share, holds = resources["share"], device
    parts = [
        f"# Accelerator for {device['name']}\n",
        "".join(f"- layer {n}: {line}\n" for n, line in enumerate(content["model"])),
        f"k = {core['block_size']}, R = {core['n_pe']} PEs in {core['groups']} groups, "
        f"W = {core['slices']}, F = {core['fold']}, {cycles['streams']} stream(s); built for "
        f"{content['clock_mhz']:g} MHz. Cycles are those of the schedule, which the simulated "
        "accelerator keeps; clock rates are given, not reached, until place and route says so.\n",
        "## Cycles\n",
        table(
            ["a frame, steady", "limit (block products / R)", "utilization", "a lone frame"],
            [
                [
                    f"{cycles['frame']:.1f}",
                    f"{cycles['limit']:.1f}",
                    f"{cycles['utilization']:.1%}",
                    cycles["latency"],
                ]
            ],
        ),
        "A lone frame is counted from its last input word to its last output word.\n",
        table(
            ["operation", "block rows x columns", "cycles", "idle within", "PEs filled", "useful"],
            [
                [
                    op["name"],
                    f"{op['rows']} x {op['columns']}",
                    op["busy"],
                    op["idle"],
                    f"{op['filled'] / (op['busy'] * core['n_pe']):.1%}",
                    f"{op['products'] / (op['busy'] * core['n_pe']):.1%}",
                ]
                for op in cycles["operations"]
            ]
            + [["no step", "", cycles["unused"], "", "", ""]],
        ),
        "![PEs busy in every cycle of a frame](timeline.png)\n" if picture else "",
        "## Speed\n",
        table(
            ["clock, MHz", "latency of a lone frame, us", "a frame, us", "frames/s"],
            [
                [
                    f"{row['clock_mhz']:g}",
                    f"{row['latency_us']:.2f}",
                    f"{row['frame_us']:.2f}",
                    f"{row['frames_per_s']:,.0f}",
                ]
                for row in content["speed"]
            ],
        ),
        "Published, at 200 MHz (one LSTM or GRU layer of 1024 cells, its input 153):\n",
        published.to_markdown(),
        "## Resources\n",
        table(
            ["", "DSP", "LUT", "FF", "BRAM36"],
            [
                ["estimate", *_four(resources["estimate"])],
                *([["Yosys", *_four(resources["yosys"])]] if synthesized else []),
                [device["name"], f"{holds['dsp']:,}", f"{holds['lut']:,}", "", holds["bram36"]],
                [
                    f"share ({source})",
                    *(f"{share['dsp']:.1%}", f"{share['lut']:.1%}", "", f"{share['bram36']:.1%}"),
                ],
            ],
        ),
        "By module, all its instances without the modules in it:\n",
        table(
            ["module", "instances", "", "DSP", "LUT", "FF", "BRAM36"],
            [
                [name, row["instances"], kind, *_four(row[kind])]
                for name, row in resources["modules"].items()
                for kind in ("estimate", "yosys")
                if row[kind] is not None
            ],
        ),
        "Memories (estimate):\n",
        table(
            ["memory", "number", "words x bits", "BRAM36", "LUT"],
            [
                [
                    *(m["name"], m["count"], f"{m['depth']} x {m['width']}"),
                    *(f"{m['bram36']:g}", f"{m['lut']:,}"),
                ]
                for m in resources["memories"]
            ],
        ),
    ]
    return "\n".join(part for part in parts if part)


def _four(resources: dict[str, Any]) -> list[str]:
    return [f"{resources[name]:,g}" for name in ("dsp", "lut", "ff")] + [f"{resources['bram36']:g}"]


# ----------------------------------------------------------------------------------------- picture


def draw_timeline(program: Program, path: Path) -> None:
    """Draw how many PEs are busy in every cycle of a steady frame, and when the cells work.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    schedule, cfg = Schedule(program), program.cfg
    frame, start, period = schedule.frames[-2], schedule.frames[-2].start, schedule.period
    names = [name for name, *_, count in products(program) for _ in range(count)]
    layers = list(dict.fromkeys(names))
    colour = pyplot.get_cmap("tab10")
    figure, (upper, lower) = pyplot.subplots(
        2, sharex=True, figsize=(11, 4.5), height_ratios=(3, 1), layout="constrained"
    )
    busy = np.zeros(period)
    for n, (op, cycles) in enumerate(zip(program.matrix, frame.steps, strict=True)):
        active = np.zeros(period)
        groups = np.repeat(op.drains(cfg), op.steps)
        active[np.array(cycles) - start] = groups * op.fold * cfg.drain
        busy += active
        which = layers.index(names[n])
        label = names[n] if n == names.index(names[n]) else None
        upper.stairs(active, fill=True, color=colour(which % 10), label=label)
    upper.set(ylabel="PEs busy", ylim=(0, cfg.n_pe * 1.02), xlim=(0, period))
    upper.set_title(
        f"One frame: {period} cycles, limit {program.limit * program.streams:.0f}, "
        f"utilization {schedule.utilization:.0%}"
    )
    kinds = [op.kind for op in program.cell]
    for number in range(len(schedule.frames)):
        for n, cycles in enumerate(schedule.frames[number].cells):
            inside = np.array(cycles) - start
            inside = inside[(inside >= 0) & (inside < period)]
            spans = [(cycle, 1) for cycle in inside]
            lower.broken_barh(spans, (n - 0.4, 0.8), color="tab:gray")
    labels = [f"{Kind(kind).name.lower()} {n}" for n, kind in enumerate(kinds)]
    lower.set_yticks(range(len(labels)), labels)
    lower.set(xlabel="cycle", ylabel="cells", ylim=(len(labels) - 0.5, -0.5))
    figure.legend(loc="outside lower center", ncols=min(3, len(layers)), frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    pyplot.close(figure)
