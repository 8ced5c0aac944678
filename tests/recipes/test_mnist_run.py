"""The recipe of handwritten digits, on scikit-learn's."""

import json
import sys
from pathlib import Path

import pytest
import torch

from data_prep import mnist
from ernn import bundle
from ernn.compress import ADMM, Sparse, storage
from ernn.files import locked
from recipes.experiment import command
from recipes.mnist import networks, run, training
from recipes.mnist.run import Options
from recipes.mnist.training import shifted

STAGES = ["prepare", "dense", "circulant", "quantize", "hardware", "mlps"]
STAGES += ["control", "admm", "pruned", "joint", "decomposed", "smartdeal", "spectral", "engines"]
STAGES += ["report"]
SMALL = """
base = "{default}"
[train]
epochs = {epochs}
[network]
channels = [16, 16]
[core]
images = 20
[mlps]
hidden = [16, 24]
epochs = {epochs}
seeds = 2
streams = 2
images = 20
[admm_nn]
admm_epochs = 1
inside_epochs = 1
retrain_epochs = {epochs}
[spectral]
epochs = 1
[engines]
images = 5
[smartdeal]
rounds = 1
epochs = 1
"""


def write_settings(folder: Path, epochs: int = 3) -> Path:
    path = folder / "small.toml"
    path.write_text(SMALL.format(default=run.HERE / "default.toml", epochs=epochs))
    return path


