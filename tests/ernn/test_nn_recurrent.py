"""LSTM and GRU against torch.nn, ONNX Runtime and themselves: fused, looped, dense, circulant."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from ernn.circulant import project
from ernn.nn import GRU, LSTM
from ernn.nn.recurrence import Recurrence, load, supports
from ernn.nn.recurrent import Recurrent

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN"  # torch.nn.LSTM's own
)

over_shapes = settings(deadline=None, derandomize=True, max_examples=30)
small = st.integers(1, 12)
SINGLE = {"rtol": 1e-5, "atol": 1e-5}


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    """What torch.nn.LSTM and GRU take."""
    return {
        "input_size": draw(small),
        "hidden_size": draw(st.integers(2, 12)),
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }


def inputs(layer: Recurrent, time: int, batch: int) -> tuple[Tensor, list[Tensor]]:
    """Random input and initial state."""
    like = next(layer.parameters())
    lead = (batch, time) if layer.batch_first else (time, batch)
    stacked = layer.num_layers * (1 + layer.bidirectional)
    x = torch.randn(*lead, layer.input_size, dtype=like.dtype)
    return x, [torch.randn(stacked, batch, n, dtype=like.dtype) for n in layer.state_sizes]


def call(layer: nn.Module, x: Tensor, state: list[Tensor] | None) -> tuple[Tensor, ...]:
    """Outputs and final state as a flat tuple, for LSTM and GRU alike."""
    if state is None:
        y, last = layer(x)
    else:
        y, last = layer(x, state[0] if len(state) == 1 else tuple(state))
    return (y, last) if isinstance(last, Tensor) else (y, *last)


def looped(layer: Recurrent) -> Recurrent:
    """A copy of the layer, kept from torch's kernel and from the compiled loop."""
    cls = type(layer)
    layer = deepcopy(layer)
    layer.__class__ = type(cls.__name__, (cls,), {"fused": False})
    return layer


def outputs_and_gradients(layer: Recurrent, x: Tensor, state: list[Tensor]) -> tuple[Tensor, ...]:
    """Outputs and final state, and the gradients of the sum of their squares."""
    x = x.clone().requires_grad_()
    outputs = call(layer, x, state)
    loss = torch.stack([o.square().sum() for o in outputs]).sum()
    return *outputs, *torch.autograd.grad(loss, (x, *layer.parameters()))


