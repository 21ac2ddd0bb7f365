"""What people type: python -m app train | models | datasets | backup | restore | keys."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.backup import back_up, sqlite_file
from app.backup import restore as put_back
from app.core.config import Settings
from app.core.disk import mb
from app.core.errors import Invalid
from app.options import DataDir, settings_of
from app.registry.policy import Policy
from app.services import STARTERS, Services
from app.training.follow import follow
from app.training.service import Training
from ml.data.store import DatasetInfo
from ml.latents import MAX_SEED
from ml.run import Budget

commands = typer.Typer()
console = Console()
notes = Console(stderr=True)


@commands.command()
def train(
    family: Annotated[str, typer.Argument(help="lstm or gan")],
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="A data set, as `python -m app datasets` lists them, or a file")
    ],
    model: Annotated[str | None, typer.Option(help="Name to publish under; default: the data set's")] = None,
    preset: Annotated[str, typer.Option(help="A named recipe of the family")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A config value: --set hidden=128 (repeatable)")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long")] = None,
    epochs: Annotated[int | None, typer.Option(help="Train this many passes over the data")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Makes a training repeatable")] = None,
    activate: Annotated[str, typer.Option(help="if_better, always or never")] = "if_better",
    base: Annotated[
        str | None,
        typer.Option(
            help="Version whose weights to start from, e.g. next-word@1; none: from nothing. "
            "Default: an English text starts from the shipped next-word where it fits"
        ),
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Waiting jobs with a higher one go first")] = 0,
) -> None:
    """Train a model here and now, with a progress bar; a running service trains it instead, and is followed."""
    if activate not in ("if_better", "always", "never"):
        raise Invalid(f"--activate {activate}: it is if_better, always or never")
    policy: Policy = activate  # type: ignore[assignment]
    budget = Budget(minutes=minutes, epochs=epochs, steps=steps)
    with closing(Services(Settings())) as made:
        values = _values(set_ or [])
        with made.database.alone(made.data_dir / ".start.lock"):  # as a service's start does: it may start from one
            made.registry.install_starters(STARTERS)
        if Path(dataset).is_file():  # no data set's name looks like a file's
            with console.status(f"reading {dataset}"):
                entry, _ = made.datasets.add_files([Path(dataset)], {})
            dataset = entry.id
        wanted = Training(family, dataset, model, preset, values, seed, budget, policy, base, priority)
        raise typer.Exit(follow(made.jobs, made.jobs.enqueue(wanted).id, made.data_dir, console))


@commands.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show this model's versions")] = None,
    activate: Annotated[int | None, typer.Option(metavar="V", help="Let this version of the model answer")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Let the version answer that did before")] = False,
    delete: Annotated[int | None, typer.Option(metavar="V", help="Remove this version; not the active one")] = None,
    export: Annotated[
        tuple[int, Path] | None, typer.Option(metavar="V FILE", help="Write this version into a file, to be taken away")
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Take in an exported version; under its own name, or NAME"),
    ] = None,
) -> None:
    """List the models, or one model's versions; choose which version answers; take versions out and in."""
    with closing(Services(Settings())) as made:
        if import_ is not None:
            done = made.transfer.take_file(import_, name)
            console.print(f"{done.name}@{done.version} {'answers now' if done.active else 'is there'}: {done.reason}")
            name = done.name
        if name is None:
            if activate is not None or rollback or delete is not None or export is not None:
                raise Invalid("say which model: python -m app models NAME …")
            _list_models(made)
            return
        if export is not None:
            made.transfer.export_file(name, *export)
            console.print(f"{name}@{export[0]} is in {export[1]}")
        if activate is not None:
            made.transfer.activate(name, activate)
        if rollback:
            made.transfer.roll_back(name)
        if delete is not None:
            made.registry.delete(name, delete)
        _list_versions(made, name)


def _list_models(made: Services) -> None:
    table = Table("model", "family", "draws or predicts", "active version")
    for model in made.registry.models():
        does = "words" if model.modality == "text" else "pictures"
        table.add_row(model.name, model.family, does, str(model.active or "none"))
    console.print(table)


def _list_versions(made: Services, name: str) -> None:
    model, versions = made.registry.get(name)
    table = Table("version", "active", "made", "data set", "metrics")
    for row in versions:
        figures = ", ".join(f"{k} {v:.4g}" for k, v in row.card["metrics"].items() if isinstance(v, int | float))
        active = "yes" if row.version == model.active else ""
        made_at = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.add_row(str(row.version), active, made_at, row.card["dataset"]["name"], figures)
    console.print(table)


