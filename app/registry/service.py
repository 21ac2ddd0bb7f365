"""Models, their versions, and which version answers. Must not know: HTTP, jobs, how a model predicts."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound, NotReady
from app.registry.policy import Policy, decide
from ml import artifact, files
from ml.artifact import ArtifactError, Manifest

STARTERS: dict[str, Literal["text", "image"]] = {"next-word": "text", "pictures": "image", "faces": "image"}
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True)
class Published:
    """What became of a finished run: its version, whether it answers now, and why."""

    name: str
    version: int
    active: bool
    reason: str


class Registry:
    """The published versions: rows in the database, folders in the volume under models/NAME/VERSION."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder

    def path(self, name: str, version: int) -> Path:
        return self.folder / name / str(version)

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

    def active(self) -> dict[str, int]:
        """The active version of every model that has one: the cheap query that serving processes poll."""
        with self.database.read() as session:
            rows = session.execute(select(tables.Model.name, tables.Model.active)).all()
        return {name: version for name, version in rows if version is not None}

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

    def register(self, source: Path, name: str, policy: Policy = "if_better", job_id: str | None = None) -> Published:
        """Verify a finished version, take it into the volume, and activate it by policy.

        Raises ArtifactError when a file is missing or altered. Asked again for the same job, it answers the same:
        a worker killed between publishing and saying so must not publish twice.
        """
        manifest = artifact.verify(source) if source.exists() else None
        with self.database.write() as session:
            if job_id is not None:
                done = session.scalars(select(tables.Version).where(tables.Version.job_id == job_id)).first()
                if done is not None:
                    model = self._model(session, name)
                    return Published(name, done.version, model.active == done.version, "published before")
            if manifest is None:
                raise ArtifactError("the run left no version")
            model = session.get(tables.Model, name) or tables.Model(
                name=name, family=manifest.family, modality=manifest.modality
            )
            if model.modality != manifest.modality:
                raise Conflict(f"the model {name!r} holds {model.modality} models; give this one another name")
            newest = session.scalar(select(func.max(tables.Version.version)).where(tables.Version.model == name)) or 0
            version = newest + 1
            self._take(source, name, version)
            current = session.get(tables.Version, (name, model.active)) if model.active else None
            better, reason = decide(policy, manifest, Manifest.model_validate(current.card) if current else None)
            if better:
                model.active, model.family = version, manifest.family
            session.add(model)
            session.flush()
            session.add(
                tables.Version(model=name, version=version, job_id=job_id, card=manifest.model_dump(mode="json"))
            )
        return Published(name, version, better, reason)

    def _take(self, source: Path, name: str, version: int) -> None:
        """Give the source's files a second name in the volume; `source` stays until the caller removes it.

        A folder already there was left by a kill between here and the commit: no row names it, and it is replaced.
        """
        with files.new_folder(self.path(name, version)) as new:
            shutil.copytree(source, new, dirs_exist_ok=True, copy_function=_link)

    def activate(self, name: str, version: int) -> None:
        """Let `version` answer. The caller has seen that it loads. Raises NotFound."""
        with self.database.write() as session:
            model = self._model(session, name)
            self._version(session, name, version)
            model.active = version

    def install_starters(self, folder: Path) -> list[str]:
        """Publish each starter model that the volume does not know yet. Returns their names."""
        new = []
        with self.database.read() as session:
            known = set(session.scalars(select(tables.Model.name)))
        for name in STARTERS:
            if name not in known and (folder / name / artifact.MANIFEST).exists():
                self.register(folder / name, name, "always")
                new.append(name)
        return new

    def check_name(self, name: str, modality: str) -> None:
        """Raises Invalid for a name that cannot be published under, or one that holds the other kind of model."""
        if not NAME.fullmatch(name):
            raise Invalid(
                "a model's name has 1 to 64 of a-z, 0-9, '.', '_' and '-', and starts and ends with a letter or digit",
                pointer="/model",
            )
        with self.database.read() as session:
            model = session.get(tables.Model, name)
        holds = model.modality if model else STARTERS.get(name, modality)
        if holds != modality:
            raise Invalid(f"the model {name!r} holds {holds} models; choose another name", pointer="/model")


def _link(source: str, target: str) -> str:
    """A hard link where the file system has them, else a copy; versions are never changed, so either will do."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
