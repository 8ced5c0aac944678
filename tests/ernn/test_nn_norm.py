import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ernn.nn import BlockBatchNorm, CirculantConv2d, CirculantLinear, fold


def trained(norm: BlockBatchNorm, *shape: int) -> BlockBatchNorm:
    """A norm that has seen batches and learned something, ready for inference."""
    torch.manual_seed(0)
    norm.double()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, -2, 2)
    for _ in range(3):
        norm(torch.randn(shape, dtype=torch.float64) * 3 + 1)
    return norm.eval()


@pytest.mark.parametrize("shape", [(5, 6), (4, 6, 3, 2)])
def test_block_size_1_is_torchs(shape: tuple[int, ...]) -> None:
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(6).double()
    ours = BlockBatchNorm(6, 1).double()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    torch.manual_seed(0)
    for _ in range(3):
        x = torch.randn(shape, dtype=torch.float64) * 2 + 1
        assert_close(ours(x), theirs(x))
    assert_close(ours.state_dict(), theirs.state_dict())
    ours.eval(), theirs.eval()
    assert_close(ours(x), theirs(x))


def test_the_channels_of_a_block_share_their_variance() -> None:
    norm = BlockBatchNorm(7, 4).double()
    torch.manual_seed(1)
    x = torch.randn(64, 7, 3, 3, dtype=torch.float64) * torch.arange(1, 8)[:, None, None] + 5
    y = norm(x)
    assert_close(y.mean((0, 2, 3)), torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-12)
    variances = y.var((0, 2, 3), correction=0)
    assert_close(variances[:4].mean().item(), 1.0, rtol=1e-5, atol=0)
    assert_close(variances[4:].mean().item(), 1.0, rtol=1e-5, atol=0)
    assert variances[0] < 0.2 < 1.5 < variances[3]


def test_gradcheck() -> None:
    torch.manual_seed(2)
    norm = BlockBatchNorm(3, 2).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(("weight", "bias"), parameters, strict=True))
        return torch.func.functional_call(norm, named, x)

    assert torch.autograd.gradcheck(function, (x, *norm.parameters()))


@pytest.mark.parametrize("k", [1, 4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_what_is_folded_computes_the_same(k: int, bias: bool) -> None:
    torch.manual_seed(3)
    conv = CirculantConv2d(5, 13, 3, k, padding=1, bias=bias, dtype=torch.float64).eval()
    linear = CirculantLinear(9, 13, k, bias, dtype=torch.float64).eval()
    for layer, x in ((conv, torch.randn(2, 5, 6, 4)), (linear, torch.randn(4, 9))):
        x = x.double()
        norm = trained(BlockBatchNorm(13, k), *layer(x).shape)
        folded = fold(layer, norm)
        assert type(folded) is type(layer)
        assert not folded.training
        assert folded.weight.shape == layer.weight.shape
        assert_close(folded(x), norm(layer(x)))
        with torch.no_grad():
            dense = folded.to_dense()
        assert_close(dense(x), norm(layer(x)))


def test_what_does_not_fit_is_told() -> None:
    layer = CirculantLinear(8, 8, 4)
    for norm in (BlockBatchNorm(8, 2), BlockBatchNorm(7, 4)):
        of_norm = rf"\({norm.block_size}, {norm.num_features}\) of the norm"
        with pytest.raises(ValueError, match=rf"are \(4, 8\) of the layer, {of_norm}"):
            fold(layer, norm)
    with pytest.raises(ValueError, match="block_size is 3"):
        BlockBatchNorm(8, 3)
