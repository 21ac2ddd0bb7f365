"""Hangul as it is typed: every word as the keys of a two-set (dubeolsik) keyboard, one character a key.

A syllable grows with each key ("ㅎ", "하", "한"), and its last consonant moves on when a vowel follows ("갑", "가바"):
what is on the screen half-way is no beginning of the word, but its keys are a beginning of the word's keys.
"""

import unicodedata

_LEADS = [*"ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"]
_VOWELS = [*"ㅏㅐㅑㅒㅓㅔㅕㅖㅗ", "ㅗㅏ", "ㅗㅐ", "ㅗㅣ", *"ㅛㅜ", "ㅜㅓ", "ㅜㅔ", "ㅜㅣ", *"ㅠㅡ", "ㅡㅣ", "ㅣ"]
_DOUBLE_TAILS = ["ㄹㄱ", "ㄹㅁ", "ㄹㅂ", "ㄹㅅ", "ㄹㅌ", "ㄹㅍ", "ㄹㅎ"]
_TAILS = [*"ㄱㄲ", "ㄱㅅ", "ㄴ", "ㄴㅈ", "ㄴㅎ", *"ㄷㄹ", *_DOUBLE_TAILS, *"ㅁㅂ", "ㅂㅅ", *"ㅅㅆㅇㅈㅊㅋㅌㅍㅎ"]

# The letters that syllables are decomposed into (NFD), and those that stand alone: the ones a keyboard writes before
# there is a syllable, and their half-width twins.
_KEYS = {
    first + i: keys
    for first, all_keys in ((0x1100, _LEADS), (0x1161, _VOWELS), (0x11A8, _TAILS))
    for i, keys in enumerate(all_keys)
}
_KEYS |= {
    code: unicodedata.normalize("NFKD", chr(code)).translate(_KEYS)
    for block in (range(0x3131, 0x3164), range(0xFFA1, 0xFFDD))
    for code in block
}


def keys(word: str) -> str:
    """The keys that write `word`: "과" is ㄱㅗㅏ, and "값" ㄱㅏㅂㅅ. Other writing comes back decomposed (NFD)."""
    return unicodedata.normalize("NFD", word).translate(_KEYS)
