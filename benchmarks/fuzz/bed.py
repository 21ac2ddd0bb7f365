"""A service to be fuzzed in this process: the real application, with runs that end at once instead of training.

What takes a process of its own in service, reading uploads and trying imported models, runs in this one, by the same
functions: starting Python a thousand times would be most of the time. `benchmarks.fuzz.parsers` is about those.
"""

import logging
import shutil
import threading
from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config import Settings
from app.core.errors import Invalid
from app.datasets.reader import REFUSALS, Reader
from app.main import create_app
from app.services import STARTERS, Services
from app.training.launcher import RunStatus
from app.training.worker import Worker
from ml import bundle, ingest
from ml.artifact import ArtifactError
from ml.bundle import BundleError
from ml.data import builtin, store
from ml.data.store import DatasetError, DatasetInfo
from ml.run import Budget, ExitCode, RunDir, RunSpec

# Small enough to be met by random values, and large enough for a file of every kind.
BOUNDS = {
    "max_queued": 12,
    "max_learned": 40,
    "max_upload_bytes": 4 * 1024**2,
    "max_upload_files": 50,
    "max_unpacked_bytes": 16 * 1024**2,
    "max_picture_pixels": 1_000_000,
    "keep_runs": 20,
    "keep_versions": 5,
    "reload_seconds": 0.5,
    "deadline_seconds": 60.0,
    "rate_per_address": 0,
    "rate_per_key": 0,
    "changes_per_minute": 0,
}
KEY = "/keys/"
LOOKS = 30  # of the worker, a tenth of a second each


class ScriptedLauncher:
    """Runs that train nothing. By its seed a run makes a version, fails, crashes, or goes on for some seconds."""

    def __init__(self, versions: Mapping[str, Path]) -> None:
        self.versions = versions
        self._runs: dict[str, tuple[RunDir, int | None]] = {}
        self._looks: Counter[str] = Counter()

    outlives = False

    def find(self, *_: object) -> None:
        """Nothing outlives the worker."""

    def submit(self, run_dir: Path, *_: object) -> str:
        run = RunDir(run_dir)
        self._runs[run_dir.name] = (run, self._begin(run))
        return run_dir.name

    def _begin(self, run: RunDir) -> int | None:
        spec = run.read_spec()
        run.emit("status", status="running", step=0, device="cpu", total_steps=10)
        run.emit("metrics", epoch=1.5, step=5, loss=0.75, evaluation=1)
        gan = "gaussian" if str(spec.dataset) in builtin.DENSITIES else "noise"
        made = self.versions["sentences" if spec.family == "lstm" else gan]
        match spec.seed % 4:
            case 1:
                run.emit("failed", code="cannot_train", message="this run fails")
                return ExitCode.FAILED
            case 2:
                return None
            case 3:
                return -6
        run.preview.mkdir(exist_ok=True)
        shutil.copy(STARTERS / "faces" / "samples" / "grid.png", run.preview / "step-5.png")
        run.emit("sample", step=5, file="step-5.png")
        if not run.artifact.exists() and not spec.evaluate:
            shutil.copytree(made, run.artifact, copy_function=_link)
        run.emit("done", metrics={"loss": 0.5}, epoch=2.0, step=10)
        return ExitCode.DONE

    def status(self, run: str) -> RunStatus:
        run_dir, code = self._runs[run]
        self._looks[run] += 1
        if code is None and run_dir.stop_file.exists():
            self._runs[run] = run_dir, code = run_dir, ExitCode.CANCELLED
        elif code is None and self._looks[run] > LOOKS:
            run_dir.emit("failed", code="cannot_train", message="it went on for too long")
            self._runs[run] = run_dir, code = run_dir, ExitCode.FAILED
        return RunStatus("running") if code is None else RunStatus("ended", code)

    def stop(self, run: str, now: bool = False) -> None:
        run_dir, code = self._runs[run]
        if code is None:
            self._runs[run] = run_dir, -9 if now else ExitCode.INTERRUPTED


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


class ReaderHere(Reader):
    """Reads uploads in this process; built-in data sets, each of them once, in one of its own."""

    def _run(self, scratch: Path, *arguments: str) -> None:
        if "--builtin" in arguments:
            super()._run(scratch, *arguments)
            return
        try:
            (ingest.read_single if "--picture" in arguments else ingest.ingest)(scratch)
        except DatasetError as error:
            kind = REFUSALS[getattr(error, "code", "invalid")]
            raise kind(str(error), pointer="/file" if kind is Invalid else None) from error


