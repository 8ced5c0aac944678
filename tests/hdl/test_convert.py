"""The folder that hdl.convert writes, taken to other simulators."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checking import make
from layers import expected, formats, random_frames, random_layer, random_linear
from safetensors.numpy import save_file

from ernn import bundle
from ernn.fixed import FixedPoint
from ernn.quantize.integer import IntegerModel, output_format
from hdl.accelerator import load_bits
from hdl.compiler import compile_model, configure, on_core
from hdl.convert import Options, check_replaceable, export, frames_into, write_accelerator
from hdl.image import Error, check_image, signature
from hdl.program import unpack
from hdl.schedule import Schedule
from hdl.simulate import Simulator
from hdl.tools import SimulationError, lint

N_PE = 4
LENGTHS = 12, 12, 14, 14


def dense_after(layer, size=5):
    """A dense output layer."""
    return random_linear(1, layer.output_size, size, output_format(layer), FixedPoint(14, 8))


@pytest.fixture(scope="module")
def model():
    """An LSTM of 12 -> 10 and a GRU of 10 -> 7, k = 4, and a dense output layer."""
    first = formats(*LENGTHS)
    second = replace(first, input=first.output, weight_input=first.weight_recurrent)
    gru = random_layer("gru", 4, 10, 7, second)
    return IntegerModel((random_layer("lstm", 4, 12, 10, first), gru, dense_after(gru)))


@pytest.fixture(scope="module")
def bundle_folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    bundle.save(model, folder)
    return folder


def run_command(*arguments):
    command = [sys.executable, "-m", "hdl.convert", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def exported(bundle_folder, tmp_path_factory):
    """The folder, as the command line writes it."""
    out = tmp_path_factory.mktemp("export") / "rtl"
    arguments = ["--bundle", bundle_folder, "--out", out, "--n-pe", N_PE, "--frames", 6]
    result = run_command(*arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "layer 2 (linear) is dense: left to the host",
        f"{out}: make -C {out} iverilog | verilator | ghdl",
    ]
    check_replaceable(out)
    return out


@pytest.fixture
def folder(exported, tmp_path):
    """A copy to change."""
    return shutil.copytree(exported, tmp_path / "copy")


def passes(folder, target):
    result = make(folder, target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "12 of 12 blocks" in result.stdout
    assert "\nPASS\n" in result.stdout
    assert "FAIL" not in result.stdout


def fails(folder, target):
    result = make(folder, target)
    assert result.returncode != 0
    assert "\nFAIL\n" in result.stdout
    assert "PASS" not in result.stdout
    return result.stdout


def flip_one_bit(path, line, digit):
    """Flip the least significant bit of a hexadecimal digit, counted from the right."""
    lines = path.read_text().split()
    word = lines[line].replace("_", "")
    lines[line] = f"{int(word, 16) ^ 1 << 4 * digit:0{len(word)}x}"
    path.write_text("\n".join(lines) + "\n")


def fails_on_each_part_of_the_image(model, folder, target):
    """A flipped bit in each header, in a section's, in an entry and in the CRC."""
    cfg = configure(on_core(model), N_PE)
    image = (folder / "image.hex").read_text()
    for line, digit in (0, 0), (1, 7), (2, 7), (2, 0), (3, 4), (20, 2), (-1, 3):
        flip_one_bit(folder / "image.hex", line, digit)
        words = [int(word, 16) for word in (folder / "image.hex").read_text().split()]
        error = check_image(words, *load_bits(cfg), signature(cfg)).error
        assert error != Error.NONE
        assert f"image.hex is refused: error {error:d}\n" in fails(folder, target)
        (folder / "image.hex").write_text(image)


def test_the_folder_passes_and_fails_under_icarus(model, folder, icarus):
    passes(folder, "iverilog")
    fails_on_each_part_of_the_image(model, folder, "iverilog")


