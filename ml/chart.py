"""Small line charts by Pillow alone. Must not know: what is drawn.

A chart library was weighed (docs/decisions): what answers requests draws here too, and is to stay small.
Everything is drawn SMOOTH times as large and then reduced, since Pillow's lines have hard edges.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Points = npt.NDArray[np.floating]  # (N,)
Style = Literal["solid", "dotted", "dashed"]

SMOOTH = 2
BLACK: Colour = (20, 20, 20)
GRAY: Colour = (140, 140, 140)
PALE: Colour = (222, 222, 222)
GREEN: Colour = (0, 140, 70)
LIGHT_GREEN: Colour = (176, 222, 196)
BLUE: Colour = (35, 85, 220)
WHITE: Colour = (255, 255, 255)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * SMOOTH)


class Chart:
    """A white sheet; places and sizes are pixels of the finished picture, from the upper left."""

    def __init__(self, width: int, height: int) -> None:
        self._sheet = Image.new("RGB", (width * SMOOTH, height * SMOOTH), WHITE)
        self._draw = ImageDraw.Draw(self._sheet)

    def text(self, at: tuple[float, float], words: str, size: int, colour: Colour = BLACK, anchor: str = "lm") -> None:
        """Write `words` at a place; `anchor` as Pillow has it, e.g. "mm" for the middle."""
        self._draw.text((at[0] * SMOOTH, at[1] * SMOOTH), words, colour, _font(size), anchor)

    def width_of(self, words: str, size: int) -> float:
        return float(self._draw.textlength(words, _font(size))) / SMOOTH

    def line(self, x: Points, y: Points, colour: Colour, width: float, style: Style = "solid") -> None:
        """A line through the points; `width` is its thickness, or the diameter of its dots."""
        points = np.stack([x, y], 1) * SMOOTH
        width *= SMOOTH
        if style == "solid":
            self._stroke(points, colour, width)
            return
        steps = np.hypot(*np.diff(points, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        if style == "dotted":
            for at in np.arange(0, along[-1], 2.2 * width):
                left, top = (float(np.interp(at, along, points[:, axis])) - width / 2 for axis in (0, 1))
                self._draw.ellipse((left, top, left + width, top + width), colour)
            return
        for begin in np.arange(0, along[-1], 7 * width):
            end = min(begin + 4.5 * width, along[-1])
            inside = along[(along > begin) & (along < end)]
            marks = np.concatenate([[begin], inside, [end]])
            dash = np.stack([np.interp(marks, along, points[:, axis]) for axis in (0, 1)], 1)
            self._stroke(dash, colour, width)

    def _stroke(self, points: npt.NDArray[np.floating], colour: Colour, width: float) -> None:
        self._draw.line([(float(x), float(y)) for x, y in points], colour, max(1, round(width)), joint="curve")

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: float) -> None:
        """An arrow with a filled head at `end`."""
        length = math.dist(start, end)
        if length == 0:
            return
        head = min(length, 4.5 * width + 2)
        ahead = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        neck = (end[0] - head * ahead[0], end[1] - head * ahead[1])
        self.line(np.array([start[0], neck[0]]), np.array([start[1], neck[1]]), colour, width)
        wing = head / 2.6
        corners = [
            end,
            (neck[0] - wing * ahead[1], neck[1] + wing * ahead[0]),
            (neck[0] + wing * ahead[1], neck[1] - wing * ahead[0]),
        ]
        self._draw.polygon([(x * SMOOTH, y * SMOOTH) for x, y in corners], colour)

    def box(self, box: tuple[float, float, float, float], fill: Colour, outline: Colour | None = None) -> None:
        """A filled rectangle (left, top, right, bottom)."""
        left, top, right, bottom = (round(side * SMOOTH) for side in box)
        self._draw.rectangle((left, top, max(left, right), max(top, bottom)), fill, outline, SMOOTH)

    def legend(self, at: tuple[float, float], entries: Iterable[tuple[str, Colour, Style]], size: int = 18) -> None:
        """Entries of (words, colour, style) side by side from `at` on."""
        left, middle = at
        for words, colour, style in entries:
            self.line(np.array([left, left + 42]), np.array([middle, middle]), colour, 3.5, style)
            self.text((left + 50, middle), words, size)
            left += 50 + self.width_of(words, size) + 26

    def image(self) -> Image.Image:
        """The finished picture, RGB."""
        return self._sheet.reduce(SMOOTH)


class Frame:
    """A part of a chart with axes of its own: `x` and `y` are the values at its left and right, bottom and top."""

    def __init__(
        self, chart: Chart, box: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        self.chart, self.box, self.x, self.y = chart, box, x, y

    def across(self, x: Points) -> Points:
        """Values as places from the left; what lies outside is put on the edge."""
        left, _, right, _ = self.box
        return left + (np.clip(x, *self.x) - self.x[0]) / (self.x[1] - self.x[0]) * (right - left)

    def down(self, y: Points) -> Points:
        """Values as places from the top; what lies outside is put on the edge."""
        _, top, _, bottom = self.box
        return bottom - (np.clip(y, *self.y) - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)

    def line(self, x: Points, y: Points, colour: Colour, width: float, style: Style = "solid") -> None:
        self.chart.line(self.across(x), self.down(y), colour, width, style)

    def bars(self, edges: Points, heights: Points, fill: Colour, outline: Colour) -> None:
        """A histogram: `heights` (N,) between `edges` (N + 1,)."""
        across, down = self.across(edges), self.down(heights)
        for left, right, top in zip(across[:-1], across[1:], down, strict=True):
            if top < self.box[3]:
                self.chart.box((left, top, right, self.box[3]), fill, outline)

    def x_axis(self, size: int = 16, labels: bool = True) -> None:
        """The line at the bottom with a handful of round numbers under it."""
        left, _, right, bottom = self.box
        self.chart.line(np.array([left, right]), np.array([bottom, bottom]), BLACK, 1.5)
        if not labels:
            return
        for value in round_numbers(*self.x):
            at = float(self.across(np.array(value)))
            self.chart.line(np.array([at, at]), np.array([bottom, bottom + 5]), BLACK, 1.5)
            self.chart.text((at, bottom + 8), f"{value:g}", size, anchor="mt")


def round_numbers(low: float, high: float, most: int = 9) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)][:most]
