"""Training inside a set: every weight that is used is the projection of a latent one.

The gradient of the projected weight goes to the latent one as it is (straight-through), so that it
can cross from one point of the set to the next. What is fixed is a matter of the set: with
:class:`ernn.compress.Support` of what survived pruning, the mask.

Source: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013;
with fixed masks as in Ren et al., ADMM-NN, ASPLOS 2019, and Chen et al., SmartDeal, 2021.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ernn.compress.sets import ConstraintSet


class StraightThrough(nn.Module):
    """The parametrization of a weight by its projection."""

    def __init__(self, constraint: ConstraintSet) -> None:
        super().__init__()
        self.constraint = constraint

    def forward(self, weight: Tensor) -> Tensor:
        """Project, with the gradient of the identity."""
        return self.constraint.project(weight.detach()) + (weight - weight.detach())


@contextmanager
def inside(model: nn.Module, sets: Mapping[str, ConstraintSet]) -> Iterator[None]:
    """Keep weights of a model in sets while the block trains it; it ends with the projected ones.

        with inside(model, {"fc.weight": SparseLevels(Support(mask), Levels.equidistant(3))}):
            optimizer = AdamW(model.parameters())  # the latent weights: made inside the block
            ...

    Args:
        model: any.
        sets: by the names of its parameters.

    Raises:
        ValueError: a name is not that of a parameter.
    """
    parameters = dict(model.named_parameters())
    if unknown := sorted(set(sets) - set(parameters)):
        raise ValueError(f"the model has no parameters named {', '.join(unknown)}")
    places = []
    for name, constraint in sets.items():
        path, _, own = name.rpartition(".")
        places.append((model.get_submodule(path), own))
        parametrize.register_parametrization(*places[-1], StraightThrough(constraint))
    try:
        yield
    finally:
        for module, own in places:
            parametrize.remove_parametrizations(module, own)
