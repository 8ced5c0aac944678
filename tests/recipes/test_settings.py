"""A recipe's settings file and stage cache."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ernn.asr import AcousticModel, ModelConfig, TrainConfig
from recipes.experiment import compression
from recipes.experiment.compression import phases, train_circulant
from recipes.experiment.settings import Compress, Settings, read_settings, remember, remembered
from recipes.experiment.stage import Stage, run_stages
from recipes.speechocean762 import run as speechocean762
from recipes.timit.run import Corpus, Licensed

RECIPES = Path(__file__).parents[2] / "recipes"
DEFAULT = (RECIPES / "timit" / "default.toml").read_text()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def read(path: Path) -> Settings:
    return read_settings(path, None, Corpus)[1]


def test_default_settings_are_read_and_seed_reaches_the_training(tmp_path: Path) -> None:
    _, settings = read_settings(write(tmp_path, DEFAULT), 7, Corpus)
    assert settings.seed == settings.train.seed == 7
    assert settings.model.input_size == settings.features.size == 160
    assert settings.compress.block_sizes == (4, 8, 16)


def test_what_perturbs_and_masks_knows_the_features(tmp_path: Path) -> None:
    mfcc = DEFAULT.replace('kind = "fbank"', 'kind = "mfcc"').replace(
        "subsample = 3", "subsample = 2"
    )
    train = read(write(tmp_path, mfcc)).train
    assert train.perturbation is not None
    assert train.spec_augment is not None
    assert (train.perturbation.bands, train.perturbation.subsample) == (39, 2)
    assert train.spec_augment.bands == 39
    without = (
        DEFAULT[: DEFAULT.index("[perturbation]")] + DEFAULT[DEFAULT.index("[spec_augment]") :]
    )
    assert read(write(tmp_path, without)).train.perturbation is None


@pytest.mark.parametrize("name", ["default", "full", "unperturbed", "paper"])
def test_settings_of_speechocean762_are_read(name: str) -> None:
    path = RECIPES / "speechocean762" / f"{name}.toml"
    _, settings = read_settings(path, None, speechocean762.Corpus)
    assert settings.model.num_phones == 39
    assert settings.model.bidirectional == (name != "paper")
    published = (1024, 512, True) if name == "paper" else (256, 0, False)
    model = settings.model
    assert (model.hidden_size, model.proj_size, model.peephole) == published


@pytest.mark.parametrize("phones", [61, 48, 39])
def test_the_model_has_a_class_for_each_phone_that_is_trained(tmp_path: Path, phones: int) -> None:
    path = write(tmp_path, DEFAULT.replace("\nphones = 39", f"\nphones = {phones}"))
    assert read(path).model.num_phones == phones
    assert read_settings(path, None, Licensed)[1].model.num_phones == 61


def test_all_phases_share_the_epochs_and_one_fall_of_the_rate(tmp_path: Path) -> None:
    compress = Compress((16,), 1.0, 16, 8e-3, 3, 1e-3, 0.1, gradual=(4, 8, 16), gradual_epochs=2)
    config = TrainConfig(epochs=16, learning_rate=8e-3, warmup_steps=2, average=2)
    parts = list(phases(config, compress, 16))
    assert [(name, k, part.epochs) for name, k, part in parts] == [
        ("admm", 1, 3),
        ("k4", 4, 2),
        ("k8", 8, 2),
        ("finetune", 16, 9),
    ]
    rates = []
    for _, _, part in parts:
        rates += [part.rate(step, 100 * part.epochs) for step in range(100 * part.epochs)]
    assert rates == pytest.approx([config.rate(step, 1600) for step in range(1600)], rel=2e-3)
    assert compress.admm_rho * parts[0][2].rho_growth ** 2 == pytest.approx(0.1)
    assert [part.average for _, _, part in parts] == [1, 1, 1, 2]
    higher = list(phases(config, replace(compress, learning_rate=2e-3, rate_exponent=0.5), 16))
    assert higher == parts
    (alone,) = phases(config, replace(compress, admm_epochs=0), 4)
    assert alone[:2] == ("finetune", 4)
    assert alone[2].warmup_steps == 2


@pytest.mark.parametrize(("dropout", "after"), [(None, 0.05), (0.3, 0.3), (0.0, 0.0)])
def test_block_circulant_models_can_have_a_dropout_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dropout: float | None, after: float
) -> None:
    trained = []

    def train(model: AcousticModel, *_: object, **__: object) -> SimpleNamespace:
        trained.append((model.config.block_size, model.recurrent.dropout, model.dropout.p))
        return SimpleNamespace(epochs=[])

    monkeypatch.setattr(compression, "train", train)
    dense = AcousticModel(ModelConfig(input_size=8, num_phones=5, hidden_size=8))
    compress = Compress((4,), 1.0, 4, 8e-3, 1, 1e-3, 0.1, dropout=dropout)
    data: Any = None
    model, _ = train_circulant(dense, 4, data, data, TrainConfig(epochs=4), compress, tmp_path)
    assert trained == [(1, 0.05, 0.05), (4, after, after)]
    assert model.config.dropout == after


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("timit_phones = 61", "timit_phones = 60", "[corpus] 60 phones to train: only 61"),
        ("\nphones = 39", "\nphones = 40", "[corpus] 40 phones to train: only 61, 48 and 39"),
        ("seed = 0", "seed 0", "Expected '='"),
        ("seed = 0", "", "no 'seed'"),
        ("[hardware]", "[software]", "unknown table 'software'"),
        ("seed = 0", "seed = 0\nspeed = 3", "unknown table 'speed'"),
        (
            "n_pe = ",
            "n_pes = ",
            "[hardware] has an unknown 'n_pes'; known are device, measured, n_pe, target_us",
        ),
        ("n_pe = 16", "", "[hardware] has no 'n_pe'"),
        ("hidden_size = 256", "hidden_size = 25.6", "[model] hidden_size is 25.6; it must be int"),
        ("hidden_size = 256", "hidden_size = true", "[model] hidden_size is True; it must be int"),
        ('cell = "lstm"', 'cell = "rnn"', "[model] cell is 'rnn'"),
        (
            "admm_epochs = 3",
            "admm_epochs = 16",
            "[compress] admm_epochs and 0 x gradual_epochs are 16; from 0 to less than epochs, 16",
        ),
        ("admm_rho = 1e-3", "admm_rho = 0.2", "[compress] admm_rho is 0.2; from above 0 to"),
        ("admm_epochs = 3", "admm_epochs = 3\ndropout = 2", "[compress] dropout is 2; it must be"),
        ("admm_epochs = 3", 'admm_epochs = 3\ndropout = "0"', "[compress] dropout is '0'; it must"),
        ("dropout = 0.05", "dropout = -0.1", "[model] dropout is -0.1; it must be from 0 to 1"),
    ],
)
def test_a_bad_settings_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, DEFAULT.replace(old, new, 1))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_settings(path, None, Corpus)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_settings_over_a_base(tmp_path: Path) -> None:
    path = write(tmp_path, DEFAULT)
    over = tmp_path / "over.toml"
    over.write_text('base = "settings.toml"\nseed = 3\n[model]\nhidden_size = 64\n')
    plain, changed = map(read, (path, over))
    assert (changed.seed, changed.model.hidden_size) == (3, 64)
    assert changed.model == replace(plain.model, hidden_size=64)
    assert changed.compress == plain.compress
    over.write_text('base = "over.toml"')
    with pytest.raises(ValueError, match=r"over\.toml: is its own base"):
        read_settings(over, None, Corpus)
    over.write_text('base = "absent.toml"')
    with pytest.raises(FileNotFoundError, match=r"absent\.toml: no such settings file"):
        read_settings(over, None, Corpus)


@pytest.mark.parametrize("name", ["full", "small", "bidirectional", "gru", "hybrid", "unperturbed"])
def test_settings_of_timit_are_read(name: str) -> None:
    settings = read(RECIPES / "timit" / f"{name}.toml")
    assert settings.train.precision == "bf16"  # of full.toml
    assert settings.compress.admm_rho_end == 0.1  # of default.toml


@pytest.mark.parametrize("corpus", [Corpus, Licensed])
def test_a_run_s_settings_are_read_from_its_folder(corpus: type[Corpus], tmp_path: Path) -> None:
    path = RECIPES / "timit" / "hybrid.toml"
    _, settings = read_settings(path, 5, corpus)
    remember(tmp_path, path, settings)
    assert remembered(tmp_path) == settings
    kept = tmp_path / "settings.json"
    for old, new, message in (
        ('"aa"', '"a"', "phones, which are no corpus' set"),
        ('"dropout"', '"drop"', r"\[model\] has an unknown 'drop'"),
        ('"phones": [', '"phone": [', "no 'phones'"),
    ):
        text = kept.read_text()
        kept.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message) as caught:
            remembered(tmp_path)
        assert str(caught.value).startswith(f"{kept}: ")
        kept.write_text(text)
    with pytest.raises(
        FileNotFoundError, match=r"absent: no settings\.json; run.py --out .*absent"
    ):
        remembered(tmp_path / "absent")


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such settings file"):
        read_settings(tmp_path / "absent.toml", None, Corpus)


class Experiment:
    """Three stages that count their runs; the second can be told to fail."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.ran: list[str] = []
        self.settings = {"a": 1, "b": 1, "c": 1}
        self.fail = False

    def work(self, folder: Path, results: dict) -> dict:
        name = folder.name
        self.ran.append(name)
        if name == "b":
            half = folder / "half"
            resumed = half.exists()
            half.write_text("done")
            if self.fail:
                raise KeyboardInterrupt
            return {"value": results["a"]["value"] + 1, "resumed": resumed}
        return {"value": 1 if name == "a" else results["b"]["value"] + 1}

    def run(self, start: str | None = None) -> dict:
        self.ran.clear()
        return run_stages(
            [Stage(n, self.work, self.settings[n], lambda r: f"{r['value']}") for n in "abc"],
            self.out,
            start,
        )


def test_stages_run_once_and_then_what_is_missing(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    results = experiment.run()
    assert [results[n]["value"] for n in "abc"] == [1, 2, 3]
    assert experiment.ran == ["a", "b", "c"]
    assert experiment.run() == results
    assert experiment.ran == []
    experiment.run("b")
    assert experiment.ran == ["b", "c"]
    experiment.settings["b"] = 2
    experiment.run()
    assert experiment.ran == ["b", "c"]
    assert json.loads((tmp_path / "c" / "result.json").read_text())["value"] == 3


def test_an_interrupted_stage_goes_on_with_what_it_has(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.fail = True
    with pytest.raises(KeyboardInterrupt):
        experiment.run()
    experiment.fail = False
    assert experiment.run()["b"]["resumed"]
    assert experiment.ran == ["b", "c"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("three years")
    with pytest.raises(ValueError, match="is not a stage's folder"):
        Experiment(tmp_path).run("a")
    assert (tmp_path / "b" / "thesis.txt").read_text() == "three years"


def test_a_stage_whose_settings_changed_starts_over(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.fail = True
    with pytest.raises(KeyboardInterrupt):
        experiment.run()
    experiment.fail, experiment.settings["b"] = False, 2
    assert not experiment.run()["b"]["resumed"]
