"""The floor: a FastAPI endpoint with the same JSON in and out that does nothing. In the service's own environment."""

import os
from typing import Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field


class Ask(BaseModel):
    text: str
    top_k: int = Field(5, ge=1, le=50)
    model: str = "next-word"
    parts: list[Literal["lstm", "ngram", "cache", "learned"]] = ["lstm"]


class Prediction(BaseModel):
    word: str
    probability: float
    kind: Literal["next", "completion"]
    replace_from: int


class Model(BaseModel):
    name: str
    version: int


class Answer(BaseModel):
    predictions: list[Prediction]
    continuation: str
    unknown_words: list[str]
    model: Model
    request_id: str


WORDS = ("coffee", "milk", "dog", "cat", "love")
app = FastAPI()


@app.post("/predict-next-word")
async def predict_next_word(ask: Ask) -> Answer:
    at = len(ask.text)
    predictions = [Prediction(word=word, probability=0.123456789, kind="next", replace_from=at) for word in WORDS]
    model = Model(name=ask.model, version=1)
    return Answer(predictions=predictions, continuation="coffee", unknown_words=[], model=model, request_id="0" * 32)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
