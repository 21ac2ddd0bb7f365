"""Where a picture lies among all that a generator can draw: the address of its latent vector z. Pure.

    7           the picture of seed 7
    7~3@0.2     the third neighbour of 7, at distance 0.2 (0: the same picture, 1: one that has nothing to do with it)
    7x12~3      the third child of 7 and 12
    7_12@0.5    half way from 7 to 12

These combine, from left to right; an address on the right of x or _ stands in brackets unless it is a seed:
7~3@0.2~1@0.1 is a neighbour of a neighbour, 7x(12~1@0.2)~3 a child of 7 and a neighbour of 12. An address needs no
escaping in a URL's path or a file's name, and is the same z for years. Every z is one draw of a standard normal when
the seeds are: what is derived is as likely as what was drawn.
"""

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_SEED = 2**32 - 1
MAX_NUMBER = 9999  # of neighbours, and of children
MAX_ADDRESS = 120  # characters
DIGITS = 3  # of a distance or a share, behind the point

Floats = npt.NDArray[np.float64]


def latent(seed: int, size: int, truncation: float = 1.0) -> npt.NDArray[np.float32]:
    """z of (size,) from a standard normal, drawn from `seed` alone and scaled by `truncation`.

    RandomState, because its stream is frozen by NumPy's policy: a seed is the same picture for years.
    """
    return truncated(Seed(seed).z(size), truncation)


def truncated(z: Floats, truncation: float) -> npt.NDArray[np.float32]:
    """z scaled towards the mean, which is 0, as Karras et al. 2019 (arXiv:1812.04948) do to their styles.

    Below 1 pictures are nearer to the average one and less varied. The truncation of Brock et al. 2019
    (arXiv:1809.11096) draws large values again instead, which would make another picture of a seed.
    """
    return (truncation * z).astype(np.float32)


def slerp(start: Floats, end: Floats, share: float) -> Floats:
    """The point at `share` of the way from `start` to `end` along a great circle (Shoemake 1985).

    A straight line would lead through vectors too short for a normal of many dimensions, which no generator was trained
    on (White 2016, arXiv:1609.04468). Vectors with no great circle, or no one, between them are joined by a line.
    """
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end / lengths, -1, 1)) if lengths else 0.0
    if np.sin(angle) < 1e-6:
        return (1 - share) * start + share * end
    out: Floats = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return out


class Latent(ABC):
    """One point, whatever the size of z; its `str` is its address, by which two are the same."""

    @abstractmethod
    def z(self, size: int) -> Floats:
        """(size,), before truncation."""

    @abstractmethod
    def label(self, count: int) -> int:
        """Which of `count` classes it is of when nobody says."""


@dataclass(frozen=True)
class Seed(Latent):
    number: int

    def __str__(self) -> str:
        return str(self.number)

    def z(self, size: int) -> Floats:
        return _seeded(self.number).standard_normal(size)

    def label(self, count: int) -> int:
        return _hashed(f"label {self}", count)


@dataclass(frozen=True)
class Neighbour(Latent):
    """Turned by `distance` of a right angle in a direction that base and number alone decide."""

    base: Latent
    number: int
    distance: float  # 0 to 1

    def __str__(self) -> str:
        return f"{self._direction}@{self.distance:g}"

    @property
    def _direction(self) -> str:
        return f"{self.base}~{self.number}"

    def z(self, size: int) -> Floats:
        angle = self.distance * np.pi / 2
        other = _stream(self._direction).standard_normal(size)
        out: Floats = np.cos(angle) * self.base.z(size) + np.sin(angle) * other
        return out

    def label(self, count: int) -> int:
        return self.base.label(count)


@dataclass(frozen=True)
class Child(Latent):
    """Each element of z from one parent or the other (uniform crossover, Syswerda 1989)."""

    mother: Latent
    father: Latent
    number: int

    def __str__(self) -> str:
        return f"{self.mother}x{_bracketed(self.father)}~{self.number}"

    def z(self, size: int) -> Floats:
        coins = _stream(str(self)).random_sample(size)
        return np.where(coins < 0.5, self.mother.z(size), self.father.z(size))

    def label(self, count: int) -> int:
        return (self.mother, self.father)[_hashed(f"label {self}", 2)].label(count)


