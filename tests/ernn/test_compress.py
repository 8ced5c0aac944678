"""ADMM on problems whose solution is known, and on a small LSTM."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.testing import assert_close

from ernn.circulant import project, to_dense
from ernn.compress import ADMM, BlockCirculant, circulant_sets
from ernn.nn import GRU, LSTM


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 10), st.integers(1, 10), st.sampled_from([1, 2, 4, 8]), st.integers(1, 4))
def test_block_circulant_projects_each_gate(rows: int, columns: int, k: int, gates: int) -> None:
    weight = torch.randn(gates * rows, columns, generator=torch.Generator().manual_seed(rows))
    nearest = BlockCirculant(k, gates).project(weight)
    alone = [to_dense(project(gate, k), (rows, columns)) for gate in weight.chunk(gates)]
    assert torch.equal(nearest, torch.cat(alone))
    assert_close(BlockCirculant(k, gates).project(nearest), nearest)
    assert torch.equal(BlockCirculant(1, gates).project(weight), weight)


def test_block_circulant_needs_whole_gates() -> None:
    with pytest.raises(ValueError, match="10 rows; they must be a multiple of 4"):
        BlockCirculant(2, 4).project(torch.zeros(10, 3))


RATE = 0.8


class Quadratic(nn.Module):
    """f(W) = 1/2 sum of a * (W - target)**2: circulant W is best at the a-weighted mean."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = torch.rand(6, 7, generator=generator, dtype=torch.float64) + 0.2
        self.target = torch.randn(6, 7, generator=generator, dtype=torch.float64)
        self.w = nn.Parameter(self.target.clone())

    def forward(self) -> Tensor:
        return (self.a * (self.w - self.target).square()).sum() / 2

    def minimise(self, admm: ADMM) -> None:
        """A step of gradient descent, then the penalty's."""
        (gradient,) = torch.autograd.grad(self(), self.w)
        self.w.data -= RATE * gradient
        admm.step()

    def constrained_minimiser(self, k: int) -> Tensor:
        weighted, total = project(self.a * self.target, k), project(self.a, k)
        blocks = torch.where(total > 0, weighted / total, 0)
        return to_dense(blocks, (6, 7))


@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_admm_reaches_the_constrained_minimiser(rho: float) -> None:
    f = Quadratic()
    solution = f.constrained_minimiser(4)
    projected = BlockCirculant(4).project(f.target)
    assert (projected - solution).abs().max() > 0.1  # mere projection does not solve it
    admm = ADMM(f, {"w": BlockCirculant(4)}, rho)
    for step in range(4000):
        f.minimise(admm)
        residuals = admm.update()
        if step == 200:  # the solution is a fixed point for every rho
            admm.scale_rho(3.0)
    assert residuals["w"] < 1e-8
    assert_close(f.w.data, solution, rtol=0, atol=1e-8)
    multiplier = -RATE * f.a * (solution - f.target)  # rho U is the step that the set takes up
    assert_close(admm.rho * admm.u["w"], multiplier, rtol=0, atol=1e-8)


class Box:
    """Entries within +-0.5: a set with a boundary, on which P(W) and P(W + U) differ."""

    def project(self, weight: Tensor) -> Tensor:
        return weight.clamp(-0.5, 0.5)


def test_admm_takes_any_set_that_projects() -> None:
    f = Quadratic()
    admm = ADMM(f, {"w": Box()}, rho=1.0)
    admm.u["w"] += 1.0  # it converges from any dual
    for _ in range(2000):
        f.minimise(admm)
        admm.update()
    assert_close(f.w.data, f.target.clamp(-0.5, 0.5), rtol=0, atol=1e-8)


def test_a_step_takes_the_minimum_of_the_penalty_and_the_distance() -> None:
    f = Quadratic()
    admm = ADMM(f, {"w": BlockCirculant(4)}, 0.7)
    admm.u["w"].copy_(f.target.cos())
    before = f.w.detach().clone()
    admm.step()
    w = f.w.detach().requires_grad_()
    penalty = admm.rho / 2 * (w - admm.z["w"] + admm.u["w"]).square().sum()
    (gradient,) = torch.autograd.grad(penalty + (w - before).square().sum() / 2, w)
    assert_close(gradient, torch.zeros_like(w), rtol=0, atol=1e-12)


def test_scaling_rho_keeps_the_pull_of_the_dual() -> None:
    f = Quadratic()
    admm = ADMM(f, {"w": BlockCirculant(4)}, 1e-6)
    admm.u["w"].copy_(f.target.cos())
    pulls = []
    for _ in range(2):
        admm.z["w"] = f.w.detach().clone()  # at W = Z a step is the dual's pull alone
        admm.step()
        pulls.append(admm.z["w"] - f.w.detach())
        admm.scale_rho(4.0)
    assert pulls[0].norm() > 1e-7
    assert_close(pulls[1], pulls[0], rtol=1e-5, atol=0)


def test_a_step_closes_the_same_fraction_whatever_the_size_of_the_weights() -> None:
    for size in (1.0, 100.0):
        f = Quadratic()
        f.w.data *= size
        admm = ADMM(f, {"w": BlockCirculant(4)}, rho=0.25)
        before = f.w - admm.z["w"]
        admm.step()
        assert_close(f.w - admm.z["w"], 0.8 * before)


