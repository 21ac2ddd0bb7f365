"""Phrases that a model was taught, kept beside its versions. Must not know: HTTP, or how a model answers with them."""

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound
from app.core.idempotency import Answers, Stored
from app.core.tables import Phrase
from app.registry.service import Registry
from ml.data import learned
from ml.data import text as words
from ml.data.learned import phrase_hash, phrase_key
from ml.run import RunDir

_CONTROL = regex.compile(r"[\p{Cc}--[\n\t]]", regex.V1)  # never typed on purpose, and PostgreSQL keeps no NUL

Stamp = tuple[int, int]  # how many phrases there are, and the highest number: another one when anything changed


@dataclass(frozen=True)
class Known:
    """A phrase, and the versions that were trained with it: "name@4"."""

    phrase: Phrase
    seen_by: list[str] = field(default_factory=list)


class Learning:
    """The phrases by the name of a model. They stay when versions come and go; only `forget` removes them."""

    def __init__(self, database: Database, registry: Registry, runs: Path, most: int, longest: int) -> None:
        self.database, self.registry, self.runs, self.most, self.longest = database, registry, runs, most, longest

    # -- learning ----------------------------------------------------------------------------------------------------

    def learn(self, name: str, said: str) -> tuple[Phrase, bool]:
        """Keep a phrase; what is known already stays as it is. Returns it, and whether it is new.

        Raises NotFound, NotReady; Invalid for a phrase without words or too long, or a model that draws; Conflict when
        the model has been taught as much as it may.
        """
        said, sha256 = self._checked(name, said)
        with self.database.write() as session:
            return self._learn(session, name, said, sha256)

    def learn_once(
        self, name: str, said: str, answers: Answers, key: str, digest: str, show: Callable[[Phrase, bool], Stored]
    ) -> Stored:
        """As `learn`, but a repeat with the same Idempotency-Key gets the first one's answer."""
        route = f"POST /models/{name}/learn"
        kept, sha256 = self._checked(name, said)
        with self.database.write() as session:
            stored = answers.find(session, key, route, digest)
            if stored is None:
                stored = show(*self._learn(session, name, kept, sha256))
                answers.keep(session, key, route, digest, stored)
        return stored

    def _checked(self, name: str, said: str) -> tuple[str, str]:
        """The phrase as it is kept, and the hash of its words."""
        model, _ = self.registry.get(name)
        if model.modality != "text":
            raise Invalid(f"the model {name!r} predicts no words, so it can learn no phrase", pointer="/name")
        if len(said) > self.longest:
            raise Invalid(
                f"the phrase has {len(said):,} characters, and a phrase may have {self.longest:,}: send it in parts, "
                "or train a model on a data set",
                pointer="/text",
            )
        said = words.composed(_CONTROL.sub(" ", said)).strip()
        key = phrase_key(said)
        if not key:
            raise Invalid("there is no word in the phrase", pointer="/text")
        return said, phrase_hash(key)

    def _learn(self, session: Session, name: str, said: str, sha256: str) -> tuple[Phrase, bool]:
        known = session.scalars(select(Phrase).where(Phrase.model == name, Phrase.sha256 == sha256)).first()
        if known is not None:
            return known, False
        count = session.scalar(select(func.count()).where(Phrase.model == name)) or 0
        if count >= self.most:
            raise Conflict(
                f"{name!r} has learned {count} phrases, and INKLING_MAX_LEARNED allows no more: forget some, with "
                f"POST /models/{name}/forget, or train it on a data set"
            )
        phrase = Phrase(id=f"phrase_{secrets.token_hex(8)}", model=name, sha256=sha256, text=said)
        session.add(phrase)
        session.flush()
        return phrase, True

    def forget(
        self, name: str, said: str | None = None, phrase_id: str | None = None, containing: bool = False
    ) -> list[Known]:
        """Remove phrases, by what they say (in whatever case) or by id; with neither, all. Returns those removed.

        `containing` removes every phrase in which the words follow each other. Raises NotFound when there is no such.
        """
        with self.database.write() as session:
            every = session.scalars(_of(name)).all()
            key = phrase_key(said) if said is not None else None
            if phrase_id is not None:
                gone = [phrase for phrase in every if phrase.id == phrase_id]
            elif key is not None:
                holds = [phrase for phrase in every if _holds(phrase.text, key)] if key else []
                gone = holds if containing else [phrase for phrase in holds if phrase_key(phrase.text) == key]
                if holds and not gone:
                    raise NotFound(
                        f"{name!r} has learned no such phrase; {len(holds)} contain it, which containing: true forgets"
                    )
            else:
                gone = list(every)
            if not gone:
                raise NotFound(f"{name!r} has learned nothing like it; GET /models/{name}/learned lists what it has")
            for phrase in gone:
                session.delete(phrase)
            return self._with_versions(session, gone)

    def training(self, name: str, gone: Iterable[Known]) -> list[str]:
        """Jobs of this model that have not ended and were given one of the phrases: their version will know it.

        Of a run that lies on another machine it is told by the times.
        """
        phrases = [each.phrase for each in gone]
        hashes, oldest = {phrase.sha256 for phrase in phrases}, min(phrase.learned_at for phrase in phrases)
        table = tables.Job
        query = select(table).where(table.model == name, table.finished_at.is_(None), table.family == "lstm")
        with self.database.read() as session:
            jobs = session.scalars(query.order_by(table.number)).all()

        def was_given(job: tables.Job) -> bool:
            if job.is_evaluation:
                return False
            if RunDir(self.runs / job.id).spec_file.exists():
                return bool(hashes & set(learned.hashes(self.runs / job.id)))
            return job.started_at is not None and job.started_at >= oldest

        return [job.id for job in jobs if was_given(job)]

    # -- looking -----------------------------------------------------------------------------------------------------

    def learned(self, name: str) -> list[Known]:
        """What was learned under a name, oldest first. Raises NotFound for a name of which nothing is known."""
        with self.database.read() as session:
            phrases = session.scalars(_of(name)).all()
            if phrases:
                return self._with_versions(session, phrases)
        self.registry.get(name)
        return []

    def phrases(self, name: str) -> Sequence[Phrase]:
        """The same, as they are; none for a name of which nothing is known."""
        return phrases_of(self.database, name)

    def stamps(self) -> dict[str, Stamp]:
        """Of every name with phrases, what changes when they do: serving processes poll this, cheaply."""
        query = select(Phrase.model, func.count(), func.max(Phrase.number)).group_by(Phrase.model)
        with self.database.read() as session:
            return {name: (count, highest) for name, count, highest in session.execute(query)}

    def _with_versions(self, session: Session, phrases: Iterable[Phrase]) -> list[Known]:
        """Each phrase with the versions, of whatever name, whose cards say that they were trained with it."""
        cards = session.execute(
            select(tables.Version.model, tables.Version.version, tables.Version.card).order_by(
                tables.Version.model, tables.Version.version
            )
        )
        seen: list[tuple[str, Collection[str]]] = [
            (f"{name}@{version}", set(card["learned"])) for name, version, card in cards if card.get("learned")
        ]
        return [Known(each, [reference for reference, has in seen if each.sha256 in has]) for each in phrases]


def phrases_of(database: Database, name: str) -> Sequence[Phrase]:
    """What was learned under a name, oldest first."""
    with database.read() as session:
        return session.scalars(_of(name)).all()


def _of(name: str) -> Select[Phrase]:
    return select(Phrase).where(Phrase.model == name).order_by(Phrase.number)


def _holds(said: str, key: str) -> bool:
    """Whether the words of `key` follow each other in a phrase."""
    return f" {key} ".replace("\n", " \n ") in f" {phrase_key(said)} ".replace("\n", " \n ")
