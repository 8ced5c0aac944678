from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ernn.compress import ADMM, BlockCirculant, apply, circulant_sets, sizes, summary, to_dense
from ernn.nn import GRU, LSTM, CirculantConv2d, CirculantLinear


class Network(nn.Module):
    """Every kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3))
        self.rnn = nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True)
        self.top = nn.GRU(32, 8, batch_first=True)
        self.output = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean(2).transpose(1, 2)  # (N, width, 12)
        return self.output(self.top(self.rnn(x)[0])[0])


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network().double()


X = torch.randn(2, 1, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_layers_become_block_circulant_by_the_patterns_of_their_names(network: Network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rules = {"features.0": 1, "features.*": 4, "rnn": {"input": 8, "recurrent": 4}, "[to]*": 2}
    compressed = apply(network, rules)
    assert type(compressed.features[0]) is nn.Conv2d
    assert isinstance(compressed.features[2], CirculantConv2d)
    assert isinstance(compressed.rnn, LSTM)
    assert isinstance(compressed.top, GRU)
    assert isinstance(compressed.output, CirculantLinear)
    assert [m.block_size for m in (compressed.features[2], compressed.top, compressed.output)] == [
        4,
        2,
        2,
    ]
    assert compressed.rnn.block_size == rules["rnn"]
    assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert (compressed(X) - network(X)).abs().max() > 1e-3


def test_what_is_given_back_is_torchs_and_computes_the_same(network: Network) -> None:
    compressed = apply(network, {"*": 4}).eval()
    dense = to_dense(compressed)
    assert [type(m) for m in dense.modules()] == [type(m) for m in network.modules()]
    assert not any(m.training for m in dense.modules())
    assert_close(dense(X), compressed(X))
    network.load_state_dict(dense.state_dict(), strict=True)
    again = apply(dense, {"*": 4})
    assert_close(again.state_dict(), compressed.state_dict())


def test_a_model_that_is_in_the_sets_is_not_changed(network: Network) -> None:
    rules = {"features.0": 1, "rnn": {"input": 8, "recurrent": 4}, "*": 4}
    sets = circulant_sets(network, rules)
    assert "features.0.weight" not in sets
    assert sets["rnn.weight_ih_l1_reverse"] == BlockCirculant(8, gates=4)
    assert sets["top.weight_hh_l0"] == BlockCirculant(4, gates=3)
    assert sets["features.2.weight"] == sets["output.weight"] == BlockCirculant(4)
    projected = apply(network, rules)
    ADMM(network, sets, rho=1.0).project_()
    assert_close(apply(network, rules)(X), projected(X))
    assert_close(network(X), projected(X))


def test_a_layer_alone_is_a_model() -> None:
    layer = nn.Linear(8, 8)
    compressed = apply(layer, {"": 4})
    assert isinstance(compressed, CirculantLinear)
    assert type(to_dense(compressed)) is nn.Linear


@pytest.mark.parametrize(
    "layer",
    [
        LSTM(4, 8, block_size=4, peephole=True),
        LSTM(4, 8, block_size=4, activation="pwl"),
        GRU(4, 8, block_size=4),
    ],
)
def test_what_torch_does_not_have_stays_ours(layer: nn.Module) -> None:
    dense = to_dense(nn.Sequential(layer))[0]
    assert type(dense) is type(layer)
    assert dense.block_size == 1
    x = torch.randn(3, 2, 4)
    assert_close(dense(x)[0], layer(x)[0])


def test_classes_derived_from_torchs_stay() -> None:
    attention = nn.MultiheadAttention(8, 2)  # reads the weight of its layer by itself
    model = nn.Sequential(attention, nn.Linear(8, 8))
    compressed = apply(model, {"*": 4})
    assert type(compressed[0].out_proj) is type(attention.out_proj)
    assert isinstance(compressed[1], CirculantLinear)


def test_what_cannot_be_is_told(network: Network) -> None:
    with pytest.raises(ValueError, match=r"pattern 'head' fits no layer; there are: features\.0, "):
        apply(network, {"*": 4, "head": 2})
    with pytest.raises(ValueError, match=r"layer 'features\.2': block_size is 3"):
        apply(network, {"features.2": 3})
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    with pytest.raises(ValueError, match="layer '0': groups is 4; it must be 1"):
        apply(grouped, {"*": 4})
    with pytest.raises(ValueError, match="layer '0': groups is 4; it must be 1"):
        circulant_sets(grouped, {"*": 4})
    with pytest.raises(ValueError, match="fits no layer; there are: none"):
        apply(nn.ReLU(), {"*": 4})


def test_sizes_are_those_of_a_run(network: Network) -> None:
    dense = {row.name: row for row in sizes(network, X)}
    assert dense["features.0"].multiplications == 2 * 7 * 6 * 9 * 8
    assert dense["features.2"].multiplications == 2 * 5 * 4 * 9 * 8 * 12
    frames = 2 * 4
    assert dense["rnn"].multiplications == frames * 2 * 4 * 16 * (12 + 16 + 32 + 16)
    assert dense["top"].multiplications == frames * 3 * 8 * (32 + 8)
    assert dense["output"].multiplications == frames * 8 * 5
    for name, module in network.named_modules():
        if name in dense:
            assert dense[name].parameters == sum(p.numel() for p in module.parameters())
            assert dense[name].bytes == 8 * dense[name].parameters
    compressed = {row.name: row for row in sizes(apply(network, {"*": 4}), X)}
    assert compressed["output"].multiplications == frames * (2 * 2 * 5)
    assert compressed["features.2"].parameters == 9 * 2 * 3 * 4 + 12
    assert compressed["rnn"].shape == dense["rnn"].shape


def test_a_dense_layer_of_ours_has_the_sizes_of_torchs(network: Network) -> None:
    ours = nn.Sequential(
        CirculantConv2d.from_dense(network.features[2], 1),
        LSTM.from_dense(network.rnn, 1),
        GRU.from_dense(network.top, 1),
        CirculantLinear.from_dense(network.output, 1),
    )
    theirs = [row for row in sizes(network) if row.name != "features.0"]
    for mine, row in zip(sizes(ours), theirs, strict=True):
        assert replace(mine, name=row.name, kind=row.kind) == row


def test_sizes_leave_the_model_as_it_is(network: Network) -> None:
    network.rnn.eval()
    modes = [module.training for module in network.modules()]
    sizes(network, X)
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())


def test_without_inputs_sizes_are_those_of_one_position(network: Network) -> None:
    rows = {row.name: row.multiplications for row in sizes(apply(network, {"features.2": 4}))}
    assert rows["output"] == 40
    assert rows["features.2"] == 9 * 2 * 3 * 5


def test_summary_has_a_line_a_layer_and_their_sums(network: Network) -> None:
    compressed = apply(network, {"features.2": 4, "rnn": {"input": 8, "recurrent": 4}})
    text = summary(sizes(compressed, X)).splitlines()
    assert len(text) == 2 + 5 + 1
    assert "| features.2 | CirculantConv2d | 12 x 8 x 3 x 3 | 4 | 228 | 10,800 | 1,824 |" in text
    assert "| 64 x 12, 64 x 16, " in text[4]
    assert " | 8 input, 4 recurrent | " in text[4]
    total = sum(p.numel() for p in compressed.parameters())
    assert text[-1].startswith(f"| all | | | | {total:,} | ")
