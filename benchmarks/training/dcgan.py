"""The picture rival: the networks and the update of PyTorch's DCGAN tutorial, written from its description.

At 64 pixels it is the tutorial's: latent 100, 64 base widths, transposed convolutions from 1x1 with batch norms and
rectifiers, strided convolutions with batch norms and leaky rectifiers, Adam 2e-4 (.5, .999), binary cross-entropy, real
and drawn pictures in two passes. Smaller pictures leave out the coarsest layers. Must not know: the product.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT, BATCH, RATE, BETAS = 100, 128, 2e-4, (0.5, 0.999)
WIDTHS = {28: (128, 64), 32: (256, 128, 64), 64: (512, 256, 128, 64)}  # of the generator, from its coarsest layer


def _weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class DCGAN:
    """Both networks and their optimizers, for pictures (B, channels, size, size) in [-1, 1]."""

    def __init__(self, size: int, channels: int, widths: Sequence[int] | None = None) -> None:
        widths = widths or WIDTHS[size]
        side = size // 2 ** len(widths)
        enlarging: list[nn.Module] = [nn.ConvTranspose2d(LATENT, widths[0], side, bias=False)]
        for a, b in pairwise((*widths, channels)):
            enlarging += [nn.BatchNorm2d(a), nn.ReLU(True), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
        judging: list[nn.Module] = []
        for number, (a, b) in enumerate(pairwise((channels, *reversed(widths)))):
            judging += [nn.Conv2d(a, b, 4, 2, 1, bias=False)]
            judging += [nn.BatchNorm2d(b)] if number else []
            judging += [nn.LeakyReLU(0.2, True)]
        self.generator = nn.Sequential(*enlarging, nn.Tanh()).apply(_weights)
        self.discriminator = nn.Sequential(*judging, nn.Conv2d(widths[0], 1, side, bias=False), nn.Sigmoid())
        self.discriminator.apply(_weights)
        self.for_g, self.for_d = (
            torch.optim.Adam(network.parameters(), RATE, BETAS) for network in (self.generator, self.discriminator)
        )

    def update(self, real: Tensor) -> tuple[float, float]:
        """The discriminator's update and the generator's on real pictures; both losses."""
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        self.discriminator.zero_grad()
        on_real = F.binary_cross_entropy(self.discriminator(real).flatten(), ones)
        on_real.backward()  # type: ignore[no-untyped-call]
        drawn = self.generator(torch.randn(len(real), LATENT, 1, 1))
        on_drawn = F.binary_cross_entropy(self.discriminator(drawn.detach()).flatten(), zeros)
        on_drawn.backward()  # type: ignore[no-untyped-call]
        self.for_d.step()
        self.generator.zero_grad()
        loss_g = F.binary_cross_entropy(self.discriminator(drawn).flatten(), ones)
        loss_g.backward()  # type: ignore[no-untyped-call]
        self.for_g.step()
        return float((on_real + on_drawn).detach()), float(loss_g.detach())
