"""LeNet-5 compressed: ADMM-NN's pruning and levels, SmartDeal's bases and coefficients, and blocks.

All start from the dense network. Beside them stands a dense control, trained as long as the longest
of them. A compressed network is kept in a file (:mod:`ernn.compress.storage`); its accuracy is that
of what the file gives back.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from data_prep.mnist import Images
from ernn.compress import (
    ADMM,
    Basis,
    Coefficients,
    ConstraintSet,
    Levels,
    Sparse,
    SparseLevels,
    Support,
    budget,
    inside,
    sizes,
    storage,
)
from ernn.compress.basis import Factors
from recipes.experiment.stage import Result
from recipes.mnist import networks
from recipes.mnist.training import TRAINING, Train, accuracy, fit

STEPS = 8
"""Shares of rows that a decomposition tries are multiples of 1 / this."""
FILE = "model.safetensors"

Data = Mapping[str, Images]


@dataclass(frozen=True)
class AdmmNN:
    """The table ``[admm_nn]``: see :func:`drawn` and :func:`kept_inside`."""

    drawn: tuple[int, ...]  # weights that ADMM leaves, step by step
    pruned: int  # that are kept of these
    joint: int  # that are kept of these where they are on levels too
    bits: int  # of a level
    admm_epochs: int  # of every step
    inside_epochs: int  # the masks free
    retrain_epochs: int  # with fixed masks
    learning_rate: float  # the highest of all but these
    retrain_learning_rate: float  # the highest of these
    rho: float  # in a step's first epoch
    rho_end: float  # in its last

    @property
    def epochs(self) -> int:
        """Of a network that is pruned, from the dense one on."""
        return len(self.drawn) * self.admm_epochs + self.inside_epochs + self.retrain_epochs


@dataclass(frozen=True)
class SmartDeal:
    """The table ``[smartdeal]``."""

    budget: float  # points of dev accuracy that the decomposition alone may cost
    rounds: int  # of the search for bases and coefficients, at most
    kept: float  # share of the coefficients' rows that are kept where they are trained
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Spectral:
    """The table ``[spectral]``."""

    block_size: int  # of the fully connected layers
    epochs: int
    learning_rate: float  # the highest


def control(
    model: nn.Sequential, data: Data, train: Train, config: AdmmNN, seed: int, folder: Path
) -> Result:
    """Train the dense network on, for as many epochs as the others."""
    schedule = resumed(train, config.epochs, config.learning_rate)
    fit(model, data["train"], schedule, seed, folder / TRAINING)
    return scored(model, data, stored(model.state_dict(), folder))


def drawn(
    model: nn.Sequential,
    data: Data,
    train: Train,
    config: AdmmNN,
    seed: int,
    folder: Path,
    break_even: float,
) -> Result:
    """Draw the weights by ADMM towards few that are not zero, step by step."""
    growth = (config.rho_end / config.rho) ** (1 / max(1, config.admm_epochs - 1))
    towards = resumed(train, config.admm_epochs, config.learning_rate)
    for count in config.drawn:
        admm = ADMM(model, sparse(model, count, break_even), config.rho)
        path = folder / f"admm-{count}.safetensors"
        fit(model, data["train"], towards, seed, path, admm, growth)
        admm.project_()
    return scored(model, data, stored(model.state_dict(), folder))


def kept_inside(
    model: nn.Sequential,
    data: Data,
    train: Train,
    config: AdmmNN,
    seed: int,
    folder: Path,
    *,
    count: int,
    break_even: float,
    levels: Levels | None = None,
) -> Result:
    """Prune what ADMM has drawn to ``count`` weights, and put them on levels if there are any.

    Where almost none are left ADMM ends in a mask that is far from the best one; inside the set
    the weights are trained straight through (:func:`ernn.compress.inside`), by which the mask goes
    on changing. Then it is fixed.
    """

    def levelled(mask: Sparse | Support) -> ConstraintSet:
        return mask if levels is None else SparseLevels(mask, levels)

    free = resumed(train, config.inside_epochs, config.learning_rate)
    sets = sparse(model, count, break_even)
    with inside(model, {name: levelled(mask) for name, mask in sets.items()}):
        fit(model, data["train"], free, seed, folder / "inside.safetensors")
    masks = {name: Support(weight != 0) for name, weight in weights(model).items()}
    retrain = resumed(train, config.retrain_epochs, config.retrain_learning_rate)
    with inside(model, {name: levelled(mask) for name, mask in masks.items()}):
        fit(model, data["train"], retrain, seed + 1, folder / "retraining.safetensors")
    return scored(model, data, stored(model.state_dict(), folder))


def sparse(model: nn.Sequential, count: int, break_even: float) -> dict[str, Sparse]:
    """Return the sets in which ``count`` weights of all layers are not zero.

    A layer that would be pruned less than ``break_even`` is kept whole.
    """
    counts = budget.counts(weights(model), count, break_even=break_even)
    return {name: Sparse(n) for name, n in counts.items()}


def decomposed(model: nn.Sequential, data: Data, config: SmartDeal, folder: Path) -> Result:
    """Decompose the weights, with as few rows as the budget allows, and train nothing."""
    dense = {name: weight.clone() for name, weight in weights(model).items()}
    least = accuracy(model, data["dev"]) - config.budget

    def basis(steps: int) -> Basis:
        return Basis(rounds=config.rounds, kept=steps / STEPS)

    low, high = 0, STEPS  # too few rows, enough of them
    while high - low > 1:
        middle = (low + high) // 2
        put(model, {name: basis(middle).project(w) for name, w in dense.items()})
        low, high = (low, middle) if accuracy(model, data["dev"]) >= least else (middle, high)
    sets = dict.fromkeys(dense, basis(high))
    put(model, dense)
    return factored(model, sets, data, folder) | {"kept": high / STEPS}


def smartdeal(
    model: nn.Sequential, data: Data, train: Train, config: SmartDeal, seed: int, folder: Path
) -> Result:
    """Decompose the weights with few rows, and train the coefficients on their bases and mask."""
    basis = Basis(rounds=config.rounds, kept=config.kept)
    sets = {n: Coefficients(basis, basis.decompose(w)) for n, w in weights(model).items()}
    with inside(model, sets):
        schedule = resumed(train, config.epochs, config.learning_rate)
        fit(model, data["train"], schedule, seed, folder / TRAINING)
    return factored(model, sets, data, folder) | {"kept": config.kept}


def spectral(
    model: nn.Sequential, data: Data, train: Train, config: Spectral, seed: int, folder: Path
) -> Result:
    """Project the fully connected layers on block-circulant ones, and train on.

    The file holds first columns; their spectra have as many words.
    """
    model = networks.spectral(model, config.block_size)
    schedule = resumed(train, config.epochs, config.learning_rate)
    fit(model, data["train"], schedule, seed, folder / TRAINING)
    return scored(model, data, stored(model.state_dict(), folder))


def factored(
    model: nn.Sequential,
    sets: Mapping[str, Basis | Coefficients],
    data: Data,
    folder: Path,
) -> Result:
    """Keep the weights of a network as coefficients and bases, and score what they make up."""
    own = weights(model)
    tensors = {name: p.detach() for name, p in model.named_parameters() if name not in own}
    rows = {}
    for name, weight in own.items():
        factors = sets[name].decompose(weight)
        rows[name] = int(factors.coefficients.any(-1).sum())
        tensors[f"{name}.coefficients"] = factors.coefficients.float()
        tensors[f"{name}.bases"] = factors.bases.float()
        put(model, {name: Basis().compose(factors, weight.shape)})
    return scored(model, data, stored(tensors, folder)) | {"rows": rows}


def resumed(train: Train, epochs: int, learning_rate: float) -> Train:
    """The settings of a training that goes on from a trained network."""
    return replace(train, epochs=epochs, learning_rate=learning_rate, smoothing=0.0)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The matrices and kernels, no biases."""
    return {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}


