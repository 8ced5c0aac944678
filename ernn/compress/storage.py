"""Files of compressed weights: what is pruned, on levels or of short words takes only that room.

A tensor is stored without loss, in the shortest of these ways:

- its positions: all, or those of the entries that are not zero, by the gap before each. A gap has
  ``index_bits``; the largest code skips as many zeros as it says and places nothing, so that wide
  gaps take several codes (relative index: Han et al., Deep Compression, ICLR 2016, figure 2, where
  a zero is stored there instead).
- its values: as they are; or codes into a codebook of the values that occur; or, of integers, their
  distance from the smallest.

Codes are packed to the bit. The file is a safetensors file: ``NAME.positions``, ``NAME.values`` and
``NAME.codebook`` hold the bytes, the header says how they are read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from ernn.files import atomic

FORMAT = "ernn-compressed 1"
INDEX_BITS = range(1, 17)


@dataclass(frozen=True)
class Layout:
    """How a tensor is read.

    Attributes:
        dtype: of numpy.
        shape: of the tensor.
        count: of the entries that are stored.
        gaps: codes of positions; 0 if all entries are stored.
        index_bits: of a gap.
        value_bits: of a value's code; None if the values are as they are.
        smallest: what the codes of integers count from; None if they point into the codebook.
    """

    dtype: str
    shape: tuple[int, ...]
    count: int
    gaps: int = 0
    index_bits: int = 0
    value_bits: int | None = None
    smallest: int | None = None


@dataclass(frozen=True)
class Stored:
    """Bytes of a tensor in a file."""

    positions: int
    values: int
    codebook: int

    @property
    def total(self) -> int:
        """All of them; the file's header comes on top."""
        return self.positions + self.values + self.codebook


