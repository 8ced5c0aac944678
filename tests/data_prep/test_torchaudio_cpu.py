import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from data_prep import torchaudio_cpu


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The libraries' folder of a torchaudio that nobody imports."""
    folder = tmp_path / "torchaudio" / "lib"
    folder.mkdir(parents=True)
    for name in ("a.so", "b.so", "__init__.py"):
        (folder / name).touch()
    spec = importlib.machinery.ModuleSpec(
        "torchaudio", None, origin=str(folder.parent / "__init__.py")
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return folder


def machine(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    cpu: bool,
    imports: bool,
    imports_without: bool,
) -> None:
    """Stand in for fresh interpreters: what torch is, and when torchaudio imports."""

    def runs(code: str) -> bool:
        if "torch.version.cuda" in code:
            return cpu
        return imports if (folder / "a.so").exists() else imports_without

    monkeypatch.setattr(torchaudio_cpu, "_runs", runs)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_moves_the_libraries_once(monkeypatch: pytest.MonkeyPatch, libraries: Path) -> None:
    machine(monkeypatch, libraries, cpu=True, imports=False, imports_without=True)
    assert torchaudio_cpu.repair().endswith("2 CUDA libraries of torchaudio moved aside")
    assert names(libraries) == ["__init__.py", "a.so.cuda", "b.so.cuda"]
    assert torchaudio_cpu.repair() == "torchaudio imports: nothing to do"
    assert names(libraries) == ["__init__.py", "a.so.cuda", "b.so.cuda"]


@pytest.mark.parametrize("cpu", [True, False])
def test_leaves_what_imports(monkeypatch: pytest.MonkeyPatch, libraries: Path, cpu: bool) -> None:
    machine(monkeypatch, libraries, cpu=cpu, imports=True, imports_without=True)
    assert torchaudio_cpu.repair() == "torchaudio imports: nothing to do"
    assert names(libraries) == ["__init__.py", "a.so", "b.so"]


@pytest.mark.parametrize(("cpu", "imports_without"), [(False, True), (True, False)])
def test_leaves_what_it_cannot_help(
    monkeypatch: pytest.MonkeyPatch, libraries: Path, cpu: bool, imports_without: bool
) -> None:
    machine(monkeypatch, libraries, cpu=cpu, imports=False, imports_without=imports_without)
    with pytest.raises(ImportError, match="torchaudio does not import"):
        torchaudio_cpu.repair()
    assert names(libraries) == ["__init__.py", "a.so", "b.so"]


def test_this_environment_imports_torchaudio() -> None:
    assert torchaudio_cpu.repair() == "torchaudio imports: nothing to do"
