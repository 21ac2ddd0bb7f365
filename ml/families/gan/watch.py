"""Whether a GAN's training is going wrong, from the figures of its evaluations. Knows no remedy."""

import torch

from ml.families.base import State, Trouble

RUNAWAY = 0.95, 0.05  # d_real above and d_fake below: the discriminator tells nearly every picture
LOST = 0.1  # of the best coverage and recall so far: what is left of them in a collapse
WORTH = 0.2  # the coverage from which on losing it means something
SPREAD = 0.02  # of the real pictures' variance: below, all that is drawn is one picture
START = torch.tensor([float("inf"), 0, 0, 0], dtype=torch.float64)  # best distance and coverage; runaway, collapse
IN_A_ROW = {"runaway": 3, "collapse": 2}  # evaluations that say so, since a single one may be chance


def diagnose(state: State, figures: dict[str, float]) -> Trouble | None:
    """What is wrong, or None. Counts in `state.extra`, so that a checkpoint knows it too."""
    best_distance, best_coverage, runaway, collapse = state.extra.get("watch", START).tolist()
    distance, coverage, recall, spread = (
        figures[name] for name in ("frechet_distance", "coverage", "recall", "spread")
    )
    ahead = figures["d_real"] > RUNAWAY[0] and figures["d_fake"] < RUNAWAY[1]
    # A discriminator far ahead is no harm while the pictures still get better.
    runaway = runaway + 1 if ahead and distance >= best_distance else 0
    lost = best_coverage >= WORTH and max(coverage, recall) < LOST * best_coverage
    collapse = collapse + 1 if lost or spread < SPREAD else 0
    best = [min(distance, best_distance), max(coverage, best_coverage)]
    state.extra["watch"] = torch.tensor([*best, runaway, collapse], dtype=torch.float64)
    if collapse:
        return Trouble(
            f"the generator has collapsed to a few pictures: coverage {coverage:.2f}, recall {recall:.2f}, and "
            f"{spread:.0%} of the real pictures' spread",
            collapse >= IN_A_ROW["collapse"],
        )
    if runaway:
        return Trouble(
            f"the discriminator has run away, D(x) {figures['d_real']:.2f} and D(G(z)) {figures['d_fake']:.2f}, and "
            "the pictures no longer get better",
            runaway >= IN_A_ROW["runaway"],
        )
    return None
