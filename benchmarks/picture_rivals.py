"""What benchmarks.pictures measures us against, as one small application: `python -m benchmarks.picture_rivals`.

POST /generate is the usual tutorial's picture server: a `def` endpoint around the torch module, all pictures of a
request in one batch, the grid pasted together, Pillow's PNG as it comes. POST /no-op is an endpoint that does nothing:
FastAPI with our own models of a question and an answer.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Response
from PIL import Image
from pydantic import BaseModel
from safetensors.torch import load_file

from app.inference.schemas import ModelReference, Prediction, PredictRequest, PredictResponse
from ml.families.gan.config import GANConfig
from ml.families.gan.networks import Generator

GAP = 2  # pixels between the pictures of a grid

SAID = PredictResponse(
    predictions=[Prediction(word=word, probability=0.1, kind="next", replace_from=16) for word in ("god", "lord")],
    continuation="god",
    unknown_words=[],
    model=ModelReference(name="next-word", version=1),
    request_id="0",
)


class Ask(BaseModel):
    """What a tutorial's request says."""

    count: int = 1
    seed: int = 0


def load_generator(folder: Path) -> tuple[Generator, int]:
    """The torch module of a version of ours, and the size of its z."""
    config = GANConfig.model_validate(json.loads((folder / "manifest.json").read_bytes())["config"])
    generator = Generator(config).eval()
    weights = load_file(folder / "weights.safetensors")
    generator.load_state_dict(
        {k.removeprefix("generator."): v for k, v in weights.items() if k.startswith("generator")}
    )
    return generator, config.latent


def save_png(pixels: np.ndarray) -> bytes:
    """(H, W, C) by Pillow, as everybody calls it."""
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG")
    return out.getvalue()


def tiled(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S, C) in a square grid."""
    count, size, _, channels = pictures.shape
    columns = int(np.ceil(np.sqrt(count)))
    step = size + GAP
    sheet = np.full((-(-count // columns) * step + GAP, columns * step + GAP, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = GAP + i // columns * step, GAP + i % columns * step
        sheet[top : top + size, left : left + size] = picture
    return sheet


def create_app(folder: Path | None) -> FastAPI:
    app = FastAPI()

    @app.post("/no-op")
    async def no_op(body: PredictRequest) -> PredictResponse:
        return SAID

    if folder is not None:
        generator, latent = load_generator(folder)

        @app.post("/generate")
        def generate(ask: Ask) -> Response:
            torch.manual_seed(ask.seed)
            with torch.no_grad():
                drawn = generator(torch.randn(ask.count, latent))
            pictures = ((drawn + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
            return Response(save_png(pictures[0] if ask.count == 1 else tiled(pictures)), media_type="image/png")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture_rivals", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, help="a version of ours; without it there is no /generate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # more than one costs it more CPU time a request, not less
    uvicorn.run(create_app(arguments.folder), port=arguments.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
