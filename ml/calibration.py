"""A discriminator's logit as an honest probability. Pure.

What a discriminator says of the pictures it was trained on is no probability for others: it has seen them. So two
numbers are fitted on held-out pictures and as many drawn ones (Platt 1999).
"""

import numpy as np
import numpy.typing as npt

ROUNDS = 100
UNINFORMED = {"scale": 0.0, "offset": 0.0}  # 0.5, whatever the picture


def calibrate(real: npt.NDArray[np.floating], drawn: npt.NDArray[np.floating]) -> dict[str, float]:
    """{"scale", "offset"} so that sigmoid(scale * logit + offset) is the probability of being real.

    `real`: the logits (N,) of held-out real pictures; `drawn`: those (M,) of drawn ones. Both kinds count the same
    however many there are, so 0.5 means that a picture might as well be of either. Logits that say nothing, or the
    opposite of the truth, give a scale of 0: no picture then looks more real than another. Raises ValueError when a
    side is empty or not finite.
    """
    logits = np.concatenate([real, drawn]).astype(np.float64)
    if not len(real) or not len(drawn) or not np.isfinite(logits).all():
        raise ValueError("a calibration needs finite logits of real and of drawn pictures")
    # Platt's targets, a little inside 0 and 1: else logits that part the two without error want an infinite scale.
    targets = np.repeat([1 - 1 / (len(real) + 2), 1 / (len(drawn) + 2)], [len(real), len(drawn)])
    weights = np.repeat([0.5 / len(real), 0.5 / len(drawn)], [len(real), len(drawn)])
    middle, spread = logits.mean(), logits.std()
    if spread == 0:
        return dict(UNINFORMED)
    x = np.stack([(logits - middle) / spread, np.ones_like(logits)])  # (2, N + M)

    def loss(theta: npt.NDArray[np.float64]) -> float:
        scores = theta @ x
        return float((weights * (np.logaddexp(0, scores) - targets * scores)).sum())

    theta = np.zeros(2)
    for _ in range(ROUNDS):  # Newton's steps, halved while they lead up
        likely = 1 / (1 + np.exp(-np.clip(theta @ x, -60, 60)))
        slope = x @ (weights * (likely - targets))
        curve = (x * (weights * likely * (1 - likely))) @ x.T + 1e-12 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        while loss(theta - step) > loss(theta) and np.abs(step).max() > 1e-9:
            step /= 2
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    scale = float(theta[0] / spread)
    if scale <= 0:
        return dict(UNINFORMED)
    return {"scale": scale, "offset": float(theta[1] - scale * middle)}
