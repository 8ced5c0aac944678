"""The table of runs that differ in their seed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.experiment import runs, seeds
from recipes.experiment.seeds import table


def run_of(seed: int, control: float, k8: float) -> dict:
    per = {"dense": 20.0, "control": control, "circulant": {"8": k8}, "chosen": k8, "integer": k8}
    dev = {
        "dense": 19.0,
        "control": 17.0,
        "circulant": {"8": 18.0},
        "chosen": 18.0,
        "integer": 18.0,
    }
    return {
        "seed": seed,
        "corpus": "built-in",
        "per": per,
        "per_dev": dev,
        "per_beam": {"control": control - 5, "chosen": k8 - 5, "integer": k8 - 4},
        "model": {"cell": "gru", "block_size": 8},
        "rtl": {"mismatches": 0},
    }


def test_means_are_set_against_the_control() -> None:
    text = table([run_of(0, 18.0, 18.5), run_of(1, 19.0, 20.5)])
    assert text.splitlines()[0] == (
        "| test PER, % | seed 0 | seed 1 | mean | points lost | dev | points lost, dev |"
    )
    assert "| k = 8 | 18.50 | 20.50 | 19.50 | +1.00 | 18.00 | +1.00 |" in text
    assert "| dense control | 18.00 | 19.00 | 18.50 | +0.00 | 17.00 | +0.00 |" in text
    assert "| integer, with an n-gram | 14.50 | 16.50 | 15.50 | +2.00 |  |  |" in text
    assert "Chosen: GRU k = 8, GRU k = 8. RTL mismatches: 0, 0." in text


def test_runs_must_be_comparable(small_runs: tuple[Path, ...]) -> None:
    one, other = run_of(0, 18.0, 18.5), run_of(1, 18.0, 18.5) | {"corpus": "TIMIT"}
    with pytest.raises(ValueError, match="differ in their corpus"):
        table([one, other])
    assert [s.seed for s in runs.settings_of(small_runs)] == [0, 1]
    with pytest.raises(ValueError, match=r"seeds are \[0, 0\]: each run must have its own"):
        runs.settings_of(small_runs[:1] * 2)
    with pytest.raises(ValueError, match="no run: name the folders"):
        runs.settings_of(())
    kept = small_runs[1] / "settings.json"
    kept.write_text(kept.read_text().replace('"epochs": 5', '"epochs": 4', 1))
    with pytest.raises(ValueError, match=r"seed1: its settings are not those of .*seed0"):
        seeds.run(seeds.Arguments(small_runs))


def test_command_line(small_runs: tuple[Path, ...]) -> None:
    for seed, out in enumerate(small_runs):
        (out / "results.json").write_text(json.dumps(run_of(seed, 18.0, 18.5)))
    command = [sys.executable, "-m", "recipes.experiment.seeds"]
    good = subprocess.run([*command, *small_runs], capture_output=True, text=True, check=True)
    assert good.stdout.startswith("| test PER, % | seed 0 | seed 1 | mean | points lost |")
    bad = subprocess.run([*command, "absent"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr == "error: absent: no settings.json; run.py --out absent writes it\n"
