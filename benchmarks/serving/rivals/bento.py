"""BentoML with adaptive batching of up to 32: `bentoml serve bento:NextWord`."""

from typing import Any

import bentoml
from network import Predictor


@bentoml.service(
    workers=1,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class NextWord:
    def __init__(self) -> None:
        self.predictor = Predictor()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        return self.predictor.predict(texts)
