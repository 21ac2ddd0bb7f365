"""A walk through latents as an animated picture: WebP, APNG or GIF. Knows neither HTTP nor torch."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ml.data.images import grid, to_image
from ml.serve.images import Pixels

Format = Literal["webp", "apng", "gif"]
MEDIA_TYPES: dict[Format, str] = {"webp": "image/webp", "apng": "image/apng", "gif": "image/gif"}
COLOURS = 256  # of a GIF


def animate(
    frames: Sequence[Pixels], format: Format, scale: int, milliseconds: int, loop: bool, notes: Mapping[str, str]
) -> bytes:
    """Frames (S, S, C), each shown for `milliseconds`, pixels as squares of `scale`; played for ever, or once.

    WebP and APNG are lossless; a GIF has COLOURS in all, the same in every frame, so that nothing flickers. Equal
    frames in succession may be stored as one that is shown longer. `notes` become an APNG's text chunks.
    """
    out = io.BytesIO()
    first, *others = _enlarged(_in_few_colours(frames) if format == "gif" else map(to_image, frames), scale)
    common = {"save_all": True, "append_images": others, "duration": milliseconds}
    if format == "webp":
        first.save(out, "webp", lossless=True, quality=0, method=0, loop=0 if loop else 1, **common)
    elif format == "apng":
        texts = PngInfo()
        for key, value in notes.items():
            texts.add_itxt(key, value)
        first.save(out, "png", loop=0 if loop else 1, pnginfo=texts, **common)
    else:
        first.save(out, "gif", disposal=1, optimize=False, **common, **({"loop": 0} if loop else {}))
    return out.getvalue()


def _enlarged(pictures: "Iterator[Image.Image] | map[Image.Image]", scale: int) -> Iterator[Image.Image]:
    for picture in pictures:
        yield picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _in_few_colours(frames: Sequence[Pixels]) -> Iterator[Image.Image]:
    """Each frame with a palette made of all: palettes of their own would make still places flicker."""
    if frames[0].shape[2] == 1:  # gray fits as it is
        yield from map(to_image, frames)
        return
    palette = to_image(grid(np.stack(frames), columns=len(frames), gap=0)).quantize(COLOURS, Image.Quantize.FASTOCTREE)
    for frame in frames:
        yield to_image(frame).quantize(palette=palette, dither=Image.Dither.NONE)
