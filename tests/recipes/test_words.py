"""The cost of short words on a few random utterances of two seeds."""

from dataclasses import replace
from pathlib import Path

import pytest

from ernn.asr import AcousticModel
from recipes.experiment import words
from recipes.experiment.words import WORDS, Arguments, table


def test_every_block_size_is_quantized_and_trained_once(
    small_runs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "in_parallel", lambda work, tasks: [work(t) for t in tasks])
    for out in small_runs:
        dense = AcousticModel.load(out / "dense" / "lstm" / "model.safetensors")
        for k in (4, 8):
            dense.compress(k).save(out / "compress" / f"k{k}" / "model.safetensors")
    arguments = Arguments(small_runs, epochs=2)
    text = words.run(arguments)
    names = [*WORDS, "8-bit weights and activations, trained"]
    rows = [[f"| {k}", name] for k in (4, 8) for name in names]
    assert [line.split(" | ")[:2] for line in text.splitlines()[2:]] == rows
    for out in small_runs:
        assert (out / "words" / "words.md").read_text() == text
        logs = list((out / "words").rglob("log.jsonl"))
        assert [len(log.read_text().splitlines()) for log in logs] == [2, 2]

    def never(*_: object) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(words, "recognise", never)
    assert words.run(arguments) == text
    with pytest.raises(FileNotFoundError, match=r"absent: no settings\.json"):
        words.run(replace(arguments, runs=(Path("absent"),)))


def test_points_lost_are_means_against_float() -> None:
    runs = [
        {"float": {"dev": 10.0, "test": 20.0}, "short": {"dev": 10.5, "test": 21.0}},
        {"float": {"dev": 11.0, "test": 22.0}, "short": {"dev": 11.0, "test": 22.5}},
    ]
    assert table({8: runs}).splitlines() == [
        "| k | points lost against float | test 1 | test 2 | test | dev |",
        "|---|---|---|---|---|---|",
        "| 8 | short | +1.00 | +0.50 | +0.75 | +0.25 |",
    ]
