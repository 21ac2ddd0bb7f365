"""Requests to models of pictures and numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import httpx
from PIL import Image
from pydantic import ValidationError

from inkling_client.answers import Animation, Drawn, Nearest, Numbers, Picture, Score
from inkling_client.calls.call import JSON, SLOW, Address, Call, File, given, path_of, read_as, read_picture
from inkling_client.errors import UnexpectedAnswer


def generate(
    count: int | None = None,
    *,
    model: str | None = None,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    latents: Sequence[Address] | None = None,
    near: Address | None = None,
    distance: float | None = None,
    parents: Sequence[Address] | None = None,
    label: str | int | None = None,
    truncation: float | None = None,
    scale: int | None = None,
) -> Call[list[Picture]]:
    """Draw pictures: by seed, near a picture, or as children of two. The same seed is the same picture."""
    return Call("POST", "/generate", _drawn, given(locals()), headers={"Accept": JSON})


def grid(
    count: int | None = None,
    *,
    model: str | None = None,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    latents: Sequence[Address] | None = None,
    near: Address | None = None,
    distance: float | None = None,
    parents: Sequence[Address] | None = None,
    label: str | int | None = None,
    truncation: float | None = None,
    scale: int | None = None,
    columns: int | None = None,
) -> Call[Image.Image]:
    """Draw pictures as one grid; of a model of single numbers, the histogram over the true density."""
    return Call("POST", "/generate", read_picture, given(locals()), headers={"Accept": "image/png"})


def numbers(model: str, count: int | None = None, *, seed: int | None = None) -> Call[Numbers]:
    """Draw from a model of single numbers: the first `count` of 20,000."""
    return Call("POST", "/generate", read_as(Numbers), given(locals()), headers={"Accept": JSON})


def image(
    seed: Address,
    *,
    model: str = "pictures",
    version: int | Literal["active"] = "active",
    label: str | None = None,
    truncation: float | None = None,
    scale: int | None = None,
    format: Literal["png", "webp"] = "png",
) -> Call[Image.Image]:
    """One picture by its address."""
    params = given({"label": label, "truncation": truncation, "scale": scale})
    return Call("GET", f"{path_of('images', model, version, seed)}.{format}", read_picture, params=params)


def interpolate(
    seeds: Sequence[int] | None = None,
    *,
    latents: Sequence[Address] | None = None,
    model: str | None = None,
    frames: int | None = None,
    loop: bool | None = None,
    format: Literal["webp", "apng", "gif"] | None = None,
    fps: int | None = None,
    label: str | int | None = None,
    truncation: float | None = None,
    scale: int | None = None,
) -> Call[Animation]:
    """An animated walk from picture to picture."""
    return Call("POST", "/interpolate", lambda r: Animation(r.content, r.headers["Content-Type"]), given(locals()))


def nearest(
    seed: int | None = None,
    *,
    latent: Address | None = None,
    count: int | None = None,
    model: str | None = None,
    label: str | int | None = None,
    truncation: float | None = None,
    scale: int | None = None,
) -> Call[Nearest]:
    """The training pictures nearest to a drawn one, to see that it is no copy."""
    return Call("POST", "/nearest", read_as(Nearest), given(locals()), headers={"Accept": JSON}, seconds=SLOW)


def score(picture: File | Image.Image, *, model: str | None = None, label: str | None = None) -> Call[Score]:
    """How real a picture looks to the discriminator; 0.5 is "cannot tell"."""
    if isinstance(picture, Image.Image):
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        picture = ("picture.png", encoded.getvalue())
    return Call("POST", "/score", read_as(Score), form=given({"model": model, "label": label}), files=[picture])


def _drawn(response: httpx.Response) -> list[Picture]:
    try:
        return Drawn.model_validate_json(response.content).images
    except ValidationError as error:
        if "samples" in response.json():
            raise UnexpectedAnswer("this is a model of single numbers: use numbers() or grid()") from error
        raise
