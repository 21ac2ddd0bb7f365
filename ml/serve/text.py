"""Next words from a published text model: a query in, suggestions out. Knows neither HTTP nor torch."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from ml import artifact
from ml.artifact import ArtifactError, Manifest
from ml.data import sources, text
from ml.data.text import Vocabulary
from ml.mixture import NGRAM, PARTS, SOURCES, WINDOW, Blend, Mixture, Part
from ml.ngram import NGram
from ml.serve import decode, orthography
from ml.serve.decode import Decoding, Mask, Rules, Said, Sampling
from ml.serve.gates import open_engine
from ml.serve.heard import Hearing
from ml.serve.int8 import refusal
from ml.serve.learned import Learned
from ml.serve.network import Network
from ml.serve.orthography import PLAIN, Manner
from ml.serve.prefix import PrefixIndex
from ml.serve.state_cache import StateCache

Probabilities = npt.NDArray[np.float32]  # (V,)
TAIL = 4_000  # characters of a text that are looked at; more never fit into a model's context
_NONE = np.empty(0, dtype=np.int64)
TOGETHER = 32  # texts in one forward pass: beams make many, and each takes a few rows as wide as the vocabulary
MOST_AT_ONCE = 32_000  # words of a vocabulary: what is as wide as that takes a fraction of a millisecond


@dataclass(frozen=True)
class Query:
    """What is asked of a model. `seed` None with a temperature means: differently every time.

    `sample_top_k` and `top_p` cut what a temperature draws from; more than 1 of `beams` look for the likeliest
    continuation instead. `blocklist` is never said, in whatever case; `reject` is not suggested as it is written there.
    `punctuation` lets marks stand between the words of a continuation; `goes_on` says that the text ends in one, so
    that marks may come first, and the continuation brings the space that belongs before it.
    `context` is more of the caller's own words, from before the text; `parts` says which parts may answer; `explain`
    asks where each suggestion comes from.
    """

    text: str
    top_k: int = 5
    complete_partial: bool | None = None  # None decides by itself
    words: int = 1
    temperature: float = 0.0
    seed: int | None = None
    sample_top_k: int | None = None
    top_p: float = 1.0
    beams: int = 1
    blocklist: Sequence[str] = ()
    reject: Sequence[str] = ()
    punctuation: bool = False
    goes_on: bool = False
    context: str = ""
    parts: Sequence[Part] = PARTS
    explain: bool = False


@dataclass(frozen=True)
class Why:
    """Where a suggestion comes from: how much of its probability each part gave, and the longest run of words with it
    that the text has (in the form of `text.key`; None is a word the vocabulary does not have)."""

    shares: dict[Part, float]
    words: tuple[str | None, ...]
    first: bool = False  # the run starts a line
    phrases: tuple[str, ...] = ()  # learned ones that say it


class Suggestion(NamedTuple):  # an answer makes five, each in a third of the time of a frozen dataclass
    word: str
    probability: float
    kind: Literal["next", "completion"]
    replace_from: int  # index in the text, in code points
    why: Why | None = None


@dataclass(frozen=True)
class Answer:
    predictions: list[Suggestion]
    continuation: str
    unknown_words: list[str]


@dataclass
class Heard:
    """A query on its way, for the predictor that heard it: contexts as ids, and which words may be said."""

    query: Query
    earlier: list[int]  # the caller's words from before the text
    before: list[int]  # the text before the half-typed word, or everything
    whole: list[int] | None  # everything, the half-typed word taken as complete; None where enough words complete it
    partial: tuple[str, int] | None
    fitting: npt.NDArray[np.int64]  # ids that the half-typed word may become
    allowed: npt.NDArray[np.bool_]  # (V,)
    next: npt.NDArray[np.bool_]  # (V,): of those, what was not rejected
    tail: str  # as much of the text as is looked at
    unknown: list[str]
    found: list[Suggestion] = field(default_factory=list)
    best: list[int] = field(default_factory=list)  # the id of the first that was found
    said: list[int] = field(default_factory=list)


class NextWord:
    """The predictor of one version. Raises ArtifactError when the folder does not hold a sound one.

    `states` is where it remembers what it read, beside other versions. `int8`: with products of eight bits, where its
    card says that nothing is lost by them.
    """

    def __init__(self, folder: Path, manifest: Manifest, states: StateCache | None = None, int8: bool = False) -> None:
        if manifest.modality != "text":
            raise ArtifactError(f"a {manifest.family} model draws pictures and predicts no words")
        try:
            self.vocabulary = Vocabulary.load(folder / "vocabulary.json")
            self.most, self.start = int(manifest.serving["context"]), int(manifest.serving["start"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the vocabulary cannot be read: {error}") from error
        self.manifest = manifest
        self._by_line, self._windows = (bool(manifest.config.get(name)) for name in ("by_line", "windows"))
        remembered = None if self._windows else states or StateCache()
        self.int8 = int8 and refusal(manifest) is None
        self._network = Network(open_engine(folder, len(self.vocabulary), self.int8), self.start, remembered)
        self.mixture = self._load_mixture(folder)
        self._no_row: Probabilities = np.zeros(len(self.vocabulary), np.float32)
        self._sources = folder / SOURCES
        vocabulary = self.vocabulary
        self._index = PrefixIndex(vocabulary.words, np.flatnonzero(vocabulary.is_suggestion))
        self._case = orthography.has_case(vocabulary)
        self._marks = np.array([orthography.is_mark(word) for word in vocabulary.words])
        if vocabulary.eos is not None:
            self._marks[vocabulary.eos] = True  # between sentences; it is not written
        self._hearing = Hearing(vocabulary)
        self._learned: Learned | None = None

    @classmethod
    def open(cls, folder: Path) -> "NextWord":
        """Verify the folder's hashes, then load it."""
        return cls(folder, artifact.verify(folder))

    def knowing(self, phrases: Sequence[str]) -> "NextWord":
        """The same predictor with learned phrases, which shares everything else with this one, and lets it be."""
        if not phrases:
            return self
        made = copy(self)
        learned = made._learned = Learned(phrases, self.vocabulary)
        made.vocabulary, words = learned.vocabulary, learned.vocabulary.words
        made._hearing = Hearing(learned.vocabulary)
        made._index = self._index.joined([words[i] for i in learned.new_words], learned.new_words)
        new_marks = [orthography.is_mark(word) for word in words[learned.known :]]
        made._marks = np.concatenate([self._marks, np.array(new_marks, dtype=np.bool_)])
        return made

    def probabilities(self, contexts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """What the LSTM says may follow each context of ids: (N, V), each row summing to 1.

        An empty context starts a sentence.
        """
        return self._network.probabilities([self.context(context) for context in contexts])

    def context(self, ids: Sequence[int]) -> list[int]:
        """What the LSTM reads of the ids before a word: at least the last `most`, or all of them behind the start.

        Where it begins depends on the ids there and not on how many follow, so that it stays as a text grows and what
        was read before can be gone on from. One that learned line by line reads the last line; one that learned
        windows reads `most`.
        """
        eos = self.vocabulary.eos
        if self._by_line and eos is not None and eos in ids:
            ids = ids[len(ids) - list(reversed(ids)).index(eos) :]
        more = 0 if self._windows else self.most // 2
        first = len(ids) - self.most
        if first < more or first < 0:
            return [self.start, *ids]
        return [*ids[min(range(first, first - more - 1, -1), key=lambda at: _rank(ids[at], eos)) :]]

    @property
    def carries(self) -> bool:
        """Whether the LSTM gives its hidden state and may carry it from line to line, so that `read` is of use."""
        return self._network.carries and not self._by_line

    def read(
        self, ids: npt.NDArray[np.integer], hidden: Sequence[Probabilities] | None = None
    ) -> tuple[Probabilities, list[Probabilities]]:
        """Read ids (B, T) on behind `hidden`, or as the first: what may follow (B, V), and h and c, (layers, B, H)."""
        return self._network.read(ids, hidden)

    def at_once(self, heard: Heard) -> Answer | None:
        """Its answer where the network has read what it needs already, as behind most letters typed; else None.

        Takes a moment in which no other thread can work, so not with a vocabulary that makes it a long one.
        """
        query = heard.query
        if query.words > 1 or query.punctuation or len(self.vocabulary) > MOST_AT_ONCE:
            return None
        blends: list[Blend] = []
        for ids in (heard.before, heard.whole) if heard.partial and heard.whole is not None else (heard.before,):
            row = self._network.remembered(self.context(self.own(ids))) if "lstm" in query.parts else self._no_row
            if row is None:
                return None
            blends.append(self._blend(heard, row, ids))
        self._suggest(heard, blends[0], blends[-1])
        self._continue([heard], blends[:1])
        return Answer(heard.found, self._written(heard), heard.unknown)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries together: one forward pass for all that wait, one more for each further word."""
        return self.answer_heard([self.hear(query) for query in queries])

    def answer_heard(self, work: Sequence[Heard]) -> list[Answer]:
        """`answer` of what was heard."""
        if not work:
            return []
        short = [(i, w.whole) for i, w in enumerate(work) if w.partial and w.whole is not None]
        # Read with the others where nothing is read before it: the weights pass through the core once for all of them.
        early = [(i, whole) for i, whole in short if self._remembers(work[i].before)]
        both = [*enumerate(w.before for w in work), *early]
        blends = self._blends([work[i] for i, _ in both], [ids for _, ids in both])
        first, rest = blends[: len(work)], {i: blend for (i, _), blend in zip(early, blends[len(work) :], strict=True)}
        late = [(i, whole) for i, whole in short if i not in rest]
        if late:
            blends = self._blends([work[i] for i, _ in late], [whole for _, whole in late])
            rest |= {i: blend for (i, _), blend in zip(late, blends, strict=True)}
        for i, w in enumerate(work):
            self._suggest(w, first[i], rest.get(i, first[i]))
        self._continue(work, first)
        return [Answer(w.found, self._written(w), w.unknown) for w in work]

    def sources(self, why: Why, most: int = 3) -> list[tuple[int, str]]:
        """Lines of the training text that hold the suggestion's run of words, with their numbers in the data set."""
        return sources.find(self._sources, why.words, why.first, most) if self._sources.exists() else []

    def _remembers(self, ids: list[int]) -> bool:
        return self._network.remembered(self.context(self.own(ids))) is not None

    def _load_mixture(self, folder: Path) -> Mixture | None:
        """What answers beside the LSTM; None for the lecture's model and for the first versions."""
        said = self.manifest.serving.get("mixture")
        if said is None:
            return None
        try:
            ngram = NGram.load(folder / NGRAM)
            return Mixture(ngram, self.vocabulary.is_suggestion, np.array(said["weights"], dtype=np.float64))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"the n-gram cannot be used: {error}") from error

    def _blends(self, work: Sequence[Heard], texts: Sequence[list[int]]) -> list[Blend]:
        """What may follow each text: the LSTM reads all of them together, the other parts speak one by one."""
        read = [ids for w, ids in zip(work, texts, strict=True) if "lstm" in w.query.parts]
        rows = iter(self._network.rows([self.context(self.own(ids)) for ids in read]))
        return [
            self._blend(w, next(rows) if "lstm" in w.query.parts else self._no_row, ids)
            for w, ids in zip(work, texts, strict=True)
        ]

    def _blend(self, work: Heard, row: Probabilities, ids: list[int]) -> Blend:
        alone = self._learned is None and self._is_alone(work.query.parts)  # then nobody asks for the history
        return self.blend(row, [] if alone else self._history(work, ids), work.query.parts)

    def _is_alone(self, parts: Sequence[Part]) -> bool:
        return self.mixture is None or tuple(parts) == ("lstm",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that it has."""
        own: tuple[Part, ...] = ("lstm",) if self.mixture is None else ("lstm", "ngram", "cache")
        return own if self._learned is None else (*own, "learned")

    def blend(self, row: Probabilities, history: list[int], parts: Sequence[Part]) -> Blend:
        """What may follow `history`, the ids as the training part's lines follow each other; `row` (V,) is what the
        LSTM says."""
        if self.mixture is None or self._is_alone(parts):
            blend = Blend(row, (("lstm", 1.0, row),))
        else:
            blend = self.mixture.blend(row, self.own(history), parts)
        return blend if self._learned is None else self._learned.join(blend, history, "learned" in parts)

    def own(self, ids: list[int]) -> list[int]:
        """Ids as the version's own parts know them."""
        return ids if self._learned is None else self._learned.without_new(ids)

    def _history(self, work: Heard, ids: list[int]) -> list[int]:
        """The caller's words and the text, as the training part's lines follow each other."""
        end = [] if self.vocabulary.eos is None else [self.vocabulary.eos]
        return [*end, *work.earlier, *(end if work.earlier else []), *ids][-WINDOW:]

    def hear(self, query: Query) -> Heard:
        """What `at_once` and `answer_heard` take, once each: reading a text takes a fifth of an answer's time."""
        cut = max(0, len(query.text) - TAIL)
        tail = query.text[cut:]
        partial = text.last_word(tail)
        if partial is not None and query.complete_partial is not True:
            known = text.key(partial[0]) in self.vocabulary.ids
            partial = None if query.complete_partial is False or known else partial
        allowed = self._may_be_said(query)
        following = allowed
        if query.reject:
            following, manner = allowed.copy(), self._manner(tail)
            for i, word in self._known(query.reject):
                shown = self.vocabulary.shown[i]
                forms = {shown, manner.word(shown), *([self._completed(partial[0], i)] if partial else [])}
                following[i] &= text.composed(word) not in forms
        fitting = _NONE
        if partial is not None:
            fitting = self._index.starting_with(partial[0])
            fitting = fitting[following[fitting]]
            partial = (partial[0], partial[1] + cut) if len(fitting) else None
        typed = query.text[cut : partial[1]] if partial else tail
        before, earlier = self._hearing.ids(typed), self._hearing.ids(query.context[-TAIL:]) if query.context else []
        whole = before if partial is None else self._hearing.ids(tail) if len(fitting) < query.top_k else None
        unk = self.vocabulary.unk
        unknown = self._hearing.unknown(typed, self.most) if unk is None or unk in before else []
        return Heard(query, earlier, before, whole, partial, fitting, allowed, following, tail, unknown)

    def _manner(self, tail: str) -> Manner:
        """In which a word behind a text is written."""
        return orthography.manner(tail) if self._case else PLAIN

    def _may_be_said(self, query: Query) -> Mask:
        """(V,), not to be written to."""
        allowed = self.vocabulary.is_suggestion
        hidden = self._learned is not None and "learned" not in query.parts
        if query.blocklist or hidden:
            allowed = allowed.copy()
            allowed[[i for i, _ in self._known(query.blocklist)]] = False
            if self._learned is not None and hidden:
                allowed[self._learned.known :] = False
        return allowed

    def _known(self, words: Sequence[str]) -> list[tuple[int, str]]:
        """Those of the words that the vocabulary has, with their ids."""
        ids = self.vocabulary.ids
        return [(ids[key], word) for word in words if (key := text.key(word)) in ids]

    def _completed(self, typed: str, word: int) -> str:
        return orthography.completed(typed, self.vocabulary.shown[word])

    def _suggest(self, work: Heard, first: Blend, rest: Blend) -> None:
        query, found, best = work.query, work.found, list[int]()
        if work.partial is not None:
            typed, at = work.partial
            fitting = first.row[work.fitting]
            places = decode.likeliest(fitting, None, query.top_k)
            best, total = work.fitting[places].tolist(), max(float(fitting.sum()), 1e-30)
            for word, weight in zip(best, fitting[places].tolist(), strict=True):
                why = self._why(work, first, work.before, word) if query.explain else None
                found.append(Suggestion(self._completed(typed, word), weight / total, "completion", at, why))
        wanted = query.top_k - len(found)
        if wanted > 0:
            ids = work.before if work.whole is None else work.whole
            likeliest = decode.likeliest(rest.row, work.next, wanted)
            words, manner, shown, at = (
                likeliest.tolist(),
                self._manner(work.tail),
                self.vocabulary.shown,
                len(query.text),
            )
            for word, probability in zip(words, rest.row[likeliest].tolist(), strict=True):
                why = self._why(work, rest, ids, word) if query.explain else None
                found.append(Suggestion(manner.word(shown[word]), probability, "next", at, why))
            best = best or words
        work.best = best[:1]

    def _why(self, work: Heard, blend: Blend, ids: list[int], word: int) -> Why:
        shares, history = blend.shares(word), self._history(work, ids)
        phrases = self._learned.sources(history, word) if self._learned and "learned" in shares else ()
        if self.mixture is None:
            return Why(shares, (), phrases=phrases)
        own = self.own(history)
        met = self.mixture.ngram.met(own[-self.mixture.ngram.longest :], word)
        run = [*own[len(own) - met :], word]
        ends = [i for i, each in enumerate(run) if each == self.vocabulary.eos]
        run = run[ends[-1] + 1 :] if ends else run
        words = tuple(None if i == self.vocabulary.unk else self.vocabulary.words[i] for i in run)
        return Why(shares, words, bool(ends), phrases)

    def _continue(self, work: Sequence[Heard], first: list[Blend]) -> None:
        """Say `words` words each, the first of them in place of a half-typed one."""

        def probabilities(asked: list[tuple[int, Said]]) -> decode.Rows:
            if not asked[0][1]:  # the first step of all
                return [first[i].row for i, _ in asked]
            rows: list[Probabilities] = []
            for at in range(0, len(asked), TOGETHER):
                some = asked[at : at + TOGETHER]
                blends = self._blends([work[i] for i, _ in some], [work[i].before + said for i, said in some])
                rows += [blend.row for blend in blends]
            return rows

        decodings: list[Decoding] = [self._decoding(w) for w in work]
        for w, said in zip(work, decode.together(decodings, probabilities), strict=True):
            w.said = said

    def _decoding(self, work: Heard) -> Decoding:
        query, first = work.query, work.next
        if query.words == query.beams == 1 and query.temperature <= 0 and not (query.punctuation and query.goes_on):
            return decode.known(work.best)
        marks = None
        if query.punctuation:
            marks = self._marks.copy()
            marks[[i for i, _ in self._known(query.blocklist)]] = False
        if work.partial is not None:
            first = np.zeros_like(first)
            first[work.fitting] = True
        elif marks is not None and query.goes_on:
            first = first | marks
        rules = Rules(first, work.allowed, marks)
        if query.beams > 1:
            return decode.beam_search(query.words, rules, query.beams)
        sampling = Sampling(query.temperature, query.sample_top_k, query.top_p)
        chance = np.random.default_rng(query.seed) if query.temperature > 0 else None
        return decode.one_by_one(query.words, rules, sampling, chance)

    def _written(self, work: Heard) -> str:
        """What was said, as a person would go on."""
        shown = [self.vocabulary.shown[i] for i in work.said if i != self.vocabulary.eos]
        typed, said = work.query.text[-TAIL:], ""
        if work.partial is not None and shown:
            typed, said = work.query.text[: work.partial[1]][-TAIL:], self._completed(work.partial[0], work.said[0])
            shown = shown[1:]
        said += orthography.join(shown, typed + said, self._case)
        return said if work.query.goes_on else said.lstrip()


def _rank(word: int, eos: int | None) -> int:
    """Which of some places in a text a context begins at: the lowest. A line's start, or as if by chance."""
    return -1 if word == eos else word * 0x9E3779B1 & 0xFFFFFFFF
