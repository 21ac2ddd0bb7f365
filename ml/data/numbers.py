"""Single numbers whose distribution is known: mixtures of Gaussians, and a chart of what was drawn from one.

Must not know: networks, or how the numbers are kept on disk.
"""

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from ml.chart import BLACK, GREEN, LIGHT_GREEN, Chart, Frame

Numbers = npt.NDArray[np.floating]  # (N,)

DRAWS = 20_000  # of a model, wherever it is compared with its density
BARS = 80
CURVE = 400  # points of a drawn density
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_erf = np.frompyfunc(math.erf, 1, 1)


class Peak(BaseModel):
    """One Gaussian of a mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Finite
    deviation: float = Field(gt=1e-6, le=1e6)
    weight: float = Field(1.0, gt=1e-6, le=1e6, description="Its share, relative to the other peaks' weights")


class Mixture(BaseModel):
    """A mixture of Gaussians: the density that a model of single numbers is to learn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    peaks: tuple[Peak, ...] = Field(min_length=1, max_length=32)

    @property
    def span(self) -> tuple[float, float]:
        """Where all but some millionths of it lies: four deviations around every peak."""
        return (
            min(peak.mean - 4 * peak.deviation for peak in self.peaks),
            max(peak.mean + 4 * peak.deviation for peak in self.peaks),
        )

    def density(self, x: Numbers) -> Numbers:
        """p(x), of the shape of `x`."""
        total = np.zeros(np.shape(x))
        for share, peak in self._shares():
            scaled = (x - peak.mean) / peak.deviation
            total += share * np.exp(-0.5 * scaled**2) / (peak.deviation * math.sqrt(2 * math.pi))
        return total

    def below(self, x: Numbers) -> Numbers:
        """The cumulative distribution: the probability of a number up to x, of the shape of `x`."""
        total = np.zeros(np.shape(x))
        for share, peak in self._shares():
            scaled = (x - peak.mean) / (peak.deviation * math.sqrt(2))
            total += share * 0.5 * (1 + _erf(scaled).astype(np.float64))
        return total

    def ks_distance(self, numbers: Numbers) -> float:
        """Kolmogorov-Smirnov distance of the numbers (N,) to this density: the largest gap between the share of them
        up to x and the probability of that, 0 to 1. About 0.9 / sqrt(N) even for draws of the density itself."""
        below = self.below(np.sort(numbers.astype(np.float64)))
        steps = np.arange(len(numbers) + 1) / len(numbers)
        return float(np.maximum(steps[1:] - below, below - steps[:-1]).max())

    def draw(self, count: int, seed: int) -> npt.NDArray[np.float32]:
        """`count` independent numbers, the same for the same seed for years (NumPy freezes RandomState's stream)."""
        chance = np.random.RandomState(seed)
        shares = [share for share, _ in self._shares()]
        which = chance.choice(len(shares), size=count, p=shares)
        means, deviations = (np.array([getattr(p, name) for p in self.peaks]) for name in ("mean", "deviation"))
        drawn: npt.NDArray[np.float32] = (means[which] + deviations[which] * chance.standard_normal(count)).astype("f4")
        return drawn

    def _shares(self) -> list[tuple[float, Peak]]:
        total = sum(peak.weight for peak in self.peaks)
        return [(peak.weight / total, peak) for peak in self.peaks]


def noise(seed: int, count: int) -> npt.NDArray[np.float32]:
    """z of (count, 1) from a standard normal, drawn from `seed` alone: what a generator of numbers makes numbers of."""
    return np.random.RandomState(seed).standard_normal((count, 1)).astype(np.float32)


def histogram(numbers: Numbers, mixture: Mixture, title: str, note: str = "") -> Image.Image:
    """Bars of the numbers (N,) with the mixture's density dotted over them: RGB, 800 x 450 pixels."""
    low, high = mixture.span
    x = np.linspace(low, high, CURVE)
    density = mixture.density(x)
    edges = np.linspace(low, high, BARS + 1)
    counts, _ = np.histogram(numbers, edges)
    heights = counts / (len(numbers) * (edges[1] - edges[0]))
    chart = Chart(800, 450)
    chart.text((400, 24), title, 22, anchor="mm")
    frame = Frame(chart, (40, 84, 760, 400), (low, high), (0.0, 1.25 * float(density.max())))
    frame.bars(edges, heights, LIGHT_GREEN, GREEN)
    frame.line(x, density, BLACK, 4, "dotted")
    frame.x_axis()
    chart.legend((40, 60), [("density of the data", BLACK, "dotted"), (f"{len(numbers):,} numbers", GREEN, "solid")])
    chart.text((760, 60), note, 20, anchor="rm")
    return chart.image()
