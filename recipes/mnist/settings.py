"""Every hyper-parameter of the recipe."""

from dataclasses import dataclass
from pathlib import Path

from recipes.experiment.settings import tables
from recipes.mnist.compression import AdmmNN, SmartDeal, Spectral
from recipes.mnist.training import Train


@dataclass(frozen=True)
class Network:
    """The table ``[network]``: the block-circulant network."""

    block_size: int
    channels: tuple[int, int]


@dataclass(frozen=True)
class Words:
    """The table ``[words]``: word lengths, and images that choose the fractions."""

    weight: int
    activation: int
    preactivation: int
    calibration_images: int


@dataclass(frozen=True)
class Core:
    """The table ``[core]``: the accelerator, and how many test images go through it."""

    n_pe: int
    slices: int
    fold: int
    images: int


@dataclass(frozen=True)
class Mlps:
    """The table ``[mlps]``: two networks with one hidden layer, on one core."""

    crop: int  # pixels that are cut off at every side of an image
    pool: int  # side of the squares of pixels whose means are taken
    hidden: tuple[int, int]  # units of the hidden layers
    block_size: int
    epochs: int
    batch_size: int
    learning_rate: float  # the highest
    seeds: int  # trainings of each; the core runs what is best on dev
    n_pe: int
    slices: int
    fold: int
    streams: int  # of images, which the core takes in turn
    images: int  # of the test images through the RTL, from the first on

    def __post_init__(self) -> None:
        if self.images % self.streams:
            raise ValueError(f"images is {self.images}; streams, {self.streams}, must divide it")


@dataclass(frozen=True)
class Engines:
    """The table ``[engines]``: how many test images go through each processing element."""

    images: int


@dataclass(frozen=True)
class Settings:
    """All tables of the file."""

    seed: int
    train: Train
    network: Network
    words: Words
    core: Core
    mlps: Mlps
    admm_nn: AdmmNN
    smartdeal: SmartDeal
    spectral: Spectral
    engines: Engines


def read_settings(path: Path, seed: int | None) -> Settings:
    """Read a TOML file; ``seed`` replaces its own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not TOML, or a table or a key is missing, unknown or of a wrong type.
    """
    return tables(path, Settings, {} if seed is None else {"seed": seed})
