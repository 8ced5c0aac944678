import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import manifest
from data_prep.manifest import Utterance
from data_prep.timit import CORE_TEST_SPEAKERS, DEV_SPEAKERS, differences, prepare

PHN = "0 3050 h#\n3050 4559 sh\n4559 5723 ix\n5723 8000 h#\n"
SPEAKERS = {"TRAIN/DR1/FCJF0": "train", "TEST/DR1/FAKS0": "dev", "TEST/DR2/MABW0": None}
SPEAKERS |= {"TEST/DR1/MDAB0": "test"}


def add(
    root: Path, name: str, *, lower: bool = False, riff: bool = False, rate: int = 16000
) -> Path:
    """Write the files of an utterance, 0.5 s, and return its audio's path."""
    name = name.lower() if lower else name
    kinds = ("wav", "phn", "txt") if lower else ("WAV", "PHN", "TXT")
    wav, phn, txt = (root / f"{name}.{kind}" for kind in kinds)
    wav.parent.mkdir(parents=True, exist_ok=True)
    samples = (1000 * np.sin(np.arange(rate // 2))).astype(np.int16)
    soundfile.write(wav, samples, rate, subtype="PCM_16", format="WAV" if riff else "NIST")
    phn.write_text(PHN if rate == 16000 else PHN.replace("8000", str(rate // 2)))
    txt.write_text("0 8000 She had.\n")
    return wav


def tree(root: Path, **form: bool) -> Path:
    """Write a TIMIT tree of four speakers, one of them in no split, with three sentences each."""
    for speaker in SPEAKERS:
        for sentence in ("SA1", "SX37", "SI1027"):
            add(root, f"{speaker}/{sentence}", **form)
    return root


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize("riff", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("below", ["", "TIMIT", "timit/TIMIT"])
def test_reads_timit(tmp_path: Path, below: str, lower: bool, riff: bool) -> None:
    tree(tmp_path / "root" / below, lower=lower, riff=riff)
    manifests = prepare(tmp_path / "root", tmp_path / "out", strict=True)
    assert manifests == {s: tmp_path / "out" / f"{s}.jsonl" for s in ("train", "dev", "test")}
    for split, speaker in (("train", "fcjf0"), ("dev", "faks0"), ("test", "mdab0")):
        utterances = manifest.read(manifests[split])
        assert [u.id for u in utterances] == [f"{speaker}_si1027", f"{speaker}_sx37"]
        for utterance in utterances:
            assert (utterance.speaker, utterance.text) == (speaker, "She had.")
            assert (utterance.start, utterance.duration) == (0.0, 0.5)
            assert utterance.phones == ("h#", "sh", "ix", "h#")
            assert utterance.boundaries == ((0, 3050), (3050, 4559), (4559, 5723), (5723, 8000))
            assert Path(utterance.audio).is_file()


def test_reads_the_built_in_corpus(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifests = prepare(corpus, tmp_path, strict=True)
    assert not warnings(caplog)
    splits = {split: manifest.read(path) for split, path in manifests.items()}
    assert {split: len(utterances) for split, utterances in splits.items()} == {
        "train": 16,
        "dev": 8,
        "test": 8,
    }
    speakers = {split: {u.speaker for u in utterances} for split, utterances in splits.items()}
    assert {split: len(names) for split, names in speakers.items()} == {
        "train": 4,
        "dev": 2,
        "test": 2,
    }
    assert len(set.union(*speakers.values())) == 8


def test_a_copy_beside_the_original_counts_once(tmp_path: Path) -> None:
    wav = add(tree(tmp_path / "root"), "TRAIN/DR1/FCJF0/SX37")
    shutil.copy(wav, f"{wav}.wav")
    utterances = manifest.read(prepare(tmp_path / "root", tmp_path / "out", strict=True)["train"])
    assert [u.audio for u in utterances if u.id == "fcjf0_sx37"] == [str(wav)]


def test_kaldis_lists() -> None:
    dev, test = set(DEV_SPEAKERS.split()), set(CORE_TEST_SPEAKERS.split())
    assert (len(dev), len(test)) == (50, 24)
    assert not dev & test
    assert all(name[0] in "fm" and len(name) == 5 for name in dev | test)
    assert sum(name[0] == "f" for name in test) == 8  # two men and a woman of each of 8 regions


def whole_timit() -> dict[str, list[str]]:
    """The speaker of each utterance of the licensed corpus."""
    speakers = {"train": [f"f{n:03}0" for n in range(462)]}
    speakers |= {"dev": DEV_SPEAKERS.split(), "test": CORE_TEST_SPEAKERS.split()}
    return {split: names * 8 for split, names in speakers.items()}


def differ(speakers: dict[str, list[str]]) -> str:
    return differences(
        {
            split: [Utterance(f"{s}_{n}", "", 0.0, 1.0, s, "", ()) for n, s in enumerate(names)]
            for split, names in speakers.items()
        }
    )


def test_the_whole_of_timit_differs_in_nothing() -> None:
    whole = whole_timit()
    assert [len(names) for names in whole.values()] == [3696, 400, 192]
    assert differ(whole) == ""


def test_what_is_missing_or_too_much_is_named() -> None:
    speakers = whole_timit()
    speakers["train"].remove("f0030")
    speakers["train"].append("f0110")
    speakers["dev"] = [name for name in speakers["dev"] if name != "faks0"]
    speakers["test"].append("fcjf0")
    assert differ(speakers) == (
        "not the whole of TIMIT: "
        "train has 3696 of 3696 utterances, 462 of 462 speakers (not 8: f0030 7, f0110 9); "
        "dev has 392 of 400 utterances (not 8: faks0 0); "
        "test has 193 of 192 utterances (not 8: fcjf0 1)"
    )


def test_a_training_speaker_who_is_missing_is_counted() -> None:
    speakers = whole_timit()
    speakers["train"] = [name for name in speakers["train"] if name != "f0030"]
    assert differ(speakers) == (
        "not the whole of TIMIT: train has 3688 of 3696 utterances, 461 of 462 speakers"
    )


def test_a_line_names_eight_speakers() -> None:
    speakers = whole_timit()
    speakers["test"] = speakers["test"][:14]
    text = differ(speakers)
    assert text.startswith("not the whole of TIMIT: test has 14 of 192 utterances (not 8: fdhc0 0,")
    assert text.count(",") == 8
    assert text.endswith(", 16 more)")


def empty(wav: Path) -> None:
    wav.write_bytes(b"")


def cut_header(wav: Path) -> None:
    wav.write_bytes(wav.read_bytes()[:500])


def cut(wav: Path) -> None:
    wav.write_bytes(wav.read_bytes()[:-1000])


def no_samples(wav: Path) -> None:
    soundfile.write(wav, np.zeros(0, np.int16), 16000, format="WAV")


def stereo(wav: Path) -> None:
    soundfile.write(wav, np.zeros((8000, 2), np.int16), 16000, format="WAV")


def no_audio(wav: Path) -> None:
    wav.unlink()


def no_phones_file(wav: Path) -> None:
    wav.with_suffix(".PHN").unlink()


def no_text(wav: Path) -> None:
    wav.with_suffix(".TXT").unlink()


def phn(text: str) -> Callable[[Path], None]:
    def write(wav: Path) -> None:
        wav.with_suffix(".PHN").write_text(text)

    return write


BAD = {
    "empty": (empty, r"SX37\.WAV: an empty file"),
    "cut header": (cut_header, r"SX37\.WAV: not audio, or cut in its header"),
    "truncated": (cut, r"SX37\.WAV: truncated: 16024 of 17024 bytes"),
    "no samples": (no_samples, r"SX37\.WAV: no samples"),
    "stereo": (stereo, r"SX37\.WAV: 2 channels: only mono is allowed"),
    "no .WAV": (no_audio, r"SX37\.TXT: the \.WAV beside it is missing"),
    "no .PHN": (no_phones_file, r"SX37\.WAV: the \.PHN beside it is missing"),
    "no .TXT": (no_text, r"SX37\.WAV: the \.TXT beside it is missing"),
    "overlap": (
        phn("0 3050 h#\n3000 4559 sh\n"),
        r"SX37\.PHN:2: sh from 3000 to 4559: overlaps the phone before, which ends at 3050",
    ),
    "unsorted": (
        phn("3050 4559 sh\n0 3050 h#\n"),
        r"SX37\.PHN:2: h# from 0 to 3050: not sorted: the phone before starts at 3050",
    ),
    "unknown": (
        phn("0 3050 h#\n3050 4559 xx\n"),
        r"SX37\.PHN:2: xx from 3050 to 4559: none of TIMIT's 61 phones",
    ),
    "past the end": (
        phn("0 3050 h#\n3050 8001 sh\n"),
        r"SX37\.PHN:2: sh from 3050 to 8001: past the end of the audio, 8000",
    ),
    "backwards": (phn("3050 3050 h#\n"), r"SX37\.PHN:1: .* the end is not after the start"),
    "no numbers": (phn("a b h#\n"), r"SX37\.PHN:1: not a start, an end and a phone: 'a b h#'"),
    "no lines": (phn(""), r"SX37\.PHN: no phones"),
}


@pytest.mark.parametrize("what", BAD)
def test_one_bad_file_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    spoil, message = BAD[what]
    root = tree(tmp_path / "root")
    spoil(root / "TRAIN/DR1/FCJF0/SX37.WAV")

    manifests = prepare(root, tmp_path / "out")
    assert [u.id for u in manifest.read(manifests["train"])] == ["fcjf0_si1027"]
    assert len(manifest.read(manifests["test"])) == 2
    first, bad, incomplete = warnings(caplog)
    assert "\n" not in first
    assert bad == f"{root}: 1 of 6 utterances are bad and left out"
    assert incomplete.startswith(f"{root}: not the whole of TIMIT: train has 1 of 3696")
    with pytest.raises(ValueError, match=message) as error:
        prepare(root, tmp_path / "strict", strict=True)
    assert str(error.value) == first
    assert not (tmp_path / "strict").exists()


def test_another_rate_is_noticed_and_its_times_converted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(tmp_path / "root")
    wav = add(root, "TRAIN/DR1/FCJF0/SX37", rate=32000)
    utterance = manifest.read(prepare(root, tmp_path / "out", strict=True)["train"])[1]
    assert warnings(caplog)[0] == f"{wav}: 32000 Hz, resampled to 16000 Hz when read"
    assert (utterance.duration, utterance.sample_rate) == (0.5, 16000)
    assert utterance.boundaries == ((0, 1525), (1525, 2280), (2280, 2862), (2862, 8000))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no TIMIT utterance"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no TIMIT utterance"):
        prepare(tmp_path / "missing", tmp_path / "out")


def test_a_split_without_utterances(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    shutil.rmtree(root / "TEST" / "DR1" / "MDAB0")
    with pytest.raises(ValueError, match="root: no utterance of test"):
        prepare(root, tmp_path / "out")


def test_command_line(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    empty(root / "TRAIN/DR1/FCJF0/SX37.WAV")
    command = [
        sys.executable,
        "-m",
        "data_prep.timit",
        f"--root={root}",
        f"--out={tmp_path / 'out'}",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "1 of 6 utterances are bad and left out" in result.stderr
    result = subprocess.run([*command, "--strict"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"{root / 'TRAIN/DR1/FCJF0/SX37.WAV'}: an empty file\n"


def test_speakers_in_no_split_are_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    ids = {u.speaker for path in prepare(root, tmp_path).values() for u in manifest.read(path)}
    assert ids == {name[-5:].lower() for name, split in SPEAKERS.items() if split}
