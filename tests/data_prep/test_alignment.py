"""Made-up signals: vowels are tones, closures a murmur or silence, bursts and fricatives noise."""

from itertools import pairwise

import numpy as np
import pytest

from data_prep.alignment import MS, Event, Phone, align
from data_prep.phones import PHONES_61

RNG = np.random.default_rng(0)
TONE, NOISE, SILENCE, MURMUR = "tone", "noise", "silence", "murmur"


def signal(*parts: tuple[str, float]) -> np.ndarray:
    """Join (kind, ms) to (samples,) int16."""
    pieces = []
    for kind, ms in parts:
        time = np.arange(round(ms * MS)) / MS / 1000
        low = np.sin(2 * np.pi * 150 * time)
        pieces.append(
            {
                "tone": 8000 * low + 2000 * np.sin(2 * np.pi * 2500 * time),
                "murmur": 1500 * low,
                "noise": RNG.uniform(-3000, 3000, len(time)),
                "silence": 0 * low,
            }[kind]
        )
    return np.concatenate(pieces).astype(np.int16)


def event(mnemonic: str, ms: float) -> Event:
    return Event(mnemonic, round(ms * MS), 1)


def spans(phones: list[Phone]) -> list[tuple[str, int, int]]:
    """Return (label, start, end) in ms."""
    return [(phone.label, round(phone.start / MS), round(phone.end / MS)) for phone in phones]


def near(phones: list[Phone], expected: list[tuple[str, int, int]], within: int = 3) -> bool:
    """Whether labels are equal and boundaries within so many ms."""
    got = spans(phones)
    return [label for label, *_ in got] == [label for label, *_ in expected] and all(
        abs(a - b) <= within
        for one, other in zip(got, expected, strict=True)
        for a, b in zip(one[1:], other[1:], strict=True)
    )


def test_voiceless_stop_closes_in_the_silence_before_its_burst() -> None:
    speech = signal((TONE, 100), (SILENCE, 50), (NOISE, 40), (TONE, 100), (SILENCE, 60))
    events = [event("a", 0), event("t", 150), event("i:", 190), event("_:", 290)]
    expected = [("h#", 0, 0), ("ae", 0, 100), ("tcl", 100, 150), ("t", 150, 190), ("iy", 190, 290)]
    assert near(align(events, speech, "en-us"), [*expected, ("h#", 290, 350)])


def test_voiced_stop_opens_where_high_frequencies_rise() -> None:
    speech = signal((TONE, 100), (MURMUR, 40), (NOISE, 15), (TONE, 100), (SILENCE, 60))
    events = [event("a", 0), event("b", 100), event("i:", 155), event("_:", 255)]
    expected = [("h#", 0, 0), ("ae", 0, 100), ("bcl", 100, 140), ("b", 140, 155), ("iy", 155, 255)]
    assert near(align(events, speech, "en-us"), [*expected, ("h#", 255, 315)])


def test_voiced_stop_after_silence_is_all_burst() -> None:
    speech = signal((NOISE, 80), (SILENCE, 40), (NOISE, 30), (TONE, 100))
    events = [event("s", 0), event("g", 120), event("a", 150)]
    expected = [("h#", 0, 0), ("s", 0, 80), ("gcl", 80, 120), ("g", 120, 150), ("ae", 150, 250)]
    assert near(align(events, speech, "en-us"), [*expected, ("h#", 250, 250)])


def test_other_silence_is_epi_if_it_is_20_ms() -> None:
    for gap, labels in ((15, ["z", "s"]), (25, ["z", "epi", "s"])):
        speech = signal((NOISE, 80), (SILENCE, gap), (NOISE, 80))
        phones = align([event("z", 0), event("s", 80 + gap)], speech, "en-us")
        assert [phone.label for phone in phones[1:-1]] == labels


def test_pauses_and_glottal_stop() -> None:
    speech = signal((TONE, 100), (SILENCE, 150), (TONE, 100), (SILENCE, 60), (TONE, 80))
    events = [event("a", 0), event("_:", 100), event("n", 250), event("?", 340), event("n-", 410)]
    labels = [phone.label for phone in align(events, speech, "en-us")]
    assert labels == ["h#", "ae", "pau", "n", "q", "en", "h#"]


def test_final_l_takes_the_end_of_its_vowel() -> None:
    speech = signal((TONE, 200), (NOISE, 80))
    events = [event("oU", 0), event("l", 200), event("z", 200)]
    expected = [("h#", 0, 0), ("ow", 0, 120), ("l", 120, 200), ("z", 200, 280), ("h#", 280, 280)]
    assert near(align(events, speech, "en-us"), expected, within=0)


def test_second_phone_takes_40_percent_and_r_only_where_it_is_said() -> None:
    speech = signal((TONE, 200), (NOISE, 80))
    events = [event("A@", 0), event("z", 200)]
    expected = [("h#", 0, 0), ("aa", 0, 120), ("r", 120, 200), ("z", 200, 280), ("h#", 280, 280)]
    assert near(align(events, speech, "en-us"), expected, within=0)
    labels = [phone.label for phone in align(events, speech, "en-gb-x-rp")]
    assert labels == ["h#", "aa", "z", "h#"]


def test_context() -> None:
    speech = signal((TONE, 600))
    names = ["a", "h", "u:", "s", "h", "u:", "n", "u:"]
    events = [event(name, 50 * i) for i, name in enumerate(names)]
    labels = [phone.label for phone in align(events, speech, "en-us")]
    assert labels == ["h#", "ae", "hv", "uw", "s", "hh", "uw", "n", "ux", "h#"]


def test_palatalisation_belongs_to_the_phone_before() -> None:
    speech = signal((TONE, 300))
    phones = align([event("i", 0), event(";", 90), event("a", 100)], speech, "en-us")
    assert spans(phones)[1:3] == [("iy", 0, 100), ("ae", 100, 300)]


def test_phones_cover_the_speech_whatever_it_sounds_like() -> None:
    rng = np.random.default_rng(1)
    names = ["a", "t", "b", "dZ", "tS", "l", "?", "_", "A@", "s", "h", "n", ";", "g", "k"]
    for _ in range(200):
        kinds = rng.choice([TONE, NOISE, SILENCE, MURMUR], 20)
        speech = signal(*((str(kind), float(rng.integers(5, 60))) for kind in kinds))
        starts = np.sort(rng.integers(0, len(speech), 15))
        chosen = ["a", *rng.choice(names, 14)]
        events = [
            Event(str(name), int(start), 1) for name, start in zip(chosen, starts, strict=True)
        ]
        phones = align(events, speech, "en")
        assert phones[0].start == 0
        assert phones[-1].end == len(speech)
        for phone, after in pairwise(phones):
            assert phone.end == after.start
        assert {phone.label for phone in phones} <= {*PHONES_61}
        assert phones[0].label == phones[-1].label == "h#"


def test_a_mnemonic_without_a_phone() -> None:
    with pytest.raises(ValueError, match="phoneme 'x' of voice en has no TIMIT phone"):
        align([event("x", 0)], signal((TONE, 100)), "en")
