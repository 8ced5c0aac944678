"""The ablation on a few random utterances of two seeds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ernn.asr import AcousticModel
from recipes.experiment import ablation
from recipes.experiment.ablation import Arguments, table, variations
from recipes.experiment.settings import remembered


def test_every_variation_is_trained_once_for_each_seed(
    small_runs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "in_parallel", lambda work, tasks: [work(t) for t in tasks])
    arguments = Arguments(small_runs, block_size=8)
    text = ablation.run(arguments)
    lines = text.splitlines()
    names = ["dense control", *variations(remembered(small_runs[0]).compress)]
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]
    assert lines[2] == "| dense control | 20.00 | 21.00 | 20.50 | +0.00 | 10.00 | +0.00 |"
    for out in small_runs:
        assert (out / "ablation" / "k8.md").read_text() == text
        for folder in (out / "ablation" / "k8").iterdir():
            model = AcousticModel.load(folder / "model.safetensors")
            assert model.config.block_size == 8
        spent = {
            folder.name: sum(len(log.read_text().splitlines()) for log in folder.rglob("log.jsonl"))
            for folder in (out / "ablation" / "k8").iterdir()
        }
        assert set(spent.values()) == {5}  # all have as many epochs
        assert len(spent) == len(names) - 1

    def never(*_):
        raise AssertionError("it is there")

    monkeypatch.setattr(ablation, "train_circulant", never)
    assert ablation.run(arguments) == text
    for out in small_runs:
        kept = out / "settings.json"
        kept.write_text(
            kept.read_text().replace('"learning_rate": 0.008', '"learning_rate": 0.007')
        )
    with pytest.raises(ValueError, match="was trained with other settings; remove it"):
        ablation.run(arguments)
    (small_runs[1] / "compress" / "result.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"seed1: no dense control; run.py --out .*seed1 trains"
    ):
        ablation.run(arguments)


def test_some_variations_alone_and_the_run_s_own_model(
    small_runs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "in_parallel", lambda work, tasks: [work(t) for t in tasks])
    for out in small_runs:
        stored = out / "compress" / "result.json"
        trained = json.loads(stored.read_text()) | {"variants": {"8": {"dev": 1.0, "test": 2.0}}}
        stored.write_text(json.dumps(trained))
    arguments = Arguments(small_runs, block_size=8, only=("ADMM",))
    text = ablation.run(arguments)  # a quarter of 5 epochs is the one that the run had
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == [
        "| dense control",
        "| ADMM",
    ]
    assert "| ADMM | 2.00 | 2.00 | 2.00 |" in text
    with pytest.raises(ValueError, match="no variation 'ADM'; there are 'projection, fine-tuning'"):
        ablation.run(replace(arguments, only=("ADM",)))


def test_points_lost_are_means_against_the_control() -> None:
    controls = [{"dev": 10.0, "test": 20.0}, {"dev": 12.0, "test": 21.0}]
    runs = {"plain": [{"dev": 11.0, "test": 22.0}, {"dev": 12.0, "test": 22.0}]}
    assert table(controls, runs, 4).splitlines()[3] == (
        "| plain | 22.00 | 22.00 | 22.00 | +1.50 | 11.50 | +0.50 |"
    )
