"""The volume's room: what is free, what is used for what, and when new work is refused.

Work that is refused in time breaks nothing. A volume that fills up stops everything: the database cannot commit, a
running training cannot write its checkpoint. Must not know: what the folders hold.
"""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import NamedTuple

from app.core.errors import VolumeFull

MEASURED_EVERY = 60.0  # seconds, at most: it looks at every file


class Room(NamedTuple):
    """Of the volume that holds the data folder, in bytes."""

    size: int
    free: int


class Disk:
    """The volume of the data folder; `least` bytes of it are kept free of new work."""

    def __init__(self, folder: Path, least: int = 0) -> None:
        self.folder, self.least = folder, least
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._measured: float | None = None

    def room(self) -> Room:
        """One system call."""
        found = shutil.disk_usage(self.folder)
        return Room(found.total, found.free)

    def is_low(self) -> bool:
        return self.least > 0 and self.room().free < self.least

    def require(self, coming: int = 0) -> None:
        """Raises VolumeFull where `coming` bytes more would leave less than `least`."""
        if self.least and (free := self.room().free) - coming < self.least:
            needed = f" and {mb(coming)} would come" if coming else ""
            raise VolumeFull(
                f"{mb(free)} of the data folder's volume are free{needed}, and {mb(self.least)} are kept for what runs "
                "(INKLING_MIN_FREE_BYTES); delete data sets or old versions, or make the volume larger"
            )

    def used(self) -> dict[str, int]:
        """Bytes by what stands in the data folder (its folders, and `database`), not older than MEASURED_EVERY."""
        with self._lock:
            if self._measured is None or time.monotonic() - self._measured >= MEASURED_EVERY:
                self._used = self._measure()
                self._measured = time.monotonic()
            return self._used

    def _measure(self) -> dict[str, int]:
        seen: set[tuple[int, int]] = set()  # a finished run and its version may be the same files
        used = {"database": 0}
        for entry in os.scandir(self.folder):
            if entry.is_dir(follow_symlinks=False):
                used[entry.name] = sum(_bytes(Path(entry.path), seen))
            elif entry.name.startswith("inkling.db"):
                used["database"] += entry.stat().st_size
        return {name: size for name, size in used.items() if not name.startswith(".")}


def _bytes(folder: Path, seen: set[tuple[int, int]]) -> list[int]:
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except OSError:  # it went meanwhile
                continue
            key = (found.st_dev, found.st_ino)
            if found.st_nlink == 1 or key not in seen:
                seen.add(key)
                sizes.append(found.st_blocks * 512)
    return sizes


def mb(size: int) -> str:
    """12,345,678 -> '12.3 MB'."""
    return f"{size / 1e6:,.1f} MB"
