"""Users' files are read in a process of its own, `python -m ml.ingest FOLDER`: whatever they do to it, the service
goes on. Must not know: where the files came from, or what becomes of the data set.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.errors import Conflict, Crashed, Invalid, NotReady, ServiceError, TooLarge, UnsupportedMedia, VolumeFull
from app.core.uploads import Part
from ml import files
from ml.data.intake import Limits, Report
from ml.data.store import Pictures
from ml.process import memory_kills

log = logging.getLogger(__name__)

INGEST = (sys.executable, "-m", "ml.ingest")
REFUSED = 65  # its exit code when the files are to blame: refused.json says why
REFUSALS: dict[str, type[ServiceError]] = {
    "too_large": TooLarge,
    "unsupported_media_type": UnsupportedMedia,
    "invalid": Invalid,
    "volume_full": VolumeFull,
    "out_of_memory": TooLarge,
}


class Reader:
    """Runs the process that reads files. It dies with this one, and ends when `stopping` is set."""

    def __init__(self, limits: Limits, command: Sequence[str] = INGEST) -> None:
        self.limits, self.command = limits, command
        self.stopping = threading.Event()

    def read(self, folder: Path, parts: Sequence[Part], info: dict[str, str]) -> Report:
        """Make the data set FOLDER/dataset of `parts`. Raises what the refusal says, Crashed, or NotReady."""
        self._want(folder, parts, info)
        self._run(folder, str(folder))
        return Report.model_validate_json((folder / "report.json").read_bytes())

    def picture(self, folder: Path, part: Part) -> Pictures:
        """One picture as pixels (H, W, C), reduced to what a data set would keep. Raises as `read` does."""
        self._want(folder, [part], {})
        self._run(folder, str(folder), "--picture")
        pixels: Pictures = np.load(folder / "picture.npy", allow_pickle=False)
        return pixels

    def builtin(self, name: str, folder: Path, scratch: Path) -> None:
        """Make a built-in data set at `folder`, with its preview, unless it is there. Raises Conflict saying what it
        lacks, VolumeFull, Crashed, or NotReady."""
        try:
            self._run(scratch, "--builtin", name, str(folder), "--refused", str(scratch / "refused.json"))
        except Invalid as error:  # nobody sent a bad file
            raise Conflict(error.detail) from error

    def _want(self, folder: Path, parts: Sequence[Part], info: dict[str, str]) -> None:
        self._check()
        wanted = {
            "files": [{"name": part.name, "path": str(part.path.resolve())} for part in parts],
            "info": info,
            "limits": self.limits.model_dump(),
        }
        files.write_json(folder / "upload.json", wanted)

    def _check(self) -> None:
        if self.stopping.is_set():
            raise NotReady("the service is stopping; send the files again", retry_after=5)

    def _run(self, scratch: Path, *arguments: str) -> None:
        # In the same session: in a new one, a kernel with autogroups would undo the low priority it gives itself.
        command = [*self.command, *arguments, "--parent", str(os.getpid())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        said, kills = scratch / "log.txt", memory_kills()
        with (
            said.open("wb") as output,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            ) as process,
        ):
            try:
                while (code := _ended(process)) is None:
                    self._check()
            except BaseException:
                process.kill()
                raise
        if code == REFUSED:
            raise _refusal(scratch / "refused.json")
        if code != 0:
            tail = said.read_text(encoding="utf-8", errors="replace")[-4000:]
            log.error("reading files ended with code %d: %s", code, tail)
            if code == -signal.SIGKILL and memory_kills() > kills:
                raise TooLarge(
                    "there is too little memory here to read this; nothing was kept. Send less at once, or have more "
                    "memory given to the service",
                    code="out_of_memory",
                )
            cause = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise Crashed(
                f"the process that reads the files {cause}; it may need more memory than there is. Nothing was kept: "
                "try again, or send less at once; the service's log has its last words"
            )


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return None


def _refusal(path: Path) -> ServiceError:
    said = json.loads(path.read_bytes())
    kind = REFUSALS[said["code"]]
    return kind(said["message"], pointer="/file" if kind is Invalid else None)
