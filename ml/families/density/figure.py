"""The lecture's figure, after Goodfellow et al. 2014 (arXiv:1406.2661), figure 1: how two densities become one.

Each panel shows one moment: the data's density dotted, the generated one in green, the discriminator's probability
dashed in blue, and below the map from z to x as arrows, so that arrows are dense where much is generated. The large
panel is now; the four small ones are (a) the beginning, (b) and (c) on the way, and (d) now.
Must not know: networks, or files.
"""

import io
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ml.chart import BLACK, BLUE, GRAY, GREEN, PALE, Chart, Frame
from ml.data.numbers import Mixture, Numbers

PANELS = 4
SHARES = (0.0, 0.05, 0.25)  # of the budget, at which the first three are kept
SHARE: Numbers = (np.arange(1001) + 0.5) / 1001  # of all z, up to each of NOISE
NOISE: Numbers = np.array([NormalDist().inv_cdf(share) for share in SHARE])  # z of the map, equally likely
CURVE = 301  # points of D
ARROWS = 33
BINS = 600
EDGE = 2.5  # z at the ends of its line
WIDTH, HEIGHT = 800, 760
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Moment:
    """The networks at one moment."""

    updates: int
    mapped: Numbers  # G(z) at NOISE: (1001,)
    probability: Numbers  # D(x) at `places`: (301,)


def places(density: Mixture) -> Numbers:
    """Where D is drawn: the data's span and an eighth of it on either side, (301,)."""
    low, high = density.span
    margin = (high - low) / 8
    return np.linspace(low - margin, high + margin, CURVE)


def pack(moment: Moment) -> npt.NDArray[np.float32]:
    """A moment as one row, to be kept in a checkpoint."""
    return np.concatenate([[moment.updates], moment.mapped, moment.probability]).astype(np.float32)


def unpack(row: npt.NDArray[np.float32]) -> Moment:
    return Moment(round(float(row[0])), row[1 : 1 + len(NOISE)], row[1 + len(NOISE) :])


def draw(density: Mixture, story: list[Moment], now: Moment, figures: dict[str, float]) -> bytes:
    """The figure as PNG, 800 x 760. `story`: the moments kept so far; `figures`: the metrics of now."""
    chart = Chart(WIDTH, HEIGHT)
    chart.text((24, 28), f"after {now.updates:,} updates", 26)
    beside = (
        f"KS distance {figures['ks_distance']:.3f}    D(x) {figures['d_real']:.3f}    D(G(z)) {figures['d_fake']:.3f}"
    )
    chart.text((WIDTH - 24, 28), beside, 22, anchor="rm")
    chart.legend(
        (24, 66), [("data", BLACK, "dotted"), ("generated", GREEN, "solid"), ("discriminator D(x)", BLUE, "dashed")], 20
    )
    _panel(chart, density, now, (44, 92, 750, 552), small=False)
    kept = [*story[: PANELS - 1], now] if story else [now]
    width = (WIDTH - 48) / PANELS
    for at, moment in enumerate(kept):
        left = 24 + at * width
        _panel(chart, density, moment, (left + 6, 610, left + width - 6, 718), small=True)
        when = "now" if moment is now else f"{moment.updates:,} updates"
        chart.text((left + width / 2, 738), f"({'abcd'[at]}) {when}", 18, anchor="mm")
    out = io.BytesIO()
    chart.image().save(out, "png", compress_level=6)
    return out.getvalue()


def curves(density: Mixture, now: Moment) -> dict[str, list[float]]:
    """The large panel in numbers, for whoever draws it anew: three curves over `x`, and where the map takes `z`."""
    x = places(density)[::3]
    at, generated = _generated(now, (float(x[0]), float(x[-1])))
    shares = (np.arange(ARROWS) + 0.5) / ARROWS
    drawn = {
        "x": x,
        "data": density.density(x),
        "generated": np.interp(x, at, generated),
        "discriminator": now.probability[::3],
        "z": np.interp(shares, SHARE, NOISE),
        "mapped": np.interp(shares, SHARE, now.mapped),
    }
    return {name: [round(float(value), 4) for value in values] for name, values in drawn.items()}


def _panel(chart: Chart, density: Mixture, moment: Moment, box: Box, small: bool) -> None:
    """One moment: the three curves above, the map from z to x below."""
    left, top, right, bottom = box
    split = top + (0.7 if small else 0.74) * (bottom - top)
    x = places(density)
    span = (float(x[0]), float(x[-1]))
    truth = density.density(x)
    curves = Frame(chart, (left, top, right, split), span, (0.0, 1.5 * float(truth.max())))
    chances = Frame(chart, (left, top, right, split), span, (0.0, 1.0))
    half = np.array([0.5, 0.5])
    chances.line(np.array(span), half, PALE, 1 if small else 2)
    thin = 2.0 if small else 4.0
    curves.line(x, truth, BLACK, thin + (0 if small else 1), "dotted")
    curves.line(*_generated(moment, span), GREEN, thin)
    chances.line(x, moment.probability, BLUE, thin - 0.5, "dashed")
    curves.x_axis(labels=not small)
    if not small:
        for value in (0, 0.5, 1):
            at = float(chances.down(np.array(value)))
            chart.text((right + 8, at), f"{value:g}", 18, BLUE)
        chart.text((left - 14, split), "x", 22, anchor="rm")
        chart.text((left - 14, bottom), "z", 22, anchor="rm")
    _arrows(chart, moment, curves, split + (4 if small else 36), bottom, small)


def _arrows(chart: Chart, moment: Moment, curves: Frame, top: float, bottom: float, small: bool) -> None:
    """The map from z to x: from equally likely z on the lower line to their x on the upper one."""
    left, _, right, _ = curves.box
    middle, half = (left + right) / 2, 0.3 * (right - left)
    chart.line(np.array([middle - half, middle + half]), np.array([bottom, bottom]), BLACK, 1.5)
    count = (ARROWS + 1) // 2 if small else ARROWS
    shares = (np.arange(count) + 0.5) / count
    z = np.interp(shares, SHARE, NOISE) / EDGE
    for noise, x in zip(z, np.interp(shares, SHARE, moment.mapped), strict=True):
        if curves.x[0] <= x <= curves.x[1]:
            end = (float(curves.across(np.array(x))), top)
            chart.arrow((middle + half * noise, bottom), end, GRAY, 0.7 if small else 1.3)


def _generated(moment: Moment, span: tuple[float, float]) -> tuple[Numbers, Numbers]:
    """The generated density: the map's values at equally likely z, counted and smoothed a little."""
    fine = np.interp(np.linspace(0, 1, 20 * len(SHARE)), SHARE, moment.mapped)
    counts, edges = np.histogram(fine, BINS, span)
    reach = np.arange(-20, 21)
    kernel = np.exp(-0.5 * (reach / 5) ** 2)
    smooth = np.convolve(counts / (len(fine) * (edges[1] - edges[0])), kernel / kernel.sum(), "same")
    return (edges[1:] + edges[:-1]) / 2, smooth
