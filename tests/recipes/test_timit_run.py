"""The TIMIT recipe as a user runs it, on a corpus of a few speakers: whole, killed, interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "recipes" / "timit" / "run.py"
SMALL = """
seed = 3
[corpus]
phones = 39
train_speakers = 6
dev_speakers = 2
test_speakers = 2
sentences = 4
[features]
[model]
hidden_size = 24
num_layers = 2
[train]
epochs = 3
batch_size = 4
[spec_augment]
[compress]
block_sizes = [4, 8]
budget = 100.0
admm_epochs = 2
admm_rho = 0.1
admm_rho_growth = 2.0
admm_learning_rate = 2e-3
epochs = 2
learning_rate = 8e-3
[quantize]
[hardware]
n_pe = 4
utterances = 3
calibration_utterances = 8
"""
STAGES = ["prepare", "features", "dense", "phase1", "phase2", "hardware", "report"]


def start(out: Path, config: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, RUN, "--out", out, "--config", config, *options]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=500)
    return process.returncode, stdout, stderr


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from beginning to end."""
    out = tmp_path_factory.mktemp("whole") / "exp"
    code, stdout, stderr = finish(start(out, config))
    assert code == 0, stderr
    for stage in STAGES:
        assert stage in stdout
    return out


def test_rtl_equals_the_integer_model_and_the_report_says_so(whole: Path) -> None:
    results = json.loads((whole / "results.json").read_text())
    assert results["rtl"]["mismatches"] == 0
    assert results["rtl"]["utterances"] == 3
    assert results["rtl"]["frames"] > 50
    assert results["rtl"]["layers"] == 2
    assert results["rtl"]["words"] == 24 * results["rtl"]["frames"]
    assert results["rtl"]["cycles_per_frame"] == pytest.approx(
        results["rtl"]["scheduled_cycles_per_frame"], rel=0.01
    )
    assert results["model"] == {"cell": "lstm", "hidden": 24, "layers": 2, "block_size": 8}
    assert results["seed"] == 3
    assert set(results["per"]["circulant"]) == {"4", "8"}
    assert results["per"]["chosen"] == results["per"]["circulant"]["8"]
    assert 0 < results["rtl"]["utilization"] <= 1
    assert results["parameters"]["chosen"] < results["parameters"]["dense"]
    assert set(results["resources"]) == {"dsp", "lut", "ff", "bram36"}
    assert results["resources"]["dsp"] > 0
    assert list(results["seconds"]) == STAGES[:-1]  # the report is not written yet


def test_example_is_recognised_alike_by_integer_model_and_rtl(whole: Path) -> None:
    example = json.loads((whole / "hardware" / "result.json").read_text())["example"]
    assert example["rtl"] == example["integer"]
    text = (whole / "RESULTS.md").read_text()
    assert f"rtl       {' '.join(example['rtl'])}" in text


def test_pictures_are_drawn(whole: Path) -> None:
    for name in ("training", "compression", "activations", "ranges"):
        assert (whole / "report" / f"{name}.png").stat().st_size > 5000


def test_a_second_run_has_nothing_left_to_do(whole: Path, config: Path) -> None:
    results = (whole / "results.json").read_text()
    code, stdout, stderr = finish(start(whole, config))
    assert code == 0, stderr
    assert stdout.count("(already there)") == len(STAGES)
    assert (whole / "results.json").read_text() == results


def test_killed_and_interrupted_it_goes_on_to_the_same_models(
    whole: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "exp"
    process = start(out, config)
    wait_for(out / "dense" / "training" / "checkpoint.safetensors", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    process = start(out, config)
    wait_for(out / "phase1" / "k4" / "admm" / "checkpoint.safetensors", process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, stderr = finish(process)
    assert code == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "interrupted: the same command goes on from here"

    process = start(out, config)
    wait_for(out / "phase2" / "result.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for name in (
        "dense/model.safetensors",
        "phase1/control/model.safetensors",
        "phase1/k4/model.safetensors",
        "phase1/k8/model.safetensors",
        "phase2/bundle/bundle.json",
        "phase2/bundle/weights.safetensors",
    ):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corpus", "timit"], "--corpus timit needs --timit-root"),
        (["--corpus", "builtin", "--timit-root", "/nowhere"], "takes no --timit-root"),
        (["--timit-root", "/nowhere"], "/nowhere"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: no such settings file"),
    ],
)
def test_bad_arguments_get_one_line_and_exit_code_2(
    options: list[str], message: str, tmp_path: Path, config: Path
) -> None:
    code, _, stderr = finish(start(tmp_path / "exp", config, *options))
    assert code == 2
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
