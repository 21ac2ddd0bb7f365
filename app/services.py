"""What the web application, the worker and the command line are made of. Must not know: HTTP."""

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.core.db import Database
from app.core.disk import Disk
from app.core.errors import StartError
from app.core.idempotency import Answers
from app.core.owner import Identity, Owner
from app.core.ring import Ring
from app.datasets.reader import Reader
from app.datasets.service import Datasets
from app.keys.service import Keys
from app.learning.service import Learning
from app.registry.service import Registry
from app.training.attempts import Attempts
from app.training.mirror import Mirror
from app.training.service import Jobs
from ml.data.intake import Limits as Reading
from ml.objects import Away, Objects

if TYPE_CHECKING:
    from app.core.fleet import Fleet
    from app.core.limits import Limits
    from app.registry.transfer import Transfer

log = logging.getLogger(__name__)

STARTERS = Path(__file__).resolve().parent / "starters"


class Services:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.make_data_dir()
        self.disk = Disk(self.data_dir, settings.min_free_bytes)
        self.database = Database(settings.database)
        try:
            self.database.migrate(self.data_dir / ".migrate.lock")
        except (DBAPIError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise StartError(f"the database {self.database.shown_url} cannot be used: {cause}") from error
        self.fleet = _fleet(self.database)
        self.owner: Identity = self.fleet or Owner(self.data_dir / ".owners")
        self.answers = Answers(self.database, self.owner)
        limits = Reading(
            files=settings.max_upload_files,
            picture_pixels=settings.max_picture_pixels,
            unpacked_bytes=settings.max_unpacked_bytes,
            skipped=settings.max_skipped,
        )
        self.objects = _objects(settings.artifacts)
        self.datasets = Datasets(self.database, self.data_dir, self.owner, Reader(limits), self.disk, self.objects)
        self.registry = Registry(self.database, self.data_dir / "models", settings.keep_versions, self.objects)
        self.learning = Learning(
            self.database, self.registry, self.data_dir / "runs", settings.max_learned, settings.max_phrase
        )
        self.jobs = Jobs(
            self.database,
            self.datasets,
            self.registry,
            settings.max_queued,
            self.data_dir,
            self.disk,
            on_cluster=settings.launcher != "process",
            mirror=Mirror(self.objects, self.data_dir / "runs"),
        )
        self.attempts = Attempts(self.database, self.owner if self.database.shared else None)
        self.keys = Keys(self.database, Ring(settings.may_be_open, settings.cors_origins))

    @cached_property
    def transfer(self) -> "Transfer":
        from app.registry.transfer import Transfer  # tries models: a worker does without what that takes

        return Transfer(self.registry, self.settings.max_upload_bytes, self.settings.max_unpacked_bytes, self.disk)

    def join(self, limits: "Limits | None" = None, may_lead: bool = False) -> None:
        """Be one of the processes that share the database, where several can: see `app.core.fleet`."""
        if self.fleet is not None:
            self.fleet.start(limits, may_lead)

    def sweep(self) -> None:
        """Deal with what uploads and requests left half-done when their process was killed."""
        self.answers.sweep()
        self.datasets.sweep()
        self.owner.sweep()

    def store(self) -> None:
        """Where there is an object store: see that it has everything, and nothing half-done. It may be away."""
        if self.objects is None:
            return
        try:
            for what in (*self.registry.store_missing(), *self.datasets.store_missing()):
                log.info("%s was copied to %s", what, self.objects.url)
            for left in (left for under in ("models", "datasets", "runs") for left in self.objects.sweep(under)):
                log.info("%s was removed from %s: a kill had left it", left, self.objects.url)
            kept = self.jobs.newest_ended(self.settings.keep_runs)
            for job_id in self.jobs.mirror.sweep(lambda job_id: job_id in kept or not self.jobs.has_ended(job_id)):
                log.info("the pictures of %s were removed from %s", job_id, self.objects.url)
        except Away as error:
            log.error("%s; at the next start it is looked at again", error)

    def close(self) -> None:
        self.datasets.close()
        self.owner.close()
        self.database.close()


def _objects(url: str) -> Objects | None:
    """Where versions, data sets and runs are kept; None where that is the data folder. Raises StartError."""
    if not url:
        return None
    try:
        return Objects(url)
    except ImportError as error:
        raise StartError("INKLING_ARTIFACTS needs obstore; install it with: pip install '.[s3]'") from error
    except Exception as error:  # the library raises its own for a wrong variable
        raise StartError(f"INKLING_ARTIFACTS cannot be used: {error}") from error


def _fleet(database: Database) -> "Fleet | None":
    """This process among those that share the database; None where it is a file."""
    if not database.shared:
        return None
    from app.core.fleet import Fleet  # most do without

    return Fleet(database)
