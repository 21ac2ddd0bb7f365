"""A picture's seed as the generator's input, the same in training previews and in every answer. Pure."""

import numpy as np
import numpy.typing as npt

MAX_SEED = 2**32 - 1


def latent(seed: int, size: int, truncation: float = 1.0) -> npt.NDArray[np.float32]:
    """z of (size,) from a standard normal, drawn from `seed` alone and scaled by `truncation`.

    RandomState, because its stream is frozen by NumPy's policy: a seed is the same picture for years. Scaling towards
    the mean is the truncation trick (Brock et al. 2019, arXiv:1809.11096): below 1 more typical, less varied.
    """
    drawn = np.random.RandomState(seed).standard_normal(size)
    return (truncation * drawn).astype(np.float32)
