"""Every hyper-parameter of a recipe, read from a TOML file: a dataclass a table.

A run keeps its own, :func:`remember`, so that what works on the folder of a run asks for nothing.
"""

import json
import tomllib
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from data_prep.features import FeatureConfig
from data_prep.phones import PhoneSet, phone_set
from ernn.asr import ModelConfig, Perturbation, SpecAugment, TrainConfig
from ernn.files import atomic
from ernn.quantize import WordLengths

T = TypeVar("T")
REMEMBERED = "settings.json"
NUMBERS = int, float
ALLOWED: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: NUMBERS,
    float | None: NUMBERS,
    bool: (bool,),
}
"""Types of TOML values by the type of the field; of other fields the classes check the values."""


class CorpusTable(Protocol):
    """The table ``[corpus]``: each recipe has its own dataclass."""

    @property
    def phone_set(self) -> PhoneSet:
        """What is trained and what is scored."""


C = TypeVar("C", bound=CorpusTable)


@dataclass(frozen=True)
class Compress:
    """Phase I: which block sizes are tried, how they are trained, which one is taken."""

    block_sizes: tuple[int, ...]
    budget: float  # points of dev PER that compression may cost against the dense control
    epochs: int  # of every model, the dense control too, from the baseline
    learning_rate: float  # falls over all of these epochs; the control has that of [train]
    admm_epochs: int  # of these epochs, before the projection
    admm_rho: float  # in the first of them
    admm_rho_end: float  # in the last of them
    rate_exponent: float = 0.0  # of the block size, which raises the rate by this power of it
    gradual: tuple[int, ...] = ()  # smaller block sizes on the way to a larger one
    gradual_epochs: int = 0  # at each of them
    distillation: float = 0.0  # from 0 to 1: the dense baseline's posteriors against the criterion
    dropout: float | None = None  # of block-circulant models; None is that of [model]

    def __post_init__(self) -> None:
        on_the_way = self.admm_epochs + len(self.gradual) * self.gradual_epochs
        if min(self.admm_epochs, self.gradual_epochs) < 0 or on_the_way >= self.epochs:
            raise ValueError(
                f"admm_epochs and {len(self.gradual)} x gradual_epochs are {on_the_way}; from 0 to "
                f"less than epochs, {self.epochs}"
            )
        if not 0 < self.admm_rho <= self.admm_rho_end:
            raise ValueError(f"admm_rho is {self.admm_rho}; from above 0 to admm_rho_end")
        if self.dropout is not None and not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is {self.dropout}; it must be from 0 to 1")


@dataclass(frozen=True)
class Quantize(WordLengths):
    """Phase II: the longest words, where the search begins, and what it may cost."""

    weight: int = 16
    budget: float = 0.3  # points of dev PER that quantization may cost against the float model
    aware_epochs: int = 0  # of quantization-aware training; 0 is none
    aware_rate: float = 1e-3  # its learning rate, which falls to 0

    @property
    def longest(self) -> WordLengths:
        """Where the search begins."""
        return WordLengths(**{f.name: getattr(self, f.name) for f in fields(WordLengths)})


@dataclass(frozen=True)
class Hardware:
    """What is simulated and synthesized."""

    device: str  # the FPGA that Phase I explores
    measured: bool  # Phase I: cores synthesized and simulated; else their estimate and schedule
    n_pe: int  # of the cores that Phase I compares
    target_us: float  # a frame's latency that the accelerator has, the smallest that does
    utterances: int  # whole test utterances through the RTL
    calibration_utterances: int  # training utterances that choose the formats


@dataclass(frozen=True)
class Settings:
    """All tables of the file but ``[corpus]``, which is the recipe's own."""

    seed: int
    phones: PhoneSet
    features: FeatureConfig
    model: ModelConfig
    train: TrainConfig
    compress: Compress
    quantize: Quantize
    hardware: Hardware


