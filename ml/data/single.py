"""One picture of a user's as pixels, under the bounds of a data set's. Must not know: HTTP, or what judges it."""

from ml.data import kinds
from ml.data.intake import Limits, Rejected, Source, shown
from ml.data.pictures import MOST_BYTES, Foreign, TooManyPixels, Unusable, pillow_within, small
from ml.data.store import Pictures


def read_picture(source: Source, limits: Limits) -> Pictures:
    """uint8 (H, W, C), no side over MOST_SIDE; C is 1 when it is gray. Raises Rejected."""
    name = shown(source.name)
    with source.path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if not data:
        raise Rejected(f"{name} is empty; {kinds.WHAT_WORKS}")
    if len(data) > MOST_BYTES:
        raise Rejected(f"{name} is larger than {MOST_BYTES // 1024**2} MiB", "too_large")
    if kinds.picture(data[: kinds.HEAD]) is None:
        raise Rejected(f"{name} {Foreign(data[: kinds.HEAD])}", "unsupported_media_type")
    try:
        with pillow_within(limits):
            return small(data, limits)
    except TooManyPixels as error:
        raise Rejected(f"{name} {error}", "too_large") from error
    except Unusable as error:
        raise Rejected(f"{name} {error}") from error
