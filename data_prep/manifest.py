"""Manifests: a corpus as JSON lines, one utterance a line."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Utterance:
    """A stretch of one audio file, with what is said in it.

    Raises:
        ValueError: there are boundaries, but not one pair for each phone.
    """

    id: str
    audio: str  # absolute, or relative to the manifest's folder
    start: float  # s
    duration: float  # s
    speaker: str
    text: str
    phones: tuple[str, ...]  # as the corpus has them
    boundaries: tuple[tuple[int, int], ...] | None = None  # (start, end) of each, in samples
    sample_rate: int = 16000  # Hz, of the boundaries

    def __post_init__(self) -> None:
        if self.boundaries is not None and len(self.boundaries) != len(self.phones):
            raise ValueError(f"{len(self.boundaries)} boundaries of {len(self.phones)} phones")


def read(path: Path | str) -> list[Utterance]:
    """Read a manifest; relative audio paths are taken from its folder.

    Raises:
        FileNotFoundError: there is no manifest at ``path``.
        ValueError: a line is not an utterance, or an id occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest")
    utterances: dict[str, Utterance] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            fields = json.loads(line)
            fields["audio"] = str(path.parent / fields["audio"])
            fields["phones"] = tuple(str(phone) for phone in fields["phones"])
            if fields["boundaries"] is not None:
                fields["boundaries"] = tuple((int(a), int(b)) for a, b in fields["boundaries"])
            utterance = Utterance(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}:{number}: not an utterance: {error!r}") from None
        if utterance.id in utterances:
            raise ValueError(f"{path}:{number}: utterance {utterance.id} occurs twice")
        utterances[utterance.id] = utterance
    return list(utterances.values())


def write(utterances: Iterable[Utterance], path: Path | str) -> None:
    """Write a manifest, whole or not at all."""
    with atomic(path) as new:
        new.write_text("".join(json.dumps(vars(u)) + "\n" for u in utterances), encoding="utf-8")


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Write a file or a folder aside and rename it onto ``path`` when the block ends well."""
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
