"""What is measured of next words as a person meets them: likelihood, hits among the first, keystrokes saved.

Must not know: networks, or where the probabilities come from.
"""

from bisect import bisect_left

import numpy as np

from ml import metrics
from ml.data.text import Vocabulary
from ml.ngram import Row

SHOWN = 3  # suggestions on a screen, for keystroke savings
KNOWN_LENGTH = 6  # letters of a word that the vocabulary does not have, where nobody says how many


class Scorer:
    """Adds up figures over distributions (V,) and the id that came.

    Keystroke savings (Trnka and McCoy 2008): the share of letters and spaces that need not be typed by someone who
    takes a word as soon as it is among the first three that fit what is typed. Taking it types the space behind it.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary, self.is_word = vocabulary, vocabulary.is_suggestion
        self.nll = self.word_nll = 0.0
        self.tokens = self.words = self.typed = self.letters = 0
        self.hits = {1: 0, 3: 0, 5: 0}
        order = sorted((word, i) for i, word in enumerate(vocabulary.words) if self.is_word[i])
        self._sorted = [word for word, _ in order]
        self._place = np.full(len(vocabulary), -1, dtype=np.int64)  # (V,) of a word among the sorted ones
        self._place[[i for _, i in order]] = np.arange(len(order))
        self._ranges: dict[int, np.ndarray] = {}

    def add(self, row: Row, target: int, letters: int | None = None) -> float:
        """Count one token, of `letters` characters. Returns its log-probability in nats."""
        log = float(np.log(max(float(row[target]), 1e-30)))
        self.nll -= log
        self.tokens += 1
        suggested = bool(self.is_word[target])
        if not suggested and target != self.vocabulary.unk:
            return log
        self.words += 1
        self.word_nll -= log
        length = letters or (len(self.vocabulary.words[target]) if suggested else KNOWN_LENGTH)
        keys = length + 1
        if suggested:
            better = self._place[np.flatnonzero(row > row[target])]
            better = better[better >= 0]
            for k in self.hits:
                self.hits[k] += len(better) < k
            keys = min(keys, self._keys(target, better))
        self.typed += keys
        self.letters += length + 1
        return log

    def _keys(self, target: int, better: np.ndarray) -> int:
        """Keys pressed until `target` is among the first, `better` being the places of the words before it."""
        if len(better) < SHOWN:
            return 1
        ranges = self._ranges.get(target)
        if ranges is None:
            word = self.vocabulary.words[target]
            starts = [word[: n + 1] for n in range(len(word))]
            edges = [(bisect_left(self._sorted, s), bisect_left(self._sorted, s + "\U0010ffff")) for s in starts]
            ranges = self._ranges[target] = np.array(edges, dtype=np.int64).reshape(-1, 2)
        ahead = ((better[None] >= ranges[:, :1]) & (better[None] < ranges[:, 1:])).sum(1)  # (letters,)
        enough = np.flatnonzero(ahead < SHOWN)
        return int(enough[0]) + 2 if len(enough) else len(ranges) + 1

    def figures(self) -> dict[str, float]:
        loss, words = self.nll / max(1, self.tokens), max(1, self.words)
        return {
            "loss": loss,
            "perplexity": metrics.perplexity(loss),
            "word_perplexity": metrics.perplexity(self.word_nll / words),
            **{f"top{k}": hits / words for k, hits in self.hits.items()},
            "keystroke_savings": 1 - self.typed / self.letters if self.letters else 0.0,
        }
