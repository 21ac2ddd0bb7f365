"""The objectives and the gradient penalty, as functions of logits. Pure."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ml.families.gan.config import Objective


def discriminator_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises, from its logits (B,) of real and drawn pictures.

    'minimax' and 'non-saturating' (Goodfellow et al. 2014, arXiv:1406.2661): -E[log D(x)] - E[log(1 - D(G(z)))].
    'hinge' (Lim and Ye 2017, arXiv:1705.02894). 'relativistic': -E[log D(x against G(z))], by pairs (Jolicoeur-
    Martineau 2018, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441).
    """
    match objective:
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case "relativistic":
            return F.softplus(fake - real).mean()
        case _:
            return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """What G minimises. Only the relativistic one looks at the real logits.

    'minimax': E[log(1 - D(G(z)))], the lecture's as written; 'non-saturating': -E[log D(G(z))]; 'hinge': -E[D(G(z))].
    """
    match objective:
        case "minimax":
            return -F.softplus(fake).mean()
        case "non-saturating":
            return F.softplus(-fake).mean()
        case "hinge":
            return -fake.mean()
        case "relativistic":
            return F.softplus(real - fake).mean()


def slope(logits: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared gradient norm of the logits (B,) by the pictures (B, C, S, S)."""
    (gradient,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
