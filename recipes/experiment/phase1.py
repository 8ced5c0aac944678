"""Phase I: which model is taken, on evidence.

What is decided, and what is trained for it besides the block sizes of the settings (a GRU, a block
size between them), is up to :mod:`ernn.explore.phase1`.
"""

from collections.abc import Mapping
from pathlib import Path

from ernn.explore import Candidate, phase1
from ernn.explore.kept import kept
from ernn.explore.trace import Trained
from hdl.devices import find
from hdl.evidence import DeviceHardware
from recipes.experiment.settings import Hardware, Settings
from recipes.experiment.stage import Result
from recipes.experiment.training import compressed


def explore(folder: Path, settings: Settings, out: Path, results: dict[str, Result]) -> Result:
    """Choose the model, and train what is missing for that."""
    table, trained = settings.hardware, results["compress"]
    trainer = Trainer(trained["variants"], settings, out)
    found = phase1.explore(
        Candidate(settings.model, settings.quantize.longest),
        trained["control"]["dev"],
        settings.compress.budget,
        DeviceHardware(find(table.device), measured=table.measured),
        trainer,
        folder / "explore",
        n_pe=table.n_pe,
    )
    tried = {s.candidate: trainer.result(s.candidate) for s in found.steps if s.trained is not None}
    assert found.chosen is not None
    return {
        "others": {c.name: r for c, r in tried.items() if r not in trained["variants"].values()},
        "chosen": {"name": found.chosen.name} | tried[found.chosen],
        "verdict": found.verdict,
    }


def evidence(table: Hardware) -> tuple[str, bool, int]:
    """What the choice depends on of ``[hardware]``."""
    return table.device, table.measured, table.n_pe


def model_file(out: Path, results: dict[str, Result]) -> Path:
    """Return the file of the model that was taken."""
    return out / results["phase1"]["chosen"]["folder"] / "model.safetensors"


class Trainer:
    """Trains what :func:`ernn.explore.phase1.explore` asks for, beside what the recipe trained.

    Args:
        variants: results by block size, of the settings' own model.
        settings: every hyper-parameter.
        out: folder of the recipe. What is trained is kept with the stage ``compress``, whose
            settings it has: another choice finds it there.
    """

    def __init__(self, variants: Mapping[str, Result], settings: Settings, out: Path) -> None:
        self.variants, self.settings, self.out = variants, settings, out

    def __call__(self, candidate: Candidate) -> Trained:
        """Train a candidate, or find it trained."""
        result = self.result(candidate)
        return Trained(result["dev"], {name: result[name] for name in ("test", "parameters")})

    def result(self, candidate: Candidate) -> Result:
        """What :func:`recipes.experiment.training.compressed` has of a candidate."""
        cell, k = candidate.model.cell, candidate.model.block_size
        assert isinstance(k, int)  # no core has several
        if cell == self.settings.model.cell and str(k) in self.variants:
            return self.variants[str(k)]
        folder = self.out / "compress" / f"{cell}-k{k}"
        data = self.settings, self.out
        return kept(folder / "result.json", lambda: compressed(cell, k, folder, *data))
