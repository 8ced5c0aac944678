"""Make torchaudio importable beside a CPU build of torch.

    python -m data_prep.torchaudio_cpu

torchaudio's Linux wheels hold extension libraries linked against CUDA; beside a torch without CUDA
they fail to load, and the import with them. The features used here are pure Python: with the
libraries renamed, torchaudio works. Where torch has CUDA or torchaudio imports nothing is touched.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

SUFFIX = ".cuda"  # of a library that was moved aside


def repair() -> str:
    """Move torchaudio's libraries aside if nothing less helps; return in one line what was done.

    Raises:
        ImportError: torchaudio is not installed, or does not import for another reason.
    """
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        raise ImportError("torchaudio is not installed")
    if _runs("import torchaudio"):
        return "torchaudio imports: nothing to do"
    if not _runs("import torch; assert torch.version.cuda is None"):
        raise ImportError("torchaudio does not import, and torch is not a CPU build that imports")
    libraries = sorted(Path(spec.origin).parent.glob("lib/*.so"))
    for library in libraries:
        library.rename(f"{library}{SUFFIX}")
    if not _runs("import torchaudio"):
        for library in libraries:
            Path(f"{library}{SUFFIX}").rename(library)
        raise ImportError("torchaudio does not import, even without its extension libraries")
    return f"torch has no CUDA: {len(libraries)} CUDA libraries of torchaudio moved aside"


def _runs(code: str) -> bool:
    """Whether ``code`` runs in a fresh interpreter: a failed import leaves traces in this one."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    try:
        print(repair())
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
