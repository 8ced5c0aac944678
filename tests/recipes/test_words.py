"""The cost of short words on a few random utterances of two seeds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ernn.asr import AcousticModel
from recipes.experiment import words
from recipes.experiment.words import WORDS, Arguments, table
from recipes.timit.run import Corpus


def test_every_block_size_is_quantized_and_trained_once(
    small_runs: tuple[Path, ...], small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "in_parallel", lambda work, tasks: [work(t) for t in tasks])
    for out in small_runs:
        dense = AcousticModel.load(out / "dense" / "model.safetensors")
        for k in (4, 8):
            dense.compress(k).save(out / "phase1" / f"k{k}" / "model.safetensors")
        results = json.loads((out / "results.json").read_text())
        results["per"] = {"circulant": {"4": 0.0, "8": 0.0}}
        (out / "results.json").write_text(json.dumps(results))
    arguments = Arguments(small_runs, small_config, epochs=2)
    text = words.run(arguments, Corpus)
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
    assert words.run(arguments, Corpus) == text
    with pytest.raises(FileNotFoundError, match="absent: no results"):
        words.run(replace(arguments, runs=(Path("absent"),)), Corpus)
    with pytest.raises(ValueError, match="no run: name the folders"):
        words.run(replace(arguments, runs=()), Corpus)


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
