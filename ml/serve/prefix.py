"""Which words of a vocabulary a half-typed one may become."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ml.data import hangul, text

Ids = npt.NDArray[np.int64]  # (N,)
_BEHIND = "\U0010ffff"  # sorts behind every character that is written


class PrefixIndex:
    """Finds words by their beginning, whatever their case, apostrophe or Unicode form, and Hangul by what was typed.

    Marks count as typed behind their letter, so "cafe" may become "café". `ids` says which words may be found (all).
    A look-up is two binary searches; 200,000 words are sorted in about half a second.
    """

    def __init__(self, words: Sequence[str], ids: Ids | None = None) -> None:
        wanted = range(len(words)) if ids is None else ids.tolist()
        order = sorted((_typed(words[i]), i) for i in wanted)
        self._typed = [typed for typed, _ in order]
        self._ids = np.array([i for _, i in order], dtype=np.int64)

    def joined(self, words: Sequence[str], ids: Ids) -> "PrefixIndex":
        """This index and some more words, whose ids are `ids` (N,)."""
        more = [(_typed(word), i) for word, i in zip(words, ids.tolist(), strict=True)]
        order = sorted([*zip(self._typed, self._ids.tolist(), strict=True), *more])
        made = PrefixIndex(())
        made._typed = [typed for typed, _ in order]
        made._ids = np.array([i for _, i in order], dtype=np.int64)
        return made

    def starting_with(self, typed: str) -> Ids:
        """Ids of the words that `typed` is a beginning of, itself too, in the order of their letters: (N,)."""
        beginning = _typed(typed)
        low = bisect_left(self._typed, beginning)
        return self._ids[low : bisect_left(self._typed, beginning + _BEHIND, lo=low)]


def _typed(word: str) -> str:
    key = text.key(word)
    if not key.isascii():
        return hangul.keys(key)
    return word if word == key else key  # in memory once
