"""Which recogniser on which core: accuracy against latency, DSPs and memory, many of each tried.

    python -m recipes.experiment.explore exp/timit --trials 60

Takes corpus, features and settings from the folder of a recipe's run.py. Every recogniser is
trained from scratch for a few epochs: block-circulant weights need no dense baseline, and what is
asked is which is better, not the last tenth of a point. The dev PER is that of the integer model.

More workers take the same command, on other machines with a ``--storage`` that all reach. What is
interrupted or killed goes on with the same command.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from ernn.asr import AcousticModel, Epoch, recognise, score, train
from ernn.asr.integer import IntegerAcousticModel
from ernn.explore import Candidate
from ernn.explore.pareto import to_markdown
from ernn.explore.study import Pruning, Space, Watch, explore
from ernn.files import locked
from ernn.quantize import calibrate, convert
from hdl.devices import find
from hdl.evidence import DeviceHardware
from recipes.experiment import command
from recipes.experiment.settings import Settings, remembered
from recipes.experiment.speech import datasets


@dataclass
class Arguments:
    """Explore recognisers and cores for a device; the front is printed, and kept as a picture."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of run.py; the study goes to explore/DEVICE in it."""
    trials: int
    """Of the whole study, those that are pruned among them."""
    device: str = "xcku060"
    """The FPGA."""
    storage: str | None = None
    """URL of the study's database, as SQLAlchemy takes it; default: SQLite in explore/DEVICE."""
    epochs: int = 6
    """Of each training."""
    space: Space = field(default_factory=Space)
    """What is tried."""
    pruning: Pruning = field(default_factory=Pruning)
    """When a trial is given up."""


class Trainer:
    """Trains recognisers in folders of their own; word lengths of one share its training."""

    def __init__(self, settings: Settings, epochs: int, out: Path):
        self.settings = settings
        self.config = replace(settings.train, epochs=epochs)
        self.folder = out / "explore" / f"models-{epochs}-epochs"
        self.train_set, self.dev_set = datasets(out, settings, ["train", "dev"])
        count = min(settings.hardware.calibration_utterances, len(self.train_set))
        places = np.linspace(0, len(self.train_set) - 1, count).round().astype(int)
        self.calibration = [self.train_set.features[i] for i in places]

    def __call__(self, candidate: Candidate, watch: Watch) -> float:
        """The dev PER of a candidate's integer model."""

        def after_epoch(epochs: list[Epoch]) -> None:
            watch([epoch.dev_per for epoch in epochs])

        folder = self.folder / Candidate(candidate.model).key
        with locked(folder):
            torch.manual_seed(self.settings.seed)
            model = AcousticModel(candidate.model)
            train(model, self.train_set, self.dev_set, self.config, folder, watch=after_epoch)
        ranges = calibrate(model.recurrent, self.calibration)
        integer = convert(model.recurrent, model.output, ranges, candidate.words)
        return score(
            self.dev_set.phones, recognise(IntegerAcousticModel(integer), self.dev_set)
        ).per


def run(arguments: Arguments) -> None:
    """Go on with the study.

    Raises:
        ValueError, FileNotFoundError: an argument or a file is not as it must be, or the storage
            fails.
    """
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    out = arguments.run
    settings = remembered(out)
    device = find(arguments.device)
    corpus = out / "features" / "key"
    if not corpus.is_file():
        raise FileNotFoundError(f"{out}: has no features; run.py --out {out} makes them")
    trainer = Trainer(settings, arguments.epochs, out)
    folder = out / "explore" / device.name
    try:
        study = explore(
            Candidate(settings.model, settings.quantize),
            arguments.space,
            DeviceHardware(device, measured=False),
            trainer,
            folder,
            trials=arguments.trials,
            name=f"{out.name}-{device.name}",
            storage=arguments.storage,
            pruning=arguments.pruning,
            settings=[corpus.read_text(), asdict(trainer.config)],
            seed=settings.seed,
        )
    except (SQLAlchemyError, OptunaError) as error:
        raise ValueError(f"{arguments.storage}: {str(error).splitlines()[0]}") from None
    print(to_markdown(study), end="")
    print(f"see {folder / 'pareto.png'}")


if __name__ == "__main__":
    command.main(Arguments, run, "explore")
