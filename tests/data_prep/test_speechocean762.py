import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import manifest
from data_prep.manifest import Utterance
from data_prep.phones import ARPABET
from data_prep.speechocean762 import hold_out, overlap, prepare

NOISE = np.random.default_rng(0).normal(0, 0.1, 8000)
SAID = {"WE CALL IT": ["W IY0", "K AO0 L", "IH0 T"], "ZERO": ["Z IH_I AH1 OW0"]}
SPEAKERS = [f"{n:04}" for n in range(1, 9)]  # the last two are of the test half


def places(word: str) -> str:
    """Write each phone's place in its word as OpenSLR's text-phone does."""
    first, *rest = word.replace("_I", "").split()
    if not rest:
        return f"{first}_S"
    return " ".join([f"{first}_B", *(f"{phone}_I" for phone in rest[:-1]), f"{rest[-1]}_E"])


def openslr(root: Path) -> Path:
    """OpenSLR's layout: six speakers in train, two in test, two utterances of each."""
    words = []
    for half, speakers in (("train", SPEAKERS[:6]), ("test", SPEAKERS[6:])):
        folder = root / half
        folder.mkdir(parents=True)
        tables: dict[str, list[str]] = {name: [] for name in ("text", "utt2spk", "wav.scp")}
        for speaker in speakers:
            for number, (text, said) in enumerate(SAID.items()):
                name, path = f"{speaker}0{number}", f"WAVE/SPEAKER{speaker}/{speaker}0{number}.WAV"
                tables["text"].append(f"{name}\t{text} {speaker}")
                tables["utt2spk"].append(f"{name} {speaker}")
                tables["wav.scp"].append(f"{name}\t{path}")
                words += [f"{name}.{n}\t{places(word)}" for n, word in enumerate(said)]
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(root / path, NOISE, 16000, subtype="PCM_16")
        attributes = {"spk2age": [f"{s} {6 + n}" for n, s in enumerate(speakers)]}
        attributes["spk2gender"] = [f"{s}\t{'mf'[n % 2]}" for n, s in enumerate(speakers)]
        for name, lines in (tables | attributes).items():
            (folder / name).write_text("\n".join(lines) + "\n")
    (root / "resource").mkdir()
    words.reverse()  # the numbers of the words order them, not the lines
    (root / "resource" / "text-phone").write_text("\n".join(words) + "\n")
    return root


def prepared(root: Path, source: Path) -> Path:
    """The other layout, of the training half of ``source``: audio and phones in its folder."""
    shutil.copytree(source / "train", root / "train")
    lines = []
    for wav in sorted((source / "WAVE").rglob("*.WAV")):
        if wav.parent.name[-4:] in SPEAKERS[:6]:
            ogg = root / "train" / f"{wav.stem}.ogg"
            soundfile.write(ogg, NOISE, 16000, format="OGG", subtype="OPUS")
            said = " ".join(SAID[[*SAID][int(wav.stem[-1])]]).replace("_I", "")
            lines.append(f"{wav.stem} {said}")
    (root / "train" / "phones").write_text("\n".join(lines) + "\n")
    (root / "train" / "wav.scp").unlink()
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {split: manifest.read(path) for split, path in manifests.items()}


def speakers_of(utterances: list[Utterance]) -> set[str]:
    return {utterance.speaker for utterance in utterances}


def sizes_of(splits: dict[str, list[Utterance]]) -> dict[str, int]:
    return {split: len(utterances) for split, utterances in splits.items()}


def test_reads_openslrs_layout(tmp_path: Path) -> None:
    splits = read(prepare(openslr(tmp_path / "root"), tmp_path / "out", dev_speakers=2))
    assert sizes_of(splits) == {"train": 8, "dev": 4, "test": 4}
    assert speakers_of(splits["test"]) == {*SPEAKERS[6:]}
    assert not speakers_of(splits["dev"]) & speakers_of(splits["train"])
    first, second = splits["test"][:2]
    assert (first.id, first.speaker, first.text) == ("000700", "0007", "WE CALL IT 0007")
    assert first.audio == str(tmp_path / "root" / "WAVE" / "SPEAKER0007" / "000700.WAV")
    assert (first.start, first.duration, first.boundaries) == (0.0, 0.5, None)
    assert first.phones == ("W", "IY0", "K", "AO0", "L", "IH0", "T")
    assert second.phones == ("Z", "IH", "AH1", "OW0")


def test_reads_a_half_with_its_audio_in_it(tmp_path: Path) -> None:
    source = openslr(tmp_path / "source")
    shutil.rmtree(source / "test")
    root = prepared(tmp_path / "root", source)
    sizes = {"dev_speakers": 1, "test_speakers": 2}
    same = read(prepare(source, tmp_path / "a", **sizes))
    splits = read(prepare(root, tmp_path / "b", **sizes))
    assert sizes_of(splits) == {"train": 6, "dev": 2, "test": 4}
    for split, utterances in splits.items():
        for one, other in zip(utterances, same[split], strict=True):
            assert (one.id, one.speaker, one.phones) == (other.id, other.speaker, other.phones)
            assert one.audio == str(root / "train" / f"{one.id}.ogg")
            assert one.duration == 0.5


