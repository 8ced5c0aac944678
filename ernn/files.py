"""Files that are either whole or not there, and the folder of what took long to make."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Write a file or a folder aside and rename it onto ``path`` when the block ends well.

    The name given to the block does not exist yet: the block makes a file or a folder of it. If the
    block raises, what it wrote is removed and ``path`` is as it was. A folder replaces the folder
    that was there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        new = aside / path.name
        yield new
        if path.is_dir():
            os.replace(path, aside / "replaced")
        os.replace(new, path)
    finally:
        shutil.rmtree(aside)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes of this machine out of a folder; a killed one's lock is gone.

    Raises:
        BlockingIOError: another one is in it, and this one should not ``wait``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"{folder}: another run is at work in it") from None
        yield


def cache_folder() -> Path:
    """Where what took long to make is kept: $ERNN_CACHE, or ~/.cache/ernn."""
    return Path(os.environ.get("ERNN_CACHE") or Path.home() / ".cache" / "ernn")


def digest(*texts: str) -> str:
    """A name for files that is made of these texts: no others share it."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
