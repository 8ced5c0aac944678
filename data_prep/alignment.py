"""TIMIT's phones in time, from the phoneme events of espeak-ng.

An event says when espeak-ng starts a phoneme. TIMIT wants more: the closure of a stop apart from
its burst, pauses, and two phones where espeak-ng has a vowel with r. For p, t, k and ch the event
is the burst, and the closure is the silence before it; for b, d, g and jh the event is the closure,
and the burst is the steepest rise of high-frequency energy in it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

SAMPLE_RATE = 22050  # Hz, of espeak-ng
MS = SAMPLE_RATE / 1000  # samples

SILENCE = 10**-4.2  # of the power of the loud parts: what is below, for 8 ms or more, is silence
RHOTIC = ("en-us",)  # voices with an r after vowels
BATH = {"en-us": "ae", "en-us-nyc": "ae", "en": "ae", "en-gb-x-rp": "aa"}  # the phoneme "aa"

# Mnemonics and their phones; of two phones the second takes the last 40 % of the event.
_PHONES = """
    0=aa A:=aa a=ae E=eh I=ih I2=ix I#=ix i=iy i:=iy U=uh u:=uw V=ah O=ao O2=ao O:=ao 3=axr 3:=er
    @=ax @2=ax @5=ax a#=ax @-=ax-h eI=ey aI=ay OI=oy aU=aw oU=ow A@=aa,r O@=ao,r o@=ao,r e@=eh,r
    U@=uh,r i@3=ih,r i@=iy,ax aI@=ay,ax aI3=ay,axr @L=el n-=en l=l r=r r-=r w=w j=y m=m n=n N=ng
    h=hh f=f v=v T=th D=dh s=s z=z S=sh Z=zh t#=dx
"""
PHONES = dict(entry.split("=") for entry in _PHONES.split())
VOICELESS = {"p": ("pcl", "p"), "t": ("tcl", "t"), "k": ("kcl", "k"), "tS": ("tcl", "ch")}
VOICELESS |= {"t2": VOICELESS["t"]}
VOICED = {"b": ("bcl", "b"), "d": ("dcl", "d"), "g": ("gcl", "g"), "dZ": ("dcl", "jh")}

_VOWELS = "aa ae ah ao aw ax ax-h axr ay eh er ey ih ix iy ow oy uh uw"
VOWELS = frozenset(_VOWELS.split())
_VOICED_CONSONANTS = "l r w y m n ng en el v dh z zh dx"
VOICED_PHONES = VOWELS | {*_VOICED_CONSONANTS.split(), *(burst for _, burst in VOICED.values())}
CORONALS = {"t", "d", "n", "s", "z", "l", "ch", "jh", "sh", "zh", "th", "dh", "dx", "y"}


class Event(NamedTuple):
    """A phoneme event of espeak-ng."""

    mnemonic: str  # without stress marks
    sample: int  # where it starts
    position: int  # of its word in the text, from 1


class Phone(NamedTuple):
    """One of TIMIT's 61 phones in time."""

    start: int  # sample
    end: int  # sample after the last
    label: str
    position: int  # of its word in the text, from 1