@pytest.mark.parametrize("loop", [False, True])
@over_shapes
@given(arguments(), st.integers(0, 3), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_lstm_of_torch_loads_and_agrees(
    loop: bool, arguments: dict[str, Any], proj: int, time: int, batch: int, given_state: bool
) -> None:
    torch.manual_seed(time)
    arguments["proj_size"] = min(proj, arguments["hidden_size"] - 1)
    theirs, ours = nn.LSTM(**arguments), LSTM(**arguments)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, state = inputs(ours, time, batch)
    ours = looped(ours) if loop else ours
    initial = state if given_state else None
    assert_close(call(ours, x, initial), call(theirs, x, initial), **SINGLE)


@pytest.mark.parametrize("loop", [False, True])
@over_shapes
@given(arguments(), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_gru_of_torch_loads_and_agrees(
    loop: bool, arguments: dict[str, Any], time: int, batch: int, given_state: bool
) -> None:
    torch.manual_seed(time)
    theirs, ours = nn.GRU(**arguments), GRU(**arguments, reset_after=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, state = inputs(ours, time, batch)
    ours = looped(ours) if loop else ours
    initial = state if given_state else None
    assert_close(call(ours, x, initial), call(theirs, x, initial), **SINGLE)


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_a_seed_draws_the_weights_that_torch_draws(cls: type[Recurrent]) -> None:
    torch.manual_seed(5)
    theirs = cls.dense_class(7, 6, 2, bidirectional=True)
    torch.manual_seed(5)
    ours = cls(7, 6, 2, bidirectional=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("cls", [LSTM, GRU])
@over_shapes
@given(arguments(), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_padded_sequences_are_those_that_torch_packs(
    loop: bool, cls: type[Recurrent], arguments: dict[str, Any], lengths: list[int]
) -> None:
    torch.manual_seed(len(lengths))
    theirs = cls.dense_class(**arguments)
    ours = cls(**arguments) if cls is LSTM else GRU(**arguments, reset_after=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours = looped(ours) if loop else ours
    x, _ = inputs(ours, max(lengths), len(lengths))
    first = arguments["batch_first"]
    packed = pack_padded_sequence(x, lengths, first, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], first)
    y = ours(x, None, torch.tensor(lengths))[0]
    within = torch.arange(max(lengths))[:, None] < torch.tensor(lengths)  # (time, batch)
    within = within.T if first else within
    assert_close(y[within], expected[within], **SINGLE)
    y[within].sum().backward()
    expected[within].sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lengths", [[4, 0], [4, 5], [4], [[4, 4]]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="they must be 2 from 1 to 4"):
        LSTM(3, 2)(torch.randn(4, 2, 3), lengths=torch.tensor(lengths))


@pytest.mark.parametrize("cls", [LSTM, GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch(cls: type[Recurrent], batch_first: bool) -> None:
    torch.manual_seed(6)
    layer = cls(5, 4, 2, batch_first=batch_first, block_size=2)
    x, state = inputs(layer, 6, 1)
    with_batch = call(layer, x, state)
    batch_dim = 0 if batch_first else 1
    without = call(layer, x.squeeze(batch_dim), [s.squeeze(1) for s in state])
    assert_close(without[0], with_batch[0].squeeze(batch_dim))
    assert_close(without[1:], tuple(s.squeeze(1) for s in with_batch[1:]))


def test_dropout_lies_between_layers_in_training_only() -> None:
    torch.manual_seed(7)
    x = torch.randn(4, 3, 5)
    for layer in (LSTM(5, 64, 2, dropout=1.0), looped(LSTM(5, 64, 2, dropout=1.0))):
        without_input = layer(torch.zeros_like(x))
        h = layer(x)[1][0]
        assert not torch.equal(h[0], without_input[1][0][0])  # the first layer sees x
        assert torch.equal(h[1], without_input[1][0][1])  # the second sees nothing
        layer.eval()
        assert not torch.equal(layer(x)[1][0][1], h[1])


# Circulant matrices

FORMS: list[tuple[type[Recurrent], dict[str, Any]]] = [
    (LSTM, {}),
    (LSTM, {"proj_size": 5}),
    (LSTM, {"peephole": True, "proj_size": 5}),
    (LSTM, {"cell_activation": "sigmoid"}),
    (LSTM, {"activation": "pwl", "peephole": True}),
    (GRU, {"reset_after": True}),
    (GRU, {"reset_after": False}),
    (GRU, {"reset_after": False, "bias": False}),
    (GRU, {"reset_after": True, "activation": "pwl"}),
]
forms = pytest.mark.parametrize(("cls", "options"), FORMS)


@forms
@pytest.mark.parametrize("k", [2, 4, 8, {"input": 8, "recurrent": 4, "projection": 2}])
def test_circulant_equals_its_dense_form(cls: type[Recurrent], options: Any, k: Any) -> None:
    torch.manual_seed(8)
    layer = cls(11, 10, 2, block_size=k, bidirectional=True, dtype=torch.float64, **options)
    dense = layer.to_dense()
    x, state = inputs(layer, 5, 3)
    assert_close(call(layer, x, state), call(dense, x, state))
    assert_close(cls.from_dense(dense, k).state_dict(), layer.state_dict())


@pytest.mark.parametrize(("cls", "options"), [f for f in FORMS if f[0](1, 6, **f[1]).fused])
@pytest.mark.parametrize("k", [1, 4])
def test_loop_equals_the_kernel_in_outputs_and_gradients(
    cls: type[Recurrent], options: Any, k: int
) -> None:
    torch.manual_seed(9)
    layer = cls(11, 10, 2, block_size=k, bidirectional=True, **options)
    x, state = inputs(layer, 6, 3)
    results = [outputs_and_gradients(of, x, state) for of in (layer, looped(layer))]
    assert_close(results[0], results[1], rtol=1e-5, atol=1e-4)
    assert_close(results[0][:2], results[1][:2], **SINGLE)


# The compiled recurrence

cells = pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
parts = pytest.mark.parametrize("parts", [1, 2])
trained = pytest.mark.parametrize(("cls", "options"), [(LSTM, {}), (GRU, {"reset_after": True})])


def shapes_of(gates: int, parts: int, hidden: int, time: int, batch: int) -> list[tuple[int, ...]]:
    """Shapes of u, h, s, W and bias."""
    part = hidden // parts
    state = batch, hidden
    W = parts, gates * part, part
    return [(parts, time, batch, gates * part), state, state, W, (gates * hidden,)]


@cells
@parts
def test_gradients_of_the_compiled_recurrence_are_right(cell: str, gates: int, parts: int) -> None:
    torch.manual_seed(9)
    shapes = shapes_of(gates, parts, hidden=4, time=3, batch=2)
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert supports(tensors[0], 4)
    assert torch.autograd.gradcheck(lambda *given: Recurrence.apply(cell, *given), tensors)


BFLOAT16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(
        "avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="no AVX512_BF16"
    ),
)


@cells
@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16])
@pytest.mark.parametrize(("hidden", "batch"), [(4, 1), (44, 3), (80, 19)])
@parts
def test_short_products_change_no_more_than_their_rounding(
    cell: str, gates: int, dtype: torch.dtype, hidden: int, batch: int, parts: int
) -> None:
    """Sizes that fill no vector, a batch that two threads share unevenly; against float64."""
    torch.manual_seed(9)
    shapes = shapes_of(gates, parts, hidden, time=20, batch=batch)
    exact = [(torch.randn(s) / hidden**0.5).to(dtype).double() for s in shapes]
    exact = [t.requires_grad_() for t in exact]
    given = [t.detach().float().requires_grad_() for t in exact]
    upstream = torch.randn(20, batch, hidden).to(dtype), torch.randn(batch, hidden)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    for threads in (1, 2):
        with torch_threads(threads):
            expected = Recurrence.apply(cell, *exact)
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                results = Recurrence.apply(cell, *given)
            assert [r.dtype for r in results] == [dtype, torch.float32]
            gradients = torch.autograd.grad(results, given, upstream)
            wanted = torch.autograd.grad(expected, exact, [u.double() for u in upstream])
        for a, b in zip((*results, *gradients), (*expected, *wanted), strict=True):
            assert (a - b).norm() <= tolerance * b.norm()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cls", "options"), [(LSTM, {}), (LSTM, {"bias": False}), (GRU, {"reset_after": True})]
)
@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_block_circulant_layers_train_in_halves(cls: type[Recurrent], options: Any, k: int) -> None:
    """Against the loop over time with dense matrices; the input's last block is ragged."""
    torch.manual_seed(9)
    layer = cls(21, 32, 2, block_size=k, bidirectional=True, dtype=torch.float64, **options)
    reference = looped(layer)
    assert (layer.halved, reference.halved) == (k, 0)
    x, state = inputs(layer, 6, 3)
    results = [outputs_and_gradients(of, x, state) for of in (layer, reference)]
    assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_what_has_no_halves_is_expanded() -> None:
    for hidden, k in ((30, 4), (32, 1), (32, {"input": 8, "recurrent": 4})):
        assert LSTM(21, hidden, block_size=k).halved == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert LSTM(21, 2, block_size=2).halved == 0  # bfloat16 is multiplied in pairs


@cells
def test_extreme_preactivations_saturate_and_what_is_no_number_stays_none(
    cell: str, gates: int
) -> None:
    for value, finite in ((1e30, True), (-1e30, True), (float("inf"), True), (float("nan"), False)):
        zeros = torch.zeros(1, 2), torch.zeros(1, 2)
        weights = torch.zeros(1, gates * 2, 2), torch.zeros(gates * 2)
        y, s = Recurrence.apply(cell, torch.full((1, 3, 1, gates * 2), value), *zeros, *weights)
        assert bool(y.isfinite().all() and s.isfinite().all()) == finite
        if finite:
            expected = looped(LSTM(1, 2) if cell == "lstm" else GRU(1, 2, reset_after=True))
            for parameter in expected.parameters():
                nn.init.zeros_(parameter)
            nn.init.constant_(expected.bias_ih_l0, value)
            assert_close(y, expected(torch.zeros(3, 1, 1))[0], **SINGLE)


@trained
def test_training_takes_the_compiled_recurrence_and_inference_torch_s_kernel(
    cls: type[Recurrent], options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(9)
    layer = cls(5, 8, 2, bidirectional=True, **options)
    x = torch.randn(6, 3, 5)
    with torch.no_grad():
        expected = layer(x)[0]

    def refuse(*_: Any) -> None:
        raise AssertionError("torch's kernel was called")

    monkeypatch.setattr(torch._VF, layer.cell, refuse)
    assert_close(layer(x)[0], expected, **SINGLE)
    with pytest.raises(AssertionError, match="kernel was called"), torch.no_grad():
        layer(x)


def test_what_is_not_computed_here_is_torch_s() -> None:
    with torch.autocast("cpu", torch.float16):
        assert not LSTM(5, 8).compiled
    with torch.autocast("cpu", torch.bfloat16):
        assert not LSTM(5, 7).compiled  # an odd size
    assert not LSTM(5, 8, device="meta").compiled


OLDER = """
import torch
from ernn.nn import LSTM
layer = LSTM(5, 8)
with torch.autocast("cpu", torch.bfloat16):
    layer(torch.randn(6, 3, 5))[0].sum().backward()
    print(layer.compiled, layer.weight_hh_l0.grad.isfinite().all())
"""


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="no AVX-512")
def test_a_processor_without_products_of_bfloat16_trains_by_torch_s_kernel() -> None:
    older = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    ran = subprocess.run(
        [sys.executable, "-c", OLDER], env=older, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False tensor(True)\n"


def test_without_a_compiler_torch_s_kernel_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    load.cache_clear()
    try:
        layer = LSTM(5, 8)
        with pytest.warns(UserWarning, match=r"no C\+\+ compiler, so training is slower: .*c\+\+"):
            y = layer(torch.randn(6, 3, 5))[0]
        assert y.requires_grad
        assert not layer.compiled
    finally:
        load.cache_clear()


@pytest.mark.parametrize("k", [2, 4])
def test_every_gate_is_projected_on_its_own(k: int) -> None:
    torch.manual_seed(10)
    dense = nn.LSTM(5, 6, proj_size=3)
    layer = LSTM.from_dense(dense, k)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        gates = [project(gate, k) for gate in getattr(dense, name).detach().chunk(4)]
        assert torch.equal(getattr(layer, name), torch.cat(gates))
    assert torch.equal(layer.weight_hr_l0, project(dense.weight_hr_l0.detach(), k))
    assert torch.equal(layer.bias_hh_l0, dense.bias_hh_l0)


def test_blocks_of_the_published_lstm() -> None:
    """E-RNN's LSTM, 153 inputs, 1024 cells, 512 projected: ratios 7.9 and 15.9."""
    for k, blocks, ratio in ((8, 51_200, 7.9), (16, 12_800, 15.9)):
        layer = LSTM(153, 1024, proj_size=512, peephole=True, block_size=k, device="meta")
        assert sum(getattr(layer, name).numel() for name in layer.matrices) == blocks * k
        assert round(layer.compression, 1) == ratio


def test_from_dense_keeps_every_option() -> None:
    options = {"proj_size": 3, "peephole": True, "activation": "pwl", "cell_activation": "sigmoid"}
    options |= {"bias": False, "batch_first": True, "dropout": 0.5, "bidirectional": True}
    layer = LSTM(5, 6, 2, **options, dtype=torch.float64).eval()
    small = LSTM.from_dense(layer, 2)
    assert small.options(small) == layer.options(layer)
    assert small.options(small).items() >= options.items()
    assert not small.training
    assert small.weight_ih_l0.dtype == torch.float64
    assert GRU.from_dense(nn.GRU(2, 3), 1).reset_after
    assert not GRU.from_dense(GRU(2, 3), 1).reset_after


# Independent reference for what torch.nn does not have


def onnx_run(op: str, x: Tensor, layer: Recurrent, state: list[Tensor], **attributes: Any) -> Any:
    """One dense layer in ONNX Runtime: its outputs (T, B, directions * H) and final state.

    ONNX orders the gates of an LSTM i, o, f, c and its peepholes i, o, f; a GRU's z, r, h.
    """
    order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}[op]
    directions = ("", "_reverse") if layer.bidirectional else ("",)

    def stacked(kind: str) -> Tensor:
        parts = [getattr(layer, f"{kind}_l0{d}").detach().chunk(len(order)) for d in directions]
        return torch.stack([torch.cat([part[n] for n in order]) for part in parts])

    feeds = {"X": x, "W": stacked("weight_ih"), "R": stacked("weight_hh")}
    feeds["B"] = torch.cat((stacked("bias_ih"), stacked("bias_hh")), dim=1)
    names = ["X", "W", "R", "B", "", "initial_h"]
    feeds["initial_h"] = state[0]
    if op == "LSTM":
        names += ["initial_c", "P"]
        feeds["initial_c"] = state[1]
        peepholes = [getattr(layer, f"weight_peephole_l0{d}").detach() for d in directions]
        feeds["P"] = torch.stack([p[[0, 2, 1]].flatten() for p in peepholes])
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(state)]
    direction = "bidirectional" if layer.bidirectional else "forward"
    node = onnx.helper.make_node(
        op, names, outputs, hidden_size=layer.hidden_size, direction=direction, **attributes
    )
    infos = [
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in group]
        for group in (feeds, outputs)
    ]
    graph = onnx.helper.make_graph([node], op, *infos)
    opset = [onnx.helper.make_opsetid("", 14)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, *last = session.run(None, {name: t.numpy() for name, t in feeds.items()})
    y = np.moveaxis(y, 1, 2).reshape(*x.shape[:2], -1)  # (T, directions, B, H) as torch's
    return torch.from_numpy(y), *(torch.from_numpy(s) for s in last)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell_activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize(("columns", "hidden"), [(5, 8), (1, 3), (9, 2)])
def test_peephole_lstm_agrees_with_onnx_runtime(
    bidirectional: bool, cell_activation: Any, columns: int, hidden: int
) -> None:
    torch.manual_seed(11)
    layer = LSTM(
        columns, hidden, peephole=True, cell_activation=cell_activation, bidirectional=bidirectional
    )
    x, state = inputs(layer, 7, 3)
    functions = ["Sigmoid", cell_activation.capitalize(), "Tanh"] * (1 + bidirectional)
    reference = onnx_run("LSTM", x, layer, state, activations=functions)
    assert_close(call(layer, x, state), reference, **SINGLE)
    for name, parameter in layer.named_parameters():  # a peephole of its own each
        if "peephole" in name:
            parameter.data[1] += 1
    assert (call(layer, x, state)[0] - reference[0]).abs().max() > 1e-3


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_agrees_with_onnx_runtime(bidirectional: bool, reset_after: bool) -> None:
    torch.manual_seed(12)
    layer = GRU(5, 8, reset_after=reset_after, bidirectional=bidirectional)
    x, state = inputs(layer, 7, 3)
    reference = onnx_run("GRU", x, layer, state, linear_before_reset=int(reset_after))
    assert_close(call(layer, x, state), reference, **SINGLE)
    layer.reset_after = not reset_after
    assert (call(layer, x, state)[0] - reference[0]).abs().max() > 1e-3


@forms
def test_gradcheck(cls: type[Recurrent], options: Any) -> None:
    torch.manual_seed(13)
    layer = cls(3, 6, block_size=2, bidirectional=True, dtype=torch.float64, **options)
    x, _ = inputs(layer, 3, 2)
    names = list(dict(layer.named_parameters()))

    def function(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, parameters, strict=True))
        y, last = torch.func.functional_call(layer, named, x)
        return (y, last) if isinstance(last, Tensor) else (y, *last)

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), *layer.parameters()))


