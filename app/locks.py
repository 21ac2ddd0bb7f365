"""One service and one worker a data folder: file locks, which the kernel lets go however a process ends."""

from pathlib import Path

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


def is_free(data_dir: Path, what: str) -> bool:
    """Whether nobody holds the lock at this moment."""
    try:
        with FileLock(data_dir / f".{what}.lock", timeout=0):
            return True
    except Timeout:
        return False
