"""One layer on its PE: what the stage of the digits' recipe counts, on a small network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data_prep.mnist import Images
from ernn.compress import Basis, Levels, Sparse, SparseLevels
from ernn.fixed import Integers
from ernn.quantize import WordLengths
from ernn.quantize.sparse import IntegerSparse
from hdl.products import Held, Layer, LayerPE, Products
from hdl.shift_add import SHIFT_ADD_LATENCY
from hdl.sparse import SPARSE_LATENCY
from hdl.synth import Report, Resources
from recipes.mnist import engines

LENGTHS = WordLengths(weight=12, activation=12, preactivation=16)
COUNT = 20


@pytest.fixture
def images() -> Images:
    """Random ones."""
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (30, 28, 28), np.uint8), rng.integers(0, 10, 30))


@pytest.fixture
def network() -> nn.Sequential:
    """A network whose layer stands where LeNet-5 has it: 16 -> 12."""
    torch.manual_seed(0)
    before = nn.AvgPool2d(7), *(nn.Identity() for _ in range(5)), nn.Flatten()
    return nn.Sequential(*before, nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)).eval()


@pytest.fixture
def sparse(network: nn.Sequential, images: Images) -> IntegerSparse:
    """Its layer, pruned and on levels."""
    on_levels = SparseLevels(Sparse(40), Levels.equidistant(3))
    with torch.no_grad():
        network[7].weight.copy_(on_levels.project(network[7].weight))
    return engines.sparse(network, engines.features(network, images), LENGTHS, 3)


@pytest.fixture(autouse=True)
def no_yosys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerPE, "synthesize", lambda pe: Report(pe.top, Resources(dsp=1)))


def test_pruned(
    network: nn.Sequential, sparse: IntegerSparse, images: Images, tmp_path: Path
) -> None:
    found = engines.on_pe(sparse, network, images, COUNT, tmp_path)
    assert (found["images"], found["words"], found["mismatches"]) == (COUNT, 12 * COUNT, 0)
    assert found["steps"] == len(sparse.entries())
    assert found["cycles"] == len(sparse.entries()) + SPARSE_LATENCY
    assert found["utilization"] == 40 / found["cycles"]
    assert found["resources"]["dsp"] == 1
    x = engines.features(network, images)
    with torch.no_grad():
        right = network(x.new_tensor(images.pixels)[:, None] / 255).argmax(1).numpy()
    assert abs(found["test"] - 100 * (right == images.digits).mean()) < 5


def test_decomposed(network: nn.Sequential, images: Images, tmp_path: Path) -> None:
    factors = Basis().decompose(network[7].weight)
    with torch.no_grad():
        network[7].weight.copy_(Basis().compose(factors, (12, 16)))
    layer = engines.shift_add(network, factors, engines.features(network, images), LENGTHS)
    weights = torch.tensor(layer.weight.to_float(layer.weights())).float()
    assert torch.equal(weights, network[7].weight)
    found = engines.on_pe(layer, network, images, COUNT, tmp_path)
    assert found["mismatches"] == 0
    assert found["cycles"] == 3 * len(layer.entries()) + SHIFT_ADD_LATENCY
    rows = int(factors.coefficients.any(-1).sum())
    assert found["utilization"] == 3 * rows / found["cycles"]


def test_a_wrong_weight_is_counted(
    network: nn.Sequential,
    sparse: IntegerSparse,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = sparse.levels.copy()
    levels[tuple(np.argwhere(levels)[0])] *= -1
    wrong = dataclasses.replace(sparse, levels=levels)

    class Wrong(LayerPE):
        def run(self, layer: Layer, frames: Integers, folder: Path | None = None) -> Products:
            return super().run(wrong, frames, folder)

    monkeypatch.setattr(engines, "LayerPE", Wrong)
    found = engines.on_pe(sparse, network, images, COUNT, tmp_path)
    x = sparse.input.quantize(engines.features(network, images)[:COUNT].numpy())
    assert found["mismatches"] == (wrong.run(x) != sparse.run(x)).sum() > 0


def test_gaps_take_the_least_memory(network: nn.Sequential, sparse: IntegerSparse) -> None:
    bits = {gap: Held.of(dataclasses.replace(sparse, gap_bits=gap)).bits for gap in engines.GAPS}
    assert Held.of(sparse).bits == min(bits.values()) < max(bits.values())
