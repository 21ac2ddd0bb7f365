"""Users' text files become a data set: told apart by encoding, read line by line, broken lines left out.

Holds about a megabyte of the files at a time, whatever their size. Must not know: HTTP, or tokens' ids.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ml import files
from ml.data import encodings, store
from ml.data.encodings import Encoding
from ml.data.intake import Limits, Rejected, Report, Source
from ml.data.store import DatasetInfo
from ml.data.text import WordCounts

LINE_BYTES = 1_000_000  # a longer line is no line of a text
LINE_CHARACTERS = 10_000  # a longer line is cut where a sentence ends
PREVIEW_LINES = 20
PREVIEW_WORDS = 50

_TOO_LONG = b"\0too long"  # stands for a line that was longer than LINE_BYTES
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s+")


def take_texts(sources: Sequence[Source], into: Path, info: DatasetInfo, limits: Limits) -> tuple[DatasetInfo, Report]:
    """Make the data-set folder `into` of text files, one document a line, with a preview.json.

    The same text in another encoding or with other line ends gives the same `sha256`. Raises Rejected, and leaves
    nothing behind.
    """
    report = Report()
    with files.new_folder(into) as new:
        with (new / "text.txt").open("wb") as file:
            writer = _Writer(file, report)
            told = [writer.take(source, limits, len(sources) > 1) for source in sources]
        report.encoding = ", ".join(dict.fromkeys(e.name for e in told if e is not None)) or None
        writer.explain()
        report.check(limits, "line")
        done = info.model_copy(update={"counts": writer.counts(), "sha256": writer.hash.hexdigest()})
        _write_preview(new, writer.first, writer.words)
        files.write_json(new / "dataset.json", done.model_dump())
    return done, report


def preview(folder: Path) -> None:
    """Write preview.json into the folder of a text data set that has none, such as a built-in one."""
    words, first = WordCounts(), list[str]()
    for lines in store.read_blocks(folder):
        words.add("".join(lines))
        first += [line.rstrip("\n") for line in lines[: PREVIEW_LINES - len(first)]]
    _write_preview(folder, first, words)


def _write_preview(folder: Path, lines: list[str], words: WordCounts) -> None:
    common = [{"word": word, "count": count} for word, count in words.common(PREVIEW_WORDS)]
    files.write_json(folder / "preview.json", {"lines": lines, "common_words": common})


class _Writer:
    """Writes text.txt and remembers what the data set says of itself."""

    def __init__(self, file: IO[bytes], report: Report) -> None:
        self.file, self.report = file, report
        self.hash, self.words = hashlib.sha256(), WordCounts()
        self.first: list[str] = []
        self.n_bytes = self.n_words = 0
        self.cut = 0  # lines that were cut

    def take(self, source: Source, limits: Limits, several: bool) -> Encoding | None:
        """Read one file. Returns its encoding, or None for an empty one. Raises Rejected."""
        with source.path.open("rb") as file:
            head = file.read(encodings.SAMPLE)
        if not head:
            if not several:
                raise Rejected(f"{source.name} is empty; send a text with something in it")
            self.report.notes.append(f"{source.name} is empty and was left out.")
            return None
        kind = encodings.tell_kind(head)
        if kind is not None:
            raise Rejected(
                f"{source.name} is not a plain text but {kind}; save it as text in UTF-8 and send that",
                "unsupported_media_type",
            )
        encoding = encodings.tell_encoding(source.path, limits.skipped)
        if encoding is None:
            raise Rejected(
                f"the encoding of {source.name} cannot be told; save it as UTF-8 and send it again",
                "unsupported_media_type",
            )
        if encoding.detected:
            self.report.notes.append(
                f"{source.name} is not UTF-8; it was detected to be {encoding.name} and read as that. If its words "
                "look wrong, save it as UTF-8 and send it again."
            )
        where = f"{source.name}, line" if several else "line"
        number = 1
        for block in _blocks(_unified(encoding.read(source.path))):
            self._write(self._lines(block, encoding, where, number))
            number += block.count(b"\n")
        return encoding

    def counts(self) -> dict[str, int]:
        return {
            "lines": self.report.kept,
            "words": self.n_words,
            "bytes": self.n_bytes,
            "vocabulary": self.words.different(),
        }

    def explain(self) -> None:
        """Say in the report what else was done to the text."""
        if self.cut:
            lines = "1 line" if self.cut == 1 else f"{self.cut:,} lines"
            self.report.notes.append(
                f"{lines} of more than {LINE_CHARACTERS:,} characters were cut where a sentence or a word ends."
            )
        self.words.different()  # counts what is still open, so that `forgot` is final
        if self.words.forgot:
            self.report.notes.append(
                f"The text has more than {self.words.most:,} different words; the rarest were not counted."
            )

    def _lines(self, block: bytes, encoding: Encoding, where: str, number: int) -> Iterator[str]:
        """The usable lines of a block; the broken ones go to the report."""
        try:
            lines = None if encodings.has_controls(block) else block.decode(encoding.line_codec).split("\n")
        except UnicodeDecodeError:
            lines = None
        for line in lines if lines is not None else self._one_by_one(block, encoding, where, number):
            if len(line) <= LINE_CHARACTERS:
                yield line.strip()
            else:
                self.cut += 1
                yield from cut(line.strip())

    def _one_by_one(self, block: bytes, encoding: Encoding, where: str, number: int) -> Iterator[str]:
        """The lines of a block in which something is broken, one by one."""
        for at, line in enumerate(block.split(b"\n")):
            if line == _TOO_LONG:
                self.report.skip(f"{where} {number + at}", f"longer than {LINE_BYTES:,} bytes")
            elif encodings.has_controls(line):
                self.report.skip(f"{where} {number + at}", "holds bytes that no text has, such as NUL")
            else:
                try:
                    yield line.decode(encoding.line_codec)
                except UnicodeDecodeError:
                    self.report.skip(f"{where} {number + at}", f"cannot be read as {encoding.name}")

    def _write(self, lines: Iterable[str]) -> None:
        kept = [line for line in lines if line]
        text = "".join([f"{line}\n" for line in kept])
        blob = text.encode()
        self.file.write(blob)
        self.hash.update(blob)
        self.n_bytes += len(blob)
        self.n_words += self.words.add(text)
        self.report.kept += len(kept)
        self.first += kept[: PREVIEW_LINES - len(self.first)]


def cut(line: str) -> Iterator[str]:
    """Pieces of at most LINE_CHARACTERS, cut behind the last sentence that fits, or the last word, or anywhere."""
    while len(line) > LINE_CHARACTERS:
        ends = [match.end() for match in _SENTENCE_END.finditer(line, 0, LINE_CHARACTERS)]
        at = ends[-1] if ends else line.rfind(" ", 1, LINE_CHARACTERS + 1)
        at = at if at > 0 else LINE_CHARACTERS
        yield line[:at].rstrip()
        line = line[at:].lstrip()
    yield line


def _unified(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same with LF for every CR LF and lone CR."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""  # the LF may follow
        data = data[: len(data) - len(held)]
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
    if held:
        yield b"\n"


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines; one that is longer than LINE_BYTES becomes _TOO_LONG, and is never held."""
    rest, too_long = b"", False
    for chunk in chunks:
        first, newline, after = chunk.partition(b"\n")
        if not too_long:
            rest += first
            if len(rest) > LINE_BYTES:
                rest, too_long = _TOO_LONG, True
        if newline:
            whole, newline_again, tail = after.rpartition(b"\n")
            yield _shortened(rest + newline + whole + newline_again)
            rest, too_long = tail, False
    if rest:
        yield _shortened(rest)


def _shortened(block: bytes) -> bytes:
    """The block with its lines of more than LINE_BYTES replaced."""
    if len(block) <= LINE_BYTES:
        return block
    return b"\n".join(_TOO_LONG if len(line) > LINE_BYTES else line for line in block.split(b"\n"))
