"""Learning-rate schedules as functions of the share of the budget used. Pure."""

import math

WARM_UP = 0.02  # of the budget


def hold_then_decay(progress: float, hold: float) -> float:
    """Factor on the peak rate: a short warm-up, then 1 until `hold`, then a half cosine down to 0 at the end."""
    if progress < WARM_UP:
        return max(0.05, progress / WARM_UP)
    if progress <= hold or hold >= 1:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - hold) / (1 - hold))))
