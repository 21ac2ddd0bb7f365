"""POST /models/{name}/learn and …/forget, GET …/learned."""

from datetime import datetime
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_jsonable_python

from app.core.idempotency import Stored, digest_of
from app.core.paging import page
from app.core.parameters import AnswersDep, Key, Limit, given
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.tables import Phrase
from app.learning.service import Known, Learning

router = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES)

Name = Annotated[str, Path(description="A model's name", examples=["next-word"])]


class Answering(Protocol):
    """Whoever answers with what was learned, which this slice does not know."""

    def follow_learned(self) -> None:
        """See now what was learned or forgotten."""


def learning_of(request: Request) -> Learning:
    found: Learning = request.app.state.learning
    return found


def answering_of(request: Request) -> Answering:
    found: Answering = request.app.state.host
    return found


LearningDep = Annotated[Learning, Depends(learning_of)]
AnsweringDep = Annotated[Answering, Depends(answering_of)]


class LearnRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"text": "our product Zorblax"}]}
    )

    text: str = Field(description="A phrase, as it will be typed: INKLING_MAX_PHRASE characters at most")


class LearnedPhrase(BaseModel):
    id: str
    text: str
    learned_at: datetime


class SeenPhrase(LearnedPhrase):
    seen_by: list[str] = Field(description="Versions that were trained with it: name@4")


class LearnedPage(BaseModel):
    learned: list[SeenPhrase]
    next: str | None = Field(description="The next page's `after`")


class ForgetRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"text": "our product Zorblax"}, {"all": True}]}
    )

    text: str | None = Field(None, description="A phrase that was learned, in whatever case")
    id: str | None = Field(None, description="Its id")
    containing: bool = Field(False, description="With `text`: forget every phrase in which it stands, word by word")
    all: bool = Field(False, description="Forget everything that this model was taught")

    @model_validator(mode="after")
    def _say_which(self) -> "ForgetRequest":
        if (self.text is not None) + (self.id is not None) + self.all != 1:
            raise ValueError("say what to forget: text, or id, or all: true")
        if self.containing and self.text is None:
            raise ValueError("containing goes with text")
        return self


class Forgotten(BaseModel):
    forgotten: list[SeenPhrase]
    seen_by: list[str] = Field(
        description="Versions that were trained with one of them, and may still say it: train the model again, "
        "or let an older version answer"
    )
    training: list[str] = Field(
        description="Jobs under way that were given one of them: their versions will know it, unless they are cancelled"
    )


@router.post(
    "/models/{name}/learn",
    status_code=201,
    response_model=LearnedPhrase,
    responses={200: {"model": LearnedPhrase, "description": "It was known already"}, **problems(404, 409, 507)},
    summary="Teach a model a phrase, which it knows at once",
)
def learn(
    name: Name,
    body: LearnRequest,
    learning: LearningDep,
    answering: AnsweringDep,
    answers: AnswersDep,
    key: Key = None,
) -> Response:
    """Every version of this name answers with it, new ones too; new words are suggested and completed. The next
    training of this name gets it as a line more of its training part. Nothing else of any request is kept.
    """
    if key is None:
        stored = _taught(*learning.learn(name, body.text))
    else:
        digest = digest_of(body.model_dump(mode="json"))
        stored = learning.learn_once(name, body.text, answers, key, digest, _taught)
    answering.follow_learned()
    return given(stored)


@router.get("/models/{name}/learned", summary="What a model was taught, oldest first", responses=problems(404, 409))
def list_learned(name: Name, learning: LearningDep, limit: Limit = 50, after: str | None = None) -> LearnedPage:
    known, following = page(learning.learned(name), lambda each: each.phrase.id, limit, after)
    return LearnedPage(learned=[_seen(each) for each in known], next=following)


@router.post(
    "/models/{name}/forget",
    summary="Forget a phrase, and say which versions were trained with it",
    responses=problems(404, 409),
)
def forget(name: Name, body: ForgetRequest, learning: LearningDep, answering: AnsweringDep) -> Forgotten:
    """The phrase that has exactly these words, in whatever case; with `containing` all in which they follow each other.

    Answers are at once what they were before. A version in `seen_by` has it in its weights and counts all the same.
    """
    gone = learning.forget(name, body.text, body.id, body.containing)
    answering.follow_learned()
    seen_by = dict.fromkeys(reference for each in gone for reference in each.seen_by)
    forgotten = [_seen(each) for each in gone]
    return Forgotten(forgotten=forgotten, seen_by=list(seen_by), training=learning.training(name, gone))


def _taught(phrase: Phrase, new: bool) -> Stored:
    body = LearnedPhrase(id=phrase.id, text=phrase.text, learned_at=phrase.learned_at)
    return Stored(201 if new else 200, to_jsonable_python(body))


def _seen(known: Known) -> SeenPhrase:
    phrase = known.phrase
    return SeenPhrase(id=phrase.id, text=phrase.text, learned_at=phrase.learned_at, seen_by=known.seen_by)
