"""The command line: python -m app serve | worker | train | models | datasets."""

import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app.core.config import Settings
from app.core.errors import Invalid, ServiceError, StartError
from app.locks import hold
from app.main import Services
from app.registry.policy import Policy
from app.serve import serve as run_service
from app.training.follow import follow
from app.training.launcher import ProcessLauncher
from app.training.service import Training
from app.training.worker import Worker
from ml.data.store import DatasetError
from ml.process import die_with
from ml.run import Budget

app = typer.Typer(
    help="Inkling trains a next-word LSTM and a picture GAN on your own data, and serves them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


def main() -> None:
    """Run a command; an error that a user can mend is one line on stderr and exit code 1."""
    try:
        app()
    except (StartError, DatasetError) as error:
        sys.exit(f"inkling: {error}")
    except ServiceError as error:
        sys.exit(f"inkling: {error.detail}")
    except ValidationError as error:
        sys.exit("inkling: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))


@contextmanager
def services() -> Iterator[Services]:
    made = Services(Settings())
    try:
        yield made
    finally:
        made.close()


@app.command()
def serve(
    worker: Annotated[bool, typer.Option(help="Run a worker beside the service; without one, jobs wait")] = True,
) -> None:
    """Answer over HTTP, with one worker beside it that trains."""
    settings = Settings()
    _log(settings)
    raise typer.Exit(run_service(settings, with_worker=worker))


@app.command()
def worker(
    job: Annotated[str | None, typer.Option(help="Work off this job alone, then end")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether a worker is alive; exit code 1 if not")
    ] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train what waits in the queue, one job at a time."""
    settings = Settings()
    if check:
        with services() as made:
            up = made.jobs.worker_is_up()
        console.print("up" if up else "down")
        raise typer.Exit(0 if up else 1)
    if parent is not None:
        die_with(parent, signal.SIGTERM)
    _log(settings)
    lock = hold(settings.make_data_dir(), "worker")
    with services() as made:
        launcher = ProcessLauncher()
        publish = 2 * settings.reload_seconds
        runs = Worker(made.jobs, made.registry, launcher, made.data_dir, settings.checkpoint_seconds, publish)
        runs.stop_on_signals()
        if job is None:
            runs.run()
        else:
            runs.once(job)
    lock.release()


@app.command()
def train(
    family: Annotated[str, typer.Argument(help="lstm or gan")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="A data set; `python -m app datasets` lists them")],
    model: Annotated[str | None, typer.Option(help="Name to publish under; default: the data set's")] = None,
    preset: Annotated[str, typer.Option(help="A named recipe of the family")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A config value: --set hidden=128 (repeatable)")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long")] = None,
    epochs: Annotated[int | None, typer.Option(help="Train this many passes over the data")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes a training repeatable")] = None,
    activate: Annotated[str, typer.Option(help="if_better, always or never")] = "if_better",
) -> None:
    """Train a model here and now, with a progress bar; a running service trains it instead, and is followed."""
    if activate not in ("if_better", "always", "never"):
        raise Invalid(f"--activate {activate}: it is if_better, always or never")
    policy: Policy = activate  # type: ignore[assignment]
    budget = Budget(minutes=minutes, epochs=epochs, steps=steps)
    with services() as made:
        wanted = Training(family, dataset, model, preset, _values(set_ or []), seed, budget, policy)
        raise typer.Exit(follow(made.jobs, made.jobs.enqueue(wanted).id, made.data_dir, console))


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show this model's versions")] = None,
    activate: Annotated[int | None, typer.Option(help="Let this version of the model answer")] = None,
) -> None:
    """List the models, or one model's versions; choose which version answers."""
    with services() as made:
        if name is None:
            table = Table("model", "family", "draws or predicts", "active version")
            for model in made.registry.models():
                does = "words" if model.modality == "text" else "pictures"
                table.add_row(model.name, model.family, does, str(model.active or "none"))
            console.print(table)
            return
        if activate is not None:
            made.registry.activate(name, activate)
        model, versions = made.registry.get(name)
        table = Table("version", "active", "made", "data set", "metrics")
        for row in versions:
            figures = ", ".join(f"{k} {v:.4g}" for k, v in row.card["metrics"].items() if isinstance(v, int | float))
            active = "yes" if row.version == model.active else ""
            table.add_row(
                str(row.version), active, f"{row.created_at:%Y-%m-%d %H:%M}", row.card["dataset"]["name"], figures
            )
        console.print(table)


@app.command()
def datasets(
    prepare: Annotated[
        str | None, typer.Option(help="Make this data set's files now, not at its first training")
    ] = None,
) -> None:
    """List the data sets with their licences."""
    with services() as made:
        if prepare is not None:
            info = made.datasets.prepare(prepare)
            console.print(f"{info.name}: " + ", ".join(f"{v:,} {k}" for k, v in info.counts.items()))
            return
        table = Table("data set", "holds", "licence", "attribution")
        for info, _ in made.datasets.all():
            table.add_row(info.name, info.title, info.licence, info.attribution)
        console.print(table)


def _values(pairs: list[str]) -> dict[str, Any]:
    """["hidden=128", "channels=[64,32]"] as a dictionary; what is not JSON is text."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Invalid(f"--set {pair}: write it as name=value")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values


def _log(settings: Settings) -> None:
    level = settings.log_level.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise StartError(f"INKLING_LOG_LEVEL is {settings.log_level!r}; it is debug, info, warning or error")
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("alembic", "uvicorn.error", "filelock"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level), logging.WARNING))
