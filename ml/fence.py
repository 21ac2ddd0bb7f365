"""Who may write into a run's folder where several machines could: the newest attempt alone.

    attempts/current.json   {"token": …, "order": …}: the attempt that may write, and what it is to do; by its starter
    attempts/TOKEN.json     {"beat": 12, "code": null}: that it lives, every BEAT_SECONDS; how it ended; by itself

A lock would not do: not every network file system carries one, and some keep a dead machine's for minutes. So an
attempt looks, before everything that it publishes, whether it is still the one; if not, its process ends on the spot.
Whoever starts the next one waits until the last one's beat stands still. What is left is the moment between that look
and a rename, and in it a process can only be too late if it was frozen there for as long as the others waited.

Must not know: what a run does, or who starts it.
"""

import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

BEAT_SECONDS = 1.0
STALE_SECONDS = 20.0  # a beat that stands still for this long was the last
GIVE_UP_SECONDS = 10.0  # an attempt that cannot say that it lives ends well before others think it dead
SUPERSEDED = 77  # the exit code of an attempt that may not write any more

Order = Literal["run", "stop", "end"]  # stop: write a checkpoint and end, as by SIGTERM; end: on the spot


@dataclass(frozen=True)
class Current:
    """The attempt that may write."""

    token: str
    order: Order


@dataclass(frozen=True)
class Sign:
    """An attempt's sign of life: `beat` counts up while it lives; `code` is its exit code, once it has ended."""

    beat: int
    code: int | None


# -- the starter's side ------------------------------------------------------------------------------------------------


def allow(run_dir: Path, token: str) -> None:
    """Let the attempt of this name write, and no other from here on. Raises OSError."""
    folder = _folder(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "current.json", {"token": token, "order": "run"})
    for sign in folder.glob("*.json"):
        if sign.name not in ("current.json", f"{token}.json"):
            sign.unlink(missing_ok=True)


def tell(run_dir: Path, order: Order) -> None:
    """Tell the current attempt, if there is one, what to do. Raises OSError."""
    now = current(run_dir)
    if now is not None:
        _write(_folder(run_dir) / "current.json", {"token": now.token, "order": order})


def current(run_dir: Path) -> Current | None:
    """None: nobody was ever named. Raises OSError."""
    value = _read(_folder(run_dir) / "current.json")
    if value is None:
        return None
    return Current(str(value["token"]), value["order"] if value["order"] in get_args(Order) else "end")  # type: ignore[arg-type]


def sign_of(run_dir: Path, token: str) -> Sign | None:
    """None: it has not begun, or left nothing. Raises OSError."""
    value = _read(_folder(run_dir) / f"{token}.json")
    if value is None:
        return None
    code = value["code"]
    return Sign(int(str(value["beat"])), None if code is None else int(str(code)))


# -- the attempt's side ------------------------------------------------------------------------------------------------


class Fence:
    """This process as the attempt `token`. It beats from `start()` to `end()`."""

    def __init__(self, run_dir: Path, token: str) -> None:
        self.run_dir, self.token = run_dir, token
        self._file = _folder(run_dir) / f"{token}.json"
        self._beat = 0
        self._beaten = time.monotonic()
        self._stopped = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fence", daemon=True)

    def start(self) -> None:
        """Raises OSError; ends the process if another attempt is the one."""
        self.check()
        self._say(None)
        self._thread.start()

    def check(self) -> None:
        """End the process if it may not write any more. Raises OSError where that cannot be seen."""
        now = current(self.run_dir)
        if now is None or now.token != self.token or now.order == "end":
            self._give_up("another attempt has taken its place, or it was told to end")

    def end(self, code: int) -> None:
        """Say how it ended; the next one need not wait then. Never raises."""
        self._over.set()
        self._thread.join()
        try:
            self.check()
            self._say(code)
        except OSError as error:
            print(f"the end of {self.token} cannot be told: {error}", flush=True)

    def _run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self.check()
                self._say(None)
                if not self._stopped and current(self.run_dir) == Current(self.token, "stop"):
                    self._stopped = True
                    os.kill(os.getpid(), signal.SIGTERM)
            except OSError:
                if time.monotonic() - self._beaten > GIVE_UP_SECONDS:
                    self._give_up("it cannot say that it lives")

    def _give_up(self, why: str) -> None:
        os.write(2, f"{self.token} ends: {why}\n".encode())
        os._exit(SUPERSEDED)  # nothing is cleaned up: that would be writing too

    def _say(self, code: int | None) -> None:
        self._beat += 1
        _write(self._file, {"beat": self._beat, "code": code})
        self._beaten = time.monotonic()


_held: Fence | None = None


def hold(run_dir: Path, token: str) -> None:
    """Be the attempt `token` from here on: see `Fence.start`."""
    global _held
    _held = Fence(run_dir, token)
    _held.start()


def check() -> None:
    """Before anything is published: end the process if it may not, where it is an attempt at all. Raises OSError."""
    if _held is not None:
        _held.check()


def let_go(code: int) -> None:
    """Say that this process ends with `code`, where it is an attempt at all. Never raises."""
    global _held
    if _held is not None:
        _held.end(code)
        _held = None


# -- files -------------------------------------------------------------------------------------------------------------


def _folder(run_dir: Path) -> Path:
    return run_dir / "attempts"


def _read(file: Path) -> dict[str, object] | None:
    try:
        value: dict[str, object] = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):  # not there, or emptied by a power cut of whoever holds the files
        return None
    return value


def _write(file: Path, value: dict[str, object]) -> None:
    """Whole or not at all; not to survive a power cut, after which nobody beats anyway."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(json.dumps(value).encode())
    temporary.replace(file)
