"""Text as tokens and ids: the tokenizer and vocabulary shared by training and serving, and the split of a corpus.

Must not know: networks, or where a text came from.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex

from ml import files

Ids = npt.NDArray[np.int32]  # (N,)

_LETTERS = r"[\p{L}\p{M}\p{N}_]"
# A word may hold apostrophes, hyphens and joiners between letters; anything else visible is one grapheme, so a
# family emoji or a flag stays whole.
_WORD = rf"{_LETTERS}+(?:['’\-\u200c\u200d]{_LETTERS}+)*"
_TOKEN = regex.compile(rf"{_WORD}|(?![\s\p{{C}}])\X")
_LAST_WORD = regex.compile(rf"(?r){_WORD}\Z")  # searched from the end: forwards, a long word costs its square
_SAYS_SOMETHING = regex.compile(r"[\p{L}\p{N}\p{Extended_Pictographic}]")
_SENTENCE_END = frozenset(".!?")

UNK, EOS = "<unk>", "<eos>"


def key(token: str) -> str:
    """The form under which a token is looked up: NFC, a straight apostrophe, lower case."""
    return unicodedata.normalize("NFC", token.replace("’", "'")).lower()


def tokenize(text: str) -> list[str]:
    """Split text into words, numbers and single graphemes of punctuation or emoji; white space and controls go."""
    tokens: list[str] = _TOKEN.findall(unicodedata.normalize("NFC", text))
    return tokens


def is_word(token: str) -> bool:
    """Whether a token is something one would suggest: a word, a number or an emoji, not punctuation."""
    return _SAYS_SOMETHING.search(token) is not None and token not in (UNK, EOS)


def last_word(text: str) -> tuple[str, int] | None:
    """The word that `text` ends in, as typed, and its index in code points; None after white space or punctuation."""
    match = _LAST_WORD.search(text)
    return (match.group(), match.start()) if match else None


@dataclass(frozen=True)
class Vocabulary:
    """The words of a model. Ids are positions in `words`; `shown` holds the form in which a person writes each.

    `unk` and `eos` are the ids of the unknown word and of the end of a line, or None (the lecture's model has neither).
    """

    words: tuple[str, ...]
    shown: tuple[str, ...]
    unk: int | None = None
    eos: int | None = None

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
        value = {"words": self.words, "shown": self.shown, "unk": self.unk, "eos": self.eos}
        files.write_bytes(path, json.dumps(value, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        value = json.loads(path.read_bytes())
        return cls(tuple(value["words"]), tuple(value["shown"]), value["unk"], value["eos"])


def build_vocabulary(lines: Iterable[str], min_count: int = 1, max_words: int | None = None) -> Vocabulary:
    """Count the words of `lines` and keep those said at least `min_count` times, the most frequent first.

    A word is shown as it is most often written inside a sentence, so "the" is not shown as "The", nor "god" for "God".
    """
    counts: Counter[str] = Counter()
    inside: dict[str, Counter[str]] = {}  # written forms, away from the start of a sentence
    for line in lines:
        starts = True
        for token in tokenize(line):
            word = key(token)
            counts[word] += 1
            if not starts and token != word:
                inside.setdefault(word, Counter())[token] += 1
            elif not starts:
                inside.setdefault(word, Counter())[word] += 1
            starts = token in _SENTENCE_END
    kept = [word for word, count in counts.most_common(max_words) if count >= min_count]
    shown = [inside[word].most_common(1)[0][0] if word in inside else word for word in kept]
    return Vocabulary((UNK, EOS, *kept), (UNK, EOS, *shown), unk=0, eos=1)


def plain_vocabulary(lines: Iterable[str]) -> Vocabulary:
    """Exactly the words of `lines`, in order of first appearance, with no `<unk>` and no `<eos>`: the lecture's."""
    words = tuple(dict.fromkeys(key(token) for line in lines for token in tokenize(line)))
    return Vocabulary(words, words)


def split_lines(count: int, share: float = 0.05, least: int = 20) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Numbers of the lines for training, validation and test: spread over the text, the same for the same count.

    Each held-out part gets `share` of the lines. A text of fewer than `least` lines is too short to hold any out:
    both parts are empty.
    """
    if count < least:
        return range(count), (), ()
    order = np.random.RandomState(20140610).permutation(count)  # fixed: versions stay comparable whatever their seed
    part = max(1, round(count * share))
    return np.sort(order[2 * part :]).tolist(), np.sort(order[:part]).tolist(), np.sort(order[part : 2 * part]).tolist()


def encode_lines(lines: Iterable[str], vocabulary: Vocabulary) -> Ids:
    """The ids of all lines, with `<eos>` before, between and after them: int32 (N,)."""
    end = [] if vocabulary.eos is None else [vocabulary.eos]
    chunks = [np.array(end, dtype=np.int32)]  # every line starts behind an <eos>, the first one too
    chunks += [np.array(vocabulary.encode(tokenize(line)) + end, dtype=np.int32) for line in lines]
    return np.concatenate(chunks)


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
    inputs = ids[: rows * batch_size].reshape(batch_size, rows).astype(np.int64)
    targets = ids[1 : 1 + rows * batch_size].reshape(batch_size, rows).astype(np.int64)
    for at in range(start * length, rows, length):
        yield inputs[:, at : at + length], targets[:, at : at + length]


def batches_per_epoch(count: int, batch_size: int, length: int) -> int:
    """How many batches `stream_batches` gives for `count` ids."""
    return -(-((count - 1) // batch_size) // length)
