"""How a continuation is chosen word by word out of a model's probabilities: the likeliest, by chance, or by beams.

Each way is a generator that yields what it has said so far, one list of ids a beam, and is sent the probabilities of
what follows each: float (beams, V). It returns the ids said. So many continuations advance together, one forward pass
a step for all. Must not know: models, words, or what a context is.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]  # (V,)
Rows = Sequence[Row]  # one for each beam
Mask = npt.NDArray[np.bool_]  # (V,)
Said = list[int]
Decoding = Generator[list[Said], Rows, Said]

LEAST = np.float32(1e-45)  # a word that may be said is never impossible, however unlikely
MOST_MARKS = 3  # in a row, between two words
SPARE = 16  # words that are looked at beside those wanted, in case that some may not be said
FEW = 32  # words that Python puts in order sooner than numpy


@dataclass(frozen=True)
class Rules:
    """What may be said: `first` at the very start, `words` from then on, `marks` between words. Each bool (V,)."""

    first: Mask
    words: Mask
    marks: Mask | None = None

    def after(self, said: Said) -> Mask:
        if not said:
            return self.first
        if self.marks is None or (not self.words[said[-MOST_MARKS:]].any() and len(said) >= MOST_MARKS):
            return self.words
        return self.words | self.marks

    def count(self, said: Said) -> int:
        """How many of the ids are words."""
        return len(said) if self.marks is None else int(self.words[said].sum())


@dataclass(frozen=True)
class Sampling:
    """Draw by chance, the logarithms of probability divided by `temperature`; 0 takes the likeliest.

    `top_k` draws from that many of the likeliest alone, `top_p` from the fewest that together are as likely as that
    (nucleus sampling, Holtzman et al. 2020); the cuts are made in that order, behind the temperature.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0

    def choose(self, weights: Row, chance: np.random.Generator) -> int:
        """One of the ids with a weight above 0."""
        if self.temperature <= 0:
            return int(weights.argmax())
        with np.errstate(divide="ignore", over="ignore"):
            scores = np.log(weights.astype(np.float64))
            exp = np.exp((scores - scores.max()) / self.temperature)
        cut = self._cut(exp / exp.sum())
        return int(chance.choice(len(cut), p=cut / cut.sum()))

    def _cut(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.top_k is None and self.top_p >= 1:
            return shares
        order = np.argsort(-shares, kind="stable")[: self.top_k]
        total = np.cumsum(shares[order])
        kept = order[: 1 + int(np.searchsorted(total, self.top_p * total[-1]))]
        cut = np.zeros_like(shares)
        cut[kept] = shares[kept]
        return cut


def known(said: Said) -> Decoding:
    """Nothing is left to be chosen."""
    yield from ()
    return said


def one_by_one(count: int, rules: Rules, sampling: Sampling, chance: np.random.Generator | None) -> Decoding:
    """`count` words, each chosen once those before it are; fewer when nothing may be said. `chance` None: the likeliest
    each time."""
    said: Said = []
    while rules.count(said) < count:
        rows = yield [said]
        may = rules.after(said)
        if not may.any():
            break
        row = rows[0]
        said = [*said, _best(row, may) if chance is None else sampling.choose(_weights(row, may), chance)]
    return said


def beam_search(count: int, rules: Rules, beams: int) -> Decoding:
    """The likeliest `count` words that keeping the `beams` best beginnings at each step finds.

    Beginnings of different length, which marks make, are compared by their mean log-probability.
    """
    alive: list[tuple[Said, float]] = [([], 0.0)]
    ended: list[tuple[Said, float]] = []
    while alive and len(ended) < beams:
        rows = yield [said for said, _ in alive]
        grown: list[tuple[Said, float]] = []
        for (said, score), row in zip(alive, rows, strict=True):
            may = rules.after(said)
            best = likeliest(row, may, beams)
            grown += [([*said, i], score + math.log(max(row[i], LEAST))) for i in best.tolist()]
            if not len(best):
                ended.append((said, score))
        grown = sorted(grown, key=_mean, reverse=True)[:beams]
        ended += [(said, score) for said, score in grown if rules.count(said) >= count]
        alive = [(said, score) for said, score in grown if rules.count(said) < count]
    return max(ended, key=_mean)[0]


def together(decodings: Sequence[Decoding], probabilities: Callable[[list[tuple[int, Said]]], Rows]) -> list[Said]:
    """Run all to their ends, in step. `probabilities` takes pairs of a decoding's index and what it has said."""
    answers: list[Said] = [[] for _ in decodings]
    asked: dict[int, list[Said]] = {}

    def go_on(i: int, rows: Rows | None) -> None:
        try:
            asked[i] = decodings[i].send(rows) if rows is not None else next(decodings[i])
        except StopIteration as end:
            answers[i] = end.value
            asked.pop(i, None)

    for i in range(len(decodings)):
        go_on(i, None)
    while asked:
        rows = probabilities([(i, said) for i, beams in asked.items() for said in beams])
        at = 0
        for i, beams in list(asked.items()):
            go_on(i, rows[at : at + len(beams)])
            at += len(beams)
    return answers


def _weights(row: Row, may: Mask) -> Row:
    """The row where something may be said, 0 elsewhere."""
    return np.where(may, np.maximum(row, LEAST), np.float32(0))


def _best(row: Row, may: Mask) -> int:
    best = int(row.argmax())
    return best if may[best] and row[best] > 0 else int(_weights(row, may).argmax())


def likeliest(row: Row, may: Mask | None, count: int) -> npt.NDArray[np.int64]:
    """Ids of the `count` likeliest that may be said (None: all), the likeliest first; fewer where fewer may.

    None of the vocabulary is sorted but those: it is read twice.
    """
    if may is None and len(row) <= FEW:
        values = row.tolist()
        return np.array(sorted(range(len(values)), key=values.__getitem__, reverse=True)[:count], dtype=np.int64)
    found = _largest(row, count + SPARE)
    if may is not None:
        found = found[may[found]]
    if may is not None and len(found) < count:
        allowed = np.flatnonzero(may)
        found = allowed[_largest(row[allowed], count)]
    return found[(-row[found]).argsort(kind="stable")[:count]]


def _largest(row: Row, count: int) -> npt.NDArray[np.int64]:
    """Places of at least the `count` largest numbers, in their order; all where there are no more."""
    size = len(row)
    if size <= count:
        return np.arange(size)
    columns = math.isqrt(size * count)
    depth = size // columns
    # The largest are no smaller than the `count`-th of the columns' maxima.
    several = columns >= 2 * count
    maxima = np.maximum.reduce(row[: depth * columns].reshape(depth, columns), 0) if several else row.copy()
    maxima.partition(-count)
    found: npt.NDArray[np.int64] = (row >= maxima[-count]).nonzero()[0]
    return found


def _mean(found: tuple[Said, float]) -> float:
    said, score = found
    return score / max(1, len(said))
