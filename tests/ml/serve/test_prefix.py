"""Words found by what has been typed of them."""

import unicodedata

import numpy as np
import pytest

from ml.data import hangul
from ml.serve.prefix import PrefixIndex

WORDS = (
    *("the", "them", "title", "don’t", "done", "café", "cafeteria", "naïve", "straße"),
    *("강", "가방", "갑시다", "값이", "하늘", "하나", "과자", "고향", "까치", "닭", "달걀", "ㅎㅎ"),
    *("שלום", "שלג", "مرحبا", "می‌خواهم", "नमस्ते", "ёлка", "2nd", "😀"),
)


@pytest.fixture(scope="module")
def index() -> PrefixIndex:
    return PrefixIndex(WORDS)


def found(index: PrefixIndex, typed: str) -> set[str]:
    return {WORDS[i] for i in index.starting_with(typed)}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("th", {"the", "them"}),
        ("THE", {"the", "them"}),
        ("don'", {"don’t"}),
        ("DON’", {"don’t"}),
        ("caf", {"café", "cafeteria"}),
        ("cafe", {"café", "cafeteria"}),  # the accent may be still to come
        ("café", {"café"}),
        ("CAFÉ", {"café"}),
        ("nai", {"naïve"}),
        ("naï", {"naïve"}),
        ("2", {"2nd"}),
        ("xyz", set()),
        ("thee", set()),
        ("של", {"שלום", "שלג"}),
        ("مرح", {"مرحبا"}),
        ("می\u200c", {"می‌خواهم"}),
        ("नम", {"नमस्ते"}),
        ("नमस्", {"नमस्ते"}),
        ("Ё", {"ёлка"}),
        ("", set(WORDS)),
    ],
)
def test_words_are_found_by_their_beginning(index: PrefixIndex, typed: str, words: set[str]) -> None:
    assert found(index, typed) == words
    assert found(index, unicodedata.normalize("NFD", typed)) == words


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("ㅎ", {"하늘", "하나", "ㅎㅎ"}),
        ("하", {"하늘", "하나"}),
        ("한", {"하늘", "하나"}),  # the last consonant begins the next syllable
        ("하느", {"하늘"}),
        ("하ㄴ", {"하늘", "하나"}),
        ("가", {"강", "가방", "갑시다", "값이"}),
        ("갑", {"가방", "갑시다", "값이"}),
        ("값", {"갑시다", "값이"}),  # of two last consonants, only one moves on
        ("갑ㅅ", {"갑시다", "값이"}),
        ("고", {"과자", "고향"}),  # the vowel grows
        ("달", {"닭", "달걀"}),
        ("닭", {"닭", "달걀"}),
        ("ㄲ", {"까치"}),
        ("ㄱ", {"강", "가방", "갑시다", "값이", "과자", "고향"}),
    ],
)
def test_hangul_is_found_at_every_key(index: PrefixIndex, typed: str, words: set[str]) -> None:
    assert found(index, typed) == words
    assert found(index, unicodedata.normalize("NFD", typed)) == words


SYLLABLES = {hangul.keys(chr(code)): chr(code) for code in range(0xAC00, 0xD7A4)}


def on_screen(keys: str) -> str:
    """What a Korean keyboard shows for keys: the longest syllables whose last consonant no vowel behind it takes."""
    shown = ""
    while keys:
        fitting = [n for n in (5, 4, 3, 2) if keys[:n] in SYLLABLES and len(keys) >= n]
        fitting = [n for n in fitting if keys[n - 1] >= "ㅏ" or keys[n : n + 1] < "ㅏ"]
        shown += SYLLABLES[keys[: fitting[0]]] if fitting else keys[0]
        keys = keys[fitting[0] if fitting else 1 :]
    return shown


def test_a_korean_keyboard_shows_syllables_that_grow_and_give() -> None:
    keys = hangul.keys("값을과")
    typed = [on_screen(keys[:end]) for end in range(1, len(keys) + 1)]
    assert typed == ["ㄱ", "가", "갑", "값", "값ㅇ", "값으", "값을", "값읅", "값을고", "값을과"]
    assert [on_screen("ㄱㅏㅂㅅ"), on_screen("ㄱㅏㅂㅅㅣ")] == ["값", "갑시"]


@pytest.mark.parametrize("word", [*(word for word in WORDS if "가" <= word[0] <= "힣"), "앉았습니다", "의사", "꿇었다"])
def test_a_korean_word_is_found_at_each_of_its_keys(word: str) -> None:
    index = PrefixIndex(["나무", word, "the"])
    keys = hangul.keys(word)
    for end in range(1, len(keys) + 1):
        assert 1 in index.starting_with(on_screen(keys[:end]))


def test_only_some_of_the_words_may_be_found() -> None:
    index = PrefixIndex(WORDS, np.array([1, 2]))
    assert index.starting_with("t").tolist() == [1, 2]
    assert index.starting_with("the").tolist() == [1]
    assert PrefixIndex([]).starting_with("a").dtype == np.int64


@pytest.mark.timeout(60)  # a second; reading every word for each look-up would take many minutes
def test_two_hundred_thousand_words_are_searched_quickly() -> None:
    words = [f"{chr(0xAC00 + i % 11_172)}{i}" for i in range(100_000)] + [f"word{i}" for i in range(100_000)]
    index = PrefixIndex(words)
    assert index.starting_with("word9999").tolist() == [109_999, *range(199_990, 200_000)]
    for _ in range(20_000):
        index.starting_with("ㅎ")
