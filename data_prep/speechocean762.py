"""Manifests of speechocean762: English of Mandarin speakers, with its canonical phones.

    python -m data_prep.speechocean762 --root speechocean762 --out exp/manifests

Two layouts are read, each of them a folder for each half, ``train`` and ``test``, with Kaldi's
files ``text``, ``utt2spk``, ``spk2age`` and ``spk2gender``:

- OpenSLR 101's: ``wav.scp`` names the audio (``WAVE/SPEAKER0001/000010011.WAV``), and
  ``resource/text-phone`` has a line for each word (``000010011.0`` and ``W_B IY0_E``);
- a half whose audio lies in it (``000010011.ogg``), with the phones in a file ``phones``.

The phones are ARPAbet's with stress, what the text should sound like, not what the speaker said.
They have no times. The test half is the official one where it is there; else a second set of
speakers is held out of the training half. Source: Zhang et al., *speechocean762: An open-source
non-native English speech corpus for pronunciation assessment*, Interspeech 2021.
"""

import logging
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from data_prep import audio, manifest
from data_prep.manifest import Utterance
from data_prep.phones import ARPABET

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Write train.jsonl, dev.jsonl and test.jsonl of speechocean762."""

    root: Path  # folder with train, and test if there is one
    out: Path  # folder of the manifests
    dev_speakers: int = 12  # of the training half
    test_speakers: int = 12  # of the training half, where there is no test half
    seed: int = 0  # of the choice of the speakers


def prepare(
    root: Path | str,
    out: Path | str,
    *,
    dev_speakers: int = 12,
    test_speakers: int = 12,
    seed: int = 0,
) -> dict[str, Path]:
    """Write the manifests of the corpus in ``root`` to the folder ``out``.

    Returns:
        The manifest of each of train, dev and test.

    Raises:
        FileNotFoundError: there is no corpus, or a file is missing.
        ValueError: a line or an audio file is not as it must be, or too many speakers are held out.
    """
    root, out = Path(root), Path(out)
    if not (root / "train" / "utt2spk").is_file():
        raise FileNotFoundError(f"{root}: no train/utt2spk: not the folder of speechocean762")
    training = _read_half(root, "train")
    official = has_official_test(root)
    sizes = {"dev": dev_speakers} if official else {"dev": dev_speakers, "test": test_speakers}
    split_of = hold_out(_attributes(root / "train"), sizes, seed)
    splits: dict[str, list[Utterance]] = {split: [] for split in manifest.SPLITS}
    for utterance in training:
        splits[split_of[utterance.speaker]].append(utterance)
    if official:
        splits["test"] = _read_half(root, "test")
    manifests = {split: out / f"{split}.jsonl" for split in splits}
    for split, path in manifests.items():
        manifest.write(splits[split], path)
        log.info("%s: %d utterances", path, len(splits[split]))
    return manifests


def has_official_test(root: Path | str) -> bool:
    """Whether the corpus in ``root`` has OpenSLR's test half."""
    return (Path(root) / "test").is_dir()


def hold_out(
    attributes: dict[str, tuple[str, int]], sizes: dict[str, int], seed: int
) -> dict[str, str]:
    """Share speakers out: ``sizes`` of them to each split there, the others to train.

    Every so-many-th speaker is held out from a list in order of gender and age, in turns for each
    split, so that all splits are of the same mixture.

    Args:
        attributes: speaker -> gender and age in years.
        sizes: split -> number of its speakers.
        seed: of the first one and of the order of speakers of one gender and age.

    Returns:
        The split of each speaker.

    Raises:
        ValueError: a size is less than 1, or nobody would be left to train on.
    """
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"{split} speakers are {size}: at least 1 is needed")
    held = sum(sizes.values())
    if held >= len(attributes):
        raise ValueError(f"{held} of {len(attributes)} speakers held out: none is left to train on")
    rng = np.random.default_rng(seed)
    shuffled = [sorted(attributes)[i] for i in rng.permutation(len(attributes))]
    order = sorted(shuffled, key=attributes.__getitem__)
    places = ((np.arange(held) + rng.random()) * len(order) / held).astype(int)
    turns = sorted((turn / size, split) for split, size in sizes.items() for turn in range(size))
    splits = dict.fromkeys(order, "train")
    return splits | {order[p]: split for p, (_, split) in zip(places, turns, strict=True)}


def overlap(held_out: Iterable[Utterance], training: Iterable[Utterance]) -> int:
    """How many of the utterances held out have the text of one in training."""
    texts = {utterance.text for utterance in training}
    return sum(utterance.text in texts for utterance in held_out)


def _read_half(root: Path, half: str) -> list[Utterance]:
    folder = root / half
    texts, speakers = _table(folder / "text"), _table(folder / "utt2spk")
    if (folder / "phones").is_file():
        phones = _table(folder / "phones")
        files = {name: folder / f"{name}.ogg" for name in texts}
    else:
        phones = _words(root / "resource" / "text-phone")
        files = {name: root / path for name, path in _table(folder / "wav.scp").items()}
    utterances = []
    for name, text in texts.items():
        for table, what in ((speakers, "speaker"), (phones, "phones"), (files, "audio")):
            if name not in table:
                raise ValueError(f"{folder}: {name} has no {what}")
        try:
            ARPABET.targets(said := phones[name].split())
        except ValueError as error:
            raise ValueError(f"{folder}: {name}: {error}") from None
        if not files[name].is_file():
            raise FileNotFoundError(f"{files[name]}: the audio of {name} is missing")
        samples, rate = audio.length(files[name])
        path, speaker = str(files[name].absolute()), speakers[name]
        utterances.append(Utterance(name, path, 0.0, samples / rate, speaker, text, tuple(said)))
    return utterances


def _attributes(folder: Path) -> dict[str, tuple[str, int]]:
    """Return gender and age of each speaker of a half."""
    ages, genders = _table(folder / "spk2age"), _table(folder / "spk2gender")
    attributes = {}
    for speaker in dict.fromkeys(_table(folder / "utt2spk").values()):
        age, gender = ages.get(speaker, ""), genders.get(speaker, "")
        if not age.isdecimal() or not gender:
            raise ValueError(f"{folder}: speaker {speaker} has no age in years, or no gender")
        attributes[speaker] = gender, int(age)
    return attributes


def _words(path: Path) -> dict[str, str]:
    """Return the phones of each utterance of a text-phone file, without their places in words."""
    words: dict[str, dict[int, str]] = defaultdict(dict)
    for key, phones in _table(path).items():
        name, _, number = key.partition(".")
        if not number.isdecimal():
            raise ValueError(f"{path}: {key!r} is not an utterance and the number of a word")
        words[name][int(number)] = re.sub(r"_[BIES]\b", "", phones)
    return {name: " ".join(said[n] for n in sorted(said)) for name, said in words.items()}


def _table(path: Path) -> dict[str, str]:
    """Read one of Kaldi's files: a line is a key, white space, and a value."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; speechocean762 has it")
    table: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split(maxsplit=1)
        if len(fields) < 2:
            raise ValueError(f"{path}:{number}: not a key and a value: {line!r}")
        key, value = fields
        if key in table:
            raise ValueError(f"{path}:{number}: {key} occurs twice")
        table[key] = value.strip()
    if not table:
        raise ValueError(f"{path}: an empty file")
    return table


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = tyro.cli(Options)
    try:
        sizes = {"dev_speakers": options.dev_speakers, "test_speakers": options.test_speakers}
        prepare(options.root, options.out, **sizes, seed=options.seed)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