def align(events: Sequence[Event], speech: np.ndarray, voice: str) -> list[Phone]:
    """Return the phones of a sentence; they cover it without gaps, from ``h#`` to ``h#``.

    Args:
        events: of the sentence, in order.
        speech: (samples,) int16, as espeak-ng gave it: without room or noise.
        voice: a key of ``BATH``.

    Raises:
        ValueError: a mnemonic has no phone.
    """
    quiet = _quiet(speech)
    # (start, label, position) of each phone: it ends where the next starts.
    cuts: list[tuple[int, str, int]] = [(0, "h#", 0)]

    def silence_before(sample: int) -> int:
        """Where in the last phone the silence begins that ends within 10 ms of ``sample``."""
        for first, last in quiet:
            if abs(last - sample) <= 10 * MS and first < sample:
                return max(first, cuts[-1][0])
        return sample

    for event, following in pairwise([*events, Event("_", len(speech), 0)]):
        name, start, position = event
        taken = cuts[-1][1] in ("h#", "pau", "q")  # a silence here is part of what is before
        silence = start if taken else silence_before(start)
        if name == ";":  # palatalises the phone before
            continue
        if name.startswith("_"):
            if not taken and following.sample - start >= 20 * MS:
                cuts.append((start, "pau", position))
        elif name in VOICELESS:
            closure, burst = VOICELESS[name]
            if silence < start:
                cuts.append((silence, closure, position))
            cuts.append((start, burst, position))
        elif name in VOICED:
            closure, burst = VOICED[name]
            release = start  # after a silence the event has no closure of its own
            if silence == start:
                release = _release(speech, start, silence_before(following.sample))
            if silence < release:
                cuts.append((silence, closure, position))
            cuts.append((release, burst, position))
        elif name == "?":
            around = [first for first, last in quiet if first < start <= last]
            cuts.append((max(around[0], cuts[-1][0]) if around else silence, "q", position))
        else:
            if start - silence >= 20 * MS:
                cuts.append((silence, "epi", position))
            first, second = _labels(name, voice)
            cuts.append((start, first, position))
            end = silence_before(following.sample)
            if name == "l" and end - start < 30 * MS and cuts[-2][1] in VOWELS | {"r"}:
                vowel = cuts[-2][0]  # a final l is said in it, and has its event at its end
                cuts[-1] = (start - round(min(0.4 * (start - vowel), 90 * MS)), first, position)
            if second:
                cuts.append((start + round(0.6 * (end - start)), second, position))
    cuts.append((cuts.pop()[0] if cuts[-1][1] == "pau" else len(speech), "h#", 0))
    ends = [*(start for start, _, _ in cuts[1:]), len(speech)]
    labels = _in_context([label for _, label, _ in cuts])
    return [
        Phone(start, end, label, position)
        for (start, _, position), end, label in zip(cuts, ends, labels, strict=True)
    ]


def _labels(mnemonic: str, voice: str) -> tuple[str, str]:
    """Return the phone, or the two phones, of a mnemonic; the second is empty if there is none."""
    if mnemonic == "aa":
        return BATH[voice], ""
    if mnemonic not in PHONES:
        raise ValueError(f"phoneme {mnemonic!r} of voice {voice} has no TIMIT phone")
    first, _, second = PHONES[mnemonic].partition(",")
    if voice in RHOTIC:
        return first, second
    return "ax" if first == "axr" else first, "" if second == "r" else second


def _in_context(labels: Sequence[str]) -> list[str]:
    """Voice ``hh`` between voiced phones and front ``uw`` after coronals, as TIMIT transcribes."""
    result = list(labels)
    for i in range(1, len(labels) - 1):
        if labels[i] == "hh" and {labels[i - 1], labels[i + 1]} <= VOICED_PHONES:
            result[i] = "hv"
        elif labels[i] == "uw" and labels[i - 1] in CORONALS:
            result[i] = "ux"
    return result


def _quiet(speech: np.ndarray) -> list[tuple[int, int]]:
    """Return the silences of ``speech`` (samples,): (first sample, sample after the last)."""
    power = _smooth(speech.astype(np.int64) ** 2, 4.0)
    quiet = power < np.percentile(power, 95) * SILENCE
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= 8 * MS]


def _release(speech: np.ndarray, start: int, end: int) -> int:
    """Return where the closure from ``start`` to ``end`` opens.

    That is the steepest rise of high-frequency energy within 4 ms, if it is of 6 dB or more, else
    at 65 %. Neither closure nor burst is shorter than 5 ms; without a closure it is ``start``.
    """
    step, least = round(4 * MS), round(5 * MS)
    first = max(0, start - step)
    high: np.ndarray = np.diff(speech[first : end + 1].astype(np.int64))
    level = 10 * np.log10(_smooth(high * high, 3.0) + 1)
    rise = (level[step:] - level[:-step])[: round(0.9 * (end - start))]
    steepest = int(np.argmax(rise)) if len(rise) else 0
    if len(rise) and rise[steepest] >= 6:
        closure = first + steepest + step // 2 - start
    else:
        closure = round(0.65 * (end - start))
    return start if closure < least else max(start, min(start + closure, end - least))


def _smooth(power: np.ndarray, ms: float) -> np.ndarray:
    """Return the mean of ``power`` (samples,), integers, over ``ms`` around each sample."""
    half = round(ms / 2 * MS)
    before, after = np.zeros(half + 1, np.int64), np.zeros(half, np.int64)
    total = np.cumsum(np.concatenate((before, power, after)))
    return (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
