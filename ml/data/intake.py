"""What reading a user's files may give: how much is allowed, what was found, why it was refused.

Shared by the readers of texts and of pictures. Must not know: HTTP, or where the files came from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from ml.data.store import DatasetError

SHOWN = 100  # skipped lines or pictures that are named one by one; the rest is counted

Refusal = Literal["too_large", "unsupported_media_type", "invalid"]


class Rejected(DatasetError):
    """The files cannot become a data set; `code` says which kind of error it is (413, 415 or 422 over HTTP)."""

    def __init__(self, message: str, code: Refusal = "invalid") -> None:
        super().__init__(message)
        self.code: Refusal = code


class Limits(BaseModel):
    """What is taken in at most."""

    files: int = 100_000  # pictures, those inside a ZIP included
    picture_pixels: int = 50_000_000
    unpacked_bytes: int = 8 * 1024**3
    skipped: float = 0.1  # share of lines or pictures that may be broken


def shown(name: str, most: int = 100) -> str:
    """A file's name as it may be shown: one printable line of at most `most` characters, its end kept."""
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    return plain if len(plain) <= most else f"{plain[: most // 2 - 1]}…{plain[-(most // 2) :]}"


class Skipped(BaseModel):
    """One broken line or picture that was left out."""

    where: str  # "line 17", "notes.txt, line 17", or a picture's name
    reason: str


class Report(BaseModel):
    """What reading the files found; shown with the data set for as long as it exists."""

    kept: int = 0  # lines or pictures
    skipped_count: int = 0
    skipped: list[Skipped] = []  # the first SHOWN of them
    encoding: str | None = None  # of a text, e.g. "utf-8", "utf-16", "cp949"
    notes: list[str] = []  # sentences: how the encoding was told, lines that were cut, pictures that were reduced

    def skip(self, where: str, reason: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < SHOWN:
            self.skipped.append(Skipped(where=where, reason=reason))

    def check(self, limits: Limits, what: str) -> None:
        """Raises Rejected when nothing was kept, or more was broken than `limits.skipped` allows."""
        total = self.kept + self.skipped_count
        first = f"; the first: {self.skipped[0].where}: {self.skipped[0].reason}" if self.skipped else ""
        if self.kept == 0:
            raise Rejected(f"there is no usable {what} in it{first}")
        if self.skipped_count > limits.skipped * total:
            raise Rejected(
                f"{self.skipped_count:,} of {total:,} {what}s are broken, more than the {limits.skipped:.0%} that may "
                f"be left out{first}"
            )


@dataclass(frozen=True)
class Source:
    """One file as it came: the name it had with the user, and where it lies now."""

    name: str
    path: Path
