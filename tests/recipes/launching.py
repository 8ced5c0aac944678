"""Tiny settings, and recipes as a user starts them."""

import re
import subprocess
import sys
import time
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"
STAGES = ["prepare", "features", "dense", "compress", "phase1", "phase2", "hardware", "beam"]
STAGES += ["report"]
SMALL = """
seed = 3
[corpus]
{corpus}
[features]
[model]
hidden_size = 24
num_layers = 2
{model}
[train]
epochs = 3
batch_size = 4
[spec_augment]
[compress]
block_sizes = [4, 8]
budget = 100.0
epochs = 4
learning_rate = 8e-3
admm_epochs = 2
admm_rho = 1e-3
admm_rho_end = 0.1
[quantize]
budget = 5.0
aware_epochs = 0
[hardware]
device = "xcku060"
measured = false
n_pe = 4
target_us = 20.0
utterances = 3
calibration_utterances = 8
"""
BUILT_IN = (
    "timit_phones = 61\ntrain_speakers = 6\ndev_speakers = 2\ntest_speakers = 2\nsentences = 4"
)


def write_settings(path: Path, corpus: str, model: str = "", **other: object) -> Path:
    """Write the small settings; ``other`` replaces values by their keys."""
    text = SMALL.format(corpus=corpus, model=model)
    for key, value in other.items():
        text, count = re.subn(rf"(?m)^{key} = .*", f"{key} = {value}", text)
        assert count, key
    path.write_text(text)
    return path


def start(recipe: str, *options: object) -> subprocess.Popen:
    """Start a recipe's script in a session of its own."""
    command = [sys.executable, RECIPES / recipe / "run.py", *options]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    stdout, stderr = process.communicate(timeout=500)
    return process.returncode, stdout, stderr


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Wait until a running recipe has written a file."""
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)
