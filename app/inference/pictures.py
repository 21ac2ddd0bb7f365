"""Drawn pictures as an answer's bytes: a grid, single pictures, a ZIP, JSON. Knows no HTTP but media types."""

import base64
import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import numpy as np

from app.inference.picture_schemas import GeneratedImage, GenerateResponse
from app.inference.schemas import ModelReference
from app.inference.service import Drawn, Picture
from ml.data.images import grid
from ml.latents import Seed
from ml.serve.images import Pixels, encode

Format = Literal["png", "webp"]
LONGEST_NAME = 60  # characters of an address in a file's name


@dataclass(frozen=True)
class Look:
    """How pictures were asked for, beside which: what an address alone does not say."""

    model: ModelReference
    scale: int = 1
    truncation: float = 1.0
    label: str | None = None  # that was asked for; None: each latent's own

    def url(self, picture: Picture) -> str:
        """Where the same picture lies."""
        query = {
            **({"label": self.label} if self.label is not None else {}),
            **({"truncation": f"{self.truncation!r}"} if self.truncation != 1 else {}),
            **({"scale": self.scale} if self.scale != 1 else {}),
        }
        path = f"/images/{self.model.name}/{self.model.version}/{picture.latent}.png"
        return f"{path}?{urlencode(query)}" if query else path

    def notes(self, drawn: Sequence[Picture]) -> dict[str, str]:
        """What a PNG says of itself."""
        labels = [picture.label for picture in drawn if picture.label is not None]
        return {
            "Software": "Inkling",
            "seed": ",".join(str(picture.latent) for picture in drawn),
            "model": self.model.name,
            "version": str(self.model.version),
            **({"label": ",".join(labels)} if labels else {}),
            **({"truncation": f"{self.truncation!r}"} if self.truncation != 1 else {}),
        }

    def image(self, picture: Picture, format: Format) -> GeneratedImage:
        """For JSON. The picture must have been drawn with its realness."""
        assert picture.realness is not None
        return GeneratedImage(
            seed=picture.latent.number if isinstance(picture.latent, Seed) else None,
            latent=str(picture.latent),
            label=picture.label,
            b64_json=base64.b64encode(one(picture, self, format)).decode(),
            realness=picture.realness,
            url=self.url(picture),
        )


def one(picture: Picture, look: Look, format: Format) -> bytes:
    """A single picture, without a frame."""
    return encode(picture.pixels, format, look.notes([picture]), look.scale)


def sheet(
    drawn: Drawn, look: Look, columns: int | None, format: Format, beside: Sequence[Pixels] | Pixels = ()
) -> bytes:
    """All pictures in one, those `beside` behind them; a single picture stands without a frame."""
    pixels = [*(picture.pixels for picture in drawn), *beside]
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    whole = pixels[0] if len(pixels) == 1 else grid(np.stack(pixels), columns)
    return encode(whole, format, look.notes(drawn), look.scale)


def archive(drawn: Drawn, look: Look, format: Format) -> bytes:
    """A ZIP with one file a picture, named by model, version and address."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:  # they are compressed already
        for picture in {str(picture.latent): picture for picture in drawn}.values():  # a name once
            address = str(picture.latent)
            if len(address) > LONGEST_NAME:
                address = hashlib.sha256(address.encode()).hexdigest()[:16]
            info = zipfile.ZipInfo(f"{look.model.name}-{look.model.version}-{address}.{format}")  # its fixed date
            file.writestr(info, one(picture, look, format))  # keeps bytes equal
    return out.getvalue()


def as_json(drawn: Drawn, look: Look, format: Format) -> bytes:
    """`GenerateResponse` as UTF-8."""
    images = [look.image(picture, format) for picture in drawn]
    return GenerateResponse(images=images, model=look.model).model_dump_json().encode()
