"""The built-in corpus: TIMIT's tree, spoken by espeak-ng, where there is no licensed copy of TIMIT.

    python -m data_prep.synthetic --out exp/corpus

Speakers differ in voice, dialect, pitch, rate and vocal tract, and so do rooms, microphones and
noise. No speaker, voice or sentence is in two of train, dev and test; dev and test have words of
their own. One seed gives the same files, bit for bit, on every machine: what espeak-ng says depends
on what its process said before, so each speaker is spoken in a fresh process.

espeak-ng is licensed under GPL-3; this module alone touches it, through ctypes. Error rates on this
corpus are not comparable with TIMIT's.
"""

import ctypes
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import soundfile
import tyro
from scipy.signal import fftconvolve, lfilter, resample_poly
from tqdm import tqdm

from data_prep import alignment
from data_prep.alignment import Event, Phone, align
from data_prep.manifest import SPLITS, atomic
from data_prep.sentences import Grammar
from data_prep.timit import SPLITS_FILE

SAMPLE_RATE = 16000  # Hz, of the corpus

DIALECTS = (  # espeak-ng's voices of DR1 to DR8
    *("en-us", "en-us-nyc", "en-us", "en", "en-us", "en-gb-x-rp", "en-us", "en-us-nyc"),
)
# Variants of the voices, without those that have an echo, which fills closures, or breath noise,
# which is never the same twice, or formants 1 to 3 below 80 % or above 135 % of the voice's.
FEMALE = "Andrea anika aunty belinda f1 grandma linda steph steph2 steph3"
MALE = """
    Alex Denis Diogo Gene Gene2 Henrique Hugo Mario Mike Nguyen Storm adam antonio benjamin ed
    edward edward2 iven iven2 iven3 iven4 john klatt3 klatt4 klatt5 klatt6 m1 m3 m4 m5 m6 m7 m8 max
    michel miguel mike2 paul pedro quincy rob robert
"""


@dataclass(frozen=True)
class Options:
    """Write the built-in corpus."""

    out: Path  # folder of the corpus
    train_speakers: int = 100
    dev_speakers: int = 12
    test_speakers: int = 24
    sentences: int = 8  # of each speaker
    seed: int = 0

    def check(self) -> None:
        """Raise ValueError if a number is too small or ``out`` holds something else."""
        for name in ("train_speakers", "dev_speakers", "test_speakers", "sentences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: at least 0 is needed")
        ours = not self.out.exists() or (self.out / SPLITS_FILE).is_file()
        if not ours and (self.out.is_file() or any(self.out.iterdir())):
            raise ValueError(f"{self.out}: is or holds something else than a built-in corpus")


@dataclass(frozen=True)
class Speaker:
    """A speaker, the recording conditions, and what is said."""

    name: str
    split: str
    region: int  # of the dialect, 1 to 8
    variant: str  # of espeak-ng's voice
    pitch: int  # 0 to 100, espeak-ng's scale
    pitch_range: int  # likewise
    rate: int  # words a minute
    tract: float  # factor on all formants
    reverberation: float  # s, until the room's response has fallen by 60 dB
    wet: float  # energy of the room's response over that of the direct sound
    tilt: float  # of the microphone: x[n] - tilt x[n - 1]
    noise: float  # energy of the noise over that of the speech
    colour: float  # of the noise: the pole of its first-order low-pass
    level: float  # root mean square of the recording; full scale is 1
    seed: tuple[int, int]  # of room and noise
    sentences: tuple[tuple[int, str], ...]  # (number, text)


def generate(
    root: Path | str,
    *,
    train_speakers: int = 100,
    dev_speakers: int = 12,
    test_speakers: int = 24,
    sentences: int = 8,
    seed: int = 0,
) -> None:
    """Write the corpus to ``root``, whole or not at all, in place of one that was there.

    Raises:
        ValueError: a number is too small, or ``root`` holds something else.
        RuntimeError: the process that generates failed; it said why on standard error.
    """
    out = Path(root).absolute()
    options = Options(out, train_speakers, dev_speakers, test_speakers, sentences, seed)
    options.check()
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(options).items()]
    command = [sys.executable, "-m", "data_prep.synthetic", *arguments]
    if subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode:
        raise RuntimeError(f"{root}: the corpus was not generated")


