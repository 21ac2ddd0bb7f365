"""Figures of merit against values known by hand."""

import math

import numpy as np
import pytest

from ml import metrics


def test_perplexity_is_exp_of_the_loss() -> None:
    assert metrics.perplexity(0.0) == 1.0
    assert metrics.perplexity(math.log(9)) == pytest.approx(9)


def test_perplexity_overflows_to_infinity() -> None:
    assert metrics.perplexity(1e4) == math.inf
    assert math.isfinite(metrics.perplexity(699.0))


def gauss(mean: list[float], deviations: list[float], count: int = 40_000) -> np.ndarray:
    rng = np.random.default_rng(len(deviations))
    return rng.standard_normal((count, len(deviations))) * deviations + mean


def test_equal_sets_are_at_distance_0() -> None:
    real = gauss([1, 2, 3], [1, 2, 3], 500)
    assert metrics.frechet_distance(real, real.copy()) == pytest.approx(0, abs=1e-9)


def test_a_shift_costs_its_square_over_the_trace() -> None:
    real = gauss([0, 0], [1, 2])
    trace = float(np.trace(np.cov(real, rowvar=False)))
    assert metrics.frechet_distance(real, real + np.array([3, 4])) == pytest.approx(25 / trace)


def test_a_wider_spread_costs_the_square_of_the_difference_of_deviations() -> None:
    real, fake = gauss([0, 0], [1, 2]), gauss([0, 0], [3, 2])
    assert metrics.frechet_distance(real, fake) == pytest.approx((3 - 1) ** 2 / (1 + 4), rel=0.05)


def test_it_is_free_of_scale() -> None:
    real, fake = gauss([0, 0], [1, 2], 500), gauss([1, 0], [2, 2], 500)
    assert metrics.frechet_distance(1000 * real, 1000 * fake) == pytest.approx(metrics.frechet_distance(real, fake))


def test_one_picture_again_and_again_scores_at_least_1() -> None:
    real = gauss([5, 5], [1, 2], 500)
    assert metrics.frechet_distance(real, np.repeat(real.mean(0)[None], 500, 0)) == pytest.approx(1)
    assert metrics.frechet_distance(real, np.zeros((500, 2))) > 1


def test_pictures_that_are_all_the_same_make_no_distance_and_no_crash() -> None:
    distance = metrics.frechet_distance(np.ones((50, 3)), gauss([0, 0, 0], [1, 1, 1], 50))
    assert distance == math.inf