ATTRIBUTES = {f"{n:03}": ("mf"[n % 2], 6 + n // 4) for n in range(120)}


@pytest.mark.parametrize("seed", range(5))
def test_splits_have_the_same_mixture(seed: int) -> None:
    splits = hold_out(ATTRIBUTES, {"dev": 12, "test": 12}, seed)
    assert splits.keys() == ATTRIBUTES.keys()
    assert Counter(splits.values()) == {"train": 96, "dev": 12, "test": 12}
    for split in ("dev", "test"):
        chosen = [ATTRIBUTES[speaker] for speaker, its in splits.items() if its == split]
        assert Counter(gender for gender, _ in chosen) == {"m": 6, "f": 6}
        assert 18 < np.mean([age for _, age in chosen]) < 23  # of all: 20.5
    assert splits == hold_out(dict(reversed(ATTRIBUTES.items())), {"dev": 12, "test": 12}, seed)
    assert splits != hold_out(ATTRIBUTES, {"dev": 12, "test": 12}, seed + 5)


def test_too_many_or_too_few_are_held_out() -> None:
    with pytest.raises(ValueError, match="120 of 120 speakers held out: none is left"):
        hold_out(ATTRIBUTES, {"dev": 60, "test": 60}, 0)
    with pytest.raises(ValueError, match="test speakers are 0: at least 1 is needed"):
        hold_out(ATTRIBUTES, {"dev": 60, "test": 0}, 0)


def test_texts_in_common_are_counted(tmp_path: Path) -> None:
    splits = read(prepare(openslr(tmp_path / "root"), tmp_path / "out", dev_speakers=2))
    held = splits["dev"]
    assert overlap(held, splits["train"]) == 0
    assert overlap(held, [*splits["train"], *held[:3]]) == 3


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no corpus": (remove("train/utt2spk"), "root: no train/utt2spk: not the folder of"),
    "no text": (remove("train/text"), "train/text: no such file"),
    "no phones": (remove("resource/text-phone"), "resource/text-phone: no such file"),
    "no ages": (remove("train/spk2age"), "train/spk2age: no such file"),
    "no audio": (remove("WAVE/SPEAKER0002/000200.WAV"), "000200.WAV: the audio of 000200 is miss"),
    "age": (replace_in("train/spk2age", "0002 7", "0002 old"), "train: speaker 0002 has no age"),
    "speaker": (replace_in("train/utt2spk", "000200 ", "0002xx "), "train: 000200 has no speaker"),
    "audio": (replace_in("train/wav.scp", "000200\t", "0002xx\t"), "train: 000200 has no audio"),
    "said": (
        replace_in("resource/text-phone", "000201.0", "0002xx.0"),
        "train: 000201 has no phones",
    ),
    "word": (
        replace_in("resource/text-phone", "000201.0", "000201"),
        "text-phone: '000201' is not an utterance and the number of a word",
    ),
    "phone": (
        replace_in("resource/text-phone", "000201.0\tZ_B", "000201.0\tZZ_B"),
        "train: 000201: 'ZZ' is none of the corpus's 84 phones",
    ),
    "half a line": (
        replace_in("train/text", "000100\tWE CALL IT 0001", "000100\n"),
        "train/text:1: not a key and a value: '000100'",
    ),
    "twice": (replace_in("train/utt2spk", "000200", "000100"), "utt2spk:3: 000100 occurs twice"),
    "empty": (lambda root: (root / "train/text").write_text(""), "train/text: an empty file"),
    "no sound": (
        lambda root: (root / "WAVE/SPEAKER0002/000200.WAV").write_text("no"),
        "000200.WAV: not audio",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_is_named(tmp_path: Path, what: str) -> None:
    spoil, message = BAD[what]
    root = openslr(tmp_path / "root")
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        prepare(root, tmp_path / "out", dev_speakers=2)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path: Path) -> None:
    root = openslr(tmp_path / "root")
    command = [sys.executable, "-m", "data_prep.speechocean762", f"--root={root}"]
    command += [f"--out={tmp_path / 'out'}"]
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr == "12 of 6 speakers held out: none is left to train on\n"
    good = subprocess.run(
        [*command, "--dev-speakers=2"], capture_output=True, text=True, check=False
    )
    assert good.returncode == 0
    assert f"{tmp_path / 'out' / 'train.jsonl'}: 8 utterances" in good.stderr


def test_the_real_training_half(tmp_path: Path) -> None:
    if "ERNN_DATA" not in os.environ:
        pytest.skip("set ERNN_DATA to the folder that holds speechocean762")
    root = Path(os.environ["ERNN_DATA"], "speechocean762")
    if (root / "test").is_dir():
        pytest.skip("the official test half is there: other speakers are held out")
    splits = read(prepare(root, tmp_path))
    assert sizes_of(splits) == {"train": 2020, "dev": 240, "test": 240}
    assert sum(len(u.phones) for utterances in splits.values() for u in utterances) == 47076
    assert not speakers_of(splits["dev"]) & speakers_of(splits["train"])
    assert overlap(splits["dev"], splits["train"]) == 0
    said = {symbol for u in splits["train"] for symbol in ARPABET.targets(u.phones)}
    assert said == {*ARPABET.symbols}
