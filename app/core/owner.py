"""Which process half-done work belongs to, and whether that process still lives: a locked file, which the kernel lets
go however the process ends. Must not know: what the work is.
"""

import secrets
import threading
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout

State = Literal["alive", "dead", "unknown"]


class Identity(Protocol):
    """This process among those that share something: a folder (`Owner`), or a database (`app.core.fleet`)."""

    @property
    def token(self) -> str:
        """This process's name, to mark its half-done work with."""

    @property
    def used(self) -> bool:
        """Whether anybody asked for it."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that sees to what the dead left."""

    def state(self, token: str) -> State:
        """Whether the process of this token lives. Unknown: it ended well, or it runs on another data folder."""

    def sweep(self) -> None:
        """Forget the dead; whatever they left must have been dealt with."""

    def close(self) -> None: ...


class Owner:
    """This process among those that share the data folder. It counts as alive from its first `token` to `close()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._token = secrets.token_hex(8)
        self._lock = FileLock(self._file(self._token), thread_local=False)
        self._guard = threading.Lock()

    @property
    def token(self) -> str:
        """This process's name, to mark its half-done work with."""
        with self._guard:
            if not self._lock.is_locked:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
        return self._token

    @property
    def used(self) -> bool:
        return self._lock.is_locked

    @property
    def leads(self) -> bool:
        return True

    def state(self, token: str) -> State:
        """Whether the process of this token lives. Unknown: it ended well, or it runs on another data folder."""
        lock = FileLock(self._file(token), thread_local=False)
        if not Path(lock.lock_file).exists():
            return "unknown"
        try:
            with lock.acquire(timeout=0):
                return "dead"
        except Timeout:
            return "alive"

    def sweep(self) -> None:
        """Forget the dead; whatever they left must have been dealt with."""
        for file in self.folder.glob("*.lock"):
            if self.state(file.stem) == "dead":
                file.unlink(missing_ok=True)

    def close(self) -> None:
        with self._guard:
            if self._lock.is_locked:
                self._file(self._token).unlink(missing_ok=True)
                self._lock.release()

    def _file(self, token: str) -> Path:
        return self.folder / f"{token}.lock"
