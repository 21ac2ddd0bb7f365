"""Differentiable augmentation: the discriminator sees real and drawn pictures changed alike. Must not know: networks.

Zhao et al. 2020 (arXiv:2006.10738): where pictures are few, the discriminator would learn them by heart; changed at
random it cannot, and because the drawn ones are changed in the same way, and the gradient passes through, the changes
do not come to be drawn. Each change meets each picture with the probability `strength`: what happens to only some of
them leaks less (Karras et al. 2020, arXiv:2006.06676).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ml import parallel

SHIFT = 1 / 8  # of the side, at most
HOLE = 1 / 2  # side of the square cut out, as a share of the picture's


def augment(pictures: Tensor, strength: float) -> Tensor:
    """Pictures (B, C, S, S) in [-1, 1], their colour and place and a hole changed at random by torch's generator."""
    if strength == 0:
        return pictures
    return _cutout(_translate(_colour(pictures, strength), strength), strength)


def _chosen(pictures: Tensor, strength: float) -> Tensor:
    """1 for the pictures that a change meets, otherwise 0: (B, 1, 1, 1)."""
    return (_random(pictures) < strength).float()


def _uniform(pictures: Tensor, low: float, high: float) -> Tensor:
    return _random(pictures) * (high - low) + low


def _random(pictures: Tensor) -> Tensor:  # (B, 1, 1, 1)
    return parallel.each(lambda rows: torch.rand(rows, 1, 1, 1, device=pictures.device), len(pictures))


def _colour(x: Tensor, strength: float) -> Tensor:
    """Brightness changed by up to a quarter of the range, saturation times 0 to 2, contrast times 0.5 to 1.5."""
    chosen = _chosen(x, strength)
    x = x + chosen * _uniform(x, -0.5, 0.5)
    if x.shape[1] > 1:
        gray = x.mean(1, keepdim=True)
        x = gray + (x - gray) * (1 + chosen * _uniform(x, -1, 1))
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (1 + chosen * _uniform(x, -0.5, 0.5))


def _translate(x: Tensor, strength: float) -> Tensor:
    """Moved by up to SHIFT of the side each way; the edge goes on into what comes free."""
    count, side = len(x), x.shape[-1]
    most = max(1, round(SHIFT * side))
    moved = _chosen(x, strength).long().view(-1, 1)
    padded = F.pad(x, (most, most, most, most), mode="replicate")
    by = parallel.each(lambda rows: torch.randint(-most, most + 1, (2, rows, 1), device=x.device), count, 1)
    starts = by * moved + most  # (2, B, 1)
    rows, columns = starts + torch.arange(side, device=x.device)  # (B, S) each
    every = torch.arange(count, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _cutout(x: Tensor, strength: float) -> Tensor:
    """A square of HOLE of the side is set to 0, its middle anywhere in the picture."""
    side = x.shape[-1]
    middles = parallel.each(lambda rows: torch.randint(0, side, (2, rows, 1), device=x.device), len(x), 1)
    near = (torch.arange(side, device=x.device) - middles).abs() < HOLE * side / 2  # (2, B, S)
    hole = (near[0][:, :, None] & near[1][:, None]).unsqueeze(1)  # (B, 1, S, S)
    return x * (1 - hole.float() * _chosen(x, strength))
