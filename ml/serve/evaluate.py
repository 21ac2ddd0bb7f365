"""How well a published text model foretells any text: the figures of its card. Knows neither HTTP nor torch.

The exported network tells what follows the last of its ids alone, so each token is a step of its own; one step of many
texts costs little more than one of one. So a text is cut into stretches that are read side by side, each begun behind
the ids before it, as an answer is, and then carrying its hidden state on. A network that gives no hidden state, or was
trained on windows (the lecture's), reads the context of every token anew.
"""

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, compress, pairwise
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from ml.artifact import Manifest
from ml.data import store, text
from ml.mixture import PARTS, WINDOW, Part
from ml.scoring import Scorer
from ml.serve.text import NextWord, Probabilities

STREAMS = 32  # stretches that are read side by side
LEAST = 64  # tokens of each, where there is more than one
REREAD = 4  # so many fewer tokens are looked at where each costs a whole context
REMEMBERED = 200_000  # different tokens
TEST = 2  # of `text.split_lines`
BREAK = -1  # between the lines of a model that knows no line's end: no id

Split = Literal["all", "test", "train"]
LINE_END = "\n"
Integers = npt.NDArray[np.int32]
Rows = Iterator[tuple[npt.NDArray[np.int64], Probabilities]]  # places of tokens (B,), what was foretold of each (B, V)


class NothingKnown(ValueError):
    """A text with no token that the model knows."""


@dataclass(frozen=True)
class Reading:
    """A text as a model reads it. Between lines stands `<eos>`, or where there is none, BREAK."""

    ids: Integers  # (N,)
    letters: Integers  # (N,): characters of each token, as it was written
    written: Sequence[str]  # (N,), or empty where they were not to be kept
    tokens: int  # of the text: also those that `ids` leaves out, where a model has nothing for an unknown one
    words: int
    unknown: int  # of the words


@dataclass(frozen=True)
class Said:
    """A token (a line's end is "\\n") with its log-probability, in nats: that of `<unk>` where it is not known."""

    token: str
    log_probability: float
    known: bool


@dataclass(frozen=True)
class Evaluation:
    """`figures` by the names of the API, from `scored` of the tokens; `said` of those, in their order, if asked for."""

    figures: dict[str, float]
    tokens: int
    scored: int
    unknown_share: float  # of the text's words
    said: Sequence[Said] = ()

    @property
    def metrics(self) -> dict[str, float]:
        counts = {"tokens": self.tokens, "scored_tokens": self.scored, "unknown_share": self.unknown_share}
        return {**counts, **self.figures}


def lines_of(folder: Path, manifest: Manifest) -> tuple[Iterator[str], Split]:
    """The lines of a data set that a version is to be measured on: those it never learned from.

    That is the whole text, but of the one it was trained on the part that its card was measured on. The last line
    ends too, and so there is an empty one behind it. Raises DatasetError.
    """
    info, split = store.read_info(folder), "all"
    lines = store.read_lines(folder)
    if info.sha256 == manifest.dataset.sha256:
        split = manifest.metrics.get("split", "all")
    if split == "test" and "mixture" not in manifest.serving:  # before 0.4 other lines were held out
        split = "all"
    if split == "test":
        lines = compress(lines, text.split_lines(info.counts["lines"]) == TEST)
    return chain(lines, ("",)), cast(Split, split)


def read(model: NextWord, lines: Iterable[str], keep: bool = False) -> Reading:
    """Read lines as `model` reads the text before a question; `keep` the tokens. Raises NothingKnown."""
    ids, letters, written = array("i"), array("i"), list[str]()
    tokens = words = unknown = known = 0
    vocabulary, between = model.vocabulary, BREAK if model.vocabulary.eos is None else model.vocabulary.eos

    @lru_cache(REMEMBERED)
    def look_up(token: str) -> tuple[int | None, bool]:
        return vocabulary.ids.get(text.key(token)), text.is_word(token)

    def add(token: str, number: int) -> None:
        ids.append(number)
        letters.append(len(token))
        if keep:
            written.append(token)

    for line in lines:
        if ids and ids[-1] != between:
            add(LINE_END, between)
            tokens += between != BREAK
        for token in text.tokenize(line):
            number, is_word = look_up(token)
            tokens, words, known = tokens + 1, words + is_word, known + (number is not None)
            unknown += is_word and number is None
            number = vocabulary.unk if number is None else number
            if number is not None:
                add(token, number)
    if not known:
        raise NothingKnown("the model knows no word of this text")
    arrays = np.frombuffer(ids, np.int32), np.frombuffer(letters, np.int32)
    return Reading(*arrays, written, tokens, words, unknown)


