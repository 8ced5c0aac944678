"""ADMM: training that ends near a constraint set.

To minimise f(W) subject to W_l in S_l, each constrained weight W_l gets a copy Z_l that is in the
set, and a dual U_l that adds up how far the two are apart (scaled form):

    W <- argmin f(W) + sum_l rho/2 |W_l - Z_l + U_l|^2         a step of the optimiser, then `step`
    Z <- P_S(W + U)                                            `update`
    U <- U + W - Z

until W - Z is small. Then W is projected, and fine-tuned inside S.

The penalty does not join the loss. After every step of the optimiser on f its own minimum is taken,
which is known: W <- (W + rho (Z - U)) / (1 + rho). So a batch closes the fraction rho / (1 + rho)
of what W is away from Z - U, in every layer, however large its weights are; and against it stands
what the optimiser moves them, which Adam makes the same however large their gradients are. Thus
one rho fits all layers, and it is neither rescaled by Adam's moments nor cut with the gradients'
norm, as a penalty in the loss would be. It is to begin far below what a batch changes, near 1e-4,
and to grow slowly to 0.05 or 0.1, where W and Z are one.

Sources: Boyd et al., Distributed Optimization and Statistical Learning via ADMM, 2011, section 3.1;
Parikh and Boyd, Proximal Algorithms, 2014, section 4.2 (gradient step, then proximal step);
Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019 (why apart from Adam);
Ren et al., ADMM-NN, ASPLOS 2019; Li et al., E-RNN, HPCA 2019.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ernn.compress.sets import ConstraintSet


class ADMM:
    """Copies and duals of the constrained weights of a model.

        admm = ADMM(model, circulant_sets(model, {"recurrent": 8}), rho=1e-4)
        for epoch in range(epochs):
            for batch in batches:
                loss(batch).backward()
                optimizer.step()
                admm.step()
            print(admm.update())
            admm.scale_rho(2.0)
        admm.project_()

    Args:
        model: the model.
        sets: the set of each constrained parameter, by its name in the model.
        rho: weight of the penalty, without a unit; see the module.

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
        self.rho = rho
        self.z: dict[str, Tensor] = {}
        self.u: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, w in self.weights.items():
                if not w.any():
                    raise ValueError(f"{name} is all zeros; it has no relative residual")
                self.z[name] = self.sets[name].project(w)
                self.u[name] = torch.zeros_like(w)

    @torch.no_grad()
    def step(self) -> None:
        """Take the penalty's part of a W step, after the optimiser's; it writes to the model."""
        for name, w in self.weights.items():
            w.lerp_(self.z[name] - self.u[name], self.rho / (1 + self.rho))

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
        self.rho *= factor
        for u in self.u.values():
            u /= factor

    @torch.no_grad()
    def project_(self) -> None:
        """Project the model's weights on their sets, in place."""
        for name, w in self.weights.items():
            w.copy_(self.sets[name].project(w))

    def state_dict(self) -> dict[str, Tensor]:
        """Return all of the state as tensors, to be saved and to resume from."""
        parts = {"z": self.z, "u": self.u}
        state = {f"{part}.{name}": t.clone() for part, d in parts.items() for name, t in d.items()}
        return state | {"rho": torch.tensor(self.rho, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: the state is that of other weights.
        """
        own = self.state_dict()
        if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in own.items()}:
            raise ValueError("the ADMM state does not fit the constrained weights of this model")
        self.rho = float(state["rho"])
        for part, tensors in (("z", self.z), ("u", self.u)):
            for name in tensors:
                tensors[name].copy_(state[f"{part}.{name}"])
