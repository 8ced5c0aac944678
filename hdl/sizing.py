"""How large a core is, before it is synthesized, and which core to take for a device.

The resources are an estimate. DSPs are exact. Memories follow from words and bits. LUTs and
flip-flops are formulas of what the blocks do, with coefficients fitted to Yosys' results for small
cores: tests hold them on other cores to 5 % for Xilinx (``synth_xilinx``) and to 25 % for ECP5
(``synth_ecp5``), where the cells' LUTs depend on the formats too.

Source of the search: E-RNN (Li et al., HPCA 2019), Phase II.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from ernn.fixed import TWIDDLE_FRACTION, fft_products, spectral_products
from ernn.quantize.integer import IntegerModel
from hdl.accelerator import input_depth
from hdl.compiler import compile_model, configure
from hdl.config import BLOCK_SIZES, GATES, PEEPHOLES, CoreConfig, address_bits, covering
from hdl.devices import ECP5, Device, Family
from hdl.pe import GATHER_INPUTS, OTHER_UNITS
from hdl.program import (
    POOL_BITS,
    Program,
    block_products,
    cell_fields,
    load_data_bits,
    matrix_fields,
)
from hdl.schedule import Schedule, latency
from hdl.synth import Resources

LSTM_PRODUCTS, PEEPHOLE_PRODUCTS, GRU_PRODUCTS = 8, 3, 5
"""Multiplications of a cell: of the activations, which are piece-wise linear, and of the cell."""

FILL = {"dsp": 1.0, "lut": 0.8, "bram36": 1.0}
"""The share of a device that a design may take; fuller of LUTs, it is hardly routed."""


BLOCK_BITS, BLOCK_WIDTHS = 18 * 1024, (9, 18, 36)
"""Bits of half a block RAM, and of its words."""

# ---------------------------------------------------------------------------------------- memories


@dataclass(frozen=True)
class Memory:
    """Equal memories of a core.

    Attributes:
        name: what is in them.
        count: how many.
        width: bits of a word.
        depth: words.
    """

    name: str
    count: int
    width: int
    depth: int

    def mapped(self, family: Family) -> Resources:
        """What all of them take: block RAMs, or LUTs where Yosys finds those cheaper."""
        halves = min(
            _tiles(self.width, width) * _tiles(self.depth, BLOCK_BITS // width)
            for width in BLOCK_WIDTHS
        )
        if family.vendor == "lattice":
            cells = _tiles(self.width, 4) * _tiles(self.depth, 16)
            luts, cost, block_cost = 6 * cells, 4 * cells, 128
        else:
            cells = _tiles(self.width, 3) * _tiles(self.depth, 64)
            if self.depth <= 32:
                cells = _tiles(self.width, 6)
            luts, cost, block_cost = 4 * cells, 8 * cells, 129
        if cost < block_cost * halves:
            return Resources(lut=luts, lutram=luts) * self.count
        return Resources(bram36=halves / 2) * self.count


def _tiles(length: int, of: int) -> int:
    return -(-length // of)


def slots(cfg: CoreConfig) -> int:
    """Pre-activations of a cell that its lanes take: one where all lanes are linear."""
    return GATES if cfg.cells else 1


def memories(cfg: CoreConfig) -> list[Memory]:
    """All memories of an accelerator."""
    k, W = cfg.block_size, cfg.slices
    column_words = 2 << max(1, address_bits(cfg.column_depth) - (W.bit_length() - 1))
    found = [
        Memory("weights", cfg.n_pe, k * cfg.weight, cfg.weight_depth),
        Memory("spectra", cfg.fold * W, cfg.operand_bits, column_words),
        Memory("rows", cfg.drain, cfg.row_bits, 2 << address_bits(cfg.row_depth)),
        Memory("biases", slots(cfg) * W, cfg.row_bits, cfg.cell_depth),
    ]
    if "peephole" in cfg.cells:
        found.append(Memory("peepholes", PEEPHOLES * W, k * cfg.weight, cfg.cell_depth))
    if cfg.cells:
        found.append(Memory("states", W, k * cfg.state_length, cfg.cell_depth))
    output = W * cfg.row_bits + address_bits(W) + 1
    found += [
        Memory("input frames", 1, cfg.block_bits + 2, input_depth(cfg)),
        Memory("output queue", 1, output, cfg.fifo_depth),
        Memory("matrix program", 1, sum(matrix_fields(cfg).values()), cfg.program_depth),
        Memory("cell program", 1, sum(cell_fields(cfg).values()), cfg.program_depth),
    ]
    return found


# ------------------------------------------------------------------------------------------- logic


@dataclass(frozen=True)
class Estimate:
    """Estimated resources of an accelerator.

    Attributes:
        modules: name -> (instances, resources of one without the modules that are in it).
    """

    modules: dict[str, tuple[int, Resources]]

    @property
    def total(self) -> Resources:
        """Of the whole accelerator."""
        return sum((one * count for count, one in self.modules.values()), Resources())


def estimate(cfg: CoreConfig, family: Family) -> Estimate:
    """Estimate what Yosys makes of a core's accelerator, module by module."""
    k, W, cells = cfg.block_size, cfg.slices, cfg.cells
    pairs, width = k // 2 - 1, cfg.row_length
    weights, *others = memories(cfg)
    stored = [(memory, memory.mapped(family)) for memory in others]
    products = cfg.products * multipliers(cfg.input_spectrum_length, cfg.weight + 1, family)
    pe = replace(weights, count=1).mapped(family) + Resources(
        dsp=products,
        lut=pairs * (cfg.weight + 1),
        ff=cfg.sums_bits + 2 * pairs * cfg.weight + 4,
    )
    load = k * cfg.weight + address_bits(cfg.n_pe + OTHER_UNITS)
    bus = cfg.fold * (cfg.operand_bits + 1) + 2 * address_bits(cfg.weight_depth) + 4
    modules = {
        "pe": (cfg.n_pe, pe),
        "pe_group": (cfg.groups, Resources(lut=15, ff=load + bus)),
        "row": (cfg.drain, _row(cfg, family)),
        "rfft": (W, _rfft(cfg, family)),
        "linear_lane": (W * k, Resources(lut=7 * width, ff=5 * width)),
    }
    if cfg.images:
        length = width + POOL_BITS
        modules["pool_lane"] = W * k, Resources(lut=round(5.4 * length), ff=length)
    if "lstm" in cells:
        modules["lstm_lane"] = W * k, _lstm_lane(cfg)
    if "gru" in cells:
        modules["gru_lane"] = W * k, _gru_lane(cfg)
    modules["accelerator"] = 1, sum((r for _, r in stored), _rest(cfg, stored))
    if family.vendor == "lattice":
        modules = {name: (n, _lattice(name, one, cfg)) for name, (n, one) in modules.items()}
    return Estimate(modules)


