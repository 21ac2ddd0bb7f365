"""Features of pictures without a trained network: what the Fréchet distance is measured in."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (8, 16, 32)


class RandomFeatures:
    """A fixed pyramid of seeded random 3x3 convolutions; each level gives its channels' means and deviations.

    No training, no labels, no download, the same on every machine. It sees shape, stroke and colour; it hardly sees a
    missing class.
    """

    def __init__(self, channels: int) -> None:
        generator = torch.Generator().manual_seed(20140610)
        widths = (channels, *WIDTHS)
        self.kernels = [
            torch.randn(b, a, 3, 3, generator=generator) * (2 / (9 * a)) ** 0.5 for a, b in pairwise(widths)
        ]

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> npt.NDArray[np.float64]:
        """(N, C, S, S) in [-1, 1] -> (N, 2 * sum of WIDTHS)."""
        out = []
        for part in torch.split(pictures, 256):
            levels = []
            x = part
            for kernel in self.kernels:
                x = F.relu(F.conv2d(x, kernel, padding=1))
                levels += [x.mean((2, 3)), x.std((2, 3))]
                x = F.avg_pool2d(x, 2)
            out.append(torch.cat(levels, 1))
        return torch.cat(out).double().numpy()
