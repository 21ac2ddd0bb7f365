"""One attempt at a run: from where it stands to its end, and what is said of how it ended.

Must not know: the command line, or who started it.
"""

import errno
import signal
import sys
import traceback
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from ml import evaluate, files, parallel, updates
from ml.data import builtin, store
from ml.data.store import DatasetError
from ml.evaluate import CannotEvaluate
from ml.families import catalog
from ml.families.base import TrainingError
from ml.parallel import RankLost
from ml.run import ExitCode, RunDir, RunSpec
from ml.trainer import Cancelled, Interrupted, Trainer

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def data_folder(run: RunDir, spec: RunSpec) -> Path:
    """The spec's data set as a folder, made now if it is a built-in one. Raises DatasetError."""
    if spec.dataset in builtin.BUILTIN:
        folder = (spec.datasets or run.path.parent / "datasets") / spec.dataset
        builtin.ensure(spec.dataset, folder)
        return folder
    return Path(spec.dataset)


def train(run: RunDir) -> ExitCode:
    """Train the run and say in its event log how it ended."""
    trainer: Trainer | None = None
    asked = False

    def interrupt(*_: object) -> None:
        nonlocal asked
        asked = True
        if trainer is not None:
            trainer.interrupted = True

    signal.signal(signal.SIGTERM, interrupt)
    try:
        for folder in (run.path, run.checkpoints, run.preview):
            files.remove_unfinished(folder)
        spec = run.read_spec()
        torch.set_num_threads(spec.threads)
        if parallel.was_started():
            parallel.join()
        if spec.family not in catalog.FAMILIES:
            raise TrainingError(f"no family {spec.family!r}; there are {', '.join(catalog.FAMILIES)}")
        folder = data_folder(run, spec)
        if spec.evaluate:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))  # there is nothing to save
            if asked:
                return ExitCode.INTERRUPTED
            parallel.end()
            evaluate.run(run, spec, folder)
            return ExitCode.DONE
        key = catalog.key_for(spec.family, store.read_info(folder).modality)
        presets = catalog.IMPLEMENTATIONS[key].presets
        if spec.preset not in presets:
            raise TrainingError(f"{spec.family!r} has no preset {spec.preset!r}; it has {', '.join(presets)}")
        trainer = Trainer(run, spec, catalog.load(key), folder)
        trainer.interrupted = asked
        trainer.fit()
    except Interrupted:
        run.emit("status", status="interrupted")
        return ExitCode.INTERRUPTED
    except Cancelled:
        run.emit("status", status="cancelled")
        return ExitCode.CANCELLED
    except RankLost as error:
        return _fail(run, "trainer_died", str(error))
    except CannotEvaluate as error:
        return _fail(run, "cannot_evaluate", str(error))
    except (TrainingError, DatasetError, ValidationError) as error:
        return _fail(run, "cannot_train", str(error))
    except Exception as error:
        traceback.print_exc()
        return _fail(run, *_diagnose(error))
    return ExitCode.DONE


def follow(run: RunDir) -> ExitCode:
    """Be one of the other processes of a training: do what the first one says. Nothing is written."""
    try:
        torch.set_num_threads(run.read_spec().threads)
        parallel.join()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first decides, and says so
        updates.follow(run.prepared)
    except RankLost as error:
        print(error, file=sys.stderr)
        return ExitCode.FAILED
    finally:
        parallel.leave()
    return ExitCode.DONE


def _diagnose(error: Exception) -> tuple[str, str]:
    """The code and the words for what ended a run whose spec and data were right."""
    # torch's own allocator raises a plain RuntimeError, the system an OSError, safetensors words of its own.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        return "out_of_memory", f"out of memory: {error}; try a smaller batch_size or model"
    if not isinstance(error, OSError | SafetensorError):  # a damaged checkpoint is handled where it is read
        return "internal", f"{type(error).__name__}: {error}"
    if getattr(error, "errno", None) in NO_ROOM or any(f"(os error {number})" in str(error) for number in NO_ROOM):
        return "volume", (
            f"no room is left for the run's files: {error}; free some space and start it again, "
            "it goes on from its last checkpoint"
        )
    return "volume", f"the run's folder cannot be used: {error}"


def _fail(run: RunDir, code: str, message: str) -> ExitCode:
    print(message, file=sys.stderr)
    try:
        run.emit("failed", code=code, message=message)
    except OSError:  # a full disk: the exit code and the log are all there is
        traceback.print_exc()
    return ExitCode.FAILED