def evaluate(
    model: NextWord,
    reading: Reading,
    parts: Sequence[Part] = PARTS,
    most: int = 20_000,
    tell: Callable[[int, int], object] = lambda done, wanted: None,
) -> Evaluation:
    """Score up to `most` tokens, in stretches spread evenly over the text; a model of windows fewer, by REREAD.

    `parts` may answer, the cache and the n-gram's history running along the text. `tell` hears how many tokens are
    done, many times a second, and may raise.
    """
    ids, vocabulary = reading.ids, model.vocabulary
    steps = model.carries and not model.manifest.config.get("windows", False)
    stretches = _stretches(len(ids), most if steps else most // REREAD)
    scorer, logs = Scorer(vocabulary), dict[int, float]()
    start = [] if vocabulary.eos is None else [vocabulary.eos]
    history = np.concatenate([np.array(start, np.int32), ids])  # as the training part's lines follow each other
    wanted, done = sum(end - first for first, end in stretches), 0
    for places, rows in (_carried if steps else _reread)(model, ids, stretches):
        for place, row in zip(places.tolist(), rows, strict=True):
            target, end = int(ids[place]), place + len(start)
            if target == BREAK:
                continue
            blended = model.blend(row, _in_line(history[max(0, end - WINDOW) : end].tolist()), parts).row
            letters = int(reading.letters[place]) if target == vocabulary.unk else None
            logs[place] = scorer.add(blended, target, letters)
            time.sleep(0)  # whoever answers waits for the interpreter's lock no longer than one token takes
        done += len(places)
        tell(done, wanted)
    said = [Said(reading.written[i], logs[i], int(ids[i]) != vocabulary.unk) for i in sorted(logs) if reading.written]
    return Evaluation(scorer.figures(), reading.tokens, scorer.tokens, reading.unknown / max(1, reading.words), said)


def _stretches(count: int, most: int) -> list[tuple[int, int]]:
    """Where each begins and ends: side by side they are the whole text, or, of a longer one, `most` tokens of it."""
    streams = max(1, min(STREAMS, count // LEAST))
    edges, each = np.linspace(0, count, streams + 1).astype(np.int64).tolist(), -(-most // streams)
    return [(first, min(first + each, end)) for first, end in pairwise(edges)]


def _carried(model: NextWord, ids: Integers, stretches: Sequence[tuple[int, int]]) -> Rows:
    """Step by step, all stretches at once."""
    heard = np.array(model.own(ids.tolist()))
    first, end = np.array(stretches, dtype=np.int64).T
    begun = [model.read(np.array([model.context(heard[max(0, at - 2 * model.most) : at].tolist())])) for at in first]
    rows = np.concatenate([row for row, _ in begun])
    hidden = [np.concatenate(states, 1) for states in zip(*(after for _, after in begun), strict=True)]
    for step in range(int((end - first).max())):
        if step:
            # A stretch that has ended reads on, and is not listened to.
            rows, hidden = model.read(heard[first + step - 1][:, None], hidden)
        live = first + step < end
        yield (first + step)[live], rows[live]


def _reread(model: NextWord, ids: Integers, stretches: Sequence[tuple[int, int]]) -> Rows:
    """Every token behind a context of its own."""
    places = np.concatenate([np.arange(*stretch) for stretch in stretches])
    for at in range(0, len(places), STREAMS):
        some = places[at : at + STREAMS]
        contexts = [_in_line(ids[max(0, i - 2 * model.most) : i].tolist()) for i in some]
        yield some, model.probabilities([model.own(context) for context in contexts])


def _in_line(ids: list[int]) -> list[int]:
    """The ids behind the last BREAK."""
    while BREAK in ids:
        ids = ids[ids.index(BREAK) + 1 :]
    return ids
