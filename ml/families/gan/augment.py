"""Differentiable augmentation: the discriminator sees real and drawn pictures moved alike. Must not know: networks.

Zhao et al. 2020 (arXiv:2006.10738): where pictures are few, the discriminator would learn them by heart; moved at
random it cannot, and because the drawn ones are moved in the same way, and the gradient passes through, that does not
come to be drawn. Each picture is moved with the probability `strength`: what happens to only some of them leaks less
(Karras et al. 2020, arXiv:2006.06676). Their changes of colour and their holes did leak, and are left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ml import parallel

SHIFT = 1 / 8  # of the side, at most


def augment(pictures: Tensor, strength: float) -> Tensor:
    """Pictures (B, C, S, S), that share of them moved by up to SHIFT of the side each way, by torch's generator.

    The edge goes on into what comes free.
    """
    if strength == 0:
        return pictures
    count, side = len(pictures), pictures.shape[-1]
    most = max(1, round(SHIFT * side))
    moved = parallel.each(lambda rows: torch.rand(rows, 1, device=pictures.device), count) < strength
    padded = F.pad(pictures, (most, most, most, most), mode="replicate")
    by = parallel.each(lambda rows: torch.randint(-most, most + 1, (2, rows, 1), device=pictures.device), count, 1)
    starts = by * moved + most  # (2, B, 1)
    rows, columns = starts + torch.arange(side, device=pictures.device)  # (B, S) each
    every = torch.arange(count, device=pictures.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
