"""Feed-forward networks in integers: against torch, pixel by pixel, and through a bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ernn import bundle
from ernn.fixed import FixedPoint, circulant_row, rfft
from ernn.nn import CirculantConv2d, CirculantLinear
from ernn.nn.norm import BlockBatchNorm
from ernn.quantize import (
    Geometry,
    IntegerConv2d,
    IntegerModel,
    IntegerPool,
    WordLengths,
    convert_sequential,
    to_frames,
)
from ernn.quantize.feedforward import Accumulator, activate, blocks

GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": (1, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "padding": 1, "dilation": 2},
    {"kernel_size": (5, 7), "stride": 3, "padding": 3},
]
IMAGE = 7, 9


def network(k: int) -> nn.Sequential:
    """Everything that is covered, with ragged channels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        CirculantConv2d(3, 10, 3, k, padding=1, bias=False),
        BlockBatchNorm(10, k),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Dropout(), CirculantConv2d(10, 6, 3, k), nn.ReLU()),
        nn.AvgPool2d((1, 2), stride=1),
        nn.Flatten(),
        CirculantLinear(6, 11, k),
        nn.ReLU(),
        CirculantLinear(11, 5, k),
    )
    model.train()
    for _ in range(20):
        model(2 * torch.randn(16, 3, 6, 8) + 1)
    return model.eval()


def integers(rng: np.random.Generator, fmt: FixedPoint, *shape: int) -> np.ndarray:
    """Draw numbers of a format, its extremes among them."""
    values = rng.integers(fmt.lowest, fmt.highest + 1, shape)
    extreme = rng.random(shape)
    values[extreme < 0.1] = fmt.lowest
    values[extreme > 0.9] = fmt.highest
    return values


@pytest.mark.parametrize("k", [1, 4, 8])
def test_integer_network_follows_the_float_network(k: int) -> None:
    model, x = network(k), torch.randn(50, 3, 6, 8)
    integer = convert_sequential(model, [x[:25], x[25:]], WordLengths(weight=16))
    with torch.no_grad():
        y = model(x).numpy()
    n = integer.run(integer.quantize(to_frames(x))[None])[0]
    assert np.abs(integer.layers[-1].output.to_float(n) - y).max() < 4e-3


@pytest.mark.parametrize("options", GEOMETRIES)
@pytest.mark.parametrize("k", [1, 4])
def test_convolution_is_that_of_torch(options: dict, k: int) -> None:
    """A float convolution with the weights that the spectra stand for; the rest is rounding."""
    torch.manual_seed(0)
    layer = CirculantConv2d(6, 10, block_size=k, **options).double()
    x = torch.randn(3, 6, *IMAGE, dtype=torch.float64)
    (integer,) = convert_sequential(nn.Sequential(layer), [x], WordLengths(20, 20, 20)).layers
    assert isinstance(integer, IntegerConv2d)
    y = integer.run(integer.input.quantize(to_frames(x)))
    expected = to_frames(layer(x))
    assert y.shape == expected.shape == (3, integer.output_size)
    assert np.abs(integer.output.to_float(y) - expected).max() < 1e-4


