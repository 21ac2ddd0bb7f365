"""Avatar faces drawn from a seed with Pillow: the `faces` data set, made anywhere, offline, with no licence to mind.

Every face is a few dozen choices (skin, hair, eyes, glasses, mouth, hat, background) of one seeded generator, drawn
large and reduced, so that edges are smooth. Must not know: data-set folders, models.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from ml.data.store import Pictures

Colour = tuple[int, int, int]
SCALE = 4  # drawn this much larger than asked for, then reduced by area

SKINS: list[Colour] = [(255, 224, 196), (244, 201, 164), (224, 172, 128), (190, 134, 92), (141, 92, 60), (94, 60, 42)]
HAIRS: list[Colour] = [(40, 30, 28), (92, 58, 34), (150, 96, 48), (222, 184, 96), (176, 64, 40), (150, 150, 156)]
BACKS: list[Colour] = [
    (190, 220, 245),
    (205, 235, 205),
    (250, 226, 190),
    (232, 208, 240),
    (245, 205, 205),
    (210, 232, 232),
]
SHIRTS: list[Colour] = [(60, 90, 160), (170, 60, 70), (60, 130, 90), (220, 170, 60), (110, 80, 150), (70, 70, 80)]
EYES: list[Colour] = [(40, 30, 24), (50, 90, 150), (60, 110, 60)]
LIPS: Colour = (176, 62, 66)
INK: Colour = (36, 30, 34)


@dataclass
class _Pen:
    """Draws in units of the picture's width, so that one description serves every size."""

    draw: ImageDraw.ImageDraw
    size: int

    def _box(self, x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        s = self.size
        return (x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.draw.ellipse(self._box(x, y, rx, ry), fill=fill)

    def ring(self, x: float, y: float, rx: float, ry: float, ink: Colour, width: float) -> None:
        self.draw.ellipse(self._box(x, y, rx, ry), outline=ink, width=max(1, round(width * self.size)))

    def half(self, x: float, y: float, rx: float, ry: float, start: int, end: int, fill: Colour) -> None:
        self.draw.pieslice(self._box(x, y, rx, ry), start, end, fill=fill)

    def arc(self, x: float, y: float, rx: float, ry: float, start: int, end: int, ink: Colour, width: float) -> None:
        self.draw.arc(self._box(x, y, rx, ry), start, end, fill=ink, width=max(1, round(width * self.size)))

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.0) -> None:
        s = self.size
        self.draw.rounded_rectangle((x0 * s, y0 * s, x1 * s, y1 * s), radius=radius * s, fill=fill)


def _shade(colour: Colour, by: float) -> Colour:
    return (int(colour[0] * by), int(colour[1] * by), int(colour[2] * by))


def _mouth(pen: _Pen, style: str, x: float, y: float) -> None:
    if style == "smile":
        pen.arc(x, y - 0.03, 0.09, 0.06, 20, 160, LIPS, 0.028)
    elif style == "laugh":
        pen.half(x, y - 0.03, 0.09, 0.08, 0, 180, LIPS)
        pen.block(x - 0.065, y - 0.03, x + 0.065, y - 0.005, (250, 250, 250))
    elif style == "flat":
        pen.block(x - 0.07, y - 0.01, x + 0.07, y + 0.018, LIPS, 0.01)
    else:
        pen.oval(x, y, 0.04, 0.05, LIPS)


def _hair_front(pen: _Pen, style: str, colour: Colour, width: float) -> None:
    if style == "bald":
        return
    pen.half(0.5, 0.42, width + 0.03, 0.30, 180, 360, colour)
    if style == "fringe":
        pen.block(0.5 - width, 0.28, 0.5 + width, 0.37, colour, 0.04)
    elif style == "parted":
        pen.half(0.34, 0.36, 0.22, 0.17, 150, 330, colour)
    elif style == "curly":
        for i in range(7):
            pen.oval(0.5 + (i - 3) * 0.105, 0.23 + abs(i - 3) * 0.03, 0.085, 0.085, colour)
    elif style == "spiky":
        for i in range(5):
            x = 0.5 + (i - 2) * 0.12
            s = pen.size
            pen.draw.polygon([((x - 0.07) * s, 0.27 * s), (x * s, 0.06 * s), ((x + 0.07) * s, 0.27 * s)], fill=colour)


def draw_face(seed: int, size: int = 64) -> Image.Image:
    """One avatar face, RGB, `size` x `size`; the same seed is always the same face."""
    rng = Random(seed)  # noqa: S311
    skin, hair = rng.choice(SKINS), rng.choice(HAIRS)
    style = rng.choice(["fringe", "parted", "curly", "spiky", "short", "long", "bald"])
    width = rng.uniform(0.25, 0.31)
    canvas = Image.new("RGB", (size * SCALE, size * SCALE), rng.choice(BACKS))
    pen = _Pen(ImageDraw.Draw(canvas), size * SCALE)

    if style == "long":
        pen.block(0.5 - width - 0.07, 0.3, 0.5 + width + 0.07, 0.9, hair, 0.12)
    pen.block(0.16, 0.86, 0.84, 1.1, rng.choice(SHIRTS), 0.12)
    pen.block(0.41, 0.74, 0.59, 0.92, _shade(skin, 0.88), 0.04)
    for side in (-1, 1):
        pen.oval(0.5 + side * width, 0.53, 0.05, 0.075, _shade(skin, 0.92))
    pen.oval(0.5, 0.52, width, 0.32, skin)

    eye_y, gap, iris = rng.uniform(0.47, 0.51), rng.uniform(0.115, 0.14), rng.choice(EYES)
    brow = rng.uniform(-0.02, 0.02)
    for side in (-1, 1):
        x = 0.5 + side * gap
        pen.oval(x, eye_y, 0.058, 0.048, (252, 252, 252))
        pen.oval(x + 0.008, eye_y, 0.034, 0.038, iris)
        pen.block(x - 0.06, eye_y - 0.1 + side * brow, x + 0.06, eye_y - 0.07 + side * brow, _shade(hair, 0.8), 0.012)
    pen.oval(0.5, 0.6, 0.035, 0.03, _shade(skin, 0.82))
    if rng.random() < 0.25:  # a beard goes under the mouth
        pen.half(0.5, 0.6, width * 0.92, 0.245, 15, 165, hair)
    _mouth(pen, rng.choice(["smile", "smile", "laugh", "flat", "open"]), 0.5, 0.71)
    _hair_front(pen, style, hair, width)
    if rng.random() < 0.3:
        for side in (-1, 1):
            pen.ring(0.5 + side * gap, eye_y, 0.1, 0.09, INK, 0.024)
        pen.block(0.5 - gap + 0.1, eye_y - 0.012, 0.5 + gap - 0.1, eye_y + 0.012, INK)
    if rng.random() < 0.15:
        hat = rng.choice(SHIRTS)
        pen.half(0.5, 0.34, width + 0.05, 0.32, 180, 360, hat)
        pen.block(0.5 - width - 0.1, 0.31, 0.5 + width + 0.1, 0.37, _shade(hat, 0.8), 0.02)
    return canvas.reduce(SCALE)


def draw_faces(count: int, size: int = 64) -> Pictures:
    """Faces of the seeds 0 … count-1: uint8 (count, size, size, 3)."""
    return np.stack([np.asarray(draw_face(seed, size)) for seed in range(count)])
