"""The README's snippet and commands do what it says."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def python(folder: Path, *command: str) -> str:
    """Run Python; return what it prints."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_every_snippet_is_run_here() -> None:
    assert len(SNIPPETS) == 3


def test_any_model_is_compressed_stored_and_given_back(tmp_path: Path) -> None:
    table = python(tmp_path, "-W", "error", "-c", SNIPPETS[1])
    assert "| 3 | CirculantLinear | 500 x 11520 | 8 |" in table
    assert (tmp_path / "small.safetensors").is_file()


def test_a_network_of_images_is_quantized(tmp_path: Path) -> None:
    said = python(tmp_path, "-W", "error", "-c", SNIPPETS[2])
    assert re.fullmatch(r"\d+ cycles an image\n", said)


def test_snippet_runs_and_its_bundle_converts(tmp_path: Path) -> None:
    run = partial(python, tmp_path)
    assert re.fullmatch(r"\d\.\d times fewer weights\n", run("-W", "error", "-c", SNIPPETS[0]))
    assert "--bundle bundle --out rtl" in README.read_text()
    run("-m", "hdl.convert", "--bundle", "bundle", "--out", "rtl")
    make = ["make", "-C", "rtl", "verilator"]
    result = subprocess.run(make, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "PASS" in result.stdout.splitlines()
