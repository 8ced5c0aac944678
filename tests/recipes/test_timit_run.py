"""The TIMIT recipe on a corpus of a few speakers; slow: as a user runs it, killed, interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from launching import BUILT_IN, RECIPES, STAGES, finish, start, wait_for, write_settings
from standins import without_tools

from benchmarks import transcribe as benchmark
from data_prep.features import load_statistics
from data_prep.phones import PHONES_39, PHONES_61, timit_set
from ernn import bundle
from ernn.asr import AcousticModel, transcribe
from ernn.asr.recogniser import Recogniser
from ernn.explore.phase2 import one_bit_shorter
from ernn.files import locked
from ernn.quantize import WordLengths
from recipes.experiment import speech, training
from recipes.experiment.settings import Settings
from recipes.timit import run as timit
from recipes.timit.run import Options


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "small.toml"
    return write_settings(path, f"phones = 61\n{BUILT_IN}", aware_epochs=1)


@pytest.fixture(scope="module")
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from beginning to end, 61 phones trained."""
    out = tmp_path_factory.mktemp("whole") / "exp"
    with without_tools():
        timit.run(Options(out, config))
    return out


def test_results_and_report(whole: Path) -> None:
    results = json.loads((whole / "results.json").read_text())
    assert (
        results["model"] | {"hidden": 24, "layers": 2, "bidirectional": False} == results["model"]
    )
    assert (results["corpus"], results["seed"]) == ("built-in", 3)
    assert results["utterances"] == {"train": 24, "dev": 8, "test": 8}
    assert set(results["per"]["circulant"]) == {"4", "8"}
    assert results["parameters"]["chosen"] < results["parameters"]["dense"]
    rtl = results["rtl"]
    assert (rtl["utterances"], rtl["layers"], rtl["programs"], rtl["mismatches"]) == (3, 2, 1, 0)
    assert rtl["words"] == 24 * rtl["frames"] > 24 * 50
    assert rtl["cycles_per_frame"] == 100
    assert rtl["utilization"] == rtl["block_products"] / 4 / 100
    assert list(results["seconds"]) == STAGES[:-1]  # the report is not written yet
    text = (whole / "RESULTS.md").read_text()
    assert "61 phones trained, 39 scored, silence counts" in text
    assert (
        "Its PER is not comparable with TIMIT's. Utterances of train, dev and test: 24 / 8 / 8"
        in text
    )
    assert (whole / "hardware" / "rtl" / "image.hex").is_file()


def test_the_model_is_chosen_on_evidence(whole: Path) -> None:
    found = json.loads((whole / "phase1" / "explore" / "phase1.json").read_text())
    results = json.loads((whole / "results.json").read_text())
    shape = found["chosen"]["model"]
    assert (results["model"]["cell"], results["model"]["block_size"]) == (
        shape["cell"],
        shape["block_size"],
    )
    tried = {(s["candidate"]["model"]["cell"], s["trained"] is not None) for s in found["steps"]}
    assert {("lstm", True), ("gru", True), ("gru", False)} <= tried  # at 2k nothing can be built
    model = bundle.load(whole / "phase2" / "bundle")
    assert {layer.block_size for layer in model.recurrent()} == {shape["block_size"]}
    assert f"Phase I chose {found['verdict']}" in (whole / "RESULTS.md").read_text()


def test_what_is_trained_as_61_phones_is_scored_as_39(whole: Path) -> None:
    example = json.loads((whole / "hardware" / "result.json").read_text())["example"]
    assert example["rtl"] == example["integer"]
    assert f"rtl       {' '.join(example['rtl'])}" in (whole / "RESULTS.md").read_text()
    alignments = (whole / "dense" / "lstm" / "test.alignments.txt").read_text().split()
    assert {*alignments} & {*PHONES_61} <= {*PHONES_39}
    assert alignments.count("sil") > 100
    model = AcousticModel.load(whole / "dense" / "lstm" / "model.safetensors")
    assert model.output.out_features == 62


def test_the_beam_search_is_scored_beside_the_best_path(whole: Path) -> None:
    result = json.loads((whole / "beam" / "result.json").read_text())
    results = json.loads((whole / "results.json").read_text())
    per = {name: found["per"] for name, found in result["test"]["greedy"].items()}
    assert per == {name: results["per"][name] for name in ("control", "chosen", "integer")}
    assert result["dev"]["greedy"] == {name: results["per_dev"][name] for name in per}
    assert results["per_beam"] == {n: f["per"] for n, f in result["test"]["beam"].items()}
    assert result["settings"]["integer"] == result["settings"]["chosen"]
    for found in result["test"].values():
        assert found["control"]["lost"] == 0
        assert found["chosen"]["lost"] == found["chosen"]["per"] - found["control"]["per"]
        low, high = found["integer"]["interval"]
        assert low <= found["integer"]["per"] <= high
    text = (whole / "RESULTS.md").read_text()
    for way in ("greedy", "beam"):
        dev, test = result["dev"][way]["control"], result["test"][way]["control"]["per"]
        assert f"| {way} | control | {dev:.2f} | {test:.2f} | " in text
    assert (whole / "beam" / "phones.arpa").read_text().startswith("\\data\\")


