"""Write a bundle's network as Verilog and VHDL, with a test bench for any simulator.

    python -m hdl.convert --bundle DIR --out DIR

The folder holds one accelerator for the whole network: ``verilog/`` and ``vhdl/`` (a file a
module), ``image.hex`` (the program and the weights as its configuration stream takes them),
``input.hex`` and ``output.hex`` (frames and what the integer model makes of them), ``testbench.v``
and ``testbench.vhd``, and a Makefile with ``iverilog``, ``verilator`` and ``ghdl``. A dense output
layer is left to the host.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ernn import bundle
from ernn.files import atomic
from ernn.fixed import Integers
from ernn.quantize.integer import IntegerModel, input_format
from hdl.accelerator import accelerator, accelerator_arguments, blocks_in, blocks_out, image
from hdl.axis import input_stream, output_stream
from hdl.compiler import compile_model, configure, on_core
from hdl.module import ConversionError, convert
from hdl.program import Program
from hdl.tools import find_verilator

SIGNATURE = "# written by hdl.convert: "

MAKEFILE = """\
{signature}{what}
# Each target runs the test bench, prints PASS or FAIL, and fails on FAIL.
IVERILOG ?= iverilog
VVP ?= vvp
VERILATOR ?= $(or $(shell command -v verilator),{verilator})
GHDL ?= ghdl

VERILOG = {verilog}
VHDL = {vhdl}

.PHONY: iverilog verilator ghdl clean

iverilog: | build
\t$(IVERILOG) -g2005 -s testbench -o build/testbench.vvp testbench.v $(VERILOG)
\t$(VVP) -n build/testbench.vvp | tee build/iverilog.log
\t@grep -qx PASS build/iverilog.log

verilator: | build
\t$(VERILATOR) --binary -O3 -Wno-WIDTHEXPAND -CFLAGS -std=c++20 --top-module testbench \\
\t    -MAKEFLAGS "OPT_FAST=-O1 CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread" \\
\t    --Mdir build/verilator testbench.v $(VERILOG) > build/verilator.build.log
\tbuild/verilator/Vtestbench | tee build/verilator.log
\t@grep -qx PASS build/verilator.log

ghdl: | build
\t$(GHDL) -a --std=08 --workdir=build $(VHDL) testbench.vhd
\t$(GHDL) -e --std=08 --workdir=build -o build/testbench testbench
\t$(GHDL) -r --std=08 --workdir=build testbench --ieee-asserts=disable | tee build/ghdl.log
\t@grep -qx PASS build/ghdl.log

build:
\tmkdir -p build

clean:
\trm -rf build
"""


@dataclass(frozen=True)
class Options:
    """Write a bundle's network as Verilog and VHDL, with a self-checking test bench.

    Attributes:
        bundle: the bundle's folder.
        out: the folder to write; one that an earlier conversion wrote is replaced.
        n_pe: R, the PEs: block products a cycle, a multiple of 4 slices times fold.
        slices: W, the cell blocks a cycle; a power of two.
        fold: F, the PEs that may share a block row; a power of two. 1 makes the smallest core; 2 or
            4 pay where a layer has fewer block rows than there are PEs.
        frames: frames in the test bench; they make two utterances.
        vectors: a features file (utterance id -> (time, size), safetensors) to take them from; else
            they are random integers.
        seed: of the random integers.
    """

    bundle: Path
    out: Path
    n_pe: int = 16
    slices: int = 1
    fold: int = 1
    frames: int = 8
    vectors: Path | None = None
    seed: int = 0


def export(options: Options) -> Program:
    """Write the folder; print which layers are left to the host.

    Raises:
        FileNotFoundError: there is no bundle, or no file of vectors.
        ValueError: a layer that the core does not run, or an option out of its range.
        ConversionError: MyHDL refuses.
    """
    whole = bundle.load(options.bundle)
    model = on_core(whole)
    if options.frames < 2:
        raise ValueError(f"frames {options.frames}: must be 2 or more")
    check_replaceable(options.out)
    cfg = configure(model, options.n_pe, slices=options.slices, fold=options.fold)
    program = compile_model(model, cfg)
    utterances = frames_into(model, options)
    for n, layer in enumerate(whole.layers[len(model.layers) :], len(model.layers)):
        print(f"layer {n} ({layer.kind}) is dense: left to the host")
    with atomic(options.out) as new:
        new.mkdir()
        write_accelerator(program, utterances, new)
    return program


def check_replaceable(folder: Path) -> None:
    """Raise ValueError if the folder holds what :func:`export` did not write."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    makefile = folder / "Makefile"
    if not makefile.is_file() or not makefile.read_text().startswith(SIGNATURE):
        raise ValueError(f"{folder}: was not written by hdl.convert; name another folder")


