"""Write a bundle's recurrent layers as Verilog and VHDL, with a test bench for any simulator.

    python -m hdl.convert --bundle DIR --out DIR

The folder holds a folder a layer: ``verilog/`` and ``vhdl/`` (a file a module), ``image.hex`` (the
weights as the core's load port takes them), ``input.hex`` and ``output.hex`` (frames and what the
integer model makes of them), ``testbench.v`` and ``testbench.vhd``, and a Makefile with
``iverilog``, ``verilator`` and ``ghdl``.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np
import tyro
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ernn import bundle
from ernn.files import atomic
from ernn.fixed import Integers
from ernn.quantize.integer import IntegerGRU, IntegerLSTM, IntegerModel, blocks, input_format
from hdl.core import core, core_arguments
from hdl.module import ConversionError, convert
from hdl.program import CoreConfig, configure, load_image, pack, pack_frames
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

MAKEFILE_OF_ALL = """\
{signature}all layers
LAYERS = {layers}

.PHONY: iverilog verilator ghdl clean

iverilog verilator ghdl clean:
\t@for layer in $(LAYERS); do \\
\t    echo "$$layer:" && $(MAKE) --no-print-directory -C $$layer $@ || exit 1; \\
\tdone
"""


@dataclass(frozen=True)
class Options:
    """Write a bundle's recurrent layers as Verilog and VHDL, with a self-checking test bench.

    Attributes:
        bundle: the bundle's folder.
        out: the folder to write; one that an earlier conversion wrote is replaced.
        layer: number of the only layer to write, counted from 0; else every recurrent layer.
        n_pe: R, the PEs of a core: block products a cycle, a multiple of 4.
        frames: frames in the test bench; they make two utterances.
        vectors: a features file (utterance id -> (time, size), safetensors) to take them from; else
            they are random integers.
        seed: of the random integers.
    """

    bundle: Path
    out: Path
    layer: int | None = None
    n_pe: int = 16
    frames: int = 8
    vectors: Path | None = None
    seed: int = 0


def export(options: Options) -> list[Path]:
    """Write the folder; return the layers' folders.

    Raises:
        FileNotFoundError: there is no bundle, or no file of vectors.
        ValueError: a layer that the core does not run, or an option out of its range.
    """
    model = bundle.load(options.bundle)
    layers = {
        n: layer
        for n, layer in enumerate(model.layers)
        if isinstance(layer, IntegerLSTM | IntegerGRU)
    }
    if options.layer is not None:
        if options.layer not in layers:
            raise ValueError(f"layer {options.layer}: the recurrent layers are {list(layers)}")
        layers = {options.layer: layers[options.layer]}
    if not layers:
        raise ValueError(f"{options.bundle}: has no recurrent layer")
    if options.frames < 2:
        raise ValueError(f"frames {options.frames}: must be 2 or more")
    check_replaceable(options.out)
    configs = {n: configure(layer, options.n_pe) for n, layer in layers.items()}
    names = {n: f"layer{n}" for n in layers}
    with atomic(options.out) as new:
        new.mkdir()
        text = MAKEFILE_OF_ALL.format(signature=SIGNATURE, layers=" ".join(names.values()))
        (new / "Makefile").write_text(text)
        for n, layer in layers.items():
            write_layer(layer, configs[n], frames_into(model, n, options), new / names[n])
    return [options.out / name for name in names.values()]


def check_replaceable(folder: Path) -> None:
    """Raise ValueError if the folder holds what :func:`export` did not write."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    makefile = folder / "Makefile"
    if not makefile.is_file() or not makefile.read_text().startswith(SIGNATURE):
        raise ValueError(f"{folder}: was not written by hdl.convert; name another folder")


