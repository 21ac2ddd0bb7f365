"""What is measured of a text model, from its whole distributions: the same code for everyone who is compared.

Must not know: models.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from benchmarks.quality.kneser_ney import Ids, Rows
from ml.data.text import Vocabulary

SUGGESTIONS = 3  # shown to who types
FIRST = (1, 3, 5)


class TextScore:
    """Adds up over blocks of distributions (B, V), in the order of `ids` (N,), whose first is only history.

    `tokens` are the N written forms, with "" for a line's end. Perplexity is of all ids, `<unk>` being one of them;
    word perplexity and top-k of words, unknown ones included, which are never found. Keystroke savings: each word is
    typed until it is among the first three that fit what stands there, then taken with one key, its space included; an
    unknown word is typed to its end. The share of keys saved, punctuation left out.
    """

    def __init__(self, vocabulary: Vocabulary, ids: Ids, tokens: Sequence[str]) -> None:
        if len(ids) != len(tokens):
            raise ValueError(f"{len(ids)} ids and {len(tokens)} tokens: they were not cut alike")
        self.vocabulary, self.ids, self.tokens, self.at = vocabulary, ids, tokens, 1
        allowed = np.flatnonzero(vocabulary.is_suggestion)
        self.order = np.array(sorted(allowed.tolist(), key=lambda i: vocabulary.words[i]), dtype=np.int64)
        self.sorted_words = [vocabulary.words[i] for i in self.order]
        self.nll, self.word_nll = 0.0, 0.0
        self.words = self.keys = self.plain_keys = 0
        self.hits = dict.fromkeys(FIRST, 0)

    def add(self, rows: Rows) -> None:
        """The next rows; each must sum to one."""
        targets = self.ids[self.at : self.at + len(rows)]
        wrong = np.abs(rows.sum(1, dtype=np.float64) - 1).max()
        if wrong > 1e-3:
            raise ValueError(f"a distribution sums to 1 ± {wrong:.2g}")
        nll = -np.log(np.maximum(rows[np.arange(len(rows)), targets], 1e-30, dtype=np.float64))
        self.nll += float(nll.sum())
        suggested, unk = self.vocabulary.is_suggestion, self.vocabulary.unk
        for row, target, token, loss in zip(
            rows, targets.tolist(), self.tokens[self.at : self.at + len(rows)], nll.tolist(), strict=True
        ):
            if not (suggested[target] or target == unk):
                continue
            self.words += 1
            self.word_nll += loss
            self.plain_keys += len(token) + 1
            self.keys += self._type(row, target, token) if suggested[target] else len(token) + 1
        self.at += len(rows)

    def _type(self, row: Rows, target: int, token: str) -> int:
        """Keys for a known word."""
        word, fitting = self.vocabulary.words[target], row[self.order]
        ahead = int((fitting > row[target]).sum())
        for k in FIRST:
            self.hits[k] += ahead < k
        first, last = 0, len(self.order)
        for typed in range(len(word)):
            if typed:
                first = bisect_left(self.sorted_words, word[:typed], first, last)
                last = bisect_left(self.sorted_words, word[:typed] + "\U0010ffff", first, last)
            if int((fitting[first:last] > row[target]).sum()) < SUGGESTIONS:
                return typed + 1
        return len(token) + 1

    def figures(self) -> dict[str, float]:
        if self.at != len(self.ids):
            raise ValueError(f"{self.at} of {len(self.ids)} ids were scored")
        count, words = len(self.ids) - 1, max(1, self.words)
        return {
            "perplexity": math.exp(self.nll / count),
            "word_perplexity": math.exp(self.word_nll / words),
            **{f"top{k}": hits / words for k, hits in self.hits.items()},
            "keystroke_savings": 1 - self.keys / max(1, self.plain_keys),
            "tokens": count,
            "words": self.words,
        }
