"""Phone sets: TIMIT's of 61, 48 and 39 phones, and the 39 of ARPAbet without stress.

Of TIMIT the 61 or the 48 are trained and the 39 scored. Closures and silences fold to ``sil``; the
glottal stop ``q`` is dropped. Source: Lee and Hon, *Speaker-independent phone recognition using
hidden Markov models*, IEEE Trans. ASSP 37(11), 1989, as in Kaldi's ``phones.60-48-39.map``.

ARPAbet's 39 are those of the CMU Pronouncing Dictionary. They are not TIMIT's: there is no ``sil``
and no ``dx``, and ``ZH`` and ``AO`` are phones of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_61_48_39 = """
    aa  aa  aa     ae  ae ae     ah  ah ah     ao  ao aa     aw aw aw     ax  ax  ah     ax-h ax ah
    axr er  er     ay  ay ay     b   b  b      bcl vcl sil   ch ch ch     d   d   d      dcl vcl sil
    dh  dh  dh     dx  dx dx     eh  eh eh     el  el l      em m  m      en  en  n      eng ng ng
    epi epi sil    er  er er     ey  ey ey     f   f  f      g  g  g      gcl vcl sil    h# sil sil
    hh  hh  hh     hv  hh hh     ih  ih ih     ix  ix ih     iy iy iy     jh  jh  jh     k  k  k
    kcl cl  sil    l   l  l      m   m  m      n   n  n      ng ng ng     nx  n   n      ow ow ow
    oy  oy  oy     p   p  p      pau sil sil   pcl cl sil    q  -  -      r   r   r      s  s  s
    sh  sh  sh     t   t  t      tcl cl sil    th  th th     uh uh uh     uw  uw  uw     ux uw uw
    v   v   v      w   w  w      y   y  y      z   z  z      zh zh sh
"""
_TABLE = _61_48_39.split()

PHONES_61 = tuple(_TABLE[0::3])
_FOLDED = {
    48: dict(zip(PHONES_61, _TABLE[1::3], strict=True)),
    39: dict(zip(PHONES_61, _TABLE[2::3], strict=True)),
}
PHONES_48 = tuple(sorted({*_FOLDED[48].values()} - {"-"}))
PHONES_39 = tuple(sorted({*_FOLDED[39].values()} - {"-"}))


def fold(phone: str, to: int = 39) -> str | None:
    """Fold one of the 61 phones to the set of 48 or 39; ``None`` for ``q``, which both drop.

    Raises:
        ValueError: ``phone`` is none of the 61, or ``to`` is neither 48 nor 39.
    """
    if to not in _FOLDED:
        raise ValueError(f"a set of {to} phones: only 48 and 39 are defined")
    if phone not in PHONES_61:
        raise ValueError(f"{phone!r} is none of TIMIT's 61 phones")
    folded = _FOLDED[to][phone]
    return None if folded == "-" else folded


def to39(phones: Iterable[str]) -> list[str]:
    """Fold a sequence of the 61 phones to the 39 that are scored, without ``q``."""
    return [folded for phone in phones if (folded := fold(phone)) is not None]


_ARPABET = """
    AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W
    Y Z ZH
"""
PHONES_ARPABET = tuple(_ARPABET.split())


@dataclass(frozen=True)
class PhoneSet:
    """The phones that a recogniser is trained to give, and what of them is scored.

    Attributes:
        target: each phone of the corpus -> the symbol that is trained for it, None for none.
        scored: each symbol -> the phone that is scored for it, None for none.
    """

    target: Mapping[str, str | None]
    scored: Mapping[str, str | None]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The phones that are trained."""
        return tuple(self.scored)

    def targets(self, phones: Iterable[str]) -> list[str]:
        """Return the symbols that are trained for phones of the corpus.

        Raises:
            ValueError: a phone is none of the corpus's.
        """
        phones = list(phones)
        for phone in phones:
            if phone not in self.target:
                raise ValueError(f"{phone!r} is none of the corpus's {len(self.target)} phones")
        return [symbol for phone in phones if (symbol := self.target[phone]) is not None]


def timit_set(trained: int) -> PhoneSet:
    """Return TIMIT's set with ``trained`` (61, 48 or 39) phones trained and 39 scored.

    Raises:
        ValueError: ``trained`` is another number.
    """
    if trained not in (61, *_FOLDED):
        raise ValueError(f"{trained} phones to train: only 61, 48 and 39 are defined")
    target = {p: p if trained == len(PHONES_61) else fold(p, trained) for p in PHONES_61}
    scored = {symbol: fold(phone) for phone, symbol in target.items() if symbol is not None}
    return PhoneSet(target, dict(sorted(scored.items())))


_VOWELS = {phone for phone in PHONES_ARPABET if phone[0] in "AEIOU"}
_STRESSED = {f"{vowel}{stress}": vowel for vowel in _VOWELS for stress in range(3)}
ARPABET = PhoneSet(
    target={phone: phone for phone in PHONES_ARPABET} | _STRESSED,
    scored={phone: phone for phone in PHONES_ARPABET},
)
"""ARPAbet's set: the stress of a vowel (``AH0``) is stripped; the 39 are trained and scored."""


def phone_set(symbols: Iterable[str]) -> PhoneSet:
    """Return the set whose phones that are trained are ``symbols``, in this order.

    Raises:
        ValueError: no corpus has it.
    """
    symbols = tuple(symbols)
    for known in (ARPABET, *map(timit_set, (61, *_FOLDED))):
        if known.symbols == symbols:
            return known
    raise ValueError(f"{len(symbols)} phones, which are no corpus' set")
