"""Models, their versions, and which version answers. Must not know: HTTP, jobs, how a model predicts."""

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound, NotReady
from app.registry import history
from app.registry.policy import Policy, decide
from app.registry.reference import NOTHING
from app.registry.volume import KEY, Volume
from ml import artifact
from ml.artifact import ArtifactError, Manifest
from ml.objects import Away, Objects

log = logging.getLogger(__name__)

STARTERS: dict[str, Literal["text", "image"]] = {"next-word": "text", "pictures": "image", "faces": "image"}
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True)
class Published:
    """What became of a finished run, or of an imported file: its version, whether it answers now, and why."""

    name: str
    version: int
    active: bool
    reason: str
    duplicate: bool = False  # the very same files were there already, as this version


class Registry:
    """The published versions: rows in the database, folders in the volume under models/NAME/VERSION.

    `keep_versions`: after every new version the older ones go, all but this many beside the active one; 0 keeps all.
    """

    def __init__(
        self, database: Database, folder: Path, keep_versions: int = 0, objects: Objects | None = None
    ) -> None:
        self.database, self.keep_versions = database, keep_versions
        self.volume = Volume(folder, objects)

    def path(self, name: str, version: int) -> Path:
        """Where a version's files lie; fetched first where they are kept in an object store and not yet here.

        With such a store it raises NotFound, ArtifactError for a damaged copy, and Away, which passes.
        """
        folder = self.volume.path(name, version)
        if self.volume.objects is not None and not folder.exists():
            card = self.version(name, version).card
            if card.get(KEY):
                self.volume.fetch(name, version, card[KEY], Manifest.model_validate(card))
        return folder

    # -- reading -----------------------------------------------------------------------------------------------------

    def models(self) -> Sequence[tables.Model]:
        with self.database.read() as session:
            return session.scalars(select(tables.Model).order_by(tables.Model.name)).all()

    def get(self, name: str) -> tuple[tables.Model, Sequence[tables.Version]]:
        """A model and its versions, newest first. Raises NotFound, or NotReady for a starter still to come."""
        with self.database.read() as session:
            model = self._model(session, name)
            order = tables.Version.version.desc()
            versions = select(tables.Version).where(tables.Version.model == name).order_by(order)
            return model, session.scalars(versions).all()

    def version(self, name: str, version: int) -> tables.Version:
        """Raises NotFound naming the versions there are."""
        with self.database.read() as session:
            self._model(session, name)
            return self._version(session, name, version)

    def card(self, name: str, version: int) -> tuple[tables.Model, tables.Version]:
        """A model and one of its versions. Raises NotFound naming the versions there are."""
        with self.database.read() as session:
            return self._model(session, name), self._version(session, name, version)

    def sample(self, name: str, version: int, file: str) -> tuple[bytes, str]:
        """A sample picture (PNG) and its SHA-256. Raises NotFound, or Conflict when it was altered."""
        entry = self.version(name, version).card["files"].get(f"samples/{file}")
        if entry is None or not file.endswith(".png"):
            raise NotFound(f"{name}@{version} has no sample picture {file[:100]!r}; its card lists those it has")
        try:
            content = (self.path(name, version) / "samples" / file).read_bytes()
        except Away:
            raise
        except OSError:
            content = b""
        sha256: str = entry["sha256"]
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Conflict(f"the sample {file} of {name}@{version} is missing or altered", code="damaged_version")
        return content, sha256

    def active(self) -> dict[str, int]:
        """The active version of every model that has one."""
        return self.present()[0]

    def present(self) -> tuple[dict[str, int], set[tuple[str, int]]]:
        """The active version of every model that has one, and all versions: what serving processes poll, cheaply."""
        with self.database.read() as session:
            active = session.execute(select(tables.Model.name, tables.Model.active)).all()
            versions = session.execute(select(tables.Version.model, tables.Version.version)).all()
        return {name: version for name, version in active if version is not None}, {(n, v) for n, v in versions}

    def previous(self, name: str) -> int:
        """The version that a rollback would come to. Raises Conflict when there is none."""
        version = self.before(name)
        if version is None:
            raise _nothing_before(name)
        return version

    def before(self, name: str) -> int | None:
        """The same; None when there is none."""
        with self.database.read() as session:
            target = history.previous(session, self._model(session, name))
        return None if target is None else target.version

    def _model(self, session: Session, name: str) -> tables.Model:
        model = session.get(tables.Model, name)
        if model is not None:
            return model
        if name in STARTERS:
            raise NotReady(f"the starter model {name!r} has no version yet", retry_after=2)
        names = session.scalars(select(tables.Model.name).order_by(tables.Model.name)).all()
        raise NotFound(
            f"there is no model {name!r}; there are {', '.join(names) or 'none yet'}. "
            f'Train one with POST /train {{"family": …, "dataset": …, "model": …}}'
        )

    def _version(self, session: Session, name: str, version: int) -> tables.Version:
        row = session.get(tables.Version, (name, version))
        if row is None:
            there = select(tables.Version.version).where(tables.Version.model == name).order_by(tables.Version.version)
            known = ", ".join(str(v) for v in session.scalars(there))
            raise NotFound(f"model {name!r} has no version {version}; it has {known}")
        return row

    # -- writing -----------------------------------------------------------------------------------------------------

    def register(
        self,
        source: Path,
        name: str,
        policy: Policy = "if_better",
        job_id: str | None = None,
        *,
        once: bool = False,
        verified: bool = True,
    ) -> Published:
        """Verify a finished version, take it into the volume, and activate it by policy.

        Raises ArtifactError when a file is missing or altered, Conflict when the name holds the other kind of model.
        Asked again for the same job, it answers the same: a worker killed between publishing and saying so must not
        publish twice. `once`: a version made of the very same files is answered instead of a copy. Not `verified`: that
        is left to whoever loads it.
        """
        # The copy comes before the database's lock: it may take long.
        with self.volume.staged(source, name, verified=verified) as staged, self.database.write() as session:
            done = self._published(session, job_id)
            if done is not None:
                active = self._model(session, done.model).active == done.version
                return Published(done.model, done.version, active, "published before")
            if staged is None:
                raise ArtifactError("the run left no version")
            manifest = staged.manifest
            model = session.get(tables.Model, name)
            holds = model.modality if model else STARTERS.get(name, manifest.modality)
            if holds != manifest.modality:
                raise Conflict(f"the model {name!r} holds {holds} models; give this one another name")
            same = self._same(session, name, manifest) if once else None
            if same is not None and model is not None:
                if policy == "always" and model.active != same:
                    history.activate(session, model, same)
                    model.family = manifest.family
                return Published(name, same, model.active == same, "it was there already", duplicate=True)
            if model is None:
                model = tables.Model(name=name, family=manifest.family, modality=manifest.modality)
                session.add(model)
                session.flush()
            current = session.get(tables.Version, (name, model.active)) if model.active else None
            better, reason = decide(policy, manifest, Manifest.model_validate(current.card) if current else None)
            version = history.next_number(session, name)
            card = manifest.model_dump(mode="json") | ({KEY: staged.key} if staged.key else {})
            session.add(tables.Version(model=name, version=version, job_id=job_id, card=card))
            if better:
                history.activate(session, model, version)
                model.family = manifest.family
            session.flush()
            self.volume.place(staged, name, version)
        if self.keep_versions:
            try:
                self.prune(name, self.keep_versions)
            except (DBAPIError, OSError):  # the new version is published all the same
                log.exception("old versions of %s could not be removed", name)
        return Published(name, version, better, reason)

    def _published(self, session: Session, job_id: str | None) -> tables.Version | None:
        if job_id is None:
            return None
        return session.scalars(select(tables.Version).where(tables.Version.job_id == job_id)).first()

    def _same(self, session: Session, name: str, manifest: Manifest) -> int | None:
        """The version of this model that is made of the very same files."""
        wanted = manifest.model_dump(mode="json")["files"]
        rows = session.execute(select(tables.Version.version, tables.Version.card).where(tables.Version.model == name))
        return next((version for version, card in rows if card.get("files") == wanted), None)

    def activate(self, name: str, version: int) -> None:
        """Let `version` answer. The caller has seen that it loads. Raises NotFound."""
        with self.database.write() as session:
            model = self._model(session, name)
            self._version(session, name, version)
            history.activate(session, model, version)

    def rollback(self, name: str, expected: int | None = None) -> int:
        """Let the version answer that did before the active one; returns it. Again: the one before that.

        `expected` is the version that the caller has seen to load; Conflict when another one's turn came meanwhile,
        or when there is none to go back to.
        """
        with self.database.write() as session:
            model = self._model(session, name)
            version = history.roll_back(session, model)
            if version is None:
                raise _nothing_before(name)
            if expected is not None and version != expected:
                raise Conflict(f"the active version of {name!r} was changed at the same moment; try again")
        return version

    # -- removing ----------------------------------------------------------------------------------------------------

    def delete(self, name: str, version: int) -> None:
        """Remove one version. Raises NotFound; Conflict when it is active or a job starts from it."""
        with self.database.write() as session:
            model = self._model(session, name)
            self._version(session, name, version)
            if model.active == version:
                raise Conflict(
                    f"{name}@{version} is the active version; let another one answer first, "
                    f"with PUT /models/{name}/active, or delete the whole model"
                )
            history.refuse_needed(session, name, [version])
            gone = self._forget(session, name, [version])
        self._discard(name, gone)

    def prune(self, name: str, keep: int) -> list[int]:
        """Remove old versions but the active one, the one a rollback comes to, and the newest `keep` of the others.

        One that a job starts from stays too. Returns those removed.
        """
        with self.database.write() as session:
            model = self._model(session, name)
            previous = history.previous(session, model)
            kept = {model.active, previous.version if previous else None}
            newest_first = select(tables.Version.version).where(tables.Version.model == name)
            rows = session.scalars(newest_first.order_by(tables.Version.version.desc()))
            needed = history.needed_by(session, name)
            others = [version for version in rows if version not in kept][keep:]
            gone = self._forget(session, name, [v for v in others if f"{name}@{v}" not in needed])
        self._discard(name, gone)
        return sorted(gone)

    def delete_model(self, name: str) -> None:
        """Remove a model with all its versions. Raises Conflict for a starter, or when a job starts from a version."""
        if name in STARTERS:
            raise Conflict(f"{name!r} is a starter model, which answers when no model is named; it cannot be deleted")
        with self.database.write() as session:
            model = self._model(session, name)
            versions = select(tables.Version.version).where(tables.Version.model == name)
            every = session.scalars(versions).all()
            history.refuse_needed(session, name, every)
            session.execute(delete(tables.Activation).where(tables.Activation.model == name))
            gone = self._forget(session, name, every)
            session.delete(model)
        self._discard(name, gone)

    def _forget(self, session: Session, name: str, versions: Iterable[int]) -> dict[int, str | None]:
        """Remove their rows; returns the keys of their copies in the object store, for `_discard` after the commit."""
        table = tables.Version
        rows = (table.model == name) & table.version.in_(list(versions))
        found = session.execute(select(table.version, table.card).where(rows))
        keys = {version: card.get(KEY) for version, card in found}
        session.execute(delete(table).where(rows))
        return keys

    def _discard(self, name: str, gone: dict[int, str | None]) -> None:
        for version, key in gone.items():
            self.volume.discard(name, version)
            self.volume.withdraw(key)

    def forget_copy(self, name: str, version: int) -> None:
        """Remove this machine's copy of a version that was deleted on another."""
        if self.volume.objects is not None:
            self.volume.discard(name, version)

    def tidy(self) -> None:
        """Remove the folders that a kill left in the middle of a registration or a deletion. At a service's start.

        A folder without a row goes only if its number was given out: another database knows nothing of these versions.
        """
        self.volume.tidy()
        with self.database.write() as session:  # a registration elsewhere places its folder under this lock
            for number in session.scalars(select(tables.Number)):
                rows = set(session.scalars(select(tables.Version.version).where(tables.Version.model == number.model)))
                for left in self.volume.versions(number.model) - rows:
                    if left <= number.last:
                        self.volume.discard(number.model, left)

    def store_missing(self) -> list[str]:
        """Copy to the object store what was published here before there was one. Returns it. Raises Away."""
        with self.database.read() as session:
            rows = session.execute(select(tables.Version.model, tables.Version.version, tables.Version.card)).all()
        stored = []
        for name, version, card in rows:
            folder = self.volume.path(name, version)
            if self.volume.objects is None or card.get(KEY) or not folder.exists():
                continue
            key = self.volume.store(folder, name)
            with self.database.write() as session:
                row = session.get(tables.Version, (name, version))
                if row is not None and not row.card.get(KEY):
                    row.card = {**row.card, KEY: key}
                    stored.append(f"{name}@{version}")
                    key = None
            self.volume.withdraw(key)  # another machine was faster, or it was deleted
        return stored

    def install_starters(self, folder: Path) -> list[str]:
        """Publish each starter model that the volume does not know yet. Returns their names."""
        new = []
        with self.database.read() as session:
            known = set(session.scalars(select(tables.Model.name)))
        for name in STARTERS:
            if name not in known and (folder / name / artifact.MANIFEST).exists():
                # Came with this program, and is hashed when it is loaded, which for most is at once.
                self.register(folder / name, name, "always", verified=False)
                new.append(name)
        return new

    def starter(self, name: str) -> str | None:
        """What `install_starters` published under this name, as "name@1", while it can be had. Raises Away."""
        with self.database.read() as session:
            row = session.get(tables.Version, (name, 1))
        if row is None or row.job_id is not None:
            return None
        try:
            self.path(name, 1)
        except (NotFound, ArtifactError):
            return None
        return f"{name}@1"

    def check_syntax(self, name: str) -> None:
        """Raises Invalid for a name that nothing can be published under."""
        if name == NOTHING:
            raise Invalid(f"{NOTHING!r} stands for no model at all; choose another name", pointer="/model")
        if not NAME.fullmatch(name):
            raise Invalid(
                "a model's name has 1 to 64 of a-z, 0-9, '.', '_' and '-', and starts and ends with a letter or digit",
                pointer="/model",
            )

    def check_name(self, name: str, modality: str) -> None:
        """Raises Invalid for a name that cannot be published under, or one that holds the other kind of model."""
        self.check_syntax(name)
        with self.database.read() as session:
            model = session.get(tables.Model, name)
        holds = model.modality if model else STARTERS.get(name, modality)
        if holds != modality:
            raise Invalid(f"the model {name!r} holds {holds} models; choose another name", pointer="/model")


def _nothing_before(name: str) -> Conflict:
    return Conflict(f"no other version of {name!r} answered before; choose one with PUT /models/{name}/active")