def results_of(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def test_all_stages_and_then_none(no_tools: None, tmp_path: Path, capsys) -> None:
    options = Options(out=tmp_path / "out", config=write_settings(tmp_path), seed=3)
    run.run(options)
    said, results = capsys.readouterr().out, results_of(options.out)
    assert results["seed"] == 3
    assert results["prepare"]["images"] == {"train": 1257, "dev": 180, "test": 360}
    assert results["circulant"]["test"] > 30  # a tenth is chance
    assert results["dense"]["test"] > 90
    assert results["dense"]["parameters"] == 431_080
    assert abs(results["quantize"]["test"] - results["circulant"]["test"]) < 2
    rtl = results["hardware"]
    assert (rtl["images"], rtl["words"], rtl["mismatches"]) == (20, 200, 0)
    check_mlps(results["mlps"], options.out)
    report = (options.out / "RESULTS.md").read_text()
    assert f"| {rtl['cycles']:.0f} |" in report
    assert report in said
    check_compressed(results, options.out)
    check_engines(results, report)
    model = bundle.load(options.out / "quantize" / "bundle")
    assert [layer.kind for layer in model.layers] == ["conv2d", "conv2d", "linear"]

    run.run(options)
    again = capsys.readouterr().out
    assert again.count("(already there)") == len(STAGES)


def check_mlps(result: dict, out: Path) -> None:
    for (name, of), hidden in zip(result["networks"].items(), (16, 24), strict=True):
        assert of["sizes"] == [64, hidden, 10]
        best = max(of["runs"], key=lambda run: run["dev"])
        assert len(of["runs"]) == 2
        assert best["test"] > 30
        assert (of["images"], of["words"], of["mismatches"]) == (20, 200, 0)
        model = bundle.load(out / "mlps" / of["best"] / "bundle")
        assert [layer.kind for layer in model.layers] == ["linear", "linear"]
        assert of["limit"] == (16 + 3) * hidden // 4 / 4
        assert f"| {name} | 64-{hidden}-10 |" in (out / "RESULTS.md").read_text()
    assert result["dsp"] == 20


def check_compressed(results: dict, out: Path) -> None:
    for name, most in (("pruned", 5000), ("joint", 6900)):
        result = results[name]
        assert 0.99 * most < sum(result["nonzero"].values()) <= most
        assert result["test"] > 50
        weights = storage.load(out / name / "model.safetensors")
        found = {n: int(w.count_nonzero()) for n, w in weights.items() if w.dim() > 1}
        assert found == result["nonzero"]
        if name == "joint":
            levels = [len(w[w != 0].abs().unique()) for w in weights.values() if w.dim() > 1]
            assert levels == [1, 1, 1, 1]
    assert results["control"]["values_ratio"] == 1
    assert results["pruned"]["values_ratio"] == pytest.approx(430_500 / 5000, rel=0.01)
    assert results["joint"]["values_ratio"] > 1900
    assert results["decomposed"]["dev"] >= results["dense"]["dev"] - 0.3
    assert results["spectral"]["test"] > 50
    assert results["spectral"]["ratio"] == pytest.approx(430_500 / 76_908)
    assert results["decomposed"]["ratio"] > 7
    assert results["smartdeal"]["ratio"] > results["decomposed"]["ratio"]
    methods = results["methods"]
    energy = {name: method["model energy, nJ"] for name, method in methods.items()}
    assert min(energy, key=energy.get) == "block-circulant"
    assert energy["pruned and on levels (ADMM-NN)"] < energy["pruned (ADMM)"]
    assert energy["pruned (ADMM)"] < energy["LeNet-5, dense"] / 10
    assert all(m["of it memory, nJ"] < m["model energy, nJ"] for m in methods.values())
    assert (out / "methods.png").stat().st_size > 10_000


def check_engines(results: dict, report: str) -> None:
    for name in ("joint", "smartdeal", "spectral"):
        found = results["engines"][name]
        assert (found["images"], found["words"], found["mismatches"]) == (5, 2500, 0)
        assert abs(found["test"] - results[name]["test"]) < 2  # its layer is in integers
        assert found["steps"] > results[name]["nonzero"]["7.weight"] / 9
        assert f"| {found['bytes']:,.0f} | {found['steps']:,} | 100 |" in report
    assert results["engines"]["spectral"]["bytes"] == 63 * 100 * 8 * 12 / 8
    assert results["engines"]["spectral"]["utilization"] == 63 * 100 / 4 / 100


def test_another_setting_repeats_what_depends_on_it(no_tools: None, tmp_path: Path, capsys) -> None:
    options = Options(out=tmp_path / "out", config=write_settings(tmp_path, epochs=1))
    run.run(options)
    options.config.write_text(options.config.read_text() + "kept = 0.5\n")
    capsys.readouterr()
    run.run(options)
    assert capsys.readouterr().out.count("(already there)") == STAGES.index("decomposed")
    assert results_of(options.out)["smartdeal"]["kept"] == 0.5


def test_a_run_beside_another_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError, match="another run is at work in it"):
        run.run(Options(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.slow
def test_the_rtl_gives_the_integers(tmp_path: Path) -> None:
    options = Options(out=tmp_path / "out", config=write_settings(tmp_path))
    run.run(options)
    results = results_of(options.out)
    for found in (results["engines"][name] for name in ("joint", "smartdeal", "spectral")):
        assert found["mismatches"] == 0
        assert 0 < found["utilization"] < 1
        assert 8 * found["bytes"] < 36 * 1024 * found["resources"]["bram36"]
    rtl = results["hardware"]
    assert rtl["mismatches"] == 0
    assert rtl["limit"] < rtl["cycles"] < rtl["latency"]
    assert rtl["resources"]["dsp"] > 16 * 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: no train-images-idx3-ubyte"),
        (["--config", "nowhere.toml"], "nowhere.toml: no such settings file"),
    ],
)
def test_bad_input_gets_one_line(arguments, message, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command.main(Options, run.run)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[cores]", "unknown table 'cores'"),
        ("[core]\nn_pe = 1.5", r"\[core\] n_pe is 1.5; it must be int"),
        ("[train]\nepochs = 0", r"\[train\] epochs is 0; it must be 1 or more"),
    ],
)
def test_bad_settings_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f'base = "{run.HERE / "default.toml"}"\n{line}\n')
    with pytest.raises(ValueError, match=message):
        run.run(Options(out=tmp_path / "out", config=path))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_goes_on_to_the_same_weights(precision, tmp_path: Path, monkeypatch) -> None:
    images = mnist.sklearn_digits(0)["train"][:200]
    config = training.Train(4, 50, 5e-3, 1e-4, 1, 0.05, precision)

    def train(folder: str) -> torch.nn.Module:
        torch.manual_seed(0)
        model = networks.lenet5()
        admm = ADMM(model, {"7.weight": Sparse(900)}, 1e-3)
        training.fit(model, images, config, 3, tmp_path / folder / "admm.safetensors", admm, 2.0)
        assert admm.rho == pytest.approx(16e-3)
        admm.project_()
        return model

    whole = train("whole").state_dict()
    calls = []

    def interrupted(x, most, random):
        calls.append(most)
        if len(calls) == 11:  # in the third epoch of four batches
            raise KeyboardInterrupt
        return shifted(x, most, random)

    monkeypatch.setattr(training, "shifted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("twice")
    for _ in range(2):  # what is complete is read
        assert all(torch.equal(w, whole[name]) for name, w in train("twice").state_dict().items())
        assert len(calls) == 11 + 8


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [training.rate(n / 10) for n in range(11)]
    assert rates[0] == rates[10] == 0
    assert rates[2] == max(rates) == 1
    assert rates[6] == pytest.approx(0.5)


def test_each_image_is_moved_by_itself() -> None:
    x = torch.arange(1.0, 26).view(1, 1, 5, 5).repeat(200, 1, 1, 1)
    moved = shifted(x, 1, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x[:1], (1, 1, 1, 1))
    ways = [padded[..., r : r + 5, c : c + 5] for r in range(3) for c in range(3)]
    found = [next(n for n, way in enumerate(ways) if torch.equal(way[0], one)) for one in moved]
    assert set(found) == set(range(9))
    assert torch.equal(shifted(x, 0, torch.Generator()), x)
