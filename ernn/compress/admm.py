"""Structured training by the alternating direction method of multipliers (ADMM).

To minimise a loss f(W) with every constrained weight W_l in its set S_l, each gets a copy Z_l that
is in the set, and a dual U_l that adds up how far the two are apart (scaled form):

    W <- argmin f(W) + sum_l rho_l/2 |W_l - Z_l + U_l|^2       training with the penalty
    Z <- P_S(W + U)                                            update
    U <- U + W - Z

until W - Z is small. Then W is projected, and fine-tuned inside S.

Sources: Boyd et al., Distributed Optimization and Statistical Learning via ADMM, 2011, section 3.1;
Ren et al., ADMM-NN, ASPLOS 2019; Li et al., E-RNN, HPCA 2019.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ernn.compress.sets import ConstraintSet


class ADMM:
    """Copies and duals of the constrained weights of a model.

        admm = ADMM(model, recurrent_sets(model, block_size=8), rho=0.1)
        for epoch in range(epochs):
            train(model, lambda batch: loss(batch) + admm.penalty())
            print(admm.update())
        admm.project_()

    Args:
        model: the model; only :meth:`project_` writes to it.
        sets: the set of each constrained parameter, by its name in the model.
        rho: weight of the penalty. It has no unit: rho_l is rho / |W_l|^2 of the weights as they
            are now, so that at U = 0 a layer adds rho/2 times the square of its residual.

    Raises:
        ValueError: ``rho`` is not positive, or a name is not that of a parameter that is not zero.
    """

    def __init__(self, model: nn.Module, sets: Mapping[str, ConstraintSet], rho: float) -> None:
        if not rho > 0:
            raise ValueError(f"rho is {rho}; it must be positive")
        parameters = dict(model.named_parameters())
        if unknown := sorted(set(sets) - set(parameters)):
            raise ValueError(f"the model has no parameters named {', '.join(unknown)}")
        self.sets = dict(sets)
        self.weights = {name: parameters[name] for name in sets}
        self.rho: dict[str, Tensor] = {}
        self.z: dict[str, Tensor] = {}
        self.u: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, w in self.weights.items():
                if not w.any():
                    raise ValueError(f"{name} is all zeros; rho cannot be scaled to it")
                self.rho[name] = rho / w.square().sum()
                self.z[name] = self.sets[name].project(w)
                self.u[name] = torch.zeros_like(w)

    def penalty(self) -> Tensor:
        """Return the sum over the layers of rho_l/2 |W_l - Z_l + U_l|^2, a scalar."""
        terms = [
            self.rho[name] / 2 * (w - self.z[name] + self.u[name]).square().sum()
            for name, w in self.weights.items()
        ]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def update(self) -> dict[str, float]:
        """Take the Z and the U step; return the residuals after them."""
        for name, w in self.weights.items():
            self.z[name] = self.sets[name].project(w + self.u[name])
            self.u[name] += w - self.z[name]
        return self.residuals()

    @torch.no_grad()
    def residuals(self) -> dict[str, float]:
        """Return |W - Z| / |W| of each layer."""
        return {
            name: float((w - self.z[name]).norm() / w.norm()) for name, w in self.weights.items()
        }

    def scale_rho(self, factor: float) -> None:
        """Multiply rho by ``factor``; the scaled dual is divided by it, so that rho U stays."""
        if not factor > 0:
            raise ValueError(f"the factor of rho is {factor}; it must be positive")
        for name in self.sets:
            self.rho[name] *= factor
            self.u[name] /= factor

    @torch.no_grad()
    def project_(self) -> None:
        """Project the model's weights on their sets, in place."""
        for name, w in self.weights.items():
            w.copy_(self.sets[name].project(w))

    def state_dict(self) -> dict[str, Tensor]:
        """Return all of the state as tensors, to be saved and to resume from."""
        parts = {"rho": self.rho, "z": self.z, "u": self.u}
        return {f"{part}.{name}": t.clone() for part, d in parts.items() for name, t in d.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: the state is that of other weights.
        """
        own = self.state_dict()
        if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in own.items()}:
            raise ValueError("the ADMM state does not fit the constrained weights of this model")
        for part, tensors in (("rho", self.rho), ("z", self.z), ("u", self.u)):
            for name in tensors:
                tensors[name].copy_(state[f"{part}.{name}"])
