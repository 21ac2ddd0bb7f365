"""Walks as files that every viewer plays."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.serve.animation import MEDIA_TYPES, Format, animate


def frames(count: int, channels: int, size: int = 16) -> list[np.ndarray]:
    """A bright square that moves over a slope of colours."""
    y, x = np.mgrid[:size, :size] * (255 // size)
    ground = np.stack([x, y, (x + y) // 2], 2)[..., :channels].astype(np.uint8)
    out = []
    for i in range(count):
        picture = ground.copy()
        picture[4:8, i : i + 4] = 255
        out.append(picture)
    return out


def played(data: bytes) -> tuple[Image.Image, list[np.ndarray], list[float]]:
    image = Image.open(io.BytesIO(data))
    seen, times = [], []
    for i in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(i)
        image.load()
        times.append(image.info["duration"])
        seen.append(np.asarray(image.convert("RGB")).astype(int))
    return image, seen, times


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("format", "kind"), [("webp", "WEBP"), ("apng", "PNG"), ("gif", "GIF")])
def test_every_frame_is_played_as_it_is(format: Format, kind: str, channels: int) -> None:
    given = frames(10, channels)
    image, seen, times = played(animate(given, format, 3, 50, True, {"model": "pictures"}))
    assert (image.format, image.size, len(seen)) == (kind, (48, 48), 10)
    assert times == [50] * 10
    assert Image.MIME[kind] in (MEDIA_TYPES[format], "image/png")
    for picture, shown in zip(given, seen, strict=True):
        expected = np.broadcast_to(picture, (16, 16, 3)).astype(int).repeat(3, 0).repeat(3, 1)
        off = np.abs(shown - expected)
        assert off.max() <= (0 if format != "gif" or channels == 1 else 48)
        assert off.mean() < 6


@pytest.mark.parametrize("format", ["webp", "apng", "gif"])
@pytest.mark.parametrize("loop", [True, False])
def test_it_plays_for_ever_or_once(format: Format, loop: bool) -> None:
    image, _, _ = played(animate(frames(3, 1), format, 1, 100, loop, {}))
    once = None if format == "gif" else 1  # a GIF that says nothing is played once
    assert image.info.get("loop") == (0 if loop else once)


def test_places_that_stand_still_do_not_flicker_in_a_gif() -> None:
    _, seen, _ = played(animate(frames(10, 3), "gif", 1, 50, True, {}))
    assert (np.stack(seen)[:, 9:].std(0) == 0).all()


def test_the_same_walk_is_the_same_bytes_and_an_apng_says_what_it_is() -> None:
    notes = {"seed": "7,12", "model": "그림"}
    data = animate(frames(4, 3), "apng", 1, 50, True, notes)
    assert animate(frames(4, 3), "apng", 1, 50, True, notes) == data
    image = Image.open(io.BytesIO(data))
    image.load()
    assert {key: image.info[key] for key in notes} == notes


@pytest.mark.parametrize("format", ["webp", "apng", "gif"])
def test_equal_frames_are_shown_as_long_as_they_were_meant_to(format: Format) -> None:
    first, second = frames(2, 3)
    _, seen, times = played(animate([first, first, first, second], format, 1, 50, True, {}))
    assert sum(times) == 200
    assert len(seen) in (2, 4)
    still = Image.open(io.BytesIO(animate([first] * 4, format, 1, 50, True, {})))
    assert still.n_frames == 1  # type: ignore[attr-defined]