@pytest.mark.parametrize("name", ["input.hex", "output.hex"])
def test_one_flipped_bit_in_the_vectors_fails(folder, name, icarus):
    flip_one_bit(folder / name, 2, 2)
    assert ", 0 mismatches" not in fails(folder, "iverilog")


@pytest.mark.parametrize(
    ("name", "line", "digit", "told"),
    [
        ("input.hex", 2, 16, "input.hex has a frame of a wrong length\n"),  # TLAST
        ("input.hex", 9, 17, "12 of 12 blocks"),  # TUSER of the second utterance
        ("output.hex", 1, 16, ", 1 mismatches\n"),  # TLAST
    ],
)
def test_the_marks_of_frames_count(folder, name, line, digit, told, icarus):
    flip_one_bit(folder / name, line, digit)
    output = fails(folder, "iverilog")
    assert told in output
    assert ("mismatches" in told) == (" 1 mismatches" in output)


def test_the_folder_passes_and_fails_under_verilator(folder):
    passes(folder, "verilator")
    flip_one_bit(folder / "image.hex", 20, 2)
    assert f"image.hex is refused: error {Error.CRC:d}\n" in fails(folder, "verilator")


def test_the_folder_passes_and_fails_under_ghdl(model, folder, ghdl):
    passes(folder, "ghdl")
    fails_on_each_part_of_the_image(model, folder, "ghdl")
    flip_one_bit(folder / "output.hex", 1, 16)
    assert ", 1 mismatches\n" in fails(folder, "ghdl")


def test_streams_slices_and_folds(tmp_path, icarus, ghdl):
    """All that makes the order of words another: two streams, two slices, shared rows."""
    first = formats(*LENGTHS, peephole=True, projection=True)
    lstm = random_layer("lstm", 4, 6, 21, first, proj_size=9, amplitude=0.5)
    linear = random_linear(4, 9, 13, first.output, FixedPoint(14, 8), activation="relu")
    model = IntegerModel((lstm, linear))
    cfg = configure(model, 16, slices=2, fold=2, streams=2)
    utterances = random_frames(model, [2, 2, 1, 1])
    (tmp_path / "rtl").mkdir()
    program = compile_model(model, cfg, streams=2)
    verilog, vhdl = write_accelerator(program, utterances, tmp_path / "rtl")
    assert (verilog[-1].name, vhdl[-1].name) == ("accelerator.v", "accelerator.vhd")
    rows = [line.split("_") for line in (tmp_path / "rtl" / "output.hex").read_text().split()]
    given = program.unpack_frames([int(data, 16) for _, data in rows], 16)
    one, two, three, four = expected(model, utterances)
    np.testing.assert_array_equal(given, [one[0], two[0], one[1], two[1], three[0], four[0]])
    assert [last for last, _ in rows] == 6 * ["0", "0", "0", "1"]
    lint(verilog, "accelerator")
    for target in ("iverilog", "ghdl"):
        result = make(tmp_path / "rtl", target)
        assert "\nPASS\n" in result.stdout, result.stdout + result.stderr


def test_the_frames_are_those_of_the_model(model, bundle_folder, exported):
    rows = [line.split("_") for line in (exported / "input.hex").read_text().split()]
    assert ["".join(row[:2]) for row in rows] == 2 * (["10", "00", "01"] + 2 * ["00", "00", "01"])
    words = np.array([unpack(int(data, 16), 16, 4) for *_, data in rows])
    frames = frames_into(model, Options(bundle_folder, exported, frames=6))
    np.testing.assert_array_equal(words.reshape(-1, 12), np.concatenate(frames))
    rows = [line.split("_") for line in (exported / "output.hex").read_text().split()]
    words = np.array([unpack(int(data, 16), 16, 4) for _, data in rows]).reshape(-1, 8)
    results = np.concatenate(expected(on_core(model), frames))
    np.testing.assert_array_equal(words, np.pad(results, ((0, 0), (0, 1))))