@torch.no_grad()
def put(model: nn.Module, given: Mapping[str, Tensor]) -> None:
    """Replace weights."""
    for name, parameter in model.named_parameters():
        if name in given:
            parameter.copy_(given[name])


def read(model: nn.Sequential, folder: Path) -> nn.Sequential:
    """Load the weights that :func:`stored` wrote, for inference."""
    model.load_state_dict(storage.load(folder / FILE))
    return model.eval()


def read_factors(model: nn.Sequential, folder: Path) -> dict[str, Factors]:
    """Load what :func:`factored` wrote, for inference; return the factors by the weights' names."""
    loaded = storage.load(folder / FILE)
    factors = {}
    for name, weight in weights(model).items():
        parts = (loaded.pop(f"{name}.{part}").double() for part in ("coefficients", "bases"))
        factors[name] = Factors(*parts)
        loaded[name] = Basis().compose(factors[name], weight.shape)
    model.load_state_dict(loaded)
    model.eval()
    return factors


def stored(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, int]:
    """Write a network's file; its bytes, those of the weights apart by what they are."""
    path = folder / FILE
    storage.save(tensors, path)
    assert all(torch.equal(t, tensors[name]) for name, t in storage.load(path).items())
    parts = [of for name, of in storage.stored(path).items() if not name.endswith("bias")]
    return {
        "file": path.stat().st_size,
        "values": sum(part.values + part.codebook for part in parts),
        "positions": sum(part.positions for part in parts),
    }


def scored(model: nn.Sequential, data: Data, size: dict[str, int]) -> Result:
    """Score a network; with its sizes in bytes, and how many times less its values take."""
    own = weights(model)
    dense = 4 * sum(math.prod(shape) for row in sizes(model) for shape in row.shape)
    return {
        "dev": accuracy(model, data["dev"]),
        "test": accuracy(model, data["test"]),
        "nonzero": {name: int(w.count_nonzero()) for name, w in own.items()},
        "bytes": size,
        "values_ratio": dense / size["values"],
        "ratio": dense / (size["values"] + size["positions"]),
    }
