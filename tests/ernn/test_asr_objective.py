from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, ctc_loss

from ernn.asr import AcousticModel, Dataset, Distillation, ModelConfig
from ernn.asr.objective import Objective

SYMBOLS = ["a", "b", "c"]
LENGTHS = [5, 9, 6]


def make_model(seed=0, **shape):
    torch.manual_seed(seed)
    options = {"hidden_size": 6, "dropout": 0.0} | shape
    return AcousticModel(ModelConfig(8, num_phones=3, **options)).eval()


def make_batch():
    rng = np.random.default_rng(0)
    names = [f"u{n}" for n in range(len(LENGTHS))]
    features = {
        name: rng.standard_normal((n, 8), np.float32)
        for name, n in zip(names, LENGTHS, strict=True)
    }
    phones = {name: list("abcab"[: 2 + n]) for n, name in enumerate(names)}
    alignments = {name: rng.integers(0, 4, len(frames)) for name, frames in features.items()}
    (batch,) = Dataset(features, phones, SYMBOLS, alignments=alignments).batches(3)
    return batch


BATCH = make_batch()


def loss(model, batch=BATCH, criterion="frames", precision="fp32", teacher=None, **weights):
    objective = Objective(model, criterion, precision, teacher, Distillation(**weights))
    return objective(batch, len(BATCH.ids), int(BATCH.lengths.sum()))


def alone(model, b):
    """Logits of an utterance that is not padded, and its hidden outputs."""
    length = int(BATCH.lengths[b])
    hidden = model.encode(BATCH.features[:length, b : b + 1])
    return model.output(hidden)[:, 0], hidden[:, 0]


def test_ctc_is_torchs_mean_over_utterances_of_the_loss_a_phone():
    model = make_model()
    rest = BATCH.targets, BATCH.lengths, BATCH.target_lengths
    expected = ctc_loss(model(BATCH.features, BATCH.lengths), *rest)
    assert torch.allclose(loss(model, criterion="ctc"), expected)


def test_an_utterance_with_more_phones_than_frames_counts_nothing():
    batch = BATCH._replace(lengths=torch.tensor([1, 9, 6]))
    model = make_model()
    shares = [loss(model, batch.share(b, 3), "ctc").item() for b in range(3)]
    assert shares[0] == 0
    assert loss(model, batch, "ctc").item() == pytest.approx(sum(shares))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cross_entropy_is_that_of_the_frames_alone(bidirectional):
    model = make_model(bidirectional=bidirectional)
    logits = torch.cat([alone(model, b)[0] for b in range(3)])  # (frames, C)
    classes = torch.cat([BATCH.alignment[:n, b] for b, n in enumerate(BATCH.lengths)])
    assert torch.allclose(loss(model), cross_entropy(logits, classes), atol=1e-6)


def distilled(model, teacher, posterior, temperature, hidden):
    """The definition, utterance by utterance."""
    total = (1 - posterior) * loss(model)
    for b in range(3):
        (logits, outputs), (taught, taught_outputs) = alone(model, b), alone(teacher, b)
        p, q = (taught / temperature).softmax(-1), (logits / temperature).softmax(-1)
        kl = (p * (p / q).log()).sum()  # of the student from the teacher
        mse = (outputs - taught_outputs).square().mean(dim=-1).sum()
        total = total + (posterior * temperature**2 * kl + hidden * mse) / BATCH.lengths.sum()
    return total


@pytest.mark.parametrize("posterior", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("hidden", [0.0, 2.0])
def test_distillation_is_what_it_is_defined_as(posterior, temperature, hidden):
    model, teacher = make_model(0), make_model(1)
    weights = {"posterior": posterior, "temperature": temperature, "hidden": hidden}
    mixed = loss(model, teacher=teacher, **weights)
    expected = distilled(model, teacher, **weights)
    assert torch.allclose(mixed, expected, atol=1e-6)
    gradients, expected_gradients = (
        torch.autograd.grad(value, list(model.parameters())) for value in (mixed, expected)
    )
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_student_that_is_its_teacher_is_drawn_nowhere():
    model = make_model()
    assert loss(model, teacher=model, posterior=1.0, hidden=1.0).item() == pytest.approx(
        0, abs=1e-6
    )


def test_the_teacher_is_a_copy_that_neither_learns_nor_drops():
    model, teacher = make_model(0), make_model(1, dropout=0.5).train()
    objective = Objective(model, "ctc", "fp32", teacher, Distillation(posterior=1.0, hidden=1.0))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    model.train()
    losses = [objective(BATCH, 3, 20) for _ in range(2)]
    assert losses[0] == losses[1]  # the student has no dropout
    losses[0].backward()
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("criterion", ["ctc", "frames"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_losses_and_gradients_of_the_shares_add_up(criterion, count):
    model = make_model(0, bidirectional=True)
    options = {"criterion": criterion, "teacher": make_model(1, bidirectional=True), "hidden": 1.0}

    def gradients(value):
        model.zero_grad()
        value.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    whole = loss(model, **options)
    shares = [loss(model, BATCH.share(number, count), **options) for number in range(count)]
    assert torch.allclose(sum(shares), whole)
    parts = [gradients(share) for share in shares]
    for expected, *part in zip(gradients(whole), *parts, strict=True):
        assert torch.allclose(sum(part), expected, atol=1e-6)


@pytest.mark.parametrize("criterion", ["ctc", "frames"])
def test_bf16_rounds_the_layers_alone(criterion):
    model = make_model()
    exact, rounded = (
        loss(model, criterion=criterion),
        loss(model, criterion=criterion, precision="bf16"),
    )
    assert rounded.dtype == torch.float32
    assert exact != rounded
    assert abs(exact - rounded).item() < 0.02
    rounded.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_everything_is_computed_where_the_model_is(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    device = torch.device("meta")  # it refuses tensors that were left on the CPU, as a GPU does
    model = make_model(bidirectional=True).to(device)
    batch = BATCH.to(device)
    value = loss(model, batch, teacher=make_model(1, bidirectional=True), hidden=1.0)
    assert value.device == device
    value.backward()
    assert all(parameter.grad.device == device for parameter in model.parameters())
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        loss(model, BATCH)


@pytest.mark.parametrize(
    ("teacher", "weights", "message"),
    [
        (AcousticModel(ModelConfig(9, 3)), {}, "the teacher has 9 inputs, the model 8"),
        (AcousticModel(ModelConfig(8, 4)), {}, "the teacher has 4 phones, the model 3"),
        (
            make_model(bidirectional=True),
            {"hidden": 0.1},
            "the teacher has 12 hidden outputs, the model 6",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, weights, message):
    with pytest.raises(ValueError, match=message):
        loss(make_model(), teacher=teacher, **weights)
    loss(make_model(), teacher=make_model(1, hidden_size=9))  # posteriors alone fit any size


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"posterior": 1.5}, "posterior is 1.5: it must be from 0 to 1"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be positive"),
        ({"hidden": -1.0}, "hidden is -1.0: it must be at least 0"),
    ],
)
def test_weights_that_make_no_loss_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**weights)
