"""Text as tokens and ids: the tokenizer and vocabulary shared by training and serving, and the split of a corpus.

Must not know: networks, or where a text came from.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex

from ml import files

Ids = npt.NDArray[np.int32]  # (N,)

_LETTERS = r"[\p{L}\p{M}\p{N}]"
# A word may hold apostrophes, hyphens (hidden ones too), underscores, Hebrew's and Catalan's marks and joiners between
# letters; anything else visible is one grapheme, so a family emoji or a flag stays whole.
_HIDDEN = "\u00ad"  # marks where a word may be broken at the end of a line
_WORD = rf"{_LETTERS}+(?:['’_\-\u2010\u2011{_HIDDEN}\u05f3\u05f4·\u200c\u200d]{_LETTERS}+)*"
_TOKEN = regex.compile(rf"{_WORD}|(?![\s\p{{C}}])\X")
# Searched from the end: forwards, a long word costs its square. A joiner is typed before the letter that it joins.
_LAST_WORD = regex.compile(rf"(?r){_WORD}[\u200c\u200d]?\Z")
_SAYS_SOMETHING = regex.compile(r"[\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]")
_BROKEN = regex.compile(r"[\p{M}\u200c\u200d]")  # nothing that a person would suggest begins with it
_ONE_FORM = str.maketrans({"’": "'", "ʼ": "'", "\u2010": "-", "\u2011": "-", _HIDDEN: None, "\ufe0f": None})
_SENTENCE_END = frozenset(".!?")
_MARKS = frozenset(".,;:!?)")

UNK, EOS = "<unk>", "<eos>"
NO_TARGET = -100
HELD_OUT_LINES = 5_000  # of each held-out part at most: enough to measure by, and soon read
HELD_OUT_TOGETHER = 50  # neighbours at most

# A token never reaches over white space, so a text is cut there first, which is quick, and each different piece is
# looked at once. A line's end is a piece of its own, one that no text holds.
_LINE_END = "\0"
_ENDS = _SENTENCE_END | {_LINE_END}
_MOST_PIECES = 400_000  # different pieces remembered: about 60 MB
_MOST_WORDS = 1_000_000  # different words counted: about 200 MB


def key(token: str) -> str:
    """The form under which a token is looked up: NFC, a straight apostrophe, a plain hyphen, lower case.

    An emoji's wish to be drawn in colour is dropped.
    """
    if token.isascii():
        return token.lower()
    return unicodedata.normalize("NFC", (token.translate(_ONE_FORM) or token).lower())


def composed(text: str) -> str:
    """Text in the form in which its tokens are kept: NFC, without hidden hyphens."""
    text = unicodedata.normalize("NFC", text)
    return text.replace(_HIDDEN, "") if _HIDDEN in text else text


def tokenize(text: str) -> list[str]:
    """Split text into words, numbers and single graphemes of punctuation or emoji; white space and controls go."""
    tokens: list[str] = _TOKEN.findall(composed(text))
    return tokens


def is_word(token: str) -> bool:
    """Whether a token is something one would suggest: a word, a number or an emoji, not punctuation, nothing broken."""
    if token.isalnum() and token.isascii():
        return True  # most are: a start asks of a whole vocabulary
    return _SAYS_SOMETHING.search(token) is not None and token not in (UNK, EOS) and _BROKEN.match(token) is None


def last_word(text: str) -> tuple[str, int] | None:
    """The word that `text` ends in, as typed, and its index in code points; None after white space or punctuation."""
    match = _LAST_WORD.search(text)
    return (match.group(), match.start()) if match else None


@dataclass(frozen=True)
class Vocabulary:
    """The words of a model. Ids are positions in `words`; `shown` holds the form in which a person writes each.

    `unk` and `eos` are the ids of the unknown word and of the end of a line, or None (the lecture's model has neither).
    `capitals` says whether the text begins its sentences with capitals; None where nobody looked.
    """

    words: tuple[str, ...]
    shown: tuple[str, ...]
    unk: int | None = None
    eos: int | None = None
    capitals: bool | None = None

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def is_suggestion(self) -> npt.NDArray[np.bool_]:
        """(V,): which entries may be suggested to a person."""
        return np.array([is_word(word) for word in self.words])

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens; one that is not in the vocabulary becomes `unk`, or is left out where there is none."""
        found = (self.ids.get(key(token), self.unk) for token in tokens)
        return [i for i in found if i is not None]

    def save(self, path: Path) -> None:
        value = {name: getattr(self, name) for name in ("words", "shown", "unk", "eos", "capitals")}
        files.write_bytes(path, json.dumps(value, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote. Raises OSError, KeyError, TypeError, ValueError where that is not what it holds."""
        value = json.loads(path.read_bytes())
        words, shown = tuple(value["words"]), value["shown"]
        if len(words) != len(shown) or {*map(type, words), *map(type, shown)} - {str}:
            raise ValueError("it has no form to show for each word")
        shown = (word if word == form else form for word, form in zip(words, shown, strict=True))  # in memory once
        return cls(words, tuple(shown), value["unk"], value["eos"], value.get("capitals"))


def _pieces(block: str) -> list[str]:
    """The pieces between white space of a block of whole lines, with _LINE_END behind each line."""
    if _LINE_END in block:
        block = block.replace(_LINE_END, " ")  # no token holds one
    return block.replace("\n", f" {_LINE_END} ").split()


def _tokenize_piece(piece: str) -> list[str]:
    """The tokens of a piece, with two short cuts for what most pieces are: a word, and a word with a mark behind it."""
    if piece.isascii():
        if piece.isalnum():
            return [piece]
        if piece[-1] in _MARKS and piece[:-1].isalnum():
            return [piece[:-1], piece[-1]]
    return tokenize(piece)


class WordCounts:
    """How often each word is said, counted block by block in a bounded amount of memory.

    When more than `most` different words have been met, the rarest are forgotten (`forgot` says so): what is kept was
    said far more often than what was lost.
    """

    def __init__(self, most: int = _MOST_WORDS) -> None:
        self.most, self.forgot = most, False
        self._words: Counter[str] = Counter()  # by key, in the order in which they first appear
        self._forms: Counter[str] = Counter()  # tokens as written, away from the start of a sentence
        self._pieces: Counter[str] = Counter()
        self._starts: Counter[str] = Counter()  # of the pieces, those that start a sentence
        self._capitals = 0  # sentences that begin with a capital, less those that begin with a small letter

    def add(self, block: str) -> int:
        """Count a block of whole lines, each with its "\\n". Returns how many words it has, by white space."""
        pieces = _pieces(block)
        self._pieces.update(pieces)
        before = chain((_LINE_END,), pieces)
        self._starts.update([piece for last, piece in pairwise(before) if last[-1] in _ENDS])
        if len(self._pieces) > _MOST_PIECES:
            self._fold()
        return len(pieces) - block.count("\n")

    def vocabulary(self, min_count: int = 1, max_words: int | None = None) -> Vocabulary:
        """The words said at least `min_count` times, the most frequent first, with `<unk>` and `<eos>`."""
        self._fold()
        kept = [word for word, count in self._words.most_common(max_words) if count >= min_count]
        capitals = self._capitals > 0
        return Vocabulary((UNK, EOS, *kept), (UNK, EOS, *self._shown(kept)), unk=0, eos=1, capitals=capitals)

    def common(self, most: int) -> list[tuple[str, int]]:
        """The most common words, no punctuation, as they are shown, with their counts."""
        self._fold()
        # Among that many, enough are words: there is little punctuation to tell apart.
        words = [(word, count) for word, count in self._words.most_common(most + 500) if is_word(word)][:most]
        return list(zip(self._shown([word for word, _ in words]), [count for _, count in words], strict=True))

    def different(self) -> int:
        """How many different words there are, no punctuation."""
        self._fold()
        return sum(map(is_word, self._words))

    def share(self, known: Container[str]) -> float:
        """Which part of what was said, no punctuation, are words of `known`."""
        self._fold()
        said = Counter({word: count for word, count in self._words.items() if is_word(word)})
        return sum(count for word, count in said.items() if word in known) / max(1, said.total())

    def _shown(self, words: list[str]) -> list[str]:
        """As each word is most often written inside a sentence: "the" is no "The", and "God" no "god"."""
        best: dict[str, tuple[str, int]] = dict.fromkeys(words, ("", 0))
        for form, count in self._forms.items():
            word = key(form)
            if word in best and count > best[word][1]:
                best[word] = form, count
        return [best[word][0] or word for word in words]

    def _fold(self) -> None:
        """Cut the pieces counted so far into tokens, each different piece once."""
        del self._pieces[_LINE_END]
        for piece, count in self._pieces.items():
            inside = count - self._starts[piece]
            for token in _tokenize_piece(piece):
                self._words[key(token)] += count
                if inside:
                    self._forms[token] += inside
                inside = 0 if token in _SENTENCE_END else count
        for piece, count in self._starts.items():
            letter = next(filter(str.isalpha, piece), "")
            self._capitals += count * (letter.isupper() - letter.islower())
        self._pieces, self._starts = Counter(), Counter()
        if len(self._words) > self.most:
            self.forgot = True
            self._words = _commonest(self._words, self.most // 2)
        if len(self._forms) > self.most:
            self._forms = _commonest(self._forms, self.most // 2)


def _commonest(counts: Counter[str], most: int) -> Counter[str]:
    """About the `most` largest counts, in the order they were in."""
    least = int(np.partition(np.fromiter(counts.values(), np.int64, len(counts)), -most)[-most])
    return Counter({word: count for word, count in counts.items() if count > least})


def build_vocabulary(lines: Iterable[str], min_count: int = 1, max_words: int | None = None) -> Vocabulary:
    """Count the words of `lines` and keep those said at least `min_count` times, the most frequent first.

    A word is shown as it is most often written inside a sentence, so "the" is not shown as "The", nor "god" for "God".
    """
    counts = WordCounts()
    for line in lines:
        counts.add(f"{line}\n")
    return counts.vocabulary(min_count, max_words)


def plain_vocabulary(lines: Iterable[str]) -> Vocabulary:
    """Exactly the words of `lines`, in order of first appearance, with no `<unk>` and no `<eos>`: the lecture's."""
    words = tuple(dict.fromkeys(key(token) for line in lines for token in tokenize(line)))
    return Vocabulary(words, words)


def split_lines(count: int, share: float = 0.05, least: int = 20) -> npt.NDArray[np.uint8]:
    """Which part each line belongs to: 0 training, 1 validation, 2 test: uint8 (count,), the same for the same count.

    Each held-out part gets about `share` of the lines, at most HELD_OUT_LINES, spread over the text: single lines of a
    short one, neighbours together in a longer one, since what is predicted follows what was just said. A text of fewer
    than `least` lines is too short to hold any out: all of it is for training.
    """
    parts = np.zeros(count, np.uint8)
    if count < least:
        return parts
    random = np.random.RandomState(20140610)  # fixed: versions stay comparable whatever their seed
    part = max(1, min(HELD_OUT_LINES, round(count * share)))
    together = min(HELD_OUT_TOGETHER, part // 20)
    if together < 2:
        order = random.permutation(count)
        parts[order[:part]], parts[order[part : 2 * part]] = 1, 2
        return parts
    # Two different blocks out of each of equal stretches, with no list of all lines.
    edges = np.linspace(0, count, round(part / together) + 1).astype(np.int64)
    slots = np.diff(edges) // together
    first = (random.random_sample(len(slots)) * slots).astype(np.int64)
    apart = 1 + (random.random_sample(len(slots)) * (slots - 1)).astype(np.int64)
    for number, slot in ((1, first), (2, (first + apart) % slots)):
        start = edges[:-1] + slot * together
        parts[(start[:, None] + np.arange(together)).ravel()] = number
    return parts


class Encoder(dict[str, tuple[int, ...]]):
    """Turns blocks of lines into ids; remembers what became of each piece between white space."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.end = () if vocabulary.eos is None else (vocabulary.eos,)
        self[_LINE_END] = self.end

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(self.vocabulary.encode(_tokenize_piece(piece)))
        if len(self) < _MOST_PIECES:
            self[piece] = ids
        return ids

    def encode(self, block: str) -> Ids:
        """The ids of a block of whole lines, each with its "\\n", which becomes `<eos>`: int32 (N,)."""
        return np.fromiter(chain.from_iterable(map(self.__getitem__, _pieces(block))), np.int32)


def encode_lines(lines: Iterable[str], vocabulary: Vocabulary) -> Ids:
    """The ids of all lines, with `<eos>` before, between and after them: int32 (N,)."""
    encoder = Encoder(vocabulary)
    first = np.array(encoder.end, dtype=np.int32)  # every line starts behind an <eos>, the first one too
    return np.concatenate([first, encoder.encode("".join(f"{line}\n" for line in lines))])


def stream_batches(
    ids: Ids, batch_size: int, length: int, start: int = 0
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Cut one long text into `batch_size` parallel streams and read them `length` tokens at a time.

    Yields (inputs, targets), each int64 (B, T), the targets one token ahead; consecutive batches continue each other,
    so that the hidden state can be carried. `start` skips batches (to resume).
    """
    rows = (len(ids) - 1) // batch_size
    if rows < 1:
        return
    inputs = ids[: rows * batch_size].reshape(batch_size, rows)  # views: `ids` may be a file larger than memory
    targets = ids[1 : 1 + rows * batch_size].reshape(batch_size, rows)
    for at in range(start * length, rows, length):
        yield inputs[:, at : at + length].astype(np.int64), targets[:, at : at + length].astype(np.int64)


def batches_per_epoch(count: int, batch_size: int, length: int) -> int:
    """How many batches `stream_batches` gives for `count` ids."""
    return -(-((count - 1) // batch_size) // length)


def line_starts(ids: Ids, eos: int | None, most: int = 128) -> list[tuple[int, int]]:
    """(first, last) of each line in `ids`: the positions of the `<eos>` before and behind it, at most `most` apart."""
    ends = np.flatnonzero(ids == eos).tolist()
    return [(at, min(at + most, end)) for first, end in pairwise(ends) for at in range(first, end, most)]


def line_batches(
    ids: Ids, eos: int | None, batch_size: int, random: np.random.Generator, start: int = 0
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Whole lines in random order, `batch_size` at a time, each from its beginning.

    Yields (inputs, targets), each int64 (B, T), the targets one token ahead; behind the end of a shorter line the
    target is NO_TARGET. `start` skips batches (to resume).
    """
    lines = line_starts(ids, eos)
    order = random.permutation(len(lines)).tolist()
    for at in range(start * batch_size, len(lines), batch_size):
        chosen = [lines[i] for i in order[at : at + batch_size]]
        inputs = np.zeros((len(chosen), max(end - first for first, end in chosen)), np.int64)
        targets = np.full_like(inputs, NO_TARGET)
        for row, (first, end) in enumerate(chosen):
            inputs[row, : end - first] = ids[first:end]
            targets[row, : end - first] = ids[first + 1 : end + 1]
        yield inputs, targets
