"""A seed is the same latent vector for years."""

import numpy as np
import pytest

from ml.latents import MAX_SEED, latent


def test_a_seed_is_what_it_always_was() -> None:
    expected = np.array([1.6243454, -0.6117564, -0.5281718, -1.0729686], dtype=np.float32)
    np.testing.assert_array_equal(latent(1, 4), expected)


def test_seeds_are_independent_of_what_was_drawn_before() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first = latent(7, 64)
    latent(8, 64)
    np.testing.assert_array_equal(latent(7, 64), first)
    assert np.random.get_state()[1].tolist() == before


def test_every_seed_gives_another_vector() -> None:
    assert len({latent(seed, 8).tobytes() for seed in [*range(500), MAX_SEED]}) == 501


def test_a_seed_beyond_the_largest_is_refused() -> None:
    with pytest.raises(ValueError, match="Seed must be between"):
        latent(MAX_SEED + 1, 8)


def test_it_is_standard_normal() -> None:
    drawn = np.stack([latent(seed, 64) for seed in range(500)])
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_truncation_scales_towards_the_mean() -> None:
    np.testing.assert_allclose(latent(3, 16, truncation=0.5), latent(3, 16) / 2, rtol=1e-6)
    assert not latent(3, 16, truncation=0.0).any()
