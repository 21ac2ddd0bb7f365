"""A caller's text as a model hears it: ids with <eos> between the lines, and the words it does not know.

A text comes again and again while it is typed, so what became of its pieces between white space, over which no token
reaches, is remembered. Must not know: networks.
"""

from typing import NamedTuple

from ml.data import text
from ml.data.text import Vocabulary

MOST_PIECES = 20_000  # remembered, of MOST_LETTERS each: a few megabytes
MOST_LETTERS = 40


class _Piece(NamedTuple):
    ids: tuple[int, ...]
    tokens: int
    unknown: tuple[str | None, ...]  # one a token: a word that is not in the vocabulary; empty where there is none


class _Pieces(dict[str, _Piece]):
    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, piece: str) -> _Piece:
        tokens, ids = text.tokenize(piece), self._vocabulary.ids
        unknown = tuple(t if text.key(t) not in ids and text.is_word(t) else None for t in tokens)
        made = _Piece(tuple(self._vocabulary.encode(tokens)), len(tokens), unknown if any(unknown) else ())
        if len(piece) <= MOST_LETTERS:
            if len(self) >= MOST_PIECES:
                self.clear()
            self[piece] = made
        return made


class Hearing:
    """Texts in the ids of `vocabulary`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._eos, self._pieces = vocabulary.eos, _Pieces(vocabulary)

    def ids(self, said: str) -> list[int]:
        """A text as ids, with <eos> between its lines, as the training part has it."""
        ids, pieces = list[int](), self._pieces
        for line in said.split("\n") if "\n" in said else (said,):
            if ids and ids[-1] != self._eos and self._eos is not None:
                ids.append(self._eos)
            ids += [i for piece in line.split() for i in pieces[piece].ids]
        return ids

    def unknown(self, said: str, most: int) -> list[str]:
        """Of the last `most` tokens the words that the vocabulary does not have, each once."""
        found, left = list[str](), most
        for each in reversed(said.split()):
            piece = self._pieces[each]
            if piece.unknown:
                found += [word for word in reversed(piece.unknown[-left:]) if word is not None]
            left -= piece.tokens
            if left <= 0:
                break
        return list(dict.fromkeys(reversed(found)))
