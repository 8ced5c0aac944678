"""The table of runs that differ in their seed."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.experiment.seeds import table


def run_of(seed: int, control: float, k8: float) -> dict:
    per = {"dense": 20.0, "control": control, "circulant": {"8": k8}, "chosen": k8, "integer": k8}
    return {
        "seed": seed,
        "corpus": "built-in",
        "per": per,
        "model": {"block_size": 8},
        "rtl": {"mismatches": 0},
    }


def test_means_are_set_against_the_control() -> None:
    text = table([run_of(0, 18.0, 18.5), run_of(1, 19.0, 20.5)])
    assert "| k = 8 | 18.50 | 20.50 | 19.50 | +1.00 |" in text
    assert "| dense control | 18.00 | 19.00 | 18.50 | +0.00 |" in text
    assert "RTL mismatches: 0, 0." in text


def test_runs_must_be_comparable() -> None:
    one = run_of(0, 18.0, 18.5)
    with pytest.raises(ValueError, match="each run must have its own"):
        table([one, one])
    other = copy.deepcopy(one)
    other["seed"], other["corpus"] = 1, "TIMIT"
    with pytest.raises(ValueError, match="differ in their corpus"):
        table([one, other])
    with pytest.raises(ValueError, match="no run"):
        table([])


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(run_of(0, 18.0, 18.5)))
    command = [sys.executable, "-m", "recipes.experiment.seeds"]
    good = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert good.stdout.startswith("| test PER, % | seed 0 | mean | against control |")
    bad = subprocess.run([*command, "absent"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr == "error: absent: no results.json; run.py --out absent writes it\n"
