"""Hangul by the keys that write it."""

import unicodedata

import pytest

from ml.data import hangul


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("강", "ㄱㅏㅇ"),
        ("하늘", "ㅎㅏㄴㅡㄹ"),
        ("과의", "ㄱㅗㅏㅇㅡㅣ"),
        ("값", "ㄱㅏㅂㅅ"),
        ("꽃밖", "ㄲㅗㅊㅂㅏㄲ"),
        ("있었다", "ㅇㅣㅆㅇㅓㅆㄷㅏ"),
        ("뷁", "ㅂㅜㅔㄹㄱ"),
        ("ㅎ", "ㅎ"),
        ("ㄳㅘ", "ㄱㅅㅗㅏ"),
        ("ﾡￂ", "ㄱㅏ"),  # half-width
        ("café 한", "cafe\u0301 ㅎㅏㄴ"),
        ("😀", "😀"),
        ("", ""),
    ],
)
def test_a_word_is_its_keys(word: str, keys: str) -> None:
    assert hangul.keys(word) == keys
    assert hangul.keys(unicodedata.normalize("NFD", word)) == keys


def test_letters_that_stand_alone_are_those_inside_a_syllable() -> None:
    lead_alone, vowel_alone = "\u1112", "\u1161"  # what an input method leaves before there is a syllable
    assert hangul.keys(lead_alone + vowel_alone) == hangul.keys("하")
    assert hangul.keys(lead_alone) == "ㅎ"


def test_every_syllable_begins_with_its_consonant_and_its_vowel() -> None:
    for code in range(0xAC00, 0xD7A4):
        open_syllable = chr(code - (code - 0xAC00) % 28)
        keys = hangul.keys(chr(code))
        assert keys.startswith(hangul.keys(open_syllable))
        assert 2 <= len(keys) <= 5
        assert all("ㄱ" <= key <= "ㅣ" for key in keys)
