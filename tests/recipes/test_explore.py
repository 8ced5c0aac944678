"""The recipe's study on a few random utterances."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from data_prep import manifest
from data_prep.manifest import Utterance
from ernn.explore import Candidate
from ernn.explore.study import Space
from ernn.quantize import WordLengths
from recipes.experiment.explore import Arguments, Trainer, run
from recipes.experiment.settings import read_settings, remember, remembered
from recipes.timit.run import Corpus

DEFAULT = Path(__file__).parents[2] / "recipes" / "timit" / "default.toml"
SPACE = Space(hidden_sizes=(8, 16), num_layers=(1,), block_sizes=(4, 8), n_pe=(4,))


@pytest.fixture
def out(tmp_path):
    """What run.py leaves after its features."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("dev", 4)):
        phones = "h#", "aa", "t", "iy"
        names = [f"{split}{n}" for n in range(count)]
        utterances = [Utterance(name, "none", 0.0, 1.0, "s", "", phones, None) for name in names]
        manifest.write(utterances, tmp_path / "prepare" / "manifests" / f"{split}.jsonl")
        frames = {name: rng.standard_normal((9, 160), np.float32) for name in names}
        (tmp_path / "features").mkdir(exist_ok=True)
        save_file(frames, tmp_path / "features" / f"{split}.safetensors")
    (tmp_path / "features" / "key").write_text("random")
    remember(tmp_path, DEFAULT, read_settings(DEFAULT, None, Corpus)[1])
    return tmp_path


def test_a_study(out, capsys):
    arguments = Arguments(out, trials=4, device="xc7a100t", epochs=1, space=SPACE)
    run(arguments)
    folder = out / "explore" / "xc7a100t"
    assert str(folder / "pareto.png") in capsys.readouterr().out
    content = json.loads((folder / "study.json").read_text())
    assert len(content["trials"]) == 4
    for trial in content["trials"]:
        assert trial["state"] == "complete"
        assert trial["core"].startswith("4 PEs")
        assert 0 < trial["values"][0] <= 300
    with pytest.raises(ValueError, match="was begun with another settings"):
        run(replace(arguments, epochs=2))


def test_word_lengths_share_a_training(out):
    settings = remembered(out)
    trainer = Trainer(settings, 2, out)
    candidate = Candidate(settings.model).shaped(hidden_size=8, num_layers=1, block_size=4)
    curves = []
    pers = [
        trainer(replace(candidate, words=WordLengths(weight=bits)), curves.append)
        for bits in (12, 3)
    ]
    assert len(curves[-1]) == 2  # trained in two epochs, once
    assert len(curves) == 2
    assert len(list((out / "explore" / "models-2-epochs").iterdir())) == 1
    assert all(per > 0 for per in pers)


def test_what_is_missing_is_told(out, tmp_path):
    arguments = Arguments(tmp_path / "absent", trials=1)
    with pytest.raises(FileNotFoundError, match=r"absent: no settings\.json; run.py --out"):
        run(arguments)
    with pytest.raises(ValueError, match=r"^nothing://: "):
        run(replace(arguments, run=out, storage="nothing://"))
    (out / "features" / "key").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no features; run\.py --out"):
        run(replace(arguments, run=out))
