"""One service and one worker a data folder: file locks, which the kernel lets go however a process ends."""

import fcntl
import time
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from app.core.errors import StartError

WAIT_SECONDS = 10.0


def hold(data_dir: Path, what: str, wait: float = WAIT_SECONDS) -> FileLock:
    """Take the lock of `what` ("service" or "worker") until the process ends. Raises StartError after `wait`."""
    lock = FileLock(data_dir / f".{what}.lock")
    try:
        lock.acquire(timeout=wait, poll_interval=0.1)
    except Timeout:
        raise StartError(
            f"another {what} uses {data_dir}; stop it, or set INKLING_DATA_DIR to another folder"
        ) from None
    return lock


def share(data_dir: Path, what: str, wait: float = WAIT_SECONDS) -> IO[bytes]:
    """Take the lock of `what` together with others that share it, until the file is closed. Raises StartError."""
    file = (data_dir / f".{what}.lock").open("ab")
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # filelock, which asks for the same one, knows no sharing
        except BlockingIOError:
            if time.monotonic() > until:
                file.close()
                raise StartError(
                    f"a {what} that does not share uses {data_dir}; stop it, or start it with --share too"
                ) from None
            time.sleep(0.1)
        else:
            return file


def is_free(data_dir: Path, what: str) -> bool:
    """Whether nobody holds the lock at this moment."""
    try:
        with FileLock(data_dir / f".{what}.lock", timeout=0):
            return True
    except Timeout:
        return False
