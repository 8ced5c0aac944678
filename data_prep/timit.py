"""Manifests of a TIMIT tree: the licensed one (LDC93S1) and the built-in corpus, by the same code.

    python -m data_prep.timit --root TIMIT --out exp/manifests

Names may be in upper or lower case, and the audio SPHERE or RIFF. The SA sentences, which every
speaker says, are left out. The splits are Kaldi's (egs/timit/s5): TRAIN, 50 dev speakers and the 24
core-test speakers of TEST, 3,696 / 400 / 192 utterances; a built-in corpus names its own in
DOC/SPLITS.TXT.
"""

import logging
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from data_prep import audio, manifest
from data_prep.manifest import SPLITS, Utterance
from data_prep.phones import PHONES_61

SAMPLE_RATE = 16000  # Hz
TRAIN_SPEAKERS = 462
SENTENCES = 8  # of each speaker, without the SA sentences
DEV_SPEAKERS = """
    faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0
    mgjf0 mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0
    fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0
    fmml0 mrws1
"""
CORE_TEST_SPEAKERS = """
    mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 mcmj0
    mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0
"""

SPLITS_FILE = Path("DOC", "SPLITS.TXT")  # of a built-in corpus: the split of each speaker
LISTED = 8  # speakers that a line names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Write train.jsonl, dev.jsonl and test.jsonl of a TIMIT tree."""

    root: Path  # folder with TRAIN and TEST somewhere below
    out: Path  # folder of the manifests
    strict: bool = False  # stop at the first bad file instead of leaving it out


def prepare(root: Path | str, out: Path | str, *, strict: bool = False) -> dict[str, Path]:
    """Write the manifests of the tree below ``root`` to the folder ``out``.

    What is wrong with an utterance is logged in one line and the utterance left out; at the end
    their number is logged, and what a licensed tree lacks (:func:`differences`).

    Returns:
        The manifest of each of train, dev and test.

    Raises:
        FileNotFoundError: there is no TIMIT utterance below ``root``.
        ValueError: nothing is left of a split; with ``strict``, an utterance is bad.
    """
    root, out = Path(root), Path(out)
    splits = _splits(root)
    utterances: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    bad = total = 0
    for (half, speaker, sentence), files in sorted(_find(root).items()):
        split = "train" if half == "train" else splits.get(speaker)
        if split is None or sentence.startswith("sa"):
            continue
        total += 1
        try:
            utterances[split].append(_utterance(f"{speaker}_{sentence}", speaker, files))
        except ValueError as error:
            if strict:
                raise
            bad += 1
            log.warning("%s", error)
    if bad:
        log.warning("%s: %d of %d utterances are bad and left out", root, bad, total)
    for split in SPLITS:
        if not utterances[split]:
            raise ValueError(f"{root}: no utterance of {split}")
    manifests = {split: out / f"{split}.jsonl" for split in SPLITS}
    for split, path in manifests.items():
        manifest.write(utterances[split], path)
        log.info("%s: %d utterances", path, len(utterances[split]))
    if not (root / SPLITS_FILE).exists() and (text := differences(utterances)):
        log.warning("%s: %s", root, text)
    return manifests


def differences(splits: Mapping[str, Sequence[Utterance]]) -> str:
    """Return in one line what differs from the 3,696 / 400 / 192 utterances of the licensed TIMIT.

    Of a training speaker who is missing altogether only the number is told: no list names them.

    Args:
        splits: the utterances of train, dev and test.

    Returns:
        Nothing if nothing differs.
    """
    wholes = {"dev": DEV_SPEAKERS.split(), "test": CORE_TEST_SPEAKERS.split()}
    parts = []
    for split in SPLITS:
        counts = Counter(dict.fromkeys(wholes.get(split, ()), 0))
        counts.update(utterance.speaker for utterance in splits[split])
        speakers = TRAIN_SPEAKERS if split == "train" else len(wholes[split])
        odd = [f"{name} {n}" for name, n in sorted(counts.items()) if n != SENTENCES]
        if odd or len(counts) != speakers:
            found = f"{split} has {len(splits[split])} of {speakers * SENTENCES} utterances"
            if split == "train":
                found += f", {len(counts)} of {speakers} speakers"
            rest = f", {len(odd) - LISTED} more" * (len(odd) > LISTED)
            named = f" (not {SENTENCES}: {', '.join(odd[:LISTED])}{rest})" if odd else ""
            parts.append(found + named)
    return f"not the whole of TIMIT: {'; '.join(parts)}" if parts else ""