LATTICE = {
    **{"pe_group": (3.0, 1.0), "row": (1.3, 1.5), "rfft": (1.1, 2.2), "linear_lane": (2.8, 1.0)},
    "pool_lane": (1.7, 1.0),
    "accelerator": (1.85, 1.3),
}
"""LUTs of four inputs for one of six, and flip-flops where Xilinx has shift registers."""
LATTICE_LANES = {
    "lstm_lane": (2.2, {4: (1.45, 0), 8: (1.65, 0), 16: (1.85, 0), 32: (2.15, 0.5), 64: (1.3, 3)}),
    "gru_lane": (2.15, {4: (1.3, 0), 8: (1.5, 0), 16: (1.65, 0), 32: (2.1, 0), 64: (1.4, 1.5)}),
}
"""Flip-flops as above; by segments LUTs as above, and block RAMs of tables."""


def _lattice(name: str, one: Resources, cfg: CoreConfig) -> Resources:
    """The same module in ECP5, whose DSPs neither add up nor take a word of more than 18 bits."""
    if name == "pe":
        weight, word = cfg.weight + 1, cfg.input_spectrum_length
        lut = 2 * cfg.sums_bits + 6 * (cfg.block_size // 2 - 1) * weight
        lut += (5 * cfg.products * weight // 2) * (word > ECP5.multiplier[0])
        ff = 2 * (cfg.sums_bits + cfg.products * (word + weight) + cfg.block_size * cfg.weight)
        return replace(one, lut=one.lutram + lut, ff=ff)
    if name in LATTICE_LANES:
        ffs, by_segments = LATTICE_LANES[name]
        luts, bram36 = by_segments[cfg.segments]
    else:
        (luts, ffs), bram36 = LATTICE[name], one.bram36
    lut = one.lutram + round(luts * (one.lut - one.lutram))
    return replace(one, lut=lut, ff=round(ffs * one.ff), bram36=bram36)


ROW_LUT = {4: 2.86, 8: 5.5, 16: 7.1, 32: 8.7}
"""LUTs of a row's end for each bit of its spectrum, without the adders of the sums."""
ROW_FF = {4: 2.46, 8: 3.1, 16: 3.74, 32: 6.0}
RFFT_LUT, RFFT_FF = {4: 1.8, 8: 4.2, 16: 6.0, 32: 7.8}, {4: 2.2, 8: 2.15, 16: 2.9, 32: 3.6}
"""LUTs and flip-flops of an FFT for each bit of its block."""
LSTM_LUT = {4: 39, 8: 36, 16: 37, 32: 43, 64: 73}
GRU_LUT = {4: 32, 8: 29, 16: 29, 32: 29, 64: 42}
"""LUTs of a lane for each bit of its words by segments: a table of more than 64 words is costly."""


def _row(cfg: CoreConfig, family: Family) -> Resources:
    """Combining, rounding and the inverse FFT of a row."""
    k, length = cfg.block_size, cfg.block_size * cfg.spectrum_length
    sums = k * cfg.accumulator_length
    shifts = (cfg.accumulator_shift.high - cfg.accumulator_shift.low).bit_length()
    lut = round(ROW_LUT[k] * length) + sums * (1 + (cfg.fold > 1)) + length * shifts
    twiddle = multipliers(cfg.spectrum_length + 1, TWIDDLE_FRACTION + 1, family)
    dsp = fft_products(k) * twiddle
    return Resources(dsp=dsp, lut=lut, ff=sums + length + round(ROW_FF[k] * length))


def _rfft(cfg: CoreConfig, family: Family) -> Resources:
    k, length = cfg.block_size, cfg.block_bits
    twiddle = multipliers(cfg.input_spectrum_length, TWIDDLE_FRACTION + 1, family)
    dsp = fft_products(k) * twiddle
    return Resources(dsp=dsp, lut=round(RFFT_LUT[k] * length), ff=round(RFFT_FF[k] * length))


def _lstm_lane(cfg: CoreConfig) -> Resources:
    width, lut = max(cfg.row_length, cfg.cell), LSTM_LUT[cfg.segments]
    if "peephole" in cfg.cells:
        dsp = LSTM_PRODUCTS + PEEPHOLE_PRODUCTS
        return Resources(dsp=dsp, lut=(lut + 3) * width, ff=34 * width)
    return Resources(dsp=LSTM_PRODUCTS, lut=lut * width, ff=31 * width)


def _gru_lane(cfg: CoreConfig) -> Resources:
    lut = GRU_LUT[cfg.segments] * cfg.row_length
    return Resources(dsp=GRU_PRODUCTS, lut=lut, ff=32 * cfg.row_length)


def _rest(cfg: CoreConfig, stored: Iterable[tuple[Memory, Resources]]) -> Resources:
    """What is between the modules: gathering, choosing, sequencers, streams and the loader."""
    W, G, kinds = cfg.slices, cfg.groups, bool(cfg.cells)  # of lanes more kinds than one
    total = cfg.drain * cfg.sums_bits
    stages = 0 if G == 1 else 1 if G <= GATHER_INPUTS else _tiles(G, GATHER_INPUTS) + 1
    lut = total * _tiles(G - 1, 5) + slots(cfg) * W * cfg.row_bits + 4 * W * cfg.block_bits + 610
    lut += (W * cfg.block_bits + 190) * kinds
    lut += cfg.fold * cfg.operand_bits * (W > 1) + 260 * cfg.images
    ff = total * stages + slots(cfg) * W * cfg.row_bits + (cfg.fold + W) * cfg.operand_bits
    ff += W * (cfg.block_bits + cfg.row_bits) + 3 * load_data_bits(cfg)
    ff += cfg.block_size * cfg.weight + 550 + 300 * kinds + 270 * cfg.images
    for memory, resources in stored:  # the registers behind them
        registers = memory.name in ("biases", "peepholes", "states")
        ff += memory.count * memory.width * (registers + (resources.lut > 0))
    return Resources(lut=lut, ff=ff)


def multipliers(first: int, second: int, family: Family) -> int:
    """DSPs of a signed product of factors of these lengths; what sticks out by a bit is in LUTs."""
    lengths, limits = sorted((first, second)), sorted(family.multiplier)
    parts = [
        1 + _tiles(max(0, length - limit - 1), limit - 1)
        for length, limit in zip(lengths, limits, strict=True)
    ]
    return parts[0] * parts[1]


# ------------------------------------------------------------------------------------------ choice


class NoRoomError(ValueError):
    """A device has no room for a model, or none that is fast enough."""


@dataclass(frozen=True, eq=False)
class Design:
    """Programs on their core, and what they come to.

    Attributes:
        programs: with the core's configuration: one for a network, for both directions several.
        resources: estimated.
        latency: cycles of a frame: of a lone one; of several programs from frame to frame, their
            sum, without their loading.
    """

    programs: tuple[Program, ...]
    resources: Resources
    latency: int

    @property
    def program(self) -> Program:
        """The first of them."""
        return self.programs[0]

    @property
    def cfg(self) -> CoreConfig:
        """The core."""
        return self.program.cfg

    @property
    def text(self) -> str:
        """Its size in words."""
        return f"{self.cfg.n_pe} PEs (W = {self.cfg.slices}, F = {self.cfg.fold})"


def design(
    models: Sequence[IntegerModel], family: Family, n_pe: int, slices: int, fold: int, streams: int
) -> Design:
    """The smallest core of this size that runs all models.

    Raises:
        ValueError: no core runs them.
    """
    sized = [configure(m, n_pe, slices=slices, fold=fold, streams=streams) for m in models]
    cfg = covering(sized)
    programs = tuple(compile_model(model, cfg, streams) for model in models)
    lone = len(programs) == 1
    cycles = latency(programs[0]) if lone else sum(Schedule(p).period for p in programs)
    return Design(programs, estimate(cfg, family).total, cycles)


def overuse(resources: Resources, device: Device) -> tuple[float, str]:
    """How many times what may be filled of a device a design needs, and of which resource."""
    return max(
        (getattr(resources, name) / (share * getattr(device, name)), name)
        for name, share in FILL.items()
    )


def shortage(found: Design, device: Device) -> str:
    """What a design that does not fit lacks, in words."""
    times, name = overuse(found.resources, device)
    needs, holds = getattr(found.resources, name), getattr(device, name)
    kept = "" if FILL[name] == 1 else f", to be filled to {FILL[name]:.0%}"
    what = f"{found.text} need {needs:,g} {name.upper()}"
    return f"{what}, {times:.2f} times what it has ({holds:,g}{kept})"


def sizes(device: Device, block_size: int) -> Iterator[tuple[int, int, int]]:
    """R, W and F to try, the fewest PEs first: R with four significant bits at most."""
    products = spectral_products(block_size)
    for n_pe in sorted({m << n for m in range(1, 16) for n in range(2, 12)}):
        if n_pe * products > device.dsp:
            return
        for slices in (1, 2, 4):
            for fold in (1, 2, 4):
                if n_pe % (GATES * slices * fold) == 0:
                    yield n_pe, slices, fold


def smallest(
    models: Sequence[IntegerModel], device: Device, cycles: float, streams: int = 1
) -> Design | None:
    """The design of the fewest DSPs, and then LUTs, whose latency is no longer, if there is one."""
    products, best = sum(map(block_products, models)), None
    for n_pe, slices, fold in sizes(device, models[0].layers[0].block_size):
        if products / n_pe > cycles:
            continue
        if best is not None and n_pe > best.cfg.n_pe:
            return best
        found = design(models, device.family, n_pe, slices, fold, streams)
        if found.latency > cycles or overuse(found.resources, device)[0] > 1:
            continue
        if best is None or _cost(found) < _cost(best):
            best = found
    return best


def fastest(models: Sequence[IntegerModel], device: Device, streams: int = 1) -> Design | None:
    """The design of the shortest latency that fits, of equal ones the smallest, if one fits."""
    products, best = sum(map(block_products, models)), None
    for n_pe, slices, fold in reversed(list(sizes(device, models[0].layers[0].block_size))):
        if best is not None and products / n_pe > best.latency:
            return best
        found = design(models, device.family, n_pe, slices, fold, streams)
        if overuse(found.resources, device)[0] > 1:
            continue
        if best is None or (found.latency, _cost(found)) < (best.latency, _cost(best)):
            best = found
    return best


def _cost(found: Design) -> tuple[int, int]:
    return found.resources.dsp, found.resources.lut


def choose(
    models: Sequence[IntegerModel],
    device: Device,
    clock: float,
    *,
    n_pe: int | None = None,
    target_us: float | None = None,
    streams: int = 1,
) -> Design:
    """The design to build.

    Args:
        models: what it runs, one program after another.
        device: where it must fit by the estimate.
        clock: MHz.
        n_pe: R, else as many as it takes.
        target_us: latency of a frame, as :class:`Design` has it, that is to be met by the smallest
            design; else the fastest is taken.
        streams: interleaved streams.

    Raises:
        NoRoomError: by how much, and with which block size it would.
        ValueError: no core runs the models.
    """
    if n_pe is not None:
        return _of_size(models, device, n_pe, streams)
    if target_us is not None:
        found = smallest(models, device, target_us * clock, streams)
        if found is not None:
            return found
    found = fastest(models, device, streams)
    if found is None:
        few = [(GATES, 1, 1), *islice(sizes(device, models[0].layers[0].block_size), 12)]
        least = min(
            (design(models, device.family, *size, streams) for size in few),
            key=lambda found: overuse(found.resources, device),
        )
        raise NoRoomError(
            f"{device.name}: the model does not fit: at least {shortage(least, device)}; "
            + _other_block_sizes(models, device, streams, None)
        )
    if target_us is None:
        return found
    takes = found.latency / clock
    raise NoRoomError(
        f"{device.name}: no core takes {target_us:g} us at {clock:g} MHz: the fastest that fits, "
        f"{found.text}, takes {takes:.2f} us, {takes / target_us:.2f} times as long; "
        + _other_block_sizes(models, device, streams, target_us * clock)
    )


def _of_size(models: Sequence[IntegerModel], device: Device, n_pe: int, streams: int) -> Design:
    """The fastest design of that many PEs that fits."""
    steps = [(w, f) for w in (1, 2, 4) for f in (1, 2, 4) if n_pe % (GATES * w * f) == 0]
    if n_pe < GATES or not steps:
        raise ValueError(f"n_pe {n_pe}: must be a multiple of {GATES}")
    designs = [design(models, device.family, n_pe, w, f, streams) for w, f in steps]
    fitting = [found for found in designs if overuse(found.resources, device)[0] <= 1]
    if fitting:
        return min(fitting, key=lambda found: (found.latency, _cost(found)))
    least = min(designs, key=lambda found: overuse(found.resources, device))
    largest = fastest(models, device, streams)
    hint = _other_block_sizes(models, device, streams, None)
    if largest is not None:
        hint = f"{largest.text} would be the fastest that fits"
    raise NoRoomError(f"{device.name}: {shortage(least, device)}; {hint}")


def _other_block_sizes(
    models: Sequence[IntegerModel], device: Device, streams: int, cycles: float | None
) -> str:
    """With which block size the same layers would fit (and take so few cycles), in words."""
    now = models[0].layers[0].block_size
    others = [k for k in BLOCK_SIZES if k > now] + [k for k in reversed(BLOCK_SIZES) if k < now]
    for block_size in others:
        other = [resized(model, block_size) for model in models]
        if cycles is None:
            found = fastest(other, device, streams)
        else:
            found = smallest(other, device, cycles, streams)
        if found is not None:
            return f"block size {block_size} would, with {found.text}"
    return "no other block size would"


def resized(model: IntegerModel, block_size: int) -> IntegerModel:
    """The same layers with another block size; their weights are zeros."""
    layers = []
    for layer in model.layers:
        shapes = copy(layer)
        object.__setattr__(shapes, "block_size", block_size)
        zeros: dict[str, Any] = {
            name: np.zeros(shape, np.int64) for name, (shape, _) in shapes.tensors().items()
        }
        layers.append(replace(layer, block_size=block_size, **zeros))
    return IntegerModel(tuple(layers))
