"""Images of handwritten digits: MNIST from its IDX files, or scikit-learn's, which need no file.

Images are (N, 28, 28) of 0 to 255. Training images are parted in ``train`` and ``dev``, which
chooses; ``test`` is reported. Sources: LeCun et al., Gradient-Based Learning Applied to Document
Recognition, Proc. IEEE 1998; Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998
(1,797 images of 8 x 8, which are enlarged).
"""

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 28
MNIST_DEV = 5000
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
UNSIGNED_BYTES = 0x08


@dataclass(frozen=True)
class Images:
    """Images and their digits.

    Attributes:
        pixels: (N, 28, 28) uint8.
        digits: (N,) int64, 0 to 9.
    """

    pixels: np.ndarray
    digits: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.shape != (len(self.digits), SIDE, SIDE):
            raise ValueError(
                f"images are {self.pixels.shape} for {len(self.digits)} labels; "
                f"they must be (N, {SIDE}, {SIDE})"
            )
        if len(self.digits) and not 0 <= self.digits.min() <= self.digits.max() <= 9:
            span = f"{self.digits.min()} to {self.digits.max()}"
            raise ValueError(f"labels are {span}; they must be 0 to 9")

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, part: slice | np.ndarray) -> "Images":
        return Images(self.pixels[part], self.digits[part])


def mnist(folder: Path | str) -> dict[str, Images]:
    """Read the four IDX files, compressed by gzip or not; dev is the last 5,000 of the training.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not as it must be.
    """
    halves = {}
    for half, names in FILES.items():
        pixels, digits = (read_idx(_find(Path(folder), name)) for name in names)
        try:
            halves[half] = Images(pixels, digits.astype(np.int64))
        except ValueError as error:
            raise ValueError(f"{folder}: {half}: {error}") from None
    train = halves["train"]
    if len(train) <= MNIST_DEV:
        raise ValueError(
            f"{folder}: {len(train)} training images; more than {MNIST_DEV} are needed"
        )
    return {"train": train[:-MNIST_DEV], "dev": train[-MNIST_DEV:], "test": halves["test"]}


def sklearn_digits(seed: int = 0) -> dict[str, Images]:
    """Return scikit-learn's digits: 1,257 for training, 180 for dev, 360 for test, drawn by seed.

    An image of 8 x 8 is enlarged threefold and has a margin of 2.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    large = np.kron(data.images * (255 / 16), np.ones((3, 3)))
    pixels = np.pad(large.round().astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    order = np.random.default_rng(seed).permutation(len(pixels))
    images = Images(pixels, data.target.astype(np.int64))
    bounds = {"train": (540, None), "dev": (360, 540), "test": (0, 360)}
    return {part: images[order[first:last]] for part, (first, last) in bounds.items()}


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    Raises:
        ValueError: it is no such file, or is cut short.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error
    dimensions = data[3] if len(data) > 3 else 0
    start = 4 + 4 * dimensions
    if data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTES or len(data) < start:
        raise ValueError(f"{path}: is no IDX file of unsigned bytes")
    shape = tuple(np.frombuffer(data[4:start], ">u4").tolist())
    if len(data) != start + math.prod(shape):
        raise ValueError(
            f"{path}: {len(data)} bytes; {start + math.prod(shape)} are those of {shape}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    """Return the file of this name, compressed or not."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: no {name} and no {name}.gz")
