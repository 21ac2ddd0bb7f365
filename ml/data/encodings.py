"""Which encoding a text file is in: a byte order mark, then UTF-8, then a detector.

Must not know: lines that are kept, or data sets.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
SAMPLE = 64 * 1024  # bytes that the detector looks at

# Bytes that no text holds: the C0 controls that are no white space and no escape, and DEL.
CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\v\f\r\x1b") + b"\x7f"
_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"%PDF-": "a PDF",
    b"\xd0\xcf\x11\xe0": "an office document",
    b"\x1f\x8b": "a gzip archive",
    b"SQLite format 3": "a database",
    b"\x7fELF": "a program",
}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

# What people's texts are in when they are not UTF-8, all of them ASCII below 128 and with no line end inside a
# character. The detector is kept from the rest, which short texts are mistaken for.
_CANDIDATES = [
    *("cp949", "cp932", "euc_jp", "gb18030", "big5"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255"),
]
_HANGUL = re.compile(r"[가-힣]")
_KANA = re.compile(r"[ぁ-ヶ]")
_WORD = re.compile(r"[^\W\d_]+")
_WESTERN_WORD = re.compile(r"(?=.*[A-Za-z])(?!.*[^A-Za-z]{3}).+")
_PRICE = re.compile(r"\d\s?€|€\s?\d")
_ONE_LETTER_WORDS = frozenset("àáâäåæèéêíñóôöøúüÀÁÉÅÆÓÖØÚªºµ")
_SIGNS = frozenset("‘’“”„‚–—…•™\xa0¡¢£§©«°±²³´·»¼½¾¿×")


@dataclass(frozen=True)
class Encoding:
    """`codec` reads the file from byte `start` on; `detected` when nothing in the file says so itself."""

    codec: str
    start: int = 0
    detected: bool = False

    @property
    def name(self) -> str:
        return "utf-16" if self.codec.startswith("utf-16") else self.codec

    @property
    def line_codec(self) -> str:
        """The codec of what `read` gives."""
        return "utf-8" if self.name == "utf-16" else self.codec

    def read(self, path: Path) -> Iterator[bytes]:
        """The file's bytes, a chunk at a time; UTF-16 becomes UTF-8, in which what is broken stays broken."""
        with path.open("rb") as file:
            file.seek(self.start)
            if self.name != "utf-16":
                while chunk := file.read(CHUNK):
                    yield chunk
                return
            decoder = codecs.getincrementaldecoder(self.codec)("surrogatepass")
            while chunk := file.read(CHUNK):
                yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
            if decoder.getstate()[0]:  # half a character at the end
                yield b"\xff"


def tell_kind(head: bytes) -> str | None:
    """What the first bytes of a file say it is when it is no text, in words; None for a text."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "text in UTF-32"
    if head.startswith(tuple(_MARKS)):
        return None
    lines = [line for line in head.splitlines() if line.strip()]
    if sum(has_controls(line) for line in lines) * 2 > len(lines):
        return "binary, or UTF-16 without a byte order mark"
    return None


def has_controls(data: bytes) -> bool:
    return len(data.translate(None, CONTROLS)) != len(data)


def tell_encoding(path: Path, most_broken: float) -> Encoding | None:
    """The encoding of a text file; None when none fits.

    A file is UTF-8 with broken lines when more of its lines beyond ASCII are UTF-8 than are not, or when not more than
    the share `most_broken` of all lines is broken and those are no likely text in another encoding.
    """
    with path.open("rb") as file:
        head = file.read(4)
    for mark, codec in _MARKS.items():
        if head.startswith(mark):
            return Encoding(codec, len(mark))
    good = broken = total = 0
    sample = bytearray()
    for block in _whole_lines(path):
        lines = block.splitlines()
        total += len(lines)
        if block.isascii():
            continue
        whole = _decodes(block, "utf-8")
        for line in lines:
            if line.isascii():
                continue
            if whole or _decodes(line, "utf-8"):
                good += 1
            else:
                broken += 1
                if len(sample) + len(line) < SAMPLE:
                    sample += line + b"\n"
    if good >= broken:
        return Encoding("utf-8")
    few = broken <= most_broken * total
    told = detect(bytes(sample), certain=few)
    if told is not None:
        return Encoding(told, detected=True)
    return Encoding("utf-8") if few else None


def detect(sample: bytes, certain: bool = False) -> str | None:
    """The likely encoding of lines that are no UTF-8; None when none fits, or with `certain` when none surely does."""
    if not sample:
        return None
    # Short texts fit several encodings: which alphabet comes out tells them apart better than letter frequencies.
    lines = sample.splitlines()
    for codec in ("cp949", "cp932", "euc_jp"):
        whole = [line for line in lines if _decodes(line, codec)]
        if len(whole) >= 0.9 * len(lines) and _reads_as_east_asian(b" ".join(whole).decode(codec), codec):
            return codec
    from charset_normalizer import from_bytes  # a fifteenth of what a start imports, and only uploads need it

    matches = from_bytes(sample, cp_isolation=_CANDIDATES)
    if any("cp1252" in (match.encoding, *match.could_be_from_charset) for match in matches) and _reads_as_western(
        sample.decode("cp1252")
    ):
        return "cp1252"
    best = matches.best()
    return None if best is None or certain else best.encoding


def _reads_as_east_asian(said: str, codec: str) -> bool:
    """Whether Korean came out, or Japanese, which is a third kana at least."""
    beyond = [char for char in said if not char.isascii() and char.isalpha()]
    if codec == "cp949":  # Hangul, and of that the 2,350 common syllables; what is no Korean gives the others
        found = sum(_HANGUL.match(char) is not None and _is_common_syllable(char) for char in beyond)
    else:
        found = 3 * sum(_KANA.match(char) is not None for char in beyond)
    return found > 0.7 * len(beyond)


def _reads_as_western(said: str) -> bool:
    """Whether letters beyond ASCII stand in words of ASCII letters, and signs are those that people write."""
    words = [word for word in _WORD.findall(said) if not word.isascii()]
    signs = [char for char in said if not char.isascii() and not char.isalpha()]
    likely = sum(word in _ONE_LETTER_WORDS or _WESTERN_WORD.fullmatch(word) is not None for word in words)
    likely += sum(char in _SIGNS for char in signs) + len(_PRICE.findall(said))
    return likely > 0.9 * (len(words) + len(signs))


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The file in blocks that end where a line does; a line too long for a block is left out."""
    with path.open("rb") as file:
        rest: bytes | None = b""
        while chunk := file.read(CHUNK):
            at = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
            if at:
                # Behind a line that was left out, up to its end.
                yield rest + chunk[:at] if rest is not None else b"\n".join(chunk[:at].splitlines()[1:])
                rest = chunk[at:]
            elif rest is not None:
                rest = rest + chunk if len(rest) < CHUNK else None
        if rest:
            yield rest


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _is_common_syllable(char: str) -> bool:
    """Whether a Hangul syllable is one of the 2,350 of EUC-KR; Python spells the others in eight bytes."""
    return len(char.encode("euc_kr")) == 2
