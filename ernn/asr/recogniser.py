"""The folder that a recogniser is kept in: all that it takes to get from audio to phones.

``recogniser.json`` holds the configuration of the features, the statistics of the training set's
frames and the names of the phones; ``model.safetensors`` the acoustic model; ``bundle`` its integer
model, where there is one (:mod:`ernn.bundle`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from data_prep.features import FeatureConfig
from ernn import bundle
from ernn.asr.model import AcousticModel
from ernn.files import atomic
from ernn.quantize import IntegerModel, OfflineModel

FORMAT = "ernn-recogniser"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Recogniser:
    """An acoustic model with its features and its phones.

    Attributes:
        model: the acoustic model.
        features: what its frames are.
        mean, deviation: (features.frame_size,) float32, of the frames of the whole training set
            before normalisation (:func:`data_prep.features.load_statistics`).
        phones: the names of the classes from 1 on; class 0 is the blank.
        integer: the integer model, of a bidirectional model an :class:`OfflineModel`; or None.

    Raises:
        ValueError: the parts do not fit each other.
    """

    model: AcousticModel
    features: FeatureConfig
    mean: np.ndarray
    deviation: np.ndarray
    phones: tuple[str, ...]
    integer: IntegerModel | OfflineModel | None = None

    def __post_init__(self) -> None:
        config = self.model.config
        found = {
            "values in a feature vector": (self.features.size, config.input_size),
            "phones": (len(self.phones), config.num_phones),
            "means": (len(self.mean), self.features.frame_size),
            "deviations": (len(self.deviation), self.features.frame_size),
        }
        if self.integer is not None:
            inputs, outputs = _sizes(self.integer)
            found["inputs of the integer model"] = inputs, config.input_size
            found["outputs of the integer model"] = outputs, config.num_phones + 1
        for what, (given, wanted) in found.items():
            if given != wanted:
                raise ValueError(f"{given} {what}: the model takes {wanted}")
        if not np.isfinite([self.mean, self.deviation]).all() or not (self.deviation > 0).all():
            raise ValueError("the statistics are not finite, or a deviation is not above 0")
        for phone in self.phones:
            if not isinstance(phone, str) or phone.split() != [phone]:
                raise ValueError(f"a phone is {phone!r}: it must be a word")

    def save(self, folder: Path | str) -> None:
        """Write everything to ``folder``, which is replaced as a whole."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "features": asdict(self.features),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "phones": self.phones,
        }
        with atomic(folder) as new:
            new.mkdir()
            (new / "recogniser.json").write_text(json.dumps(content, indent=1) + "\n")
            self.model.save(new / "model.safetensors")
            if self.integer is not None:
                bundle.save(self.integer, new / "bundle")

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what :meth:`save` wrote; the model is in evaluation mode.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what :meth:`save` writes.
        """
        folder = Path(folder)
        for name in ("recogniser.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder}: no {name}; a recogniser's folder has one")
        model = AcousticModel.load(folder / "model.safetensors").eval()
        read = bundle.load_offline if model.config.bidirectional else bundle.load
        integer = read(folder / "bundle") if (folder / "bundle").exists() else None
        try:
            content = json.loads((folder / "recogniser.json").read_text())
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ValueError(
                    f"{content['format']} {content['version']}; this reads {FORMAT} {VERSION}"
                )
            return cls(
                model,
                FeatureConfig(**content["features"]),
                np.array(content["mean"], np.float32),
                np.array(content["deviation"], np.float32),
                tuple(content["phones"]),
                integer,
            )
        except KeyError as error:
            raise ValueError(f"{folder}: no {error} in recogniser.json") from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{folder}: {error}") from error


def _sizes(model: IntegerModel | OfflineModel) -> tuple[int, int]:
    """Return how many values a frame has at its input and at its output."""
    if isinstance(model, IntegerModel):
        return model.layers[0].input_size, model.layers[-1].output_size
    first, last = model.stages[0], model.stages[-1]
    return first[0].layers[0].input_size, sum(part.layers[-1].output_size for part in last)
