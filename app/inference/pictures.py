"""Drawn pictures as an answer's bytes: a grid, single pictures, a ZIP, JSON. Knows no HTTP but media types."""

import base64
import io
import math
import zipfile
from collections.abc import Sequence
from typing import Literal

import numpy as np

from app.inference.schemas import GeneratedImage, GenerateResponse, ModelReference
from app.inference.service import Drawn
from ml.data.images import grid
from ml.serve.images import encode, enlarge


def sheet(
    drawn: Drawn,
    seeds: Sequence[int],
    model: ModelReference,
    columns: int | None,
    scale: int,
    format: Literal["png", "webp"],
) -> bytes:
    """All pictures in one; a single picture stands without a frame."""
    pixels = [picture for picture, _ in drawn]
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    whole = pixels[0] if len(pixels) == 1 else grid(np.stack(pixels), columns)
    return encode(enlarge(whole, scale), format, _notes(seeds, model))


def archive(
    drawn: Drawn, seeds: Sequence[int], model: ModelReference, scale: int, format: Literal["png", "webp"]
) -> bytes:
    """A ZIP with one file a picture, named by model, version and seed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:  # they are compressed already
        for (pixels, _), seed in zip(drawn, seeds, strict=True):
            info = zipfile.ZipInfo(f"{model.name}-{model.version}-{seed}.{format}")  # its fixed date keeps bytes equal
            file.writestr(info, encode(enlarge(pixels, scale), format, _notes([seed], model)))
    return out.getvalue()


def as_json(
    drawn: Drawn, seeds: Sequence[int], model: ModelReference, scale: int, format: Literal["png", "webp"]
) -> bytes:
    """`GenerateResponse` as UTF-8."""
    images = [
        GeneratedImage(
            seed=seed,
            b64_json=base64.b64encode(encode(enlarge(pixels, scale), format, _notes([seed], model))).decode(),
            realness=realness or 0.0,
        )
        for (pixels, realness), seed in zip(drawn, seeds, strict=True)
    ]
    return GenerateResponse(images=images, model=model).model_dump_json().encode()


def _notes(seeds: Sequence[int], model: ModelReference) -> dict[str, str]:
    return {
        "Software": "Inkling",
        "seed": ",".join(str(seed) for seed in seeds),
        "model": model.name,
        "version": str(model.version),
    }
