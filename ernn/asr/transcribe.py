"""Phones with their times from audio, by a trained recogniser or by the accelerator it became.

    python -m ernn.asr.transcribe FILES --model DIR [--backend float|integer|rtl]
    arecord -q -t raw -f S16_LE -r 16000 | python -m ernn.asr.transcribe - --model DIR

A line a phone, in NIST's CTM format: file, channel, begin and duration in s, phone. A line is
written as soon as its phone has ended; of standard input, after its first second. A file is there
already, so that its first ten seconds are normalised as one, and recognised the better for it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np
import torch
import tyro

from data_prep.cmvn import FIRST
from data_prep.samples import read_file, read_pipe
from ernn.asr.recogniser import Recogniser
from ernn.asr.streaming import (
    Stream,
    WholeUtterance,
    float_stream,
    integer_model,
    integer_stream,
    transcribe,
)
from ernn.quantize import IntegerModel

PROG = "ernn.asr.transcribe"
PIPE = "-"
FIRST_OF_FILE = 1000
"""Frames of a file that are normalised together; it costs no one time."""
N_PE = 16
"""PEs of the simulated core. More make fewer cycles of more work each, and take longer to build."""


@dataclass(frozen=True)
class Options:
    """Write the phones of audio files, with their times, as CTM lines.

    Attributes:
        files: audio of any length in any format that soundfile reads, mono; "-" is standard input:
            16-bit little-endian samples, mono, at the model's rate.
        model: the recogniser's folder, as the recipes write it.
        backend: the trained model; its integer model; or the accelerator's RTL under Verilator,
            which gives the integer model's phones.
    """

    files: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILES")]
    model: Path
    backend: Literal["float", "integer", "rtl"] = "float"


def streams(recogniser: Recogniser, backend: str, stack: ExitStack) -> Callable[[], Stream]:
    """Return what starts a stream.

    Args:
        recogniser: the model.
        backend: as of :class:`Options`.
        stack: ends what the streams need.

    Raises:
        ValueError: the recogniser does not have the backend's model, or no core runs it.
        SimulationError: the accelerator does not build.
    """
    if backend == "float":
        return lambda: float_stream(recogniser)
    if backend == "integer":
        integer_model(recogniser)
        return lambda: integer_stream(recogniser)
    return _accelerator(recogniser, stack)


def _accelerator(recogniser: Recogniser, stack: ExitStack) -> Callable[[], Stream]:
    from hdl import offline, online
    from hdl.compiler import configure, on_core
    from hdl.simulate import Simulator

    model = integer_model(recogniser)
    if isinstance(model, IntegerModel):
        cfg = configure(on_core(model), N_PE)
    else:
        cfg = offline.configure(model, N_PE)
    print(f"building the accelerator: {N_PE} PEs, k = {cfg.block_size}", file=sys.stderr)
    started = time.perf_counter()
    simulator = Simulator(cfg)
    print(f"built in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if isinstance(model, IntegerModel):
        session = stack.enter_context(online.start(model, simulator))
        return lambda: online.AcceleratorStream(model, session)

    def run(vectors: np.ndarray) -> np.ndarray:
        return offline.run(model, simulator, model.quantize(vectors)[:, None])[:, 0]

    return lambda: WholeUtterance(run)


def lines(recogniser: Recogniser, file: str, stream: Stream) -> Iterator[str]:
    """Yield the CTM lines of a file.

    Raises:
        ValueError: it is no such audio as it must be.
    """
    if file == PIPE:
        blocks, first = read_pipe(cast(BufferedIOBase, sys.stdin.buffer)), FIRST
    else:
        blocks, first = read_file(file, recogniser.features.sample_rate), FIRST_OF_FILE
    name = "_".join(file.split())  # the fields of a line are words
    for phone in transcribe(recogniser, blocks, stream, first):
        yield f"{name} 1 {phone.start:.3f} {phone.end - phone.start:.3f} {phone.symbol}"


def run(options: Options) -> int:
    """Transcribe the files; return the exit code, 2 if there was one that could not be.

    Raises:
        ValueError, OSError, SimulationError: none can be.
    """
    if not options.files:
        raise ValueError(f"no files: name one or more, or {PIPE} for standard input")
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    recogniser = Recogniser.load(options.model)
    code = 0
    with ExitStack() as stack:
        new_stream = streams(recogniser, options.backend, stack)
        for file in options.files:
            try:
                for line in lines(recogniser, file, new_stream()):
                    print(line, flush=True)
            except ValueError as error:
                what = str(error).removeprefix(f"{file}: ")
                print(f"{PROG}: {file}: {what}", file=sys.stderr)
                code = 2
    return code


def main() -> int:
    """Run the command line."""
    options = tyro.cli(Options, prog=f"python -m {PROG}")
    try:
        return run(options)
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, ImportError, RuntimeError) as error:  # hdl's are RuntimeErrors
        print(f"{PROG}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
