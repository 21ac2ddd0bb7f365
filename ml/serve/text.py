"""Next words from a published text model: a query in, suggestions out. Knows neither HTTP nor torch."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ml import artifact
from ml.artifact import ArtifactError, Manifest
from ml.data import text
from ml.data.text import Vocabulary
from ml.serve.session import open_session

Probabilities = npt.NDArray[np.float32]  # (V,)
LEAST = np.float32(1e-45)  # a word that may be said is never impossible, however unlikely
TAIL = 4_000  # characters of a text that are looked at; more never fit into a model's context


@dataclass(frozen=True)
class Query:
    """What is asked of a model. `seed` None with a temperature means: differently every time."""

    text: str
    top_k: int = 5
    complete_partial: bool | None = None  # None decides by itself
    words: int = 1
    temperature: float = 0.0
    seed: int | None = None
    blocklist: Sequence[str] = ()


@dataclass(frozen=True)
class Suggestion:
    word: str
    probability: float
    kind: Literal["next", "completion"]
    replace_from: int  # index in the text, in code points


@dataclass(frozen=True)
class Answer:
    predictions: list[Suggestion]
    continuation: str
    unknown_words: list[str]


@dataclass
class _Work:
    """A query on its way: contexts as ids, and which words may be said."""

    query: Query
    context: list[int]  # before the half-typed word, or everything
    whole: list[int]  # everything, the half-typed word taken as complete
    partial: tuple[str, int] | None
    fitting: npt.NDArray[np.int64]  # ids that the half-typed word may become
    allowed: npt.NDArray[np.bool_]  # (V,)
    unknown: list[str]
    found: list[Suggestion] = field(default_factory=list)
    said: list[int] = field(default_factory=list)


class NextWord:
    """The predictor of one version. Raises ArtifactError when the folder does not hold a sound one."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if manifest.modality != "text":
            raise ArtifactError(f"a {manifest.family} model draws pictures and predicts no words")
        try:
            self.vocabulary = Vocabulary.load(folder / "vocabulary.json")
            self.most, self.start = int(manifest.serving["context"]), int(manifest.serving["start"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the vocabulary cannot be read: {error}") from error
        self.manifest = manifest
        self._session = open_session(folder / "next_word.onnx")
        words = self.vocabulary.words
        order = sorted((word, i) for i, word in enumerate(words) if self.vocabulary.is_suggestion[i])
        self._sorted_words = [word for word, _ in order]
        self._sorted_ids = np.array([i for _, i in order], dtype=np.int64)

    @classmethod
    def open(cls, folder: Path) -> "NextWord":
        """Verify the folder's hashes, then load it."""
        return cls(folder, artifact.verify(folder))

    def probabilities(self, contexts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """What may follow each context of ids: (N, V), each row summing to 1. An empty context starts a sentence."""
        rows = [[*([self.start] if len(context) < self.most else []), *context][-self.most :] for context in contexts]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        ids = np.full((len(rows), int(lengths.max())), self.start, dtype=np.int64)
        for row, at in zip(rows, ids, strict=True):
            at[: len(row)] = row  # padded on the right, which an LSTM read up to `lengths` never sees
        (logits,) = self._session.run(None, {"ids": ids, "lengths": lengths})
        exp = np.exp(logits - logits.max(1, keepdims=True))
        out: npt.NDArray[np.float32] = exp / exp.sum(1, keepdims=True)
        return out

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries together: one forward pass for all that wait, one more for each further word."""
        if not queries:
            return []
        work = [self._read(query) for query in queries]
        first = self.probabilities([w.context for w in work])
        short = [i for i, w in enumerate(work) if w.partial and len(w.fitting) < w.query.top_k]
        rest = dict(zip(short, self.probabilities([work[i].whole for i in short]), strict=True)) if short else {}
        for i, w in enumerate(work):
            self._suggest(w, first[i], rest.get(i, first[i]))
        self._continue(work, first, rest)
        return [Answer(w.found, " ".join(self.vocabulary.shown[i] for i in w.said), w.unknown) for w in work]

    def _read(self, query: Query) -> _Work:
        cut = max(0, len(query.text) - TAIL)
        tail = query.text[cut:]
        partial = text.last_word(tail)
        if partial is not None and query.complete_partial is not True:
            known = text.key(partial[0]) in self.vocabulary.ids
            partial = None if query.complete_partial is False or known else partial
        tokens = text.tokenize(tail)[-self.most :]
        whole = self.vocabulary.encode(tokens)
        blocked = {text.key(word) for word in query.blocklist}
        allowed = self.vocabulary.is_suggestion.copy()
        allowed[[i for word, i in self.vocabulary.ids.items() if word in blocked]] = False
        fitting = np.empty(0, dtype=np.int64)
        if partial is not None:
            fitting = self._starting_with(text.key(partial[0]))
            fitting = fitting[allowed[fitting]]
            partial = (partial[0], partial[1] + cut) if len(fitting) else None
        before = text.tokenize(query.text[cut : partial[1]])[-self.most :] if partial else tokens
        context = self.vocabulary.encode(before)
        unknown = [t for t in before if text.is_word(t) and text.key(t) not in self.vocabulary.ids]
        return _Work(query, context, whole, partial, fitting, allowed, list(dict.fromkeys(unknown)))

    def _starting_with(self, prefix: str) -> npt.NDArray[np.int64]:
        low = bisect_left(self._sorted_words, prefix)
        high = bisect_left(self._sorted_words, prefix + "\U0010ffff")
        return self._sorted_ids[low:high]

    def _suggest(self, work: _Work, first: Probabilities, rest: Probabilities) -> None:
        query = work.query
        if work.partial is not None:
            fitting = first[work.fitting]
            share = fitting / max(float(fitting.sum()), 1e-30)
            order = np.argsort(-share, kind="stable")[: query.top_k]
            at = work.partial[1]
            work.found += [self._suggestion(work.fitting[i], share[i], "completion", at) for i in order]
        masked = np.where(work.allowed, rest, -1.0)
        wanted = min(query.top_k - len(work.found), int(work.allowed.sum()))
        if wanted > 0:
            top = np.argpartition(-masked, wanted - 1)[:wanted]
            for i in top[np.argsort(-masked[top], kind="stable")]:
                work.found.append(self._suggestion(i, rest[i], "next", len(query.text)))

    def _suggestion(
        self, word: int, probability: float, kind: Literal["next", "completion"], replace_from: int
    ) -> Suggestion:
        return Suggestion(self.vocabulary.shown[word], float(probability), kind, replace_from)

    def _continue(self, work: list[_Work], first: npt.NDArray[np.float32], rest: dict[int, Probabilities]) -> None:
        """Say `words` words each, the first of them in place of a half-typed one."""
        chance = [np.random.default_rng(w.query.seed) for w in work]
        current = dict(enumerate(first))
        turn = 0
        while current:
            for i, row in current.items():
                w = work[i]
                may = w.allowed
                if turn == 0 and w.partial is not None:
                    may = np.zeros_like(w.allowed)
                    may[w.fitting] = True
                if may.any():
                    w.said.append(_choose(np.where(may, np.maximum(row, LEAST), 0), w.query.temperature, chance[i]))
            turn += 1
            more = [i for i in current if turn < work[i].query.words and len(work[i].said) == turn]
            contexts = [(work[i].context + work[i].said)[-self.most :] for i in more]
            current = dict(zip(more, self.probabilities(contexts), strict=True)) if more else {}


def _choose(weights: Probabilities, temperature: float, chance: np.random.Generator) -> int:
    """One of the words with a weight above 0: the likeliest, or by chance with the weights' logarithms over T."""
    if temperature <= 0:
        return int(weights.argmax())
    with np.errstate(divide="ignore", over="ignore"):
        scores = np.log(weights.astype(np.float64))
        exp = np.exp((scores - scores.max()) / temperature)
    return int(chance.choice(len(exp), p=exp / exp.sum()))
