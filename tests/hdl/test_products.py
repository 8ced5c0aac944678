"""Frames through the PE of a layer at speed: results, cycles, and what a wrong weight does."""

import dataclasses

import numpy as np
import pytest
import test_shift_add
import test_sparse
from products import frames_of

from hdl.products import Held, LayerPE
from hdl.shift_add import SHIFT_ADD_LATENCY
from hdl.sparse import SPARSE_LATENCY
from hdl.tools import SimulationError

SPARSE = test_sparse.layer(test_sparse.pruned(9, 40, 0.2, 4))
SHIFT_ADD = test_shift_add.of_shape(5, 2, 6, 3, 4, 8, 3, 2)  # 34 columns: the last entry is filled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the Verilog and of what is built of it."""
    return tmp_path_factory.mktemp("products")


@pytest.mark.parametrize(
    ("layer", "columns", "steps", "latency"),
    [(SPARSE, 40, 1, SPARSE_LATENCY), (SHIFT_ADD, 34, 3, SHIFT_ADD_LATENCY)],
)
def test_results_and_cycles(layer, columns, steps, latency, folder):
    """Of every frame the integers, in the cycles that the PE's docstring says."""
    x = frames_of(12, columns, 20)
    found = LayerPE(layer, folder / "rtl").run(layer, x, folder)
    assert np.array_equal(found.outputs, layer.run(x))
    assert (found.cycles == steps * len(layer.entries()) + latency).all()


def test_a_wrong_weight_gives_other_results(folder):
    levels = SPARSE.levels.copy()
    row, column = np.argwhere(levels)[0]
    levels[row, column] *= -1
    wrong = dataclasses.replace(SPARSE, levels=levels)
    x = np.random.default_rng(0).integers(-99, 99, (20, 40))
    given = LayerPE(SPARSE, folder / "rtl").run(wrong, x, folder).outputs
    assert set(np.nonzero(given != SPARSE.run(x))[1]) == {row}


def test_a_pe_that_gives_no_result_is_named(folder, monkeypatch):
    """Without its last entry a layer's last row never ends."""
    words = Held.of(SPARSE)
    short = {"w": words.words["w"][:-1], "bias": words.words["bias"]}
    stay = words.stay | {"last_entry": len(short["w"]) - 1}
    held = dataclasses.replace(words, words=short, stay=stay)
    pe = LayerPE(SPARSE, folder / "rtl")
    monkeypatch.setattr(Held, "of", lambda layer: held)
    with pytest.raises(SimulationError, match="failed"):
        pe.run(SPARSE, frames_of(12, 40), folder)


def test_bits_are_those_of_the_words():
    assert Held.of(SPARSE).bits == 9 * len(SPARSE.entries())
    entries, columns = len(SHIFT_ADD.entries()), len(SHIFT_ADD.basis_words())
    assert Held.of(SHIFT_ADD).bits == (3 * 4 + 3 + 2) * entries + 24 * columns
