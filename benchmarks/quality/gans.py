"""The rivals that draw: an MLP GAN as in Goodfellow et al. 2014, and small convolutional nets with R1.

Must not know: which pictures they are, or how they are measured.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.quality.stopwatch import Stopwatch
from ml.data.store import Pictures

Kind = Literal["mlp", "r1"]
LOOKS = 6  # points of the curve


class Maxout(nn.Module):
    """A linear layer of `width` units, each the largest of `pieces` (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def __init__(self, inputs: int, width: int, pieces: int = 5) -> None:
        super().__init__()
        self.pieces, self.linear = pieces, nn.Linear(inputs, width * pieces)

    def forward(self, x: Tensor) -> Tensor:
        largest: Tensor = self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)
        return largest


class Upsampling(nn.Module):
    """z (B, Z) -> pictures: a linear layer, then doubled by nearest neighbours and convolved, as often as `widths`."""

    def __init__(self, latent: int, side: int, widths: list[int], channels: int) -> None:
        super().__init__()
        self.start = side // 2 ** len(widths)
        self.stem = nn.Linear(latent, widths[0] * self.start**2)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise([*widths, channels]))

    def forward(self, z: Tensor) -> Tensor:
        x = self.stem(z).view(len(z), -1, self.start, self.start)
        for conv in self.convs:
            x = conv(F.interpolate(F.leaky_relu(x, 0.2), scale_factor=2.0))
        return torch.tanh(x)


@dataclass
class Recipe:
    """What makes one rival. `penalty` is R1's weight, paid at every update."""

    latent: int
    noise: Literal["uniform", "normal"]
    batch: int
    rate: float
    betas: tuple[float, float]
    penalty: float
    average: float  # decay of the averaged generator; 0: there is none
    hidden: int = 0  # units of the MLP's hidden layers: in the generator, and a fifth of it maxout in the discriminator


RECIPES: dict[Kind, Recipe] = {
    # As in the paper: uniform noise, rectifiers, maxout, dropout, the non-saturating objective. Adam for the paper's
    # momentum, since the minute that there is needs it.
    "mlp": Recipe(100, "uniform", 32, 1e-3, (0.5, 0.999), 0.0, 0.0, hidden=600),
    # Mescheder et al. 2018, arXiv:1801.04406: R1 at every update, no momentum, an averaged
    # generator. Rate and weight tuned on validation: the paper's (1e-4, 10) are for hours, not for a minute.
    "r1": Recipe(64, "normal", 32, 1e-3, (0.0, 0.99), 1.0, 0.995),
}
WIDTHS = {28: [64, 32], 32: [96, 48, 24]}  # of the convolutions: as many as the product's own


def networks(kind: Kind, side: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """(generator, discriminator) for pictures (B, C, S, S) in [-1, 1]."""
    latent, pixels = RECIPES[kind].latent, channels * side * side
    if kind == "mlp":
        hidden = RECIPES[kind].hidden
        generator = nn.Sequential(
            *(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            *(nn.Linear(hidden, pixels), nn.Tanh(), nn.Unflatten(1, (channels, side, side))),
        )
        discriminator = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(0.2), Maxout(pixels, hidden // 5), nn.Dropout(0.5)),
            *(Maxout(hidden // 5, hidden // 5), nn.Dropout(0.5), nn.Linear(hidden // 5, 1)),
        )
        return generator, discriminator
    widths = WIDTHS[side]
    convolutions: list[nn.Module] = []
    for a, b in pairwise([channels, *reversed(widths)]):
        convolutions += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    inner = widths[0] * (side // 2 ** len(widths)) ** 2
    return Upsampling(latent, side, widths, channels), nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(inner, 1))


@dataclass
class Rival:
    """A trained rival: draws pictures; knows what it cost."""

    kind: Kind
    generator: nn.Module
    seconds: float = 0.0
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)  # (CPU seconds, what `look` said)

    @torch.no_grad()
    def draw(self, count: int, seed: int) -> Pictures:
        """uint8 (N, S, S, C), the same for the same seed."""
        source = torch.Generator().manual_seed(seed)
        z = _noise(RECIPES[self.kind], count, source)
        parts = [self.generator(part) for part in torch.split(z, 256)]
        pixels = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte()
        out: Pictures = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return out


def train(kind: Kind, pictures: Pictures, seconds: float, seed: int, look: Callable[[Rival], float]) -> Rival:
    """Train for `seconds` of CPU; `look` measures on the way, and is not paid for."""
    torch.manual_seed(seed)
    recipe = RECIPES[kind]
    generator, discriminator = networks(kind, pictures.shape[1], pictures.shape[3])
    rival = Rival(kind, deepcopy(generator) if recipe.average else generator)
    optimizers = [torch.optim.Adam(net.parameters(), recipe.rate, recipe.betas) for net in (generator, discriminator)]
    watch, next_look = Stopwatch(), seconds / LOOKS
    for real in _batches(pictures, recipe.batch, seed):
        _update(recipe, generator, discriminator, optimizers, real)
        if recipe.average:
            with torch.no_grad():
                for mean, new in zip(rival.generator.parameters(), generator.parameters(), strict=True):
                    mean.lerp_(new, 1 - recipe.average)
        rival.steps, rival.seconds = rival.steps + 1, watch()
        if rival.seconds >= next_look:
            next_look += seconds / LOOKS
            with watch.paused():
                rival.curve.append((rival.seconds, look(rival)))
        if rival.seconds >= seconds:
            break
    return rival


def _update(
    recipe: Recipe,
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: list[torch.optim.Adam],
    real: Tensor,
) -> None:
    with torch.no_grad():
        fake = generator(_noise(recipe, len(real)))
    real.requires_grad_(recipe.penalty > 0)
    d_real = discriminator(real)
    loss = F.softplus(-d_real).mean() + F.softplus(discriminator(fake)).mean()
    if recipe.penalty:
        (slope,) = torch.autograd.grad(d_real.sum(), real, create_graph=True)
        loss = loss + recipe.penalty / 2 * slope.square().flatten(1).sum(1).mean()
    optimizers[1].zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizers[1].step()
    discriminator.requires_grad_(False)
    optimizers[0].zero_grad()
    loss_g = F.softplus(-discriminator(generator(_noise(recipe, len(real))))).mean()
    loss_g.backward()  # type: ignore[no-untyped-call]
    optimizers[0].step()
    discriminator.requires_grad_(True)


def _noise(recipe: Recipe, count: int, source: torch.Generator | None = None) -> Tensor:
    if recipe.noise == "uniform":
        return torch.rand(count, recipe.latent, generator=source).mul(2).sub(1)
    return torch.randn(count, recipe.latent, generator=source)


def _batches(pictures: Pictures, size: int, seed: int) -> Iterator[Tensor]:
    random, size = np.random.default_rng(seed), min(size, len(pictures))
    while True:
        order = random.permutation(len(pictures))
        for at in range(0, len(order) - size + 1, size):
            yield to_tensor(pictures[order[at : at + size]])


def to_tensor(pictures: Pictures) -> Tensor:
    """uint8 (N, S, S, C) -> float (N, C, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
