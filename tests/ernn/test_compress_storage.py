import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file, save_file

from ernn.compress import Levels, Sparse, SparseLevels, storage

DTYPES = st.sampled_from(["float32", "float64", "int8", "int16", "int64", "uint8", "bool"])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, NaN and the sign of zero included."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_every_array_comes_back_to_the_bit(data: st.DataObject) -> None:
    shape = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
    array = data.draw(arrays(data.draw(DTYPES), shape))
    parts, layout = storage.encode(array)
    assert same(storage.decode(parts, layout), array)
    assert sum(part.nbytes for part in parts.values()) <= array.nbytes


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(1, 16), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_codes_are_packed_to_the_bit(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, count)
    packed = storage.pack(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    assert np.array_equal(storage.unpack(packed, bits, count), codes)


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5])
def test_pruned_weights_take_a_value_and_a_gap_each(density: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((300, 400)).astype(np.float32)
    weight[rng.random(weight.shape) >= density] = 0
    parts, layout = storage.encode(weight)
    assert same(storage.decode(parts, layout), weight)
    assert layout.count == np.count_nonzero(weight)
    assert parts["values"].nbytes == 4 * layout.count
    gaps = np.diff(np.flatnonzero(weight), prepend=-1) - 1
    sizes = [b * (len(gaps) + sum(int(g) // (2**b - 1) for g in gaps)) for b in range(1, 17)]
    assert parts["positions"].nbytes == -(-min(sizes) // 8)


def test_levels_take_their_bits() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 32)
    on_levels = Levels.equidistant(3).project(weight).numpy()
    parts, layout = storage.encode(on_levels)
    assert (parts["values"].nbytes, parts["codebook"].nbytes) == (64 * 32 * 3 // 8, 8 * 4)
    assert same(storage.decode(parts, layout), on_levels)
    both = SparseLevels(Sparse(100), Levels.equidistant(2)).project(weight).numpy()
    parts, layout = storage.encode(both)
    assert layout.count == 100
    occur = np.unique(both[both != 0])  # of 4 levels
    assert (parts["values"].nbytes, parts["codebook"].nbytes) == (100 * 2 // 8, 4 * len(occur))
    assert same(storage.decode(parts, layout), both)


def test_spectra_of_12_bits_take_12() -> None:
    words = np.random.default_rng(0).integers(-2048, 2048, (16, 40, 8))
    words.flat[:2] = -2048, 2047
    parts, layout = storage.encode(words)
    assert parts["values"].nbytes == words.size * 12 // 8
    assert "codebook" not in parts
    assert same(storage.decode(parts, layout), words)


def test_masks_take_a_bit_an_entry() -> None:
    mask = np.random.default_rng(0).random(800) < 0.5
    parts, layout = storage.encode(mask)
    assert sum(part.nbytes for part in parts.values()) <= 100 + 2  # and a codebook
    assert same(storage.decode(parts, layout), mask)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    weight = Sparse(50).project(torch.randn(30, 40)).sign()
    return {
        "conv.weight": weight,
        "conv.bias": torch.randn(30),
        "norm.steps": torch.tensor(7),
        "a.b": torch.randn(4, 5).t(),
    }


def test_a_file_gives_all_tensors_back(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    storage.save(tensors, path)
    loaded = storage.load(path)
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    sizes = storage.stored(path)
    assert sizes["conv.weight"].values == 50 // 8 + 1
    assert sizes["conv.weight"].codebook == 2 * 4
    assert 0 < sizes["conv.weight"].positions < 50 * 8 // 8 + 1
    assert sizes["conv.bias"] == storage.Stored(0, 120, 0)
    data = sum(array.nbytes for array in load_file(path).values())
    assert data == sum(size.total for size in sizes.values())
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_such_file_is_told(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: no such file"):
        storage.load(path)
    path.write_text("no")
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        storage.load(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="is None; this reads 'ernn-compressed 1'"):
        storage.load(path)
    save_file({"x": np.zeros(3)}, path, {"format": storage.FORMAT, "layouts": "[]"})
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        storage.load(path)
    with pytest.raises(TypeError, match="BFloat16"):
        storage.save({"x": torch.zeros(2, dtype=torch.bfloat16)}, path)
    storage.save(tensors, path)
    whole = load_file(path)
    layouts = {n: storage.encode(t.contiguous().numpy())[1].__dict__ for n, t in tensors.items()}

    def rewrite(arrays: dict[str, np.ndarray], **changed: object) -> None:
        of = {**layouts, "conv.weight": layouts["conv.weight"] | changed}
        metadata = {"format": storage.FORMAT, "layouts": json.dumps(of)}
        save_file(arrays, path, metadata)

    rewrite(whole)
    assert torch.equal(storage.load(path)["conv.weight"], tensors["conv.weight"])
    for arrays_, changed, message in (
        ({n: a for n, a in whole.items() if n != "conv.weight.values"}, {}, "'values'"),
        (whole | {"other.values": np.zeros(2)}, {}, "'other.values' belongs to no tensor"),
        (whole, {"count": 60}, "codes of"),
        (whole, {"shape": (3, 4)}, "positions are not those of 50 of 12 entries"),
        (whole, {"colour": 1}, "colour"),
        (whole, {"value_bits": 30}, "codes of 30 bits"),
    ):
        rewrite(arrays_, **changed)
        with pytest.raises(ValueError, match=message):
            storage.load(path)
