import pytest

from data_prep.phones import PHONES_39, PHONES_48, PHONES_61, fold, to39


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
