"""The GAN's two networks. Must not know: losses, data or training."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml import parallel
from ml.families.gan.config import GANConfig

SLOPE = 0.2  # of the leaky rectifier


# How the 3 weights of a row act behind nearest-neighbour upsampling, as the 4 of a transposed convolution of stride 2.
UPSAMPLED = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])


def _init(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Enlarging(nn.Conv2d):
    """(B, in, s, s) -> (B, out, 2s, 2s): a 3x3 convolution behind nearest-neighbour upsampling, which draws no
    checkerboards (Odena et al. 2016), as the transposed convolution that is the same at less than half the operations.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        upsampled = UPSAMPLED.to(x.device)
        kernel = upsampled @ self.weight.transpose(0, 1) @ upsampled.T  # (in, out, 4, 4)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class Generator(nn.Module):
    """z (B, Z) and, with classes, labels (B,) -> pictures (B, C, S, S) in [-1, 1]: linear layers, then enlarging
    convolutions, no norms."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        assert config.size is not None
        assert config.channels is not None
        self.side = config.size // 2 ** len(config.channels)
        self.width = config.channels[0]
        self.hidden = _init(nn.Linear(config.latent, config.hidden)) if config.hidden else None
        self.stem = _init(nn.Linear(config.hidden or config.latent, self.width * self.side**2))
        widths = [*config.channels, 3 if config.colour else 1]
        self.blocks = nn.ModuleList(_init(Enlarging(a, b)) for a, b in pairwise(widths))
        self.classes = nn.Embedding(config.classes, self.width * self.side**2) if config.classes else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.hidden is not None:
            z = F.leaky_relu(self.hidden(z), SLOPE)  # (B, H)
        x = self.stem(z)
        if self.classes is not None:
            x = x + self.classes(label)
        x = x.view(-1, self.width, self.side, self.side).contiguous(memory_format=torch.channels_last)  # (B, C0, s, s)
        for conv in self.blocks:
            x = conv(F.leaky_relu(x, SLOPE))  # (B, Ci, 2s, 2s)
        return torch.tanh(x)


class Discriminator(nn.Module):
    """Pictures (B, C, S, S) and, with classes, labels (B,) -> logits (B,) that they are real: strided convolutions, a
    minibatch deviation, a dense layer that sees all places together, and the projection of the features on the label's
    vector (Miyato and Koyama 2018, arXiv:1802.05637).

    The deviation over the batch (Karras et al. 2018, arXiv:1710.10196) shows the network a collapse. In evaluation its
    running mean on real pictures stands in, so that one picture can be judged by itself.
    """

    deviation: Tensor

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        assert config.size is not None
        assert config.channels is not None
        widths = [3 if config.colour else 1, *reversed(config.channels)]
        self.blocks = nn.ModuleList(_init(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths))
        area = (config.size // 2 ** len(config.channels)) ** 2
        seen = (config.channels[0] + 1) * area
        # Without it the verdict is a sum over places: what is wrong only as a whole, such as half a digit, goes unseen.
        self.hidden = _init(nn.Linear(seen, config.hidden)) if config.hidden else None
        self.head = _init(nn.Linear(config.hidden or seen, 1))
        self.classes = nn.Embedding(config.classes, config.channels[0] * area) if config.classes else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=(config.channels[0] * area) ** -0.5)
        self.register_buffer("deviation", torch.zeros(()))

    def forward(self, x: Tensor, label: Tensor | None = None, real: bool = False) -> Tensor:
        for conv in self.blocks:
            x = F.leaky_relu(conv(x), SLOPE)  # (B, Ci, s, s)
        if self.training:
            spread = parallel.variance(x).add(1e-8).sqrt().mean()  # the root of exactly 0 has no slope
            if real:
                self.deviation.lerp_(spread.detach(), 0.01)
        else:
            spread = self.deviation
        seen = torch.cat([x, spread.expand(x.shape[0], 1, *x.shape[2:])], 1).flatten(1)
        if self.hidden is not None:
            seen = F.leaky_relu(self.hidden(seen), SLOPE)  # (B, H)
        out: Tensor = self.head(seen).squeeze(1)
        if self.classes is not None:
            out = out + (x.flatten(1) * self.classes(label)).sum(1)
        return out
