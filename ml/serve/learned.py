"""What a person taught a model: phrases that it knows at once, as a fourth part of what answers, and their new words.

The phrases behind the last words are looked up, the longest match first; a shorter one backs it off, and how long it is
says how much it counts. Words that the model does not have get ids behind its own. Must not know: networks, where
phrases are kept, the service.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ml.data import text
from ml.data.learned import token_lines
from ml.data.text import Vocabulary
from ml.mixture import Blend
from ml.ngram import Row

# How much of the next word the phrases decide when their last 1, 2, … words are those of the text. One word alone
# matches often by chance: at 0.2 fifty phrases cost 13 % of the perplexity of a text that has nothing to do with them.
WEIGHTS = (0.05, 0.4, 0.8, 0.9)
LONGER = 0.75  # what a longer match takes from the shorter ones
NEW = 0.001  # for all new words together where nothing matches: no other part knows them, and they can be completed
MOST_SOURCES = 3  # phrases that an explanation names
_GAP = -1  # between lines: no id


@dataclass(frozen=True)
class Match:
    """What the phrases say of the next word: a distribution (V + new,), from `length` words that match."""

    length: int
    row: Row
    places: npt.NDArray[np.int64]  # (N,): where in the phrases the longest matches end


class Learned:
    """Phrases in the ids of `vocabulary`, which is the model's with the phrases' new words behind it."""

    def __init__(self, phrases: Sequence[str], vocabulary: Vocabulary) -> None:
        self.phrases, self.known = tuple(phrases), len(vocabulary)
        lines = [(number, line) for number, phrase in enumerate(phrases) for line in token_lines(phrase)]
        new: dict[str, str] = {}
        for _, line in lines:
            for token in line:
                if text.key(token) not in vocabulary.ids:
                    new.setdefault(text.key(token), token)
        self.vocabulary = _extended(vocabulary, new)
        self.new_words = self.known + np.flatnonzero(self.vocabulary.is_suggestion[self.known :])
        self._unk = vocabulary.unk
        ids, self._starts, self._numbers = [_GAP], [], []
        for number, line in lines:
            self._starts.append(len(ids))
            self._numbers.append(number)
            ids += [*self.vocabulary.encode(line), _GAP]
        self._ids = np.array(ids, dtype=np.int64)
        self._order = np.argsort(self._ids, kind="stable")  # the places of each word, one word behind the other
        self._sorted = self._ids[self._order]

    def without_new(self, ids: Sequence[int]) -> list[int]:
        """Ids as the other parts know them: a new word is `<unk>`, or is left out where there is none."""
        kept = (i if i < self.known else self._unk for i in ids)
        return [i for i in kept if i is not None]

    def match(self, said: Sequence[int]) -> Match | None:
        """What follows the last words of `said` in the phrases; None when nothing does."""
        at = self._places(said[-1]) if said else np.empty(0, np.int64)
        at = at[self._ids[at + 1] != _GAP]
        row: Row = np.zeros(len(self.vocabulary), np.float32)
        length, found = 0, at
        while len(at):
            length, found = length + 1, at
            words, times = np.unique(self._ids[at + 1], return_counts=True)
            taken = LONGER if length > 1 else 1.0
            row *= 1 - taken
            row[words] += (taken * times / len(at)).astype(np.float32)
            if length == min(len(WEIGHTS), len(said)):
                break
            at = at[self._ids[at - length] == said[-1 - length]]
        return Match(length, row, found) if length else None

    def _places(self, word: int) -> npt.NDArray[np.int64]:
        low, high = np.searchsorted(self._sorted, [word, word + 1])
        return self._order[low:high]

    def join(self, others: Blend, said: Sequence[int], speaks: bool = True) -> Blend:
        """The other parts' distribution (V,) with the phrases' own, over all words: (V + new,).

        `speaks` false leaves the new words at 0.
        """
        row = np.zeros(len(self.vocabulary), np.float32)
        weight = self._speak(row, said) if speaks else 0.0
        if weight == 0:
            row[: self.known] = others.row
            return Blend(row, others.components)
        components = tuple((part, share * (1 - weight), each) for part, share, each in others.components)
        whole: Row = np.float32(weight) * row
        whole[: self.known] += np.float32(1 - weight) * others.row
        return Blend(whole / whole.sum(), (*components, ("learned", weight, row)))

    def _speak(self, row: Row, said: Sequence[int]) -> float:
        """Fill `row` (V + new,) with the phrases' own distribution; returns its weight."""
        match, weight = self.match(said), 0.0
        if match is not None:
            is_new = max(said[-match.length :]) >= self.known  # a word that only the phrases have says it all
            weight = WEIGHTS[-1] if is_new else WEIGHTS[match.length - 1]
            row[:] = match.row
        if not len(self.new_words):
            return weight
        beside = (1 - weight) * NEW
        row *= weight / (weight + beside)
        row[self.new_words] += beside / (weight + beside) / len(self.new_words)
        return weight + beside

    def sources(self, said: Sequence[int], word: int) -> tuple[str, ...]:
        """The phrases that say `word` behind the last words of `said`, or, where none does, that brought it."""
        match = self.match(said)
        places = match.places if match is not None else np.empty(0, np.int64)
        if match is not None and match.row[word] > 0:
            places = places if (self._ids[places + 1] == word).any() else self._places(said[-1])
        places = places[self._ids[places + 1] == word]
        if not len(places) and word >= self.known:
            places = self._places(word)
        numbers = dict.fromkeys(self._numbers[bisect_right(self._starts, at) - 1] for at in places.tolist())
        return tuple(self.phrases[number] for number in list(numbers)[:MOST_SOURCES])


def _extended(vocabulary: Vocabulary, new: dict[str, str]) -> Vocabulary:
    words, shown = (*vocabulary.words, *new), (*vocabulary.shown, *new.values())
    made = replace(vocabulary, words=words, shown=shown)
    # Looked at word by word these would take long in a large vocabulary, at each phrase that is learned.
    vars(made)["is_suggestion"] = np.concatenate([vocabulary.is_suggestion, _suggestions(new)])
    vars(made)["ids"] = vocabulary.ids | {word: len(vocabulary) + i for i, word in enumerate(new)}
    return made


def _suggestions(words: dict[str, str]) -> npt.NDArray[np.bool_]:
    return np.array([text.is_word(word) for word in words], dtype=np.bool_)
