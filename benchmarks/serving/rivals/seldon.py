"""MLServer (Seldon) with adaptive batching of up to 32, over the V2 inference protocol: `mlserver start FOLDER`."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from network import TOP, Predictor


class NextWord(MLModel):
    async def load(self) -> bool:
        self.predictor = Predictor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = [text if isinstance(text, str) else text.decode() for text in payload.inputs[0].data]
        answers = [answer["predictions"] for answer in self.predictor.predict(texts)]
        shape = [len(texts), TOP]
        words = [found["word"] for answer in answers for found in answer]
        values = [found["probability"] for answer in answers for found in answer]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="word", shape=shape, datatype="BYTES", data=words),
                ResponseOutput(name="probability", shape=shape, datatype="FP32", data=values),
            ],
        )