class Recogniser(nn.Module):
    """Two recurrent layers and a linear one; it learns the running parity of two inputs."""

    def __init__(self, cls: type[LSTM | GRU] = LSTM) -> None:
        super().__init__()
        self.rnn = cls(2, 16, 2)
        self.out = nn.Linear(16, 1)
        bits = torch.randint(0, 2, (8, 64, 2), generator=torch.Generator().manual_seed(1)).float()
        self.x, self.y = bits, bits.sum(-1).cumsum(0) % 2

    def forward(self) -> Tensor:
        logits = self.out(self.rnn(self.x)[0]).squeeze(-1)
        return nn.functional.binary_cross_entropy_with_logits(logits, self.y)


def train(model: nn.Module, steps: int, admm: ADMM | None = None, every: int = 20) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        model().backward()
        optimiser.step()
        if admm is not None:
            admm.step()
            if step % every == 0:
                admm.update()


def test_admm_draws_an_lstm_into_the_set() -> None:
    torch.manual_seed(2)
    model = Recogniser()
    train(model, 200)
    dense_loss = model().item()

    merely_projected = copy.deepcopy(model)
    sets = circulant_sets(merely_projected, {"rnn": 4})
    ADMM(merely_projected, sets, rho=1.0).project_()

    admm = ADMM(model, circulant_sets(model, {"rnn": 4}), rho=1e-3)
    first = max(admm.residuals().values())
    for _ in range(8):
        train(model, 100, admm)
        admm.scale_rho(2.0)
    last = max(admm.residuals().values())
    admm.project_()
    assert dense_loss < 0.1
    assert merely_projected().item() > 1.0
    assert model().item() < 0.4
    assert last < 0.1 < 0.5 < first
    for name, constraint in sets.items():
        weight = model.get_parameter(name).detach()
        assert_close(constraint.project(weight), weight)
    circulant = LSTM.from_dense(model.rnn, 4)
    assert_close(circulant(model.x)[0], model.rnn(model.x)[0])


def test_resumed_admm_goes_on_bit_for_bit() -> None:
    torch.manual_seed(3)
    model = Recogniser(GRU)
    admm = ADMM(model, circulant_sets(model, {"rnn": 4}), rho=0.3)
    train(model, 40, admm)
    admm.scale_rho(2.0)
    stored, resumed_model = save(admm.state_dict()), copy.deepcopy(model)
    resumed = ADMM(resumed_model, circulant_sets(resumed_model, {"rnn": 4}), rho=9.0)
    resumed.load_state_dict(load(stored))
    train(model, 40, admm)
    train(resumed_model, 40, resumed)
    assert admm.residuals() == resumed.residuals()
    for a, b in zip(model.parameters(), resumed_model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_circulant_sets_names_every_matrix() -> None:
    model = nn.ModuleDict(
        {"rnn": LSTM(5, 8, 2, proj_size=3, peephole=True), "out": nn.Linear(3, 2)}
    )
    sizes = {"input": 2, "recurrent": 4, "projection": 8}
    sets = circulant_sets(model, {"rnn": sizes})
    assert sets == {
        f"rnn.{name}_l{layer}": BlockCirculant(k, gates)
        for layer in (0, 1)
        for name, k, gates in (("weight_ih", 2, 4), ("weight_hh", 4, 4), ("weight_hr", 8, 1))
    }
    assert set(circulant_sets(GRU(3, 4), {"": 2})) == {"weight_ih_l0", "weight_hh_l0"}
    assert circulant_sets(GRU(3, 4), {"": 2})["weight_ih_l0"] == BlockCirculant(2, 3)


def test_what_does_not_fit() -> None:
    model = Recogniser()
    sets = circulant_sets(model, {"rnn": 4})
    with pytest.raises(ValueError, match="'rnn' fits no layer; there are: none"):
        circulant_sets(nn.ReLU(), {"rnn": 4})
    with pytest.raises(ValueError, match="layer 'rnn' is of block size 4; it must be 1"):
        circulant_sets(nn.ModuleDict({"rnn": LSTM(2, 8, block_size=4)}), {"rnn": 4})
    with pytest.raises(ValueError, match="rho is 0; it must be positive"):
        ADMM(model, sets, rho=0)
    with pytest.raises(ValueError, match="no parameters named bogus"):
        ADMM(model, {"bogus": BlockCirculant(4)}, rho=1)
    with pytest.raises(ValueError, match="factor of rho is -1; it must be positive"):
        ADMM(model, sets, rho=1).scale_rho(-1)
    state = ADMM(model, circulant_sets(model, {"rnn": 2}), rho=1).state_dict()
    with pytest.raises(ValueError, match="does not fit"):
        ADMM(model, dict(list(sets.items())[:1]), rho=1).load_state_dict(state)
    model.rnn.weight_ih_l0.data.zero_()
    with pytest.raises(ValueError, match="weight_ih_l0 is all zeros; it has no relative residual"):
        ADMM(model, sets, rho=1)
