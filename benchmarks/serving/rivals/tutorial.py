"""What most tutorials show: a `def` endpoint, which FastAPI runs in its thread pool, around the torch module."""

import os

import uvicorn
from fastapi import FastAPI
from network import Predictor
from pydantic import BaseModel


class Ask(BaseModel):
    text: str


class Prediction(BaseModel):
    word: str
    probability: float


class Answer(BaseModel):
    predictions: list[Prediction]


app = FastAPI()
predictor = Predictor()


@app.post("/predict")
def predict(ask: Ask) -> Answer:
    return Answer.model_validate(predictor.predict([ask.text])[0])


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