def unpack_here(file: Path, folder: Path, most_bytes: int) -> str | None:
    """`bundle.unpack_apart` in this process, with the last guard of the other one."""
    try:
        name = bundle.unpack(file, folder, most_bytes)
        bundle.check(folder)
    except ArtifactError as error:
        raise BundleError(str(error), getattr(error, "code", "invalid")) from error
    return name


class Quiet:
    """Starlette raises a bug again after it was answered with 500; here the answer is what counts. It also keeps the
    requests' own key from being revoked, and requests from choosing an origin or key at random."""

    def __init__(self, app: ASGIApp, own_key: str) -> None:
        self.app, self.own_key = app, own_key
        self.bugs: list[BaseException] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def tell(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        if scope["type"] == "http" and scope["path"] == KEY + self.own_key:
            scope = {**scope, "path": KEY + "key_none"}
        try:
            await self.app(scope, receive, tell)
        except Exception as error:
            self.bugs.append(error)
            if not began:
                raise


class Bed:
    """`with Bed(folder) as bed:` - the application `bed.app`, a key that may do everything, and a worker beside it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.settings = Settings.model_validate({"data_dir": folder / "data", **BOUNDS, **settings})
        self._versions = folder / "versions"

    def __enter__(self) -> "Bed":
        logger = logging.getLogger("app")
        self._level = logger.level
        logger.setLevel(logging.CRITICAL)
        versions = make_versions(self._versions)
        with mock.patch("app.services.Reader", ReaderHere):
            app = create_app(self.settings)
            self._services = Services(self.settings)
        keys = app.state.keys
        row, self.key = keys.create("fuzzing", "admin")
        self.app = Quiet(app, row.id)
        self.application = app
        self._patch = mock.patch("ml.bundle.unpack_apart", unpack_here)
        self._patch.start()
        services = self._services
        self._worker = Worker(
            services.jobs, services.attempts, services.registry, ScriptedLauncher(versions), publish_seconds=0.0
        )
        self._worker.keep_runs = self.settings.keep_runs
        self._thread = threading.Thread(target=self._worker.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stopping.set()
        self._thread.join(30)
        self._patch.stop()
        self._services.close()
        logging.getLogger("app").setLevel(self._level)


TINY: dict[str, dict[str, Any]] = {
    "lecture": {"family": "lstm", "preset": "lecture", "budget": Budget(epochs=20)},
    "sentences": {  # with an n-gram, its lines, and a split
        "family": "lstm",
        "config": {"embedding": 8, "hidden": 8, "batch_size": 8, "length": 8, "negatives": 8, "evaluations": 1},
        "budget": Budget(steps=8),
    },
    "noise": {
        "family": "gan",
        "config": {"channels": [8, 4], "latent": 8, "batch_size": 16, "evaluations": 1},
        "budget": Budget(steps=4),
    },
    "gaussian": {"family": "gan", "config": {"hidden": 8, "evaluations": 1}, "budget": Budget(steps=20)},
}


def make_versions(folder: Path) -> dict[str, Path]:
    """A small version of each kind under `folder`, by a real training of a second, unless it is there."""
    import torch

    from ml.families import catalog
    from ml.trainer import Trainer

    torch.set_num_threads(1)
    made: dict[str, Path] = {}
    for name, wanted in TINY.items():
        run, data = RunDir(folder / name), folder / "data" / name
        made[name] = run.artifact
        if run.artifact.exists():
            continue
        info = DatasetInfo(name=name, title=name, modality="image", licence="CC0-1.0", attribution="fuzzing")
        if name == "noise":
            pictures = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype=np.uint8)
            info = store.write_images(data, info, pictures)
        elif name == "sentences":
            lines = [
                " ".join(words) for words in product(("I", "You", "we"), ("like", "don’t like"), ("a dog.", "it!"))
            ]
            info = store.write_text(data, info.model_copy(update={"modality": "text"}), 8 * lines)
        else:
            info = builtin.ensure(name, data)
        run.path.mkdir(parents=True, exist_ok=True)
        family = catalog.load(catalog.key_for(wanted["family"], info.modality))
        Trainer(run, RunSpec(dataset=name, **wanted), family, data).fit()
    return made
