"""Figures of merit as pure functions of arrays. Must not know: models, files, training."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def perplexity(loss: float) -> float:
    """exp of the mean negative log-likelihood in nats a token; infinite rather than an error when it overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def frechet_distance(real: Floats, fake: Floats) -> float:
    """Fréchet distance between Gaussians fitted to two feature sets (N, D), over the trace of the real covariance.

    Heusel et al. 2017 (arXiv:1706.08500) without its network; the division makes it scale-free: 0 is equal, and a
    single constant picture scores at least 1.
    """
    mean_r, mean_f = real.mean(0), fake.mean(0)
    cov_r, cov_f = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = _root(cov_r)
    cross = np.linalg.eigvalsh(root @ cov_f @ root)
    trace = float(np.trace(cov_r))
    distance = (
        float(((mean_r - mean_f) ** 2).sum())
        + trace
        + float(np.trace(cov_f))
        - 2 * float(np.sqrt(np.clip(cross, 0, None)).sum())
    )
    if trace == 0:  # real pictures that are all the same have no scale
        return math.inf
    return max(0.0, distance) / trace


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