@pytest.mark.parametrize("options", GEOMETRIES)
def test_convolution_pixel_by_pixel(options: dict) -> None:
    """Each output pixel by itself, from the definition of a circulant row."""
    rng, k, channels, rows = np.random.default_rng(0), 4, 6, 10
    pairs = {n: (v, v) if isinstance(v, int) else v for n, v in options.items()}
    geometry = Geometry(IMAGE, pairs.pop("kernel_size"), **pairs)
    formats = FixedPoint(8, 4), FixedPoint(8, 6), FixedPoint(8, 3)
    source, weight, output = formats
    seen = geometry.kernel[0] * geometry.kernel[1]
    layer = IntegerConv2d(
        channels,
        rows,
        k,
        geometry,
        *formats,
        W=integers(rng, weight, 3, seen * 2, k),
        bias=integers(rng, output, rows),
        activation="relu",
    )
    x = integers(rng, source, *IMAGE, channels)
    y = layer.run(x.reshape(1, -1)).reshape(*geometry.output, rows)
    for r, c in np.ndindex(*geometry.output):
        columns = []
        for dr, dc in np.ndindex(*geometry.kernel):
            place = (
                r * geometry.stride[0] - geometry.padding[0] + dr * geometry.dilation[0],
                c * geometry.stride[1] - geometry.padding[1] + dc * geometry.dilation[1],
            )
            inside = all(0 <= at < size for at, size in zip(place, IMAGE, strict=True))
            columns.append(x[place] if inside else np.zeros(channels, np.int64))
        X = rfft(np.concatenate([blocks(pixel, k) for pixel in columns]))
        z = circulant_row(X, Accumulator(layer.W), 6, 4, output).reshape(-1)[:rows]
        assert np.array_equal(y[r, c], activate(z, layer.bias, "relu", output))


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), ((1, 4), (2, 1))])
@pytest.mark.parametrize("pool", ["max", "average"])
def test_pools_are_those_of_torch(kernel, stride, pool: str) -> None:
    pair = (kernel, kernel) if isinstance(kernel, int) else kernel
    geometry = Geometry(IMAGE, pair, (stride, stride) if isinstance(stride, int) else stride)
    fmt = FixedPoint(8, 4)
    if pool == "average" and pair == (3, 3):
        with pytest.raises(ValueError, match="window of 9 pixels: a mean must be of a power"):
            IntegerPool(5, 4, geometry, fmt, pool)
        return
    layer = IntegerPool(5, 4, geometry, fmt, pool)
    x = integers(np.random.default_rng(0), fmt, 3, *IMAGE, 5)
    image = torch.from_numpy(x).double().permute(0, 3, 1, 2)
    if pool == "max":
        y = functional.max_pool2d(image, kernel, stride)
    else:
        y = (functional.avg_pool2d(image, kernel, stride) + 0.5).floor()
    assert np.array_equal(layer.run(x.reshape(3, -1)), to_frames(y))


@pytest.mark.parametrize("k", [1, 4])
def test_bundle_gives_the_same_network_back(k: int, tmp_path: Path) -> None:
    x = torch.randn(4, 3, 6, 8)
    integer = convert_sequential(network(k), [x])
    bundle.save(integer, tmp_path / "bundle")
    back = bundle.load(tmp_path / "bundle")
    n = integer.quantize(to_frames(x))[None]
    assert np.array_equal(back.run(n), integer.run(n))
    for layer, other in zip(integer.layers, back.layers, strict=True):
        assert type(layer) is type(other)
        assert getattr(layer, "geometry", None) == getattr(other, "geometry", None)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "no layer or no input"),
        ([CirculantConv2d(3, 4, 3, 4), nn.Sigmoid()], "1: Sigmoid.. is not covered there"),
        ([nn.ReLU()], "0: ReLU.. is not covered there"),
        ([CirculantConv2d(3, 4, 3, 4), nn.ReLU(), BlockBatchNorm(4, 4)], "behind a ReLU"),
        ([nn.Flatten(), CirculantLinear(144, 4, 4)], "images of 6 x 8 pixels: make it a Circ"),
        ([nn.MaxPool2d(2, padding=1)], "padding is 1; it must be 0"),
        ([nn.AvgPool2d(2, ceil_mode=True)], "ceil_mode is True; it must be False"),
        ([CirculantConv2d(3, 4, 3, 4, padding="same")], "give padding by numbers"),
        (
            [CirculantConv2d(3, 4, (6, 8), 4), nn.Flatten(), nn.Linear(4, 2), nn.MaxPool2d(2)],
            "foll",
        ),
    ],
)
def test_what_is_not_covered_is_refused(layers: list[nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_sequential(nn.Sequential(*layers), [torch.randn(2, 3, 6, 8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": (0, 1)}, r"kernel \(0, 1\): must be two numbers of 1 or more"),
        ({"kernel": (2, 2), "padding": (-1, 0)}, r"padding \(-1, 0\): must be two numbers of 0"),
        ({"kernel": (8, 2)}, "no window of .* fits in"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(IMAGE, **options)


def test_layers_that_do_not_meet_are_refused() -> None:
    fmt = FixedPoint(8, 4)
    pools = [IntegerPool(n, 4, Geometry(IMAGE, (1, 1)), fmt) for n in (3, 4)]
    with pytest.raises(ValueError, match=r"layer 0 gives 189 values .* layer 1 takes 252"):
        IntegerModel(tuple(pools))