def _splits(root: Path) -> dict[str, str]:
    """Return the split of each speaker in TEST who is in one."""
    own = root / SPLITS_FILE
    if own.exists():
        return dict(line.lower().split() for line in own.read_text(encoding="ascii").splitlines())
    return dict.fromkeys(DEV_SPEAKERS.split(), "dev") | dict.fromkeys(
        CORE_TEST_SPEAKERS.split(), "test"
    )


def _find(root: Path) -> dict[tuple[str, str, str], dict[str, Path]]:
    """Return (train or test, speaker, sentence), in lower case: {wav, phn or txt: its file}."""
    found: dict[tuple[str, str, str], dict[str, Path]] = defaultdict(dict)
    files = sorted(root.rglob("*.*"), reverse=True)
    for path in files:  # SX1.WAV comes after SX1.WAV.wav, a copy of it, and replaces it
        *_, half, region, speaker, name = ("", "", "", *path.as_posix().lower().split("/"))
        sentence, *_, kind = name.split(".")
        if re.fullmatch(r"(train|test)/dr[1-8]\.(wav|phn|txt)", f"{half}/{region}.{kind}"):
            found[half, speaker, sentence][kind] = path
    if not found:
        raise FileNotFoundError(f"{root}: no TIMIT utterance (as TRAIN/DR1/FCJF0/SX37.WAV) below")
    return found


def _utterance(name: str, speaker: str, files: Mapping[str, Path]) -> Utterance:
    """Read and check an utterance; what is wrong with it is a ValueError of one line."""
    for kind in ("wav", "phn", "txt"):
        if kind not in files:
            there = next(iter(files.values()))
            raise ValueError(f"{there}: the .{kind.upper()} beside it is missing")
    samples, rate = audio.length(files["wav"])
    phones = _phones(files["phn"], samples)
    text = files["txt"].read_text(encoding="latin-1").split()
    if len(text) < 3:
        raise ValueError(f"{files['txt']}: not a first sample, a last sample and a sentence")
    if rate != SAMPLE_RATE:
        log.warning("%s: %d Hz, resampled to %d Hz when read", files["wav"], rate, SAMPLE_RATE)
    scale = SAMPLE_RATE / rate
    return Utterance(
        id=name,
        audio=str(files["wav"].absolute()),
        start=0.0,
        duration=samples / rate,
        speaker=speaker,
        text=" ".join(text[2:]),
        phones=tuple(phone for _, _, phone in phones),
        boundaries=tuple((round(start * scale), round(end * scale)) for start, end, _ in phones),
        sample_rate=SAMPLE_RATE,
    )


def _phones(path: Path, samples: int) -> list[tuple[int, int, str]]:
    """Return the (start, end, phone) of a .PHN file, which must be in order within ``samples``."""
    phones: list[tuple[int, int, str]] = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if not match:
            raise ValueError(f"{path}:{number}: not a start, an end and a phone: {line!r}")
        start, end, phone = int(match[1]), int(match[2]), match[3]
        where = f"{path}:{number}: {phone} from {start} to {end}"
        if phone not in PHONES_61:
            raise ValueError(f"{where}: none of TIMIT's 61 phones")
        if start >= end:
            raise ValueError(f"{where}: the end is not after the start")
        if end > samples:
            raise ValueError(f"{where}: past the end of the audio, {samples}")
        if phones and start < phones[-1][0]:
            raise ValueError(f"{where}: not sorted: the phone before starts at {phones[-1][0]}")
        if phones and start < phones[-1][1]:
            raise ValueError(f"{where}: overlaps the phone before, which ends at {phones[-1][1]}")
        phones.append((start, end, phone))
    if not phones:
        raise ValueError(f"{path}: no phones")
    return phones


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = tyro.cli(Options)
    try:
        prepare(options.root, options.out, strict=options.strict)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