def read_settings(path: Path, seed: int | None, corpus: type[C]) -> tuple[C, Settings]:
    """Read a TOML file.

    Args:
        path: the file.
        seed: replaces the file's own.
        corpus: the dataclass of the table ``[corpus]``.

    Returns:
        That table, and all others.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML, or a table or a key is missing, unknown or of a wrong type.
    """
    content = content_of(path)
    try:
        own = table_of(corpus, content, "corpus")
        return own, _settings(
            content | {"seed": content["seed"] if seed is None else seed}, own.phone_set
        )
    except KeyError as error:
        raise ValueError(f"{path}: no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def tables(path: Path, cls: type[T], given: dict[str, Any]) -> T:
    """Read a TOML file into a dataclass whose fields are numbers and dataclasses, a table each.

    Args:
        path: the file.
        cls: the dataclass.
        given: replaces values outside the tables.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML, or a table or a key is missing, unknown or of a wrong type.
    """
    content = content_of(path) | given
    types = {field.name: field.type for field in fields(cls)}  # type: ignore[arg-type]
    try:
        if rest := content.keys() - types.keys():
            raise ValueError(f"unknown table {min(rest)!r}")
        built = {
            name: table_of(kind, content, name)
            if isinstance(kind, type) and is_dataclass(kind)
            else content[name]
            for name, kind in types.items()
        }
        return cls(**built)
    except KeyError as error:
        raise ValueError(f"{path}: no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def remember(out: Path, path: Path, settings: Settings) -> None:
    """Keep the settings of a run, ``path`` with its bases, in its folder."""
    content = content_of(path) | {"seed": settings.seed, "phones": settings.phones.symbols}
    with atomic(out / REMEMBERED) as new:
        new.write_text(json.dumps(content, indent=1) + "\n")


def remembered(out: Path) -> Settings:
    """Read the settings of a run from its folder.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: they are not as they must be.
    """
    path = out / REMEMBERED
    if not path.is_file():
        raise FileNotFoundError(f"{out}: no {REMEMBERED}; run.py --out {out} writes it")
    try:
        content = json.loads(path.read_text())
        return _settings(content, phone_set(content.pop("phones")))
    except KeyError as error:
        raise ValueError(f"{path}: no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _settings(content: dict[str, Any], phones: PhoneSet) -> Settings:
    """Build the settings of all tables but ``[corpus]``.

    Raises:
        KeyError: there is no such table.
        ValueError: a table or a key is unknown or of a wrong type.
    """
    seed, features = content["seed"], table_of(FeatureConfig, content, "features")
    bands = {"bands": features.frame_size}
    augment: dict[str, Any] = {
        "spec_augment": table_of(SpecAugment, content, "spec_augment", **bands)
    }
    if "perturbation" in content:
        stacked = bands | {"subsample": features.subsample}
        augment["perturbation"] = table_of(Perturbation, content, "perturbation", **stacked)
    known = {field.name for field in fields(Settings)} - {"phones"} | augment.keys() | {"corpus"}
    if rest := content.keys() - known:
        raise ValueError(f"unknown table {min(rest)!r}")
    shape = {"input_size": features.size, "num_phones": len(phones.symbols)}
    return Settings(
        seed=seed,
        phones=phones,
        features=features,
        model=table_of(ModelConfig, content, "model", **shape),
        train=table_of(TrainConfig, content, "train", seed=seed, **augment),
        compress=table_of(Compress, content, "compress"),
        quantize=table_of(Quantize, content, "quantize"),
        hardware=table_of(Hardware, content, "hardware"),
    )


def content_of(path: Path, *above: Path) -> dict[str, Any]:
    """Read a TOML file over the one that it names as its ``base``, if it does: table by table."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such settings file")
    if path in above:
        raise ValueError(f"{path}: is its own base")
    try:
        content = tomllib.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    base = content.pop("base", None)
    if base is None:
        return content
    merged = content_of(path.parent / str(base), path, *above)
    for name, value in content.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if both else value
    return merged


def table_of(cls: type[T], content: dict[str, Any], name: str, **given: Any) -> T:
    """Build a dataclass from the table ``name`` and from what is ``given``."""
    table = content[name]
    if not isinstance(table, dict):
        raise ValueError(f"{name} is {table!r}; it must be a table")
    types = {field.name: field.type for field in fields(cls) if field.name not in given}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"[{name}] has an unknown {key!r}; known are {', '.join(types)}")
        if types[key] in ALLOWED and type(value) not in ALLOWED[types[key]]:
            allowed = " or ".join(kind.__name__ for kind in ALLOWED[types[key]])
            raise ValueError(f"[{name}] {key} is {value!r}; it must be {allowed}")
    for field in fields(cls):  # type: ignore[arg-type]
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in table | given:
            raise ValueError(f"[{name}] has no {field.name!r}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        return cls(**values, **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"[{name}] {error}") from None
