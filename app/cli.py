"""The command line: python -m app serve | worker | train | models | datasets | keys | backup | restore."""

import gc
import signal
import socket
import sys
from contextlib import closing
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.core import logs
from app.core.config import Settings
from app.core.errors import ServiceError, StartError
from app.locks import hold
from app.options import DataDir, settings_of
from app.services import Services
from app.training.launcher import Launcher, ProcessLauncher, Resources
from app.training.worker import Worker
from ml.data.store import DatasetError
from ml.process import die_with

app = typer.Typer(
    help="Inkling trains a next-word LSTM and a picture GAN on your own data, and serves them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run a command; an error that a user can mend is one line on stderr and exit code 1."""
    if sys.argv[1:2] not in (["serve"], ["worker"]):  # a tenth of a service's start is spared
        from app.commands import commands

        app.add_typer(commands)
    try:
        app()
    except DBAPIError as error:
        sys.exit(f"inkling: the database does not answer ({error.orig}); try again when it does")
    except (StartError, DatasetError) as error:
        sys.exit(f"inkling: {error}")
    except ServiceError as error:
        sys.exit(f"inkling: {error.detail}")
    except ValidationError as error:
        sys.exit("inkling: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))


def launcher_of(settings: Settings) -> Launcher:
    """Raises StartError saying what to set."""
    if settings.launcher == "process":
        return ProcessLauncher(settings.processes_per_job)
    token = settings.ray_token or (settings.ray_token_file.read_text().strip() if settings.ray_token_file else "")
    if not settings.ray_address or not token:
        raise StartError("INKLING_LAUNCHER=ray needs INKLING_RAY_ADDRESS, and INKLING_RAY_TOKEN or its _FILE")
    try:
        from app.training.ray import RayLauncher  # most do without, and without httpx
    except ModuleNotFoundError as error:
        raise StartError(f"INKLING_LAUNCHER=ray needs {error.name}: pip install 'inkling[cluster]'") from error
    wants = Resources(cpus=settings.ray_cpus, gpus=settings.ray_gpus, custom=settings.ray_resources)
    where = (settings.data_dir, settings.ray_data_dir, settings.ray_python)
    try:
        return RayLauncher(settings.ray_address, token, *where, wants, settings.processes_per_job)
    except ValueError as error:
        raise StartError(f"INKLING_RAY_DATA_DIR: {error}") from error


@app.command()
def serve(
    worker: Annotated[bool, typer.Option(help="Run a worker beside the service; without one, jobs wait")] = True,
    share: Annotated[
        bool, typer.Option("--share", help="Let others serve the same folder meanwhile; its worker runs apart")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Answer over HTTP, with one worker beside it that trains."""
    settings = settings_of(data_dir)
    logs.configure(settings.log_level, settings.log_format)
    gc.disable()  # as in `app.__main__`; the service looks again when it answers
    from app.serve import serve as run_service  # not for a worker

    raise typer.Exit(run_service(settings, with_worker=worker and not share, shared=share))


@app.command()
def worker(
    job: Annotated[str | None, typer.Option(help="Work off this job alone, then end")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether a worker is alive; exit code 1 if not")
    ] = False,
    data_dir: DataDir = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train what waits in the queue."""
    settings = settings_of(data_dir)
    if check:
        with closing(Services(settings)) as made:
            # Among several machines: the one on this, which whoever asks can start again.
            up = made.jobs.worker_is_up(socket.gethostname() if settings.database_is_shared else None)
        print("up" if up else "down")
        raise typer.Exit(0 if up else 1)
    if parent is not None:
        die_with(parent, signal.SIGTERM)
    logs.configure(settings.log_level, settings.log_format)
    lock = None if settings.database_is_shared else hold(settings.make_data_dir(), "worker")
    with closing(Services(settings)) as made:
        made.join(may_lead=True)
        runs = Worker(
            made.jobs,
            made.attempts,
            made.registry,
            launcher_of(settings),
            checkpoint_seconds=settings.checkpoint_seconds,
            publish_seconds=2 * settings.reload_seconds,
            at_once=settings.jobs_at_once,
            keep_runs=settings.keep_runs,
        )
        runs.stop_on_signals()
        if job is None:
            runs.run()
        else:
            runs.once(job)
    if lock is not None:
        lock.release()
