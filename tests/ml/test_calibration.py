"""A logit becomes a probability that holds on other pictures."""

import numpy as np
import pytest

from ml.calibration import calibrate


def logits(mean: float, spread: float, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, count)


def probability(fitted: dict[str, float], values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(fitted["scale"] * values + fitted["offset"])))


def test_two_normals_are_parted_as_theory_says() -> None:
    # Equal normals at +-1 with deviation 2: the logarithm of their ratio is x / 2.
    fitted = calibrate(logits(1, 2, 50_000), logits(-1, 2, 50_000, seed=1))
    assert fitted["scale"] == pytest.approx(0.5, abs=0.02)
    assert fitted["offset"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("shift", [-100.0, 0.0, 3.0])
def test_it_holds_on_other_pictures_however_the_logits_lie(shift: float) -> None:
    fitted = calibrate(logits(0.09 + shift, 0.15, 500), logits(-0.15 + shift, 0.15, 500, seed=1))
    real, drawn = logits(0.09 + shift, 0.15, 5000, seed=2), logits(-0.15 + shift, 0.15, 5000, seed=3)
    said = probability(fitted, np.concatenate([real, drawn]))
    is_real = np.repeat([1, 0], 5000)
    for low in np.arange(0.1, 0.9, 0.2):
        some = (said >= low) & (said < low + 0.2)
        assert is_real[some].mean() == pytest.approx(said[some].mean(), abs=0.07)
    assert said.mean() == pytest.approx(0.5, abs=0.03)


def test_unequal_numbers_do_not_move_the_middle() -> None:
    fitted = calibrate(logits(1, 1, 300), logits(-1, 1, 9000, seed=1))
    assert -fitted["offset"] / fitted["scale"] == pytest.approx(0, abs=0.1)


def test_logits_that_part_without_error_stay_finite() -> None:
    fitted = calibrate(logits(5, 0.1, 200), logits(-5, 0.1, 200, seed=1))
    assert 0 < fitted["scale"] < 100
    assert probability(fitted, np.array([5.0, -5.0])) == pytest.approx([0.99, 0.01], abs=0.01)
    assert calibrate(np.array([1.0]), np.array([-1.0]))["scale"] > 0


@pytest.mark.parametrize(
    ("real", "drawn"),
    [
        (np.ones(50), np.ones(80)),  # the same whatever it sees
        (logits(-1, 1, 100), logits(1, 1, 100, seed=1)),  # the opposite of the truth
    ],
)
def test_where_the_discriminator_knows_nothing_every_picture_is_a_half(real: np.ndarray, drawn: np.ndarray) -> None:
    assert calibrate(real, drawn) == {"scale": 0.0, "offset": 0.0}


@pytest.mark.parametrize(("real", "drawn"), [([], [1.0]), ([1.0], []), ([np.nan], [0.0]), ([0.0], [np.inf])])
def test_what_cannot_be_fitted_is_refused(real: list[float], drawn: list[float]) -> None:
    with pytest.raises(ValueError, match="finite logits"):
        calibrate(np.array(real), np.array(drawn))


def test_outliers_do_not_lead_astray() -> None:
    """Where a full step of Newton's would overshoot: nothing near the fit is better."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(50):
        n, m = rng.integers(1, 60, 2)
        real = rng.standard_t(1, n) * 10 ** rng.uniform(-2, 2) + 3 * rng.normal()
        drawn = rng.standard_t(1, m) * 10 ** rng.uniform(-2, 2)
        fitted = calibrate(real, drawn)
        if not fitted["scale"]:
            continue
        found += 1

        def loss(scale: float, offset: float, real: np.ndarray = real, drawn: np.ndarray = drawn) -> float:
            up, down = scale * real + offset, scale * drawn + offset
            of_real = np.logaddexp(0, up) - (1 - 1 / (len(real) + 2)) * up
            of_drawn = np.logaddexp(0, down) - down / (len(drawn) + 2)
            return float(of_real.mean() + of_drawn.mean())

        best = loss(**fitted)
        for factor in (0.9, 1.1):
            assert best <= loss(fitted["scale"] * factor, fitted["offset"]) + 1e-9
            assert best <= loss(fitted["scale"], fitted["offset"] * factor) + 1e-9
    assert found > 10
