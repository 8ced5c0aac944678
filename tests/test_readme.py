"""The README's snippet and commands do what it says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_snippet_runs_and_its_bundle_converts(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert re.fullmatch(r"\d\.\d times fewer weights\n", run("-W", "error", "-c", snippet))
    assert "--bundle bundle --out rtl" in README.read_text()
    run("-m", "hdl.convert", "--bundle", "bundle", "--out", "rtl")
    make = ["make", "-C", "rtl", "verilator"]
    result = subprocess.run(make, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "PASS" in result.stdout.splitlines()