def frames_into(model: IntegerModel, options: Options) -> list[Integers]:
    """Two utterances (time, input_size), ``options.frames`` frames in all."""
    lengths = [options.frames - options.frames // 2, options.frames // 2]
    first = model.layers[0]
    if options.vectors is None:
        rng, fmt = np.random.default_rng(options.seed), input_format(first)
        shapes = [(length, first.input_size) for length in lengths]
        return [rng.integers(fmt.lowest, fmt.highest + 1, shape) for shape in shapes]
    features = read_features(options.vectors, lengths, first.input_size)
    return [model.quantize(u) for u in features]


def read_features(path: Path, lengths: Sequence[int], size: int) -> list[np.ndarray]:
    """The first frames of the first utterances in a features file, (length, size) each."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of features")
    try:
        features = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
    long_enough = [u for _, u in sorted(features.items()) if u.ndim == 2 and len(u) >= max(lengths)]
    if len(long_enough) < len(lengths):
        raise ValueError(f"{path}: needs {len(lengths)} utterances of {max(lengths)} frames")
    for u in long_enough[: len(lengths)]:
        if u.shape[1] != size:
            raise ValueError(f"{path}: frames of {u.shape[1]} values; the model takes {size}")
        if not np.isfinite(u).all():
            raise ValueError(f"{path}: holds values that are not finite")
    return [u[:n] for u, n in zip(long_enough, lengths, strict=False)]


def write_accelerator(
    program: Program, utterances: Sequence[Integers], folder: Path
) -> tuple[list[Path], list[Path]]:
    """Write an accelerator, the image of a program for it, and what it makes of utterances.

    Args:
        program: what it runs; its configuration is the accelerator's.
        utterances: each (time, input_size), integers in the model's input format, in the order of
            :func:`hdl.accelerator.blocks_in`.
        folder: is there.

    Returns:
        The Verilog and the VHDL files, each after those that it instantiates.
    """
    cfg, model = program.cfg, program.model
    arguments = accelerator_arguments(cfg)
    verilog = convert(accelerator, arguments, folder / "verilog")
    vhdl = convert(accelerator, arguments, folder / "vhdl", language="vhdl")
    words = image(program)
    inputs = list(zip(*blocks_in(program, utterances), strict=True))
    results = [model.run(u[:, None])[:, 0] for u in utterances]
    outputs = list(zip(*blocks_out(program, results), strict=True))
    bits_in, bits_out = len(input_stream(cfg).tdata), len(output_stream(cfg).tdata)
    write_hex(folder / "image.hex", ((word,) for word in words), 8)
    write_hex(folder / "input.hex", inputs, 1, 1, bits_in // 4)
    write_hex(folder / "output.hex", outputs, 1, bits_out // 4)
    sizes = {
        "WORDS": len(words),
        "BLOCKS_IN": len(inputs),
        "BLOCKS_OUT": len(outputs),
        "INPUT_BITS": bits_in,
        "OUTPUT_BITS": bits_out,
    }
    verilog_size, vhdl_size = "localparam {} = {};", "constant {}: natural := {};"
    for name, comment, line in (
        ("testbench.v", "// sizes", verilog_size),
        ("testbench.vhd", "-- sizes", vhdl_size),
    ):
        template = Path(__file__).with_name(name).read_text()
        lines = "\n".join(line.format(*size) for size in sizes.items())
        (folder / name).write_text(template.replace(comment, lines))
    layers = ", ".join(f"{n.kind} {n.input_size} -> {n.output_size}" for n in model.layers)
    text = MAKEFILE.format(
        signature=SIGNATURE,
        verilator=find_verilator()[0],
        what=f"{layers}; block size {cfg.block_size}, {cfg.n_pe} PEs",
        verilog=" ".join(f"verilog/{path.name}" for path in verilog),
        vhdl=" ".join(f"vhdl/{path.name}" for path in vhdl),
    )
    (folder / "Makefile").write_text(text)
    return verilog, vhdl


def write_hex(path: Path, rows: Iterable[Sequence[int]], *digits: int) -> None:
    """Write rows for $readmemh, a line each, their words of so many digits with _ between."""
    lines = ("_".join(f"{w:0{n}x}" for w, n in zip(r, digits, strict=True)) for r in rows)
    path.write_text("".join(f"{line}\n" for line in lines))


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, prog="python -m hdl.convert")
    try:
        export(options)
    except (ValueError, OSError) as error:
        print(f"hdl.convert: {error}", file=sys.stderr)
        return 2
    except ConversionError as error:
        print(f"hdl.convert: {str(error).splitlines()[-1]}", file=sys.stderr)
        return 2
    print(f"{options.out}: make -C {options.out} iverilog | verilator | ghdl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
