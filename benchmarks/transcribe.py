"""Transcribing: what normalisation on the fly costs in PER, and how fast each backend is.

    python benchmarks/transcribe.py exp/timit

Takes a folder of a recipe's run.py. Its test utterances are transcribed as files and as a pipe
would be, by the float and the integer model; their PER stands beside that of features normalised
over each speaker's whole speech. A few also go through the RTL under Verilator. A real-time factor
is seconds of computing a second of audio, of whole utterances, on one core.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from data_prep import features, manifest
from data_prep.cmvn import FIRST
from data_prep.manifest import Utterance
from data_prep.phones import PhoneSet, phone_set
from data_prep.samples import read_file
from ernn.asr import Dataset, Score, recognise, score
from ernn.asr.integer import IntegerAcousticModel
from ernn.asr.recogniser import Recogniser
from ernn.asr.streaming import integer_model, transcribe
from ernn.asr.transcribe import FIRST_OF_FILE, streams

WAYS = {"a pipe": FIRST, "a file": FIRST_OF_FILE}
"""Frames that are normalised together at an utterance's beginning."""


@dataclass
class Arguments:
    """Measure PER and real-time factors of a recogniser."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a recipe's run.py."""
    rtl_utterances: int = 4
    """That go through the RTL; 0 leaves it out."""


def heard(
    recogniser: Recogniser, backend: str, utterances: Sequence[Utterance], first: int
) -> tuple[dict[str, list[str]], list[float]]:
    """The phones of each utterance, and its real-time factor."""
    found, factors = {}, []
    with ExitStack() as stack:
        new_stream = streams(recogniser, backend, stack)
        for utterance in tqdm(utterances, desc=f"{backend}, {first}", disable=None):
            rate = recogniser.features.sample_rate
            place = utterance.start, utterance.duration
            blocks = list(read_file(utterance.audio, rate, *place))
            started = time.perf_counter()
            phones = transcribe(recogniser, blocks, new_stream(), first)
            found[utterance.id] = [phone.symbol for phone in phones]
            factors.append((time.perf_counter() - started) / utterance.duration)
    return found, factors


def test_set(run: Path, utterances: Sequence[Utterance], phones: PhoneSet) -> Dataset:
    """The test utterances with the features that the recipe made."""
    return Dataset(
        features.load(run / "features" / "test.safetensors"),
        {u.id: phones.targets(u.phones) for u in utterances},
        phones.symbols,
        folding=phones.scored,
    )


def measure(arguments: Arguments) -> str:
    """Return two Markdown tables.

    Raises:
        ValueError, FileNotFoundError: the folder is no recipe's.
    """
    torch.set_num_threads(1)
    recogniser = Recogniser.load(arguments.run / "recogniser")
    utterances = manifest.read(arguments.run / "prepare" / "manifests" / "test.jsonl")
    phones = phone_set(recogniser.phones)
    dataset = test_set(arguments.run, utterances, phones)
    spelling = {symbol: n for n, symbol in enumerate(phones.symbols, 1)}
    models: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "float": recogniser.model,
        "integer": IntegerAcousticModel(integer_model(recogniser)),
    }

    def rate(found: dict[str, list[str]]) -> Score:
        hypotheses = {i: dataset.spell(spelling[p] for p in said) for i, said in found.items()}
        return score({i: dataset.phones[i] for i in hypotheses}, hypotheses)

    lines = ["| normalised over | float, PER | integer, PER |", "|---|---|---|"]
    pers = [score(dataset.phones, recognise(model, dataset)).per for model in models.values()]
    lines.append(f"| each speaker's speech | {pers[0]:.2f} | {pers[1]:.2f} |")
    factors = {}
    for way, first in WAYS.items():
        pers = []
        for backend in models:
            found, factors[backend] = heard(recogniser, backend, utterances, first)
            pers.append(rate(found).per)
        what = f"the utterance as it comes, as of {way}"
        lines.append(f"| {what} | {pers[0]:.2f} | {pers[1]:.2f} |")
    if arguments.rtl_utterances:
        places = np.linspace(0, len(utterances) - 1, arguments.rtl_utterances).round().astype(int)
        some = [utterances[i] for i in places]
        through_rtl, factors["rtl"] = heard(recogniser, "rtl", some, FIRST_OF_FILE)
        if any(found[name] != said for name, said in through_rtl.items()):
            raise ValueError("the RTL's phones are not the integer model's")
    lines += ["", "| backend | utterances | real-time factor, least | median | largest |"]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {backend} | {len(of)} | {min(of):.3f} | {median(of):.3f} | {max(of):.3f} |"
        for backend, of in factors.items()
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    """Run the command line."""
    try:
        print(measure(tyro.cli(Arguments)), end="")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
