"""Pictures as arrays: sizes, splits and batches. Must not know: networks, or how pictures are served."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.data.store import Pictures


def resize(images: Pictures, size: int, channels: int) -> Pictures:
    """Pictures of (N, H, W, C) as (N, size, size, channels): squared on their own background, reduced by area."""
    count, height, width, has = images.shape
    if (height, width, has) == (size, size, channels):
        return np.ascontiguousarray(images)
    out = np.empty((count, size, size, channels), dtype=np.uint8)
    mode = "L" if channels == 1 else "RGB"
    for i, pixels in enumerate(images):
        picture = Image.fromarray(pixels[:, :, 0] if has == 1 else pixels).convert(mode)
        if height != width:
            side = max(height, width)
            square = Image.new(mode, (side, side), picture.getpixel((0, 0)))
            square.paste(picture, ((side - width) // 2, (side - height) // 2))
            picture = square
        small = picture.resize(
            (size, size), Image.Resampling.BOX if side_shrinks(picture, size) else Image.Resampling.BICUBIC
        )
        out[i] = np.asarray(small).reshape(size, size, channels)
    return out


def side_shrinks(picture: Image.Image, size: int) -> bool:
    """Whether a square picture gets smaller at `size`: area averaging is right for that, interpolation otherwise."""
    return picture.width >= size


def held_out(count: int, share: float = 0.1, most: int = 2000) -> int:
    """How many of `count` pictures each of the two held-out parts gets: `share` of them, `most` at the most."""
    return max(1, min(most, round(count * share)))


def split(count: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices for training, validation and test, the same for the same count whatever the run's seed."""
    order = np.random.RandomState(20140610).permutation(count)
    part = held_out(count)
    return np.sort(order[2 * part :]), np.sort(order[:part]), np.sort(order[part : 2 * part])


def shuffled_batches(
    count: int, batch_size: int, seed: int, epoch: int, start: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """The indices of one epoch in a shuffled order that depends on (seed, epoch) alone; `start` skips batches."""
    order = np.random.default_rng((seed, epoch)).permutation(count)
    batch_size = min(batch_size, count)
    for at in range(start * batch_size, count - batch_size + 1, batch_size):
        yield order[at : at + batch_size]


def grid(images: Pictures, columns: int, gap: int = 2) -> npt.NDArray[np.uint8]:
    """Lay (N, H, W, C) out in rows of `columns` with a white gap: uint8 (H', W', C)."""
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, dtype=np.uint8)
    for i, picture in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def to_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) as a Pillow picture, gray or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
