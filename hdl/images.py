"""Convolutions and pools on a core: the windows and the pools of a layer's operations."""

from collections.abc import Iterator, Sequence

import numpy as np

from ernn.fixed import Integers
from ernn.quantize.feedforward import Geometry, IntegerConv2d, IntegerPool
from ernn.quantize.integer import IntegerLayer
from hdl.config import CoreConfig
from hdl.layout import Layout
from hdl.program import WINDOW_BITS, Pooling, Segment, Source, Windows, align


def output_layout(blocks: int, size: tuple[int, int], cfg: CoreConfig) -> Layout:
    """An image that the cells give."""
    (height, width), pixel = size, -(-blocks // cfg.slices) * cfg.slices
    return Layout(height, width, pixel, align(width * pixel, cfg))


def margin(layers: Sequence[IntegerLayer], cfg: CoreConfig) -> int:
    """Columns that must be before an image, so that no window begins before the first one."""
    convolutions = [layer for layer in layers[1:] if isinstance(layer, IntegerConv2d)]
    return max(
        (
            layer.geometry.padding[1]
            * output_layout(-(-layer.in_channels // cfg.block_size), (1, 1), cfg).pixel
            for layer in convolutions
        ),
        default=0,
    )


def with_pools(
    layers: Sequence[IntegerLayer],
) -> Iterator[tuple[IntegerLayer, IntegerPool | None]]:
    """The layers but the pools, each with the pool behind it.

    Raises:
        ValueError: a pool is not behind a convolution.
    """
    before: IntegerLayer | None = None
    for n, layer in enumerate(layers):
        if isinstance(layer, IntegerPool):
            if not isinstance(before, IntegerConv2d):
                raise ValueError(f"layer {n} (pool): it must be behind a convolution")
            yield before, layer
            before = None
            continue
        if before is not None:
            yield before, None
        before = layer
    if before is not None:
        yield before, None


def check(what: str, layer: IntegerConv2d | IntegerPool) -> None:
    """Raise ValueError unless there is a core that runs the layer."""
    geometry, most = layer.geometry, 1 << WINDOW_BITS
    if max(geometry.kernel) > most:
        raise ValueError(f"{what}: window {geometry.kernel}; the core has {most} x {most}")
    if geometry.dilation[1] > 1 and geometry.kernel[1] > 1:
        raise ValueError(f"{what}: dilation {geometry.dilation}; the core has 1 along a row")
    rows = geometry.places()[0] - geometry.padding[0]
    if not ((rows >= 0) & (rows < geometry.image[0])).any(1).all():
        raise ValueError(
            f"{what}: padding {geometry.padding}: a window is above or below the image"
        )


def lines(layer: IntegerConv2d, layout: Layout) -> Integers:
    """Spectra (p, kernel height, columns of a line, k) for pixels of that many columns."""
    height, width = layer.geometry.kernel
    W = layer.W.reshape(len(layer.W), height, width, -1, layer.block_size)
    missing = layout.pixel - W.shape[3]
    W = np.pad(W, [(0, 0)] * 3 + [(0, missing), (0, 0)])
    return W.reshape(len(W), height, -1, layer.block_size)


def window_rows(
    geometry: Geometry, layout: Layout, base: int, source: Source
) -> Iterator[tuple[Segment, Windows, int]]:
    """For each row of results the first window's first line, its windows, and lines left out above.

    ``Windows.skip`` counts lines.
    """
    height, width = geometry.output
    for y in range(height):
        top = y * geometry.stride[0] - geometry.padding[0]
        rows = [top + n * geometry.dilation[0] for n in range(geometry.kernel[0])]
        inside = [row for row in rows if 0 <= row < layout.height]
        first = base + inside[0] * layout.row
        left = first - geometry.padding[1] * layout.pixel
        windows = Windows(
            lines=len(inside),
            pitch=geometry.dilation[0] * layout.row if len(inside) > 1 else 0,
            pixels=width,
            advance=geometry.stride[1] * layout.pixel if width > 1 else 0,
            edges=(first, first + layout.width * layout.pixel - 1),
            skip=len(rows) - len(inside),
        )
        yield (
            Segment(left, geometry.kernel[1] * layout.pixel, source),
            windows,
            rows.index(inside[0]),
        )


def pooling(geometry: Geometry, pool: IntegerPool | None, size: int) -> Pooling:
    """What is done with each row of a layer's results; ``size`` row groups a pixel."""
    if pool is None:
        pixels = geometry.output[1]
        return Pooling(pixels=pixels, size=size, advance=size if pixels > 1 else 0)
    (down, across), (_, pixels) = pool.geometry.kernel, pool.geometry.output
    return Pooling(
        across=across,
        down=down,
        average=pool.pool == "average",
        pixels=pixels,
        size=size,
        pitch=geometry.output[1] * size if down > 1 else 0,
        advance=pool.geometry.stride[1] * size if pixels > 1 else 0,
    )