def frames_into(model: IntegerModel, layer: int, options: Options) -> list[Integers]:
    """Two utterances (time, input_size) for a layer, ``options.frames`` frames in all."""
    lengths = [options.frames - options.frames // 2, options.frames // 2]
    if options.vectors is None:
        rng = np.random.default_rng(options.seed)
        fmt = input_format(model.layers[layer])
        size = model.layers[layer].input_size
        return [rng.integers(fmt.lowest, fmt.highest + 1, (length, size)) for length in lengths]
    before = IntegerModel(model.layers[:layer])
    utterances = read_features(options.vectors, lengths, model.layers[0].input_size)
    return [before.run(model.quantize(u)[:, None])[:, 0] for u in utterances]


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


def write_layer(
    layer: IntegerLSTM | IntegerGRU,
    config: CoreConfig,
    utterances: Sequence[Integers],
    folder: Path,
) -> None:
    """Write one layer's folder."""
    arguments = core_arguments(config)
    verilog = convert(core, arguments, folder / "verilog")
    vhdl = convert(core, arguments, folder / "vhdl", language="vhdl")
    image = load_image(layer, config)
    inputs = [
        (n < config.input_blocks, block)
        for u in utterances
        for n, block in enumerate(pack_frames(u, config))
    ]
    outputs = [
        (n == config.hidden_blocks - 1, pack(block, config.activation_length))
        for u in utterances
        for frame in blocks(layer.run(u[:, None])[:, 0], config.block_size)
        for n, block in enumerate(frame)
    ]
    block_width = config.block_size * config.activation_length
    address, data, block = map(
        hex_digits, (config.load_address_bits, config.load_data_bits, block_width)
    )
    write_hex(folder / "image.hex", image, address, data)
    write_hex(folder / "input.hex", inputs, 1, block)
    write_hex(folder / "output.hex", outputs, 1, block)
    parity = reduce(xor, (a << 4 * data | d for a, d in image))
    sizes = {
        "LOADS": len(image),
        "BLOCKS_IN": len(inputs),
        "BLOCKS_OUT": len(outputs),
        "ADDRESS_WIDTH": config.load_address_bits,
        "ADDRESS_DIGITS": address,
        "LOAD_WIDTH": config.load_data_bits,
        "LOAD_DIGITS": data,
        "BLOCK_WIDTH": block_width,
        "BLOCK_DIGITS": block,
    }
    write_test_bench(
        folder / "testbench.v",
        *(f"localparam {name} = {value};" for name, value in sizes.items()),
        f"localparam PARITY_OF_IMAGE = {4 * (address + data)}'h{parity:x};",
    )
    write_test_bench(
        folder / "testbench.vhd",
        *(f"constant {name}: natural := {value};" for name, value in sizes.items()),
        f"constant PARITY_OF_IMAGE: std_logic_vector({4 * (address + data) - 1} downto 0) := "
        f'x"{parity:0{address + data}x}";',
    )
    text = MAKEFILE.format(
        signature=SIGNATURE,
        verilator=find_verilator()[0],
        what=f"{layer.kind} {layer.input_size} -> {layer.hidden_size}, "
        f"block size {layer.block_size}, {config.n_pe} PEs",
        verilog=" ".join(f"verilog/{path.name}" for path in verilog),
        vhdl=" ".join(f"vhdl/{path.name}" for path in vhdl),
    )
    (folder / "Makefile").write_text(text)


def write_test_bench(path: Path, *sizes: str) -> None:
    """Write the test bench of that name beside this file with its sizes filled in."""
    template = Path(__file__).with_name(path.name).read_text()
    comment = {".v": "// sizes", ".vhd": "-- sizes"}[path.suffix]
    path.write_text(template.replace(comment, "\n".join(sizes)))


def hex_digits(bits: int) -> int:
    """Hexadecimal digits of a number of bits."""
    return -(-bits // 4)


def write_hex(path: Path, words: Iterable[tuple[int, int]], high: int, low: int) -> None:
    """Write pairs for $readmemh, a line each, as ``high`` and ``low`` digits with _ between."""
    path.write_text("".join(f"{a:0{high}x}_{b:0{low}x}\n" for a, b in words))


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, prog="python -m hdl.convert")
    try:
        folders = export(options)
    except (ValueError, OSError) as error:
        print(f"hdl.convert: {error}", file=sys.stderr)
        return 2
    except ConversionError as error:
        print(f"hdl.convert: {str(error).splitlines()[-1]}", file=sys.stderr)
        return 2
    for folder in folders:
        print(f"{folder}: make -C {folder} iverilog | verilator | ghdl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
