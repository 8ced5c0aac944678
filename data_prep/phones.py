"""TIMIT's 61 phones, the 48 that are often trained and the 39 that are scored.

Closures and silences fold to ``sil``; the glottal stop ``q`` is dropped. Source: Lee and Hon,
*Speaker-independent phone recognition using hidden Markov models*, IEEE Trans. ASSP 37(11), 1989,
as in Kaldi's ``phones.60-48-39.map``.
"""

from collections.abc import Iterable

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