def save(tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Write tensors, a model's ``state_dict`` for one, to a file.

    Raises:
        TypeError: numpy has no such type, as bfloat16.
    """
    arrays: dict[str, np.ndarray] = {}
    layouts = {}
    for name, tensor in tensors.items():
        parts, layout = encode(tensor.detach().cpu().numpy())
        arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        layouts[name] = asdict(layout)
    with atomic(path) as new:
        save_file(arrays, new, {"format": FORMAT, "layouts": json.dumps(layouts)})


def load(path: Path | str) -> dict[str, Tensor]:
    """Read what :func:`save` wrote, equal to the bit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not what ``save`` writes.
    """
    parts, layouts = _read(path)
    try:
        return {name: torch.from_numpy(decode(parts[name], of)) for name, of in layouts.items()}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: {error}") from error


def stored(path: Path | str) -> dict[str, Stored]:
    """Return how many bytes each tensor of a file takes, and for what.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`.
    """
    names = ("positions", "values", "codebook")
    return {
        name: Stored(**{n: arrays[n].nbytes if n in arrays else 0 for n in names})
        for name, arrays in _read(path)[0].items()
    }


def encode(array: np.ndarray) -> tuple[dict[str, np.ndarray], Layout]:
    """Return the shortest parts that make up ``array``, and how they are read."""
    flat = np.ascontiguousarray(array).reshape(-1)
    found = [_encode_all(flat, array.shape)]
    places = np.flatnonzero(flat.view(f"u{flat.itemsize}"))  # by the bits: -0.0 is stored
    if len(places) < len(flat):
        gaps = np.diff(places, prepend=-1) - 1
        index_bits = min(INDEX_BITS, key=lambda b: b * _codes_of(gaps, b))
        parts, layout = _encode_all(flat[places], array.shape)
        parts["positions"] = pack(gap_codes(gaps, index_bits), index_bits)
        codes = _codes_of(gaps, index_bits)
        sparse = {"gaps": codes, "index_bits": index_bits}
        found.append((parts, Layout(**asdict(layout) | sparse)))
    return min(found, key=lambda candidate: sum(part.nbytes for part in candidate[0].values()))


def decode(parts: Mapping[str, np.ndarray], layout: Layout) -> np.ndarray:
    """Return the array of what :func:`encode` returned.

    Raises:
        KeyError: a part is missing.
        ValueError, IndexError: the parts are not of this layout.
    """
    dtype = np.dtype(layout.dtype)
    if layout.value_bits is None:
        values = parts["values"].view(dtype)
    else:
        codes = unpack(parts["values"], layout.value_bits, layout.count)
        if layout.smallest is None:
            values = parts["codebook"].view(dtype)[codes]
        else:
            values = (codes + layout.smallest).astype(dtype)
    if len(values) != layout.count:
        raise ValueError(f"there are {len(values)} values; {layout.count} are said to be")
    if layout.index_bits:
        size = math.prod(layout.shape)
        codes = unpack(parts["positions"], layout.index_bits, layout.gaps)
        escape = 2**layout.index_bits - 1
        ends = codes != escape
        places = (np.where(ends, codes + 1, codes).cumsum() - 1)[ends]
        if len(places) != layout.count or (len(places) and places[-1] >= size):
            raise ValueError(f"positions are not those of {layout.count} of {size} entries")
        flat = np.zeros(size, dtype)
        flat[places] = values
        values = flat
    return values.reshape(layout.shape)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack unsigned codes of ``bits`` each into bytes, the lowest bit first."""
    each = (codes[:, None] >> np.arange(bits)) & 1
    return np.packbits(each.astype(np.uint8), bitorder="little")


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Return ``count`` codes of ``bits`` each.

    Raises:
        ValueError: ``packed`` is of another length.
    """
    if len(packed) != -(-count * bits // 8):
        raise ValueError(f"{len(packed)} bytes are not {count} codes of {bits} bits")
    each = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return each.astype(np.int64) @ (1 << np.arange(bits))


def gap_codes(gaps: np.ndarray, bits: int) -> np.ndarray:
    """Return the codes of gaps: as many of the largest as fit, then what is left.

    The largest code, 2**bits - 1, skips that many zeros and places nothing.
    """
    escape = 2**bits - 1
    ends = (gaps // escape + 1).cumsum() - 1
    codes = np.full(_codes_of(gaps, bits), escape)
    codes[ends] = gaps % escape
    return codes


def _encode_all(values: np.ndarray, shape: tuple[int, ...]) -> tuple[dict[str, Any], Layout]:
    """Encode values without their positions."""
    raw = values.view(np.uint8)
    layout = Layout(str(values.dtype), shape, len(values))
    found: list[tuple[dict[str, Any], Layout]] = [({"values": raw}, layout)]
    if len(values):
        book, codes = np.unique(values.view(f"u{values.itemsize}"), return_inverse=True)
        bits = (len(book) - 1).bit_length()
        parts = {"values": pack(codes, bits), "codebook": book.view(np.uint8)}
        found.append((parts, Layout(**asdict(layout) | {"value_bits": bits})))
        if values.dtype.kind == "i":
            smallest = int(values.min())
            bits = (int(values.max()) - smallest).bit_length()
            parts = {"values": pack(values.astype(np.int64) - smallest, bits)}
            of_integers = {"value_bits": bits, "smallest": smallest}
            found.append((parts, Layout(**asdict(layout) | of_integers)))
    return min(found, key=lambda candidate: sum(part.nbytes for part in candidate[0].values()))


def _codes_of(gaps: np.ndarray, bits: int) -> int:
    """Count the codes of all gaps."""
    return int((gaps // (2**bits - 1)).sum()) + len(gaps)


def _read(path: Path | str) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Layout]]:
    """Return the parts and the layout of every tensor of a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"is {metadata.get('format')!r}; this reads {FORMAT!r}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layouts = {
            name: Layout(**of | {"shape": tuple(of["shape"])})
            for name, of in json.loads(metadata["layouts"]).items()
        }
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    parts: dict[str, dict[str, np.ndarray]] = {name: {} for name in layouts}
    for name, array in arrays.items():
        tensor, _, part = name.rpartition(".")
        if tensor not in parts:
            raise ValueError(f"{path}: {name!r} belongs to no tensor")
        parts[tensor][part] = array
    return parts, layouts
