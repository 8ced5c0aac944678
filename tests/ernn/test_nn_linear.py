import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ernn.nn import CirculantLinear

SIZES = [(8, 16), (13, 5), (1, 1), (5, 40)]


@pytest.mark.parametrize(("columns", "out"), SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_block_size_1_is_torchs(columns: int, out: int, bias: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.Linear(columns, out, bias)
    ours = CirculantLinear(columns, out, 1, bias)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(3, 2, columns)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("columns", "out"), SIZES)
@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_its_dense_form(columns: int, out: int, k: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer = CirculantLinear(columns, out, k, bias, dtype=torch.float64)
    dense = layer.to_dense()
    x = torch.randn(7, columns, dtype=torch.float64)
    assert dense.weight.shape == (out, columns)
    assert_close(layer(x), nn.functional.linear(x, dense.weight, dense.bias))
    again = CirculantLinear.from_dense(dense, k)
    assert_close(again.state_dict(), layer.state_dict())


def test_projects_a_linear_of_torch() -> None:
    torch.manual_seed(2)
    theirs = nn.Linear(11, 6).eval()
    ours = CirculantLinear.from_dense(theirs, 4)
    assert not ours.training
    assert ours.weight.shape == (2, 3, 4)
    assert torch.equal(ours.bias, theirs.bias)
    with pytest.raises(TypeError, match=r"cannot project a ReLU; it must be .*CirculantLinear or"):
        CirculantLinear.from_dense(nn.ReLU(), 4)


def test_gradcheck() -> None:
    torch.manual_seed(3)
    layer = CirculantLinear(6, 7, 4, dtype=torch.float64)
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip(("weight", "bias"), parameters, strict=True))
        return torch.func.functional_call(layer, named, x)

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_dense_form_starts_with_the_variance_of_torch() -> None:
    torch.manual_seed(4)
    theirs = nn.Linear(512, 512).weight.detach()
    ours = CirculantLinear(512, 512, 8).to_dense().weight.detach()
    assert float(ours.std() / theirs.std()) == pytest.approx(1, rel=0.02)
    assert ours.abs().max() <= 512**-0.5


def test_compression() -> None:
    layer = CirculantLinear(153, 512, 8)
    assert layer.compression == 8 * 153 / 160
    assert layer.to_dense().compression == 1


def test_products_are_those_of_ffts_spectra_and_inverse_ffts() -> None:
    layer = CirculantLinear(153, 60, block_size=8)  # 8 x 20 blocks
    assert layer.products == 8 * 20 * 11 + 2 * (8 + 20)
    assert CirculantLinear(16, 8, block_size=4).products == 2 * 4 * 5
    assert layer.to_dense().products == 60 * 153
