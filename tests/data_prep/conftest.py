import os
from pathlib import Path

import pytest

from data_prep import synthetic


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built-in corpus of 8 speakers with 4 sentences each."""
    root = tmp_path_factory.mktemp("corpus") / "builtin"
    synthetic.generate(root, train_speakers=4, dev_speakers=2, test_speakers=2, sentences=4)
    return root


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Where pictures to look at go."""
    folder = Path(os.environ.get("ERNN_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
