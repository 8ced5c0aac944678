"""The recipe of speechocean762 on a made-up half: noise that rises and falls with its phones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from launching import STAGES, finish, start, write_settings
from standins import without_tools

from ernn import bundle
from ernn.asr import AcousticModel
from ernn.asr.recogniser import Recogniser
from ernn.quantize import OfflineModel
from recipes.speechocean762 import run as speechocean762
from recipes.speechocean762.run import Options

CORPUS = "dev_speakers = 2\ntest_speakers = 2\nseed = 0"
SENTENCES = {"SHE SEES": "SH IY1 S IY1 Z", "NO ONE KNOWS": "N OW1 W AH0 N N OW1 Z"}
SENTENCES |= {"ZOO": "Z UW0", "A SONG": "AH0 S AO1 NG"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten speakers with four sentences each, some of them everybody's."""
    root = tmp_path_factory.mktemp("corpus")
    folder = root / "train"
    folder.mkdir()
    tables: dict[str, list[str]] = {name: [] for name in ("text", "utt2spk", "phones")}
    rng = np.random.default_rng(0)
    speakers = [f"{n:04}" for n in range(10)]
    for n, speaker in enumerate(speakers):
        for number, (text, said) in enumerate(SENTENCES.items()):
            name = f"{speaker}{number}"
            own = "" if number < 2 else f" {speaker}"
            tables["text"].append(f"{name}\t{text}{own}")
            tables["utt2spk"].append(f"{name} {speaker}")
            tables["phones"].append(f"{name} {said}")
            loudness = np.repeat([0.2, 0.02] * len(said.split()), 1000 + 50 * n)
            audio = loudness * rng.standard_normal(len(loudness))
            soundfile.write(folder / f"{name}.ogg", audio, 16000, format="OGG", subtype="OPUS")
    tables["spk2age"] = [f"{speaker} {6 + 3 * n}" for n, speaker in enumerate(speakers)]
    tables["spk2gender"] = [f"{speaker} {'mf'[n % 2]}" for n, speaker in enumerate(speakers)]
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "small.toml"
    return write_settings(path, CORPUS, "bidirectional = true", hidden_size=12, block_sizes=[4])


@pytest.fixture(scope="module")
def whole(root: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from beginning to end."""
    out = tmp_path_factory.mktemp("whole") / "exp"
    with without_tools():
        speechocean762.run(Options(out, config, root=root))
    return out


def check_results(out: Path) -> dict:
    """What holds with the real tools and without."""
    results = json.loads((out / "results.json").read_text())
    assert results["model"] | {"hidden": 12, "layers": 2, "bidirectional": True} == results["model"]
    assert results["utterances"] == {"train": 24, "dev": 8, "test": 8}
    rtl = results["rtl"]
    assert (rtl["layers"], rtl["programs"], rtl["mismatches"]) == (2, 4, 0)
    assert rtl["words"] == 4 * 12 * rtl["frames"] > 4 * 12 * 50
    assert 0 < rtl["utilization"] <= 1
    example = json.loads((out / "hardware" / "result.json").read_text())["example"]
    assert example["rtl"] == example["integer"]
    images = {path.name for path in (out / "hardware" / "rtl").glob("*.hex")}
    assert images >= {"image.hex", *(f"image-{n}.hex" for n in ("0-reverse", "1-forward"))}
    return results


def test_results_say_who_was_tested(whole: Path) -> None:
    results = check_results(whole)
    assert results["note"] == (
        "Test: held-out speakers of the training half, not the official test set. Dev: other "
        "held-out speakers of the training half. Sentences that training has too: 4 of dev, 4 of "
        "test."
    )
    text = (whole / "RESULTS.md").read_text()
    assert results["note"] in text
    assert "39 phones trained, 39 scored, there is no silence among them" in text
    assert "LSTM 2 x 12, both directions" in text
    assert "cycles are the sum over the 4 programs" in text
    assert results["rtl"]["cycles_per_frame"] == 400
    assert (whole / "report" / "ranges.png").stat().st_size > 5000


def test_phones_are_scored_without_stress(whole: Path) -> None:
    alignments = (whole / "dense" / "lstm" / "test.alignments.txt").read_text()
    assert "IY" in alignments
    assert "IY1" not in alignments
    assert (
        AcousticModel.load(whole / "dense" / "lstm" / "model.safetensors").output.out_features == 40
    )


def test_the_bundle_is_a_model_for_whole_utterances(whole: Path) -> None:
    model = bundle.load_offline(whole / "phase2" / "bundle")
    assert isinstance(model, OfflineModel)
    assert [len(stage) for stage in model.stages] == [2, 2, 1]
    saved = Recogniser.load(whole / "recogniser")
    assert isinstance(saved.integer, OfflineModel)
    assert len(saved.phones) == 39


def test_a_training_with_another_seed_has_the_same_speakers(
    root: Path,
    whole: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def dense(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recipes.experiment.training.dense", dense)
    for stage in ("prepare", "features"):
        shutil.copytree(whole / stage, tmp_path / stage)
    with pytest.raises(KeyboardInterrupt):
        speechocean762.run(Options(tmp_path, config, seed=9, root=root))
    assert capsys.readouterr().out.count("(already there)") == 2


def test_frames_without_boundaries_are_told(
    root: Path, whole: Path, config: Path, tmp_path: Path
) -> None:
    for stage in ("prepare", "features"):
        shutil.copytree(whole / stage, tmp_path / stage)
    frames = tmp_path / "frames.toml"
    frames.write_text(config.read_text().replace("[train]\n", '[train]\ncriterion = "frames"\n'))
    with pytest.raises(ValueError, match=r"criterion is 'frames': \w+ has no boundaries"):
        speechocean762.run(Options(tmp_path, frames, root=root))


def test_the_corpus_must_be_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ERNN_DATA", raising=False)
    code, _, stderr = finish(start("speechocean762", "--out", tmp_path / "exp"))
    assert code == 2
    assert stderr == "error: name the corpus by --root, or the folder that holds it by ERNN_DATA\n"
    monkeypatch.setenv("ERNN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="speechocean762: no train/utt2spk"):
        speechocean762.run(Options(tmp_path / "exp", config))


@pytest.mark.slow
def test_as_a_user_runs_it(root: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "exp"
    options = ("--out", out, "--config", config, "--root", root)
    code, stdout, stderr = finish(start("speechocean762", *options))
    assert code == 0, stderr
    for stage in STAGES:
        assert stage in stdout
    rtl = check_results(out)["rtl"]
    assert rtl["cycles_per_frame"] == pytest.approx(rtl["scheduled_cycles_per_frame"], rel=0.02)
    assert (out / "hardware" / "rtl" / "testbench.v").is_file()
