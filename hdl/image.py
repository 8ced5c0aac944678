"""The image of a program: the 32-bit words that a core's configuration stream takes.

    0           MAGIC
    1           signature of the core that the program is for
    2           N, the number of payload words
    3 .. N+2    payload
    N+3         CRC-32 of words 0 .. N+2, as little-endian bytes

The payload is one section after another: a word with the unit in bits 31..16 and the count of
entries, 1 or more, in bits 15..0; then the entries, ceil(data_bits / 32) words each, the least
significant word first. Entry i goes to address i of the unit.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hdl.config import CoreConfig

MAGIC = 0x45524E31
"""The first word: "ERN1"."""
HEADERS = 3
HALF = 1 << 16
"""Units, and entries of a section, are below it."""


class Error(IntEnum):
    """Why an image was refused, as the loader's status tells it."""

    NONE = 0
    MAGIC = 1
    SIGNATURE = 2
    LENGTH = 3
    """No payload, or more than all units hold."""
    CRC = 4
    TRUNCATED = 5
    """TLAST came before the CRC word."""
    OVERLONG = 6
    """The CRC word came without TLAST."""
    SECTION = 7
    """A section of no entry, or of more than a unit takes; no such unit; a section longer than the
    payload."""


def signature(cfg: CoreConfig) -> int:
    """The 32 bits that tell a core of one configuration from the others.

    What cores had before there was a choice is not told: 32 segments, no images.
    """
    told = "" if cfg.segments == CoreConfig.segments else f", {cfg.segments} segments"
    told += ", images" * cfg.images
    return zlib.crc32(f"{cfg}{told}".encode())


def entry_words(data_bits: int) -> int:
    """Words of an entry of that many bits."""
    return -(-data_bits // 32)


def payload_limit(data_bits: int, unit_bits: int, address_bits: int) -> int:
    """Words of the longest payload: a section for every unit, every address in it."""
    return (1 + (entry_words(data_bits) << address_bits)) << unit_bits


def build_image(
    sections: Sequence[tuple[int, Sequence[int]]], data_bits: int, signature: int
) -> np.ndarray:
    """The image of (unit, entries) sections, as uint32 words.

    Raises:
        ValueError: no section, or a unit, a number of entries or an entry out of its range.
    """
    if not sections:
        raise ValueError("image of no section: there must be one or more")
    payload: list[int] = []
    for unit, entries in sections:
        if not 0 <= unit < HALF:
            raise ValueError(f"unit {unit}: must be below {HALF}")
        if not 0 < len(entries) < HALF:
            raise ValueError(f"unit {unit} of {len(entries)} entries: takes 1 to {HALF - 1}")
        payload.append(unit << 16 | len(entries))
        for address, entry in enumerate(entries):
            if not 0 <= entry < 1 << data_bits:
                raise ValueError(
                    f"unit {unit}, entry {address}: {entry} is not a word of {data_bits} bits"
                )
            payload += [int(entry) >> 32 * n & 0xFFFFFFFF for n in range(entry_words(data_bits))]
    words = np.array([MAGIC, signature, len(payload), *payload], "<u4")
    return np.append(words, np.uint32(zlib.crc32(words.tobytes())))


@dataclass(frozen=True)
class Verdict:
    """What a loader makes of an image.

    Attributes:
        error: why it was refused.
        judged: words after which that was clear.
        writes: (unit, address, data) of the entries that were written, in order.
    """

    error: Error
    judged: int
    writes: list[tuple[int, int, int]]

    @property
    def taken(self) -> bool:
        """Whether its headers were right, so that the old program was given up."""
        return self.judged > HEADERS


def check_image(
    words: Sequence[int], data_bits: int, unit_bits: int, address_bits: int, signature: int
) -> Verdict:
    """Judge an image word by word, TLAST on its last, as :func:`hdl.loader.loader` does.

    The arguments are the loader's; there must be a word.
    """
    size = entry_words(data_bits)
    words = [int(word) for word in words]
    writes: list[tuple[int, int, int]] = []
    error, end = Error.NONE, -1
    unit = address = left = data = 0  # of the section: entries left and the entry that is coming in
    for n, word in enumerate(words):
        last = n == len(words) - 1
        if n == 0 and word != MAGIC:
            error = Error.MAGIC
        elif n == 1 and word != signature:
            error = Error.SIGNATURE
        elif n == 2:
            end = HEADERS + word
            if not 0 < word <= payload_limit(data_bits, unit_bits, address_bits):
                error = Error.LENGTH
        elif HEADERS <= n < end and not left:
            unit, left, address = word >> 16, size * (word % HALF), 0
            bad = unit >> unit_bits or not 0 < word % HALF <= 1 << address_bits
            if bad or n == end - 1:
                error = Error.SECTION
        elif HEADERS <= n < end:
            place = -left % size
            data = (data if place else 0) | word << 32 * place
            left -= 1
            if place == size - 1:
                writes.append((unit, address, data % (1 << data_bits)))
                address += 1
            if left and n == end - 1:
                error = Error.SECTION
        elif n == end:
            if not last:
                error = Error.OVERLONG
            elif word != zlib.crc32(np.array(words[:n], "<u4").tobytes()):
                error = Error.CRC
        if last and n != end and not error:
            error = Error.TRUNCATED
        if error:
            return Verdict(error, n + 1, writes)
    return Verdict(Error.NONE, len(words), writes)