@pytest.mark.parametrize(("cls", "options"), [(LSTM, {"peephole": True}), (GRU, {})])
def test_piecewise_linear_units_stay_near_the_exact(cls: type[Recurrent], options: Any) -> None:
    torch.manual_seed(14)
    exact = cls(6, 16, **options)
    pwl = cls(6, 16, activation="pwl", **options)
    pwl.load_state_dict(exact.state_dict())
    x, state = inputs(exact, 20, 4)
    error = (call(exact, x, state)[0] - call(pwl, x, state)[0]).abs().max()
    assert 0 < error < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": 0}, "each must be >= 1"),
        ({"proj_size": 4}, "proj_size is 4; it must be 0 to 3"),
        ({"dropout": 2}, "dropout is 2; it must be from 0 to 1"),
        ({"activation": "relu"}, "activation is 'relu'; it must be one of exact, pwl"),
        ({"cell_activation": "relu"}, "cell_activation is 'relu'; it must be tanh or sigmoid"),
        ({"block_size": 6}, "block_size is 6; it must be a power of two"),
        ({"block_size": {"input": 4}}, "keys input; needed: input, recurrent"),
        (
            {"block_size": {"input": 4, "recurrent": 4, "gate": 4}},
            "keys input, recurrent, gate",
        ),
        (
            {"block_size": {"input": 4, "recurrent": 4}, "proj_size": 2},
            "needed: input, recurrent, projection",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(**{"input_size": 3, "hidden_size": 4, **arguments})


def test_inputs_that_do_not_fit() -> None:
    layer = LSTM(3, 4)
    x = torch.zeros(5, 2, 3)
    for shape in ((5, 2, 4), (5,), (0, 2, 3)):
        with pytest.raises(ValueError, match=r"it must be \(time, batch, 3\)"):
            layer(torch.zeros(shape))
    with pytest.raises(ValueError, match="the state has the shapes"):
        layer(x, (torch.zeros(1, 2, 4), torch.zeros(1, 1, 4)))
    with pytest.raises(TypeError, match="PackedSequence; it must be a padded tensor"):
        layer(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 4])))
    with pytest.raises(TypeError, match="cannot project a GRU"):
        LSTM.from_dense(nn.GRU(3, 4), 2)
