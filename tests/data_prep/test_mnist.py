import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from data_prep.mnist import FILES, MNIST_DEV, Images, mnist, read_idx, sklearn_digits


def idx(array: np.ndarray) -> bytes:
    return (
        b"\0\0\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.astype(np.uint8).tobytes())
    )


def tree(folder: Path, train: int, test: int, compress: bool) -> Path:
    rng = np.random.default_rng(0)
    for half, size in (("train", train), ("test", test)):
        images, labels = rng.integers(0, 256, (size, 28, 28)), np.arange(size) % 10
        for name, array in zip(FILES[half], (images, labels), strict=True):
            data = gzip.compress(idx(array), 1) if compress else idx(array)
            (folder / f"{name}{'.gz' * compress}").write_bytes(data)
    return folder


@pytest.mark.parametrize("compress", [False, True])
def test_the_files_are_read(compress: bool, tmp_path: Path) -> None:
    parts = mnist(tree(tmp_path, MNIST_DEV + 20, 30, compress))
    assert {part: len(images) for part, images in parts.items()} == {
        "train": 20,
        "dev": MNIST_DEV,
        "test": 30,
    }
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 256, (MNIST_DEV + 20, 28, 28))
    assert np.array_equal(parts["train"].pixels, expected[:20])
    assert np.array_equal(parts["dev"].pixels, expected[20:])
    assert parts["test"].digits.tolist() == [n % 10 for n in range(30)]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train-images-idx3-ubyte and no .*ubyte\.gz"):
        mnist(tmp_path)
    tree(tmp_path, 40, 30, compress=False)
    with pytest.raises(ValueError, match="40 training images; more than 5000 are needed"):
        mnist(tmp_path)
    labels = tmp_path / FILES["test"][1]
    for content, message in (
        (b"", "is no IDX file of unsigned bytes"),
        (b"PK\x08\x01" + bytes(8), "is no IDX file"),
        (idx(np.arange(30))[:-1], r"37 bytes; 38 are those of \(30,\)"),
        (idx(np.arange(29) % 10), "test: images are .* for 29 labels"),
        (idx(np.arange(30)), "test: labels are 0 to 29; they must be 0 to 9"),
    ):
        labels.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            mnist(tmp_path)
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(idx(np.arange(9)))[:-9])
    with pytest.raises(ValueError, match=r"broken\.gz: "):
        read_idx(broken)


def test_digits_of_scikit_learn_are_enlarged() -> None:
    parts = sklearn_digits(seed=3)
    assert [len(images) for images in parts.values()] == [1257, 180, 360]
    pixels = np.concatenate([images.pixels for images in parts.values()])
    assert (pixels.dtype, pixels.shape, pixels.max()) == (np.uint8, (1797, 28, 28), 255)
    cells = pixels[:, 2:-2, 2:-2].reshape(-1, 8, 3, 8, 3)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert not pixels[:, :2].any()
    again = sklearn_digits(seed=3)
    assert all(np.array_equal(again[part].pixels, parts[part].pixels) for part in parts)
    assert not np.array_equal(sklearn_digits(seed=4)["test"].digits, parts["test"].digits)


@pytest.mark.skipif("ERNN_DATA" not in os.environ, reason="ERNN_DATA names no data")
def test_mnist_is_whole() -> None:
    parts = mnist(Path(os.environ["ERNN_DATA"]) / "mnist")
    assert [len(images) for images in parts.values()] == [55_000, 5_000, 10_000]
    whole = Images(
        np.concatenate([parts[p].pixels for p in ("train", "dev")]),
        np.concatenate([parts[p].digits for p in ("train", "dev")]),
    )
    assert np.bincount(whole.digits).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert round(float(whole.pixels.mean()) / 255, 4) == 0.1307
