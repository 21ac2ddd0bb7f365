"""The lines that a text model learned from, kept beside it: what answers "where does this word come from".

One compressed file of lines, each behind its number in the data set. Must not know: models, probabilities.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ml.data import text

MOST_BYTES = 16_000_000  # of a text, compressed to about a third; a larger one is not kept
LEVEL = 6


class Sources:
    """Writes numbered lines to a file as they come; a text that grows too long leaves none. Use as a context."""

    def __init__(self, path: Path) -> None:
        self.path, self._file, self._packer, self._bytes = path, path.open("wb"), zlib.compressobj(LEVEL), 0

    def add(self, number: int, line: str) -> None:
        if self._bytes <= MOST_BYTES:
            data = f"{number}\t{line.rstrip(chr(10))}\n".encode("utf-8", "replace")
            self._bytes += len(data)
            self._file.write(self._packer.compress(data))

    def __enter__(self) -> "Sources":
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.write(self._packer.flush())
        if self._bytes > MOST_BYTES:
            self.path.unlink()


def find(path: Path, words: Sequence[str | None], first: bool, most: int = 3) -> list[tuple[int, str]]:
    """Lines in which `words` follow each other, with their numbers from 1, `most` of them at most.

    Words in the form of `text.key`; None stands for any. `first`: only at the beginning of a line.
    """
    found: list[tuple[int, str]] = []
    wanted = [word for word in words if word is not None]
    for number, line in _lines(path):
        folded = text.key(line)
        if all(word in folded for word in wanted) and _holds(line, words, first):
            found.append((number, line))
            if len(found) == most:
                break
    return found


def _holds(line: str, words: Sequence[str | None], first: bool) -> bool:
    tokens = [text.key(token) for token in text.tokenize(line)]
    starts: Iterable[int] = range(1 if first else len(tokens) - len(words) + 1)
    return any(
        len(tokens) - at >= len(words)
        and all(word is None or word == token for word, token in zip(words, tokens[at:], strict=False))
        for at in starts
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    content = zlib.decompressobj().decompress(path.read_bytes(), 2 * MOST_BYTES)  # whatever the file says of itself
    for line in content.decode("utf-8", "replace").split("\n")[:-1]:
        number, _, said = line.partition("\t")
        if number.isdecimal():
            yield int(number), said
