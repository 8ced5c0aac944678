import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import manifest
from data_prep.manifest import Utterance

SECONDS = st.floats(0, 1e5, allow_nan=False)
SAMPLES = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))
UTTERANCE = Utterance("a_sx1", "/a.wav", 0.0, 1.0, "a", "One word.", ("h#",), ((0, 16000),))


@st.composite
def utterance(draw: st.DrawFn) -> Utterance:
    """An utterance with or without boundaries."""
    phones = draw(st.lists(st.text(), max_size=3).map(tuple))
    times = st.lists(SAMPLES, min_size=len(phones), max_size=len(phones)).map(tuple)
    return Utterance(
        id=draw(st.text()),
        audio=draw(st.from_regex("/[a-z]{1,9}", fullmatch=True)),
        start=draw(SECONDS),
        duration=draw(SECONDS),
        speaker=draw(st.text()),
        text=draw(st.text()),
        phones=phones,
        boundaries=draw(st.none() | times),
        sample_rate=draw(st.integers(1, 10**6)),
    )


@given(st.lists(utterance(), unique_by=lambda u: u.id, max_size=5))
@settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_reads_what_it_wrote(tmp_path: Path, utterances: list[Utterance]) -> None:
    manifest.write(utterances, tmp_path / "m.jsonl")
    assert manifest.read(tmp_path / "m.jsonl") == utterances


def test_relative_audio_is_beside_the_manifest(tmp_path: Path) -> None:
    manifest.write([replace(UTTERANCE, audio="wav/a.wav")], tmp_path / "m.jsonl")
    assert manifest.read(tmp_path / "m.jsonl")[0].audio == str(tmp_path / "wav" / "a.wav")


@pytest.mark.parametrize(
    "line",
    [
        *("", "{}", "[]", "not JSON", '{"id": "a", "audio": "b", "phones": []}'),
        json.dumps(vars(UTTERANCE) | {"id": "b", "boundaries": [[1, 2, 3]]}),
        json.dumps(vars(UTTERANCE) | {"id": "b", "boundaries": []}),
    ],
)
def test_a_line_that_is_no_utterance_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    manifest.write([UTTERANCE], path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"m\.jsonl:2: not an utterance") as error:
        manifest.read(path)
    assert "\n" not in str(error.value)


def test_ids_are_unique(tmp_path: Path) -> None:
    manifest.write([UTTERANCE, UTTERANCE], tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match=r"m\.jsonl:2: utterance a_sx1 occurs twice"):
        manifest.read(tmp_path / "m.jsonl")


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.jsonl: no such manifest"):
        manifest.read(tmp_path / "m.jsonl")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def utterances() -> object:
        yield UTTERANCE
        raise KeyboardInterrupt

    path = tmp_path / "m.jsonl"
    manifest.write([], path)
    with pytest.raises(KeyboardInterrupt):
        manifest.write(utterances(), path)  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == ""


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with manifest.atomic(tmp_path / "tree") as tree:
            tree.mkdir()
            (tree / name).touch()
    assert [*tmp_path.rglob("*")] == [tmp_path / "tree", tmp_path / "tree" / "new"]
