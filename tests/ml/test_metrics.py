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


# -- neighbourhoods --------------------------------------------------------------------------------------------------


def cloud(count: int = 400, at: float = 0.0, scale: float = 1.0, seed: int = 0, size: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size)) * scale + at


def test_distances_are_euclidean() -> None:
    points, others = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(metrics.distances(points, others), [[0, 4, 10], [5, 3, 5]])


def test_points_on_a_line_are_counted_as_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0], [2.0], [10.0]]), np.array([[1.5], [2.5], [30.0]])
    # With k = 1 the real balls reach 1, 1, 1 and 8 far, the fake ones 1, 1 and 27.5.
    figures = metrics.neighbourhoods(real, fake, k=1)
    assert figures == {"precision": 2 / 3, "recall": 3 / 4, "density": pytest.approx(4 / 3), "coverage": 3 / 4}


def test_equal_clouds_lie_in_each_other() -> None:
    figures = metrics.neighbourhoods(cloud(seed=1), cloud(seed=2))
    assert all(0.85 < figures[name] < 1.15 for name in figures)


def test_a_lost_half_costs_recall_and_coverage_and_no_precision() -> None:
    real = np.concatenate([cloud(200, 0), cloud(200, 50, seed=1)])
    figures = metrics.neighbourhoods(real, cloud(400, 0, seed=2))
    assert figures["precision"] > 0.9
    assert figures["recall"] < 0.55
    assert figures["coverage"] < 0.55


def test_a_single_picture_again_and_again_has_no_recall() -> None:
    figures = metrics.neighbourhoods(cloud(), np.zeros((400, 4)))
    assert figures["recall"] < 0.01
    assert figures["coverage"] < 0.1


def test_rubbish_far_away_has_nothing_in_common() -> None:
    figures = metrics.neighbourhoods(cloud(), cloud(at=100))
    assert set(figures.values()) == {0.0}


def test_outliers_do_not_help_coverage_as_they_help_recall() -> None:
    fake = np.concatenate([cloud(390, 0, 0.01, seed=1), cloud(10, 0, 100, seed=2)])
    figures = metrics.neighbourhoods(cloud(), fake)
    assert figures["recall"] > 0.5
    assert figures["coverage"] < 0.2


def test_fewer_points_than_neighbours_are_enough() -> None:
    figures = metrics.neighbourhoods(cloud(3), cloud(3, seed=1))
    assert all(np.isfinite(value) for value in figures.values())


# -- copies ----------------------------------------------------------------------------------------------------------


def test_the_nearest_is_found_across_all_parts() -> None:
    among = cloud(50)
    index, distance = metrics.nearest(np.concatenate([among, among, among, among, among, among]) + 1e-9, among)
    assert index.tolist() == 6 * list(range(50))
    assert distance.max() < 1e-6


def test_copies_are_counted_and_what_is_only_like_them_is_not() -> None:
    train, held_out = cloud(300, size=16), cloud(100, seed=1, size=16)
    room = metrics.nearest(train, held_out)[1]
    copies = train[:40] + 0.01 * cloud(40, seed=2, size=16)
    assert metrics.near_copies(copies, train, room) == 1
    mixed = np.concatenate([copies, cloud(360, seed=3, size=16)])
    assert metrics.near_copies(mixed, train, room) == pytest.approx(0.1, abs=0.01)


def test_in_a_crowd_pictures_may_be_near() -> None:
    train, held_out = cloud(200, 0, 0.001), cloud(200, 0, 0.001, seed=1)
    room = metrics.nearest(train, held_out)[1]
    assert metrics.near_copies(cloud(200, 0, 0.001, seed=2), train, room) < 0.2