def test_frames_come_from_a_features_file(model, bundle_folder, tmp_path):
    rng = np.random.default_rng(3)
    features = {f"u{n}": rng.normal(0, 1, (9, 12)).astype(np.float32) for n in range(3)}
    vectors = tmp_path / "test.safetensors"
    save_file(features, vectors)
    options = Options(bundle_folder, tmp_path / "rtl", frames=5, vectors=vectors)
    first, second = frames_into(model, options)
    np.testing.assert_array_equal(first, model.quantize(features["u0"][:3]))
    np.testing.assert_array_equal(second, model.quantize(features["u1"][:2]))


def test_a_folder_that_is_no_bundle_gets_one_line(tmp_path):
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


def test_only_a_dense_layer_at_the_end_is_left_to_the_host(model):
    lstm, gru, dense = model.layers
    assert on_core(model).layers == (lstm, gru)
    assert on_core(on_core(model)).layers == (lstm, gru)
    alone = IntegerModel((dense,))
    assert on_core(alone) is alone


def test_a_network_that_the_core_does_not_run_is_refused(model, tmp_path):
    lstm, gru, dense = model.layers

    def refuse(match, *layers):
        bundle.save(IntegerModel(layers), tmp_path / "bundle")
        with pytest.raises(ValueError, match=match):
            export(Options(tmp_path / "bundle", tmp_path / "rtl", n_pe=N_PE))
        assert not (tmp_path / "rtl").exists()

    refuse("block_size 1: the core has", dense)
    refuse("layer 2: block size 1, layer 0: 4", *model.layers, dense_after(dense))
    wide = random_layer("gru", 8, 10, 7, gru.formats)
    refuse("layer 1: block size 8, layer 0: 4", lstm, wide, dense)
    other = replace(gru.formats, cell=replace(gru.formats.cell, preactivation=FixedPoint(15, 10)))
    refuse(
        r"layer 0 \(lstm\): pre-activation Q14.10; the core has 15 bits",
        lstm,
        random_layer("gru", 4, 10, 7, other),
    )


def test_bad_input_is_named(bundle_folder, tmp_path):
    def refuse(match, error=ValueError, **options):
        with pytest.raises(error, match=match):
            export(Options(bundle_folder, **{"out": tmp_path / "rtl", "n_pe": N_PE} | options))
        assert not (tmp_path / "rtl").exists()

    refuse(r"n_pe 6: must be a multiple of 4", n_pe=6)
    refuse(r"n_pe 4: must be a multiple of 16", slices=2, fold=2)
    refuse(r"slices 3: must be a power of two", slices=3)
    refuse(r"fold 3: must be a power of two", fold=3)
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
    lint(sorted((exported / "verilog").glob("*.v")), "accelerator")


def test_simulator(model):
    network = on_core(model)
    program = compile_model(network, configure(network, N_PE))
    simulator = Simulator(program.cfg)
    utterances = random_frames(network, [7, 1, 12])
    smooth = simulator.run(program, utterances)
    rough = simulator.run(program, utterances, idle=0.6, stall=0.6, seed=1)
    for run in (smooth, rough):
        for got, want in zip(run.outputs, expected(network, utterances), strict=True):
            np.testing.assert_array_equal(got, want)
        assert len(run.accepted) == len(run.finished) == 20
        assert (run.accepted < run.finished).all()
    assert smooth.cycles_per_frame < rough.cycles_per_frame
    assert np.diff(smooth.finished)[-1] == Schedule(program).period
    again = simulator.run(program, utterances, idle=0.6, stall=0.6, seed=1)
    np.testing.assert_array_equal(again.finished, rough.finished)
    with pytest.raises(SimulationError, match="accelerator: no transfer in 1000 cycles"):
        simulator.run(program, utterances, stall=1.0, patience=1000)
    other = compile_model(network, configure(network, N_PE, streams=2))
    with pytest.raises(SimulationError, match="the image was refused"):
        simulator.run(other, utterances)
