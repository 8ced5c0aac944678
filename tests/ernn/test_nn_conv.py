import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ernn.nn import CirculantConv2d

GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (1, 3), "padding": (2, 0), "dilation": (1, 2)},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "bias": False},
]
CHANNELS = [(8, 16), (13, 5), (1, 1), (3, 20)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_block_size_1_is_torchs(geometry: dict) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(5, 6, (3, 2), **geometry)
    ours = CirculantConv2d(5, 6, (3, 2), 1, **geometry)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 5, 9, 8)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("channels", "out"), CHANNELS)
@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_equals_torchs_of_the_expanded_weights(
    channels: int, out: int, k: int, geometry: dict
) -> None:
    torch.manual_seed(1)
    layer = CirculantConv2d(channels, out, (3, 2), k, dtype=torch.float64, **geometry)
    dense = layer.to_dense()
    theirs = nn.Conv2d(channels, out, (3, 2), dtype=torch.float64, **geometry)
    theirs.load_state_dict(dense.state_dict(), strict=True)
    x = torch.randn(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    y, expected = layer(x), theirs(same)
    assert_close(y, expected)
    upstream = torch.randn_like(y)
    y.backward(upstream), expected.backward(upstream)
    assert_close(x.grad, same.grad)
    # a block's gradient is the sum along its diagonals: that of the dense weight, through to_dense
    of_weight = torch.autograd.grad(
        layer.matrices["weight"].to_dense(layer.weight), layer.weight, theirs.weight.grad
    )[0]
    assert_close(layer.weight.grad, of_weight)
    if layer.bias is not None:
        assert_close(layer.bias.grad, theirs.bias.grad)


@pytest.mark.parametrize("k", [1, 4])
def test_an_image_alone_is_a_batch_of_one(k: int) -> None:
    layer = CirculantConv2d(3, 5, 3, k)
    x = torch.randn(3, 7, 6)
    assert torch.equal(layer(x), layer(x[None])[0])


def test_gradcheck() -> None:
    torch.manual_seed(3)
    layer = CirculantConv2d(3, 5, (2, 1), 4, padding=1, dtype=torch.float64)
    x = torch.randn(1, 3, 3, 2, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip(("weight", "bias"), parameters, strict=True))
        return torch.func.functional_call(layer, named, x)

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_projects_a_convolution_of_torch_and_gives_it_back() -> None:
    torch.manual_seed(4)
    theirs = nn.Conv2d(11, 6, 3, stride=2, padding=1).eval()
    ours = CirculantConv2d.from_dense(theirs, 4)
    assert not ours.training
    assert ours.weight.shape == (3, 3, 2, 3, 4)
    assert (ours.stride, ours.padding) == ((2, 2), (1, 1))
    assert_close(CirculantConv2d.from_dense(ours.to_dense(), 4).state_dict(), ours.state_dict())
    pixel = CirculantConv2d.from_dense(nn.Conv2d(11, 6, 1), 4)
    linear = pixel.matrices["weight"].to_dense(pixel.weight)[..., 0, 0]
    assert linear.shape == (6, 11)


def test_what_is_not_supported_is_refused() -> None:
    with pytest.raises(ValueError, match="groups is 2; it must be 1"):
        CirculantConv2d.from_dense(nn.Conv2d(4, 4, 3, groups=2), 4)
    with pytest.raises(ValueError, match="padding_mode is 'circular'; it must be 'zeros'"):
        CirculantConv2d.from_dense(nn.Conv2d(4, 4, 3, padding_mode="circular"), 4)
    with pytest.raises(TypeError, match="cannot project a Linear"):
        CirculantConv2d.from_dense(nn.Linear(4, 4), 4)
    with pytest.raises(ValueError, match="block_size is 3"):
        CirculantConv2d(4, 4, 3, 3)


def test_no_dense_weight_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = CirculantConv2d(8, 8, 3, 4)

    def refuse(*_: object) -> None:
        raise AssertionError("the weight was expanded")

    monkeypatch.setattr("ernn.nn.base.to_dense", refuse)
    layer(torch.randn(1, 8, 5, 5)).sum().backward()
    with pytest.raises(AssertionError, match="expanded"):
        layer.dense_parameters()


def test_compression_and_products() -> None:
    layer = CirculantConv2d(20, 50, 5, block_size=8)  # 7 x 3 blocks at each of 25 pixels
    assert layer.compression == 20 * 50 / (24 * 56 / 8)
    assert layer.products == 25 * 7 * 3 * 11 + 2 * (7 + 3)
    assert layer.to_dense().products == 20 * 50 * 25
