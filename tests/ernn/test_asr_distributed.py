"""Several processes against one; this file is also the script that torchrun starts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_asr_training import CONFIG, DEV, TRAIN, dev_per, new_admm, new_model, read_log

from ernn import checkpoint
from ernn.asr import AcousticModel, Dataset, Distillation, distributed, training


def small_batches(dataset: Dataset) -> Dataset:
    """Three utterances: in batches of two the second process has nothing to do in the last."""
    names = dataset.ids[:3]
    features = {name: dataset.features[dataset.ids.index(name)].numpy() for name in names}
    return Dataset(features, {name: dataset.phones[name] for name in names}, dataset.symbols)


def runs(folder: Path, device: torch.device) -> dict[str, torch.Tensor]:
    """Train in three ways; the weights and the state of ADMM that came of it."""
    torch.set_num_threads(1)
    state = {}
    model = new_model(dropout=0.0).to(device)
    admm = new_admm(model)
    config = replace(CONFIG, epochs=3, rho_growth=1.5)
    training.train(model, TRAIN, DEV, config, folder / "admm", admm=admm)
    state |= {f"admm.{name}": value for name, value in admm.state_dict().items()}
    state |= {f"model.{name}": value for name, value in model.state_dict().items()}

    model = new_model(dropout=0.0, bidirectional=True).to(device)
    config = replace(CONFIG, epochs=3, average=2, criterion="frames", learning_rate=3e-3)
    config = replace(config, distillation=Distillation(hidden=0.0))
    interrupt(lambda: training.train(model, TRAIN, DEV, config, folder / "frames", teacher=model))
    model = new_model(dropout=0.0, bidirectional=True).to(device)
    training.train(model, TRAIN, DEV, config, folder / "frames", teacher=model)
    state |= {f"frames.{name}": value for name, value in model.state_dict().items()}

    model = new_model(dropout=0.0).to(device)
    config = replace(CONFIG, epochs=2, batch_size=2, learning_rate=3e-3)
    training.train(model, small_batches(TRAIN), DEV, config, folder / "few")
    state |= {f"few.{name}": value for name, value in model.state_dict().items()}
    return {name: value.cpu().contiguous() for name, value in state.items()}


def interrupt(run) -> None:
    """Stop a training in its second epoch, in every process at once."""
    real, calls = torch.nn.utils.clip_grad_norm_, []

    def stopping(*args):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(*args)

    torch.nn.utils.clip_grad_norm_ = stopping
    try:
        run()
    except KeyboardInterrupt:
        return
    finally:
        torch.nn.utils.clip_grad_norm_ = real
    raise AssertionError("it was not interrupted")


def main(folder: Path) -> None:
    with distributed.processes() as device:
        rank = distributed.rank()
        assert distributed.count() == 2
        written = []
        if rank > 0:  # must write nothing
            checkpoint.Checkpoint.save = training.Log.write = AcousticModel.save = written.append
            training.recognise = training.score = written.append
        state = runs(folder, device)
        assert not written
        save_file(state, folder / f"rank{rank}.safetensors")
        with pytest.raises(ValueError, match="the processes were given different settings"):
            training.train(new_model(), TRAIN, DEV, replace(CONFIG, seed=rank), folder / "differ")


def test_two_processes_train_as_one_does(tmp_path):
    several, one = tmp_path / "several", tmp_path / "one"
    several.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", __file__, several]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, errors = process.communicate(timeout=200)
        finally:
            process.terminate()  # torchrun ends its processes
    assert process.returncode == 0, errors
    expected = runs(one, torch.device("cpu"))
    first, second = (load_file(several / f"rank{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name  # the processes agree bit for bit
        assert torch.allclose(first[name], value, rtol=1e-3, atol=1e-4), name
    for run in ("admm", "frames", "few"):
        logs = read_log(several / run), read_log(one / run)
        assert len(logs[0]) == len(logs[1])
        for ours, theirs in zip(*logs, strict=True):
            assert abs(ours["loss"] - theirs["loss"]) < 1e-4
            assert abs(ours["gradient_norm"] - theirs["gradient_norm"]) < 1e-3
            assert ours["learning_rate"] == theirs["learning_rate"]
        model = AcousticModel.load(several / run / "model.safetensors")
        assert dev_per(model) == dev_per(AcousticModel.load(one / run / "model.safetensors"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