@commands.command()
def datasets(
    prepare: Annotated[
        str | None, typer.Option(help="Make this data set's files now, not at its first training")
    ] = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="Add a text, a ZIP of pictures, or a picture (repeatable)")
    ] = None,
    name: Annotated[str, typer.Option(help="With --add: a title; default: the file's name")] = "",
    licence: Annotated[str, typer.Option(help="With --add: the terms it may be used under")] = "",
    attribution: Annotated[str, typer.Option(help="With --add: who made it")] = "",
    delete: Annotated[str | None, typer.Option(help="Delete this upload")] = None,
) -> None:
    """List the data sets with their licences; add and delete your own."""
    with closing(Services(Settings())) as made:
        if prepare is not None:
            info = made.datasets.prepare(prepare)
            console.print(f"{info.name}: {_counts(info)}")
        elif add:
            fields = {"name": name, "licence": licence, "attribution": attribution}
            with console.status("reading the files"):
                entry, duplicate = made.datasets.add_files(add, fields)
            skipped = (entry.report or {}).get("skipped_count", 0)
            console.print(f"{entry.id}: {_counts(entry.info)}" + (f"; {skipped:,} left out" if skipped else ""))
            if duplicate:
                console.print(f"its content was there already, as {entry.info.title!r}")
            family = "lstm" if entry.info.modality == "text" else "gan"
            console.print(f"train on it: python -m app train {family} --dataset {entry.id}", soft_wrap=True)
        elif delete is not None:
            made.datasets.delete(delete)
            console.print(f"{delete} is deleted")
        else:
            table = Table(Column("data set", no_wrap=True), "holds", "licence", "attribution")
            for entry in made.datasets.all():
                table.add_row(entry.id, entry.info.title, entry.info.licence, entry.info.attribution)
            console.print(table)


@commands.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it: a .tar, or - for standard output")],
    data_dir: DataDir = None,
) -> None:
    """Write everything that is kept into one file, while the service and trainings go on."""
    settings = settings_of(data_dir)
    size = back_up(settings, file)
    if size is not None:
        console.print(f"{file}: {mb(size)}", soft_wrap=True)
    if sqlite_file(settings) is None:
        notes.print("The database is a server's and not in the file: pg_dump it, just before this.", soft_wrap=True)


@commands.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What backup wrote, or - for standard input")], data_dir: DataDir = None
) -> None:
    """Fill an empty data folder from a backup. Running jobs go on from their last checkpoint."""
    about = put_back(settings_of(data_dir), file)
    console.print(f"restored what Inkling {about['version']} had on {about['made_at']}", soft_wrap=True)


keys = typer.Typer(help="Make, list and revoke the keys that callers show.", no_args_is_help=True)
commands.add_typer(keys, name="keys")
MAKE_ADMIN = "python -m app keys create NAME --scope admin"


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What to know it by")],
    scope: Annotated[str, typer.Option(help="predict, train or admin; each holds the ones before it")] = "predict",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Make it publishable: it works only on pages of this origin (repeatable), and may only predict"
        ),
    ] = None,
) -> None:
    """Make a key and print it, once. With the first one the service stops answering requests without a key."""
    with closing(Services(Settings())) as made:
        first = not made.keys.all()
        row, key = made.keys.create(name, scope, origin or ())  # type: ignore[arg-type]  # it looks at the scope itself
    where = f"on pages of {', '.join(row.origins)}" if row.origins else "sent as Authorization: Bearer KEY"
    notes.print(f"{row.id} may {row.scope}, {where}. It is shown this once:", soft_wrap=True)
    print(key)  # alone on stdout: KEY=$(python -m app keys create …)
    if first and row.scope != "admin":
        notes.print(f"Every request needs a key from now on. One for yourself: {MAKE_ADMIN}", soft_wrap=True)


@keys.command("list")
def list_keys() -> None:
    """List the keys, revoked ones too; of each only how it begins."""
    with closing(Services(Settings())) as made:
        rows = made.keys.all()
    table = Table(
        Column("key", no_wrap=True), Column("name", overflow="fold"), Column("may", overflow="fold"), "begins", "made"
    )
    for row in rows:
        may = row.scope + (f" on {', '.join(row.origins)}" if row.origins else "")
        since = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else f"{row.created_at:%Y-%m-%d}"
        table.add_row(row.id, escape(row.name), may, f"{row.prefix}…", since)
    console.print(table)


@keys.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(help="Its id: key_…")]) -> None:
    """Let a key open nothing any more. A running service sees it within two seconds."""
    with closing(Services(Settings())) as made:
        row = made.keys.revoke(id)
        admins = any(each.scope == "admin" and not each.revoked_at for each in made.keys.all())
    console.print(f"{row.id} ({escape(row.name)}) is revoked", soft_wrap=True)
    if not admins:
        notes.print(f"No admin key is left, and the service stays closed. Make one: {MAKE_ADMIN}", soft_wrap=True)


def _counts(info: DatasetInfo) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in info.counts.items())


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
