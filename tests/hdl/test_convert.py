"""The folder that hdl.convert writes, taken to other simulators, and the whole core at speed."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from layers import expected, formats, random_frames, random_layer
from safetensors.numpy import save_file

from ernn import bundle
from ernn.quantize.integer import IntegerModel
from hdl.convert import Options, check_replaceable, export
from hdl.core import frame_cycles
from hdl.simulate import Simulator
from hdl.tools import SimulationError, find_verilator, lint

N_PE = 4


@pytest.fixture(scope="module")
def model():
    """An LSTM of 12 -> 10 and a GRU of 10 -> 8, k = 4."""
    first = formats(12, 12, 14, 14)
    second = replace(first, input=first.output, weight_input=first.weight_recurrent)
    return IntegerModel(
        (random_layer("lstm", 4, 12, 10, first), random_layer("gru", 4, 10, 8, second))
    )


@pytest.fixture(scope="module")
def bundle_folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    bundle.save(model, folder)
    return folder


@pytest.fixture(scope="module")
def exported(bundle_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "rtl"
    export(Options(bundle_folder, out, n_pe=N_PE, frames=6))
    return out


@pytest.fixture
def folder(exported, tmp_path):
    """A copy to change."""
    return shutil.copytree(exported, tmp_path / "copy")


def make(folder, target):
    tool, environment = find_verilator()
    return subprocess.run(
        ["make", "-C", folder, target, f"VERILATOR={tool}"],
        capture_output=True,
        text=True,
        env=environment,
    )


def flip_one_bit(path, line, digit):
    """Flip the least significant bit of a hexadecimal digit, counted from the right."""
    lines = path.read_text().split()
    word = lines[line].replace("_", "")
    lines[line] = f"{int(word, 16) ^ 1 << 4 * digit:0{len(word)}x}"
    path.write_text("\n".join(lines) + "\n")


def test_the_folder_passes_under_icarus(folder, icarus):
    result = make(folder, "iverilog")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("PASS") == 2
    assert "18 of 18 blocks" in result.stdout
    assert "12 of 12 blocks" in result.stdout


@pytest.mark.parametrize("digit", [0, 2])
def test_one_flipped_bit_in_an_image_fails(folder, digit, icarus):
    flip_one_bit(folder / "layer1" / "image.hex", 3, digit)
    result = make(folder, "iverilog")
    assert result.returncode != 0
    assert result.stdout.count("\nPASS\n") == 1
    assert result.stdout.count("\nFAIL\n") == 1
    assert "image.hex is not the image" in result.stdout
    if digit == 2:  # a high bit of a weight changes what the hardware gives
        assert " 0 mismatches\nimage.hex" not in result.stdout


@pytest.mark.parametrize("name", ["input.hex", "output.hex"])
def test_one_flipped_bit_in_the_vectors_fails(folder, name, icarus):
    flip_one_bit(folder / "layer0" / name, 2, 2)
    result = make(folder / "layer0", "iverilog")
    assert result.returncode != 0
    assert "\nFAIL\n" in result.stdout


def test_the_folder_passes_and_fails_under_verilator(folder):
    layer = folder / "layer0"
    result = make(layer, "verilator")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\nPASS\n" in result.stdout
    flip_one_bit(layer / "image.hex", 0, 2)
    result = make(layer, "verilator")
    assert result.returncode != 0
    assert "\nFAIL\n" in result.stdout


def test_the_folder_passes_and_fails_under_ghdl(folder, ghdl):
    result = make(folder, "ghdl")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("\nPASS\n") == 2
    layer = folder / "layer0"
    for digit in (0, 2):
        flip_one_bit(layer / "image.hex", 0, digit)
        result = make(layer, "ghdl")
        assert result.returncode != 0
        assert "\nFAIL\n" in result.stdout


def test_frames_come_from_a_features_file(model, bundle_folder, tmp_path, icarus):
    rng = np.random.default_rng(3)
    features = {f"u{n}": rng.normal(0, 1, (9, 12)).astype(np.float32) for n in range(3)}
    save_file(features, tmp_path / "test.safetensors")
    vectors = tmp_path / "test.safetensors"
    (layer,) = export(
        Options(bundle_folder, tmp_path / "rtl", layer=1, n_pe=N_PE, frames=5, vectors=vectors)
    )
    blocks = [int(line.replace("_", ""), 16) for line in (layer / "input.hex").read_text().split()]
    first = model.layers[0].run(model.quantize(features["u0"][:3, None]))[:, 0]
    assert [block & 0xFFF for block in blocks[:9]] == (first[:, ::4] & 0xFFF).ravel().tolist()
    assert [block >> 48 for block in blocks] == 3 * [1] + 6 * [0] + 3 * [1] + 3 * [0]
    assert "\nPASS\n" in make(layer, "iverilog").stdout


def run_command(*arguments):
    command = [sys.executable, "-m", "hdl.convert", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_command_line(bundle_folder, tmp_path):
    good = ["--bundle", bundle_folder, "--out", tmp_path / "rtl", "--layer", 0, "--n-pe", N_PE]
    result = run_command(*good)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "rtl" / "layer0" / "verilog" / "core.v").is_file()
    check_replaceable(tmp_path / "rtl")

    result = run_command("--bundle", tmp_path, "--out", tmp_path / "new")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no bundle.json" in result.stderr
    assert not (tmp_path / "new").exists()


def test_words_too_long_for_the_rtl_get_one_line(tmp_path):
    layer = random_layer("lstm", 4, 4, 4, formats(8, 30, 30, 30))
    bundle.save(IntegerModel((layer,)), tmp_path / "bundle")
    result = run_command("--bundle", tmp_path / "bundle", "--out", tmp_path / "rtl", "--n-pe", 4)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "the RTL takes 32 bits; use shorter words" in result.stderr
    assert not (tmp_path / "rtl").exists()


def test_bad_input_is_named(bundle_folder, tmp_path):
    def refuse(match, error=ValueError, **options):
        with pytest.raises(error, match=match):
            export(Options(bundle_folder, **{"out": tmp_path / "rtl", "n_pe": N_PE} | options))
        assert not (tmp_path / "rtl").exists()

    refuse(r"n_pe 6: must be a multiple of 4", n_pe=6)
    refuse(r"layer 2: the recurrent layers are \[0, 1\]", layer=2)
    refuse(r"frames 1: must be 2 or more", frames=1)
    refuse(r"nothing: no such file", FileNotFoundError, vectors=tmp_path / "nothing")
    (tmp_path / "noise").write_bytes(b"\xff" * 64)
    refuse(r"noise: ", vectors=tmp_path / "noise")
    save_file({"a": np.zeros((9, 3), np.float32)}, tmp_path / "one")
    refuse(r"one: needs 2 utterances of 4 frames", vectors=tmp_path / "one")
    save_file({n: np.zeros((9, 3), np.float32) for n in "ab"}, tmp_path / "narrow")
    refuse(r"narrow: frames of 3 values; the model takes 12", vectors=tmp_path / "narrow")
    save_file({n: np.full((9, 12), np.nan, np.float32) for n in "ab"}, tmp_path / "nan")
    refuse(r"nan: holds values that are not finite", vectors=tmp_path / "nan")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    refuse(r"mine: was not written by hdl.convert", out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_verilog_is_lint_clean(exported):
    for layer in ("layer0", "layer1"):
        lint(sorted((exported / layer / "verilog").glob("*.v")), "core")


def test_simulator(model):
    layer = model.layers[0]
    simulator = Simulator(layer, N_PE)
    utterances = random_frames(layer, [7, 1, 12])
    smooth = simulator.run(utterances)
    rough = simulator.run(utterances, idle=0.6, stall=0.6, seed=1)
    for run in (smooth, rough):
        for got, want in zip(run.outputs, expected(layer, utterances), strict=True):
            np.testing.assert_array_equal(got, want)
        assert len(run.accepted) == len(run.finished) == 20
        assert (run.accepted < run.finished).all()
    assert smooth.cycles_per_frame == frame_cycles(simulator.config)
    assert rough.finished[-1] > smooth.finished[-1]
    again = simulator.run(utterances, idle=0.6, stall=0.6, seed=1)
    np.testing.assert_array_equal(again.finished, rough.finished)
    with pytest.raises(SimulationError, match="core: no transfer in 1000 cycles"):
        simulator.run(utterances, stall=1.0, patience=1000)
