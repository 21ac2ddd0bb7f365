"""Phrases that a person taught a model: when two are the same, and the file by which they join a training.

A run's folder and its prepared data hold them in LEARNED; whoever prepares a text adds their lines to the training part
alone. Must not know: how a model answers with them, or where the service keeps them.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ml import files
from ml.data import text

LEARNED = "learned.json"


def token_lines(phrase: str) -> Iterator[list[str]]:
    """The tokens of each line of a phrase that has any."""
    return filter(None, map(text.tokenize, phrase.splitlines()))


def phrase_key(phrase: str) -> str:
    """What equal phrases have in common: their words in the form of `text.key`. Empty when there is no word."""
    lines = [" ".join(map(text.key, tokens)) for tokens in token_lines(phrase)]
    return "\n".join(lines) if any(map(text.is_word, text.tokenize(phrase))) else ""


def phrase_hash(key: str) -> str:
    """SHA-256 of a phrase's key, by which a version's card says that it was trained with it."""
    return hashlib.sha256(key.encode()).hexdigest()


def write(path: Path, phrases: Sequence[str]) -> None:
    """Write the file of a run's phrases; without any there is none."""
    if not phrases:
        path.unlink(missing_ok=True)
        return
    files.write_json(path, [{"sha256": phrase_hash(phrase_key(each)), "text": each} for each in phrases])


def keep(path: Path, folder: Path) -> None:
    """Keep a run's phrases, where it has any, with the data that is prepared in `folder`."""
    if path.exists():
        shutil.copyfile(path, folder / LEARNED)


def lines(folder: Path) -> list[str]:
    """The lines that join the training part; none where `folder` keeps no phrases."""
    return [line for entry in _read(folder) for line in entry["text"].splitlines() if line.strip()]


def hashes(folder: Path) -> list[str]:
    return [entry["sha256"] for entry in _read(folder)]


def _read(folder: Path) -> list[dict[str, str]]:
    try:
        found: list[dict[str, str]] = json.loads((folder / LEARNED).read_bytes())
    except FileNotFoundError:
        return []
    return found
