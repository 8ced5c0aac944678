import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import synthetic
from data_prep.alignment import VOICED, VOICELESS, VOWELS, align
from data_prep.manifest import SPLITS
from data_prep.phones import PHONES_39, to39
from data_prep.sentences import Grammar, _base, _past, _plural, _sections
from data_prep.synthetic import DIALECTS, Espeak, Options

SHA256 = "910f3e87013ea8633d5a07449c91434d9eb9b9540c368ae7684046618a682e77"
COMMAND = [sys.executable, "-m", "data_prep.synthetic"]
CLOSURES, STOPS = (
    set(labels) for labels in zip(*VOICELESS.values(), *VOICED.values(), strict=True)
)


def digest(root: Path) -> str:
    """Return one checksum of the files below ``root`` and their names."""
    lines = []
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.is_file():
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{sha}  ./{path.relative_to(root).as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def labels(path: Path) -> list[tuple[int, int, str]]:
    """Read a .PHN or .WRD file."""
    lines = (line.split() for line in path.read_text().splitlines())
    return [(int(start), int(end), label) for start, end, label in lines]


def test_is_the_same_on_every_machine(corpus: Path) -> None:
    assert digest(corpus) == SHA256


def test_does_not_depend_on_the_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    sizes = ["--train-speakers=4", "--dev-speakers=2", "--test-speakers=2", "--sentences=4"]
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        command = [*COMMAND, f"--out={tmp_path / 'one'}", *sizes]
        subprocess.run(command, check=True, capture_output=True)
    finally:
        os.sched_setaffinity(0, cpus)
    assert digest(tmp_path / "one") == digest(corpus)


def test_tree_is_timits(corpus: Path) -> None:
    splits = dict(line.split() for line in (corpus / "DOC" / "SPLITS.TXT").read_text().splitlines())
    assert [*splits.values()].count("train") == 4
    assert len(splits) == 8
    audio = sorted(corpus.glob("*/DR[1-8]/*/SX*.WAV"))
    assert len(audio) == 8 * 4
    for path in audio:
        assert (path.parts[-4] == "TRAIN") == (splits[path.parts[-2]] == "train")
        info = soundfile.info(path)
        assert (info.format, info.samplerate, info.channels) == ("NIST", 16000, 1)
        assert info.subtype == "PCM_16"
        phones, words = labels(path.with_suffix(".PHN")), labels(path.with_suffix(".WRD"))
        first, last, text = path.with_suffix(".TXT").read_text().split(maxsplit=2)
        assert (int(first), int(last)) == (0, info.frames)
        spelled = "_".join(word for *_, word in words).split("_")
        assert spelled == text.lower().replace(",", "").rstrip(".?\n").split()
        assert (phones[0][0], phones[-1][1]) == (0, info.frames)
        assert phones[0][2] == phones[-1][2] == "h#"
        assert all(start < end for start, end, _ in phones)
        assert all(before[1] == after[0] for before, after in pairwise(phones))
        starts, ends = {start for start, *_ in phones}, {end for _, end, _ in phones}
        assert all(start in starts and end in ends for start, end, _ in words)
        assert len({end for _, end, _ in words}) == len(words)


def test_levels_are_those_of_recordings(corpus: Path) -> None:
    for path in corpus.rglob("*.WAV"):
        samples, _ = soundfile.read(path, dtype="int16")
        level = 20 * np.log10(np.sqrt(np.mean(samples.astype(float) ** 2)) / 2**15)
        assert -33 < level < -21, path
        assert np.mean(np.abs(samples.astype(int)) >= 2**15 - 1) < 1e-4, path


def closures(
    sound: np.ndarray, phones: Sequence[tuple[int, int, str]]
) -> list[tuple[str, bool, bool]]:
    """Return of each closure its stop and whether it is quieter than the burst and than vowels.

    Loudness is what pre-emphasis leaves of it: the murmur of a voiced closure is low.
    """
    sound = np.diff(sound.astype(float), append=0)
    power = [np.mean(sound[start:end] ** 2) if start < end else 0.0 for start, end, _ in phones]
    vowel = np.median([p for p, (*_, label) in zip(power, phones, strict=True) if label in VOWELS])
    return [
        (phones[i + 1][2], bool(power[i] < power[i + 1]), bool(power[i] < vowel))
        for i, (*_, label) in enumerate(phones)
        if label in CLOSURES
    ]


@pytest.mark.parametrize("voice", ["en-us+m3", "en-us-nyc+f1", "en+max", "en-gb-x-rp+steph"])
def test_closures_are_quieter_than_bursts_and_vowels(voice: str) -> None:
    grammar = Grammar(np.random.default_rng(0))
    espeak = Espeak(voice, 170, 50, 50)
    quieter: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for _ in range(60):
        events, speech = espeak.say(grammar.sentence("train"))
        phones = [phone[:3] for phone in align(events, speech, voice.partition("+")[0])]
        for stop, *than in closures(speech, phones):
            quieter[stop].append((than[0], than[1]))
    assert set(quieter) == STOPS
    for stop, pairs in quieter.items():
        than_burst, than_vowel = np.mean(pairs, axis=0)
        assert than_burst >= 0.9, stop
        assert than_vowel == 1, stop


def test_closures_stay_quieter_in_noise(corpus: Path) -> None:
    quieter = [
        than
        for path in corpus.rglob("*.WAV")
        for _, *than in closures(soundfile.read(path)[0], labels(path.with_suffix(".PHN")))
    ]
    than_burst, than_vowel = np.mean(quieter, axis=0)
    assert than_burst >= 0.8
    assert than_vowel >= 0.98


def test_boundaries_can_be_looked_at(corpus: Path, artifacts: Path) -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    path = sorted(corpus.rglob("*.WAV"))[0]
    samples, rate = soundfile.read(path)
    figure, axes = pyplot.subplots(figsize=(18, 5), layout="constrained")
    axes.specgram(samples + 1e-6, NFFT=256, noverlap=224, Fs=rate, cmap="Greys", vmin=-130)
    for start, end, phone in labels(path.with_suffix(".PHN")):
        axes.axvline(start / rate, color="tab:red", linewidth=0.7)
        axes.text((start + end) / 2 / rate, 8050, phone, ha="center", fontsize=8, color="tab:red")
    axes.set(
        xlabel="s", ylabel="Hz", title=path.with_suffix(".TXT").read_text().split(maxsplit=2)[2]
    )
    figure.savefig(artifacts / "phone_boundaries.png", dpi=100)
    pyplot.close(figure)
    assert (artifacts / "phone_boundaries.png").stat().st_size > 10_000


@pytest.mark.parametrize("voice", sorted(set(DIALECTS)))
def test_every_word_has_phones(voice: str) -> None:
    forms = {
        "noun": (_base, _plural),
        "transitive": (_base, _past),
        "intransitive": (_past,),
    }
    words = [
        form(entry)
        for section, entries in _sections()
        for entry in entries
        for form in forms.get(section, (str,))
    ]
    espeak = Espeak(voice, 300, 50, 50)
    said: set[str] = set()
    for i in range(0, len(words), 10):
        events, speech = espeak.say(" ".join(words[i : i + 10]) + ".")
        said.update(to39(phone.label for phone in align(events, speech, voice)))
    flapped = voice.startswith("en-us")
    assert said == {*PHONES_39} - (set() if flapped else {"dx"})


def test_splits_share_no_voice_and_no_sentence() -> None:
    cast = synthetic.cast(Options(Path("unused")))
    assert [sum(s.split == split for s in cast) for split in SPLITS] == [100, 12, 24]
    assert len({speaker.name for speaker in cast}) == len(cast)
    for fields in (lambda s: [s.variant], lambda s: [text for _, text in s.sentences]):
        by_split = [{x for s in cast if s.split == split for x in fields(s)} for split in SPLITS]
        assert not by_split[0] & by_split[1]
        assert not by_split[0] & by_split[2]
        assert not by_split[1] & by_split[2]


def test_seed_matters() -> None:
    options = Options(Path("unused"), 2, 1, 1, 2)
    assert synthetic.cast(options) == synthetic.cast(options)
    assert synthetic.cast(options) != synthetic.cast(replace(options, seed=1))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train_speakers": 0}, "train_speakers is 0: at least 1 is needed"),
        ({"sentences": -1}, "sentences is -1: at least 1 is needed"),
        ({"seed": -1}, "seed is -1: at least 0 is needed"),
    ],
)
def test_sizes_are_checked(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic.generate(tmp_path / "corpus", **sizes)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("below", ["", "thesis.tex"])
def test_something_else_is_left_alone(tmp_path: Path, below: str) -> None:
    (tmp_path / "thesis.tex").touch()
    out = tmp_path / below
    result = subprocess.run([*COMMAND, f"--out={out}"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"{out}: is or holds something else than a built-in corpus\n"
    assert [*tmp_path.iterdir()] == [tmp_path / "thesis.tex"]


def test_a_corpus_replaces_a_corpus(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for seed in (1, 2):
        synthetic.generate(
            root, train_speakers=1, dev_speakers=1, test_speakers=1, sentences=1, seed=seed
        )
        assert len([*root.rglob("*.WAV")]) == 3
    assert [*tmp_path.iterdir()] == [root]