def test_the_recogniser_it_leaves_transcribes(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Recogniser.load(whole / "recogniser")
    assert saved.phones == PHONES_61
    assert saved.integer is not None
    phase1 = json.loads((whole / "phase1" / "result.json").read_text())
    chosen = AcousticModel.load(whole / phase1["chosen"]["folder"] / "model.safetensors")
    for name, tensor in chosen.state_dict().items():
        assert tensor.equal(saved.model.state_dict()[name])
    mean, deviation = load_statistics(whole / "features" / "train.safetensors")
    assert (saved.mean.tolist(), saved.deviation.tolist()) == (mean.tolist(), deviation.tolist())

    clip = min((whole / "prepare" / "corpus" / "TEST").glob("*/*/*.WAV"))
    for backend in ("float", "integer"):
        options = ["--model", str(whole / "recogniser"), "--backend", backend]
        monkeypatch.setattr(sys, "argv", ["transcribe", str(clip), *options])
        assert transcribe.main() == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines
        assert {line.split()[-1] for line in lines} <= {*PHONES_61}


def test_the_benchmark_of_transcribing_starts_from_the_recipes_error_rates(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["transcribe", str(whole), "--rtl-utterances", "0"])
    assert benchmark.main() == 0
    header, _, speaker, pipe, file, *_, of_float, of_integer = capsys.readouterr().out.splitlines()
    per = json.loads((whole / "results.json").read_text())["per"]
    assert header == "| normalised over | float, PER | integer, PER |"
    assert speaker == f"| each speaker's speech | {per['chosen']:.2f} | {per['integer']:.2f} |"
    for row, source in ((pipe, "a pipe"), (file, "a file")):
        assert row.startswith(f"| the utterance as it comes, as of {source} | ")
        assert [0 < float(rate) <= 200 for rate in row[:-2].split(" | ")[1:]] == [True, True]
    for row, backend in ((of_float, "float"), (of_integer, "integer")):
        assert row.startswith(f"| {backend} | 8 | 0.")
    monkeypatch.setattr(sys, "argv", ["transcribe", str(whole / "absent")])
    assert benchmark.main() == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_word_lengths_are_searched_and_trained(whole: Path) -> None:
    found = json.loads((whole / "phase2" / "phase2.json").read_text())
    words = json.loads((whole / "results.json").read_text())["model"]["words"]
    assert words == found["chosen"]["words"]
    assert words["weight"] < 16
    shortest = WordLengths(**found["steps"][-1]["taken"]["words"])
    assert found["trainings"][0]["words"] == asdict(one_bit_shorter(shortest))
    model = bundle.load(whole / "phase2" / "bundle")
    formats = [layer.formats for layer in model.recurrent()]
    assert {fmt.weight_recurrent.word_length for fmt in formats} == {words["weight"]}
    assert {fmt.cell.segments for fmt in formats} == {words["segments"]}
    assert found["verdict"] in (whole / "RESULTS.md").read_text()


def test_pictures_are_drawn(whole: Path) -> None:
    for name in ("training", "compression", "activations", "ranges"):
        assert (whole / "report" / f"{name}.png").stat().st_size > 5000


def test_a_second_run_has_nothing_left_to_do(
    whole: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = (whole / "results.json").read_text()
    timit.run(Options(whole, config))
    assert capsys.readouterr().out.count("(already there)") == len(STAGES)
    assert (whole / "results.json").read_text() == results


def test_a_run_beside_another_is_refused_and_changes_nothing(whole: Path, tmp_path: Path) -> None:
    settings = (whole / "settings.json").read_text()
    other = write_settings(tmp_path / "other.toml", f"phones = 39\n{BUILT_IN}")
    with locked(whole), pytest.raises(BlockingIOError, match="another run is at work in it"):
        timit.run(Options(whole, other))
    assert (whole / "settings.json").read_text() == settings


def test_other_phones_leave_the_corpus_and_the_features(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What comes after them starts over: the model has other classes."""

    def dense(folder: Path, *_: object) -> None:
        raise KeyboardInterrupt(folder.name)

    monkeypatch.setattr(training, "dense", dense)
    config = write_settings(tmp_path / "48.toml", f"phones = 48\n{BUILT_IN}")
    out = tmp_path / "exp"
    for stage in ("prepare", "features"):
        shutil.copytree(whole / stage, out / stage)
    with pytest.raises(KeyboardInterrupt, match="dense"):
        timit.run(Options(out, config))
    assert capsys.readouterr().out.count("(already there)") == 2


def test_frames_are_classified_and_decoded_as_a_hybrid(
    whole: Path, tmp_path: Path, no_tools: None
) -> None:
    out = tmp_path / "exp"
    shutil.copytree(whole / "prepare", out / "prepare")
    shutil.copytree(whole / "features", out / "features")
    config = write_settings(tmp_path / "frames.toml", f"phones = 61\n{BUILT_IN}")
    text = config.read_text().replace("block_sizes = [4, 8]", "block_sizes = [4]")
    config.write_text(text.replace("[train]\n", '[train]\ncriterion = "frames"\n'))
    timit.run(Options(out, config))
    result = json.loads((out / "beam" / "result.json").read_text())
    assert set(result["settings"]["chosen"]) == {"prior_scale", "lm_weight"}
    assert "Viterbi search of the hybrid set-up" in (out / "RESULTS.md").read_text()


def test_of_a_licensed_timit_61_phones_are_trained_and_what_it_lacks_is_told(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dense(folder: Path, settings: Settings, out: Path) -> None:
        assert settings.model.num_phones == 61
        (train_set,) = speech.datasets(out, settings, ["train"])
        assert train_set.symbols == timit_set(61).symbols
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "dense", dense)
    other = write_settings(tmp_path / "39.toml", f"phones = 39\n{BUILT_IN}")
    with pytest.raises(KeyboardInterrupt):
        timit.run(Options(tmp_path, other, timit_root=whole / "prepare" / "corpus"))
    result = json.loads((tmp_path / "prepare" / "result.json").read_text())
    assert result["corpus"] == "TIMIT"
    assert result["note"].startswith(
        "It is not the whole of TIMIT: train has 24 of 3696 utterances"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "timit"}, "--corpus timit needs --timit-root"),
        ({"corpus": "builtin", "timit_root": Path("/nowhere")}, "takes no --timit-root"),
        ({"timit_root": Path("/nowhere")}, "/nowhere: no TIMIT utterance"),
        ({"config": Path("/nowhere.toml")}, "/nowhere.toml: no such settings file"),
    ],
)
def test_bad_options_are_named(
    options: dict[str, object], message: str, tmp_path: Path, config: Path
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        timit.run(Options(**{"out": tmp_path / "exp", "config": config} | options))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_bad_options_get_one_line_and_exit_code_2(tmp_path: Path) -> None:
    code, _, stderr = finish(start("timit", "--out", tmp_path / "exp", "--corpus", "timit"))
    assert code == 2
    assert stderr == "error: --corpus timit needs --timit-root, the folder of a licensed TIMIT\n"


def test_the_script_starts_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPES / "timit" / "run.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--timit-root" in done.stdout


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_to_the_same_models(tmp_path: Path) -> None:
    config = write_settings(tmp_path / "small.toml", f"phones = 39\n{BUILT_IN}")
    whole, out = tmp_path / "whole", tmp_path / "exp"
    code, stdout, stderr = finish(start("timit", "--out", whole, "--config", config))
    assert code == 0, stderr
    for stage in STAGES:
        assert stage in stdout

    process = start("timit", "--out", out, "--config", config)
    wait_for(out / "dense" / "lstm" / "training" / "checkpoint.safetensors", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    process = start("timit", "--out", out, "--config", config)
    wait_for(out / "compress" / "k4" / "admm" / "checkpoint.safetensors", process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, stderr = finish(process)
    assert code == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "interrupted: the same command goes on from here"

    process = start("timit", "--out", out, "--config", config)
    wait_for(out / "phase2" / "result.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for name in (
        "dense/lstm/model.safetensors",
        "dense/gru/model.safetensors",
        "compress/control/model.safetensors",
        "compress/k4/model.safetensors",
        "compress/k8/model.safetensors",
        "phase2/bundle/bundle.json",
        "phase2/bundle/weights.safetensors",
    ):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name

    results = json.loads((whole / "results.json").read_text())
    rtl = results["rtl"]
    assert (rtl["utterances"], rtl["layers"], rtl["mismatches"]) == (3, 2, 0)
    assert rtl["words"] == 24 * rtl["frames"] > 24 * 50
    assert rtl["cycles_per_frame"] == pytest.approx(rtl["scheduled_cycles_per_frame"], rel=0.01)
    assert 0 < rtl["utilization"] <= 1
    assert set(results["resources"]) == {"dsp", "lut", "ff", "bram36"}
    assert results["resources"]["dsp"] > 0
    assert (whole / "hardware" / "rtl" / "testbench.v").is_file()