def cast(options: Options) -> list[Speaker]:
    """Draw the speakers and what they say."""
    rng = np.random.default_rng(options.seed)
    grammar = Grammar(rng)
    female = _deal(FEMALE.split(), rng)
    male = _deal(MALE.split(), rng)
    speakers: list[Speaker] = []
    for split in SPLITS:
        for _ in range(getattr(options, f"{split}_speakers")):
            letter, variants = ("M", male) if rng.random() < 0.7 else ("F", female)
            index = len(speakers)
            initials = "".join(chr(ord("A") + index // 26**i % 26) for i in (2, 1, 0))
            first = index * options.sentences + 1
            speakers.append(
                Speaker(
                    name=f"{letter}{initials}0",
                    split=split,
                    region=index % len(DIALECTS) + 1,
                    variant=str(rng.choice(variants[split])),
                    pitch=int(rng.integers(30, 71)),
                    pitch_range=int(rng.integers(30, 81)),
                    rate=int(rng.integers(140, 201)),
                    tract=float(rng.uniform(0.88, 1.14)),
                    reverberation=float(rng.uniform(0.1, 0.35)),
                    wet=_decibel(rng.uniform(-20, -8)),
                    tilt=float(rng.uniform(-0.4, 0.4)),
                    noise=_decibel(rng.uniform(-32, -12)),
                    colour=float(rng.uniform(0, 0.95)),
                    level=_decibel(rng.uniform(-32, -22)) ** 0.5,
                    seed=(options.seed, index),
                    sentences=tuple(
                        (first + i, grammar.sentence(split)) for i in range(options.sentences)
                    ),
                )
            )
    return speakers


def _deal(variants: Sequence[str], rng: np.random.Generator) -> dict[str, list[str]]:
    """Deal out variants to the splits: an eighth to dev, a quarter to test."""
    order = [variants[i] for i in rng.permutation(len(variants))]
    dev, test = len(order) // 8, len(order) * 3 // 8
    return {"dev": order[:dev], "test": order[dev:test], "train": order[test:]}


def _decibel(value: float) -> float:
    """Return the ratio of energies that is ``value`` dB."""
    return float(10 ** (value / 10))


def record(speaker: Speaker, tree: Path) -> None:
    """Write the files of a speaker below the folder of the corpus."""
    half = "TRAIN" if speaker.split == "train" else "TEST"
    folder = tree / half / f"DR{speaker.region}" / speaker.name
    folder.mkdir(parents=True)
    voice = DIALECTS[speaker.region - 1]
    rng = np.random.default_rng(speaker.seed)
    room = _room(speaker, rng)
    espeak = Espeak(f"{voice}+{speaker.variant}", speaker.rate, speaker.pitch, speaker.pitch_range)
    for number, text in speaker.sentences:
        events, spoken = espeak.say(text)
        phones = align(events, spoken, voice)
        up, down = 320, round(441 * speaker.tract)  # 22,050 Hz to 16 kHz, and a shorter vocal tract
        speech = resample_poly(spoken / 2**15, up, down)
        lead, tail = (int(pad) for pad in rng.integers(800, 2400, size=2))  # 50 to 150 ms
        recording = _microphone(np.pad(speech, (lead, tail)), room, speaker, rng)
        starts = [lead + round(phone.start * up / down) for phone in phones]
        spans = list(pairwise([0, *starts[1:], len(recording)]))
        stem = str(folder / f"SX{number}")
        soundfile.write(f"{stem}.WAV", recording, SAMPLE_RATE, subtype="PCM_16", format="NIST")
        labels = (phone.label for phone in phones)
        _write(f"{stem}.PHN", ((*span, label) for span, label in zip(spans, labels, strict=True)))
        _write(f"{stem}.WRD", _words(text, phones, spans))
        _write(f"{stem}.TXT", [(0, len(recording), text)])


def _words(
    text: str, phones: Sequence[Phone], spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """Return (start, end, word): a word lasts from its first phone to its last.

    Words that espeak-ng says in one piece are one: ``from_the``.
    """
    words: dict[int, tuple[int, int]] = {}
    for phone, (start, end) in zip(phones, spans, strict=True):
        if phone.label not in ("h#", "pau"):
            words[phone.position] = (words.get(phone.position, (start,))[0], end)
    spelled = (
        text[first - 1 : after - 1].lower().replace(",", "").rstrip(" .?").replace(" ", "_")
        for first, after in pairwise([*words, len(text) + 1])
    )
    return [(*span, word) for span, word in zip(words.values(), spelled, strict=True)]


def _write(path: str, lines: Iterable[tuple[int, int, str]]) -> None:
    text = "".join(f"{start} {end} {label}\n" for start, end, label in lines)
    Path(path).write_text(text, encoding="ascii")


def _room(speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return the room's impulse response: the direct sound, then decaying noise."""
    time = np.arange(1, round(speaker.reverberation * SAMPLE_RATE)) / SAMPLE_RATE
    late = rng.standard_normal(len(time)) * 10 ** (-3 * time / speaker.reverberation)
    return np.concatenate(([1.0], late * np.sqrt(speaker.wet / np.sum(late**2))))


def _microphone(
    speech: np.ndarray, room: np.ndarray, speaker: Speaker, rng: np.random.Generator
) -> np.ndarray:
    """Return the recording, (samples,) int16, of ``speech`` (samples,) in a room with noise."""
    sound = lfilter([1.0, -speaker.tilt], [1.0], fftconvolve(speech, room)[: len(speech)])
    noise = lfilter([1.0], [1.0, -speaker.colour], rng.standard_normal(len(sound)))
    sound += noise * np.sqrt(speaker.noise * np.mean(sound**2) / np.mean(noise**2))
    sound *= speaker.level / np.sqrt(np.mean(sound**2))
    return np.clip(np.rint(sound * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


class Espeak:
    """espeak-ng with one voice; one in a process. Constants and types are those of speak_lib.h."""

    class _Event(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("unique_identifier", ctypes.c_uint),
            ("text_position", ctypes.c_int),
            ("length", ctypes.c_int),
            ("audio_position", ctypes.c_int),
            ("sample", ctypes.c_int),
            ("user_data", ctypes.c_void_p),
            ("string", ctypes.c_char * 8),
        )

    _Callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )
    _SYNCHRONOUS = 2
    _PHONEME_EVENTS, _DONT_EXIT = 1, 0x8000
    _RATE, _PITCH, _RANGE = 1, 3, 4
    _CHARACTER, _UTF8 = 1, 1
    _END, _PHONEME = 0, 7

    def __init__(self, voice: str, rate: int, pitch: int, pitch_range: int) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        flags = self._PHONEME_EVENTS | self._DONT_EXIT
        sample_rate = self._library.espeak_Initialize(self._SYNCHRONOUS, 0, data.encode(), flags)
        if sample_rate != alignment.SAMPLE_RATE:
            raise RuntimeError(f"espeak-ng does not start with its data in {data}")
        self._callback = self._Callback(self._receive)  # espeak-ng keeps no reference
        self._library.espeak_SetSynthCallback(self._callback)
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in (
            (self._RATE, rate),
            (self._PITCH, pitch),
            (self._RANGE, pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)

    def say(self, text: str) -> tuple[list[Event], np.ndarray]:
        """Return the phoneme events of ``text`` and the speech, (samples,) int16 at 22,050 Hz."""
        self._events: list[Event] = []
        self._speech: list[np.ndarray] = []
        data = text.encode("ascii")
        self._library.espeak_Synth(
            data, len(data) + 1, 0, self._CHARACTER, 0, self._UTF8, None, None
        )
        return self._events, np.concatenate(self._speech)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._speech.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in events:
            if event.type == self._END:
                break
            if event.type == self._PHONEME:
                mnemonic = event.string.decode("ascii").lstrip("',%=")
                self._events.append(Event(mnemonic, event.sample, event.text_position))
        return 0


def _job(job: tuple[Speaker, Path]) -> None:
    record(*job)


def main(options: Options) -> None:
    """Generate the corpus; the main module of the process is this one, as its workers import it."""
    options.check()
    speakers = cast(options)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_prep.sentences", "scipy.signal", "soundfile", "tyro"])
    workers = min(len(os.sched_getaffinity(0)), len(speakers))
    with atomic(options.out) as tree, context.Pool(workers, maxtasksperchild=1) as pool:
        jobs = pool.imap_unordered(_job, [(speaker, tree) for speaker in speakers])
        for _ in tqdm(jobs, "corpus", len(speakers), unit="speaker"):
            pass
        (tree / SPLITS_FILE.parent).mkdir()
        splits = "".join(f"{speaker.name} {speaker.split}\n" for speaker in speakers)
        (tree / SPLITS_FILE).write_text(splits, encoding="ascii")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
