"""Which training pictures a drawn one is like. Knows neither HTTP nor torch.

The distance is the root mean square difference of pixels, from 0 to 1, after a slight blur: 0 is the same picture, 1 is
black against white. Pixels and not features, because the question is whether a picture was copied; the blur forgives a
stroke that is one pixel aside.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.data.images import resize, split
from ml.data.store import Pictures

PROBES = 32  # held-out pictures that say what is near
BLOCK_BYTES = 16 * 1024**2  # of pictures compared at a time, as they are compared

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """The training pictures nearest to one, nearest first."""

    indices: list[int]  # in the data set
    distances: list[float]
    pictures: Pictures  # (k, S, S, C), as the model saw them
    held_out_distance: float  # from a held-out picture to its nearest training picture, the median of PROBES


def nearest(picture: npt.NDArray[np.uint8], images: Pictures, count: int) -> Nearest:
    """The `count` training pictures nearest to `picture` (S, S, C). `images` (N, H, W, C) may be memory-mapped.

    A few MiB are held at a time. `images` may be of another size: they are reduced as for training.
    """
    size, channels = picture.shape[0], picture.shape[2]
    train, validation, _ = split(len(images))
    probes = resize(images[validation[:: -(-len(validation) // PROBES)]], size, channels)
    queries = _blurred(np.concatenate([picture[None], probes]))  # (Q, D)
    closest = np.full(len(queries), np.inf)
    found: list[tuple[float, int]] = []
    for part, block in _blocks(images, train, size, channels, queries.shape[1]):
        squares = _squares(queries, block)  # (Q, B)
        closest = np.minimum(closest, squares.min(1))
        best = np.argsort(squares[0], kind="stable")[:count]
        found = sorted([*found, *((float(squares[0, i]), int(part[i])) for i in best)])[:count]
    indices = [index for _, index in found]
    pictures = resize(images[indices], size, channels)
    exact = np.square(_blurred(pictures) - queries[0]).mean(1)  # a copy is 0 to the last bit
    return Nearest(
        indices,
        [float(value) for value in np.sqrt(exact)],
        pictures,
        float(np.sqrt(np.median(closest[1:]) / queries.shape[1])),
    )


def _blocks(
    images: Pictures, part: npt.NDArray[np.int64], size: int, channels: int, length: int
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    step = max(1, BLOCK_BYTES // (4 * length))
    for start in range(0, len(part), step):
        some = part[start : start + step]
        yield some, _blurred(resize(images[some], size, channels))


def _squares(queries: Floats, block: Floats) -> npt.NDArray[np.float64]:
    """Squared distances (Q, B) by one matrix product."""
    product = (queries @ block.T).astype(np.float64)
    squares = np.square(queries).sum(1)[:, None] + np.square(block).sum(1) - 2 * product
    out: npt.NDArray[np.float64] = np.maximum(squares, 0)
    return out


def _blurred(pictures: Pictures) -> Floats:
    """uint8 (N, S, S, C) as float (N, S * S * C) in 0..1, each pixel mixed with its neighbours (1, 2, 1)/4 a side."""
    x = np.pad(pictures.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    x = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    x = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
    return x.reshape(len(x), -1) / np.float32(16 * 255)
