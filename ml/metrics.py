"""Figures of merit as pure functions of arrays. Must not know: models, files, training."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
NEIGHBOURS = 5  # whose distance is the radius of a point's neighbourhood
ROWS = 256  # of a matrix of distances that are worked out at once


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


def neighbourhoods(real: Floats, fake: Floats, k: int = NEIGHBOURS) -> dict[str, float]:
    """How far two sets of features (N, D) and (M, D) lie in each other, by balls that reach to the k-th neighbour.

    `precision`: share of fakes in the ball of a real one; `recall`: share of reals in the ball of a fake (Kynkäänniemi
    et al. 2019, arXiv:1904.06991). `density`: in how many balls of reals a fake lies, over k, so about 1 for equal
    sets; `coverage`: share of real balls that hold a fake, the one that outliers do not help (Naeem et al. 2020,
    arXiv:2002.09797). With fewer than k + 1 of a kind, the farthest neighbour there is counts.
    """
    across = distances(real, fake)
    radius_r, radius_f = _radius(real, k), _radius(fake, k)
    in_real = across <= radius_r[:, None]  # (N, M)
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float((across <= radius_f[None]).any(1).mean()),
        "density": float(in_real.sum(0).mean() / min(k, len(real) - 1)),
        "coverage": float(in_real.any(1).mean()),
    }


def _radius(points: Floats, k: int) -> Floats:
    """The distance of each point to its k-th nearest among the others: (N,)."""
    radius: Floats = np.sort(distances(points, points), axis=1)[:, min(k, len(points) - 1)]  # the 0th is itself
    return radius


def distances(points: Floats, others: Floats) -> Floats:
    """Euclidean distances of (N, D) and (M, D): (N, M)."""
    squares = (points**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * points @ others.T
    out: Floats = np.sqrt(np.maximum(squares, 0))
    return out


def nearest(points: Floats, among: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """For each of (N, D) which of (M, D) is nearest, and how far it is; at most ROWS x M distances at a time."""
    index = np.empty(len(points), np.intp)
    distance = np.empty(len(points), among.dtype)
    for at in range(0, len(points), ROWS):
        part = distances(points[at : at + ROWS], among)
        index[at : at + ROWS], distance[at : at + ROWS] = part.argmin(1), part.min(1)
    return index, distance


def near_copies(drawn: Floats, train: Floats, room: Floats) -> float:
    """Share of `drawn` (N, D) that lie nearer than half of `room` (M,) to their nearest picture of `train` (M, D).

    `room` is how far the nearest held-out picture is from each training picture: what was never seen hardly comes that
    much nearer by chance, and a part of the space where all pictures are alike (the digit 1) has small rooms.
    """
    index, distance = nearest(drawn, train)
    return float((distance < 0.5 * room[index]).mean())


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