@dataclass(frozen=True)
class Between(Latent):
    start: Latent
    end: Latent
    share: float  # 0 to 1

    def __str__(self) -> str:
        return f"{self.start}_{_bracketed(self.end)}@{self.share:g}"

    def z(self, size: int) -> Floats:
        return slerp(self.start.z(size), self.end.z(size), self.share)

    def label(self, count: int) -> int:
        return (self.start if self.share < 0.5 else self.end).label(count)


def walk(points: Sequence[Latent], frames: int, loop: bool) -> list[Latent]:
    """`frames` points at equal steps from the first of `points` through all of them to the last.

    With `loop` the way leads on from the last to the first, and ends one step before it.
    """
    stops = [*points, points[0]] if loop else list(points)
    legs, steps = len(stops) - 1, frames if loop else frames - 1
    out: list[Latent] = []
    for frame in range(frames):
        leg, rest = divmod(frame * legs, steps)
        share = round(rest / steps, DIGITS)
        if share in (0, 1):
            out.append(stops[leg + int(share)])
        else:
            out.append(Between(stops[leg], stops[leg + 1], share))
    return out


def parse(address: str | int) -> Latent:
    """The latent of an address, or of a seed. Raises ValueError saying how an address is written."""
    text = str(address)
    if len(text) > MAX_ADDRESS:
        raise ValueError(f"an address has at most {MAX_ADDRESS} characters; go on from a picture that is nearer a seed")
    reader = _Reader(text)
    point = reader.point()
    if reader.rest:
        raise reader.error()
    return point


class _Reader:
    """Recursive descent; MAX_ADDRESS bounds how deep."""

    def __init__(self, text: str) -> None:
        self.text = self.rest = text

    def point(self) -> Latent:
        point = self._atom()
        while operator := self._take("[~x_]", needed=False):
            other = point if operator == "~" else self._atom()
            if operator == "_":
                point = Between(point, other, self._fraction(0))
                continue
            if operator == "x":
                self._take("~")
            number = int(self._take("[0-9]{1,4}"))
            if number < 1:
                raise ValueError(f"{self.text!r}: neighbours and children are numbered from 1")
            point = Child(point, other, number) if operator == "x" else Neighbour(point, number, self._fraction(0.001))
        return point

    def _atom(self) -> Latent:
        if self._take(r"\(", needed=False):
            inner = self.point()
            self._take(r"\)")
            return inner
        number = int(self._take("[0-9]{1,20}"))
        if number > MAX_SEED:
            raise ValueError(f"{number} is no seed; seeds are 0 to {MAX_SEED}")
        return Seed(number)

    def _fraction(self, least: float) -> float:
        self._take("@")
        value = float(self._take(rf"[0-9](?:\.[0-9]{{1,{DIGITS}}})?"))
        if not least <= value <= 1:
            raise ValueError(f"{self.text!r}: what follows @ is from {least:g} to 1")
        return value

    def _take(self, pattern: str, needed: bool = True) -> str:
        found = re.match(pattern, self.rest)
        if found is None:
            if needed:
                raise self.error()
            return ""
        self.rest = self.rest[found.end() :]
        return found.group()

    def error(self) -> ValueError:
        return ValueError(
            f"{self.text!r} is no picture's address; write a seed (7), a neighbour of one (7~3@0.2), "
            f"a child of two (7x12~3), or a point between two (7_12@0.5)"
        )


def _bracketed(point: Latent) -> str:
    return str(point) if isinstance(point, Seed) else f"({point})"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class _Own(threading.local):
    def __init__(self) -> None:
        self.stream = np.random.RandomState()


_own = _Own()


def _seeded(seed: int | npt.NDArray[np.uint32]) -> np.random.RandomState:
    """This thread's stream, from its beginning. Making another would first gather entropy that the seed then replaces:
    more time than a small picture takes to draw."""
    _own.stream.seed(seed)
    return _own.stream


def _stream(text: str) -> np.random.RandomState:
    return _seeded(np.frombuffer(_digest(text), dtype="<u4").astype(np.uint32))


def _hashed(text: str, count: int) -> int:
    return int.from_bytes(_digest(text)[:8], "big") % count
