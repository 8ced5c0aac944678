import pytest

from data_prep.phones import (
    ARPABET,
    PHONES_39,
    PHONES_48,
    PHONES_61,
    PHONES_ARPABET,
    fold,
    timit_set,
    to39,
)


def test_sets_have_their_sizes() -> None:
    for phones, size in ((PHONES_61, 61), (PHONES_48, 48), (PHONES_39, 39)):
        assert len(phones) == len(set(phones)) == size


def test_every_phone_folds_into_the_sets_and_fills_them() -> None:
    assert {fold(phone, 48) for phone in PHONES_61} == {*PHONES_48, None}
    assert {fold(phone, 39) for phone in PHONES_61} == {*PHONES_39, None}


def test_phones_that_share_one_of_48_share_one_of_39() -> None:
    pairs = {(fold(phone, 48), fold(phone, 39)) for phone in PHONES_61}
    assert len(pairs) == 49


@pytest.mark.parametrize(
    ("phone", "of48", "of39"),
    [
        ("q", None, None),
        ("h#", "sil", "sil"),
        ("bcl", "vcl", "sil"),
        ("kcl", "cl", "sil"),
        ("epi", "epi", "sil"),
        ("ao", "ao", "aa"),
        ("zh", "zh", "sh"),
        ("ux", "uw", "uw"),
        ("axr", "er", "er"),
        ("ix", "ix", "ih"),
        ("em", "m", "m"),
        ("hv", "hh", "hh"),
    ],
)
def test_folding(phone: str, of48: str | None, of39: str | None) -> None:
    assert fold(phone, 48) == of48
    assert fold(phone) == of39


def test_sequence_keeps_repeats_and_drops_q() -> None:
    assert to39(["h#", "q", "ae", "kcl", "tcl", "t", "h#"]) == [
        "sil",
        "ae",
        "sil",
        "sil",
        "t",
        "sil",
    ]


def test_what_is_not_defined() -> None:
    with pytest.raises(ValueError, match="'xx' is none of TIMIT's 61 phones"):
        fold("xx")
    with pytest.raises(ValueError, match="a set of 40 phones: only 48 and 39"):
        fold("aa", 40)


SAID = ["h#", "q", "ae", "kcl", "k", "ao", "ix", "ax-h", "h#"]


@pytest.mark.parametrize(
    ("trained", "targets"),
    [
        (61, ["h#", "q", "ae", "kcl", "k", "ao", "ix", "ax-h", "h#"]),
        (48, ["sil", "ae", "cl", "k", "ao", "ix", "ax", "sil"]),
        (39, ["sil", "ae", "sil", "k", "aa", "ih", "ah", "sil"]),
    ],
)
def test_what_is_trained_is_scored_as_39(trained: int, targets: list[str]) -> None:
    phones = timit_set(trained)
    assert len(phones.symbols) == len({*phones.symbols}) == trained
    assert phones.targets(SAID) == targets
    scored = [phones.scored[symbol] for symbol in targets]
    assert [phone for phone in scored if phone] == to39(SAID)
    assert {*phones.scored.values()} - {None} == {*PHONES_39}


def test_symbols_of_39_are_in_the_order_of_the_set() -> None:
    assert timit_set(39).symbols == PHONES_39


def test_arpabet_is_scored_without_stress() -> None:
    assert len(PHONES_ARPABET) == len({*PHONES_ARPABET}) == 39
    said = ["AH0", "B", "AW1", "T", "EY2", "IH", "ZH"]
    assert ARPABET.targets(said) == ["AH", "B", "AW", "T", "EY", "IH", "ZH"]
    assert ARPABET.symbols == PHONES_ARPABET
    assert all(symbol == phone for symbol, phone in ARPABET.scored.items())


@pytest.mark.parametrize("phone", ["B0", "AH3", "AH01", "ah", "SIL", ""])
def test_what_is_none_of_arpabet(phone: str) -> None:
    with pytest.raises(ValueError, match="is none of the corpus's 84 phones"):
        ARPABET.targets(["AH0", phone])


def test_another_number_of_phones() -> None:
    with pytest.raises(ValueError, match="60 phones to train: only 61, 48 and 39"):
        timit_set(60)
